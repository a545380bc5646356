"""Lists of images: CSV files with a column of paths, and where there are such columns, of ids and of hashes."""

import csv
from pathlib import Path

from bench.errors import DatasetError
from bench.files import sha256_file
from bench.interfaces import ImageFile
from bench.listing import Listing
from bench.names import Disk, escaped, printable, unescaped


def read(table: Path, column: str) -> Listing:
    """Read the images whose paths, from the list's folder on, stand in a column; `id` names them, where there is one.

    A path may also be written escaped, or in another Unicode form than on disk. Where there is a column `sha256`, a
    file must be the one it is the hash of.

    Raises:
        DatasetError: the list is no CSV file in UTF-8, lacks the column, has an empty path or two images of one id, or
            a file has another hash.
    """
    if not table.is_file():
        raise DatasetError(f"the list {table} is no regular file: write one with the column '{column}'")
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream, restval="")
            lines = [(rows.line_num, row) for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"the list {table} is not a CSV file in UTF-8 ({error}): save it as one") from error
    if lines and column not in lines[0][1]:
        raise DatasetError(f"the list {table} has no column '{column}': name that of the paths as {table.name}#COLUMN")
    disk = Disk()
    images: dict[str, ImageFile] = {}
    for line, row in lines:
        if not row[column]:
            raise DatasetError(f"the list {table}, line {line}, has no path: fill it or remove the line")
        path = table.parent / row[column]
        found = disk.find(path) or path
        image = ImageFile(_id(row.get("id") or "", row[column], found), found)
        if image.id in images:
            raise DatasetError(f"the list {table} has two images '{image.id}': remove one")
        if row.get("sha256") and _differs(found, row["sha256"]):
            raise DatasetError(f"the image {found} is not the one in {table}, by its sha256: restore it")
        images[image.id] = image
    return Listing(list(images.values()))


def _id(given: str, written: str, found: Path) -> str:
    """What an image is called by a list that writes its path so."""
    if given:
        return printable(given)
    was_escaped = str(found).endswith(unescaped(written)) and not str(found).endswith(written)
    return printable(written) if was_escaped else escaped(written)


def _differs(path: Path, sha256: str) -> bool:
    """Whether a file has another hash; one that can't be read is left to whoever decodes it."""
    try:
        return sha256_file(path) != sha256
    except (OSError, ValueError):
        return False
