"""Caltech-101: photographs of 101 categories; here an image is to find the others of its category."""

from dataclasses import dataclass

from bench.interfaces import Dataset, Split
from bench.plugins import register_dataset
from bench.published import Download, Published
from datasets.retrieval._names import by_folder, first_folder
from datasets.retrieval._truth import at

IMAGES = "101_ObjectCategories"
BACKGROUND = "BACKGROUND_Google"  # no category: torchvision's loader leaves it out, too


@dataclass(frozen=True)
class Caltech101(Published):
    """Every image of a category is query and database."""

    def read(self) -> Split:
        images = first_folder(self, IMAGES, f"caltech101/{IMAGES}", f"caltech-101/{IMAGES}")
        return by_folder(self, images, left_out=(BACKGROUND,))


@register_dataset(groups=("published",), argument="DIR")
def caltech101(directory: str = "") -> Dataset:
    """Caltech-101 in torchvision's layout, or a folder a category."""
    return Caltech101(
        "caltech101",
        "retrieval",
        "Caltech-101: each photograph finds those of its category, of 101",
        metrics=("map", "map_rop", "hit@1", "recall@10", "mrr", "r_precision", "map@r", "knn@20"),
        directory=at(directory),
        layout=f"{IMAGES}/CATEGORY/image_0001.jpg as {IMAGES}.tar.gz inside caltech-101.zip unpacks to, "
        "or the folders CATEGORY alone",
        homepage="https://data.caltech.edu/records/mzrjq-6wc02",
        licence="CC-BY-4.0",
        citation="Fei-Fei, Fergus, Perona: Learning generative visual models from few training examples, 2004",
        downloads=(
            # the url and md5 of torchvision's loader
            Download(
                "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                ".",
                unpack=True,
                megabytes=137.4,
                sha256="331234750fc7f77520e50d9565e8b6907b03565e30320da1401130db08c61f91",
                md5="3138e1922a9193bfa496528edbbc45d0",
                inner=("caltech-101/101_ObjectCategories.tar.gz",),
            ),
        ),
        counts={"n_queries": 8677, "n_database": 8677, "n_queries_without_positive": 0, "n_junk": 0},
    )
