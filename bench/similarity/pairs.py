"""Scores of pairs that some other search has named: the same, bit for bit, as those of a search of all."""

from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from bench.errors import DescriptorError
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
        x = _of_database(rows, of_queries.reshape(-1), similarity).reshape(*of_queries.shape, -1)
        q = normalised(asking, similarity, "queries", first).reshape(len(of_queries), -1)
        return np.where(of_queries < 0, -np.inf, _scores(q, x, similarity, shape)).astype(np.float32)

    with ThreadPoolExecutor(threads(), thread_name_prefix="similarity") as pool:
        return np.concatenate(list(pool.map(look, range(0, n, at_once))))


def meeting_chunks(
    queries: Vectors, database: Vectors, candidates: NDArray[np.int64], similarity: Similarity
) -> NDArray[np.int32]:
    """Which chunk of each query and which of its candidate have the product that is their similarity: int32 [N, c, 2].

    The first of equal ones; 0 where descriptors are compared whole, -1 for a candidate that is none. Raises as
    `rescore` does.
    """
    shape = shape_of(queries, database, similarity)
    n, c = candidates.shape
    found = np.full((n, c, 2), -1, np.int32)
    at_once = max(1, CANDIDATE_BYTES // (4 * shape.database_chunks * (shape.dimension + shape.query_chunks) * c))
    for first in range(0, n, at_once):
        of_queries = candidates[first : first + at_once]
        rows = database[np.maximum(of_queries, 0).reshape(-1)]
        x = _of_database(rows, of_queries.reshape(-1), similarity)
        x = x.reshape(*of_queries.shape, shape.database_chunks, shape.dimension)
        q = normalised(queries[first : first + at_once], similarity, "queries", first)
        q = q.reshape(len(of_queries), shape.query_chunks, shape.dimension)
        if similarity.cross:
            best = np.einsum("npd,ncrd->ncpr", q, x).reshape(*of_queries.shape, -1).argmax(axis=2)
            pair = np.stack(np.divmod(best, shape.database_chunks), axis=2)
        else:
            best = np.einsum("npd,ncpd->ncp", q, x).argmax(axis=2)
            pair = np.stack([best, best], axis=2)
        found[first : first + at_once] = np.where(of_queries[..., None] < 0, -1, pair)
    return found


def _of_database(rows: Vectors, places: NDArray[np.int64], similarity: Similarity) -> NDArray[np.float32]:
    """Rows of those places in the database, normalised. Raises DescriptorError that names the first bad one by it."""
    try:
        return normalised(rows, similarity)
    except DescriptorError:
        for row in np.argsort(places, kind="stable"):
            normalised(rows[row : row + 1], similarity, "database", max(0, int(places[row])))
        raise


def _scores(
    q: NDArray[np.float32], x: NDArray[np.float32], similarity: Similarity, shape: Shape
) -> NDArray[np.float32]:
    """Of normalised queries [n, E] and the candidates [n, c, F] of each, which are the panels here, and it the row."""
    from bench.similarity import kernels

    meeting = Shape(shape.database_chunks, shape.query_chunks, shape.dimension).slices(similarity)
    n, c, size = x.shape
    n_panels = -(-c // kernels.LANES)
    panels = kernels.zeros(n_panels, size, kernels.LANES)
    state = kernels.zeros(n_panels, kernels.ROWS, kernels.LANES)
    limits, over = np.full((n_panels, kernels.LANES), np.inf, np.float32), np.empty((n_panels, 1), np.bool_)
    row, ones = kernels.zeros(kernels.ROWS, max(s.width for s in meeting)), np.ones((kernels.LANES, 1))
    scores = np.empty((n, c), np.float32)
    for query in range(n):
        for panel, first in enumerate(range(0, c, kernels.LANES)):
            kernels.pack(x[query, first : first + kernels.LANES], ones, panels[panel])
        state.fill(-np.inf)
        for s in meeting:
            if s.width:
                kernels.scale(q[query : query + 1], ones, s.first, s.width, row)
            kernels.sweep(row, 1, panels, 0, n_panels, s.start, s.step, s.n, shape.dimension, limits, state, over)
        scores[query] = state[:, 0].reshape(-1)[:c]
    return scores
