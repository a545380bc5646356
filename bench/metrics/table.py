"""The table of metrics: one list drives what a run can compute and what `list metrics` shows."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.errors import UsageError
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
    """unit: what it averages over."""

    name: str
    description: str
    unit: Unit
    value: Callable[[Judged], float | None]

    def score(self, judged: Judged) -> Score:
        with_positive = int((judged.n_positives > 0).sum())
        pooled = self.unit == "pooled pairs of all queries"
        return Score(self.value(judged), len(judged.n_positives) if pooled else with_positive)


def _per_query(name: str, description: str, value: Callable[[Judged], float]) -> Metric:
    return Metric(name, description, "queries with a positive", value)


def _pooled(name: str, description: str, value: Callable[[Judged], float | None]) -> Metric:
    return Metric(name, description, "pooled pairs of all queries", value)


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


def parse(name: str) -> tuple[Metric, str | None]:
    """The metric that `name` or `name[SETUP]` names, and the setup. Raises UsageError where there is none."""
    match = re.fullmatch(r"([^\[\]]+)(?:\[(\w+)\])?", name)
    found = {metric.name: metric for metric in METRICS}.get(match[1] if match else "")
    if match is None or found is None:
        raise UsageError(f"there is no metric '{name}': known are {', '.join(m.name for m in METRICS)}")
    return found, match[2]
