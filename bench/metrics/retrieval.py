"""Metrics per query: what the ranks of its positives say.

Ranks count from 0, after junk was removed and with ties broken against the positives. `ranks` holds one array a
query, in any order, of the positives that were found, or the same flat as `Ranks`; `n_positives` [Q] counts all of
them, so a positive that was not found contributes 0. Queries without a positive are left out of every mean.

Every function of many queries raises ValueError where no query has a positive, or for ranks that are negative,
repeated, or more than the positives.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.ranks import PerQuery, Ranks

Rule = Literal["finite", "trapezoid"]


def average_precision(ranks: ArrayLike, n_positives: int, rule: Rule = "finite") -> float:
    """Average precision of one query.

    finite: 1/n sum_j (j + 1) / (r_j + 1), the sum of trec_eval and scikit-learn.
    trapezoid: 1/n sum_j (P0_j + P1_j) / 2 with P0_j = j / r_j (1 at rank 0) and P1_j = (j + 1) / (r_j + 1), the
    rule of the (revisited) Oxford and Paris benchmarks (Radenovic et al., CVPR 2018). The two never share a column.

    ranks: integers [F], F <= n_positives, in any order. A query without positives gives nan.
    Raises ValueError for ranks that are negative, repeated, or more than the positives.
    """
    found, n = _checked([ranks], [n_positives])
    return float(average_precisions(found, n, rule)[0])


def mean_average_precision(ranks: PerQuery, n_positives: ArrayLike, rule: Rule = "finite") -> float:
    """Mean of `average_precision` over the queries that have a positive."""
    found, n = _checked(ranks, n_positives)
    return mean_of_queries(average_precisions(found, n, rule))


def mean_precision_at_k(ranks: PerQuery, n_positives: ArrayLike, k: int) -> float:
    """Mean of the precision among the first min(k, p), p the position from 1 of the query's last positive.

    The mP@k of the revisited Oxford and Paris benchmarks: a query with few positives can reach 1. A positive that was
    not found stands beyond all that was retrieved, so that its query's precision is that among the first k.
    """
    found, n = _checked(ranks, n_positives)
    return mean_of_queries(precisions_at_k(found, n, k))


def hit_at_k(ranks: PerQuery, n_positives: ArrayLike, k: int) -> float:
    """Share of queries with any positive among the first k."""
    found, n = _checked(ranks, n_positives)
    return mean_of_queries(hits_at_k(found, n, k))


def recall_at_k(ranks: PerQuery, n_positives: ArrayLike, k: int) -> float:
    """Mean over queries of the share of their positives that is among the first k."""
    found, n = _checked(ranks, n_positives)
    return mean_of_queries(recalls_at_k(found, n, k))


def mrr(ranks: PerQuery, n_positives: ArrayLike) -> float:
    """Mean reciprocal rank: mean of 1 / (rank of the first positive + 1), 0 where none was found."""
    found, n = _checked(ranks, n_positives)
    return mean_of_queries(reciprocal_ranks(found, n))


def r_precision(ranks: PerQuery, n_positives: ArrayLike) -> float:
    """Mean precision among the first n, n the query's number of positives."""
    found, n = _checked(ranks, n_positives)
    return mean_of_queries(r_precisions(found, n))


def mean_average_precision_at_r(ranks: PerQuery, n_positives: ArrayLike) -> float:
    """MAP@R: the finite sum of average precision over the ranks below n alone (Musgrave et al., ECCV 2020)."""
    found, n = _checked(ranks, n_positives)
    return mean_of_queries(average_precisions_at_r(found, n))


def ns_score(ranks: PerQuery, n_positives: ArrayLike) -> float:
    """Mean number of the four images of an object among the first four (UKBench; Nister and Stewenius, CVPR 2006).

    The query is one of the four, and is found first: without it among the ranks, 1 + its positives among the first 3.
    """
    found, n = _checked(ranks, n_positives)
    return mean_of_queries(ns_scores(found, n))


def mean_of_queries(values: NDArray[np.float64]) -> float:
    """Mean of those of values [Q] that are not nan. Raises ValueError where all are."""
    exist = ~np.isnan(values)
    if not exist.any():
        raise ValueError("no query has a positive: the mean over queries does not exist")
    return float(values[exist].mean())


def average_precisions(found: Ranks, n_positives: NDArray[np.int64], rule: Rule) -> NDArray[np.float64]:
    """`average_precision` of each query, float64 [Q], nan without a positive; found and n_positives fit together."""
    if rule not in ("finite", "trapezoid"):
        raise ValueError(f"there is no rule '{rule}' of average precision: write finite or trapezoid")
    r, j = found.values, found.before
    precision = (j + 1) / (r + 1)
    if rule == "trapezoid":
        precision += np.divide(j, r, out=np.ones(len(r)), where=r > 0)
        precision /= 2
    return _shares(_sum(found, precision), n_positives, n_positives)


def precisions_at_k(found: Ranks, n_positives: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """The precision of each query that `mean_precision_at_k` averages, float64 [Q], nan without a positive."""
    last = np.zeros(len(n_positives), np.int64)
    last[found.query] = found.values + 1  # ranks ascend within a query: the last one stays
    cut = np.where(found.n_found < n_positives, k, np.minimum(last, k))
    return _shares(_count(found, found.values < cut[found.query]), cut, n_positives)


def hits_at_k(found: Ranks, n_positives: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """1 or 0 for each query that `hit_at_k` averages, float64 [Q], nan without a positive."""
    return _shares(_count(found, found.values < k) > 0, np.ones_like(n_positives), n_positives)


def recalls_at_k(found: Ranks, n_positives: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """The recall of each query that `recall_at_k` averages, float64 [Q], nan without a positive."""
    return _shares(_count(found, found.values < k), n_positives, n_positives)


def reciprocal_ranks(found: Ranks, n_positives: NDArray[np.int64]) -> NDArray[np.float64]:
    """What `mrr` averages, float64 [Q], nan without a positive."""
    first = found.before == 0
    return _shares(_sum(found, first / (found.values + 1)), np.ones_like(n_positives), n_positives)


def r_precisions(found: Ranks, n_positives: NDArray[np.int64]) -> NDArray[np.float64]:
    """The precision of each query that `r_precision` averages, float64 [Q], nan without a positive."""
    return _shares(_count(found, found.values < n_positives[found.query]), n_positives, n_positives)


def average_precisions_at_r(found: Ranks, n_positives: NDArray[np.int64]) -> NDArray[np.float64]:
    """What `mean_average_precision_at_r` averages, float64 [Q], nan without a positive."""
    precision = (found.before + 1) / (found.values + 1)
    return _shares(_sum(found, precision * (found.values < n_positives[found.query])), n_positives, n_positives)


def ns_scores(found: Ranks, n_positives: NDArray[np.int64]) -> NDArray[np.float64]:
    """What `ns_score` averages, float64 [Q], nan without a positive."""
    return _shares(1 + _count(found, found.values < 3), np.ones_like(n_positives), n_positives)


def _count(found: Ranks, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many of each query's ranks are chosen, bool [F], int64 [Q]."""
    return np.bincount(found.query[chosen], minlength=found.n_queries).astype(np.int64)


def _sum(found: Ranks, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of weights [F] over each query's ranks, float64 [Q]."""
    return np.bincount(found.query, weights, minlength=found.n_queries).astype(np.float64)


def _shares(part: NDArray[np.generic], whole: NDArray[np.int64], n_positives: NDArray[np.int64]) -> NDArray[np.float64]:
    """part / whole [Q], nan for the queries without a positive."""
    exist = n_positives > 0
    shares: NDArray[np.float64] = np.divide(part, whole, out=np.full(len(exist), np.nan), where=exist)
    return shares


def _checked(ranks: PerQuery, n_positives: ArrayLike) -> tuple[Ranks, NDArray[np.int64]]:
    found, n = Ranks.of(ranks), np.asarray(n_positives, dtype=np.int64)
    if n.shape != (found.n_queries,):
        raise ValueError(f"{found.n_queries} queries have ranks but {n.size} have a number of positives")
    repeated = (np.diff(found.values) == 0) & (np.diff(found.query) == 0)
    for wrong, query, what in (
        (found.values < 0, found.query, "a negative rank"),
        (repeated, found.query[1:], "the same rank twice"),
        (found.n_found > n, np.arange(len(n)), "more ranks than positives"),
    ):
        if wrong.any():
            raise ValueError(f"query {query[np.argmax(wrong)]} has {what}")
    return found, n
