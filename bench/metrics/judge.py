"""Search results held against the ground truth: everything the metrics need."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.errors import DatasetError
from bench.interfaces import GroundTruth
from bench.similarity import TopK


@dataclass(frozen=True)
class Judged:
    """Judged search results of Q queries, junk removed.

    ranks: per query, the ascending ranks of the positives found. n_positives: int64 [Q], found or not.
    scores float32 [P] (float64 where they are normalised) and is_match bool [P]: all query-database pairs that were
    returned, pooled.
    """

    ranks: tuple[NDArray[np.int64], ...]
    n_positives: NDArray[np.int64]
    scores: NDArray[np.floating]
    is_match: NDArray[np.bool_]


def judge(found: TopK, truth: GroundTruth, n_database: int) -> Judged:
    """Ranks and labels of search results; among equal scores the positives come last.

    Raises DatasetError where an image is both positive and junk of one query, or is not in the database.
    """
    require_consistent(truth, n_database)
    positive, junk = _labels(found.indices, truth.positives), _labels(found.indices, truth.junk)
    ranks = _pessimistic_ranks(found.scores, positive, junk)
    kept = ~junk
    return Judged(
        tuple(row[is_positive] for row, is_positive in zip(ranks, positive, strict=True)),
        np.array([len(good) for good in truth.positives], np.int64),
        found.scores[kept],
        positive[kept],
    )


def require_consistent(truth: GroundTruth, n_database: int) -> None:
    """Raises DatasetError for an image that is both positive and junk of one query, or not in the database."""
    for query, (good, ignored) in enumerate(zip(truth.positives, truth.junk, strict=True)):
        named = np.concatenate([good, ignored])
        if named.size and not 0 <= named.min() <= named.max() < n_database:
            raise DatasetError(f"the ground truth of query {query} names images outside the database of {n_database}")
        if np.intersect1d(good, ignored).size:
            raise DatasetError(f"query {query} has an image that is both positive and junk: it can be only one")


def joined(parts: Sequence[Judged]) -> Judged:
    """The results of several groups of queries as those of all of them."""
    return Judged(
        tuple(ranks for part in parts for ranks in part.ranks),
        np.concatenate([part.n_positives for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.is_match for part in parts]),
    )


def _pessimistic_ranks(
    scores: NDArray[np.float32], positive: NDArray[np.bool_], junk: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Rank [Q, k] that each positive has after all negatives of at least its score and the positives before it."""
    n = scores.shape[1]
    ends_tie = np.append(scores[:, 1:] != scores[:, :-1], np.ones((len(scores), 1), bool), axis=1)
    tie_end = np.minimum.accumulate(np.where(ends_tie, np.arange(n), n)[:, ::-1], axis=1)[:, ::-1]
    negatives = np.cumsum(~positive & ~junk, axis=1)
    ahead = np.take_along_axis(negatives, tie_end, axis=1)
    return (ahead + np.cumsum(positive, axis=1) - 1).astype(np.int64)


def _labels(indices: NDArray[np.int64], members: tuple[NDArray[np.int64], ...]) -> NDArray[np.bool_]:
    return np.stack([np.isin(found, chosen) for found, chosen in zip(indices, members, strict=True)])
