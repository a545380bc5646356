"""Any folder in DISC form as a copy-detection dataset: `--datasets disc:DIR`."""

from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.interfaces import Dataset, Split
from bench.names import escaped
from bench.plugins import register_dataset
from datasets import _disc


@dataclass(frozen=True)
class DiscFolder(Dataset):
    """A copy-detection dataset in `folder`."""

    folder: Path

    @property
    def identity(self) -> str:
        return f"disc:{escaped(str(self.folder.resolve()))}"

    def load(self) -> Split:
        return _disc.read(self.folder)


@register_dataset(groups=(), argument="DIR")
def disc(directory: str) -> Dataset:
    """The folder DIR with queries/, references/ and ground_truth.csv, called after its last name."""
    folder = Path(directory)
    if not folder.is_dir():
        raise UsageError(f"there is no dataset folder {directory}")
    name = f"disc:{escaped(folder.resolve().name)}"
    return DiscFolder(name, "copy", f"the images in {escaped(directory)}", folder)
