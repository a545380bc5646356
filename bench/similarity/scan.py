"""Queries against a database, block by block, by all threads.

Every thread takes the next block of database rows, normalises it, multiplies it with all queries, and goes on without
waiting for the others. What is in memory beside the results is a block a thread, the normalised queries (in parts of
QUERY_BYTES), and nothing that grows with the database. Every score is computed by the same chain of operations
(`kernels`), so results do not depend on the size of blocks, the number of threads, or what else is compared.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.errors import DescriptorError
from bench.similarity.prepare import Shape, Vectors, floats, normalise, normalised, shape_of
from bench.similarity.spec import Similarity

Found = TypeVar("Found")

#: Database rows in a block, if they take no more than BLOCK_BYTES.
BLOCK_ROWS = 504
BLOCK_BYTES = 2**24
QUERY_BYTES = 2**27


@dataclass(frozen=True)
class Block:
    """n_rows normalised database rows from row `start` on, in `rows` [B, D], B a multiple of a tile's height.

    state [B, LANES], over [B / ROWS]: room for what kernels find of it.
    """

    start: int
    n_rows: int
    rows: NDArray[np.float32]
    state: NDArray[np.float32]
    over: NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """The queries first..last, which are compared at once, in panels [P, D, LANES]."""

    first: int
    last: int
    panels: NDArray[np.float32]
    slices: NDArray[np.int64]
    dimension: int

    def operands(self, block: Block) -> tuple[Any, ...]:
        """What every kernel takes first."""
        return block.rows, self.panels, 0, len(self.panels), self.slices, self.dimension, block.state, block.over

    def limits(self, value: float) -> NDArray[np.float32]:
        """What a score of each query has to exceed [P, LANES]; lanes without a query never do."""
        limits = np.full((len(self.panels), self.panels.shape[2]), np.inf, np.float32)
        limits.reshape(-1)[: self.last - self.first] = value
        return limits


@dataclass
class _Hand:
    """What deals the blocks out, by their first rows, to one thread at a time."""

    starts: Iterator[int]
    lock: Lock = field(default_factory=Lock)
    failed: dict[int, Exception] = field(default_factory=dict)

    def next(self) -> int | None:
        with self.lock:
            return next(self.starts, None)

    def stop(self) -> None:
        with self.lock:
            self.starts = iter(())


class Scan:
    """All queries against all of a database, checked beforehand."""

    def __init__(self, queries: Vectors, database: Vectors, similarity: Similarity) -> None:
        self.queries, self.database, self.similarity = queries, database, similarity
        self.shape: Shape = shape_of(queries, database, similarity)

    def query_blocks(self) -> list[tuple[int, int]]:
        """Queries first..last that are in memory at once, normalised."""
        at_once = max(1, QUERY_BYTES // (4 * self.shape.query_chunks * self.shape.dimension))
        return [(first, min(first + at_once, len(self.queries))) for first in range(0, len(self.queries), at_once)]

    def visit(self, look: Callable[[Part, Iterator[Block]], Found]) -> Iterator[list[Found]]:
        """For each part of the queries, what `look` returns in every thread: it gets some of the blocks, in order.

        Raises DescriptorError for the first row that can't be compared.
        """
        with ThreadPoolExecutor(threads(), thread_name_prefix="similarity") as pool:
            for part in self._parts(pool):
                hand = _Hand(iter(range(0, len(self.database), self._block_rows())))
                try:
                    tasks = [pool.submit(look, part, self._blocks(hand)) for _ in range(threads())]
                    wait(tasks)
                finally:
                    hand.stop()
                if hand.failed:  # blocks are dealt in order, so an earlier bad row is in an earlier one of these
                    raise hand.failed[min(hand.failed)]
                yield [task.result() for task in tasks]

    def _parts(self, pool: ThreadPoolExecutor) -> Iterator[Part]:
        """The queries, as many at once as memory is meant to hold."""
        from bench.similarity.kernels import LANES, zeros

        size = self.shape.query_chunks * self.shape.dimension
        at_once = max(1, QUERY_BYTES // (4 * size * LANES)) * LANES
        slices = self.shape.slices(self.similarity)
        for first in range(0, len(self.queries), at_once):
            last = min(first + at_once, len(self.queries))
            panels = zeros(-(-(last - first) // LANES) * size, LANES).reshape(-1, size, LANES)
            list(pool.map(self._pack, panels, range(first, last, LANES)))
            yield Part(first, last, panels, slices, self.shape.dimension)

    def _pack(self, panel: NDArray[np.float32], first: int) -> None:
        """The queries from `first` on into their panel [D, LANES]."""
        from bench.similarity import kernels

        block = self.queries[first : first + kernels.LANES]
        rows = normalised(block, self.similarity, "queries", first)
        kernels.pack(rows.reshape(len(rows), -1), panel)

    def _block_rows(self) -> int:
        """Rows of a block, a multiple of a tile's height: few enough for every thread to get some."""
        from bench.similarity.kernels import ROWS

        size = self.shape.database_chunks * self.shape.dimension
        share = -(-len(self.database) // threads())
        return max(1, min(BLOCK_ROWS, BLOCK_BYTES // (4 * size), share + ROWS - 1) // ROWS) * ROWS

    def _blocks(self, hand: _Hand) -> Iterator[Block]:
        """One thread's blocks; what they hold is overwritten by the next."""
        from bench.similarity.kernels import LANES, ROWS, zeros

        n = self._block_rows()
        rows = zeros(n, self.shape.database_chunks * self.shape.dimension)
        state, over = zeros(n, LANES), np.empty(n // ROWS, np.bool_)
        while (start := hand.next()) is not None:
            try:
                with hand.lock:  # a database need not bear several readers
                    block = floats(self.database, start, min(start + n, len(self.database)))
                normalise(self.similarity, "database", start, block, rows[: len(block)])
            except DescriptorError as error:
                hand.failed[start] = error
                hand.stop()
                return
            yield Block(start, len(block), rows[: -(-len(block) // ROWS) * ROWS], state, over)


def threads() -> int:
    """As many as this process may run at once; OMP_NUM_THREADS, where it is set."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
