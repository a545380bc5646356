"""Metrics as pure functions on arrays, and the table of those that a run computes."""

from bench.metrics.copy import OperatingPoint, micro_average_precision, pair_recall_at_k, recall_at_precision
from bench.metrics.judge import GroundTruthError, Judged, concatenated, joined, judge, require_consistent
from bench.metrics.levels import JudgedPairs, pearson, relative_deviation
from bench.metrics.neighbours import Neighbours, knn_accuracy, nearest
from bench.metrics.pool import Pool, pooled
from bench.metrics.predictions import judge_predictions
from bench.metrics.ranks import Ranks
from bench.metrics.retrieval import (
    average_precision,
    hit_at_k,
    mean_average_precision,
    mean_average_precision_at_r,
    mean_precision_at_k,
    mrr,
    ns_score,
    r_precision,
    recall_at_k,
)
from bench.metrics.revisited import revisited
from bench.metrics.table import K_NEIGHBOURS, METRICS, Metric, Resamples, Score, Unit, parse

__all__ = [
    "K_NEIGHBOURS",
    "METRICS",
    "GroundTruthError",
    "Judged",
    "JudgedPairs",
    "Metric",
    "Neighbours",
    "OperatingPoint",
    "Pool",
    "Ranks",
    "Resamples",
    "Score",
    "Unit",
    "average_precision",
    "concatenated",
    "hit_at_k",
    "joined",
    "judge",
    "judge_predictions",
    "knn_accuracy",
    "mean_average_precision",
    "mean_average_precision_at_r",
    "mean_precision_at_k",
    "micro_average_precision",
    "mrr",
    "nearest",
    "ns_score",
    "pair_recall_at_k",
    "parse",
    "pearson",
    "pooled",
    "r_precision",
    "recall_at_k",
    "recall_at_precision",
    "relative_deviation",
    "require_consistent",
    "revisited",
]
