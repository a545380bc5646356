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
    _, hits, precision = _curve(scores, is_match, n_positives)
    return float(precision[hits].sum() / n_positives)


def recall_at_precision(
    scores: ArrayLike, is_match: ArrayLike, n_positives: int, precision: float = 0.9
) -> OperatingPoint | None:
    """The largest recall at which the precision is at least `precision`, with its threshold.

    Arguments as for `micro_average_precision`. None where the precision is never reached. Of several points
    with that recall the one with the highest threshold counts.
    """
    ordered, hits, reached = _curve(scores, is_match, n_positives)
    good = np.flatnonzero(reached >= precision)
    if not good.size:
        return None
    # among equal scores matches come last, so the point of largest recall always ends them: it is a threshold
    found = np.cumsum(hits)[good]
    at = int(np.argmax(found))
    return OperatingPoint(float(found[at] / n_positives), float(ordered[good[at]]))


def _curve(
    scores: ArrayLike, is_match: ArrayLike, n_positives: int
) -> tuple[NDArray[np.floating], NDArray[np.bool_], NDArray[np.float64]]:
    """Scores by falling value with non-matches first among equals, the matches, and the precision at each."""
    s, y = np.asarray(scores).ravel(), np.asarray(is_match, dtype=bool).ravel()
    if s.shape != y.shape:
        raise ValueError(f"{s.size} scores but {y.size} labels")
    if np.isnan(s).any():
        raise ValueError("a score is not a number")
    if n_positives < 1 or y.sum() > n_positives:
        raise ValueError(f"{int(y.sum())} matches among the predictions, but {n_positives} in the ground truth")
    order = np.lexsort((y, -s))
    hits = y[order]
    return s[order], hits, np.cumsum(hits) / np.arange(1, len(hits) + 1)
