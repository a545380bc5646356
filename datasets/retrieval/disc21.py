"""DISC21, the dataset of the Image Similarity Challenge 2021: edited copies and strangers against a million images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import DatasetError
from bench.interfaces import Dataset, Split
from bench.plugins import register_dataset
from bench.published import Published
from datasets import _disc
from datasets.retrieval._names import first_folder
from datasets.retrieval._truth import lines

#: By the names they were published under, and that of any other set of this form.
GROUND_TRUTHS = ("public_ground_truth.csv", "dev_ground_truth.csv", "final_ground_truth.csv", _disc.GROUND_TRUTH)
FINAL = (
    "final_queries"  # the queries that final_ground_truth.csv judges, where they lie beside those of the first phase
)
CANDIDATES = 500_000  # pairs that the challenge accepts, the best of all queries together


@dataclass(frozen=True)
class Disc21(Published):
    """Folders of queries and references, and the ground truth that says which queries there are.

    ground_truth: the file's name, or "" for the only one that is there.
    """

    ground_truth: str = field(kw_only=True)

    @property
    def identity(self) -> str:
        return f"{super().identity}/{self.ground_truth}" if self.ground_truth else super().identity

    def read(self) -> Split:
        truth = self._ground_truth()
        folder = first_folder(self, "images")
        final = truth.name == "final_ground_truth.csv" and (folder / FINAL).is_dir()
        queries = _disc.images(folder / (FINAL if final else "queries"))
        pairs = _rows(truth)
        if any(not reference for _, _, reference in pairs):  # it lists all its queries: others were not judged by it
            listed = {query for _, query, _ in pairs}
            queries = tuple(image for image in queries if image.path.stem in listed) or queries
        return _disc.judged(queries, _disc.images(folder / "references"), truth, pairs)

    def _ground_truth(self) -> Path:
        names = (self.ground_truth,) if self.ground_truth else GROUND_TRUTHS
        found = [self.folder / name for name in names if (self.folder / name).is_file()]
        if not found:
            raise DatasetError(f"{self.folder} has no ground truth {' or '.join(names)}: {self.how_to_get}")
        if len(found) > 1:
            raise DatasetError(
                f"{self.folder} has {' and '.join(path.name for path in found)}, which judge different queries: "
                f"name one as {self.name}:{found[0]}"
            )
        return found[0]


def _rows(path: Path) -> Sequence[_disc.Row]:
    """The rows of a ground truth, which may lack the header.

    Raises DatasetError where it is not a table of two columns.
    """
    written = lines(path)
    if not written or any(column in written[0] for column in _disc.COLUMNS):
        return _disc.rows(path)
    pairs = []
    for number, line in enumerate(written, start=1):
        cells = line.split(",")
        if len(cells) != len(_disc.COLUMNS):
            raise DatasetError(f"{path}, line {number}: '{line}' is not {','.join(_disc.COLUMNS)}: correct it")
        pairs.append((number, cells[0], cells[1]))
    return pairs


@register_dataset(groups=("published",), argument="DIR")
def disc21(directory: str = "") -> Dataset:
    """DISC21 in the folder DIR, or by one of several ground truths as DIR/final_ground_truth.csv."""
    place = Path(directory) if directory else None
    named = place is not None and place.suffix == ".csv"
    return Disc21(
        "disc21",
        "copy",
        "DISC21: edited copies among 25,000 or 50,000 queries find their originals among a million",
        metrics=("micro_ap", "recall@p90", "threshold@p90", "pair_recall@1", "pair_recall@10", "map", "map_rop"),
        candidates=CANDIDATES,
        directory=place.parent if place and named else place,
        ground_truth=place.name if place and named else "",
        layout="queries/Q00000.jpg, references/R000000.jpg and public_ground_truth.csv (25,000 queries), "
        "dev_ground_truth.csv or final_ground_truth.csv (50,000 each) with the columns query_id,reference_id; the "
        "folders may lie in images/, where the archives unpack them, beside final_queries/ and train/",
        homepage="https://sites.google.com/view/isc2021/dataset",
        licence="see the homepage",
        citation="Douze et al.: The 2021 image similarity dataset and challenge, arXiv 2106.09672",
        counts={"n_database": 1_000_000, "n_junk": 0},
    )
