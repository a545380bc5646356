"""How similar different images of a set are: what a threshold would take for copies though nothing was copied."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.audit.sides import Side
from bench.errors import UsageError
from bench.similarity import Similarity, histogram, rescore, top_k

#: Of the counts by which a rate becomes a threshold: as fine as scores are worth telling.
BINS = 20_000


@dataclass(frozen=True)
class Apart:
    """Pairs of different images by their similarity.

    edges: float64 [BINS + 1], rising. over: int64 [BINS], how many pairs are above the lower edge of each bin; one that
    was looked at from both its images counts twice. n_pairs: how many different ones there are.
    """

    edges: NDArray[np.float64]
    over: NDArray[np.int64]
    n_pairs: int

    @classmethod
    def of(cls, side: Side, rows: NDArray[np.int64], similarity: Similarity) -> "Apart":
        """The pairs of `rows` [N] of a set with all of it, but for those of twins.

        Raises UsageError where there are none, and as `histogram` does.
        """
        asking = side.descriptors[rows]
        own = _twins_of(rows, side.twins)
        # an inner product has no bounds
        high = float(top_k(asking, side.descriptors, 1, similarity).scores.max()) if similarity.norm == "none" else 1.0
        edges = np.linspace(-abs(high), abs(high), BINS + 1)
        # a score on an edge is not above it
        shifted = edges + abs(high) * np.finfo(np.float32).eps
        found = histogram(asking, side.descriptors, similarity, BINS, shifted[0], shifted[-1])
        of_own = rescore(asking, side.descriptors, own, similarity)[own >= 0]
        counts = found.counts - np.histogram(np.clip(of_own, shifted[0], shifted[-1]), found.edges)[0]
        over = np.cumsum(counts[::-1])[::-1]
        if not over[0]:
            raise UsageError("there are no two different images: name a folder that holds several")
        both = len(rows) ** 2 - int((np.bincount(side.twins[rows]) ** 2).sum())
        return cls(edges, over, int(over[0]) - both // 2)

    def score(self, rate: float) -> float:
        """The smallest edge over which no larger share of the pairs lies.

        Raises UsageError where there are too few pairs for the rate.
        """
        require_enough(rate, self.n_pairs)
        allowed = np.flatnonzero(self.over <= rate * self.over[0])
        return float(self.edges[allowed[0]] if len(allowed) else self.edges[-1])

    def rate(self, score: float) -> float:
        """The share of the pairs that is above a score, those less than a bin's width below it among them."""
        place = int(np.clip(np.searchsorted(self.edges, score, side="right") - 1, 0, len(self.over)))
        return float(self.over[place] / self.over[0]) if place < len(self.over) else 0.0


def require_enough(rate: float, n_pairs: int) -> None:
    """Raises UsageError where there are too few pairs for a rate."""
    if n_pairs * rate < 1:
        raise UsageError(
            f"fpr:{rate:g} can't be told from {n_pairs:,} pairs of different images: choose a larger rate, or more "
            "images"
        )


def drawn(n_images: int, n: int, seed: int) -> NDArray[np.int64]:
    """The rows of at most `n` images of a set that stand for all, rising."""
    return np.sort(np.random.default_rng(seed).choice(n_images, min(n, n_images), replace=False))


def _twins_of(rows: NDArray[np.int64], twins: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows [N, most] that are the same image as each of some, itself among them; -1 behind."""
    order = np.argsort(twins, kind="stable")
    n = np.bincount(twins)[twins[rows]]
    first = np.searchsorted(twins[order], twins[rows])
    place = np.arange(n.max())
    return np.where(place < n[:, None], order[np.minimum(first[:, None] + place, len(order) - 1)], -1)
