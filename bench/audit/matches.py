"""The nearest training images of generated images, and of training images themselves."""

import numpy as np
from numpy.typing import NDArray

from bench.similarity import Similarity, TopK, top_k
from bench.similarity.prepare import Rows

#: Of images that are searched in their own set: so many descriptors are in memory at once.
AT_ONCE = 4096


def of_others(
    rows: NDArray[np.int64], descriptors: Rows, twins: NDArray[np.int64], k: int, similarity: Similarity
) -> TopK:
    """The k most similar of `descriptors` [M, D] for some of them, rows [N], without themselves and their twins.

    twins: int64 [M], the same number for images that are the same byte by byte. Where a row has fewer than k others,
    the rest is -1 with a score of -inf. Raises as `top_k` does.
    """
    found = TopK(np.full((len(rows), k), -np.inf, np.float32), np.full((len(rows), k), -1, np.int64))
    n_twins = np.bincount(twins)[twins[rows]]
    # of so many more at most n_twins are left out; a power of two, so that rows are searched together
    more = 1 << np.ceil(np.log2(n_twins)).astype(np.int64)
    for wider in np.unique(more):
        alike = np.flatnonzero(more == wider)
        for first in range(0, len(alike), AT_ONCE):
            chosen = alike[first : first + AT_ONCE]
            asking = rows[chosen]
            near = top_k(descriptors[asking], descriptors, min(k + int(wider), len(descriptors)), similarity)
            is_other = twins[near.indices] != twins[asking][:, None]
            best = np.argsort(~is_other, axis=1, kind="stable")[:, :k]
            is_there = np.take_along_axis(is_other, best, 1)
            n = best.shape[1]
            found.scores[chosen, :n] = np.where(is_there, np.take_along_axis(near.scores, best, 1), -np.inf)
            found.indices[chosen, :n] = np.where(is_there, np.take_along_axis(near.indices, best, 1), -1)
    return found
