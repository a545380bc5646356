"""The table of metrics: one list drives what a run computes, what `list metrics` shows and the columns' order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bench.interfaces import Kind
from bench.metrics.copy import micro_average_precision, recall_at_precision
from bench.metrics.judge import Judged
from bench.metrics.retrieval import hit_at_k, mean_average_precision, mrr, recall_at_k

Unit = Literal["queries with a positive", "pooled pairs of all queries"]


@dataclass(frozen=True)
class Score:
    """A metric's value, None where it does not exist, and the number of queries behind it."""

    value: float | None
    n_queries: int


@dataclass(frozen=True)
class Metric:
    """kinds: of datasets it is computed on. unit: what it averages over."""

    name: str
    description: str
    kinds: tuple[Kind, ...]
    unit: Unit
    value: Callable[[Judged], float | None]

    def score(self, judged: Judged) -> Score:
        with_positive = int((judged.n_positives > 0).sum())
        pooled = self.unit == "pooled pairs of all queries"
        return Score(self.value(judged), len(judged.n_positives) if pooled else with_positive)


def _per_query(name: str, description: str, value: Callable[[Judged], float]) -> Metric:
    return Metric(name, description, ("retrieval", "copy"), "queries with a positive", value)


def _pooled(name: str, description: str, value: Callable[[Judged], float | None]) -> Metric:
    return Metric(name, description, ("copy",), "pooled pairs of all queries", value)


def _recall_at_p90(judged: Judged) -> float | None:
    point = recall_at_precision(judged.scores, judged.is_match, int(judged.n_positives.sum()), 0.9)
    return point.recall if point else None


def _threshold_at_p90(judged: Judged) -> float | None:
    point = recall_at_precision(judged.scores, judged.is_match, int(judged.n_positives.sum()), 0.9)
    return point.threshold if point else None


METRICS: tuple[Metric, ...] = (
    _per_query(
        "map",
        "mean average precision, finite sum",
        lambda j: mean_average_precision(j.ranks, j.n_positives),
    ),
    _per_query(
        "map_rop",
        "mean average precision, trapezoid rule of revisited Oxford and Paris",
        lambda j: mean_average_precision(j.ranks, j.n_positives, "trapezoid"),
    ),
    _per_query("hit@1", "share of queries whose first answer is right", lambda j: hit_at_k(j.ranks, j.n_positives, 1)),
    _per_query(
        "recall@10",
        "mean share of a query's positives among the first 10",
        lambda j: recall_at_k(j.ranks, j.n_positives, 10),
    ),
    _per_query("mrr", "mean reciprocal rank of the first positive", lambda j: mrr(j.ranks, j.n_positives)),
    _pooled(
        "micro_ap",
        "micro average precision: all queries share one threshold",
        lambda j: micro_average_precision(j.scores, j.is_match, int(j.n_positives.sum())),
    ),
    _pooled("recall@p90", "largest recall at a precision of 0.9", _recall_at_p90),
    _pooled("threshold@p90", "the score from which on recall@p90 is reached", _threshold_at_p90),
)


def of_kind(kind: Kind) -> Iterator[Metric]:
    """The metrics of a kind of dataset, in their order."""
    return (metric for metric in METRICS if kind in metric.kinds)
