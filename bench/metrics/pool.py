"""The predicted pairs of all queries in one pool."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.interfaces import GroundTruth
from bench.metrics.ranks import flat


@dataclass(frozen=True)
class Pool:
    """Query by query: scores float32 [P] (float64 where normalised) and is_match bool [P]. n_pairs: int64 [Q]."""

    scores: NDArray[np.floating]
    is_match: NDArray[np.bool_]
    n_pairs: NDArray[np.int64]

    @property
    def query(self) -> NDArray[np.int64]:
        """Whose each pair is, int64 [P]."""
        return np.repeat(np.arange(len(self.n_pairs)), self.n_pairs)

    def of_queries(self, chosen: NDArray[np.bool_]) -> "Pool":
        """The pairs of the queries chosen, bool [Q]."""
        kept = np.repeat(chosen, self.n_pairs)
        return Pool(self.scores[kept], self.is_match[kept], self.n_pairs[chosen])

    def best(self, n: int) -> "Pool":
        """The n pairs of the highest scores; at the cut equal scores keep non-matches first, then earlier queries."""
        if len(self.scores) <= n:
            return self
        cut = np.partition(self.scores, -n)[-n]
        kept = self.scores > cut
        at_cut = np.flatnonzero(self.scores == cut)
        at_cut = at_cut[np.argsort(self.is_match[at_cut], kind="stable")]
        kept[at_cut[: n - int(kept.sum())]] = True
        return Pool(self.scores[kept], self.is_match[kept], np.bincount(self.query[kept], minlength=len(self.n_pairs)))

    def reduced(self) -> "Pool":
        """The same for every metric of a pool, with as few different scores as can be, sorted within a query.

        What is no match takes the highest score of a match that is not above its own, since among equal scores it
        counts first all the same; what is below all matches is left out.
        """
        of_matches = np.unique(self.scores[self.is_match])
        place = np.searchsorted(of_matches, self.scores, side="right") - 1
        order = np.lexsort((self.is_match, place, self.query))
        order = order[place[order] >= 0]
        n_pairs = np.bincount(self.query[order], minlength=len(self.n_pairs))
        return Pool(of_matches[place[order]], self.is_match[order], n_pairs)


def pooled(scores: NDArray[np.floating], truth: GroundTruth) -> Pool:
    """All pairs of scores [Q, M] but junk."""
    kept, is_match = np.ones(scores.shape, bool), np.zeros(scores.shape, bool)
    kept[flat(truth.junk)] = False
    is_match[flat(truth.positives)] = True
    return Pool(scores[kept], is_match[kept], kept.sum(axis=1))
