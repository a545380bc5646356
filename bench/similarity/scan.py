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
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.errors import DescriptorError
from bench.similarity.prepare import Shape, Vectors, floats, in_place, measured, shape_of
from bench.similarity.spec import Similarity

Found = TypeVar("Found")

#: Database rows in a block, if they take no more than BLOCK_BYTES.
BLOCK_ROWS = 504
BLOCK_BYTES = 2**24
#: Panels of queries that meet a block before the next, and how much of normalised queries is in memory at once.
PANELS = 8
QUERY_BYTES = 2**27


@dataclass(frozen=True)
class Scores:
    """Similarities of the queries of the panels first..last of a part to n_rows database rows from `start` on.

    state [G, R, LANES] holds them; over [G, R / ROWS] tells where one is over its query's limit.
    """

    first: int
    last: int
    start: int
    n_rows: int
    state: NDArray[np.float32]
    over: NDArray[np.bool_]

    @property
    def queries(self) -> slice:
        """Among those of the part, if it has so many."""
        from bench.similarity.kernels import LANES

        return slice(self.first * LANES, self.last * LANES)


@dataclass(frozen=True)
class Part:
    """The queries first..last, which are in memory at once, in panels [P, D, LANES]."""

    first: int
    last: int
    panels: NDArray[np.float32]

    def limits(self, value: float) -> NDArray[np.float32]:
        """What a score of each query has to exceed [P, LANES]; lanes without a query never do."""
        limits = np.full((len(self.panels), self.panels.shape[2]), np.inf, np.float32)
        limits.reshape(-1)[: self.last - self.first] = value
        return limits


#: What a thread does with the scores: it may raise the limits [P, LANES] as it goes.
Look: TypeAlias = Callable[[Part, NDArray[np.float32], Iterator[Scores]], Found]


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
        self.slices = self.shape.slices(similarity)

    def query_blocks(self) -> list[tuple[int, int]]:
        """Queries first..last that are in memory at once, normalised."""
        at_once = max(1, QUERY_BYTES // (4 * self.shape.query_chunks * self.shape.dimension))
        return [(first, min(first + at_once, len(self.queries))) for first in range(0, len(self.queries), at_once)]

    def visit(self, look: Look[Found], limit: float) -> Iterator[list[Found]]:
        """For each part of the queries, what `look` returns in every thread, which gets some of the scores, in order.

        Raises DescriptorError for the first row that can't be compared.
        """
        with ThreadPoolExecutor(threads(), thread_name_prefix="similarity") as pool:
            for part in self._parts(pool):
                hand = _Hand(iter(range(0, len(self.database), self._block_rows())))
                try:
                    tasks = [pool.submit(self._run, look, part, limit, hand) for _ in range(threads())]
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
        for first in range(0, len(self.queries), at_once):
            last = min(first + at_once, len(self.queries))
            panels = zeros(-(-(last - first) // LANES), size, LANES)
            list(pool.map(self._pack, panels, range(first, last, LANES)))
            yield Part(first, last, panels)

    def _pack(self, panel: NDArray[np.float32], first: int) -> None:
        """The queries from `first` on into their panel [D, LANES]."""
        from bench.similarity import kernels

        block = floats(self.queries, first, min(first + kernels.LANES, len(self.queries)))
        kernels.pack(*measured(block, self.similarity, "queries", first), panel)

    def _block_rows(self) -> int:
        """Rows of a block, a multiple of a tile's height: few enough for every thread to get some."""
        from bench.similarity.kernels import ROWS

        width = max(part.width for part in self.slices)
        if not in_place(self.database):
            width = max(width, self.shape.database_chunks * self.shape.dimension)
        share = -(-len(self.database) // threads())
        return max(1, min(BLOCK_ROWS, BLOCK_BYTES // (4 * width), share + ROWS - 1) // ROWS) * ROWS

    def _run(self, look: Look[Found], part: Part, limit: float, hand: _Hand) -> Found:
        limits = part.limits(limit)
        return look(part, limits, self._scores(part, limits, hand))

    def _scores(self, part: Part, limits: NDArray[np.float32], hand: _Hand) -> Iterator[Scores]:
        """One thread's blocks; what they hold is overwritten by the next."""
        from bench.similarity import kernels

        n, n_columns = self._block_rows(), [s.width > 0 for s in self.slices].count(True)
        columns = kernels.zeros(n, max(s.width for s in self.slices))
        group = min(len(part.panels), PANELS)
        state = kernels.zeros(group, n, kernels.LANES)
        over = np.empty((group, n // kernels.ROWS), np.bool_)
        for start, rows, factors in self._blocks(hand, n):
            for first in range(0, len(part.panels), group):
                last = min(first + group, len(part.panels))
                state.fill(-np.inf)
                for s in self.slices:
                    # where there is but one for all, it is in place for the next panels too
                    if s.width and (first == 0 or n_columns > 1):
                        kernels.scale(rows, factors, s.first, s.width, columns)
                    kernels.sweep(
                        columns, len(rows), part.panels, first, last, s.start, s.step, s.n, self.shape.dimension,
                        limits, state, over,
                    )  # fmt: skip
                yield Scores(first, last, start, len(rows), state, over)

    def _blocks(self, hand: _Hand, n: int) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float64]]]:
        """Where a block begins, its rows, and the factors that normalise them."""
        while (start := hand.next()) is not None:
            try:
                with hand.lock:  # a database need not bear several readers
                    block = floats(self.database, start, min(start + n, len(self.database)))
                rows, factors = measured(block, self.similarity, "database", start)
            except DescriptorError as error:
                hand.failed[start] = error
                hand.stop()
                return
            yield start, rows, factors


def threads() -> int:
    """As many as this process may run at once; OMP_NUM_THREADS, where it is set."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
