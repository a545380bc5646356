"""The audit of one backbone and similarity: matches of generated images, and what they come to."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.audit import statistics
from bench.audit.matches import of_others
from bench.audit.sides import Side
from bench.errors import UsageError
from bench.similarity import Similarity, TopK, meeting_chunks, top_k


@dataclass(frozen=True)
class Settings:
    """top_k: training images kept of each generated one. threshold: a score above it counts as a copy.

    n_background: training images, drawn by the seed where there are more, whose nearest other one is looked for.
    """

    top_k: int = 20
    threshold: float = 0.5
    n_background: int = 10_000
    seed: int = 0


@dataclass(frozen=True)
class Verdict:
    """matches [N, k] of the generated images. chunks: int32 [N, k, 2], the chunk of each image that gave the score.

    background: float32 [B], similarity of training images to their nearest other one; None for a set audited against
    itself, whose matches are just that.
    """

    backbone: str
    similarity: Similarity
    settings: Settings
    n_training: int
    matches: TopK
    chunks: NDArray[np.int32]
    background: NDArray[np.float32] | None

    @property
    def best(self) -> NDArray[np.float32]:
        """Similarity of each generated image to its nearest training image; without those that have none."""
        first = self.matches.scores[:, 0]
        best: NDArray[np.float32] = first[np.isfinite(first)]
        return best

    def summary(self) -> Mapping[str, Any]:
        """Of summary.json."""
        told: dict[str, Any] = {
            "backbone": self.backbone,
            "similarity": str(self.similarity),
            "threshold": self.settings.threshold,
            "n_generated": len(self.matches.scores),
            "n_training": self.n_training,
            "above": asdict(statistics.share_above(self.best, self.settings.threshold)),
            "top1": statistics.percentiles(self.best),
        }
        if self.background is None:
            return told | {"background": None}
        return told | {
            "background": {
                "n": len(self.background),
                "above": asdict(statistics.share_above(self.background, self.settings.threshold)),
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

    is_self: both are one set, in which no image matches itself or its twins. Raises UsageError for fewer training
    images than top_k or two different ones, and as `top_k` does.
    """
    if settings.top_k > len(training):
        raise UsageError(f"--top-k is {settings.top_k}, but there are {len(training)} training images: choose fewer")
    if len(np.unique(training.twins)) < 2:
        raise UsageError("all training images are the same: name a folder that holds several")
    whole = training.descriptors
    if is_self:
        found = of_others(np.arange(len(training)), whole, training.twins, settings.top_k, similarity)
    else:
        found = top_k(generated.descriptors, whole, settings.top_k, similarity)
    chunks = meeting_chunks(generated.descriptors, whole, found.indices, similarity)
    background = None if is_self else _background(training, similarity, settings)
    return Verdict(backbone, similarity, settings, len(training), found, chunks, background)


def _background(training: Side, similarity: Similarity, settings: Settings) -> NDArray[np.float32]:
    n = min(settings.n_background, len(training))
    rows = np.sort(np.random.default_rng(settings.seed).choice(len(training), n, replace=False))
    scores = of_others(rows, training.descriptors, training.twins, 1, similarity).scores[:, 0]
    return scores[np.isfinite(scores)]
