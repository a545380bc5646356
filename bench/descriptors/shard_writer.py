"""Writes descriptors as shards (`bench.shards`): killed at any moment, no whole shard is lost."""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.descriptors.reuse import Reusable
from bench.errors import DescriptorError, UsageError
from bench.files import sha256_file, write_atomic
from bench.manifest import Name
from bench.shards import (
    CONTENT,
    IDS,
    NAMES,
    PARTIAL,
    ROWS,
    WHOLE,
    Failed,
    Meta,
    Shard,
    damaged,
    is_whole,
    listing,
    names_file,
    names_in,
    rows_file,
)

#: A shard is closed when it is so large; small ones come first, so that few images, too, are resumed in the middle.
FIRST_BYTES, LARGEST_BYTES = 1 << 20, 1 << 26
#: Shards of one size before those of twice the size.
OF_A_SIZE = 8
#: Folder of the shards that no longer fit the wanted images, whose rows are taken over.
BEFORE = ".before"


class Writer:
    """A folder of descriptors that is being written.

    It goes on after the last whole shard that still fits the wanted images; the rows behind it are in `reusable`, and
    on disk, until the folder is whole again. A shard ends where a batch does, so a run that goes on cuts the same
    batches. The last shard is listed by meta.json alone, so what is not finished lacks a row. Leaving the block keeps
    the shards that are whole; where there are none, nothing is left. Only one process may write to a folder at a time.

    Attributes:
        done: How many of the wanted images have a row already, or failed.
        whole: Whether these are all, and nothing is left to do.
        failed: Images without a row, by id.
        reusable: Rows that were described before, by content.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, Any], wanted: Sequence[Name]) -> None:
        """Open a folder.

        Args:
            made_from: What decides the values; `images` in it may differ from what the folder was made from.
            wanted: The images in the order of their rows.

        Raises:
            UsageError: The folder holds something else.
            DescriptorError: As `Meta.read`.
            OSError: No permission, full disk.
        """
        self._folder = folder
        made_from = json.loads(json.dumps(made_from))
        self._meta = self._before(made_from)
        lost = {number for number, _ in damaged(folder, self._meta)}
        kept, self.done = self._still_wanted(wanted, lost)
        self.reusable = Reusable()
        self.whole = (
            listing(folder) == folder / WHOLE
            and self._meta.made_from == made_from
            and (kept, self.done) == (len(self._meta.shards), len(wanted))
        )
        self._waiting: list[NDArray[np.floating]] = []
        self._names: list[Name] = []
        if not self.whole:
            self._begin(made_from, kept, {name.id for name in wanted[: self.done]})
        self.failed = dict(self._meta.failed)

    def append(self, rows: NDArray[np.floating], names: Sequence[Name]) -> None:
        """Add the next descriptors [B, D] or [B, T, d], which the caller leaves as they are, of these images.

        Raises:
            DescriptorError: They have another shape or type than those before.
            OSError: Full disk.
        """
        if not self._meta.shards and not self._waiting:
            self._meta = replace(self._meta, row=rows.shape[1:], dtype=str(rows.dtype))
        if (rows.shape[1:], str(rows.dtype)) != (self._meta.row, self._meta.dtype):
            raise DescriptorError(
                f"the descriptor of '{names[0].id}' is {rows.dtype} {list(rows.shape[1:])}, those before it "
                f"{self._meta.dtype} {list(self._meta.row)}: only descriptors of one shape and type are compared"
            )
        if sum(waiting.nbytes for waiting in self._waiting) >= self._full():
            self._meta = self._with_shard()
            self._meta.write(self._folder / PARTIAL)
            self._waiting, self._names = [], []
        self._waiting.append(rows)
        self._names += names

    def fail(self, name: Name, reason: str, transient: bool) -> None:
        """Note that the next image has no row."""
        self.failed[name.id] = Failed(name.content, reason, transient)

    def finish(self, **details: Any) -> None:
        """Write the rows that are left, and `details` in meta.json.

        Raises:
            DescriptorError: There are no rows.
            OSError: Full disk.
        """
        if not self._names and not self._meta.shards:
            why = next((f": {failed.reason}" for failed in self.failed.values()), ": name at least one image")
            raise DescriptorError(f"there are no descriptors for {self._folder}{why}")
        meta = self._with_shard() if self._names else replace(self._meta, failed=self.failed)
        meta = replace(meta, details=details)
        meta.write(self._folder / WHOLE)
        self._meta = meta
        (self._folder / PARTIAL).unlink()
        shutil.rmtree(self._folder / BEFORE, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sweep()
        if not self._meta.shards and not (self._folder / BEFORE).is_dir():
            (self._folder / PARTIAL).unlink(missing_ok=True)
            for folder in (self._folder / ROWS, self._folder / NAMES, self._folder):
                with suppress(OSError):  # not there, or somebody else's file is in it
                    folder.rmdir()

    def _before(self, made_from: Mapping[str, Any]) -> Meta:
        """The list of the folder's shards. Raises as `__init__`."""
        before = listing(self._folder)
        if before is None:
            if self._folder.exists() and any(not _is_temporary(path) for path in self._folder.iterdir()):
                raise UsageError(
                    f"{self._folder} is not empty and holds no descriptors to go on with: name another folder"
                )
            return Meta(made_from)
        meta = Meta.read(before)
        names = (made_from.keys() | meta.made_from.keys()) - {"images"}
        if other := [name for name in names if made_from.get(name) != meta.made_from.get(name)]:
            raise UsageError(
                f"{self._folder} holds descriptors made from something else (other {', '.join(sorted(other))}): name "
                "another folder, or delete it"
            )
        return meta

    def _still_wanted(self, wanted: Sequence[Name], lost: set[int]) -> tuple[int, int]:
        """How many of the first shards hold just the first wanted images, and of how many of these that settles."""
        kept = done = 0
        for number in range(len(self._meta.shards)):
            after = done if number in lost else self._settled_by(number, wanted, done)
            if after == done:
                break
            kept, done = number + 1, after
        while done < len(wanted) and self._has_failed(wanted[done]):
            done += 1
        return kept, done

    def _settled_by(self, number: int, wanted: Sequence[Name], done: int) -> int:
        """How many of the wanted images are settled with this shard; `done` where it holds others."""
        at = done
        for name in names_in(self._folder / names_file(number)):
            while at < len(wanted) and wanted[at] != name and self._has_failed(wanted[at]):
                at += 1
            if at == len(wanted) or wanted[at] != name:
                return done
            at += 1
        return at

    def _has_failed(self, name: Name) -> bool:
        failed = self._meta.failed.get(name.id)
        return failed is not None and failed.content == name.content and not failed.transient

    def _begin(self, made_from: Mapping[str, Any], kept: int, done: set[str]) -> None:
        """Set aside what no longer fits, then list the rest as unfinished: killed in between, both are found again."""
        details = self._meta.details
        for number in range(kept, len(self._meta.shards)):
            self._set_aside(number)
        failed = {name: of for name, of in self._meta.failed.items() if name in done}
        self._meta = replace(
            self._meta, made_from=made_from, shards=self._meta.shards[:kept], failed=failed, details={}
        )
        self._meta.write(self._folder / PARTIAL)
        (self._folder / WHOLE).unlink(missing_ok=True)
        self._sweep()
        self.reusable.add_pairs(self._folder / BEFORE)
        self.reusable.learn(details)

    def _set_aside(self, number: int) -> None:
        """Move a shard's files, where they are whole, to names made of their checksums."""
        shard = self._meta.shards[number]
        pair = f"{shard.sha256[:32]}-{shard.metadata_sha256[:32]}"
        for path, sha256, suffix in (
            (rows_file(number), shard.sha256, ".npy"),
            (names_file(number), shard.metadata_sha256, ".parquet"),
        ):
            if is_whole(self._folder / path, sha256):
                (self._folder / BEFORE).mkdir(exist_ok=True)
                (self._folder / path).replace(self._folder / BEFORE / f"{pair}{suffix}")

    def _full(self) -> int:
        return min(FIRST_BYTES << min(len(self._meta.shards) // OF_A_SIZE, 63), LARGEST_BYTES)

    def _with_shard(self) -> Meta:
        """The list with a shard of what waits, once that is on disk."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        number = len(self._meta.shards)
        rows, names = self._folder / rows_file(number), self._folder / names_file(number)
        columns = zip((IDS, CONTENT), zip(*self._names, strict=True), strict=True)
        table = pa.table({column: pa.array(of, pa.string()) for column, of in columns})
        write_atomic(rows, partial(_write_rows, self._waiting))
        write_atomic(names, lambda stream: pq.write_table(table, stream))
        shard = Shard(len(self._names), sha256_file(rows), sha256_file(names))
        return replace(self._meta, shards=(*self._meta.shards, shard), failed=dict(self.failed))

    def _sweep(self) -> None:
        """Remove shards that are not listed, and what killed writers left."""
        listed = {path for n in range(len(self._meta.shards)) for path in (rows_file(n), names_file(n))}
        for pattern in (f"{ROWS}/img_emb_*.npy", f"{NAMES}/metadata_*.parquet", "*/.*.tmp", ".*.tmp"):
            for path in self._folder.glob(pattern):
                if str(path.relative_to(self._folder)) not in listed and (path.suffix != ".tmp" or _is_temporary(path)):
                    path.unlink(missing_ok=True)


def _is_temporary(path: Path) -> bool:
    """Whether `write_atomic` of a writer here made it and was killed."""
    own = (f".{WHOLE}.", f".{PARTIAL}.", ".img_emb_", ".metadata_")
    return path.name.startswith(own) and path.suffix == ".tmp"


def _write_rows(blocks: Sequence[NDArray[np.floating]], stream: IO[bytes]) -> None:
    """As np.save of them all, which on a full disk does not say so."""
    shape = (sum(map(len, blocks)), *blocks[0].shape[1:])
    described = {"descr": np.lib.format.dtype_to_descr(blocks[0].dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, described)
    for block in blocks:
        stream.write(np.ascontiguousarray(block).data)
