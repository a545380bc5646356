"""Metrics as pure functions on arrays, and the table of those that a run computes."""

from bench.metrics.copy import OperatingPoint, micro_average_precision, recall_at_precision
from bench.metrics.judge import Judged, joined, judge, require_consistent
from bench.metrics.retrieval import average_precision, hit_at_k, mean_average_precision, mrr, recall_at_k
from bench.metrics.table import METRICS, Metric, Score, parse

__all__ = [
    "METRICS",
    "Judged",
    "Metric",
    "OperatingPoint",
    "Score",
    "average_precision",
    "hit_at_k",
    "joined",
    "judge",
    "mean_average_precision",
    "micro_average_precision",
    "mrr",
    "parse",
    "recall_at_k",
    "recall_at_precision",
    "require_consistent",
]
