"""Descriptors on disk as shards, in the layout of clip-retrieval, written so that a killed writer loses no whole shard.

    img_emb/img_emb_0000.npy            rows [N, D], or [N, T, d] of local descriptors
    metadata/metadata_0000.parquet      their names, column `image_path`
    meta.json                           what they are made from, and every shard's rows and checksums

`partial.json` stands in the place of `meta.json` until the last row is there.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from bench import vector_files
from bench.errors import DescriptorError, UsageError
from bench.files import sha256_file, write_atomic, write_json
from bench.similarity.prepare import Rows
from bench.vectors import Vectors

FORMAT = 2
#: A shard is closed when it is so large; small ones come first, so that few images, too, are resumed in the middle.
FIRST_BYTES, LARGEST_BYTES = 1 << 20, 1 << 26
#: Shards of one size before those of twice the size.
OF_A_SIZE = 8
WHOLE, PARTIAL = "meta.json", "partial.json"
ROWS, NAMES = "img_emb", "metadata"


class Damaged(DescriptorError):
    """Shards, or the list of them, that are not what was written."""


@dataclass(frozen=True)
class Shard:
    """Number of rows, and sha256 of the file of rows and of the file of names."""

    rows: int
    sha256: str
    metadata_sha256: str


@dataclass(frozen=True)
class Meta:
    """What meta.json says. made_from: what decides the values. row: shape of one. details: how they were made."""

    made_from: Mapping[str, Any]
    row: tuple[int, ...] = ()
    dtype: str = "float32"
    shards: tuple[Shard, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """In all shards."""
        return sum(shard.rows for shard in self.shards)

    def write(self, path: Path) -> None:
        """Atomically. Raises OSError."""
        own = asdict(self)
        write_json(path, {"format": FORMAT, **own.pop("details"), **own, "row": list(self.row)})

    @classmethod
    def read(cls, path: Path) -> "Meta":
        """Raises FileNotFoundError, Damaged, and DescriptorError where a newer version has written it."""
        try:
            found = json.loads(path.read_bytes())
            version = int(found.pop("format", 1))
            if version == FORMAT:
                made_from, row, dtype = (
                    found.pop("made_from"),
                    tuple(found.pop("row")),
                    str(np.dtype(found.pop("dtype"))),
                )
                return cls(made_from, row, dtype, tuple(Shard(**shard) for shard in found.pop("shards")), found)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Damaged(f"{path} is damaged: delete {path.parent}, it has to be made again") from None
        if version < FORMAT:
            raise Damaged(f"{path} was written by an older version of the benchmark: delete {path.parent}")
        raise DescriptorError(
            f"{path} was written by a newer version of the benchmark: update this one, or delete {path.parent}"
        )


@dataclass(frozen=True)
class Opened:
    """Descriptors [N, D] or [N, T, d] mapped from disk, and how they were made."""

    rows: Rows
    meta: Meta


def listing(folder: Path) -> Path | None:
    """The list of a folder's shards: meta.json where they are all there, partial.json where rows are to come."""
    return next((folder / name for name in (WHOLE, PARTIAL) if (folder / name).is_file()), None)


def open_shards(folder: Path) -> Opened:
    """The descriptors of a folder that is whole, once every checksum is right.

    Raises FileNotFoundError where it is not finished, Damaged naming the file, and DescriptorError as `Meta.read`.
    """
    meta = Meta.read(folder / WHOLE)
    for _, path in damaged(folder, meta):
        raise Damaged(f"{folder / path} is lost or damaged: delete {folder}, or make it again")
    maps = [np.load(folder / _rows_file(n), mmap_mode="r", allow_pickle=False) for n in range(len(meta.shards))]
    return Opened(maps[0] if len(maps) == 1 else Vectors([_mapped(folder, rows) for rows in maps]), meta)


def _mapped(folder: Path, rows: NDArray[Any]) -> vector_files.Shard:
    block = vector_files.Block(len(rows), lambda: rows)
    return vector_files.Shard(folder, (block,), rows.shape[1:], rows.dtype)


def damaged(folder: Path, meta: Meta) -> list[tuple[int, str]]:
    """The files that are lost or not what was written, with the numbers of their shards, in order."""
    files = [
        (number, path, sha256)
        for number, shard in enumerate(meta.shards)
        for path, sha256 in ((_rows_file(number), shard.sha256), (_names_file(number), shard.metadata_sha256))
    ]
    with ThreadPoolExecutor() as pool:
        whole = pool.map(lambda file: _is_whole(folder / file[1], file[2]), files)
        return [(number, path) for (number, path, _), is_whole in zip(files, whole, strict=True) if not is_whole]


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        return sha256_file(path) == sha256
    except OSError:
        return False


def _rows_file(number: int) -> str:
    return f"{ROWS}/img_emb_{number:04d}.npy"


def _names_file(number: int) -> str:
    return f"{NAMES}/metadata_{number:04d}.parquet"


class Writer:
    """A folder of descriptors that is being written; it goes on after the last shard that is whole.

    done: the rows that were there already. whole: whether these are all, and nothing is left to do.
    A shard ends where a batch does, so a run that goes on cuts the same batches. The last shard is listed by meta.json
    alone, so what is not finished lacks a row. Leaving the block keeps the shards that are whole; where there are none,
    nothing is left. Only one process may write to a folder at a time.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, Any]) -> None:
        """Raises UsageError where the folder holds something else; as `Meta.read`; OSError."""
        self._folder = folder
        self._meta = self._before(json.loads(json.dumps(made_from)))
        lost = damaged(folder, self._meta)
        self.whole = listing(folder) == folder / WHOLE and not lost
        self._waiting: list[NDArray[np.floating]] = []
        self._names: list[str] = []
        if not self.whole:
            kept = lost[0][0] if lost else len(self._meta.shards)
            self._meta = replace(self._meta, shards=self._meta.shards[:kept], details={})
            self._meta.write(folder / PARTIAL)
            (folder / WHOLE).unlink(missing_ok=True)
            self._sweep()
        self.done = self._meta.rows

    def append(self, rows: NDArray[np.floating], names: Sequence[str]) -> None:
        """The next descriptors [B, D] or [B, T, d], which the caller leaves as they are, and a name for each.

        Raises DescriptorError where they have another shape or type than those before, OSError (full disk).
        """
        if not self._meta.shards and not self._waiting:
            self._meta = replace(self._meta, row=rows.shape[1:], dtype=str(rows.dtype))
        if (rows.shape[1:], str(rows.dtype)) != (self._meta.row, self._meta.dtype):
            raise DescriptorError(
                f"the descriptor of '{names[0]}' is {rows.dtype} {list(rows.shape[1:])}, those before it "
                f"{self._meta.dtype} {list(self._meta.row)}: only descriptors of one shape and type are compared"
            )
        if sum(waiting.nbytes for waiting in self._waiting) >= self._full():
            self._meta = self._with_shard()
            self._meta.write(self._folder / PARTIAL)
            self._waiting, self._names = [], []
        self._waiting.append(rows)
        self._names += names

    def finish(self, **details: Any) -> None:
        """Write what is left, and `details` in meta.json. Raises DescriptorError where there are no rows, OSError."""
        if not self._names:
            raise DescriptorError(f"there are no descriptors for {self._folder}: name at least one image")
        meta = replace(self._with_shard(), details=details)
        meta.write(self._folder / WHOLE)
        self._meta = meta
        (self._folder / PARTIAL).unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sweep()
        if not self._meta.shards:
            (self._folder / PARTIAL).unlink(missing_ok=True)
            for folder in (self._folder / ROWS, self._folder / NAMES, self._folder):
                with suppress(OSError):  # not there, or somebody else's file is in it
                    folder.rmdir()

    def _before(self, made_from: Mapping[str, Any]) -> Meta:
        before = listing(self._folder)
        if before is None:
            if self._folder.exists() and any(not _is_temporary(path) for path in self._folder.iterdir()):
                raise UsageError(
                    f"{self._folder} is not empty and holds no descriptors to go on with: name another folder"
                )
            return Meta(made_from)
        meta = Meta.read(before)
        if other := [
            name for name in made_from.keys() | meta.made_from if made_from.get(name) != meta.made_from.get(name)
        ]:
            raise UsageError(
                f"{self._folder} holds descriptors made from something else (other {', '.join(sorted(other))}): name "
                "another folder, or delete it"
            )
        return meta

    def _full(self) -> int:
        return min(FIRST_BYTES << min(len(self._meta.shards) // OF_A_SIZE, 63), LARGEST_BYTES)

    def _with_shard(self) -> Meta:
        """The list with a shard of what waits, once that is on disk."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        number = len(self._meta.shards)
        rows, names = self._folder / _rows_file(number), self._folder / _names_file(number)
        table = pa.table({"image_path": pa.array(self._names, pa.string())})
        write_atomic(rows, partial(_write_rows, self._waiting))
        write_atomic(names, lambda stream: pq.write_table(table, stream))
        shard = Shard(len(self._names), sha256_file(rows), sha256_file(names))
        return replace(self._meta, shards=(*self._meta.shards, shard))

    def _sweep(self) -> None:
        """Remove shards that are not listed, and what killed writers left."""
        listed = {path for n in range(len(self._meta.shards)) for path in (_rows_file(n), _names_file(n))}
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
