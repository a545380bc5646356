"""Parts of reading a ground truth: boxes, rows, names, and what must hold of them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DatasetError
from bench.interfaces import Box, ImageFile, Indices
from bench.listing import files_below
from bench.published import Published


def at(directory: str) -> Path | None:
    """Where a dataset lies, from what stands behind its name and a colon; None for its usual place."""
    return Path(directory) if directory else None


def required(dataset: Published, path: Path) -> Path:
    """A ground-truth file. Raises DatasetError, saying how to get it, where it is not there."""
    if not path.is_file():
        raise DatasetError(f"there is no ground truth {path}: {dataset.how_to_get}")
    return path


def lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, without white space around them. Raises DatasetError where it is not one."""
    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not a text file in UTF-8: get it again from its publisher") from error


def image_names(names: Iterable[Any], where: str) -> list[str]:
    """Names of images below a folder. Raises DatasetError for one that is none, leads out of it, or stands twice."""
    seen: dict[str, int] = {}
    for row, name in enumerate(names, 1):
        if not isinstance(name, str) or not name:
            raise DatasetError(f"{where}, image {row}: {name!r} is not the name of an image: correct it")
        if name.startswith("/") or ".." in name.split("/"):
            raise DatasetError(f"{where}, image {row}: '{name}' leads out of the dataset's folder: correct it")
        if name in seen:
            raise DatasetError(f"{where}, image {row}: '{name}' stands there before, as image {seen[name]}: correct it")
        seen[str(name)] = row
    return list(seen)


def named_by(image: ImageFile, path: Path, names: list[str], queried: list[str]) -> str:
    """Where the lists imlist and qimlist of a ground truth name an image, whose id has query/ before a query's name."""
    if image.id in names:
        return f"{path}, imlist, image {names.index(image.id) + 1}"
    return f"{path}, qimlist, image {queried.index(image.id.removeprefix('query/')) + 1}"


def box(values: Any, where: str) -> Box:
    """Left, top, right and bottom. Raises DatasetError where the values are not four such numbers."""
    try:
        left, top, right, bottom = (float(value) for value in np.ravel(values))
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{where}: the query's box is not four numbers: correct it") from error
    sides = (left, top, right, bottom)
    if not (all(map(math.isfinite, sides)) and left < right and top < bottom):
        raise DatasetError(f"{where}: the query's box {sides} is not left, top, right, bottom: correct it")
    return sides


def rows(values: Any, n_images: int, where: str, first: int = 0) -> Indices:
    """Ascending rows, each once, of a list of `n_images` whose rows the values count from `first`.

    Raises DatasetError for what is no list of row numbers, and for one out of range.
    """
    try:
        given = np.ravel(values)
    except ValueError:  # lists of several lengths
        given = np.array([None])
    if given.size == 0:
        return np.empty(0, np.int64)
    if given.dtype.kind not in "iuf" or not np.isfinite(given).all() or (given != given.round()).any():
        raise DatasetError(f"{where}: the images are not a list of row numbers: correct it")
    found = np.unique(given.astype(np.int64)) - first
    for row in (found[0], found[-1]):
        if not 0 <= row < n_images:
            raise DatasetError(
                f"{where}: there is no image {row + first} among {n_images}, counted from {first}: correct it"
            )
    return found


def require_disjoint(parts: Mapping[str, Indices], database: Sequence[ImageFile], where: str) -> None:
    """Raises DatasetError where an image is in two of a query's parts, such as positive and junk."""
    part_of: dict[int, str] = {}
    for part, members in parts.items():
        for row in members.tolist():
            if row in part_of:
                raise DatasetError(
                    f"{where}: the image {database[row].id} is both {part_of[row]} and {part}: it can be only one"
                )
            part_of[row] = part


def by_stem(folder: Path) -> dict[str, Path]:
    """The .jpg files of a folder's `jpg`, or of the folder where there is none, however deep, by name without suffix.

    Raises DatasetError where two share a name.
    """
    root = folder / "jpg"
    found: dict[str, Path] = {}
    for path in sorted(files_below(root if root.is_dir() else folder, (".jpg",)), key=lambda path: path.stem):
        if path.stem in found:
            raise DatasetError(f"{found[path.stem]} and {path} share the name '{path.stem}': remove one of them")
        found[path.stem] = path
    return found


def no_junk(n_queries: int) -> tuple[Indices, ...]:
    """Nothing to be ignored."""
    return tuple(np.empty(0, np.int64) for _ in range(n_queries))
