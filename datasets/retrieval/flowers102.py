"""Oxford Flowers-102: photographs of 102 kinds of flowers; here an image is to find the others of its kind."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import DatasetError
from bench.interfaces import Dataset, ImageFile, Split
from bench.plugins import register_dataset
from bench.published import Download, Published
from datasets.retrieval import _truth
from datasets.retrieval._names import first_folder

FOLDER = "flowers-102"
LABELS = "imagelabels.mat"
ADDRESS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102"


@dataclass(frozen=True)
class Flowers102(Published):
    """Every image, of the three parts that setid.mat tells apart, is query and database."""

    def read(self) -> Split:
        folder = first_folder(self, FOLDER)
        labels = _labels(_truth.required(self, folder / LABELS))
        names = [f"image_{number:05d}.jpg" for number in range(1, len(labels) + 1)]
        return Split.of_classes([ImageFile(name, folder / "jpg" / name) for name in names], labels)

    def named_by(self, image: ImageFile) -> str:
        return f"{first_folder(self, FOLDER) / LABELS}, by its number"


def _labels(path: Path) -> list[int]:
    """The kind of each image by its number."""
    from scipy.io import loadmat

    try:
        return [int(label) for label in np.ravel(loadmat(path, variable_names=["labels"])["labels"])]
    except Exception as error:  # a damaged file may raise anything
        raise DatasetError(
            f"{path} is no MATLAB file with labels ({type(error).__name__}: {error}): get it again from its publisher"
        ) from error


@register_dataset(groups=(), argument="DIR")
def flowers102(directory: str = "") -> Dataset:
    """Oxford Flowers-102 in torchvision's layout."""
    return Flowers102(
        "flowers102",
        "retrieval",
        "Oxford Flowers-102: each photograph finds those of its kind, of 102",
        metrics=("map", "map_rop", "hit@1", "recall@10", "mrr", "r_precision", "map@r", "knn@20"),
        directory=_truth.at(directory),
        layout=f"{FOLDER}/jpg/image_00001.jpg, ... and {FOLDER}/{LABELS}, or what is in that folder alone",
        homepage=f"{ADDRESS}/",
        licence="not stated",
        citation="Nilsback, Zisserman: Automated flower classification over a large number of classes, 2008",
        # the urls and md5s of torchvision's loader
        downloads=(
            Download(
                f"{ADDRESS}/102flowers.tgz",
                FOLDER,
                unpack=True,
                megabytes=344.9,
                md5="52808999861908f626f3c1f4e79d11fa",
            ),
            Download(f"{ADDRESS}/{LABELS}", f"{FOLDER}/{LABELS}", unpack=False, md5="e0620be6f572b9609742df49c70aed4d"),
            Download(
                f"{ADDRESS}/setid.mat", f"{FOLDER}/setid.mat", unpack=False, md5="a5357ecc9cb78c4bef273ce3793fc85c"
            ),
        ),
        counts={"n_queries": 8189, "n_database": 8189, "n_queries_without_positive": 0},
    )
