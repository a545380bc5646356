"""Oxford5k and Paris6k with their original ground truth: text files that name good, ok and junk images of a query.

Philbin, Chum, Isard, Sivic, Zisserman, CVPR 2007 and CVPR 2008. Good and ok images are positives, junk is ignored, AP
by the trapezoid rule of the authors' compute_ap. The query is the part of a photograph in its box; the photograph
itself is in the database and among the positives, as in compute_ap.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.errors import DatasetError
from bench.interfaces import Dataset, GroundTruth, ImageFile, Indices, Split
from bench.plugins import register_dataset
from bench.published import Download, Published
from datasets.retrieval import _truth, _vgg

QUERY = "_query.txt"
POSITIVES = ("good", "ok")
METRICS = ("map_rop", "map", "mp@1", "mp@5", "mp@10", "hit@1", "mrr")
LAYOUT = "the images in jpg/ and the text files of the ground truth (*_query.txt, *_good.txt, ...) together in a folder"


@dataclass(frozen=True)
class Buildings(Published):
    """prefix: what stands before an image's name in the queries. left_out: names of files that are no image."""

    prefix: str = field(default="", kw_only=True)
    left_out: frozenset[str] = field(default=frozenset(), kw_only=True)

    def read(self) -> Split:
        files = {name: path for name, path in _truth.by_stem(self.folder).items() if name not in self.left_out}
        database = tuple(ImageFile(name, path) for name, path in files.items())
        row_of = {image.id: row for row, image in enumerate(database)}
        queries, positives, junk = [], [], []
        for path in self._query_files():
            queries.append(self._query(path, files))
            parts = {part: self._named(path, part, row_of) for part in (*POSITIVES, "junk")}
            found = np.union1d(*(parts[part] for part in POSITIVES))
            _truth.require_disjoint({"positive": found, "junk": parts["junk"]}, database, str(path))
            positives.append(found)
            junk.append(parts["junk"])
        return Split(tuple(queries), database, GroundTruth(tuple(positives), tuple(junk)))

    def _query_files(self) -> list[Path]:
        """In the folder itself or one below it, in the order of their names."""
        found = [*self.folder.glob(f"*{QUERY}"), *self.folder.glob(f"*/*{QUERY}")]
        if not found:
            raise DatasetError(f"{self.folder} holds no ground truth *{QUERY}: {self.how_to_get}")
        if len({path.name for path in found}) < len(found):
            folders = sorted({str(path.parent) for path in found})
            raise DatasetError(f"the ground truth lies in {' and '.join(folders)}: keep one of them")
        return sorted(found, key=lambda path: path.name)

    def _query(self, path: Path, files: Mapping[str, Path]) -> ImageFile:
        name, *sides = (_truth.lines(path) or [""])[0].split() or [""]
        name = name.removeprefix(self.prefix)
        if name not in files:
            raise DatasetError(f"{path}: there is no image '{name}' in {self.folder}: {self.how_to_get}")
        return ImageFile(f"query/{path.name.removesuffix(QUERY)}", files[name], _truth.box(sides, str(path)))

    def _named(self, query: Path, part: str, row_of: Mapping[str, int]) -> Indices:
        """Rows of the images in a query's list; one that stands there twice counts once, as in compute_ap."""
        path = _truth.required(self, query.with_name(query.name.replace(QUERY, f"_{part}.txt")))
        found = set()
        for number, name in enumerate(_truth.lines(path), 1):
            if name in row_of:
                found.add(row_of[name])
            elif name and name not in self.left_out:
                raise DatasetError(
                    f"{path}, line {number}: there is no image '{name}' in {self.folder}: add or remove it"
                )
        return np.array(sorted(found), np.int64)


@register_dataset(groups=("published",), argument="DIR")
def oxford5k(directory: str = "") -> Dataset:
    """Oxford buildings, 55 queries, original ground truth."""
    return Buildings(
        "oxford5k",
        "retrieval",
        "Oxford buildings, original ground truth",
        metrics=METRICS,
        directory=_truth.at(directory),
        layout=LAYOUT,
        homepage="https://www.robots.ox.ac.uk/~vgg/data/oxbuildings/",
        licence=_vgg.LICENCE,
        citation="Philbin et al., Object retrieval with large vocabularies and fast spatial matching, CVPR 2007",
        downloads=(
            *_vgg.OXFORD,
            Download("https://www.robots.ox.ac.uk/~vgg/data/oxbuildings/gt_files_170407.tgz", "lab", True),
        ),
        # the homepage counts 5062 images; its archive holds 5063, the 70 + 4993 of the revisited lists
        counts={"n_queries": 55, "n_database": 5063, "n_pairs": 2840, "n_junk": 1495},
        prefix="oxc1_",
    )


@register_dataset(groups=("published",), argument="DIR")
def paris6k(directory: str = "") -> Dataset:
    """Paris buildings, 55 queries, original ground truth."""
    return Buildings(
        "paris6k",
        "retrieval",
        "Paris buildings, original ground truth",
        metrics=METRICS,
        directory=_truth.at(directory),
        layout=f"{LAYOUT}; paris/LANDMARK/*.jpg as unpacked do as well",
        homepage="https://www.robots.ox.ac.uk/~vgg/data/parisbuildings/",
        licence=_vgg.LICENCE,
        citation="Philbin et al., Lost in quantization: improving particular object retrieval, CVPR 2008",
        downloads=(
            *_vgg.PARIS,
            Download("https://www.robots.ox.ac.uk/~vgg/data/parisbuildings/paris_120310.tgz", "lab", True),
        ),
        # 6412 files less the 20 that are no image
        counts={"n_queries": 55, "n_database": 6392, "n_pairs": 8955, "n_junk": 8245},
        left_out=_vgg.CORRUPT_PARIS,
    )
