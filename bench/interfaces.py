"""The two interfaces of the benchmark, Backbone and Dataset, and the values that travel with them.

A plugin module imports this module, `bench.plugins` to register itself, and where it needs them the small helpers
`bench.errors`, `bench.files`, `bench.images`, `bench.manifest`, `bench.paths`, `bench.sources`; nothing of the run.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from bench.sources import Source

Alpha = Literal["white", "black", "drop"]
Colour = Literal["ignored", "managed"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """From a decoded RGB photograph to the array a model reads.

    resize: "short" scales the short side to `size`, "squash" scales both sides to `size`, "letterbox" scales the long
        side to `size` and pads to a square with the mean, "none" leaves the image at its own size.
    crop: side in pixels of the central square kept after resizing, or None.
    mean, std: per channel, for values scaled to 0..1; None leaves the pixels as uint8.
    draft: a JPEG much larger than `size` may be scaled by libjpeg while it is decoded (`bench.images.DRAFT_MARGIN`).
    alpha: the colour that a transparent image is laid on; "drop" takes the colours under the transparency as they are.
    colour: "managed" converts an image by its ICC profile to sRGB; "ignored" takes its numbers as they are.
    """

    resize: Literal["short", "squash", "letterbox", "none"] = "short"
    size: int | None = 256
    crop: int | None = 224
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, float, float] | None = IMAGENET_MEAN
    std: tuple[float, float, float] | None = IMAGENET_STD
    draft: bool = False
    alpha: Alpha = "white"
    colour: Colour = "ignored"


#: Pixels as they are, uint8 at native size: for descriptors that do their own scaling.
NATIVE = Preprocess(resize="none", size=None, crop=None, mean=None, std=None)


@dataclass(frozen=True)
class Weights:
    """Where a backbone's trained parameters come from.

    source: "https://HOST/PATH", "hub:OWNER/REPO/FILE" (Hugging Face), "package:MODULE/PATH" (inside an
        installed Python package), "file:PATH", or "none" for a descriptor without parameters.
    licence: of the weights, as an SPDX identifier where there is one. citation: the paper they come from.
    sha256: of the source's file, where published; else it is recorded when the file is first used.
    mirrors: sources of the same weights in the authors' other published files, which `load` takes as well.
    companions: files beside a hub file that `load` reads with it (config.json); one that the hub lacks is left out.
    megabytes: about how much is downloaded, in 1e6 bytes.
    carries_code: the file is a program (TorchScript), so it is loaded only if its hash is pinned or the user allows it.
    gated: the hub asks for an account that accepted the licence.
    """

    source: str
    licence: str
    pretraining: str
    sha256: str | None = None
    citation: str = field(default="", kw_only=True)
    mirrors: tuple[str, ...] = field(default=(), kw_only=True)
    companions: tuple[str, ...] = field(default=(), kw_only=True)
    megabytes: float | None = field(default=None, kw_only=True)
    carries_code: bool = field(default=False, kw_only=True)
    gated: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        for source in (self.source, *self.mirrors):
            if not re.fullmatch(r"none|https?://[^/]+/.+|hub:[^/]+/[^/]+/.+|package:\w+/.+|file:.+", source):
                raise UsageError(
                    f"the weights source '{source}' is not of the form https://HOST/PATH, hub:OWNER/REPO/FILE, "
                    "package:MODULE/PATH, file:PATH or none: correct it in the backbone"
                )

    @property
    def filename(self) -> str:
        """The published file name."""
        return self.source.rsplit("/", 1)[-1]

    @property
    def non_commercial(self) -> bool:
        """Whether the licence forbids commercial use."""
        return "-NC" in self.licence


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

    @property
    def n_parameters(self) -> int | None:
        """None where nothing tells it."""
        ...

    def describe(self, batch: "Tensor") -> Descriptors:
        """Descriptors of a batch [B, 3, H, W] as the backbone's `preprocess` makes it, on any device."""
        ...


Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Backbone(ABC):
    """A candidate descriptor: a light object that can be listed without loading anything.

    embed_dim: of the global descriptor; None where only the weights file tells, until `settled`.
    packages: distributions, beside numpy, torch, torchvision, timm and pillow, whose version may change its output.
    precision: of the arithmetic; descriptors are float32 whatever it is.
    """

    name: str
    arch: str
    embed_dim: int | None
    preprocess: Preprocess
    weights: Weights
    packages: tuple[str, ...] = field(default=(), kw_only=True)
    precision: Precision = field(default="fp32", kw_only=True)

    @abstractmethod
    def load(self, device: str, weights_file: Path | None) -> Model:
        """The model in evaluation mode. Without a file its parameters stay as torch's seed initialised them.

        Raises CheckpointError where the file is not this backbone's checkpoint.
        """

    def configured(self, options: Mapping[str, str]) -> "Backbone":
        """This backbone with the options of `name[option=value]`, under a name that shows them.

        Raises UsageError for an option it does not have.
        """
        if options:
            raise UsageError(f"the backbone '{self.name}' has no options: leave out [{', '.join(options)}]")
        return self

    def settled(self, weights_file: Path | None) -> "Backbone":
        """This backbone with what only its weights file tells (dimension, preprocessing); asked before `load`.

        Raises CheckpointError where the file does not tell it.
        """
        return self


#: Left, top, right and bottom in pixels of an upright image.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ImageFile:
    """One image of a dataset. One id is one file; an image that is query and database has the same id in both.

    box: the part of the file that is the image, where a protocol crops it, or None for all of it.
    """

    id: str
    path: Path
    box: Box | None = None


Indices = NDArray[np.int64]


@dataclass(frozen=True)
class GroundTruth:
    """Per query, int64 indices into the database: images to be found, and images to be ignored."""

    positives: tuple[Indices, ...]
    junk: tuple[Indices, ...]


@dataclass(frozen=True)
class Classes:
    """The class of each query [Q] and of each database image [M]."""

    queries: Indices
    database: Indices

    def ground_truth(self) -> GroundTruth:
        """All database images of a query's class are its positives, nothing is junk."""
        order = np.argsort(self.database, kind="stable")
        ordered = self.database[order]
        first, last = (np.searchsorted(ordered, self.queries, side) for side in ("left", "right"))
        positives = tuple(order[a:b].astype(np.int64) for a, b in zip(first, last, strict=True))
        return GroundTruth(positives, tuple(np.empty(0, np.int64) for _ in positives))


@dataclass(frozen=True)
class Levels:
    """Pairs that people judged: indices of queries [L] and database [L], and how much is copied, level float64 [L]."""

    queries: Indices
    database: Indices
    level: NDArray[np.float64]


@dataclass(frozen=True)
class Split:
    """A dataset's queries, its database, and which of the database answers each query.

    An image that is in both (same id) is ignored as an answer to itself.

    setups: other judgements of the same ranking by name, such as E, M and H, for metrics like `map_rop[E]`.
    classes: where images have one, for the metrics that let neighbours vote. levels: for `pearson`.
    tags: per query, what its scores are also told apart by, such as the edit that made it; empty for no tags at all.
    skipped: files beside the images that are none, counted by suffix. unreadable: images of what the dataset was made
    of that could not be read, id -> reason.
    """

    queries: tuple[ImageFile, ...]
    database: tuple[ImageFile, ...]
    ground_truth: GroundTruth
    setups: Mapping[str, GroundTruth] = field(default_factory=dict)
    classes: Classes | None = None
    levels: Levels | None = None
    tags: tuple[tuple[str, ...], ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_classes(cls, images: Sequence[ImageFile], labels: ArrayLike) -> "Split":
        """Every image is query and database; the others with its label, an integer, are its positives."""
        classes = Classes(*(np.asarray(labels, np.int64),) * 2)
        truth = classes.ground_truth()
        positives = tuple(same[same != own] for own, same in enumerate(truth.positives))
        return cls(tuple(images), tuple(images), GroundTruth(positives, truth.junk), classes=classes)


Kind = Literal["retrieval", "copy"]

#: What is measured on a dataset that does not name its metrics; the first is its main one.
METRICS_OF_KIND: Mapping[Kind, tuple[str, ...]] = {
    "retrieval": ("map", "map_rop", "hit@1", "recall@10", "mrr"),
    "copy": ("map", "map_rop", "hit@1", "recall@10", "mrr", "micro_ap", "recall@p90", "threshold@p90"),
}


@dataclass(frozen=True)
class Dataset(ABC):
    """A dataset: a light object that can be listed without touching the disk.

    kind: "copy" pools the scores of all queries (micro-AP) beside the per-query metrics of "retrieval".
    metrics: names as `list metrics` shows them, `map_rop[E]` for the setup E of the split; the first is the main one.
    candidates: how many pairs the pooled metrics see, the best of all queries together; None for every pair.
    """

    name: str
    kind: Kind
    description: str
    metrics: tuple[str, ...] = field(default=(), kw_only=True)
    candidates: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not self.metrics:
            object.__setattr__(self, "metrics", METRICS_OF_KIND[self.kind])

    @property
    def identity(self) -> str:
        """What tells it from another dataset of the same name: a folder's path where it is made of a folder."""
        return self.name

    @abstractmethod
    def load(self) -> Split:
        """The images and ground truth, made or downloaded where they are not here yet.

        Raises DatasetError where files are missing or the ground truth names unknown images.
        """


@dataclass(frozen=True)
class Recipe:
    """How a set of synthetic copies is made; None leaves a choice to the generator.

    queries: with and without a match, for each area. distractors: database images that no query copies.
    unmatched: share of the queries that have no match. size: long side in pixels of every image written.
    painter, masks, level: as the command line takes them. areas: shares of the query that the original takes, each
    gets its queries; none for the generator's own. feather: width in pixels of the ramp at a seam. jpeg: quality of
    every image written. workers: threads.
    """

    queries: int | None = None
    distractors: int | None = None
    unmatched: float = 0.2
    size: int = 512
    seed: int = 0
    painter: str | None = None
    masks: str | None = None
    level: str | None = None
    areas: tuple[float, ...] = ()
    feather: int = 0
    jpeg: int = 90
    workers: int = 1


@dataclass(frozen=True)
class Generator(ABC):
    """A kind of synthetic copies that can be made of any images."""

    name: str
    description: str

    @abstractmethod
    def make(
        self,
        source: "Source",
        backgrounds: "Source | None",
        folder: Path,
        recipe: Recipe,
        progress: Callable[[int, int], object],
    ) -> None:
        """Write queries/, references/, pairs.csv and manifest.json into the empty `folder`.

        backgrounds: other images to paste into, or None for some of the source. progress: called with the number of
        images done and of all. Raises UsageError for a recipe that cannot be, DatasetError for bad masks or too few
        images, ImageError for an image that cannot be read.
        """
