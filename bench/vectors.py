"""Descriptors on disk, in the forms in which people have them, as one array that may be larger than memory."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DescriptorError, UsageError
from bench.listing import files_in
from bench.vector_files import Shard, id_shards, npy, opened, parquet

NPY, PARQUET = ".npy", ".parquet"
#: The layout of clip-retrieval and img2dataset: two folders in one.
EMBEDDINGS, METADATA = "img_emb", "metadata"


class Column:
    """The rows of several shards one after another; keeps the block that was read last."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._blocks = [block for shard in shards for block in shard.blocks]
        self._starts = np.cumsum([0, *(block.rows for block in self._blocks)], dtype=np.int64)
        self._held: tuple[int, NDArray[Any]] = (-1, np.empty(0))
        self.shape: tuple[int, ...] = (int(self._starts[-1]), *shards[0].tail)
        self.dtype: np.dtype[Any] = np.result_type(*(shard.dtype for shard in shards))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Rows in the order asked for, repeated ones too; raises IndexError beyond the ends, as numpy does."""
        if isinstance(rows, slice):
            first, last, step = rows.indices(len(self))
            return self._between(first, max(first, last)) if step == 1 else self[np.arange(first, last, step)]
        rows = np.asarray(rows)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise IndexError(f"rows are asked for by a slice or a list of numbers, not by {rows.dtype} {rows.shape}")
        rows = rows.astype(np.int64)
        rows = np.where(rows < 0, rows + len(self), rows)
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"a row is not among the {len(self)} there are")
        return self._at(rows)

    def _between(self, first: int, last: int) -> NDArray[Any]:
        parts = [
            self._block(number)[max(first - start, 0) : last - start]
            for number, start in self._overlapping(first, last)
        ]
        if len(parts) == 1 and parts[0].dtype == self.dtype:
            return parts[0]
        return np.concatenate(parts or [np.empty((0, *self.shape[1:]))], dtype=self.dtype)

    def _overlapping(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Number and first row of the blocks that hold rows first..last."""
        number = int(np.searchsorted(self._starts, first, "right")) - 1
        while first < last and number < len(self._blocks) and self._starts[number] < last:
            if self._blocks[number].rows:
                yield number, int(self._starts[number])
            number += 1

    def _at(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        order = np.argsort(rows, kind="stable")
        of_block = np.searchsorted(self._starts, rows[order], "right") - 1
        for here in np.split(order, np.flatnonzero(np.diff(of_block)) + 1) if len(rows) else []:
            number = int(np.searchsorted(self._starts, rows[here[0]], "right")) - 1
            out[here] = self._block(number)[rows[here] - self._starts[number]]
        return out

    def _block(self, number: int) -> NDArray[Any]:
        held, block = self._held  # taken once: several threads may read
        if held != number:
            block = self._blocks[number].load()
            self._held = number, block
        return block


class Vectors(Column):
    """Descriptors [M, D], or local ones [M, T, d], as they are stored: float16, float32 or float64.

    Slices and int64 arrays of rows give numpy arrays; only the blocks that hold these rows are read.
    ids: the names [M] of the rows, read in the same way, or None where the files do not tell them.
    """

    def __init__(self, shards: Sequence[Shard], names: Sequence[Shard] = ()) -> None:
        super().__init__(shards)
        self.ids = Column(names) if names else None


def open_vectors(spec: str, verify: bool = True) -> Vectors:
    """The descriptors that `spec` names, of which nothing is read yet but the headers, and what has checksums.

    It is a .npy file; a folder of them; a .parquet file or a folder of them, with `#COLUMN` behind where more than one
    column holds lists of floating-point numbers; or a folder in the layout of clip-retrieval and img2dataset, with
    `img_emb/*.npy` and the names of the rows in `metadata/*.parquet`. Shards are in the order of their numbers.
    verify: what `bench embed` wrote is compared with its checksums, unless that was done before.

    Raises UsageError where there is no such thing, and DescriptorError, naming the file, where it holds no descriptors,
    is cut short or damaged, differs from the others in dimension, or where a shard is lost. Lists of unequal length
    raise DescriptorError when they are read.
    """
    name, column = (spec, "") if Path(spec).exists() else _with_column(spec)
    path = Path(name)
    if not name.strip():
        raise UsageError("the name of the descriptors is empty: name a .npy file, a .parquet file or a folder of them")
    if not path.exists():
        raise UsageError(f"there is no {path}: name a .npy file, a .parquet file or a folder of them")
    if path.is_dir() and (path / EMBEDDINGS).is_dir() and not column:
        return _layout(path, verify)
    files = _files(path, column)
    if path.is_dir():
        _require_all(files)
    is_parquet = files[0].suffix.lower() == PARQUET
    shards = [parquet(file, column) if is_parquet else npy(file) for file in files]
    return Vectors(_alike(path, shards), id_shards(files) if is_parquet else ())


def _with_column(spec: str) -> tuple[str, str]:
    name, _, column = spec.rpartition("#") if "#" in spec else (spec, "", "")
    return name, column


def _files(path: Path, column: str) -> list[Path]:
    files = natural(files_in(path, (NPY, PARQUET))) if path.is_dir() else [path]
    kinds = {file.suffix.lower() for file in files}
    if path.is_dir() and column:
        files = [file for file in files if file.suffix.lower() == PARQUET]
    elif kinds == {NPY, PARQUET}:
        raise UsageError(f"{path} holds .npy and .parquet files: name one file, or {path}#COLUMN for the parquet files")
    if not files or not kinds <= {NPY, PARQUET}:
        raise UsageError(f"{path} is no .npy or .parquet file, and no folder that holds some")
    if column and kinds == {NPY}:
        raise UsageError(f"{path}#{column} names a column, but a .npy file has none: leave out #{column}")
    return files


def natural(files: Sequence[Path]) -> list[Path]:
    """By name, numbers by their value: x_2 before x_10."""
    return sorted(files, key=lambda file: [(int(t), "") if t.isdecimal() else (-1, t) for t in _tokens(file.name)])


def _tokens(name: str) -> list[str]:
    return re.findall(r"[0-9]+|[^0-9]+", name)


def _require_all(files: Sequence[Path]) -> None:
    """Raises DescriptorError where a number is missing among those of the shards: x_0, x_2; x-00000-of-00002 alone.

    Shards may be counted from 0 or from 1, so of x_1, x_2 nobody knows.
    """
    seen: dict[str, set[int]] = {}
    last: dict[str, int] = {}
    for file in files:
        if match := re.fullmatch(r"(.*?)([0-9]+)(?:-of-([0-9]+))?", file.stem):
            name, number = match[1], int(match[2])
            seen.setdefault(name, set()).add(number)
            last[name] = int(match[3]) - 1 if match[3] else max(number, last.get(name, 0))
            if match[3]:
                seen[name].add(-1)
    for name, numbers in seen.items():
        lost = sorted(set(range(min(1, *numbers), last[name] + 1)) - numbers)
        if lost:
            raise DescriptorError(
                f"{files[0].parent} lacks the shard {name}{lost[0]}, though it has others up to "
                f"{name}{max(numbers)}: get it again, or number the shards without a gap; if these are no shards, "
                "name the file itself"
            )


def _alike(path: Path, shards: Sequence[Shard]) -> Sequence[Shard]:
    """Those that hold something. Raises DescriptorError where they differ in dimension or nothing is there."""
    full = [shard for shard in shards if shard.rows]
    if not full or 0 in full[0].tail:
        raise DescriptorError(f"{path} holds no descriptors: name one that does")
    for shard in full:
        if shard.tail != full[0].tail:
            told = [" x ".join(map(str, s.tail)) for s in (shard, full[0])]
            raise DescriptorError(
                f"{shard.path} has descriptors of {told[0]} dimensions, but {full[0].path} of {told[1]}: "
                "describe all with one model"
            )
    return full


def _require_as_written(folder: Path, rows: int, verify: bool) -> None:
    """Raises DescriptorError where the files that `bench embed` adds to the layout tell of others than are there."""
    from bench.shards import PARTIAL, WHOLE, Meta, damaged  # which opens its rows by this module

    if (folder / PARTIAL).exists():
        raise DescriptorError(f"{folder} is not finished: run the command that makes it again, and it goes on")
    if not (folder / WHOLE).exists():
        return
    meta = Meta.read(folder / WHOLE)
    if meta.rows != rows:
        raise DescriptorError(f"{folder} has {rows} descriptors, but its {WHOLE} says {meta.rows}: a shard is lost")
    for _, file in damaged(folder, meta) if verify else ():
        raise DescriptorError(
            f"{folder / file} is not what {folder / WHOLE} says was written: run the command that made it again, and "
            "it is mended"
        )


def _layout(folder: Path, verify: bool) -> Vectors:
    """The layout of clip-retrieval; raises DescriptorError where embeddings and metadata do not belong together."""
    files, metadata = (
        natural(files_in(folder / name, (suffix,))) if (folder / name).is_dir() else []
        for name, suffix in ((EMBEDDINGS, NPY), (METADATA, PARQUET))
    )
    if not files:
        raise DescriptorError(f"{folder / EMBEDDINGS} holds no .npy files: it is not whole")
    _require_all(files)
    shards = [npy(file) for file in files]
    _require_as_written(folder, sum(shard.rows for shard in shards), verify)
    if not metadata:
        return Vectors(_alike(folder, shards))
    numbers, described = ({file.stem.rpartition("_")[2].lstrip("0"): file for file in of} for of in (files, metadata))
    for have, lack, where in ((numbers, described, METADATA), (described, numbers, EMBEDDINGS)):
        if lost := next((file for number, file in have.items() if number not in lack), None):
            raise DescriptorError(f"{folder / where} lacks the shard that belongs to {lost}: get it again")
    for shard, file in zip(shards, metadata, strict=True):
        if shard.rows != (n := opened(file).metadata.num_rows):
            raise DescriptorError(f"{shard.path} has {shard.rows} rows, but {file} {n}: they are not of one run")
    return Vectors(_alike(folder, shards), id_shards(metadata))
