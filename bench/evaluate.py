"""One cell's numbers: descriptors and a similarity to the scores of the dataset's metrics, and their evidence."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.errors import DatasetError
from bench.evidence import Evidence, best_matches
from bench.interfaces import GroundTruth, Split
from bench.metrics import (
    K_NEIGHBOURS,
    Judged,
    JudgedPairs,
    Pool,
    Score,
    Unit,
    concatenated,
    joined,
    judge,
    nearest,
    parse,
    pooled,
    require_consistent,
)
from bench.similarity import Similarity, pairwise

#: Query-database pairs that are in memory at once.
PAIRS_A_BLOCK = 2**24

#: What is told apart by tag: the other units average over something else than a query's answers.
TAGGED: tuple[Unit, ...] = ("queries with a positive", "ground-truth pairs", "pooled pairs of all queries")


@dataclass(frozen=True)
class Evaluation:
    """scores: by metric name. by_tag: the same of the queries of each tag, where the split has tags."""

    scores: Mapping[str, Score]
    by_tag: Mapping[str, Mapping[str, Score]]
    evidence: Evidence


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

    A metric `name[E]` is judged by the setup E of the split. Of each tag the plain metrics are computed over the
    queries that have it together with all queries without a positive, which every copy must be told from.
    offset: subtracted [N] from all similarities of a query, which leaves its own ranking as it is.
    candidates: how many pairs the pooled metrics see, the best of all queries together; equal scores at the cut keep
    non-matches first. None for all pairs.
    Raises DatasetError for a setup, classes or levels that the split lacks, or a ground truth that contradicts itself.
    """
    wanted = {name: parse(name) for name in metrics}
    # the plain one is always judged: what a reader wants to see of a query, its average precision, is by it
    truths = {setup: _truth(split, setup, len(database)) for setup in [None, *(of for _, of in wanted.values())]}
    units = {setup: {metric.unit for metric, of in wanted.values() if of == setup} for setup in truths}
    parts: dict[str | None, list[Judged]] = {setup: [] for setup in truths}
    pools: dict[str | None, list[Pool]] = {setup: [] for setup in truths}
    best = []
    for rows in _blocks(len(queries), len(database)):
        scores = pairwise(queries[rows], database, similarity)
        # in float64: float32 would make close scores equal
        shifted = scores if offset is None else np.subtract(scores, offset[rows, None], dtype=np.float64)
        best.append(best_matches(scores, truths[None].junk[rows]))
        for setup, truth in truths.items():
            of_block = GroundTruth(truth.positives[rows], truth.junk[rows])
            parts[setup].append(_judged(scores, shifted, of_block, split, rows, units[setup]))
            if "pooled pairs of all queries" in units[setup]:
                pools[setup] = _with(pools[setup], pooled(shifted, of_block), candidates)
    results = {
        setup: replace(joined(of_setup), pool=concatenated(pools[setup]) if pools[setup] else None)
        for setup, of_setup in parts.items()
    }
    evidence = Evidence.of(
        {setup or "": judged for setup, judged in results.items()},
        tuple(query.id for query in split.queries),
        split.tags,
        *(np.concatenate(of) for of in zip(*best, strict=True)),
    )
    return Evaluation(*scores_of(evidence, metrics), evidence)


def scores_of(evidence: Evidence, metrics: Sequence[str]) -> tuple[dict[str, Score], dict[str, dict[str, Score]]]:
    """The scores of metrics, and those of each tag, as they follow from the evidence."""
    parsed = {name: parse(name) for name in metrics}
    plain = {name: metric for name, (metric, setup) in parsed.items() if setup is None and metric.unit in TAGGED}
    by_tag = {}
    for tag in evidence.all_tags() if plain else []:
        judged = evidence.of_tag(tag)
        by_tag[tag] = {name: metric.score(judged) for name, metric in plain.items()}
    return {name: evidence.score(name) for name in metrics}, by_tag


def ignore_self(split: Split, truth: GroundTruth) -> GroundTruth:
    """The ground truth in which an image that is both query and database counts as junk to itself, by its id."""
    row_of = {image.id: row for row, image in enumerate(split.database)}
    own = [row_of.get(query.id, -1) for query in split.queries]
    return GroundTruth(
        tuple(images[images != row] for images, row in zip(truth.positives, own, strict=True)),
        tuple(
            images if row < 0 or row in images else np.append(images, row)
            for images, row in zip(truth.junk, own, strict=True)
        ),
    )


def _truth(split: Split, setup: str | None, n_database: int) -> GroundTruth:
    """The ground truth of a setup, checked before anything is computed."""
    if setup is not None and setup not in split.setups:
        known = ", ".join(split.setups) or "none"
        raise DatasetError(f"the dataset has no setup '{setup}' for its metrics: it has {known}")
    truth = ignore_self(split, split.ground_truth if setup is None else split.setups[setup])
    require_consistent(truth, n_database)
    return truth


def _blocks(n_queries: int, n_database: int) -> Iterator[slice]:
    """Rows of queries whose full rankings fit in memory."""
    size = max(1, PAIRS_A_BLOCK // n_database)
    return (slice(start, min(start + size, n_queries)) for start in range(0, n_queries, size))


def _judged(
    scores: NDArray[np.float32],
    shifted: NDArray[np.floating],
    truth: GroundTruth,
    split: Split,
    rows: slice,
    units: set[Unit],
) -> Judged:
    """The judged results of a block of queries, with what the metrics of these units need but the pool."""
    neighbours, pairs = None, None
    if split.classes is not None and "queries with a class" in units:
        neighbours = nearest(scores, split.classes.queries[rows], split.classes.database, truth.junk, K_NEIGHBOURS)
    if split.levels is not None and "judged pairs" in units:
        here = (split.levels.queries >= rows.start) & (split.levels.queries < rows.stop)
        query = split.levels.queries[here]
        pairs = JudgedPairs(query, shifted[query - rows.start, split.levels.database[here]], split.levels.level[here])
    return replace(judge(scores, truth), neighbours=neighbours, pairs=pairs)


def _with(pools: list[Pool], new: Pool, candidates: int | None) -> list[Pool]:
    """The pools with another one; of candidates only as many as count are kept."""
    return [*pools, new] if candidates is None else [concatenated([*pools, new]).best(candidates)]
