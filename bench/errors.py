"""Errors that a person can act on: one sentence saying what is wrong, where, and what to do."""

import os

from bench.names import printable


class BenchError(Exception):
    """Base of every expected error; the command line prints its sentence without a traceback.

    As text it is one line that can be printed, whatever the names in it.
    """

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


def told(error: OSError) -> str:
    """What the system refused, where, and what to do, such as for a full disk."""
    place = f": {os.fsdecode(error.filename)}" if error.filename else ""
    return printable(f"{error.strerror or error}{place}; mend this and run the same command again")


class UsageError(BenchError):
    """A wrong call: an unknown name, a value that cannot be, a folder that belongs to another run."""

    exit_code = 2


class Interrupted(BenchError):
    """Ctrl-C; the exit code is the shell's own for it."""

    exit_code = 130


class ImageError(BenchError):
    """An image file that cannot be read, is cut short, or is too large."""

    exit_code = 2


class DatasetError(BenchError):
    """A dataset whose files or ground truth are missing or contradict each other."""

    exit_code = 2


class DatasetUnavailable(DatasetError):
    """A published dataset that is not on this machine; the sentence says where it is to be had."""


class DescriptorError(BenchError):
    """Descriptors that cannot be compared: not finite, zero, or of different dimensions."""

    exit_code = 2


class CheckpointError(BenchError):
    """A weights file that is not the checkpoint it should be."""

    exit_code = 2


class WeightsUnavailable(BenchError):
    """Weights that cannot be had from here and now; the sentence says why and what to do."""

    exit_code = 3
