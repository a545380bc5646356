"""Folders in the form of the DISC21 copy-detection set: references/, queries/, ground_truth.csv."""

from pathlib import Path

import numpy as np

from bench.errors import DatasetError
from bench.images import SUFFIXES
from bench.interfaces import GroundTruth, ImageFile, Split
from datasets import _csv

GROUND_TRUTH = "ground_truth.csv"


def read(folder: Path) -> Split:
    """The split of a folder, images in the order of their names.

    ground_truth.csv has the columns query_id, reference_id (file names without suffix), a row per pair; a query
    without a match has no row, or an empty reference_id. An image's id is its role and name, as in "queries/q1": a
    copy may be called after its original. Raises DatasetError naming the file and row that is wrong.
    """
    queries, references = _images(folder / "queries"), _images(folder / "references")
    row_of = {image.path.stem: row for row, image in enumerate(references)}
    found: dict[str, list[int]] = {image.path.stem: [] for image in queries}
    for line, row in _csv.read(folder / GROUND_TRUTH, ("query_id", "reference_id")):
        query, reference = row["query_id"], row["reference_id"]
        where = f"{folder / GROUND_TRUTH}, line {line}"
        if query not in found:
            raise DatasetError(f"{where}: there is no query image '{query}' in {folder / 'queries'}")
        if not reference:
            continue
        if reference not in row_of:
            raise DatasetError(f"{where}: there is no reference image '{reference}' in {folder / 'references'}")
        if row_of[reference] in found[query]:
            raise DatasetError(f"{where}: the pair {query}, {reference} stands there twice")
        found[query].append(row_of[reference])
    positives = tuple(np.array(sorted(found[image.path.stem]), np.int64) for image in queries)
    return Split(queries, references, GroundTruth(positives, tuple(np.empty(0, np.int64) for _ in queries)))


def _images(folder: Path) -> tuple[ImageFile, ...]:
    if not folder.is_dir():
        raise DatasetError(
            f"there is no folder {folder}: a DISC-form dataset has queries/, references/, {GROUND_TRUTH}"
        )
    images: dict[str, ImageFile] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            image = ImageFile(f"{folder.name}/{path.stem}", path)
            if other := images.get(image.id):
                raise DatasetError(f"{other.path} and {path} share the name '{path.stem}': rename one of them")
            images[image.id] = image
    if not images:
        raise DatasetError(f"the folder {folder} holds no image")
    return tuple(images.values())
