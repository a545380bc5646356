"""How sure a number is: bootstrap over queries, intervals, permutation tests, corrections. Pure functions on arrays.

A bootstrap draws as many queries as there are, with replacement, and asks what the score would have been (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993). What is drawn is a query with everything that belongs to it, so
that pooled metrics are resampled by query too.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

N_RESAMPLES = 1000
#: Of a permutation test: the smallest p it can give is one over it.
N_PERMUTATIONS = 9999
#: Less can't be told from 0 by sums in float64.
SMALLEST_P = 1e-300
CONFIDENCE = 0.95
#: Queries below which resamples can't say how sure a score is: of two, half of all samples are not covered.
FEWEST = 5
#: Share of the resamples in which a score has to exist.
MOST = 0.95
#: Signs that are drawn at once; draws whose sums are taken at once, few enough to stay in a cache.
_SIGNS, _AT_ONCE = 2**24, 64


def resamples(n_queries: int, n: int, seed: Sequence[int]) -> NDArray[np.float32]:
    """How often each query stands in each of n resamples, float32 [n, Q], rows adding up to Q."""
    rng = np.random.default_rng(seed)
    weights = np.empty((n, n_queries), np.float32)
    for row in weights:
        row[:] = np.bincount(rng.integers(0, n_queries, n_queries), minlength=n_queries)
    return weights


def interval(values: NDArray[np.float64], n_queries: int, score: float | None = None) -> tuple[float, float] | None:
    """95 % interval of a score from its resamples [B], with the score inside; n_queries: what was drawn from.

    Percentiles, set further apart by what a t distribution has over a normal one and the bootstrap's variance under the
    true one, so that small sets are covered (expanded percentiles: Hesterberg, The American Statistician 2015).
    None for fewer than FEWEST queries, or where the score exists in too few resamples (MOST).
    """
    exist = values[~np.isnan(values)]
    if n_queries < FEWEST or len(exist) < MOST * len(values):
        return None
    tail = _tail(n_queries)
    low, high = np.quantile(exist, (tail, 1 - tail))
    # resamples are rounded, so where all are equal they may miss the score in the last digits
    known = [] if score is None else [score]
    return min([float(low), *known]), max([float(high), *known])


@cache
def _tail(n_queries: int) -> float:
    """Share of the resamples that lies below an interval."""
    from scipy import stats

    quantile = stats.t.ppf((1 - CONFIDENCE) / 2, n_queries - 1) * np.sqrt(n_queries / (n_queries - 1))
    return float(stats.norm.cdf(quantile))


def sign_flip_p(differences: Sequence[NDArray[np.float64]], seed: int) -> NDArray[np.float64]:
    """Two-sided p of each of P paired comparisons, float64 [P]: whether the mean over datasets of means is 0.

    differences: of each dataset [P, Q_d], query by query. Under the hypothesis that the two are alike a difference may
    as well have the other sign; p is the share of random signs whose mean is at least as far from 0, the real ones
    counted (Fisher's randomisation test; Smucker et al., CIKM 2007), or what Hoeffding's inequality says that the share
    of all signs is at most (JASA 1963), if that is smaller: so that many comparisons can be corrected for.
    """
    parts = np.concatenate([of / (of.shape[1] * len(differences)) for of in differences], axis=1)
    observed = np.abs(parts.sum(axis=1))
    # sums in another order differ in the last bits
    reached = observed - 1e-9 * np.abs(parts).sum(axis=1)
    rng = np.random.default_rng(seed)
    n_queries = parts.shape[1]
    at_once = max(1, _SIGNS // n_queries)
    as_far = np.ones(len(parts))
    whole, flipped = parts.sum(axis=1), np.ascontiguousarray(parts.T)
    for first in range(0, N_PERMUTATIONS, at_once):
        n = min(at_once, N_PERMUTATIONS - first)
        bits = np.unpackbits(rng.integers(0, 256, (n, -(-n_queries // 8)), np.uint8), axis=1, count=n_queries)
        for some in (bits[at : at + _AT_ONCE] for at in range(0, n, _AT_ONCE)):
            # the sum under signs is that of all less twice that of the flipped
            sums = whole - 2 * (some.astype(np.float64) @ flipped)
            as_far += (np.abs(sums) >= reached).sum(axis=0)
    squares = np.sum(parts**2, axis=1)
    exponent = np.divide(observed**2, 2 * squares, out=np.zeros_like(squares), where=squares > 0)
    p: NDArray[np.float64] = np.minimum(as_far / (N_PERMUTATIONS + 1), np.maximum(2 * np.exp(-exponent), SMALLEST_P))
    return p


def bootstrap_p(drawn: NDArray[np.float64], difference: float, n_queries: int) -> float:
    """Two-sided p that a difference is 0, of its resamples [B] over so many queries, at least two.

    What `interval` would leave 0 outside of: the share on the rarer side of 0, never 0, as a distance in standard
    deviations, which is then held against a t distribution. Where no resample is on that side, the distance is that of
    the difference itself, if it is further: B resamples alone would leave nothing of many comparisons.
    """
    from scipy import stats

    exist = drawn[~np.isnan(drawn)]
    rarer = min(int((exist <= 0).sum()), int((exist >= 0).sum()))
    distance = float(stats.norm.isf(min(0.5, (rarer + 1) / (len(exist) + 1))))
    spread = float(exist.std()) if len(exist) else 0.0
    if not rarer and spread:
        distance = max(distance, abs(difference) / spread)
    p = 2 * float(stats.t.sf(distance * np.sqrt((n_queries - 1) / n_queries), n_queries - 1))
    return max(p, SMALLEST_P)


def rounded(p: float) -> float:
    """Six digits: beyond them sums in another order differ."""
    return float(f"{p:.6g}")


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The p of each of n tests, corrected so that all are right together (Holm 1979), float64 [n]."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1)
    return corrected
