"""Captions of a file: a column of .parquet or .csv, or the lines of .txt."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UsageError

#: Names of columns that hold captions, the first that a file has; others are named by `FILE#COLUMN`.
COLUMNS = ("caption", "TEXT", "text")


def chosen(spec: str, n: int, seed: int) -> Sequence[str]:
    """`n` captions of the file that `FILE` or `FILE#COLUMN` names, drawn by `seed` where it has more; none is empty.

    As many as it has are all of them in their order. Raises UsageError where there are fewer, or no captions.
    """
    import pyarrow.compute as pc

    file, column = _parted(spec)
    every = _read(file, column)
    filled = every.filter(pc.not_equal(pc.utf8_trim_whitespace(every), ""))  # a missing one is dropped, too
    if len(filled) < n:
        raise UsageError(f"--count is {n:,}, but {file} holds {len(filled):,} captions: lower it")
    if len(filled) > n:
        filled = filled.take(np.random.default_rng(seed).permutation(len(filled))[:n])
    return [str(caption) for caption in filled.to_pylist()]


def _parted(spec: str) -> tuple[Path, str]:
    """The file and the column, "" where none is named."""
    path, column = Path(spec), ""
    if not path.is_file():
        before, _, column = spec.rpartition("#")
        path = Path(before or spec)
    if not path.is_file():
        raise UsageError(f"there is no file of captions {path}: give a .parquet, .csv or .txt file")
    return path, column


def _read(file: Path, column: str) -> Any:
    """An arrow array of strings."""
    import pyarrow as pa

    kind = file.suffix.lower()
    if kind not in (".parquet", ".csv", ".txt"):
        raise UsageError(f"the captions {file} are no .parquet, .csv or .txt file: give one of those")
    try:
        if kind == ".txt":
            return _lines(file, column)
        return _of_parquet(file, column) if kind == ".parquet" else _of_csv(file, column)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise UsageError(f"the captions {file} can't be read ({error}): get the file again") from error


def _lines(file: Path, column: str) -> Any:
    import pyarrow as pa

    if column:
        raise UsageError(f"{file} has no columns: leave out #{column}")
    return pa.array(file.read_text(encoding="utf-8-sig").splitlines(), pa.large_string())


def _of_parquet(file: Path, column: str) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetFile(file) as table:
        kinds = {field.name: field.type for field in table.schema_arrow}
        strings = [name for name, kind in kinds.items() if pa.types.is_string(kind) or pa.types.is_large_string(kind)]
        name = _column(file, strings, column)
        return table.read(columns=[name]).column(name).cast(pa.large_string())


def _of_csv(file: Path, column: str) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    quoted = csv.ParseOptions(newlines_in_values=True)
    with csv.open_csv(file, parse_options=quoted) as table:
        name = _column(file, table.schema.names, column)
    # "null" and "NA" are captions as others are
    kept = csv.ConvertOptions(include_columns=[name], column_types={name: pa.large_string()}, strings_can_be_null=False)
    return csv.read_csv(file, parse_options=quoted, convert_options=kept).column(name)


def _column(file: Path, there: Sequence[str], asked: str) -> str:
    found = next((name for name in ([asked] if asked else COLUMNS) if name in there), None)
    if found is None:
        wanted = f"'{asked}' of captions" if asked else "of captions with a usual name"
        named = f"name one of {', '.join(there)} as {file.name}#COLUMN" if there else "none of its columns is text"
        raise UsageError(f"{file} has no column {wanted}: {named}")
    return found
