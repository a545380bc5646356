"""ETH-80: 80 objects of 8 kinds, each from 41 sides, with masks; an image is to find the other views of its object."""

from dataclasses import dataclass
from pathlib import Path

from bench.interfaces import Dataset, ImageFile, Split
from bench.plugins import register_dataset
from bench.published import Download, Published
from datasets.retrieval._names import by_folder, first_folder
from datasets.retrieval._truth import at

#: The published archives that unpack to a folder an object; close: cut at the object's edge.
ARCHIVES = ("eth80-cropped-close256", "eth80-cropped256", "eth80-cropped-close128")


@dataclass(frozen=True)
class Eth80(Published):
    """Every view of an object is query and database."""

    def read(self) -> Split:
        return by_folder(self, first_folder(self, *ARCHIVES, "images"))


def mask_of(image: ImageFile) -> Path:
    """The mask of an image, white where the object is: maps/NAME-map.png beside it, or masks/OBJECT/NAME.png."""
    objects = image.path.parent.parent
    if objects.name == "images":
        return objects.parent / "masks" / image.path.parent.name / f"{image.path.stem}.png"
    return image.path.parent / "maps" / f"{image.path.stem}-map.png"


@register_dataset(groups=("published",), argument="DIR")
def eth80(directory: str = "") -> Dataset:
    """ETH-80 as its cropped archives unpack, or images/ and masks/ with a folder an object."""
    return Eth80(
        "eth80",
        "retrieval",
        "ETH-80: each view finds the others of its object, of 80",
        metrics=("map", "map_rop", "hit@1", "recall@10", "mrr", "r_precision", "map@r", "knn@20"),
        directory=at(directory),
        layout=f"{ARCHIVES[0]}/apple1/apple1-000-000.png and {ARCHIVES[0]}/apple1/maps/apple1-000-000-map.png, "
        f"the same in {' or '.join(ARCHIVES[1:])}, or images/apple1/*.jpg and masks/apple1/*.png",
        homepage="http://datasets.d2.mpi-inf.mpg.de/eth80/",
        licence="not stated",
        citation="Leibe, Schiele: Analyzing appearance and contour based methods for object categorization, CVPR 2003",
        # of 128 pixels: the address of the larger ones could not be confirmed
        downloads=(Download("http://datasets.d2.mpi-inf.mpg.de/eth80/eth80-cropped-close128.tgz", ".", unpack=True),),
        counts={
            "n_queries": 3280,
            "n_database": 3280,
            "n_pairs": 131_200,
            "n_queries_without_positive": 0,
            "n_junk": 0,
        },
    )
