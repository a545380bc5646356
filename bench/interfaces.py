"""The two interfaces of the benchmark, Backbone and Dataset, and the values that travel with them.

A plugin module imports this module, `bench.plugins` to register itself, and where it needs them the small helpers
`bench.errors`, `bench.files`, `bench.images`, `bench.manifest`, `bench.paths`; nothing of the run.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """From a decoded RGB photograph to the array a model reads.

    resize: "short" scales the short side to `size`, "squash" scales both sides to `size`, "none" leaves the
        image at its own size.
    crop: side in pixels of the central square kept after resizing, or None.
    mean, std: per channel, for values scaled to 0..1; None leaves the pixels as uint8.
    """

    resize: Literal["short", "squash", "none"] = "short"
    size: int | None = 256
    crop: int | None = 224
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, float, float] | None = IMAGENET_MEAN
    std: tuple[float, float, float] | None = IMAGENET_STD


#: Pixels as they are, uint8 at native size: for descriptors that do their own scaling.
NATIVE = Preprocess(resize="none", size=None, crop=None, mean=None, std=None)


@dataclass(frozen=True)
class Weights:
    """Where a backbone's trained parameters come from.

    source: "https://HOST/PATH", "hub:OWNER/REPO/FILE" (Hugging Face), "package:MODULE/PATH" (inside an
        installed Python package), or "none" for a descriptor without parameters.
    sha256: of the file, where published; else it is recorded when the file is first used.
    """

    source: str
    licence: str
    pretraining: str
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"none|https?://[^/]+/.+|hub:[^/]+/[^/]+/.+|package:\w+/.+", self.source):
            raise UsageError(
                f"the weights source '{self.source}' is not of the form https://HOST/PATH, hub:OWNER/REPO/FILE, "
                "package:MODULE/PATH or none: correct it in the backbone"
            )

    @property
    def filename(self) -> str:
        """The published file name."""
        return self.source.rsplit("/", 1)[-1]


TRAINING_FREE = "none"


@dataclass(frozen=True)
class Descriptors:
    """What a model says of a batch of B images.

    global_: float32 [B, D], one vector an image. local: float32 [B, T, d], one vector a token or map cell,
    row by row from the top left, or None where the backbone has none.
    """

    global_: "Tensor"
    local: "Tensor | None" = None


class Model(Protocol):
    """A backbone loaded on a device."""

    n_parameters: int

    def describe(self, batch: "Tensor") -> Descriptors:
        """Descriptors of a batch [B, 3, H, W] as the backbone's `preprocess` makes it, on any device."""
        ...


@dataclass(frozen=True)
class Backbone(ABC):
    """A candidate descriptor: a light object that can be listed without loading anything.

    packages: distributions, beside numpy, torch, torchvision, timm and pillow, whose version may change its output.
    """

    name: str
    arch: str
    embed_dim: int
    preprocess: Preprocess
    weights: Weights
    packages: tuple[str, ...] = field(default=(), kw_only=True)

    @abstractmethod
    def load(self, device: str, weights_file: Path | None) -> Model:
        """The model in evaluation mode. Without a file its parameters stay as torch's seed initialised them.

        Raises CheckpointError where the file is not this backbone's checkpoint.
        """


@dataclass(frozen=True)
class ImageFile:
    """One image of a dataset. One id is one file; an image that is query and database has the same id in both."""

    id: str
    path: Path


@dataclass(frozen=True)
class GroundTruth:
    """Per query, int64 indices into the database: images to be found, and images to be ignored."""

    positives: tuple[NDArray[np.int64], ...]
    junk: tuple[NDArray[np.int64], ...]


@dataclass(frozen=True)
class Split:
    """A dataset's queries, its database, and which of the database answers each query.

    An image that is in both (same id) is ignored as an answer to itself.
    """

    queries: tuple[ImageFile, ...]
    database: tuple[ImageFile, ...]
    ground_truth: GroundTruth


Kind = Literal["retrieval", "copy"]


@dataclass(frozen=True)
class Dataset(ABC):
    """A dataset: a light object that can be listed without touching the disk.

    kind: "copy" pools the scores of all queries (micro-AP) beside the per-query metrics of "retrieval".
    """

    name: str
    kind: Kind
    description: str

    @property
    def identity(self) -> str:
        """What tells it from another dataset of the same name: a folder's path where it is made of a folder."""
        return self.name

    @abstractmethod
    def load(self) -> Split:
        """The images and ground truth, made or downloaded where they are not here yet.

        Raises DatasetError where files are missing or the ground truth names unknown images.
        """
