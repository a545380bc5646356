"""Folders of images with a pairs.csv: which image is a copy of which, or answers it."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from bench.errors import DatasetError
from bench.interfaces import GroundTruth, Indices, Levels, Split
from bench.listing import listed_below, to_be_read
from bench.names import Names
from datasets import _csv

PAIRS = "pairs.csv"
#: Beside the images; those that are made have a manifest.
TABLES = (PAIRS, "manifest.json", "manifest.sha256")
MOST = 5  # the scale of levels is that of D-Rep: relative_deviation is defined on it


@dataclass
class _Query:
    """What the rows say of one query. matches: line by reference; levels: of those references that have one."""

    line: int
    tags: str
    matches: dict[str, int] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)


def read(folder: Path) -> Split:
    """The split of a folder: its images in the order of their names, which are their ids, and its pairs.csv.

    pairs.csv has the columns `query` and `reference`, paths below the folder, a row per pair; `reference` is empty
    where a query has no match. `level`, if given, says how much is copied, from 0 for nothing to 5; `tags` what the
    query's scores are told apart by, separated by ";". Every image that is not named as a query alone is in the
    database. Raises DatasetError naming the file and line that is wrong.
    """
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}: a dataset of pairs has images and {PAIRS}")
    path = folder / PAIRS
    rows = _csv.read(path, ("query", "reference"))
    listing = listed_below(folder, TABLES)
    images = {image.id: image for image in to_be_read(listing, folder)}
    asked = _queries(path, rows, Names(images))
    if not asked:
        raise DatasetError(f"{path} names no query: write a row per pair")
    answers = {reference for query in asked.values() for reference in query.matches}
    database = tuple(image for image in images.values() if image.id in answers or image.id not in asked)
    if not database:
        raise DatasetError(f"{path} names every image as a query without a match: add images to be searched")
    queries = tuple(image for image in images.values() if image.id in asked)
    row_of = {image.id: row for row, image in enumerate(database)}
    found = [asked[image.id] for image in queries]
    return Split(
        queries,
        database,
        GroundTruth(
            tuple(_rows(row_of, [r for r in query.matches if query.levels.get(r) != 0]) for query in found),
            tuple(_rows(row_of, []) for _ in found),
        ),
        levels=_levels(path, found, row_of) if _has(rows, "level") else None,
        tags=tuple(tuple(_split(query.tags)) for query in found) if _has(rows, "tags") else (),
        skipped=listing.skipped,
    )


def has_levels(folder: Path) -> bool:
    """Whether the header of the folder's pairs.csv names levels; False where it can't be told, as `read` explains."""
    if not (folder / PAIRS).is_file():
        return False
    try:
        with (folder / PAIRS).open(newline="", encoding="utf-8-sig") as stream:
            return "level" in next(csv.reader(stream), ())
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def _queries(path: Path, rows: list[tuple[int, dict[str, str]]], images: Names) -> dict[str, _Query]:
    asked: dict[str, _Query] = {}
    for line, row in rows:
        where = f"{path}, line {line}"
        name, tags = _known(row["query"], images, where), row.get("tags", "")
        query = asked.setdefault(name, _Query(line, tags))
        if query.tags != tags:
            raise DatasetError(f"{where}: the tags of {name} are not those of line {query.line}: make them the same")
        if query.line != line and not (row["reference"] and query.matches):
            raise DatasetError(
                f"{where}: {name} stands in line {query.line} too, and one of the two says that it has no match: "
                "remove one"
            )
        if row["reference"]:
            reference = _known(row["reference"], images, where)
            _add(query, name, reference, line, where)
            if level := row.get("level"):
                query.levels[reference] = _number(level, where)
        elif row.get("level"):
            raise DatasetError(f"{where}: there is a level but no reference: name it, or leave the level empty")
    return asked


def _add(query: _Query, name: str, reference: str, line: int, where: str) -> None:
    if reference == name:
        raise DatasetError(f"{where}: {name} is paired with itself: remove the line")
    if reference in query.matches:
        raise DatasetError(
            f"{where}: the pair {name}, {reference} stands in line {query.matches[reference]} already: remove one"
        )
    query.matches[reference] = line


def _known(written: str, images: Names, where: str) -> str:
    """The id of an image that a row names."""
    if found := images.find(written):  # most are written as their ids
        return found
    path = PurePosixPath(written)
    if path.is_absolute() or ".." in path.parts:
        raise DatasetError(f"{where}: '{written}' is no path below the folder: write it relative to {PAIRS}")
    if found := images.find(str(path)):
        return found
    raise DatasetError(f"{where}: there is no image '{written}' below the folder: correct the path, with its suffix")


def _number(written: str, where: str) -> float:
    try:
        level = float(written)
    except ValueError:
        level = math.nan
    if not 0 <= level <= MOST:
        raise DatasetError(f"{where}: the level '{written}' is no number from 0 to {MOST}: correct it")
    return level


def _has(rows: list[tuple[int, dict[str, str]]], column: str) -> bool:
    return column in rows[0][1]


def _split(tags: str) -> list[str]:
    return [tag.strip() for tag in tags.split(";") if tag.strip()]


def _rows(row_of: Mapping[str, int], references: list[str]) -> Indices:
    return np.array(sorted(row_of[reference] for reference in references), np.int64)


def _levels(path: Path, found: list[_Query], row_of: Mapping[str, int]) -> Levels:
    pairs = sorted((q, row_of[r], level) for q, query in enumerate(found) for r, level in query.levels.items())
    if not pairs:
        raise DatasetError(f"{path} has the column level, but gives no pair one: fill it or remove it")
    queries, database, level = zip(*pairs, strict=True)
    return Levels(np.array(queries, np.int64), np.array(database, np.int64), np.array(level, np.float64))
