"""Lists of predicted pairs, as the Image Similarity Challenge has them, held against a list of true pairs."""

import numpy as np
from numpy.typing import ArrayLike

from bench.metrics.judge import Judged
from bench.metrics.pool import Pool
from bench.metrics.ranks import Ranks, last_of_equals


def judge_predictions(pairs: ArrayLike, scores: ArrayLike, ground_truth: ArrayLike) -> Judged:
    """Ranks within each query's predictions, and the pool of all.

    pairs: int [P, 2], a query and an image; scores: float [P]; ground_truth: int [N, 2]. The queries are those of
    either list, in ascending order. A true pair that stands twice is two to be found, of which one can be.
    Raises ValueError for a pair that is predicted twice, or another number of scores.
    """
    predicted, wanted = (np.asarray(given, dtype=np.int64).reshape(-1, 2) for given in (pairs, ground_truth))
    s = np.asarray(scores, dtype=np.float64).ravel()
    if len(s) != len(predicted):
        raise ValueError(f"{len(s)} scores but {len(predicted)} pairs")
    named, numbers = np.unique(np.concatenate([predicted, wanted]), axis=0, return_inverse=True)
    numbers, true = numbers.ravel()[: len(s)], numbers.ravel()[len(s) :]
    if len(named) and (counts := np.bincount(numbers, minlength=1)).max() > 1:
        query, image = named[np.argmax(counts)]
        raise ValueError(f"the pair of query {query} and image {image} is predicted twice: keep one")
    is_match = np.isin(numbers, true)
    queries, owner = np.unique(np.concatenate([predicted[:, 0], wanted[:, 0]]), return_inverse=True)
    order = np.lexsort((is_match, -s, owner[: len(s)]))
    query, s, is_match = owner[: len(s)][order], s[order], is_match[order]
    n_pairs = np.bincount(query, minlength=len(queries))
    first = np.cumsum(n_pairs) - n_pairs
    found = np.flatnonzero(is_match)
    start = first[query[found]]
    return Judged(
        Ranks(found - start, query[found], len(queries)),
        last_of_equals(query, s)[found] - start,
        np.bincount(owner[len(s) :], minlength=len(queries)),
        Pool(s, is_match, n_pairs),
    )
