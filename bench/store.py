"""The descriptor store: a folder of shards per key, filled by one process at a time, checked when it is opened."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench.descriptors.shard_writer import Writer
from bench.errors import UsageError
from bench.extract import Throughput
from bench.files import sha256_text
from bench.manifest import Name
from bench.shards import WHOLE, Damaged, Meta, listing, open_shards
from bench.similarity.prepare import Rows

LOCKS = "locks"
#: Of each of the two hashes that name an entry.
HASH_DIGITS = 32


@dataclass(frozen=True)
class Stored:
    """Descriptors [N, D], or [N, T, d] of local ones, in the order of the images they were made from, and how.

    They are a memory-mapped array, or where there are several shards, `bench.vectors.Vectors`.
    throughput: None where all were taken over from elsewhere. hardware, measured_utc: where and when it was measured.
    failed: images that have no row, by id, and why. retry: whether one failed for a reason that may have passed.
    """

    descriptors: Rows
    n_parameters: int | None
    throughput: Throughput | None
    hardware: Mapping[str, Any]
    measured_utc: str
    failed: Mapping[str, str] = field(default_factory=dict)
    retry: bool = False


class DescriptorStore:
    """Descriptors on disk under `root`, which several processes may share.

    The key is made of what decides a value (`bench.cells.descriptor_key` gathers it), so an entry does not go stale. Of
    one that is damaged, or whose writer was killed, what is whole is kept. An image is described once: what another
    entry has of it, described alike, is copied.
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
        """Two hashes of the canonical JSON of `parts`: of all but the images, and of the images."""
        images = parts.get("images")
        how = {name: of for name, of in parts.items() if name != "images"}
        return "-".join(sha256_text(json.dumps(of, sort_keys=True))[:HASH_DIGITS] for of in (how, images))

    def lock(self, key: str) -> FileLock:
        """Held by whoever writes or deletes the entry; the kernel lets go of it where a process is killed."""
        (self.root / LOCKS).mkdir(parents=True, exist_ok=True)
        return FileLock(self.root / LOCKS / f"{key}.lock")

    def find(self, parts: Mapping[str, Any], retry: bool = True) -> Stored | None:
        """The stored descriptors for `parts`, mapped from disk; None where there are none, or they are damaged.

        retry: None, too, where an image failed for a reason that may have passed. Raises DescriptorError where a newer
        version has written them.
        """
        folder = self.root / self.key(parts)
        try:
            opened = open_shards(folder)
            failed = {name: of.reason for name, of in opened.meta.failed.items()}
            again = any(of.transient for of in opened.meta.failed.values())
            found = Stored(opened.rows, **_details(opened.meta), failed=failed, retry=again)
        except (FileNotFoundError, Damaged):
            return None
        if retry and found.retry:
            return None
        with suppress(OSError):  # of another user's entry
            os.utime(folder / WHOLE)  # used now
        return found

    @contextmanager
    def filling(self, parts: Mapping[str, Any], wanted: Sequence[Name]) -> Iterator[Writer]:
        """An entry to be filled with the descriptors of the wanted images; waits while another process fills it.

        Where the block fails, the shards that are whole are kept for the next time. Raises OSError (no permission,
        full disk), DescriptorError where a newer version has written the entry.
        """
        key = self.key(parts)
        with self.lock(key):
            _drop_useless(self.root / key)
            with Writer(self.root / key, parts, wanted) as writer:
                if not writer.whole:
                    self._add_others(writer, key, {name.content for name in wanted[writer.done :]})
                yield writer

    def _add_others(self, writer: Writer, key: str, wanted: set[str]) -> None:
        """What other entries that were described alike have of the wanted images, the newest first."""
        others = [path for path in self.root.glob(f"{key.partition('-')[0]}-*") if path.name != key]
        for folder in sorted(others, key=_last_used, reverse=True):
            if all(content in writer.reusable for content in wanted):
                return
            writer.reusable.add_folder(folder, wanted)


def _last_used(folder: Path) -> float:
    listed = listing(folder)
    try:
        return listed.stat().st_mtime if listed else 0.0
    except FileNotFoundError:  # deleted since
        return 0.0


def _details(meta: Meta) -> dict[str, Any]:
    """The fields of `Stored` beside the descriptors. Raises Damaged."""
    try:
        found = {name: meta.details[name] for name in ("n_parameters", "hardware", "measured_utc")}
        speed = meta.details["throughput"]
        return found | {"throughput": None if speed is None else Throughput(**speed)}
    except (KeyError, TypeError):
        raise Damaged("the account of the descriptors is damaged: make them again") from None


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
