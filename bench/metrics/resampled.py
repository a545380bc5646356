"""Metrics of many resamples of the queries at once: of a bootstrap, or with any other weights.

A resample says how often each query stands in it: weights float32 [B, Q], whole numbers. What a query brings along,
its positives and its pairs, then stands so often. A metric that does not exist for a resample is nan.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.metrics.levels import JudgedPairs
from bench.metrics.pool import Pool

#: Matches whose non-matches above them are counted at once, query by query.
MATCHES_AT_ONCE = 256
#: Steps of a sum, and resamples that are in float64 at once.
_PER_UNIT, _AT_ONCE = 2.0**30, 128


def mean(values: NDArray[np.float64], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean of values [Q] over the queries of each resample that have one: float64 [B]; of values [n, Q], [B, n]."""
    exist = ~np.isnan(values)
    return ratio(np.where(exist, values, 0), exist, weights)


def ratio(part: NDArray[np.generic], whole: NDArray[np.generic], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum of part [Q] over sum of whole [Q] in each resample: float64 [B]; of [n, Q] each, [B, n]."""
    above, below = _sums(weights, part), _sums(weights, whole)
    found: NDArray[np.float64] = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return found


def _sums(weights: NDArray[np.float32], values: NDArray[np.generic]) -> NDArray[np.float64]:
    """weights @ values.T to 1e-9: of whole numbers, whose sums are the same in whatever order a machine adds them.

    They are exact up to 8 million.
    """
    whole = np.rint(values.T.astype(np.float64) * _PER_UNIT)
    blocks = (weights[first : first + _AT_ONCE] for first in range(0, len(weights), _AT_ONCE))
    sums: NDArray[np.float64] = np.concatenate([block.astype(np.float64) @ whole for block in blocks]) / _PER_UNIT
    return sums


class OfPool(NamedTuple):
    """The metrics of a pool in each resample, float64 [B] each; as `bench.metrics.copy` defines them."""

    micro_ap: NDArray[np.float64]
    recall: NDArray[np.float64]
    threshold: NDArray[np.float64]


def of_pool(pool: Pool, n_positives: NDArray[np.int64], weights: NDArray[np.float32], precision: float = 0.9) -> OfPool:
    """muAP, and the largest recall at a precision with its threshold; n_positives int64 [Q]: predicted or not."""
    total = weights @ n_positives.astype(np.float64)
    sums, recall, threshold = np.zeros(len(weights)), *np.full((2, len(weights)), np.nan)
    for matches in _matches(pool, weights):
        # a match that stands twice is two matches, one after the other
        for copy in range(1, int(matches.times.max(initial=0)) + 1):
            hits = matches.hits_before + copy
            sums += (hits / (hits + matches.others) * (matches.times >= copy)).sum(axis=0, dtype=np.float64)
        hits = matches.hits_before + matches.times
        with np.errstate(invalid="ignore"):  # nothing of nothing, where no match has been drawn yet
            good = (hits / (hits + matches.others) >= precision) & (matches.times > 0)
        some = np.flatnonzero(good.any(axis=0))
        last = len(good) - 1 - np.argmax(good[::-1, some], axis=0)
        recall[some] = hits[last, some] / total[some]
        threshold[some] = matches.scores[last]
    micro_ap = np.divide(sums, total, out=np.full(len(sums), np.nan), where=total > 0)
    return OfPool(micro_ap, recall, threshold)


def pearson(pairs: JudgedPairs, n_queries: int, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Correlation of scores and levels in each resample, float64 [B]."""
    x, y = pairs.scores - pairs.scores.mean(), pairs.levels - pairs.levels.mean()
    moments = [np.bincount(pairs.query, of, minlength=n_queries) for of in (np.ones_like(x), x, y, x * x, y * y, x * y)]
    n, sx, sy, sxx, syy, sxy = (_sums(weights, of) for of in moments)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (sxy - sx * sy / n) / np.sqrt((sxx - sx**2 / n) * (syy - sy**2 / n))
    return np.where(np.isfinite(found), found, np.nan)


class _Matches(NamedTuple):
    """Some of a pool's matches in the order of falling score, in each of B resamples.

    scores [F]; times [F, B]: how often each stands in it; hits_before [F, B]: matches before it; others [F, B]:
    non-matches of at least its score.
    """

    scores: NDArray[np.floating]
    times: NDArray[np.float32]
    hits_before: NDArray[np.float32]
    others: NDArray[np.float32]


def _matches(pool: Pool, weights: NDArray[np.float32]) -> Iterator[_Matches]:
    """All matches, some at a time: the counts of non-matches by match and query do not fit in memory at once."""
    order = np.argsort(-pool.scores[pool.is_match], kind="stable")
    whose = pool.query
    scores, owner = pool.scores[pool.is_match][order], whose[pool.is_match][order]
    # the first match whose score is not above it
    place = len(scores) - np.searchsorted(scores[::-1], pool.scores[~pool.is_match], side="right")
    query = whose[~pool.is_match]
    by_query = np.ascontiguousarray(weights.T)
    n_queries = len(by_query)
    # whole numbers, which float32 holds up to 16 million
    hits, above = np.zeros(len(weights), np.float32), np.zeros(n_queries, np.int64)
    for first in range(0, len(scores), MATCHES_AT_ONCE):
        here = slice(first, min(first + MATCHES_AT_ONCE, len(scores)))
        n = here.stop - first
        inside = np.flatnonzero((place >= first) & (place < here.stop))
        cell = (place[inside] - first) * n_queries + query[inside]
        found = np.bincount(cell, minlength=n * n_queries).reshape(n, n_queries)
        counts: NDArray[np.int64] = above + np.cumsum(found, axis=0)
        above = counts[-1]
        times = by_query[owner[here]]
        so_far = hits + np.cumsum(times, axis=0)
        hits = so_far[-1]
        yield _Matches(scores[here], times, so_far - times, counts.astype(np.float32) @ by_query)
