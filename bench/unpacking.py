"""Images packed in webdataset shards and parquet files, as ordinary files in the cache folder."""

import io
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from PIL import Image

from bench import paths
from bench.errors import DatasetError
from bench.files import sha256_text, whole_folder
from bench.images import SUFFIXES

#: File suffix by the name that pillow gives a format.
FORMATS = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "PPM": ".ppm",
}
#: Names of columns that hold images, the first that a file has; others are named by `FILE#COLUMN`.
COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes")
ROWS_AT_ONCE = 64
BUFFER = 1 << 20  # bytes of a column that are read at once; arrow would read whole row groups, and all of them ahead
TAR_BLOCK = 512


@dataclass(frozen=True)
class Packed:
    """An image in a shard. key: its name there; where: how an error names it."""

    key: str
    where: str
    stream: IO[bytes]


def unpacked(shards: Sequence[Path], column: str) -> Path:
    """The folder with the images of shards as SHARD/KEY.jpg; unpacked when first asked for, whole or not at all.

    A shard is a webdataset .tar, of which each key is an image, or a parquet file, of which each row of `column` is one
    ("" for the first of COLUMNS that it has). Raises DatasetError, naming the shard and key or row, where one is no
    image, a key has two, or a name leads out of the folder.
    """
    files = [absolute(shard) for shard in shards]
    top = Path(os.path.commonpath([file.parent for file in files]))
    folder = paths.home() / "sources" / _hash(files, column)
    if not folder.is_dir():
        with whole_folder(folder) as making:
            for file in files:
                _unpack(file, column, making / file.relative_to(top))
    return folder


def absolute(path: Path) -> Path:
    """Without `..`, but under its own last name: a hub's cache links that to a file named by its hash."""
    return path.parent.resolve() / path.name


def _hash(files: Sequence[Path], column: str) -> str:
    """Changes with the files as far as their names, sizes and times tell: reading them all would take its time."""
    return sha256_text("\n".join(f"{f}\t{f.stat().st_size}\t{f.stat().st_mtime_ns}" for f in files) + column)[:16]


def _unpack(shard: Path, column: str, folder: Path) -> None:
    for packed in _of_tar(shard) if shard.suffix.lower() == ".tar" else _of_parquet(shard, column):
        path = folder / f"{packed.key}{_suffix(packed)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as stream:
            shutil.copyfileobj(packed.stream, stream)


def _suffix(packed: Packed) -> str:
    try:
        with Image.open(packed.stream) as image:
            kind = image.format
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(f"{packed.where} is no image: replace it or leave it out") from error
    if kind not in FORMATS:
        raise DatasetError(f"{packed.where} is an image of the kind {kind}: convert it to JPEG or PNG, or leave it out")
    packed.stream.seek(0)
    return FORMATS[kind]


def _of_tar(shard: Path) -> Iterator[Packed]:
    """One image a key: the files `KEY.jpg`, `KEY.json`, ... are one sample, as in the webdataset format."""
    try:
        with tarfile.open(shard, "r:") as tar:
            _require_end(shard)
            for key, member in _images_by_key(shard, tar.getmembers()):
                stream = tar.extractfile(member)
                assert stream is not None  # it is a regular file
                yield Packed(key, f"{shard}, key '{key}'", stream)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DatasetError(f"the shard {shard} can't be read ({error}): get it again or leave it out") from error


def _require_end(shard: Path) -> None:
    """A shard cut short between two members would pass as a whole one, but for the zeros at its end."""
    with shard.open("rb") as stream:
        stream.seek(max(0, shard.stat().st_size - TAR_BLOCK))
        end = stream.read(TAR_BLOCK)
    if len(end) < TAR_BLOCK or any(end):
        raise tarfile.ReadError("it is cut short")


def _images_by_key(shard: Path, members: Sequence[tarfile.TarInfo]) -> Iterator[tuple[str, tarfile.TarInfo]]:
    images: dict[str, list[tuple[str, tarfile.TarInfo]]] = {}
    for member in members:
        if member.isdir():
            continue
        _require_safe(shard, member)
        # a key ends at the first dot of the file's name; what begins with a dot belongs to no sample
        if sample := re.fullmatch(r"((?:.*/)?[^./]+)\.([^/]*)", PurePosixPath(member.name).as_posix()):
            key, extension = sample[1], sample[2].lower()
            if f".{extension.rpartition('.')[2]}" in SUFFIXES:
                images.setdefault(key, []).append((extension, member))
    for key, found in images.items():
        # beside KEY.jpg, KEY.mask.png is not the key's image
        plain = [member for extension, member in found if f".{extension}" in SUFFIXES]
        chosen = plain or [member for _, member in found]
        if len(chosen) > 1:
            raise DatasetError(
                f"{shard}: the key '{key}' stands for {len(chosen)} images ({', '.join(m.name for m in chosen)}): "
                "give each a key of its own"
            )
        yield key, chosen[0]


def _require_safe(shard: Path, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not member.isreg() or member.issparse():
        raise DatasetError(
            f"{shard}: '{member.name}' is a link, no ordinary file, or leads out of the folder: get the shard from a "
            "source that you trust"
        )


def _of_parquet(file: Path, column: str) -> Iterator[Packed]:
    """One image a row: bytes, or a struct with the field `bytes`, as Hugging Face writes images."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False) as table:
            name = _column(file, table.schema_arrow, column)
            row = 0
            for batch in table.iter_batches(ROWS_AT_ONCE, columns=[name]):
                for value in batch.column(0).to_pylist():
                    data = value.get("bytes") if isinstance(value, dict) else value
                    where = f"{file}, row {row} of column '{name}', counted from 0,"
                    if not data:
                        raise DatasetError(f"{where} holds no image: fill it or leave the row out")
                    yield Packed(f"{row:08d}", where, io.BytesIO(data))
                    row += 1
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"the parquet file {file} can't be read ({error}): get it again or leave it out") from error


def _column(file: Path, schema: Any, asked: str) -> str:
    """The column of images."""
    import pyarrow as pa

    def holds_bytes(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(field.name == "bytes" and holds_bytes(field.type) for field in kind)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))

    possible = [field.name for field in schema if holds_bytes(field.type)]
    for name in [asked] if asked else COLUMNS:
        if name in possible:
            return name
    wanted = f"no column '{asked}' of images" if asked else "no column of images with a usual name"
    named = (
        f"name one of {', '.join(possible)} as {file.name}#COLUMN" if possible else "none of its columns holds bytes"
    )
    raise DatasetError(f"{file} has {wanted}: {named}")
