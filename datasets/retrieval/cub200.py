"""CUB-200-2011: birds of 200 species, retrieval among the images of the test half.

Wah, Branson, Welinder, Perona, Belongie: The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001. Every test image is
query and database, whole (bounding_boxes.txt is not used), and left out of its own ranking.
"""

from dataclasses import dataclass
from pathlib import Path

from bench.errors import DatasetError
from bench.interfaces import Dataset, ImageFile, Split
from bench.plugins import register_dataset
from bench.published import Download, Published
from datasets.retrieval import _truth
from datasets.retrieval._names import first_folder

ARCHIVE = "CUB_200_2011"


@dataclass(frozen=True)
class Cub200(Published):
    """images.txt, image_class_labels.txt and train_test_split.txt, each a line `ID VALUE` an image, and images/."""

    def read(self) -> Split:
        folder = first_folder(self, ARCHIVE)
        names = self._column(folder / "images.txt")
        _truth.image_names(names.values(), str(folder / "images.txt"))
        labels = self._numbers(folder / "image_class_labels.txt", names)
        training = self._numbers(folder / "train_test_split.txt", names)
        for id_, value in training.items():
            if value not in (0, 1):
                raise DatasetError(
                    f"{folder / 'train_test_split.txt'}, image {id_}: '{value}' is neither 1 for training nor 0 for "
                    "test: correct it"
                )
        tested = [id_ for id_ in names if not training[id_]]
        files = [ImageFile(names[id_], folder / "images" / names[id_]) for id_ in tested]
        return Split.of_classes(files, [labels[id_] for id_ in tested])

    def named_by(self, image: ImageFile) -> str:
        path = first_folder(self, ARCHIVE) / "images.txt"
        return f"{path}, line {[*self._column(path).values()].index(image.id) + 1}"

    def _column(self, path: Path) -> dict[str, str]:
        """The values of a file by image id, in its order."""
        found: dict[str, str] = {}
        for number, line in enumerate(_truth.lines(_truth.required(self, path)), 1):
            id_, _, value = line.partition(" ")
            if not value or id_ in found:
                told = "the image stands there before" if value else "it is not an id and a value"
                raise DatasetError(f"{path}, line {number}: {told}: correct it")
            found[id_] = value
        return found

    def _numbers(self, path: Path, names: dict[str, str]) -> dict[str, int]:
        """Numbers by image id, for the same images as in images.txt."""
        found = self._column(path)
        if unmatched := names.keys() ^ found.keys():
            raise DatasetError(
                f"{path} has {len(found)} images, images.txt {len(names)}; the image {min(unmatched)} is only in one: "
                "get them again from their publisher"
            )
        for id_, value in found.items():
            if not value.isdecimal():
                raise DatasetError(f"{path}, image {id_}: '{value}' is not a number: correct it")
        return {id_: int(value) for id_, value in found.items()}


@register_dataset(groups=("paper", "published"), argument="DIR")
def cub200(directory: str = "") -> Dataset:
    """CUB-200-2011: birds of the same species, in the test half."""
    return Cub200(
        "cub200",
        "retrieval",
        "birds of the same species, the test half of CUB-200-2011",
        metrics=("map", "hit@1", "hit@10", "recall@1", "recall@10", "r_precision", "map@r", "mrr", "knn@20"),
        directory=_truth.at(directory),
        layout=f"{ARCHIVE}/ with images.txt, image_class_labels.txt, train_test_split.txt and images/",
        homepage="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        licence="not stated",
        citation="Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001, 2011",
        downloads=(
            Download(
                "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                ".",
                unpack=True,
                megabytes=1150.6,
                sha256="0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
                md5="97eceeb196236b17998738112f37df78",
            ),
        ),
        counts={"n_queries": 5794, "n_database": 5794, "n_queries_without_positive": 0},
    )
