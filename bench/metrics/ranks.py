"""The ranks of all queries' positives in one flat array, so that a metric is a few operations whatever their number."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.interfaces import Indices


@dataclass(frozen=True)
class Ranks:
    """Where the positives of Q queries were found, counted from 0, without junk.

    values: int64 [F], query by query, ascending within one. query: int64 [F], whose each is. n_queries: Q, those
    without a rank among them.
    """

    values: NDArray[np.int64]
    query: NDArray[np.int64]
    n_queries: int

    @classmethod
    def of(cls, ranks: "PerQuery") -> "Ranks":
        """The same of one array a query, each in any order."""
        if isinstance(ranks, Ranks):
            return ranks
        parts = [np.sort(np.asarray(part, dtype=np.int64), axis=None) for part in ranks]
        query = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        return cls(np.concatenate([np.empty(0, np.int64), *parts]), query, len(parts))

    @cached_property
    def n_found(self) -> NDArray[np.int64]:
        """Ranks of each query, int64 [Q]."""
        return np.bincount(self.query, minlength=self.n_queries).astype(np.int64)

    @cached_property
    def before(self) -> NDArray[np.int64]:
        """How many positives of its query stand before each, int64 [F]."""
        n_found = self.n_found
        first = np.cumsum(n_found) - n_found
        return np.arange(len(self.values)) - first[self.query]


#: One array of ranks a query, or the same flat.
PerQuery: TypeAlias = Ranks | Sequence[ArrayLike]


def flat(members: Sequence[Indices]) -> tuple[Indices, Indices]:
    """Whose [F], and which [F], of one array of images a query."""
    images = np.concatenate([np.empty(0, np.int64), *members])
    return np.repeat(np.arange(len(members)), [len(part) for part in members]), images


def last_of_equals(query: Indices, scores: NDArray[np.floating]) -> Indices:
    """Of each of sorted pairs [F] the position of the last that has the same query and the same score, int64 [F]."""
    changes = (query[1:] != query[:-1]) | (scores[1:] != scores[:-1])
    last = np.append(np.flatnonzero(changes), len(scores) - 1)
    return last[np.searchsorted(last, np.arange(len(scores)))]
