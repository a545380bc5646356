"""Scores of pairs that some other search has named: the same, bit for bit, as those of a search of all."""

from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from bench.similarity.prepare import Shape, Vectors, normalised, shape_of
from bench.similarity.scan import threads
from bench.similarity.spec import Similarity

#: Of the candidates that a thread has in memory at once.
CANDIDATE_BYTES = 2**25


def rescore(
    queries: Vectors, database: Vectors, candidates: NDArray[np.int64], similarity: Similarity
) -> NDArray[np.float32]:
    """The similarity of each query to its candidates, rows of the database [N, c]: float32 [N, c].

    A candidate of -1 is none, and scores -inf.
    Raises DescriptorError as `top_k` does, and IndexError for a row that the database has not.
    """
    shape = shape_of(queries, database, similarity)
    n, c = candidates.shape
    at_once = max(1, CANDIDATE_BYTES // (4 * shape.database_chunks * shape.dimension * c))
    reading = Lock()

    def look(first: int) -> NDArray[np.float32]:
        of_queries = candidates[first : first + at_once]
        with reading:  # a database need not bear several readers
            rows = database[np.maximum(of_queries, 0).reshape(-1)]
            asking = queries[first : first + at_once]
        x = normalised(rows, similarity).reshape(*of_queries.shape, -1)
        q = normalised(asking, similarity, "queries", first).reshape(len(of_queries), -1)
        return np.where(of_queries < 0, -np.inf, _scores(q, x, similarity, shape)).astype(np.float32)

    with ThreadPoolExecutor(threads(), thread_name_prefix="similarity") as pool:
        return np.concatenate(list(pool.map(look, range(0, n, at_once))))


def _scores(
    q: NDArray[np.float32], x: NDArray[np.float32], similarity: Similarity, shape: Shape
) -> NDArray[np.float32]:
    """Of normalised queries [n, E] and the candidates [n, c, F] of each, which are the panels here, and it the row."""
    from bench.similarity import kernels

    slices = Shape(shape.database_chunks, shape.query_chunks, shape.dimension).slices(similarity)
    n, c, size = x.shape
    panels = kernels.zeros(-(-c // kernels.LANES) * size, kernels.LANES).reshape(-1, size, kernels.LANES)
    row, state = kernels.zeros(kernels.ROWS, q.shape[1]), kernels.zeros(kernels.ROWS, kernels.LANES)
    scores, over = np.empty((n, c, 1), np.float32), np.empty(1, np.bool_)
    for query in range(n):
        for panel, first in enumerate(range(0, c, kernels.LANES)):
            kernels.pack(x[query, first : first + kernels.LANES], panels[panel])
        row[0] = q[query]
        kernels.fill(row, panels, 0, len(panels), slices, shape.dimension, state, over, scores[query])
    return scores[:, :, 0]
