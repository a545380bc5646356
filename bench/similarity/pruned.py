"""An index for chunked similarity that answers exactly and leaves out what the norms of chunks rule out."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.similarity.prepare import Vectors, normalised, shape_of
from bench.similarity.search import TopK, ordered, require_k, threads, top_k
from bench.similarity.spec import Similarity

#: Places of every chunk that are searched before the next, so that what is left out is judged by good matches.
STAGES = (96, 1536)
#: Queries by which it is estimated how much can be left out.
PROBE = 64
#: Dimensions whose products cost as much as what a tile of one chunk costs beside its products.
OVERHEAD = 12
BLOCK_ROWS = 2048


@dataclass(frozen=True)
class Sorted:
    """The chunks of a database by falling norm: store [K, M, d], and rows, bounds [K, M], of which rows may be -1."""

    store: NDArray[np.float32]
    rows: NDArray[np.int32]
    bounds: NDArray[np.float32]


class Index:
    """A database prepared for many searches with one similarity."""

    def __init__(self, database: Vectors, similarity: Similarity, chunks: Sorted | None) -> None:
        self.database, self.similarity, self.chunks = database, similarity, chunks

    def search(self, queries: Vectors, k: int) -> TopK:
        """As `top_k`, with the same scores and indices bit for bit; raises as it does."""
        shape_of(queries, self.database, self.similarity)
        require_k(k, self.database)
        found = None if self.chunks is None else self._by_bounds(self.chunks, queries, k)
        return found or top_k(queries, self.database, k, self.similarity)

    def _by_bounds(self, chunks: Sorted, queries: Vectors, k: int) -> TopK | None:
        """None where so little can be left out that to look at everything is faster."""
        from bench.similarity import bounds

        n_chunks, n_places, d = chunks.store.shape
        scores = np.full((len(queries), k), -np.inf, np.float32)
        indices = np.full((len(queries), k), -1, np.int64)
        slack = 1 + (d + 8) * 2.0**-22  # of a sum of d products in float32, and of the norms
        share = -(-len(queries) // threads())
        parts = [slice(first, min(first + share, len(queries))) for first in range(0, len(queries), share)]
        stages = [0, *(stage for stage in STAGES if stage < n_places), n_places]

        def prepared(part: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            rows = normalised(queries[part], self.similarity, "queries", part.start)
            norms = np.empty((n_chunks, len(rows)), np.float32)
            bounds.chunk_norms(rows, norms)
            return rows, norms

        with ThreadPoolExecutor(len(parts), thread_name_prefix="similarity") as pool:
            ready = list(pool.map(prepared, parts))
            for number, (begin, end) in enumerate(itertools.pairwise(stages)):

                def search(
                    part: slice, of: tuple[NDArray[np.float32], NDArray[np.float32]], begin: int = begin, end: int = end
                ) -> None:
                    places = chunks.store, chunks.rows, chunks.bounds, begin, end, slack, 0
                    bounds.search(*of, *places, scores[part], indices[part])

                list(pool.map(search, parts, ready))
                if number == 0 and len(stages) > 2:
                    step = -(-len(ready[0][0]) // PROBE)
                    some = np.ascontiguousarray(ready[0][1][:, ::step]), scores[parts[0]][::step, 0].copy()
                    if bounds.surviving(*some, chunks.bounds, slack) * (1 + OVERHEAD / d) > 1:
                        return None
        return ordered(scores, indices)


def index(database: Vectors, similarity: Similarity) -> Index:
    """An index of `database` for one similarity: a sorted copy in float32 where chunks can be left out, else nothing.

    Raises as `top_k` does for what can't be compared.
    """
    from bench.similarity import bounds
    from bench.similarity.kernels import ROWS

    shape = shape_of(database, database, similarity)
    n_chunks, d = shape.database_chunks, shape.dimension
    if n_chunks == 1 or similarity.cross or similarity.norm == "chunk":
        return Index(database, similarity, None)
    n = len(database)
    norms = np.empty((n_chunks, n), np.float32)
    places = np.empty((n_chunks, n), np.int32)
    padded = -(-n // ROWS) * ROWS
    chunks = Sorted(
        np.zeros((n_chunks, padded, d), np.float32),
        np.empty((n_chunks, padded), np.int32),
        np.empty((n_chunks, padded), np.float32),
    )

    def measure(first: int) -> None:
        last = min(first + BLOCK_ROWS, n)
        bounds.chunk_norms(normalised(database[first:last], similarity, "database", first), norms[:, first:last])

    def sort(chunk: int) -> None:
        bounds.sort_by_norm(norms[chunk], places[chunk], chunks.rows[chunk], chunks.bounds[chunk])

    def store(first: int) -> None:
        block = normalised(database[first : min(first + BLOCK_ROWS, n)], similarity, "database", first)
        bounds.scatter(block, places, first, chunks.store)

    with ThreadPoolExecutor(threads(), thread_name_prefix="similarity") as pool:
        list(pool.map(measure, range(0, n, BLOCK_ROWS)))
        list(pool.map(sort, range(n_chunks)))
        list(pool.map(store, range(0, n, BLOCK_ROWS)))
    return Index(database, similarity, chunks)
