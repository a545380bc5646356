"""Where images come from: any folder, a list, the database of a dataset, webdataset shards, parquet files."""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from bench import plugins
from bench.errors import DatasetError, UsageError
from bench.files import sha256_file
from bench.images import SUFFIXES
from bench.interfaces import Dataset, ImageFile
from bench.listing import files_below
from bench.unpacking import absolute, unpacked

TAR, PARQUET, CSV = ".tar", ".parquet", ".csv"


@dataclass(frozen=True)
class Source:
    """Images to make or fit something of. identity: the path, or the dataset's identity."""

    identity: str
    read: Callable[[], Sequence[ImageFile]]

    @cached_property
    def images(self) -> Sequence[ImageFile]:
        """Each with an id of its own; unpacked where they are not yet. Raises DatasetError where there are none."""
        images = self.read()
        if not images:
            raise DatasetError(f"{self.identity} holds no images: name a folder, a dataset or shards that do")
        return images


def images_of(spec: str) -> Source:
    """The images that `spec` names.

    It is a folder (all images below it, or else the shards below it); shards as `x.tar`, `x-{0000..0009}.tar`, `*.tar`,
    or the same of parquet files, several with commas between, with `#COLUMN` behind where the images stand in a column
    of another name; a list `x.csv` of paths, as `bench generate train` leaves it; or a dataset, of which it is the
    database. Raises UsageError, a sentence that begins with the spec,
    where it is none of them.
    """
    path, _, column = (spec, "", "") if _is_there(spec) else spec.partition("#")
    if _is_there(path) and Path(path).is_dir():
        return Source(_identity([Path(path).resolve()], column), partial(_in_folder, Path(path), column))
    if path.lower().endswith(TAR) and column:
        raise UsageError(f"'{spec}' names a column, but a .tar has none: leave out #{column}")
    if path.lower().endswith((TAR, PARQUET)):
        named = [absolute(Path(part)) for part in _parts(path)]
        return Source(_identity(named, column), partial(_in_shards, _shards(path), column))
    if path.lower().endswith(CSV):
        if not _is_there(path):
            raise UsageError(f"'{spec}' is a list of images, but there is no such file: correct it")
        return Source(_identity([absolute(Path(path))], column), partial(_in_list, Path(path), column or "path"))
    return _of_dataset(spec)


def below(folder: Path) -> Sequence[ImageFile]:
    """All images below a folder by their names, which are paths relative to it; links to folders are followed."""
    return [ImageFile(path.relative_to(folder).as_posix(), path) for path in files_below(folder, SUFFIXES)]


def _in_folder(folder: Path, column: str) -> Sequence[ImageFile]:
    if not column and (images := below(folder)):
        return images
    # tar first: img2dataset writes tables without images beside its tar shards
    for suffix in (PARQUET,) if column else (TAR, PARQUET):
        if shards := files_below(folder, (suffix,)):
            return _in_shards(shards, column)
    return []


def _in_shards(shards: Sequence[Path], column: str) -> Sequence[ImageFile]:
    return below(unpacked(shards, column))


def _in_list(table: Path, column: str) -> Sequence[ImageFile]:
    """The images whose paths, from the list's folder on, stand in a column; `id` names them, where there is one.

    Where there is a column `sha256`, a file must be the one it tells of.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, restval=""))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"the list {table} is not a CSV file in UTF-8 ({error}): save it as one") from error
    if rows and column not in rows[0]:
        raise DatasetError(f"the list {table} has no column '{column}': name that of the paths as {table.name}#COLUMN")
    images: dict[str, ImageFile] = {}
    for row in rows:
        image = ImageFile(row.get("id") or row[column], table.parent / row[column])
        if image.id in images:
            raise DatasetError(f"the list {table} has two images '{image.id}': remove one")
        if row.get("sha256") and image.path.is_file() and sha256_file(image.path) != row["sha256"]:
            raise DatasetError(f"the image {image.path} is not the one in {table}, by its sha256: restore it")
        images[image.id] = image
    return list(images.values())


def _of_dataset(spec: str) -> Source:
    try:
        chosen: list[Dataset] = [selected.item for selected in plugins.datasets.select(spec)]
    except UsageError as error:
        raise UsageError(f"'{spec}' is no folder, no .tar or .parquet file, and {error}") from error
    if len(chosen) > 1:
        raise UsageError(f"'{spec}' is {len(chosen)} datasets: name one, or a folder")
    return Source(chosen[0].identity, lambda: chosen[0].load().database)


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a list of files may be longer than a name can be
        return False


def _parts(spec: str) -> list[str]:
    return [spec] if _is_there(spec) else [part.strip() for part in spec.split(",")]


def _identity(named: Sequence[Path], column: str) -> str:
    return ",".join(map(str, named)) + (f"#{column}" if column else "")


def _shards(spec: str) -> list[Path]:
    """The files of a comma-separated list of names, ranges in braces, and patterns, each once."""
    found: dict[Path, None] = {}
    for name in (name for part in _parts(spec) for name in _expanded(part)):
        files = [Path(name)] if Path(name).is_file() else _matching(name)
        if not files:
            raise UsageError(f"'{spec}' names {name}, but there is no such file: correct it")
        found |= dict.fromkeys(files)
    if not found:
        raise UsageError(f"'{spec}' is a range that ends before it begins: correct it")
    return list(found)


def _expanded(name: str) -> Iterator[str]:
    """`x-{08..10}` as x-08, x-09, x-10."""
    braces = re.search(r"\{(\d+)\.\.(\d+)\}", name)
    if not braces:
        yield name
        return
    first, last = braces.groups()
    width = max(len(first), len(last)) if first.startswith("0") else 0
    for number in range(int(first), int(last) + 1):
        yield from _expanded(name.replace(braces.group(), f"{number:0{width}d}", 1))


def _matching(pattern: str) -> list[Path]:
    anchor = Path(pattern).anchor
    found = Path(anchor or ".").glob(pattern.removeprefix(anchor)) if set(pattern) & set("*?[") else ()
    return sorted(path for path in found if path.is_file())
