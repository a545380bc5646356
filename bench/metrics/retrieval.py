"""Metrics per query: what the ranks of its positives say.

Ranks count from 0, after junk was removed and with ties broken against the positives. `ranks` holds one array a
query, of the positives that were found; `n_positives` counts all of them, so a positive that was not found
contributes 0. Queries without a positive are left out of every mean.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rule = Literal["finite", "trapezoid"]


def average_precision(ranks: ArrayLike, n_positives: int, rule: Rule = "finite") -> float:
    """Average precision of one query.

    finite: 1/n sum_j (j + 1) / (r_j + 1), the sum of trec_eval and scikit-learn.
    trapezoid: 1/n sum_j (P0_j + P1_j) / 2 with P0_j = j / r_j (1 at rank 0) and P1_j = (j + 1) / (r_j + 1), the
    rule of the (revisited) Oxford and Paris benchmarks (Radenovic et al., CVPR 2018). The two never share a column.

    ranks: integers [F], F <= n_positives, in any order. A query without positives gives nan.
    Raises ValueError for ranks that are negative, repeated, or more than the positives.
    """
    r = np.sort(np.asarray(ranks, dtype=np.int64).ravel())
    if rule not in ("finite", "trapezoid"):
        raise ValueError(f"there is no rule '{rule}' of average precision: write finite or trapezoid")
    if len(r) > n_positives or (r < 0).any() or (np.diff(r) == 0).any():
        raise ValueError(f"ranks must be distinct, from 0 and at most {n_positives}, as many as positives: got {r}")
    if n_positives == 0:
        return float("nan")
    j = np.arange(len(r))
    precision = (j + 1) / (r + 1)
    if rule == "trapezoid":
        before = np.where(r == 0, 1.0, j / np.maximum(r, 1))
        precision = (before + precision) / 2
    return float(precision.sum() / n_positives)


def mean_average_precision(
    ranks: Sequence[ArrayLike], n_positives: Sequence[int] | NDArray[np.int64], rule: Rule = "finite"
) -> float:
    """Mean of `average_precision` over the queries that have a positive. Raises ValueError where none has."""
    return _mean(ranks, n_positives, lambda r, n: average_precision(r, n, rule))


def hit_at_k(ranks: Sequence[ArrayLike], n_positives: Sequence[int] | NDArray[np.int64], k: int) -> float:
    """Share of queries with any positive among the first k."""
    return _mean(ranks, n_positives, lambda r, n: float((r < k).any()))


def recall_at_k(ranks: Sequence[ArrayLike], n_positives: Sequence[int] | NDArray[np.int64], k: int) -> float:
    """Mean over queries of the share of their positives that is among the first k."""
    return _mean(ranks, n_positives, lambda r, n: float((r < k).sum() / n))


def mrr(ranks: Sequence[ArrayLike], n_positives: Sequence[int] | NDArray[np.int64]) -> float:
    """Mean reciprocal rank: mean of 1 / (rank of the first positive + 1), 0 where none was found."""
    return _mean(ranks, n_positives, lambda r, n: float(1 / (r.min() + 1)) if r.size else 0.0)


def _mean(
    ranks: Sequence[ArrayLike],
    n_positives: Sequence[int] | NDArray[np.int64],
    per_query: Callable[[NDArray[np.int64], int], float],
) -> float:
    if len(ranks) != len(n_positives):
        raise ValueError(f"{len(ranks)} queries have ranks but {len(n_positives)} have a number of positives")
    values = [
        per_query(np.asarray(r, dtype=np.int64).ravel(), int(n)) for r, n in zip(ranks, n_positives, strict=True) if n
    ]
    if not values:
        raise ValueError("no query has a positive: the mean over queries does not exist")
    return float(np.mean(values))
