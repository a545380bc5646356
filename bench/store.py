"""The descriptor store: a folder of shards per key, filled by one process at a time, checked when it is opened."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.extract import Throughput
from bench.files import sha256_text
from bench.shards import WHOLE, Damaged, Meta, Writer, listing, open_shards
from bench.similarity.prepare import Rows

LOCKS = "locks"


@dataclass(frozen=True)
class Stored:
    """Descriptors [N, D], or [N, T, d] of local ones, in the order of the images they were made from, and how.

    They are a memory-mapped array, or where there are several shards, `bench.vectors.Vectors`.
    hardware, measured_utc: where and when the throughput was measured.
    """

    descriptors: Rows
    n_parameters: int | None
    throughput: Throughput
    hardware: Mapping[str, Any]
    measured_utc: str


class DescriptorStore:
    """Descriptors on disk under `root`, which several processes may share.

    The key is the sha256 of what decides a value (`bench.cells.descriptor_key` gathers it), so an entry does not go
    stale; of one that is damaged, or whose writer was killed, the shards before that are kept and the others made.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def require_writable(self) -> None:
        """Raises UsageError where nothing can be stored: better now than after an hour of extraction."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.root).close()
        except OSError as error:
            raise UsageError(
                f"can't write to the cache folder {self.root} ({error.strerror}): set BENCH_HOME to another one"
            ) from error

    @staticmethod
    def key(parts: Mapping[str, Any]) -> str:
        """sha256 of the canonical JSON of `parts`."""
        return sha256_text(json.dumps(dict(parts), sort_keys=True))

    def lock(self, key: str) -> FileLock:
        """Held by whoever writes or deletes the entry; the kernel lets go of it where a process is killed."""
        (self.root / LOCKS).mkdir(parents=True, exist_ok=True)
        return FileLock(self.root / LOCKS / f"{key}.lock")

    def find(self, parts: Mapping[str, Any]) -> Stored | None:
        """The stored descriptors for `parts`, mapped from disk; None where there are none, or they are damaged.

        Raises DescriptorError where a newer version has written them.
        """
        folder = self.root / self.key(parts)
        try:
            opened = open_shards(folder)
            found = Stored(opened.rows, **_details(opened.meta))
        except (FileNotFoundError, Damaged):
            return None
        with suppress(OSError):  # of another user's entry
            os.utime(folder / WHOLE)  # used now
        return found

    @contextmanager
    def filling(self, parts: Mapping[str, Any], ids: Sequence[str]) -> Iterator["Filling"]:
        """An entry to be filled with the descriptors of the images `ids`; waits while another process fills it.

        Where the block fails, the shards that are whole are kept for the next time. Raises OSError (no permission,
        full disk), DescriptorError where a newer version has written the entry.
        """
        key = self.key(parts)
        with self.lock(key):
            _drop_useless(self.root / key)
            with Writer(self.root / key, parts) as writer:
                yield Filling(writer, ids)


class Filling:
    """A store entry that is being written: memory does not grow with the number of images.

    done: so many images have their descriptors already. whole: all have, and nothing is to be added.
    """

    def __init__(self, writer: Writer, ids: Sequence[str]) -> None:
        self._writer = writer
        self._ids = ids
        self._next = self.done = writer.done
        self.whole = writer.whole

    def append(self, rows: NDArray[np.floating]) -> None:
        """The next descriptors [B, D] or [B, T, d]. Raises as `Writer.append`."""
        self._writer.append(rows, self._ids[self._next : self._next + len(rows)])
        self._next += len(rows)

    def finish(
        self, n_parameters: int | None, throughput: Throughput, hardware: Mapping[str, Any], measured_utc: str
    ) -> None:
        """Write the rows that are left and how they were made. Raises OSError."""
        assert self._next == len(self._ids)
        how = {"throughput": asdict(throughput), "hardware": dict(hardware), "measured_utc": measured_utc}
        self._writer.finish(n_parameters=n_parameters, **how)


def _details(meta: Meta) -> dict[str, Any]:
    """The fields of `Stored` beside the descriptors. Raises Damaged."""
    try:
        told = {name: meta.details[name] for name in ("n_parameters", "hardware", "measured_utc")}
        return told | {"throughput": Throughput(**meta.details["throughput"])}
    except (KeyError, TypeError):
        raise Damaged("what is told of the descriptors is damaged: make them again") from None


def _drop_useless(folder: Path) -> None:
    """Delete an entry that tells no shards that could be kept. Raises DescriptorError as `Meta.read`."""
    try:
        if (before := listing(folder)) is None:
            raise Damaged(f"{folder} has no list of its shards")
        meta = Meta.read(before)
        if before.name == WHOLE:
            _details(meta)
    except Damaged:
        shutil.rmtree(folder, ignore_errors=True)
