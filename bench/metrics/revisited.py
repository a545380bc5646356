"""The three setups of the revisited Oxford and Paris benchmarks, from rankings and their published ground truth.

Radenovic et al., Revisiting Oxford and Paris, CVPR 2018. Easy: easy images are positives, hard ones junk. Medium:
both are positives. Hard: hard images are positives, easy ones junk.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.judge import GroundTruthError
from bench.metrics.ranks import Ranks
from bench.metrics.retrieval import average_precisions, mean_of_queries, precisions_at_k

LABELS = ("easy", "hard", "junk")
#: Which of `LABELS` are positives of each difficulty; the others are junk.
POSITIVES = {
    "E": np.array([True, False, False]),
    "M": np.array([True, True, False]),
    "H": np.array([False, True, False]),
}


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
    retrieved = retrieved.astype(retrieved.dtype.newbyteorder("="), copy=False)
    if retrieved.ndim != 2 or not np.issubdtype(retrieved.dtype, np.integer) or len(retrieved) != len(ground_truth):
        raise GroundTruthError(
            f"the ranking is {retrieved.dtype} {retrieved.shape} for {len(ground_truth)} queries in the ground truth: "
            "give integers, a row a query"
        )
    images, label, query = _labelled(ground_truth, n_database)
    rank = _positions(retrieved, images, query, n_database)
    found = np.flatnonzero(rank >= 0)
    order = found[np.argsort(query[found] * retrieved.shape[1] + rank[found])]
    first = np.searchsorted(query[order], np.arange(len(retrieved)))
    walked = _Walked(rank[order], label[order], query[order], first)
    return {
        name: _difficulty(walked, is_positive, np.bincount(query[is_positive[label]], minlength=len(retrieved)), ks)
        for name, is_positive in POSITIVES.items()
    }


class _Walked(NamedTuple):
    """The labelled images that were retrieved, down each query's ranking.

    place, label's number and query: int64 [F]. first: int64 [Q], where each query's begin.
    """

    place: NDArray[np.int64]
    label: NDArray[np.int64]
    query: NDArray[np.int64]
    first: NDArray[np.int64]


def _difficulty(
    walked: _Walked, is_positive: NDArray[np.bool_], n_positives: NDArray[np.int64], ks: Sequence[int]
) -> dict[str, float]:
    """The metrics where the labels that are not positive are junk."""
    if not n_positives.any():
        return dict.fromkeys(("map_rop", *(f"mp@{k}" for k in ks)), float("nan"))
    wanted = is_positive[walked.label]
    n_junk = np.cumsum(~wanted)
    # what was counted before a query's first image belongs to the queries before it
    of_others = np.append(0, n_junk)[walked.first]
    positive = np.flatnonzero(wanted)
    query = walked.query[positive]
    ranks = Ranks(walked.place[positive] - n_junk[positive] + of_others[query], query, len(n_positives))
    return {
        "map_rop": mean_of_queries(average_precisions(ranks, n_positives, "trapezoid")),
        **{f"mp@{k}": mean_of_queries(precisions_at_k(ranks, n_positives, k)) for k in ks},
    }


def _labelled(
    ground_truth: Sequence[Mapping[str, Any]], n_database: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """All labelled images of all queries, query by query: the image, its label's number, and the query."""
    for number, truth in enumerate(ground_truth):
        if missing := [name for name in LABELS if name not in truth]:
            raise GroundTruthError(f"the ground truth of query {number} lacks the key {', '.join(missing)}")
    lists = [np.asarray(truth[name]).ravel() for truth in ground_truth for name in LABELS]
    for number, of in enumerate(lists):
        if of.dtype.kind not in "iu" and of.size:
            raise GroundTruthError(f"the ground truth of query {number // len(LABELS)} holds other than integers")
    lengths = [len(of) for of in lists]
    query = np.repeat(np.repeat(np.arange(len(ground_truth)), len(LABELS)), lengths)
    label = np.repeat(np.tile(np.arange(len(LABELS)), len(ground_truth)), lengths)
    images = np.concatenate([np.empty(0, np.int64), *lists], dtype=np.int64, casting="unsafe")
    outside = images < 0 if n_database is None else (images < 0) | (images >= n_database)
    if outside.any():
        raise GroundTruthError(
            f"the ground truth of query {query[np.argmax(outside)]} names images outside the database"
        )
    size = images.max(initial=0) + 1
    keys = np.sort(query * size + images)
    twice = keys[1:][keys[1:] == keys[:-1]]
    if twice.size:
        raise GroundTruthError(
            f"query {twice[0] // size} names image {twice[0] % size} twice: it is easy, hard or junk, once"
        )
    return images, label, query


def _positions(
    ranking: NDArray[np.integer], images: NDArray[np.int64], query: NDArray[np.int64], n_database: int | None
) -> NDArray[np.int64]:
    """Where each of the labelled images stands in its query's ranking, -1 where it was not retrieved."""
    # as unsigned integers those below 0 are above all others: one look tells both
    top = int(ranking.view(f"u{ranking.itemsize}").max(initial=0))
    is_padded = top > np.iinfo(f"i{ranking.itemsize}").max
    highest = max(int(ranking.max()) if is_padded else top, int(images.max(initial=0)))
    if n_database is not None and highest >= n_database:  # the ground truth was looked at before
        beyond = int(np.argmax(ranking.max(axis=1) >= n_database))
        raise GroundTruthError(f"the ranking of query {beyond} names images outside the database of {n_database}")
    place_of, places = np.empty(highest + 1, np.int32), np.arange(ranking.shape[1], dtype=np.int32)
    found = np.empty(len(images), np.int64)
    ends = np.cumsum(np.bincount(query, minlength=len(ranking)))
    for number, row in enumerate(ranking):
        retrieved = _retrieved(row, number) if is_padded else row
        place_of.fill(-1)
        place_of[retrieved] = places[: len(retrieved)]
        if np.count_nonzero(place_of >= 0) < len(retrieved):
            raise GroundTruthError(f"the ranking of query {number} has an image twice")
        mine = slice(ends[number - 1] if number else 0, ends[number])
        found[mine] = place_of[images[mine]]
    return found


def _retrieved(row: NDArray[np.integer], number: int) -> NDArray[np.integer]:
    """A row of a ranking without the -1 at its end."""
    retrieved = row[: np.count_nonzero(row >= 0)]
    if (row < -1).any() or (retrieved < 0).any():
        raise GroundTruthError(f"the ranking of query {number} has a negative index, or -1 before its end")
    return retrieved
