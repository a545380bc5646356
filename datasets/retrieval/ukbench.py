"""UKBench: 2,550 objects photographed four times each; the N-S score counts how many of the four come first."""

import re
from dataclasses import dataclass

from bench.errors import DatasetError
from bench.interfaces import Dataset, ImageFile, Split
from bench.plugins import register_dataset
from bench.published import Download, Published
from datasets.retrieval._names import images_in
from datasets.retrieval._truth import at

IMAGES = "full"
GROUP = 4  # images numbered 0 to 3 show one object, 4 to 7 the next, ...


@dataclass(frozen=True)
class UKBench(Published):
    """Every image is query and database; its positives are the other three of its object."""

    def read(self) -> Split:
        folder = self.folder / IMAGES
        objects = sorted({_number(image) // GROUP for image in images_in(self, folder)})
        numbers = [GROUP * group + view for group in objects for view in range(GROUP)]
        names = [f"ukbench{number:05d}.jpg" for number in numbers]
        images = [ImageFile(f"{IMAGES}/{name}", folder / name) for name in names]
        return Split.of_classes(images, [number // GROUP for number in numbers])


def _number(image: ImageFile) -> int:
    named = re.fullmatch(r"ukbench(\d{5})\.jpg", image.path.name)
    if named is None:
        raise DatasetError(f"{image.path} is not called ukbench and five digits .jpg: remove or rename it")
    return int(named[1])


@register_dataset(groups=("published",), argument="DIR")
def ukbench(directory: str = "") -> Dataset:
    """The University of Kentucky recognition benchmark, its second edition of 10,200 images."""
    return UKBench(
        "ukbench",
        "retrieval",
        "UKBench: each of four photographs finds the other three of its object, of 2,550",
        metrics=("ns_score", "map", "map_rop", "hit@1", "mrr"),
        directory=at(directory),
        layout=f"{IMAGES}/ukbench00000.jpg to {IMAGES}/ukbench10199.jpg, as ukbench.zip unpacks",
        homepage="https://archive.org/details/ukbench",
        licence="not stated",
        citation="Nister, Stewenius: Scalable recognition with a vocabulary tree, CVPR 2006",
        downloads=(Download("https://archive.org/download/ukbench/ukbench.zip", ".", unpack=True, megabytes=1500),),
        counts={
            "n_queries": 10_200,
            "n_database": 10_200,
            "n_pairs": 30_600,
            "n_queries_without_positive": 0,
            "n_junk": 0,
        },
    )
