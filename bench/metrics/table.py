"""The table of metrics: one list drives what a run can compute and what `list metrics` shows."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.errors import DatasetError, UsageError
from bench.metrics import resampled, retrieval
from bench.metrics.copy import micro_average_precision, pair_recall_at_k, recall_at_precision
from bench.metrics.judge import Judged
from bench.metrics.levels import HIGHEST_LEVEL, JudgedPairs, pearson, relative_deviation, relative_deviations
from bench.metrics.neighbours import knn_accuracy, won_votes
from bench.metrics.pool import Pool
from bench.metrics.ranks import Ranks

T = TypeVar("T")

Unit = Literal[
    "queries with a positive",
    "ground-truth pairs",
    "pooled pairs of all queries",
    "queries with a class",
    "judged pairs",
]

#: Neighbours that vote on a query's class.
K_NEIGHBOURS = 20


@dataclass(frozen=True)
class Score:
    """A metric's value, None where it does not exist, and the number of queries behind it."""

    value: float | None
    n_queries: int


@dataclass(frozen=True)
class Resamples:
    """Judged results, and how often each query stands in each of B resamples: weights float32 [B, Q]."""

    judged: Judged
    weights: NDArray[np.float32]

    @cached_property
    def of_pool(self) -> resampled.OfPool:
        """The metrics of the pool, all from one walk through it. Raises DatasetError where there is none."""
        pool = _needed(self.judged.pool, "of a pool", "pooled pairs")
        return resampled.of_pool(pool, self.judged.n_positives, self.weights)


#: A metric of every resample, float64 [B].
Resampled = Callable[[Resamples], NDArray[np.float64]]


@dataclass(frozen=True)
class Metric:
    """unit: what it averages over. score: of judged results; raises DatasetError where they lack what it needs.

    resampled: the same of many resamples of the queries, nan where it does not exist; raises as `score` does.
    version: raised with every change after which the same judged results have another score; it stands in records.
    """

    name: str
    description: str
    unit: Unit
    score: Callable[[Judged], Score]
    resampled: Resampled
    version: int = 1


def _per_query(
    name: str, description: str, values: Callable[[Ranks, NDArray[np.int64]], NDArray[np.float64]]
) -> Metric:
    def score(judged: Judged) -> Score:
        n_queries = _answerable(judged)
        mean = retrieval.mean_of_queries(values(judged.ranks, judged.n_positives)) if n_queries else None
        return Score(mean, n_queries)

    def resample(drawn: Resamples) -> NDArray[np.float64]:
        return resampled.mean(values(drawn.judged.ranks, drawn.judged.n_positives), drawn.weights)

    return Metric(name, description, "queries with a positive", score, resample)


def _per_pair(name: str, description: str, k: int) -> Metric:
    def score(judged: Judged) -> Score:
        n_pairs = int(judged.n_positives.sum())
        return Score(pair_recall_at_k(judged.pair_ranks, n_pairs, k) if n_pairs else None, _answerable(judged))

    def resample(drawn: Resamples) -> NDArray[np.float64]:
        judged = drawn.judged
        found = np.bincount(judged.ranks.query, judged.pair_ranks < k, minlength=len(judged.n_positives))
        return resampled.ratio(found, judged.n_positives, drawn.weights)

    return Metric(name, description, "ground-truth pairs", score, resample)


def _pooled(
    name: str,
    description: str,
    value: Callable[[Pool, int], float | None],
    values: Resampled,
) -> Metric:
    def score(judged: Judged) -> Score:
        pool, n_pairs = _needed(judged.pool, name, "pooled pairs"), int(judged.n_positives.sum())
        return Score(value(pool, n_pairs) if n_pairs else None, len(judged.n_positives))

    return Metric(name, description, "pooled pairs of all queries", score, values)


def _of_classes(name: str, description: str, k: int) -> Metric:
    def score(judged: Judged) -> Score:
        found = _needed(judged.neighbours, name, "classes")
        return Score(knn_accuracy(found.scores, found.classes, found.own, k), len(found.own))

    def resample(drawn: Resamples) -> NDArray[np.float64]:
        found = _needed(drawn.judged.neighbours, name, "classes")
        return resampled.mean(won_votes(found.scores, found.classes, found.own, k).astype(np.float64), drawn.weights)

    return Metric(name, description, "queries with a class", score, resample)


def _of_levels(
    name: str,
    description: str,
    value: Callable[[JudgedPairs], float],
    values: Callable[[JudgedPairs, int, NDArray[np.float32]], NDArray[np.float64]],
) -> Metric:
    def score(judged: Judged) -> Score:
        pairs = _needed(judged.pairs, name, "levels")
        found = value(pairs) if len(pairs.query) else math.nan  # a sample may hold none
        return Score(None if math.isnan(found) else found, len(np.unique(pairs.query)))

    def resample(drawn: Resamples) -> NDArray[np.float64]:
        pairs, n_queries = _needed(drawn.judged.pairs, name, "levels"), len(drawn.judged.n_positives)
        return values(pairs, n_queries, drawn.weights) if len(pairs.query) else np.full(len(drawn.weights), np.nan)

    return Metric(name, description, "judged pairs", score, resample)


def _answerable(judged: Judged) -> int:
    return int((judged.n_positives > 0).sum())


def _needed(part: T | None, metric: str, what: str) -> T:
    if part is None:
        raise DatasetError(f"the metric {metric} needs {what}, which the dataset has not: leave it out of its metrics")
    return part


def _recall_at_p90(pool: Pool, n_pairs: int) -> float | None:
    point = recall_at_precision(pool.scores, pool.is_match, n_pairs, 0.9)
    return point.recall if point else None


def _threshold_at_p90(pool: Pool, n_pairs: int) -> float | None:
    point = recall_at_precision(pool.scores, pool.is_match, n_pairs, 0.9)
    return point.threshold if point else None


def _on_levels(pairs: JudgedPairs) -> NDArray[np.float64]:
    """Scores on the scale of the levels."""
    return HIGHEST_LEVEL * np.clip(np.asarray(pairs.scores, np.float64), 0, 1)


def _deviations(pairs: JudgedPairs, n_queries: int, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    sums = np.bincount(pairs.query, relative_deviations(_on_levels(pairs), pairs.levels), minlength=n_queries)
    return resampled.ratio(sums, np.bincount(pairs.query, minlength=n_queries), weights)


def _mp(k: int) -> Metric:
    description = f"mean precision among the first {k}, or up to the last positive where that is earlier"
    return _per_query(f"mp@{k}", description, lambda r, n: retrieval.precisions_at_k(r, n, k))


def _recall(k: int) -> Metric:
    description = f"mean share of a query's positives among the first {k}"
    return _per_query(f"recall@{k}", description, lambda r, n: retrieval.recalls_at_k(r, n, k))


METRICS: tuple[Metric, ...] = (
    _per_query("map", "mean average precision, finite sum", lambda r, n: retrieval.average_precisions(r, n, "finite")),
    _per_query(
        "map_rop",
        "mean average precision, trapezoid rule of revisited Oxford and Paris",
        lambda r, n: retrieval.average_precisions(r, n, "trapezoid"),
    ),
    *(_mp(k) for k in (1, 5, 10)),
    _per_query("hit@1", "share of queries whose first answer is right", lambda r, n: retrieval.hits_at_k(r, n, 1)),
    _per_query(
        "hit@10",
        "share of queries with a right answer among the first 10",
        lambda r, n: retrieval.hits_at_k(r, n, 10),
    ),
    *(_recall(k) for k in (1, 10)),
    _per_query("mrr", "mean reciprocal rank of the first positive", retrieval.reciprocal_ranks),
    _per_query("r_precision", "mean precision among the first n, n a query's positives", retrieval.r_precisions),
    _per_query("map@r", "mean average precision over the first n ranks alone", retrieval.average_precisions_at_r),
    _per_query("ns_score", "images of a query's object among the first 4, itself counted, 1 to 4", retrieval.ns_scores),
    _of_classes(
        f"knn@{K_NEIGHBOURS}",
        f"share of queries whose class wins the weighted vote of the {K_NEIGHBOURS} nearest",
        K_NEIGHBOURS,
    ),
    _pooled(
        "micro_ap",
        "micro average precision: all queries share one threshold",
        lambda pool, n: micro_average_precision(pool.scores, pool.is_match, n),
        lambda drawn: drawn.of_pool.micro_ap,
    ),
    _pooled(
        "recall@p90",
        "largest recall at a precision of 0.9",
        _recall_at_p90,
        lambda drawn: drawn.of_pool.recall,
    ),
    _pooled(
        "threshold@p90",
        "the score from which on recall@p90 is reached",
        _threshold_at_p90,
        lambda drawn: drawn.of_pool.threshold,
    ),
    _per_pair("pair_recall@1", "share of true pairs in which the query's best score is theirs alone", 1),
    _per_pair("pair_recall@10", "share of true pairs whose score is among the query's 10 best", 10),
    _of_levels(
        "pearson",
        "correlation of scores with the levels people gave",
        lambda pairs: pearson(pairs.scores, pairs.levels),
        resampled.pearson,
    ),
    _of_levels(
        "relative_deviation",
        f"mean distance of {HIGHEST_LEVEL:g} x score from the level people gave, of the largest: less is better",
        lambda pairs: relative_deviation(_on_levels(pairs), pairs.levels),
        _deviations,
    ),
)


def parse(name: str) -> tuple[Metric, str | None]:
    """The metric that `name` or `name[SETUP]` names, and the setup. Raises UsageError where there is none."""
    match = re.fullmatch(r"([^\[\]]+)(?:\[(\w+)\])?", name)
    found = {metric.name: metric for metric in METRICS}.get(match[1] if match else "")
    if match is None or found is None:
        raise UsageError(f"there is no metric '{name}': known are {', '.join(m.name for m in METRICS)}")
    return found, match[2]
