"""INRIA Copydays, strong: photographs that were changed by hand, and strongly, are to find their originals."""

from dataclasses import dataclass

import numpy as np

from bench.errors import DatasetError
from bench.interfaces import Dataset, GroundTruth, ImageFile, Split
from bench.plugins import register_dataset
from bench.published import Download, Published
from bench.sources import below
from datasets.retrieval._names import images_in
from datasets.retrieval._truth import at, no_junk

ORIGINALS, COPIES, DISTRACTORS = "original", "strong", "distractors"
PREFIX = 4  # copies have the first characters of their original's name


@dataclass(frozen=True)
class Copydays(Published):
    """The strong copies are the queries; the originals, and what is below distractors/, are the database."""

    def read(self) -> Split:
        queries, originals = (tuple(images_in(self, self.folder / name)) for name in (COPIES, ORIGINALS))
        prefixes = np.array([image.path.name[:PREFIX] for image in originals])
        positives = tuple(np.flatnonzero(prefixes == query.path.name[:PREFIX]) for query in queries)
        for query, found in zip(queries, positives, strict=True):
            if not len(found):
                raise DatasetError(
                    f"{query.path} has no original: no image in {self.folder / ORIGINALS} begins with "
                    f"'{query.path.name[:PREFIX]}', get it again or leave the copy out"
                )
        return Split(queries, (*originals, *self._distractors()), GroundTruth(positives, no_junk(len(queries))))

    def _distractors(self) -> list[ImageFile]:
        return [ImageFile(f"{DISTRACTORS}/{image.id}", image.path) for image in below(self.folder / DISTRACTORS)]


@register_dataset(groups=("published",), argument="DIR")
def copydays(directory: str = "") -> Dataset:
    """INRIA Copydays as DINO and SSCD use its strong copies; the AP of both is the trapezoid's."""
    mirror = "https://dl.fbaipublicfiles.com/vissl/datasets"
    return Copydays(
        "copydays",
        "copy",
        "INRIA Copydays: 229 strong copies find their originals among 157, and distractors if there are any",
        metrics=("map_rop", "map", "micro_ap", "recall@p90", "threshold@p90", "hit@1", "mrr"),
        directory=at(directory),
        layout=f"{ORIGINALS}/*.jpg and {COPIES}/*.jpg, and if wanted {DISTRACTORS}/ with images of any kind "
        "(published results: 10,000 of YFCC100M); crops/ and jpegqual/ are not used",
        homepage="https://lear.inrialpes.fr/people/jegou/data.php.html",
        licence="not stated; INRIA holds the copyright of all images",
        citation="Douze, Jegou, Sandhawalia, Amsaleg, Schmid: Evaluation of GIST descriptors for web-scale image "
        "search, CIVR 2009",
        downloads=(
            Download(
                f"{mirror}/copydays_original.tar.gz",
                ORIGINALS,
                unpack=True,
                sha256="8b85b7914fd0145bc258bde3440f6a622243ca91ee085fe2025ce7bdeb0bfb8e",
            ),
            Download(
                f"{mirror}/copydays_strong.tar.gz",
                COPIES,
                unpack=True,
                sha256="7852c64aa4a37e8329ce08159fc947c16f09c66737db0a2479a90fc9ae40760c",
            ),
        ),
        counts={"n_queries": 229, "n_pairs": 229, "n_queries_without_positive": 0, "n_junk": 0},
    )
