"""Any folder with one sub-folder a class as a retrieval dataset: `--datasets folder:DIR`."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.errors import DatasetError, UsageError
from bench.interfaces import Dataset, Split
from bench.listing import counted, listed_below, to_be_read
from bench.names import escaped
from bench.plugins import register_dataset

METRICS = ("map", "map_rop", "hit@1", "recall@10", "mrr", "r_precision", "map@r", "knn@20")


@dataclass(frozen=True)
class ClassFolder(Dataset):
    """Every image below `folder` is a query; the others of its class answer it."""

    folder: Path

    @property
    def identity(self) -> str:
        return f"folder:{escaped(str(self.folder.resolve()))}"

    def load(self) -> Split:
        """Raises DatasetError where there are no images, one has no class, or no class has two."""
        listing = listed_below(self.folder)
        images = tuple(to_be_read(listing, self.folder))
        if not images:
            there = f" but {counted(listing.skipped)}" if listing.skipped else ""
            raise DatasetError(
                f"{self.folder} holds no image{there}: it needs one sub-folder a class, with images in it"
            )
        if loose := [image.id for image in images if "/" not in image.id]:
            raise DatasetError(
                f"{self.folder} holds images outside of any class, such as {loose[0]}: move them into one sub-folder a "
                "class"
            )
        _, labels = np.unique([image.id.partition("/")[0] for image in images], return_inverse=True)
        if not (np.bincount(labels) > 1).any():
            raise DatasetError(
                f"no class in {self.folder} has two images: give one another image, or nothing is to be found"
            )
        return replace(Split.of_classes(images, labels), skipped=listing.skipped)


@register_dataset(groups=(), argument="DIR")
def folder(directory: str) -> Dataset:
    """The folder DIR with one sub-folder a class, called after its last name."""
    path = Path(directory)
    if not path.is_dir():
        raise UsageError(f"there is no dataset folder {directory}")
    described = f"the classes of images in {escaped(directory)}"
    return ClassFolder(f"folder:{escaped(path.resolve().name)}", "retrieval", described, path, metrics=METRICS)
