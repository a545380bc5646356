"""From which similarity on an image counts as a copy: a number, or what a chosen rate of false alarms comes to.

0.5 means another thing for every backbone and number of chunks: a whole descriptor is 1 to itself, a chunk of sixteen
of it some 1/16.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.audit.sides import Side
from bench.errors import UsageError
from bench.similarity import Similarity, histogram, rescore, top_k

Kind = Literal["score", "fpr"]

#: What a threshold can be written as.
FORMS = {
    "NUMBER": "this similarity",
    "fpr:RATE": "exceeded by this share of the pairs of different training images, such as fpr:1e-4",
}
#: Of the paper; always told beside a calibrated one.
PAPER = 0.5
#: Of the counts by which a rate becomes a threshold: as fine as scores are worth telling.
BINS = 20_000


@dataclass(frozen=True)
class Threshold:
    """value: the similarity, or the rate."""

    kind: Kind
    value: float

    @classmethod
    def parse(cls, text: str) -> "Threshold":
        """Raises UsageError with the known forms."""
        kind, _, number = text.strip().rpartition(":")
        try:
            value = float(number)
        except ValueError:
            value = np.nan
        if kind == "fpr" and 0 < value < 1:
            return cls("fpr", value)
        if kind == "" and np.isfinite(value):
            return cls("score", value)
        raise UsageError(f"there is no threshold '{text}': write {' or '.join(FORMS)}, a rate between 0 and 1")

    def __str__(self) -> str:
        return f"{self.value:g}" if self.kind == "score" else f"fpr:{self.value:g}"


def parse_all(text: str) -> tuple[Threshold, ...]:
    """The thresholds of a comma-separated list, each once; PAPER where the list has no number."""
    found = [Threshold.parse(part) for part in text.split(",")]
    if all(threshold.kind != "score" for threshold in found):
        found.insert(0, Threshold("score", PAPER))
    return tuple(dict.fromkeys(found))


def score_of(threshold: Threshold, training: Side, rows: NDArray[np.int64], similarity: Similarity) -> float:
    """The similarity that it stands for; of a rate, by the pairs of `rows` [N] of the training images with all others.

    The smallest of BINS steps over which no larger share lies; an image and its twins are no pair. Raises UsageError
    where there are too few pairs for the rate, and as `histogram` does.
    """
    if threshold.kind == "score":
        return threshold.value
    asking = training.descriptors[rows]
    own = _twins_of(rows, training.twins)
    n_pairs = len(rows) * len(training) - int((own >= 0).sum())
    if n_pairs * threshold.value < 1:
        raise UsageError(
            f"{threshold} can't be told from {n_pairs:,} pairs of training images: choose a larger rate, or a larger "
            "--background"
        )
    # an inner product has no bounds
    high = float(top_k(asking, training.descriptors, 1, similarity).scores.max()) if similarity.norm == "none" else 1.0
    found = histogram(asking, training.descriptors, similarity, BINS, -abs(high), abs(high))
    of_own = rescore(asking, training.descriptors, own, similarity)[own >= 0]
    counts = found.counts - np.histogram(np.clip(of_own, found.edges[0], found.edges[-1]), found.edges)[0]
    over = np.cumsum(counts[::-1])[::-1]  # pairs from each lower edge on
    allowed = np.flatnonzero(over <= threshold.value * n_pairs)
    return float(found.edges[allowed[0]] if len(allowed) else found.edges[-1])


def _twins_of(rows: NDArray[np.int64], twins: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows [N, most] that are the same image as each of some, itself among them; -1 behind."""
    order = np.argsort(twins, kind="stable")
    n = np.bincount(twins)[twins[rows]]
    first = np.searchsorted(twins[order], twins[rows])
    place = np.arange(n.max())
    return np.where(place < n[:, None], order[np.minimum(first[:, None] + place, len(order) - 1)], -1)
