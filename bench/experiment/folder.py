"""The folder of an experiment: what lies where, whether it is one's own, whether the disk has room for it."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.generate import sample, train
from bench.generate.folder import require_no_file, require_same
from bench.generate.learner import Settings
from bench.generate.network import network

#: The images as the networks saw them, and their list.
IMAGES, LISTING = "images", "images.csv"
#: What the thresholds come to by all images.
THRESHOLDS = "thresholds.csv"
_PART = "subset-"
#: Bytes that a small file takes, and a number of float32.
_BLOCK, _FLOAT = 4096, 4
#: A checkpoint keeps the weights, their average and two moments; the one before stays until it is written.
_IN_CHECKPOINT = 2 * 4


@dataclass(frozen=True)
class Part:
    """Of one number of training images."""

    path: Path

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def audit(self) -> Path:
        return self.path / "audit"

    @property
    def seen(self) -> Path:
        """The list of the images it was trained on."""
        return self.path / "seen.csv"

    @property
    def unseen(self) -> Path:
        """The list of all others."""
        return self.path / "unseen.csv"


def part(folder: Path, n: int) -> Part:
    """Of n training images."""
    return Part(folder / f"{_PART}{n}")


def require_ours(folder: Path, training: Mapping[str, Any], sampling: Mapping[str, Any]) -> None:
    """Raises UsageError where the folder holds something else, or models or samples of another configuration."""
    require_no_file(folder)
    parts = [Part(path) for path in sorted(folder.glob(f"{_PART}*"))]
    if not parts and folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"the folder {folder} is not empty and holds no experiment: choose another --output")
    for one in parts:
        require_same(one.model, train.CONFIG, training)
        require_same(one.samples, sample.CONFIG, sampling)


def require_room(folder: Path, n_images: int, n_models: int, count: int, settings: Settings) -> None:
    """Raises UsageError where images, models and samples plainly can't fit, what is there already counted in."""
    import torch

    with torch.device("meta"):
        n_weights = sum(weights.numel() for weights in network(settings.resolution, settings.channels).parameters())
    images = (n_images + n_models * count) * max(_BLOCK, 3 * settings.resolution**2)
    needed = images + _FLOAT * n_weights * (n_models + _IN_CHECKPOINT)
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    disk = next(place for place in (folder, *folder.resolve().parents) if place.is_dir())
    free = shutil.disk_usage(disk).free
    if needed - there > free:
        raise UsageError(
            f"about {(needed - there) / 1e9:,.1f} GB are needed for {folder}, and its disk has {free / 1e9:,.1f} GB "
            "free: choose another --output, a smaller --count or fewer --subsets"
        )
