"""One cell's numbers: descriptors and a similarity to the scores of every metric of the dataset."""

import numpy as np
from numpy.typing import NDArray

from bench.interfaces import GroundTruth, Kind, Split
from bench.metrics import Score, joined, judge, of_kind, require_consistent
from bench.similarity import Similarity, top_k

QUERY_BLOCK = 512


def evaluate(
    queries: NDArray[np.float32],
    database: NDArray[np.float32],
    split: Split,
    kind: Kind,
    similarity: Similarity,
) -> dict[str, Score]:
    """Scores by metric name, from the full ranking of the database [M, D] for every query [N, D]."""
    truth = ignore_self(split)
    require_consistent(truth, len(database))
    parts = []
    for start in range(0, len(queries), QUERY_BLOCK):  # a full ranking of all queries at once would not fit in memory
        rows = slice(start, start + QUERY_BLOCK)
        found = top_k(queries[rows], database, len(database), similarity)
        parts.append(judge(found, GroundTruth(truth.positives[rows], truth.junk[rows]), len(database)))
    judged = joined(parts)
    return {metric.name: metric.score(judged) for metric in of_kind(kind)}


def ignore_self(split: Split) -> GroundTruth:
    """The ground truth in which an image that is both query and database counts as junk to itself, by its id."""
    row_of = {image.id: row for row, image in enumerate(split.database)}
    own = [np.array([row_of[q.id]] if q.id in row_of else [], np.int64) for q in split.queries]
    truth = split.ground_truth
    return GroundTruth(
        tuple(np.setdiff1d(positives, itself) for positives, itself in zip(truth.positives, own, strict=True)),
        tuple(np.union1d(junk, itself).astype(np.int64) for junk, itself in zip(truth.junk, own, strict=True)),
    )
