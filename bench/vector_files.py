"""One file of descriptors, .npy or parquet, as blocks of rows that are read one by one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DescriptorError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

#: Bytes of a .npy file that are mapped at once: a map of the whole of it would not fit a limit of address space.
WINDOW = 2**25
#: Columns that name a row, the first that all files have.
ID_COLUMNS = ("id", "image_path", "path", "file_name", "key", "url")


@dataclass(frozen=True)
class Block:
    """Rows that are read together: a window of a .npy file, a row group of a parquet file."""

    rows: int
    load: Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class Shard:
    """One file. tail: the shape of a row."""

    path: Path
    blocks: tuple[Block, ...]
    tail: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def rows(self) -> int:
        return sum(block.rows for block in self.blocks)


def npy(path: Path) -> Shard:
    """A .npy file as windows of it. Raises DescriptorError where it is none, or shorter than its header says."""
    try:
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, by_column, dtype = read(stream)
            offset = stream.tell()
    except (ValueError, KeyError) as error:
        raise DescriptorError(f"{path} is no .npy file that numpy wrote whole ({error}): write it again") from error
    _require_floats(f"{path} is", dtype)
    if len(shape) not in (2, 3):
        raise DescriptorError(
            f"{path} has shape {shape}: descriptors are [rows, dimension] or [rows, tokens, dimension]"
        )
    if by_column and len(shape) > 1 and min(shape) > 1:
        raise DescriptorError(f"{path} is stored column by column: save numpy.ascontiguousarray of it")
    row = int(np.prod(shape[1:])) * dtype.itemsize
    if (size := path.stat().st_size) < offset + shape[0] * row:
        raise DescriptorError(
            f"{path} is cut short: it has {size} bytes, and its header promises {offset + shape[0] * row}; get it again"
        )
    at_once = max(1, WINDOW // max(1, row))
    blocks = [
        Block(n, partial(np.memmap, path, dtype, "r", offset + first * row, (n, *shape[1:])))
        for first in range(0, shape[0], at_once)
        for n in (min(at_once, shape[0] - first),)
    ]
    return Shard(path, tuple(blocks), tuple(shape[1:]), dtype)


def _require_floats(what: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise DescriptorError(f"{what} of dtype {dtype}: descriptors are float16, float32 or float64")


def parquet(path: Path, column: str) -> Shard:
    """A parquet file as the row groups of one column. Raises DescriptorError where there is no such column."""
    file = opened(path)
    name = _list_column(path, file.schema_arrow, column)
    dtype = np.dtype(file.schema_arrow.field(name).type.value_type.to_pandas_dtype())
    first = next((batch.column(0) for batch in file.iter_batches(1, columns=[name])), None)
    dimension = len(first[0].as_py() or ()) if first else 0
    return _row_groups(path, file, name, partial(_matrix, dimension=dimension), (dimension,), dtype)


def opened(path: Path) -> "ParquetFile":
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise DescriptorError(f"{path} is no whole parquet file ({error}): get it again or leave it out") from error


def _list_column(path: Path, schema: "pa.Schema", column: str) -> str:
    """The column of that name, or the only one that holds lists of floating-point numbers."""
    from pyarrow import types

    lists = [
        field.name
        for field in schema
        if (types.is_list(field.type) or types.is_large_list(field.type) or types.is_fixed_size_list(field.type))
        and types.is_floating(field.type.value_type)
    ]
    if column and column not in schema.names:
        raise DescriptorError(f"{path} has no column '{column}': it has {', '.join(schema.names)}")
    if column and column not in lists:
        kind = schema.field(column).type
        raise DescriptorError(
            f"the column {column} of {path} is {kind}: descriptors are lists of floating-point numbers"
        )
    if not column and len(lists) != 1:
        found = f"several columns of descriptors ({', '.join(lists)})" if lists else "no column of descriptors"
        raise DescriptorError(f"{path} has {found}: name one that holds lists of numbers as {path}#COLUMN")
    return column or lists[0]


def _row_groups(
    path: Path,
    file: "ParquetFile",
    column: str,
    convert: Callable[["pa.Array", str], NDArray[Any]],
    tail: tuple[int, ...],
    dtype: np.dtype[Any],
) -> Shard:
    groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    blocks = [Block(n, partial(_row_group, path, column, convert, number)) for number, n in enumerate(groups)]
    return Shard(path, tuple(blocks), tail, dtype)


def _row_group(
    path: Path, column: str, convert: Callable[["pa.Array", str], NDArray[Any]], number: int
) -> NDArray[Any]:
    where = f"the column {column} of {path}, row group {number},"
    try:
        chunks = opened(path).read_row_group(number, columns=[column]).column(0).chunks
    except (OSError, ValueError) as error:
        raise DescriptorError(f"{where} can't be read ({error}): get the file again") from error
    arrays = [convert(chunk, where) for chunk in chunks]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _matrix(chunk: "pa.Array", where: str, dimension: int) -> NDArray[Any]:
    """Lists of one length as rows of a matrix; a missing list has no length."""
    from pyarrow import compute

    lengths = compute.fill_null(compute.list_value_length(chunk), -1).to_numpy(zero_copy_only=False)
    if (other := np.flatnonzero(lengths != dimension)).size:
        told = "no list" if (n := lengths[other[0]]) < 0 else f"a list of {n} numbers"
        raise DescriptorError(
            f"{where} holds {told} where others have {dimension}: mend or leave out its row {other[0]}"
        )
    values = chunk.flatten()
    if values.null_count:
        raise DescriptorError(f"{where} holds lists with missing numbers: mend or leave out their rows")
    matrix: NDArray[Any] = values.to_numpy(zero_copy_only=False).reshape(-1, dimension)
    return matrix


def id_shards(files: Sequence[Path]) -> list[Shard]:
    """The names of rows, from the first of ID_COLUMNS that all files have; none where they have none."""
    common = set.intersection(*(set(opened(file).schema_arrow.names) for file in files))
    column = next((name for name in ID_COLUMNS if name in common), None)
    if column is None:
        return []
    return [_row_groups(file, opened(file), column, _text, (), np.dtype(object)) for file in files]


def _text(chunk: "pa.Array", where: str) -> NDArray[Any]:
    try:
        names: NDArray[Any] = chunk.cast("string").to_numpy(zero_copy_only=False)
    except ValueError as error:
        raise DescriptorError(f"{where} holds no names ({error}): rename it, or make it text") from error
    return names
