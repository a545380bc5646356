"""INRIA Holidays: 500 groups of holiday photographs; the first of each group is to find the others."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bench.errors import DatasetError
from bench.interfaces import Dataset, GroundTruth, ImageFile, Split
from bench.plugins import register_dataset
from bench.published import Published
from datasets.retrieval._names import images_in
from datasets.retrieval._truth import at, lines, no_junk

IMAGES = "jpg"
LIST = "holidays_images.dat"
GROUP = 100  # image 123456 is number 56 of group 1234, and number 0 is the group's query


@dataclass(frozen=True)
class Holidays(Published):
    """The images that holidays_images.dat of the evaluation package names, or else all that are there."""

    def read(self) -> Split:
        numbers = _numbers(self._named())
        images = tuple(ImageFile(name, self.folder / IMAGES / name) for name in numbers)
        number = np.array(list(numbers.values()), np.int64)
        queries = np.flatnonzero(number % GROUP == 0)
        groups = number // GROUP
        positives = tuple(np.flatnonzero((groups == groups[query]) & (number != number[query])) for query in queries)
        return Split(tuple(images[query] for query in queries), images, GroundTruth(positives, no_junk(len(queries))))

    def named_by(self, image: ImageFile) -> str:
        return dict(self._named())[image.id]

    def _named(self) -> Iterable[tuple[str, str]]:
        """Each image's name, and where it is named."""
        for path in (self.folder / "eval_holidays" / LIST, self.folder / LIST):
            if path.is_file():
                return [(name, f"{path}, line {number}") for number, name in enumerate(lines(path), start=1) if name]
        return [(image.path.name, str(image.path)) for image in images_in(self, self.folder / IMAGES)]


def _numbers(named: Iterable[tuple[str, str]]) -> dict[str, int]:
    """The number of each image by its name. Raises DatasetError where a name is none, twice there, or lacks a query."""
    numbers: dict[str, int] = {}
    where_of: dict[str, str] = {}
    for name, where in named:
        if not re.fullmatch(r"\d{6}\.jpg", name):
            raise DatasetError(f"{where}: '{name}' is not the name of an image, six digits .jpg: correct or remove it")
        if name in numbers:
            raise DatasetError(f"{where}: {name} stands there twice: remove one")
        numbers[name], where_of[name] = int(name[:6]), where
    for name, number in numbers.items():
        query = f"{number // GROUP * GROUP:06d}.jpg"
        if query not in numbers:
            raise DatasetError(f"{where_of[name]}: {name} has no query, there is no {query}: add it")
    return numbers


@register_dataset(groups=("published",), argument="DIR")
def holidays(directory: str = "") -> Dataset:
    """INRIA Holidays; its evaluation package computes the AP by the trapezoid rule and ignores the query itself."""
    return Holidays(
        "holidays",
        "retrieval",
        "INRIA Holidays: 500 queries find the photographs of their scene among 1,491",
        metrics=("map_rop", "map", "hit@1", "recall@10", "mrr"),
        directory=at(directory),
        layout=f"{IMAGES}/100000.jpg and so on, as jpg1.tar.gz and jpg2.tar.gz unpack, and eval_holidays/{LIST} of "
        "eval_holidays.tgz, without which all images that are there are taken",
        homepage="https://lear.inrialpes.fr/people/jegou/data.php.html",
        licence="not stated; INRIA holds the copyright of all images",
        citation="Jegou, Douze, Schmid: Hamming embedding and weak geometric consistency for large scale image search, "
        "ECCV 2008",
        counts={
            "n_queries": 500,
            "n_database": 1491,
            "n_pairs": 991,
            "n_queries_without_positive": 0,
            "n_junk": 0,
        },
    )
