"""GPR1200: ten images of each of 1,200 classes, every image a query.

Schall, Barthel, Hezel, Jung: GPR1200, MMM 2022. Their evaluation counts the query itself as its first answer; here it
is left out of its own ranking, so that a score is lower than theirs of the same descriptor.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from bench.errors import DatasetError
from bench.interfaces import Dataset, Split
from bench.plugins import register_dataset
from bench.published import Download, Published
from datasets.retrieval import _truth
from datasets.retrieval._names import first_folder, images_in


@dataclass(frozen=True)
class Gpr1200(Published):
    """CLASS_NAME.jpg, in images/ or in the folder itself; CLASS is a number."""

    def read(self) -> Split:
        images = images_in(self, first_folder(self, "images"))
        images.sort(key=lambda image: _label(image.path))
        return Split.of_classes(images, [_label(image.path) for image in images])


def _label(path: Path) -> int:
    found = re.match(r"[0-9]+(?=_)", path.name)
    if not found:
        raise DatasetError(f"the name of {path} does not start with the number of its class, as in 17_NAME: remove it")
    return int(found[0])


@register_dataset(groups=("paper", "published"), argument="DIR")
def gpr1200(directory: str = "") -> Dataset:
    """GPR1200: landmarks, nature, sketches, objects, products and faces."""
    return Gpr1200(
        "gpr1200",
        "retrieval",
        "1,200 classes of six domains, every image a query",
        metrics=("map", "hit@1", "recall@10", "r_precision", "map@r", "mrr"),
        directory=_truth.at(directory),
        layout="the images as images/CLASS_NAME.jpg",
        homepage="https://github.com/Visual-Computing/GPR1200",
        licence="non-commercial research and education; copyright with the owners of the images",
        citation="Schall et al., GPR1200: A Benchmark for General-Purpose Content-Based Image Retrieval, MMM 2022",
        downloads=(Download("https://visual-computing.com/files/GPR1200/GPR1200.zip", ".", True),),
        counts={"n_queries": 12000, "n_database": 12000, "n_pairs": 108000, "n_queries_without_positive": 0},
    )
