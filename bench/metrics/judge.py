"""Similarities held against the ground truth: everything the metrics need."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.errors import DatasetError
from bench.interfaces import GroundTruth
from bench.metrics.levels import JudgedPairs
from bench.metrics.neighbours import Neighbours
from bench.metrics.pool import Pool
from bench.metrics.ranks import Ranks, flat, last_of_equals

T = TypeVar("T", Neighbours, JudgedPairs, Pool)


class GroundTruthError(DatasetError, ValueError):
    """A ground truth or ranking that contradicts itself."""


@dataclass(frozen=True)
class Judged:
    """Judged results of Q queries, junk removed. What no metric asked for is None.

    ranks: of the positives found; among equal scores they come last. pair_ranks: int64 [F], in the same order, the
    rank of each if it came last of all of its score, other positives too. n_positives: int64 [Q], found or not.
    """

    ranks: Ranks
    pair_ranks: NDArray[np.int64]
    n_positives: NDArray[np.int64]
    pool: Pool | None = None
    neighbours: Neighbours | None = None
    pairs: JudgedPairs | None = None

    def of_queries(self, chosen: NDArray[np.bool_]) -> "Judged":
        """Ranks and pool of the queries chosen, bool [Q]."""
        kept = chosen[self.ranks.query]
        number = np.cumsum(chosen) - 1
        ranks = Ranks(self.ranks.values[kept], number[self.ranks.query[kept]], int(chosen.sum()))
        pool = self.pool.of_queries(chosen) if self.pool else None
        return Judged(ranks, self.pair_ranks[kept], self.n_positives[chosen], pool)


def judge(scores: NDArray[np.floating], truth: GroundTruth) -> Judged:
    """Ranks of the positives by the similarity of each query to the whole database, float [Q, M], all finite.

    Raises DatasetError where an image is both positive and junk of one query, or is not in the database, ValueError for
    a score that is not a number.
    """
    require_consistent(truth, scores.shape[1])
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    query, image = flat(truth.positives)
    own = scores[query, image]
    order = np.lexsort((-own, query))
    query, own = query[order], own[order]
    n_positives = np.array([len(good) for good in truth.positives], np.int64)
    first = np.cumsum(n_positives) - n_positives
    not_below = _negatives_not_below(scores, truth, own, first, n_positives)
    place = np.arange(len(own)) - first[query]
    last = last_of_equals(query, own) - first[query]
    return Judged(Ranks(not_below + place, query, len(scores)), not_below + last, n_positives)


def require_consistent(truth: GroundTruth, n_database: int) -> None:
    """Raises DatasetError for an image outside the database, or named twice: positive and junk, or twice positive."""
    (query, image), (of_junk, junk) = flat(truth.positives), flat(truth.junk)
    whose, named = np.append(query, of_junk), np.append(image, junk)
    outside = (named < 0) | (named >= n_database)
    if outside.any():
        raise GroundTruthError(
            f"the ground truth of query {whose[np.argmax(outside)]} names images outside the database of {n_database}: "
            "correct it"
        )
    positives = np.sort(query * n_database + image)
    both = np.intersect1d(positives, of_junk * n_database + junk)
    if both.size:
        raise GroundTruthError(
            f"query {both[0] // n_database} has an image that is both positive and junk: it can be only one"
        )
    twice = positives[1:][np.diff(positives) == 0]
    if twice.size:
        raise GroundTruthError(
            f"query {twice[0] // n_database} names image {twice[0] % n_database} twice as a positive: once is enough"
        )


def joined(parts: Sequence[Judged]) -> Judged:
    """The results of several groups of queries as those of all of them, all with the same parts but the pool."""
    n_queries = [len(part.n_positives) for part in parts]
    starts = np.cumsum(n_queries) - n_queries
    query = np.concatenate([part.ranks.query + start for part, start in zip(parts, starts, strict=True)])
    neighbours = [part.neighbours for part in parts if part.neighbours]
    pairs = [part.pairs for part in parts if part.pairs]
    return Judged(
        Ranks(np.concatenate([part.ranks.values for part in parts]), query, sum(n_queries)),
        np.concatenate([part.pair_ranks for part in parts]),
        np.concatenate([part.n_positives for part in parts]),
        neighbours=concatenated(neighbours) if neighbours else None,
        pairs=concatenated(pairs) if pairs else None,
    )


def concatenated(parts: Sequence[T]) -> T:
    """Dataclasses of arrays as one, array by array."""
    return type(parts[0])(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(parts[0])))


def _negatives_not_below(
    scores: NDArray[np.floating],
    truth: GroundTruth,
    own: NDArray[np.floating],
    first: NDArray[np.int64],
    n_positives: NDArray[np.int64],
) -> NDArray[np.int64]:
    """For each score `own` of a positive how many negatives of its query have at least that, int64 [F]."""
    found = np.empty(len(own), np.int64)
    for query in np.flatnonzero(n_positives):
        negatives = scores[query].copy()
        negatives[truth.positives[query]] = negatives[truth.junk[query]] = -np.inf  # below every score
        negatives.sort()
        of_query = slice(first[query], first[query] + n_positives[query])
        found[of_query] = len(negatives) - np.searchsorted(negatives, own[of_query])
    return found
