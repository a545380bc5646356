"""The images of a parquet file, one a row: bytes, or a struct with the field `bytes`, as Hugging Face writes images."""

from pathlib import Path
from typing import Any

from bench.data.unpacked_folder import Unpacking
from bench.errors import DatasetError, ImageError

#: Names of columns that hold images, the first that a file has; others are named by `FILE#COLUMN`.
COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes")
ROWS_AT_ONCE = 64
BUFFER = 1 << 20  # bytes of a column that are read at once; arrow would read whole row groups, and all of them ahead


def unpack(file: Path, name: str, column: str, folder: Unpacking) -> None:
    """Unpack the images of a column ("" for the first of COLUMNS that there is); what can't be read is listed.

    Images are named NAME/ROW. Raises OSError where the system can't read the file or write the images.
    """
    import pyarrow as pa
    from pyarrow import parquet

    row = 0
    try:
        with file.open("rb") as stream, parquet.ParquetFile(stream, buffer_size=BUFFER, pre_buffer=False) as table:
            chosen = _column(file, table.schema_arrow, column)
            for batch in table.iter_batches(ROWS_AT_ONCE, columns=[chosen]):
                for value in batch.column(0).to_pylist():
                    where = f"{file}, row {row} of column '{chosen}', counted from 0"
                    _take(value, f"{name}/{row:08d}", where, folder)
                    row += 1
    except DatasetError as error:
        folder.fail(name, str(error))
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # by the system; the errors of arrow have no number
        since = f" from row {row} on" if row else ""
        folder.fail(name, f"the parquet file {file} can't be read{since} ({error}): get it again or leave it out")


def _take(value: Any, name: str, where: str, folder: Unpacking) -> None:
    """Keep the image of a row."""
    data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    if not data:
        only = f"has a path ({path}) but no bytes" if path and data is None else "holds no image"
        folder.fail(name, f"{where}, {only}: fill it or leave the row out")
        return
    try:
        folder.add(name, folder.keep([data], "", where))
    except ImageError as error:
        folder.fail(name, str(error))


def _column(file: Path, schema: Any, asked: str) -> str:
    """The column of images."""
    possible = [field.name for field in schema if _holds_bytes(field.type)]
    for name in [asked] if asked else COLUMNS:
        if name in possible:
            return name
    wanted = f"no column '{asked}' of images" if asked else "no column of images with a usual name"
    named = (
        f"name one of {', '.join(possible)} as {file.name}#COLUMN" if possible else "none of its columns holds bytes"
    )
    raise DatasetError(f"{file} has {wanted}: {named}")


def _holds_bytes(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    if types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    checks = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    return any(check(kind) for check in checks)
