"""The audit of one backbone and similarity: matches of generated images, and what they come to."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.audit import statistics
from bench.audit.apart import Apart, drawn
from bench.audit.calibration import Applied, Calibrated, Calibration, applied, require_known
from bench.audit.causes import Correlation, causes
from bench.audit.matches import of_others
from bench.audit.sides import Side
from bench.audit.statistics import Share
from bench.audit.thresholds import PAPER, Threshold
from bench.errors import UsageError
from bench.similarity import Similarity, TopK, meeting_chunks, top_k


@dataclass(frozen=True)
class Settings:
    """top_k: training images kept of each generated one. thresholds: a score above one counts as a copy.

    n_background: training images, drawn by the seed where there are more, whose nearest other one is looked for.
    calibration: of thresholds that are rates; without it they are those of the training set.
    """

    top_k: int = 20
    thresholds: tuple[Threshold, ...] = (Threshold("score", PAPER),)
    n_background: int = 10_000
    seed: int = 0
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        """Raises UsageError as `require_known` does."""
        require_known(self.thresholds, self.calibration)

    @property
    def told(self) -> Mapping[str, Any]:
        """All but the thresholds, for JSON."""
        table = self.calibration and str(self.calibration.path)
        return {"top_k": self.top_k, "n_background": self.n_background, "seed": self.seed, "calibration": table}


@dataclass(frozen=True)
class Above:
    """How many generated images, and how many of the training images of the background, are above a threshold.

    threshold, score, calibrated: as `Applied` has them.
    """

    threshold: str
    score: float
    generated: Share
    training: Share | None
    calibrated: Calibrated | None


@dataclass(frozen=True)
class Verdict:
    """matches [N, k] of the generated images. chunks: int32 [N, k, 2], the chunk of each image that gave the score.

    background: float32 [B], similarity of training images to their nearest other one; None for a set audited against
    itself, whose matches are just that. thresholds: what those of the settings came to. causes: how the best scores go
    with what the nearest training images are like; near-copies by the last threshold.
    """

    backbone: str
    similarity: Similarity
    settings: Settings
    n_training: int
    matches: TopK
    chunks: NDArray[np.int32]
    background: NDArray[np.float32] | None
    thresholds: tuple[Applied, ...]
    causes: Mapping[str, Correlation | None]

    @property
    def best(self) -> NDArray[np.float32]:
        """Similarity of each generated image to its nearest training image; without those that have none."""
        first = self.matches.scores[:, 0]
        best: NDArray[np.float32] = first[np.isfinite(first)]
        return best

    @property
    def above(self) -> list["Above"]:
        """The shares above each threshold."""
        return [
            Above(
                of.threshold,
                of.score,
                statistics.share_above(self.best, of.score),
                None if self.background is None else statistics.share_above(self.background, of.score),
                of.calibrated,
            )
            for of in self.thresholds
        ]

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        """Of summary.json."""
        told: dict[str, Any] = {
            "backbone": self.backbone,
            "similarity": str(self.similarity),
            "n_generated": len(self.matches.scores),
            "n_training": self.n_training,
            "above": [asdict(above) for above in self.above],
            "top1": statistics.percentiles(self.best),
            "correlations": {name: of and asdict(of) for name, of in self.causes.items()},
        }
        if self.background is None:
            return told | {"background": None}
        return told | {
            "background": {
                "n": len(self.background),
                "top1": statistics.percentiles(self.background),
                **asdict(statistics.compare(self.best, self.background, self.settings.seed)),
            }
        }


@dataclass(frozen=True)
class Audited:
    """A verdict, and the sides it is of."""

    verdict: Verdict
    generated: Side
    training: Side


def audit(
    backbone: str, generated: Side, training: Side, similarity: Similarity, settings: Settings, is_self: bool
) -> Verdict:
    """Match the generated images with the training images, and some of these with each other.

    is_self: both are one set, in which no image matches itself or its twins. There are at least top_k
    training images. Raises UsageError where they are all the same, and as `top_k` does.
    """
    if len(np.unique(training.twins)) < 2:
        raise UsageError("all training images are the same: name a folder that holds several")
    whole = training.descriptors
    if is_self:
        found = of_others(np.arange(len(training)), whole, training.twins, settings.top_k, similarity)
    else:
        found = top_k(generated.descriptors, whole, settings.top_k, similarity)
    chunks = meeting_chunks(generated.descriptors, whole, found.indices, similarity)
    rows = drawn(len(training), settings.n_background, settings.seed)
    made = backbone, training.made_by, similarity
    thresholds = applied(settings.thresholds, made, settings.calibration, lambda: Apart.of(training, rows, similarity))
    background = None if is_self else _background(rows, training, similarity)
    is_matched = found.indices[:, 0] >= 0
    best, nearest = found.scores[is_matched, 0], found.indices[is_matched, 0]
    why = causes(best, nearest, training, thresholds[-1].score, similarity)
    return Verdict(backbone, similarity, settings, len(training), found, chunks, background, thresholds, why)


def _background(rows: NDArray[np.int64], training: Side, similarity: Similarity) -> NDArray[np.float32]:
    scores = of_others(rows, training.descriptors, training.twins, 1, similarity).scores[:, 0]
    return scores[np.isfinite(scores)]
