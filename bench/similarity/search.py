"""Exact comparison of queries with a database, block by block: the best, all over a threshold, counts, all pairs.

A block of database rows is read and normalised, then every thread multiplies it with its share of the queries. What is
in memory beside the results is one block, the normalised queries (in parts of QUERY_BYTES), and nothing that grows with
the database. Every score is computed by the same chain of operations (`kernels`), so results do not depend on the size
of blocks, the number of threads, or what else is compared.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DescriptorError
from bench.similarity.prepare import Shape, Vectors, floats, normalise, normalised, shape_of
from bench.similarity.spec import Similarity

#: Database rows in a block, if they take no more than BLOCK_BYTES.
BLOCK_ROWS = 504
BLOCK_BYTES = 2**24
QUERY_BYTES = 2**27
#: Pairs that a thread can note of a block before it looks again with more room.
ROOM = 2**16


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
    from bench.similarity import kernels

    scan = Scan(queries, database, similarity)
    require_k(k, database)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    indices = np.full((len(queries), k), -1, np.int64)
    limits = scan.limits(-np.inf)

    def keep(part: "Part", block: "Block") -> None:
        mine = slice(part.first, part.last)
        of_block = block.n_rows, block.start, limits[part.of_panels], scores[mine], indices[mine]
        kernels.keep_best(*part.operands(block), *of_block)

    scan.visit(keep)
    return ordered(scores, indices)


def require_k(k: int, database: Vectors) -> None:
    """Raises DescriptorError where the database has not so many descriptors."""
    n = len(database)
    if not 1 <= k <= n:
        raise DescriptorError(f"k is {k}, but the database has {n} descriptors: choose k from 1 to {n}")


def range_search(queries: Vectors, database: Vectors, threshold: float, similarity: Similarity) -> Within:
    """All pairs whose similarity is at least `threshold`. Raises as `top_k` does."""
    from bench.similarity import kernels

    scan = Scan(queries, database, similarity)
    least = np.float32(threshold)
    least = least if float(least) >= threshold else np.nextafter(least, np.float32(np.inf))
    limits = scan.limits(float(np.nextafter(least, np.float32(-np.inf))))
    found: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []

    def keep(part: "Part", block: "Block") -> None:
        room = ROOM
        while True:
            scores, pairs = np.empty(room, np.float32), np.empty((room, 2), np.int64)
            n = kernels.keep_over(*part.operands(block), block.n_rows, limits[part.of_panels], scores, pairs)
            if n <= room:
                break
            room = n
        found.append((pairs[:n] + np.array((part.first, block.start)), scores[:n].copy()))

    scan.visit(keep)
    pairs, scores = (np.concatenate(of) for of in zip(*found, strict=True))
    order = np.lexsort((pairs[:, 1], -scores, pairs[:, 0]))
    return Within(pairs[order, 0], pairs[order, 1], scores[order])


def histogram(
    queries: Vectors, database: Vectors, similarity: Similarity, bins: int = 200, low: float = -1, high: float = 1
) -> Histogram:
    """How many pairs of queries and database have a similarity in each of `bins` equal bins from `low` to `high`.

    The outermost bins take what lies beyond them. Raises as `top_k` does.
    """
    from bench.similarity import kernels

    scan = Scan(queries, database, similarity)
    edges = np.linspace(low, high, bins + 1)
    found: list[NDArray[np.int64]] = []

    def add(part: "Part", block: "Block") -> None:
        counts = np.zeros(bins, np.int64)
        kernels.count(*part.operands(block), block.n_rows, part.last - part.first, edges, counts)
        found.append(counts)

    scan.visit(add)
    return Histogram(edges, np.sum(found, axis=0))


def pairwise(queries: Vectors, database: Vectors, similarity: Similarity) -> NDArray[np.float32]:
    """The similarity [N, M] of each query to all of the database, the scores that `top_k` sorts; raises as it does."""
    from bench.similarity import kernels

    scan = Scan(queries, database, similarity)
    scores = np.empty((len(queries), len(database)), np.float32)

    def fill(part: "Part", block: "Block") -> None:
        out = scores[part.first : part.last, block.start : block.start + block.n_rows]
        kernels.fill(*part.operands(block), out)

    scan.visit(fill)
    return scores


def rescore(
    queries: Vectors, database: Vectors, candidates: NDArray[np.int64], similarity: Similarity
) -> NDArray[np.float32]:
    """The similarity of each query to its candidates, rows of the database [N, c]: float32 [N, c]."""
    rows = [pairwise(queries[i : i + 1], database[of_query], similarity)[0] for i, of_query in enumerate(candidates)]
    return np.stack(rows)


def merge(parts: Sequence[TopK], k: int) -> TopK:
    """The k best of what was found in several parts of a database, whose indices are those of the whole."""
    scores = np.concatenate([part.scores for part in parts], axis=1)
    joined = ordered(scores, np.concatenate([part.indices for part in parts], axis=1))
    return TopK(joined.scores[:, :k], joined.indices[:, :k])


def ordered(scores: NDArray[np.float32], indices: NDArray[np.int64]) -> TopK:
    """Found pairs [N, k] of each query by falling score, ties by lower index."""
    order = np.lexsort((indices, -scores))
    return TopK(np.take_along_axis(scores, order, 1), np.take_along_axis(indices, order, 1))


@dataclass(frozen=True)
class Block:
    """n_rows normalised database rows from row `start` on, in `rows` [B, D], B a multiple of a tile's height."""

    start: int
    n_rows: int
    rows: NDArray[np.float32]


@dataclass(frozen=True)
class Part:
    """The queries first..last, which one thread compares: their panels, and room of its own for a block's scores."""

    first: int
    last: int
    panels: NDArray[np.float32]
    slices: NDArray[np.int64]
    dimension: int
    room: list[Any]

    @property
    def of_panels(self) -> slice:
        """Its panels among those of all queries."""
        from bench.similarity.kernels import LANES

        return slice(self.first // LANES, self.first // LANES + len(self.panels))

    def operands(self, block: Block) -> tuple[Any, ...]:
        """What every kernel takes first."""
        from bench.similarity import kernels

        n = len(block.rows)
        if not self.room or len(self.room[0]) < n:
            self.room[:] = np.empty((n, kernels.LANES), np.float32), np.empty(n // kernels.ROWS, np.bool_)
        return block.rows, self.panels, 0, len(self.panels), self.slices, self.dimension, *self.room


class Scan:
    """All queries against all of a database, checked beforehand."""

    def __init__(self, queries: Vectors, database: Vectors, similarity: Similarity) -> None:
        self.queries, self.database, self.similarity = queries, database, similarity
        self.shape: Shape = shape_of(queries, database, similarity)

    def limits(self, value: float) -> NDArray[np.float32]:
        """What a score of each query has to exceed [P, LANES]; lanes without a query never do."""
        from bench.similarity.kernels import LANES

        limits = np.full((-(-len(self.queries) // LANES), LANES), np.inf, np.float32)
        limits.reshape(-1)[: len(self.queries)] = value
        return limits

    def visit(self, work: Callable[[Part, Block], None]) -> None:
        """Calls `work` for all parts of the queries and all blocks of the database: blocks in order, parts at once."""
        with ThreadPoolExecutor(threads(), thread_name_prefix="similarity") as pool:
            for parts in self._parts(pool):
                for block in self._blocks(pool):
                    list(pool.map(work, parts, itertools.repeat(block)))

    def _parts(self, pool: ThreadPoolExecutor) -> Iterator[list[Part]]:
        """Parts for all threads, as many queries at once as memory is meant to hold."""
        from bench.similarity import kernels

        size = self.shape.query_chunks * self.shape.dimension
        at_once = max(threads(), QUERY_BYTES // (4 * size * kernels.LANES))
        n_panels = -(-len(self.queries) // kernels.LANES)
        slices = self.shape.slices(self.similarity)
        for first_panel in range(0, n_panels, at_once):
            last_panel = min(first_panel + at_once, n_panels)
            bounds = np.linspace(first_panel, last_panel, threads() + 1).round().astype(int) * kernels.LANES
            starts = [(a, min(b, len(self.queries))) for a, b in itertools.pairwise(bounds.tolist()) if a < b]
            panels = pool.map(lambda of: self._panels(*of), starts)
            yield [Part(*of, p, slices, self.shape.dimension, []) for of, p in zip(starts, panels, strict=True)]

    def _panels(self, first: int, last: int) -> NDArray[np.float32]:
        from bench.similarity import kernels

        rows = normalised(self.queries[first:last], self.similarity, "queries", first)
        panels = np.zeros((-(-len(rows) // kernels.LANES), rows.shape[1], kernels.LANES), np.float32)
        kernels.pack(rows, panels)
        return panels

    def _blocks(self, pool: ThreadPoolExecutor) -> Iterator[Block]:
        from bench.similarity.kernels import ROWS

        size = self.shape.database_chunks * self.shape.dimension
        n = max(ROWS, min(BLOCK_ROWS, BLOCK_BYTES // (4 * size)) // ROWS * ROWS)
        rows = np.zeros((n, size), np.float32)
        for start in range(0, len(self.database), n):
            # read by one thread: a database need not bear several readers
            block = floats(self.database, start, min(start + n, len(self.database)))
            share = -(-len(block) // threads())
            firsts = range(0, len(block), share)
            into = [rows[first : min(first + share, len(block))] for first in firsts]
            of_share = [block[first : first + share] for first in firsts]
            into_rows = partial(normalise, self.similarity, "database")
            list(pool.map(into_rows, [start + first for first in firsts], of_share, into))
            yield Block(start, len(block), rows[: -(-len(block) // ROWS) * ROWS])


def threads() -> int:
    """As many as this process may run at once; OMP_NUM_THREADS, where it is set."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
