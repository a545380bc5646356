"""Compiled loops of the search that leaves out what can't be among the best: numbers only, no checks.

A product of two chunks is at most |q_c| |x_c|. So the rows of each chunk are stored by falling norm, and a query needs
only those up to the row where that bound falls under the worst of its best.
"""

# numba's decorators carry no types
# mypy: disable-error-code="untyped-decorator"

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bench.similarity.kernels import LANES, ROWS, _put, _tile, _worse

#: Of kernels.py, whose functions are compiled into these: numba keeps compiled code by the date of this file alone, so
#: that it has to change with the other.
KERNELS_SHA256 = "d1ef7b368691ed311136ee98c99a879da817e74f29ccf43f76491e023ac764bc"

#: Norms are sorted by so many classes, which is enough: bounds are exact whatever the order.
CLASSES = 4096


@njit(nogil=True, cache=True)
def chunk_norms(rows: NDArray[np.float32], norms: NDArray[np.float32]) -> None:
    """Of normalised rows [n, K * d], into norms [K, n]; never below the true norm by more than `search` allows for."""
    n_chunks = len(norms)
    d = rows.shape[1] // n_chunks
    for row in range(len(rows)):
        for chunk in range(n_chunks):
            total = 0.0
            for i in range(chunk * d, chunk * d + d):
                total += np.float64(rows[row, i]) * np.float64(rows[row, i])
            norms[chunk, row] = np.sqrt(total)


@njit(nogil=True, cache=True)
def sort_by_norm(
    norms: NDArray[np.float32], places: NDArray[np.int32], rows: NDArray[np.int32], bounds: NDArray[np.float32]
) -> None:
    """From the norms [M] of a chunk: the place [M] of each row by falling norm, the row at each place, and the largest
    norm at it or behind it; places behind M have row -1 and bound 0."""
    largest = np.float32(0)
    for norm in norms:
        largest = max(largest, norm)
    per_unit = (CLASSES - 1) / largest if largest > 0 else np.float32(0)
    starts = np.zeros(CLASSES + 1, np.int64)
    for norm in norms:
        starts[CLASSES - int(norm * per_unit)] += 1
    starts = np.cumsum(starts)
    rows[:] = -1
    bounds[:] = 0
    for row in range(len(norms)):
        of_class = CLASSES - 1 - int(norms[row] * per_unit)
        place = starts[of_class]
        starts[of_class] += 1
        places[row], rows[place], bounds[place] = place, row, norms[row]
    for place in range(len(norms) - 2, -1, -1):
        bounds[place] = max(bounds[place], bounds[place + 1])


@njit(nogil=True, cache=True)
def scatter(block: NDArray[np.float32], places: NDArray[np.int32], first: int, store: NDArray[np.float32]) -> None:
    """The chunks of normalised rows [n, K * d], from row `first` on, to their places in store [K, M, d]."""
    n_chunks, _, d = store.shape
    for row in range(len(block)):
        for chunk in range(n_chunks):
            place = places[chunk, first + row]
            for i in range(d):
                store[chunk, place, i] = block[row, chunk * d + i]


@njit(nogil=True, cache=True)
def surviving(
    norms: NDArray[np.float32], limits: NDArray[np.float32], bounds: NDArray[np.float32], slack: float
) -> float:
    """Share of the chunk products of queries, norms [K, N], whose bound reaches the query's limit."""
    total = 0.0
    for chunk in range(len(norms)):
        for query in range(len(limits)):
            total += _reach(bounds[chunk], np.float64(norms[chunk, query]) * slack, limits[query])
    share: float = total / (len(norms) * len(limits) * bounds.shape[1])
    return share


@njit(nogil=True, cache=True)
def _reach(bounds: NDArray[np.float32], norm: float, limit: float) -> int:
    """How many of the falling bounds, times a query's norm, are not under its limit."""
    lo, hi = 0, len(bounds)
    while lo < hi:
        middle = (lo + hi) // 2
        if bounds[middle] * norm < limit:
            hi = middle
        else:
            lo = middle + 1
    return lo


@njit(nogil=True, cache=True)
def search(
    queries: NDArray[np.float32], norms: NDArray[np.float32], store: NDArray[np.float32], rows: NDArray[np.int32],
    bounds: NDArray[np.float32], begin: int, end: int, slack: float, first_index: int, scores: NDArray[np.float32],
    indices: NDArray[np.int64], panel: NDArray[np.float32], state: NDArray[np.float32],
) -> None:  # fmt: skip
    """What lies at the places begin..end of each chunk, against the k best of each query.

    queries [N, K * d]; norms [K, N]: of their chunks. store [K, M, d], rows and bounds [K, M]: of the database.
    scores, indices [N, k]: heaps with the worst in front. slack: how much a product in float32 may be over its bound.
    panel [1, d, LANES], state [ROWS, LANES]: room.
    """
    n_chunks, _, d = store.shape
    reach = np.empty(len(queries), np.int64)
    limits = np.empty((1, LANES), np.float32)
    strength = np.empty(n_chunks)
    for chunk in range(n_chunks):
        strength[chunk] = bounds[chunk, begin] * norms[chunk].sum()
    # where good matches are likely, first
    for chunk in np.argsort(-strength):
        alive = np.empty(len(queries), np.int64)
        n = 0
        for query in range(len(queries)):
            norm = np.float64(norms[chunk, query]) * slack
            if not bounds[chunk, begin] * norm < scores[query, 0]:
                reach[query] = _reach(bounds[chunk, begin:end], norm, scores[query, 0])
                alive[n] = query
                n += 1
        alive = alive[:n][np.argsort(-reach[alive[:n]])]
        for first in range(0, n, LANES):
            members = alive[first : first + LANES]
            limits[:] = np.inf
            for lane in range(len(members)):
                query = members[lane]
                limits[0, lane] = np.nextafter(scores[query, 0], np.float32(-np.inf))
                for i in range(d):
                    panel[0, i, lane] = queries[query, chunk * d + i]
            for at in range(begin, begin + reach[members[0]], ROWS):
                state[:] = -np.inf
                if _tile(store, (chunk * store.shape[1] + at) * d, d, panel, 0, 0, 1, d, limits, 0, state, 0):
                    for row in range(ROWS):
                        for lane in range(len(members)):
                            if state[row, lane] > limits[0, lane] and rows[chunk, at + row] >= 0:
                                query = members[lane]
                                _offer(
                                    scores[query], indices[query], state[row, lane], first_index + rows[chunk, at + row]
                                )
                                limits[0, lane] = np.nextafter(scores[query, 0], np.float32(-np.inf))


@njit(nogil=True, cache=True)
def _offer(scores: NDArray[np.float32], indices: NDArray[np.int64], score: float, index: int) -> None:
    """A pair that may be better than the worst of a heap, or better than what is known of the same pair."""
    known = -1
    for place in range(len(indices)):  # without a way out it runs in vector registers
        known = place if indices[place] == index else known
    if known >= 0:
        if score > scores[known]:
            _put(scores, indices, known, score, index)
    elif _worse(scores[0], indices[0], score, index):
        _put(scores, indices, 0, score, index)
