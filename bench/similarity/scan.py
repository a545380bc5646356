"""Queries against a database, block by block, by all threads.

A block of database rows is read and normalised, then every thread multiplies it with its share of the queries. What is
in memory beside the results is one block, the normalised queries (in parts of QUERY_BYTES), and nothing that grows with
the database. Every score is computed by the same chain of operations (`kernels`), so results do not depend on the size
of blocks, the number of threads, or what else is compared.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.similarity.prepare import Shape, Vectors, floats, normalise, normalised, shape_of
from bench.similarity.spec import Similarity

#: Database rows in a block, if they take no more than BLOCK_BYTES.
BLOCK_ROWS = 504
BLOCK_BYTES = 2**24
QUERY_BYTES = 2**27


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

    def query_blocks(self) -> list[tuple[int, int]]:
        """Queries first..last that are in memory at once, normalised."""
        at_once = max(1, QUERY_BYTES // (4 * self.shape.query_chunks * self.shape.dimension))
        return [(first, min(first + at_once, len(self.queries))) for first in range(0, len(self.queries), at_once)]

    def limits(self, value: float) -> NDArray[np.float32]:
        """What a score of each query has to exceed [P, LANES]; lanes without a query never do."""
        from bench.similarity.kernels import LANES

        limits = np.full((-(-len(self.queries) // LANES), LANES), np.inf, np.float32)
        limits.reshape(-1)[: len(self.queries)] = value
        return limits

    def visit(self, work: Callable[[Part, Block], None], first: int = 0) -> None:
        """Calls `work` for all parts of the queries and all blocks of the database from row `first` on.

        Blocks come in order, parts at once.
        """
        with ThreadPoolExecutor(threads(), thread_name_prefix="similarity") as pool:
            for parts in self._parts(pool):
                for block in self._blocks(pool, first):
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

        size = self.shape.query_chunks * self.shape.dimension
        panels = np.zeros((-(-(last - first) // kernels.LANES), size, kernels.LANES), np.float32)
        for panel in range(len(panels)):
            begin = first + panel * kernels.LANES
            block = self.queries[begin : min(begin + kernels.LANES, last)]
            rows = normalised(block, self.similarity, "queries", begin)
            kernels.pack(rows.reshape(len(rows), -1), panels[panel])
        return panels

    def _blocks(self, pool: ThreadPoolExecutor, first: int) -> Iterator[Block]:
        from bench.similarity.kernels import ROWS

        size = self.shape.database_chunks * self.shape.dimension
        n = max(ROWS, min(BLOCK_ROWS, BLOCK_BYTES // (4 * size)) // ROWS * ROWS)
        rows = np.zeros((n, size), np.float32)
        for start in range(first, len(self.database), n):
            # read by one thread: a database need not bear several readers
            block = floats(self.database, start, min(start + n, len(self.database)))
            share = -(-len(block) // threads())
            begins = range(0, len(block), share)
            into = [rows[begin : min(begin + share, len(block))] for begin in begins]
            of_share = [block[begin : begin + share] for begin in begins]
            into_rows = partial(normalise, self.similarity, "database")
            list(pool.map(into_rows, [start + begin for begin in begins], of_share, into))
            yield Block(start, len(block), rows[: -(-len(block) // ROWS) * ROWS])


def threads() -> int:
    """As many as this process may run at once; OMP_NUM_THREADS, where it is set."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
