"""Exact comparison of queries with a database: the best, all over a threshold, counts, all pairs."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.errors import DescriptorError, UsageError
from bench.similarity.pairs import rescore
from bench.similarity.prepare import Vectors, on_accelerator
from bench.similarity.pruned import LARGEST_K, Pruned, Sorted, can_be_sorted, sort_chunks
from bench.similarity.scan import Part, Scan, Scores
from bench.similarity.spec import Similarity

if TYPE_CHECKING:
    from torch import Tensor

#: (query, row) [P, 2], and the score [P] of each.
Pairs: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float32]]

#: Pairs that a thread can note of a block before it looks again with more room.
ROOM = 2**16
#: Of a database that is sorted as it is searched: rows by which it is judged, and bytes in memory at once.
TRIED_ROWS, SORTED_BYTES = 1002, 2**26
#: Queries for which sorting takes as long as the plain search: a measure, not a limit of correctness.
SORTING_COSTS_QUERIES = 300


@dataclass(frozen=True)
class TopK:
    """scores [N, k] float32 and indices [N, k] int64 into the database: by falling score, ties by lower index."""

    scores: NDArray[np.float32]
    indices: NDArray[np.int64]


@dataclass(frozen=True)
class Within:
    """Pairs [P] at or over a threshold: query and database row int64, score float32; by query, then as TopK."""

    queries: NDArray[np.int64]
    indices: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Histogram:
    """counts [B] int64 of pairs between edges [B + 1] float64; a bin holds its lower edge."""

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]


def top_k(queries: Vectors, database: Vectors, k: int, similarity: Similarity) -> TopK:
    """The `k` most similar of `database` [M, D] for each of `queries` [N, D], exactly; [., T, d] for tokens.

    Takes numpy arrays, memory maps, torch tensors of any floating type, and what else has the form of `Rows`.
    Raises DescriptorError for empty sets, values that are not finite, zero vectors, other dimensions or k outside
    1..M, and UsageError where the chunks do not divide D.
    """
    scan = Scan(queries, database, similarity)
    require_k(k, database)
    if on_accelerator(queries) and on_accelerator(database):
        return _by_device(queries, database, k, similarity)
    best = _none_yet(len(queries), k)
    most = 0.9 - SORTING_COSTS_QUERIES / len(queries)
    if most <= 0 or k > LARGEST_K or not can_be_sorted(similarity, scan.shape) or not _prune(scan, best, most):
        return _look_at_all(scan, k)
    return ordered(best.scores, best.indices)


def _by_device(queries: "Tensor", database: "Tensor", k: int, similarity: Similarity) -> TopK:
    """The best by an accelerator's products, with the scores of the host, bit for bit."""
    from bench.similarity.device import candidates

    rows, sure = candidates(queries, database, k, similarity)
    found = ordered(rescore(queries, database, rows, similarity), rows)
    best = TopK(found.scores[:, :k].copy(), found.indices[:, :k].copy())
    if not sure.all():
        unsure = np.flatnonzero(~sure)
        again = _look_at_all(Scan(queries[unsure], database, similarity), k)
        best.scores[unsure], best.indices[unsure] = again.scores, again.indices
    return best


def _none_yet(n: int, k: int) -> TopK:
    return TopK(np.full((n, k), -np.inf, np.float32), np.full((n, k), -1, np.int64))


def _prune(scan: Scan, best: TopK, most: float) -> bool:
    """The best by bounds, the database sorted part by part; False where its first rows do not promise that.

    Nor is it tried where these would take more memory than is meant for them.
    """
    n, n_chunks, d = len(scan.database), scan.shape.database_chunks, scan.shape.dimension
    in_memory = SORTED_BYTES // (4 * n_chunks * (d + 4))
    if in_memory < TRIED_ROWS:
        return False
    starts = [0, *range(TRIED_ROWS, n, in_memory)]
    for queries in scan.query_blocks():
        pruned = Pruned(scan.queries, *queries, scan.similarity, scan.shape, best.scores, best.indices)
        for first, last in itertools.pairwise([*starts, n]):
            part = sort_chunks(scan.database, scan.similarity, scan.shape, first, last)
            if not pruned.search(part, np.inf if first else most):
                return False
    return True


def _look_at_all(scan: Scan, k: int) -> TopK:
    """The best of all rows: every thread keeps those of its blocks."""
    from bench.similarity import kernels

    def look(part: Part, limits: NDArray[np.float32], found: Iterator[Scores]) -> TopK:
        best = _none_yet(part.last - part.first, k)  # heaps with the worst in front, which is the limit
        for s in found:
            of_s = s.state, s.over, s.first, s.last, s.n_rows, s.start
            kernels.keep_best(*of_s, limits, best.scores, best.indices)
        return best

    parts = [merge(found, k) for found in scan.visit(look, -np.inf)]
    return TopK(np.concatenate([part.scores for part in parts]), np.concatenate([part.indices for part in parts]))


@dataclass(frozen=True)
class Index:
    """A database prepared for many searches with one similarity; chunks: sorted, where they can be."""

    database: Vectors
    similarity: Similarity
    chunks: Sorted | None

    def search(self, queries: Vectors, k: int) -> TopK:
        """As `top_k`, with the same scores and indices bit for bit; raises as it does."""
        scan = Scan(queries, self.database, self.similarity)
        require_k(k, self.database)
        if self.chunks is not None and k <= LARGEST_K:
            best = _none_yet(len(queries), k)
            blocks = (
                Pruned(queries, *rows, self.similarity, scan.shape, best.scores, best.indices)
                for rows in scan.query_blocks()
            )
            if all(block.search(self.chunks, most=1) for block in blocks):
                return ordered(best.scores, best.indices)
        return _look_at_all(scan, k)


def index(database: Vectors, similarity: Similarity) -> Index:
    """An index of `database` for one similarity.

    Of chunks whose norms can differ it keeps a sorted copy in memory, float32, by which most products are left out;
    else it keeps nothing. Raises as `top_k` does for what can't be compared.
    """
    shape = Scan(database, database, similarity).shape
    sortable = can_be_sorted(similarity, shape)
    return Index(database, similarity, sort_chunks(database, similarity, shape, 0, len(database)) if sortable else None)


def require_k(k: int, database: Vectors) -> None:
    """Raises DescriptorError where k is no integer, or the database has not so many descriptors."""
    n = len(database)
    if not (isinstance(k, Integral) and 1 <= k <= n):
        raise DescriptorError(f"k is {k}, but the database has {n} descriptors: choose k from 1 to {n}")


def range_search(queries: Vectors, database: Vectors, threshold: float, similarity: Similarity) -> Within:
    """All pairs whose similarity is at least `threshold`. Raises as `top_k` does, and UsageError where that is NaN."""
    from bench.similarity import kernels

    if np.isnan(threshold):
        raise UsageError("the threshold is not a number: choose one")
    scan = Scan(queries, database, similarity)
    with np.errstate(over="ignore"):  # beyond float32 it is infinite
        least = np.float32(threshold)
        least = least if float(least) >= threshold else np.nextafter(least, np.float32(np.inf))
        under = float(np.nextafter(least, np.float32(-np.inf)))

    def look(part: Part, limits: NDArray[np.float32], found: Iterator[Scores]) -> list[Pairs]:
        kept, room = [], ROOM
        for s in found:
            while True:
                scores, pairs = np.empty(room, np.float32), np.empty((room, 2), np.int64)
                n = kernels.keep_over(s.state, s.over, s.first, s.last, s.n_rows, limits, scores, pairs)
                if n <= room:
                    break
                room = n
            kept.append((pairs[:n] + np.array((part.first, s.start)), scores[:n].copy()))
        return kept

    found = itertools.chain(*(of_thread for of_part in scan.visit(look, under) for of_thread in of_part))
    pairs, scores = (np.concatenate(of) for of in zip(*found, strict=True))
    order = np.lexsort((pairs[:, 1], -scores, pairs[:, 0]))
    return Within(pairs[order, 0], pairs[order, 1], scores[order])


def histogram(
    queries: Vectors, database: Vectors, similarity: Similarity, bins: int = 200, low: float = -1, high: float = 1
) -> Histogram:
    """How many pairs of queries and database have a similarity in each of `bins` equal bins from `low` to `high`.

    The outermost bins take what lies beyond them. Raises as `top_k` does, and UsageError for bins that there can't be.
    """
    from bench.similarity import kernels

    if not (isinstance(bins, Integral) and bins >= 1 and np.isfinite([low, high]).all() and low < high):
        raise UsageError(
            f"there are no {bins} bins from {low} to {high}: choose at least one, and two numbers of which the second "
            "is larger"
        )
    scan = Scan(queries, database, similarity)
    edges = np.linspace(low, high, bins + 1)

    def look(part: Part, limits: NDArray[np.float32], found: Iterator[Scores]) -> NDArray[np.int64]:
        counts = np.zeros(bins, np.int64)
        for s in found:
            n_queries = min(s.queries.stop, part.last - part.first) - s.queries.start
            kernels.count(s.state, n_queries, s.n_rows, edges, counts)
        return counts

    found = list(itertools.chain(*scan.visit(look, np.inf)))
    return Histogram(edges, np.sum(found, axis=0))


def pairwise(queries: Vectors, database: Vectors, similarity: Similarity) -> NDArray[np.float32]:
    """The similarity [N, M] of each query to all of the database, the scores that `top_k` sorts; raises as it does."""
    from bench.similarity import kernels

    scan = Scan(queries, database, similarity)
    scores = np.empty((len(queries), len(database)), np.float32)

    def look(part: Part, limits: NDArray[np.float32], found: Iterator[Scores]) -> None:
        for s in found:
            out = scores[part.first : part.last, s.start : s.start + s.n_rows][s.queries]
            kernels.fill(s.state, s.n_rows, out)

    for _ in scan.visit(look, np.inf):
        pass
    return scores


def merge(parts: Sequence[TopK], k: int) -> TopK:
    """The k best of what was found in several parts of a database, whose indices are those of the whole."""
    scores = np.concatenate([part.scores for part in parts], axis=1)
    joined = ordered(scores, np.concatenate([part.indices for part in parts], axis=1))
    return TopK(joined.scores[:, :k], joined.indices[:, :k])


def ordered(scores: NDArray[np.float32], indices: NDArray[np.int64]) -> TopK:
    """Found pairs [N, k] of each query by falling score, ties by lower index."""
    order = np.lexsort((indices, -scores))
    return TopK(np.take_along_axis(scores, order, 1), np.take_along_axis(indices, order, 1))
