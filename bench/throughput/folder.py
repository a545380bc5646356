"""The folder of a timing: one JSON a cell, each whole or absent, and the table made of all of them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.errors import UsageError
from bench.files import write_json, write_text
from bench.names import file_name
from bench.throughput.table import csv_text

SCHEMA_VERSION = 1
TABLE, RECORDS = "throughput.csv", "throughput"
#: What makes speeds comparable, beside the accelerator.
_MACHINE = ("cpu", "cores", "threads", "ram_gb", "os")

TimingRecord = Mapping[str, Any]


class TimingFolder:
    """A folder of records of one machine; it may be a run's, which keeps its records elsewhere."""

    def __init__(self, path: Path) -> None:
        self.table = path / TABLE
        self._records_path = path / RECORDS

    @classmethod
    @contextmanager
    def open(cls, path: Path, hardware: Mapping[str, Any], overwrite: bool) -> Iterator["TimingFolder"]:
        """Create the folder, or go on in it, alone for the time of the block; `overwrite` drops its records.

        Raises UsageError where it holds records of another machine or another process writes to it.
        """
        folder = cls(path)
        try:
            folder._records_path.mkdir(parents=True, exist_ok=True)
            held = FileLock(folder._records_path / ".lock").acquire(timeout=0)
        except Timeout as error:
            raise UsageError(f"another timing is writing to {path}: wait for it, or choose another --output") from error
        except OSError as error:
            raise UsageError(f"can't write to the folder {path} ({error.strerror}): choose another --output") from error
        with held:
            for left in folder._records_path.glob(".*.tmp"):  # by a killed process
                left.unlink()
            if overwrite:
                for record in folder._records_path.glob("*.json"):
                    record.unlink()
            folder._require_machine(hardware)
            yield folder

    def records(self) -> list[TimingRecord]:
        """All of them, by file name. Raises UsageError for a file that is none."""
        return [_read(path) for path in sorted(self._records_path.glob("*.json"))]

    def find(self, cell: Mapping[str, Any]) -> TimingRecord | None:
        """The record of a cell, as its `cell` tells it. Raises UsageError for a file that is none."""
        path = self._records_path / record_name(cell)
        return _read(path) if path.is_file() else None

    def write(self, record: TimingRecord) -> None:
        """Write or replace a cell's record, and the table."""
        write_json(self._records_path / record_name(record["cell"]), record)
        self.write_table()

    def write_table(self) -> None:
        """Make the table of the records anew."""
        write_text(self.table, csv_text(self.records()))

    def _require_machine(self, hardware: Mapping[str, Any]) -> None:
        for record in self.records():
            other = record["hardware"]
            compared = [*_MACHINE, *(["gpu"] if other["device"] == hardware["device"] else [])]
            if changed := [name for name in compared if other[name] != hardware[name]]:
                told = "; ".join(f"{name} was {other[name]}, is {hardware[name]}" for name in changed)
                raise UsageError(
                    f"the folder {self.table.parent} holds speeds of another machine ({told}), and these can't be "
                    "compared: choose another --output, or --overwrite"
                )


def record_name(cell: Mapping[str, Any]) -> str:
    """File name of a cell's record."""
    plain = "--".join(str(cell[part]) for part in ("backbone", "weights", "device", "precision", "batch_size"))
    return file_name(plain, ".json")


def _read(path: Path) -> TimingRecord:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"the file {path} can't be read as JSON ({error}): delete it and run again") from error
    if not isinstance(record, dict) or record.get("schema_version") != SCHEMA_VERSION:
        raise UsageError(f"the file {path} is no record of this version's throughput: delete it and run again")
    return record
