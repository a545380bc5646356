"""The three setups of the revisited Oxford and Paris benchmarks, from rankings and their published ground truth.

Radenovic et al., Revisiting Oxford and Paris, CVPR 2018. Easy: easy images are positives, hard ones junk. Medium:
both are positives. Hard: hard images are positives, easy ones junk.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.judge import GroundTruthError
from bench.metrics.ranks import Ranks, flat
from bench.metrics.retrieval import mean_average_precision, mean_precision_at_k

LABELS = ("easy", "hard", "junk")
#: Labels that are positives of each difficulty; those of `LABELS` that are not are junk.
POSITIVES = {"E": (0,), "M": (0, 1), "H": (1,)}


def revisited(
    ranking: ArrayLike,
    ground_truth: Sequence[Mapping[str, Any]],
    ks: Sequence[int] = (1, 5, 10),
    n_database: int | None = None,
) -> dict[str, dict[str, float]]:
    """`map_rop` and `mp@k` of each difficulty: {"E": {"map_rop": ..., "mp@1": ...}, "M": ..., "H": ...}.

    ranking: int [Q, N], of each query the database indices from the most similar on; a truncated one is filled up with
    -1. ground_truth: of each query the published dict with the keys easy, hard, junk (lists of database indices; other
    keys are ignored). Positives that were not retrieved contribute 0. Queries without a positive of a difficulty are
    left out of its means; a difficulty that none has gives nan.
    n_database: the number of database images, where indices beyond it should be found out.
    Raises ValueError, naming the query, for an index that is positive and junk, outside the database, or twice in a
    ranking.
    """
    retrieved = np.asarray(ranking)
    if retrieved.ndim != 2 or not np.issubdtype(retrieved.dtype, np.integer) or len(retrieved) != len(ground_truth):
        raise GroundTruthError(
            f"the ranking is {retrieved.dtype} {retrieved.shape} for {len(ground_truth)} queries in the ground truth: "
            "give integers, a row a query"
        )
    images, label, query = _labelled(ground_truth, n_database)
    rank = _positions(retrieved, images, query, n_database)
    return {name: _difficulty(rank, label, query, len(retrieved), own, ks) for name, own in POSITIVES.items()}


def _difficulty(
    rank: NDArray[np.int64],
    label: NDArray[np.int64],
    query: NDArray[np.int64],
    n_queries: int,
    positive_labels: tuple[int, ...],
    ks: Sequence[int],
) -> dict[str, float]:
    """The metrics with these labels as positives and the others as junk."""
    positive = np.isin(label, positive_labels)
    n_positives = np.bincount(query[positive], minlength=n_queries)
    found = np.flatnonzero(rank >= 0)
    order = found[np.lexsort((rank[found], query[found]))]
    is_junk, of = ~positive[order], query[order]
    n_junk = np.cumsum(is_junk)
    n_junk_before = np.append(0, n_junk)[np.searchsorted(of, of)]  # of the queries before
    ranks = (rank[order] - (n_junk - n_junk_before))[~is_junk]
    judged = Ranks(ranks, of[~is_junk], n_queries)
    if not n_positives.any():
        return dict.fromkeys(("map_rop", *(f"mp@{k}" for k in ks)), float("nan"))
    return {
        "map_rop": mean_average_precision(judged, n_positives, "trapezoid"),
        **{f"mp@{k}": mean_precision_at_k(judged, n_positives, k) for k in ks},
    }


def _labelled(
    ground_truth: Sequence[Mapping[str, Any]], n_database: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """All labelled images of all queries, query by query: the image, its label's number, and the query."""
    parts, labels = [], []
    for query, truth in enumerate(ground_truth):
        if missing := [name for name in LABELS if name not in truth]:
            raise GroundTruthError(f"the ground truth of query {query} lacks the key {', '.join(missing)}")
        lists = [np.asarray(truth[name]).ravel() for name in LABELS]
        if any(part.size and not np.issubdtype(part.dtype, np.integer) for part in lists):
            raise GroundTruthError(f"the ground truth of query {query} holds other than integers")
        images = np.concatenate(lists, dtype=np.int64, casting="unsafe")
        parts.append(images)
        labels.append(np.repeat(np.arange(len(LABELS)), [len(part) for part in lists]))
        if len(np.unique(images)) < len(images):
            twice = np.unique(images)[np.argmax(np.unique(images, return_counts=True)[1] > 1)]
            raise GroundTruthError(f"query {query} names image {twice} twice: it is easy, hard or junk, once")
        if images.size and (images.min() < 0 or (n_database is not None and images.max() >= n_database)):
            raise GroundTruthError(f"the ground truth of query {query} names images outside the database")
    query_of, images = flat(parts)
    return images, np.concatenate([np.empty(0, np.int64), *labels]), query_of


def _positions(
    ranking: NDArray[np.integer], images: NDArray[np.int64], query: NDArray[np.int64], n_database: int | None
) -> NDArray[np.int64]:
    """Where each of the labelled images stands in its query's ranking, -1 where it was not retrieved."""
    highest = max(ranking.max(initial=-1), images.max(initial=-1))
    if n_database is not None and highest >= n_database:  # the ground truth was looked at before
        beyond = int(np.argmax(ranking.max(axis=1) >= n_database))
        raise GroundTruthError(f"the ranking of query {beyond} names images outside the database of {n_database}")
    place_of, places = np.full(highest + 1, -1, np.int32), np.arange(ranking.shape[1], dtype=np.int32)
    last = np.cumsum(np.bincount(query, minlength=len(ranking)))
    found: list[NDArray[np.int32]] = []
    for row, asked in zip(ranking, np.split(images, last[:-1]), strict=True):
        retrieved = row[: np.count_nonzero(row >= 0)]
        if retrieved.size < row.size and ((row < -1).any() or (retrieved < 0).any()):
            raise GroundTruthError(f"the ranking of query {len(found)} has a negative index, or -1 before its end")
        place_of[retrieved] = places[: retrieved.size]
        if np.count_nonzero(place_of >= 0) < retrieved.size:
            raise GroundTruthError(f"the ranking of query {len(found)} has an image twice")
        found.append(place_of[asked])
        place_of.fill(-1)
    return np.concatenate([np.empty(0, np.int64), *found])
