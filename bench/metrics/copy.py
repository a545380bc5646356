"""Metrics of copy detection: the scores of all queries in one pool, so that one threshold must serve them all.

Definitions of the Image Similarity Challenge (Douze et al. 2021). Queries without a match stay in the pool.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class OperatingPoint(NamedTuple):
    """A recall and the score from which on (>=) it is reached."""

    recall: float
    threshold: float


def micro_average_precision(scores: ArrayLike, is_match: ArrayLike, n_positives: int) -> float:
    """muAP = 1/N sum of the precision at each match, over all predicted pairs by falling score.

    scores: float [P]; is_match: bool [P]; n_positives: N, the ground-truth pairs, predicted or not. Equal scores
    count non-matches first. No predictions give 0. Raises ValueError for more matches than N, or N = 0.
    """
    _, precision = _curve(scores, is_match, n_positives)
    return float(precision.sum() / n_positives)


def recall_at_precision(
    scores: ArrayLike, is_match: ArrayLike, n_positives: int, precision: float = 0.9
) -> OperatingPoint | None:
    """The largest recall at which the precision is at least `precision`, with its threshold.

    Arguments as for `micro_average_precision`. None where the precision is never reached. Of several points
    with that recall the one with the highest threshold counts.
    """
    matches, reached = _curve(scores, is_match, n_positives)
    good = np.flatnonzero(reached >= precision)
    if not good.size:
        return None
    # among equal scores the precision rises from match to match, so the last good one ends them: it is a threshold
    return OperatingPoint(float((good[-1] + 1) / n_positives), float(matches[good[-1]]))


def pair_recall_at_k(pair_ranks: ArrayLike, n_positives: int, k: int) -> float:
    """Share of the ground-truth pairs that have a rank below k, the challenge's "recall at rank k".

    pair_ranks: int [F], of each pair found the number of its query's other predictions, matches among them, whose
    score is at least its own: ties hurt, and of two positives of one query at most one has rank 0. n_positives: N,
    the ground-truth pairs, found or not. Raises ValueError for more ranks than N, or N = 0.
    """
    ranks = np.asarray(pair_ranks)
    _require_pairs(ranks.size, n_positives)
    return float((ranks < k).sum() / n_positives)


def _curve(
    scores: ArrayLike, is_match: ArrayLike, n_positives: int
) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
    """The scores of the matches, falling, and the precision at each with non-matches first among equal scores."""
    s, y = np.asarray(scores).ravel(), np.asarray(is_match, dtype=bool).ravel()
    if s.shape != y.shape:
        raise ValueError(f"{s.size} scores but {y.size} labels")
    if np.isnan(s).any():
        raise ValueError("a score is not a number")
    matches, others = s[y], s[~y]
    matches.sort()
    others.sort()
    _require_pairs(matches.size, n_positives)
    not_below = len(others) - np.searchsorted(others, matches)
    hits = np.arange(1, len(matches) + 1)
    return matches[::-1], hits / (hits + not_below[::-1])


def _require_pairs(n_found: int, n_positives: int) -> None:
    if n_positives < 1 or n_found > n_positives:
        raise ValueError(f"{n_found} matches among the predictions, but {n_positives} in the ground truth")
