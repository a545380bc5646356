"""Chunked search that leaves out, exactly, what the norms of chunks rule out."""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.similarity.prepare import Shape, Vectors, floats, normalised
from bench.similarity.scan import threads
from bench.similarity.spec import Similarity

#: Places of every chunk that are searched before the others, so that good matches are known; multiples of a tile.
STAGES = (48, 768)
#: Queries by which it is estimated how much can be left out.
PROBE = 64
#: Dimensions whose products cost as much as what a tile of one chunk costs beside its products.
OVERHEAD = 12
#: A pair is looked for among the k best known, one by one.
LARGEST_K = 256
BLOCK_ROWS = 2048

#: Of some queries: normalised rows [n, K * d] and the norms of their chunks [K, n], float32.
Ready: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Sorted:
    """The chunks of database rows from row `first` on by falling norm.

    store [K, M, d] float32; rows, bounds [K, M]: which row it is (-1 for none), and the largest norm there or behind.
    """

    first: int
    store: NDArray[np.float32]
    rows: NDArray[np.int32]
    bounds: NDArray[np.float32]


def can_be_sorted(similarity: Similarity, shape: Shape) -> bool:
    """Whether chunks can differ in norm, and are compared with one other each."""
    return shape.database_chunks > 1 and not similarity.cross and similarity.norm != "chunk"


def sort_chunks(database: Vectors, similarity: Similarity, shape: Shape, first: int, last: int) -> Sorted:
    """The rows first..last of a database. Raises DescriptorError for a row that is not finite, or zero."""
    from bench.similarity import bounds
    from bench.similarity.kernels import ROWS

    n, n_chunks = last - first, shape.database_chunks
    norms, places = np.empty((n_chunks, n), np.float32), np.empty((n_chunks, n), np.int32)
    size = n_chunks, -(-n // ROWS) * ROWS
    made = Sorted(
        first, np.zeros((*size, shape.dimension), np.float32), np.empty(size, np.int32), np.empty(size, np.float32)
    )

    reading = Lock()

    def rows(begin: int) -> NDArray[np.float32]:
        with reading:  # a database need not bear several readers
            block = floats(database, first + begin, min(first + begin + BLOCK_ROWS, last))
        return normalised(block, similarity, "database", first + begin).reshape(len(block), -1)

    def measure(begin: int) -> None:
        bounds.chunk_norms(rows(begin), norms[:, begin : begin + BLOCK_ROWS])

    def sort(chunk: int) -> None:
        bounds.sort_by_norm(norms[chunk], places[chunk], made.rows[chunk], made.bounds[chunk])

    def scatter(begin: int) -> None:
        bounds.scatter(rows(begin), places, begin, made.store)

    with ThreadPoolExecutor(threads(), thread_name_prefix="similarity") as pool:
        list(pool.map(measure, range(0, n, BLOCK_ROWS)))
        list(pool.map(sort, range(n_chunks)))
        list(pool.map(scatter, range(0, n, BLOCK_ROWS)))
    return made


class Pruned:
    """The queries first..last, whose best are kept in heaps [N, k], scores and indices, with the worst in front."""

    def __init__(
        self,
        queries: Vectors,
        first: int,
        last: int,
        similarity: Similarity,
        shape: Shape,
        scores: NDArray[np.float32],
        indices: NDArray[np.int64],
    ) -> None:
        share = -(-(last - first) // threads())
        self._parts = [slice(a, min(a + share, last)) for a in range(first, last, share)]
        self._queries, self._similarity, self._n_chunks = queries, similarity, shape.query_chunks
        self._scores, self._indices, self._dimension = scores, indices, shape.dimension
        self._ready: list[Ready | None] = [None] * len(self._parts)
        # how much a sum of d products, and the norms, may be off in float32
        self._slack = 1 + (shape.dimension + 8) * 2.0**-22

    def search(self, chunks: Sorted, most: float = np.inf) -> bool:
        """Brings the heaps up to date with a part of the database that they have not seen.

        most: share of the plain search's time that this may be expected to take; where it is more, the search is given
        up with the heaps in disorder, and the answer is False.
        """
        n_places = chunks.store.shape[1]
        stages = [0, *(stage for stage in STAGES if stage < n_places), n_places]
        first, *others = itertools.pairwise(stages)
        with ThreadPoolExecutor(len(self._parts), thread_name_prefix="similarity") as pool:
            places = range(len(self._parts))
            if np.mean(list(pool.map(partial(self._begin, chunks, first), places))) > most:
                return False
            list(pool.map(partial(self._go_on, chunks, others), places))
        return True

    def _begin(self, chunks: Sorted, stage: tuple[int, int], place: int) -> float:
        """The first stage of one thread's queries, and the time that the others may take."""
        part, ready = self._parts[place], self._ready[place]
        if ready is None:
            ready = self._ready[place] = self._prepared(part)
        self._stage(chunks, *stage, part, ready)
        return self._expected(chunks, part, ready)

    def _go_on(self, chunks: Sorted, stages: Sequence[tuple[int, int]], place: int) -> None:
        ready = self._ready[place]
        assert ready is not None
        for begin, end in stages:
            self._stage(chunks, begin, end, self._parts[place], ready)

    def _prepared(self, part: slice) -> Ready:
        from bench.similarity import bounds

        rows = normalised(self._queries[part], self._similarity, "queries", part.start).reshape(
            -1, self._n_chunks * self._dimension
        )
        norms = np.empty((self._n_chunks, len(rows)), np.float32)
        bounds.chunk_norms(rows, norms)
        return rows, norms

    def _stage(self, chunks: Sorted, begin: int, end: int, part: slice, ready: Ready) -> None:
        from bench.similarity import bounds, kernels

        places = chunks.store, chunks.rows, chunks.bounds, begin, end, self._slack, chunks.first
        room = kernels.zeros(1, self._dimension, kernels.LANES), kernels.zeros(kernels.ROWS, kernels.LANES)
        bounds.search(*ready, *places, self._scores[part], self._indices[part], *room)

    def _expected(self, chunks: Sorted, part: slice, ready: Ready) -> float:
        """The time for these chunks as a share of the plain search's, by what survives of some queries."""
        from bench.similarity import bounds

        norms, limits = ready[1], self._scores[part, 0]
        step = -(-len(limits) // PROBE)
        some = np.ascontiguousarray(norms[:, ::step]), np.ascontiguousarray(limits[::step])
        share: float = bounds.surviving(*some, chunks.bounds, self._slack)
        return share * (1 + OVERHEAD / self._dimension)
