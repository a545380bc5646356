"""INSTRE in the protocol of 1,250 queries.

Images: Wang and Jiang, INSTRE, ACM TOMM 2015. Queries, boxes and positives: Iscen, Tolias, Avrithis, Furon, Chum,
Efficient diffusion on region manifolds, CVPR 2017, whose mAP is the trapezoid's. Queries are no part of the database.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DatasetError
from bench.interfaces import Dataset, GroundTruth, ImageFile, Split
from bench.plugins import register_dataset
from bench.published import Published
from datasets.retrieval import _truth


@dataclass(frozen=True)
class Instre(Published):
    """gnd_instre.mat: cells imlist and qimlist of names; structs gnd of ok, rows of imlist from 1, and bbx, corners."""

    @property
    def annotation(self) -> Path:
        return self.folder / "gnd_instre.mat"

    def read(self) -> Split:
        path = _truth.required(self, self.annotation)
        content = _content(path)
        names, queried = _lists(content, path)
        judged = content["gnd"].ravel()
        if len(judged) != len(queried):
            raise DatasetError(f"{path}: gnd judges {len(judged)} queries, qimlist names {len(queried)}: correct it")
        queries, positives = [], []
        for number, (name, entry) in enumerate(zip(queried, judged, strict=True)):
            where = f"{path}, query {number} ({name})"
            box = _truth.box(entry["bbx"], where)
            queries.append(ImageFile(f"query/{name}", self.folder / name, box))
            positives.append(_truth.rows(entry["ok"], len(names), where, first=1))
        database = tuple(ImageFile(name, self.folder / name) for name in names)
        return Split(tuple(queries), database, GroundTruth(tuple(positives), _truth.no_junk(len(queries))))

    def named_by(self, image: ImageFile) -> str:
        return _truth.named_by(image, self.annotation, *_lists(_content(self.annotation), self.annotation))


def _lists(content: Mapping[str, Any], path: Path) -> tuple[list[str], list[str]]:
    """imlist and qimlist."""
    names, queried = (_truth.image_names(_cells(content[name]), f"{path}, {name}") for name in ("imlist", "qimlist"))
    return names, queried


def _content(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        content: dict[str, Any] = loadmat(path, variable_names=["imlist", "qimlist", "gnd"])
    except Exception as error:  # a damaged file may raise anything
        raise DatasetError(
            f"{path} is no MATLAB file before version 7.3, or a damaged one ({type(error).__name__}: {error}): get it "
            "again from its publisher"
        ) from error
    lists = all(getattr(content.get(name), "dtype", None) == np.dtype(object) for name in ("imlist", "qimlist"))
    if not lists or not {"ok", "bbx"} <= set(getattr(content.get("gnd"), "dtype", np.dtype(int)).names or ()):
        raise DatasetError(
            f"{path} does not hold the cells imlist and qimlist and the structs gnd of ok and bbx: get it again from "
            "its publisher"
        )
    return content


def _cells(cells: Any) -> Iterator[Any]:
    """The texts of a MATLAB cell array; a cell that holds none as it is."""
    for cell in cells.ravel():
        yield str(cell.item()) if getattr(cell, "size", 0) == 1 and cell.dtype.kind == "U" else cell


@register_dataset(groups=("paper", "published"), argument="DIR")
def instre(directory: str = "") -> Dataset:
    """INSTRE: objects, 1,250 queries."""
    return Instre(
        "instre",
        "retrieval",
        "everyday objects and buildings, 1,250 queries",
        metrics=("map_rop", "map", "mp@1", "mp@10", "hit@1", "mrr"),
        directory=_truth.at(directory),
        layout="gnd_instre.mat, and the images in INSTRE-S1/, INSTRE-S2/ and INSTRE-M/",
        homepage="ftp://ftp.irisa.fr/local/texmex/corpus/instre/ (gnd_instre.mat, instre.tar.gz)",
        licence="not stated",
        citation="Wang and Jiang, INSTRE: a new benchmark for instance-level object retrieval and recognition, "
        "ACM TOMM 2015; protocol of Iscen et al., CVPR 2017",
        counts={"n_queries": 1250, "n_database": 27293, "n_pairs": 241250, "n_queries_without_positive": 0},
    )
