"""Folders in the form of the DISC21 copy-detection set: references/, queries/, ground_truth.csv."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.errors import DatasetError
from bench.interfaces import GroundTruth, ImageFile, Split
from bench.listing import Listing, listed_in, together
from bench.names import Names, escaped
from datasets import _csv

GROUND_TRUTH = "ground_truth.csv"
COLUMNS = ("query_id", "reference_id")

#: The number of a line in a ground truth, a query and a reference, or "" where the query has no match.
Row = tuple[int, str, str]


def read(folder: Path) -> Split:
    """The split of a folder, images in the order of their names.

    ground_truth.csv has the columns query_id, reference_id (file names without suffix), a row per pair; a query
    without a match has no row, or an empty reference_id. An image's id is its role and name, as in "queries/q1": a
    copy may be called after its original. Raises DatasetError naming the file and row that is wrong.
    """
    queries, references = listed(folder / "queries"), listed(folder / "references")
    pairs = rows(folder / GROUND_TRUTH)
    split = judged(tuple(queries.images), tuple(references.images), folder / GROUND_TRUTH, pairs)
    return replace(split, skipped=together(queries.skipped, references.skipped))


def rows(path: Path) -> list[Row]:
    """The rows of a ground truth with the header query_id, reference_id. Raises DatasetError as `_csv.read` does."""
    return [(line, row["query_id"], row["reference_id"]) for line, row in _csv.read(path, COLUMNS)]


def judged(
    queries: tuple[ImageFile, ...], references: tuple[ImageFile, ...], path: Path, pairs: Iterable[Row]
) -> Split:
    """The split of these images by the rows of the ground truth at `path`.

    Raises DatasetError for a row that names an unknown image, stands there twice, or says that a query has no match
    where another row has one.
    """
    row_of = {escaped(image.path.stem): row for row, image in enumerate(references)}
    found: dict[str, list[int]] = {escaped(image.path.stem): [] for image in queries}
    of_queries, of_references = Names(found), Names(row_of)
    line_of: dict[str, int] = {}
    for line, written, answer in pairs:
        where = f"{path}, line {line}"
        if (query := of_queries.find(written)) is None:
            raise DatasetError(f"{where}: there is no query image '{written}' in {queries[0].path.parent}")
        first = line_of.setdefault(query, line)
        if first != line and not (answer and found[query]):
            raise DatasetError(
                f"{where}: {query} stands in line {first} too, and one of the two says that it has no match: remove one"
            )
        if not answer:
            continue
        if (reference := of_references.find(answer)) is None:
            raise DatasetError(f"{where}: there is no reference image '{answer}' in {references[0].path.parent}")
        if row_of[reference] in found[query]:
            raise DatasetError(f"{where}: the pair {query}, {reference} stands there twice")
        found[query].append(row_of[reference])
    positives = tuple(np.array(sorted(found[escaped(image.path.stem)]), np.int64) for image in queries)
    return Split(queries, references, GroundTruth(positives, tuple(np.empty(0, np.int64) for _ in queries)))


def images(folder: Path) -> tuple[ImageFile, ...]:
    """The images of a role, each by that and its name. Raises DatasetError where there are none or two share a name."""
    return tuple(listed(folder).images)


def listed(folder: Path) -> Listing:
    """The images of a role as `images` gives them, and what else is there. Raises DatasetError as `images` does."""
    if not folder.is_dir():
        raise DatasetError(
            f"there is no folder {folder}: a DISC-form dataset has queries/, references/, {GROUND_TRUTH}"
        )
    listing = listed_in(folder)
    found: dict[str, ImageFile] = {}
    for path in (image.path for image in listing.images):
        image = ImageFile(f"{escaped(folder.name)}/{escaped(path.stem)}", path)
        if other := found.get(image.id):
            raise DatasetError(f"{other.path} and {path} share the name '{path.stem}': rename one of them")
        found[image.id] = image
    if not found:
        raise DatasetError(f"the folder {folder} holds no image")
    return replace(listing, images=tuple(found.values()))
