"""Any folder of images with a pairs.csv as a copy-detection dataset: `--datasets pairs:DIR`."""

from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.interfaces import METRICS_OF_KIND, Dataset, Split
from bench.names import escaped
from bench.plugins import register_dataset
from datasets import _pairs


@dataclass(frozen=True)
class Pairs(Dataset):
    """The images below `folder` and the pairs that its pairs.csv names."""

    folder: Path

    @property
    def identity(self) -> str:
        return f"pairs:{escaped(str(self.folder.resolve()))}"

    def load(self) -> Split:
        return _pairs.read(self.folder)


@register_dataset(groups=(), argument="DIR")
def pairs(directory: str) -> Dataset:
    """The folder DIR with pairs.csv (query, reference; level, tags), called after its last name."""
    folder = Path(directory)
    if not folder.is_dir():
        raise UsageError(f"there is no dataset folder {directory}")
    of_levels = ("pearson", "relative_deviation") if _pairs.has_levels(folder) else ()
    return Pairs(
        f"pairs:{escaped(folder.resolve().name)}",
        "copy",
        f"the images and pairs in {escaped(directory)}",
        folder,
        metrics=(*METRICS_OF_KIND["copy"], *of_levels),
    )
