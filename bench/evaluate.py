"""One cell's numbers: descriptors and a similarity to the scores of the dataset's metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.interfaces import GroundTruth, Split
from bench.metrics import Judged, Score, joined, judge, parse, require_consistent
from bench.similarity import Similarity, top_k

QUERY_BLOCK = 512


@dataclass(frozen=True)
class Evaluation:
    """scores: by metric name. by_tag: the same of the queries of each tag, where the split has tags."""

    scores: Mapping[str, Score]
    by_tag: Mapping[str, Mapping[str, Score]]


def evaluate(
    queries: NDArray[np.float32],
    database: NDArray[np.float32],
    split: Split,
    metrics: Sequence[str],
    similarity: Similarity,
    offset: NDArray[np.float32] | None = None,
    candidates: int | None = None,
) -> Evaluation:
    """The scores of `metrics`, from the full ranking of the database [M, D] for every query [N, D].

    offset: subtracted [N] from all similarities of a query, which leaves its own ranking as it is.
    """
    truth = ignore_self(split, split.ground_truth)
    require_consistent(truth, len(database))
    parts = []
    for start in range(0, len(queries), QUERY_BLOCK):  # a full ranking of all queries at once would not fit in memory
        rows = slice(start, start + QUERY_BLOCK)
        found = top_k(queries[rows], database, len(database), similarity)
        of_block = GroundTruth(truth.positives[rows], truth.junk[rows])
        judged = judge(found, of_block, len(database))
        parts.append(judged if offset is None else _shifted(judged, offset[rows], of_block, len(database)))
    pooled = joined(parts)
    return Evaluation({name: parse(name)[0].score(pooled) for name in metrics}, {})


def ignore_self(split: Split, truth: GroundTruth) -> GroundTruth:
    """The ground truth in which an image that is both query and database counts as junk to itself, by its id."""
    row_of = {image.id: row for row, image in enumerate(split.database)}
    own = [np.array([row_of[q.id]] if q.id in row_of else [], np.int64) for q in split.queries]
    return GroundTruth(
        tuple(np.setdiff1d(positives, itself) for positives, itself in zip(truth.positives, own, strict=True)),
        tuple(np.union1d(junk, itself).astype(np.int64) for junk, itself in zip(truth.junk, own, strict=True)),
    )


def _shifted(judged: Judged, offset: NDArray[np.float32], truth: GroundTruth, n_database: int) -> Judged:
    """The pooled scores less their query's offset, in float64: float32 would make close scores equal."""
    n_kept = [n_database - len(junk) for junk in truth.junk]  # ignore_self names no junk twice
    return replace(judged, scores=np.subtract(judged.scores, np.repeat(offset, n_kept), dtype=np.float64))
