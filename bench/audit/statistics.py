"""What the best similarities of generated images say beside those of the training images among themselves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
CONFIDENCE = 0.95
#: Bins of the overlap, and of the histogram: 0.02 wide, as wide as no descriptor's noise.
BIN = 0.02
N_PERMUTATIONS = 999
#: Drawn values that are in memory at once.
_AT_ONCE = 2**22


@dataclass(frozen=True)
class Share:
    """k of n, with the 95 % interval low..high of Wilson (Journal of the American Statistical Association 1927)."""

    k: int
    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two samples of similarities, such as those of generated images and of training images to their nearest.

    overlap: common area of their histograms, 0 to 1. ks, ks_p: largest distance of their distribution functions, and
    its two-sided p (Kolmogorov and Smirnov). difference: of their means, the first less the second; p: two-sided, of
    N_PERMUTATIONS random divisions into two such samples, the real one counted.
    """

    overlap: float
    ks: float
    ks_p: float
    difference: float
    p: float


def share_above(scores: NDArray[np.float32], threshold: float) -> Share:
    """How many of the scores [N], at least one, are larger than the threshold."""
    from scipy.stats import binomtest

    k, n = int((scores > threshold).sum()), len(scores)
    low, high = binomtest(k, n).proportion_ci(CONFIDENCE, "wilson")
    return Share(k, n, k / n, float(low), float(high))


def percentiles(scores: NDArray[np.float32]) -> dict[str, float]:
    """PERCENTILES of the scores [N] by their names, interpolated linearly."""
    found = np.percentile(scores.astype(np.float64), PERCENTILES)
    return {f"p{name}": float(value) for name, value in zip(PERCENTILES, found, strict=True)}


def edges(*samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Multiples of BIN around all scores, at least two, float64 [B + 1]."""
    low = np.floor(min(float(scores.min()) for scores in samples) / BIN)
    high = np.floor(max(float(scores.max()) for scores in samples) / BIN) + 1
    return np.arange(low, high + 1) * BIN


def compare(scores: NDArray[np.float32], background: NDArray[np.float32], seed: int) -> Comparison:
    """The scores [N] beside the background [M]; at least one each."""
    from scipy.stats import ks_2samp

    bins = edges(scores, background)
    of_scores, of_background = (np.histogram(of, bins)[0] / len(of) for of in (scores, background))
    test = ks_2samp(scores, background)
    difference, p = _permuted(scores.astype(np.float64), background.astype(np.float64), seed)
    return Comparison(
        float(np.minimum(of_scores, of_background).sum()), float(test.statistic), float(test.pvalue), difference, p
    )


def _permuted(a: NDArray[np.float64], b: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """The difference of means, and the share of divisions in which it is at least as far from 0."""
    joined = np.concatenate([a, b])
    joined -= joined.mean()  # of large common parts sums lose the digits that count
    observed = float(a.mean() - b.mean())
    # the mean of the first sample decides that of the second
    scale = 1 / len(a) + 1 / len(b)
    reached = abs(observed) * (1 - 1e-9)
    rng = np.random.default_rng(seed)
    few = min(len(a), len(b))
    as_far = 1
    at_once = max(1, _AT_ONCE // len(joined))
    for first in range(0, N_PERMUTATIONS, at_once):
        n = min(at_once, N_PERMUTATIONS - first)
        # the smaller sample is drawn: its sum is the same with another sign
        drawn = rng.permuted(np.broadcast_to(joined, (n, len(joined))), axis=1)[:, :few].sum(axis=1)
        as_far += int((np.abs(drawn) * scale >= reached).sum())
    return observed, as_far / (N_PERMUTATIONS + 1)
