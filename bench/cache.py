"""Looking after the descriptor store: what is in it, whether it is whole, and what goes when it is too large."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import Timeout

from bench.errors import DescriptorError, UsageError
from bench.shards import WHOLE, Meta, damaged, listing
from bench.store import LOCKS, DescriptorStore

UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True)
class Entry:
    """A folder of the store. meta: what it tells of itself, None where that can't be read. whole: every row is there.

    n_bytes: of all its files. last_used: when it was found or written last.
    """

    folder: Path
    meta: Meta | None
    whole: bool
    n_bytes: int
    last_used: datetime


def entries(store: DescriptorStore) -> list[Entry]:
    """All of them, those of killed writers and unreadable ones too, the least recently used first."""
    folders = (
        [path for path in store.root.iterdir() if path.is_dir() and path.name != LOCKS] if store.root.is_dir() else []
    )
    return sorted(map(_entry, folders), key=lambda entry: (entry.last_used, entry.folder))


def problems(store: DescriptorStore) -> Iterator[tuple[Path, str]]:
    """The file and what is wrong with it, for every shard that is lost or damaged and every list that can't be read."""
    for entry in entries(store):
        if (listed := listing(entry.folder)) is None:
            if any(entry.folder.rglob("*.npy")):  # else its writer was killed before there was a shard
                yield entry.folder / WHOLE, "is lost: the next run that needs it makes it again"
            continue
        try:
            for _, path in damaged(entry.folder, Meta.read(listed)):
                told = "damaged" if (entry.folder / path).is_file() else "lost"
                yield entry.folder / path, f"is {told}: the next run that needs it makes it again"
        except FileNotFoundError:
            continue  # finished or deleted by another process since
        except DescriptorError as error:
            yield listed, str(error).removeprefix(f"{listed} ")


def prune(store: DescriptorStore, max_bytes: int) -> tuple[list[Entry], int]:
    """Deletes the least recently used entries until at most `max_bytes` are left; not one that is being written.

    Returns what was deleted, and the bytes that are left.
    """
    found = entries(store)
    left = sum(entry.n_bytes for entry in found)
    gone = []
    for entry in found:
        if left <= max_bytes:
            break
        try:
            with store.lock(entry.folder.name).acquire(timeout=0):
                (entry.folder / WHOLE).unlink(missing_ok=True)  # first, so that it never looks whole
                shutil.rmtree(entry.folder)
        except Timeout:
            continue
        gone.append(entry)
        left -= entry.n_bytes
    return gone, left


def n_bytes(text: str) -> int:
    """Bytes of a size such as 10GB, 1.5 TB or 500MB, units of 1,000. Raises UsageError for anything else."""
    units = {unit.lower(): size for unit, size in UNITS.items()}
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]+)", text.strip().lower())
    if match is None or match[2] not in units:
        raise UsageError(f"'{text}' is no size: write a number and one of {', '.join(UNITS)}, such as 10GB")
    return int(float(match[1]) * units[match[2]])


def _entry(folder: Path) -> Entry:
    listed = listing(folder)
    try:
        meta = Meta.read(listed) if listed else None
    except (DescriptorError, FileNotFoundError):
        meta = None
    whole = listed == folder / WHOLE and meta is not None
    used, _ = _stat(listed or folder)
    size = sum(_stat(path)[1] for path in folder.rglob("*") if path.is_file())
    return Entry(folder, meta, whole, size, datetime.fromtimestamp(used, UTC))


def _stat(path: Path) -> tuple[float, int]:
    """Time of the last change, and bytes; zeros where another process has deleted it meanwhile."""
    try:
        found = path.stat()
        return found.st_mtime, found.st_size
    except FileNotFoundError:
        return 0.0, 0
