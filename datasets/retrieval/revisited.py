"""Revisited Oxford and Paris, alone and among a million distractors.

Radenovic, Iscen, Tolias, Avrithis, Chum: Revisiting Oxford and Paris, CVPR 2018. Queries are cropped to their box and
are no part of the database. Medium, the main setup, seeks easy and hard images; Easy seeks the easy ones and ignores
the hard, Hard the other way round; junk is ignored in all three.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench import paths
from bench.errors import DatasetError
from bench.interfaces import Dataset, GroundTruth, ImageFile, Indices, Split
from bench.plugins import register_dataset
from bench.published import Download, Published
from datasets import _pickle
from datasets.retrieval import _truth, _vgg

LISTS = ("imlist", "qimlist", "gnd")
PARTS = ("easy", "hard", "junk")
#: By setup: what is sought, and what is ignored.
SETUPS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "E": (("easy",), ("junk", "hard")),
    "M": (("easy", "hard"), ("junk",)),
    "H": (("hard",), ("junk", "easy")),
}
METRICS = (
    *(f"map_rop[{setup}]" for setup in "MEH"),
    *(f"mp@{k}[{setup}]" for setup in "MEH" for k in (1, 5, 10)),
    "map",
)
CITATION = "Radenovic et al., Revisiting Oxford and Paris: Large-Scale Image Retrieval Benchmarking, CVPR 2018"
ANNOTATION = "https://cmp.felk.cvut.cz/revisitop/data/datasets"
DISTRACTORS = "revisitop1m"


@dataclass(frozen=True)
class Revisited(Published):
    """The images and the annotation `gnd_SET.pkl` of `base`, with distractors in the database or without."""

    base: str = field(kw_only=True)
    distractors: bool = field(default=False, kw_only=True)

    @property
    def folder(self) -> Path:
        return self.directory or paths.datasets() / self.base

    @property
    def annotation(self) -> Path:
        return self.folder / f"gnd_{self.base}.pkl"

    @property
    def list_of_distractors(self) -> Path:
        beside = Path(os.path.abspath(self.folder)).parent  # noqa: PTH100 - what lies beside a link, not its target
        return beside / DISTRACTORS / f"{DISTRACTORS}.txt"

    def read(self) -> Split:
        path = _truth.required(self, self.annotation)
        names, queried, judged = _lists(_pickle.load(path), path)
        files = _truth.by_stem(self.folder)
        located = {name: files.get(name, self.folder / "jpg" / f"{name}.jpg") for name in (*names, *queried)}
        database = [ImageFile(name, located[name]) for name in names]
        queries, truths = [], []
        for number, (name, entry) in enumerate(zip(queried, judged, strict=True)):
            where = f"{path}, query {number} ({name})"
            truths.append(_parts(entry, database, where))
            box = _truth.box(entry["bbx"], where)
            queries.append(ImageFile(f"query/{name}", located[name], box))
        setups = {setup: _setup(truths, *parts) for setup, parts in SETUPS.items()}
        if self.distractors:
            database += _distractors(self)
        return Split(tuple(queries), tuple(database), setups["M"], setups)

    def named_by(self, image: ImageFile) -> str:
        if (name := image.id.removeprefix(f"{DISTRACTORS}/")) != image.id:
            return f"{self.list_of_distractors}, line {_truth.lines(self.list_of_distractors).index(name) + 1}"
        names, queried, _ = _lists(_pickle.load(self.annotation), self.annotation)
        return _truth.named_by(image, self.annotation, names, queried)


def _lists(found: Any, path: Path) -> tuple[list[str], list[str], list[Any]]:
    """imlist, qimlist and gnd of an annotation."""
    if not isinstance(found, dict) or any(not isinstance(found.get(name), list | tuple | np.ndarray) for name in LISTS):
        raise DatasetError(f"{path} does not hold the lists {', '.join(LISTS)}: get it again from its publisher")
    names = _truth.image_names(found["imlist"], f"{path}, imlist")
    queried = _truth.image_names(found["qimlist"], f"{path}, qimlist")
    if len(found["gnd"]) != len(queried):
        raise DatasetError(f"{path}: gnd judges {len(found['gnd'])} queries, qimlist names {len(queried)}: correct it")
    return names, queried, list(found["gnd"])


def _parts(entry: Any, database: list[ImageFile], where: str) -> dict[str, Indices]:
    """Easy, hard and junk images of a query."""
    lacking = [name for name in ("bbx", *PARTS) if not isinstance(entry, dict) or name not in entry]
    if lacking:
        raise DatasetError(f"{where}: it lacks {', '.join(lacking)}: get the file again from its publisher")
    parts = {name: _truth.rows(entry[name], len(database), f"{where}, {name}") for name in PARTS}
    _truth.require_disjoint(parts, database, where)
    return parts


def _setup(truths: list[dict[str, Indices]], sought: tuple[str, ...], ignored: tuple[str, ...]) -> GroundTruth:
    positives, junk = (
        tuple(np.sort(np.concatenate([parts[name] for name in names])) for parts in truths)
        for names in (sought, ignored)
    )
    return GroundTruth(positives, junk)


def _distractors(dataset: Revisited) -> list[ImageFile]:
    """R1M, which lies beside the dataset's folder: revisitop1m.txt lists the files in jpg/."""
    listed = _truth.required(dataset, dataset.list_of_distractors)
    names = _truth.image_names(filter(None, _truth.lines(listed)), str(listed))
    images = listed.parent / "jpg"
    return [ImageFile(f"{DISTRACTORS}/{name}", images / name) for name in names]


def _annotation(base: str) -> Download:
    return Download(f"{ANNOTATION}/{base}/gnd_{base}.pkl", f"gnd_{base}.pkl", False)


@register_dataset(groups=("paper", "published"), argument="DIR")
def roxford5k(directory: str = "") -> Dataset:
    """Revisited Oxford: 70 queries, setups Easy, Medium and Hard."""
    return Revisited(
        "roxford5k",
        "retrieval",
        "revisited Oxford buildings, three setups of difficulty",
        metrics=METRICS,
        directory=_truth.at(directory),
        layout="gnd_roxford5k.pkl, and the images of Oxford5k in jpg/",
        homepage="https://github.com/filipradenovic/revisitop",
        licence=_vgg.LICENCE,
        citation=CITATION,
        downloads=(_annotation("roxford5k"), *_vgg.OXFORD),
        counts={"n_queries": 70, "n_database": 4993},
        base="roxford5k",
    )


@register_dataset(groups=("paper", "published"), argument="DIR")
def rparis6k(directory: str = "") -> Dataset:
    """Revisited Paris: 70 queries, setups Easy, Medium and Hard."""
    return Revisited(
        "rparis6k",
        "retrieval",
        "revisited Paris buildings, three setups of difficulty",
        metrics=METRICS,
        directory=_truth.at(directory),
        layout="gnd_rparis6k.pkl, and the images of Paris6k in jpg/ (in sub-folders as unpacked, or flat)",
        homepage="https://github.com/filipradenovic/revisitop",
        licence=_vgg.LICENCE,
        citation=CITATION,
        downloads=(_annotation("rparis6k"), *_vgg.PARIS),
        counts={"n_queries": 70, "n_database": 6322},
        base="rparis6k",
    )


def _among_a_million(base: str, directory: str) -> Dataset:
    return Revisited(
        f"{base}_1m",
        "retrieval",
        f"{base} among the million distractors of R1M",
        metrics=METRICS,
        directory=_truth.at(directory),
        layout=f"all of {base}, and beside this folder {DISTRACTORS}/ with {DISTRACTORS}.txt and the images in jpg/",
        homepage="http://ptak.felk.cvut.cz/revisitop/revisitop1m/ (the list, and 100 archives to unpack into jpg/)",
        licence="not stated; photographs from Flickr (YFCC100M)",
        citation=CITATION,
        counts={"n_queries": 70},
        base=base,
        distractors=True,
    )


@register_dataset(groups=("published",), argument="DIR")
def roxford5k_1m(directory: str = "") -> Dataset:
    """Revisited Oxford with the distractors of R1M in its database."""
    return _among_a_million("roxford5k", directory)


@register_dataset(groups=("published",), argument="DIR")
def rparis6k_1m(directory: str = "") -> Dataset:
    """Revisited Paris with the distractors of R1M in its database."""
    return _among_a_million("rparis6k", directory)
