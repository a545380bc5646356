"""Golden values of the public reference code, independent brute force, equality with scikit-learn."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from bench.errors import DatasetError
from bench.interfaces import GroundTruth
from bench.metrics import (
    METRICS,
    average_precision,
    hit_at_k,
    judge,
    mean_average_precision,
    micro_average_precision,
    mrr,
    recall_at_k,
    recall_at_precision,
)
from bench.similarity import TopK


@pytest.mark.parametrize(
    ("ranks", "n", "trapezoid", "finite"),
    [
        ([0], 1, 1.000000, 1.000000),
        ([1], 1, 0.250000, 0.500000),
        ([9], 1, 0.050000, 0.100000),
        ([0, 2], 2, 0.791667, 0.833333),
        ([1, 2], 2, 0.416667, 0.583333),
        ([0, 2, 5], 3, 0.677778, 0.722222),
        ([0, 2], 3, 0.527778, 0.555556),
        ([], 2, 0.0, 0.0),
    ],
)
def test_golden_average_precision(ranks: list[int], n: int, trapezoid: float, finite: float) -> None:
    assert average_precision(ranks, n, "trapezoid") == pytest.approx(trapezoid, abs=5e-7)
    assert average_precision(ranks, n) == average_precision(ranks[::-1], n, "finite") == pytest.approx(finite, abs=5e-7)


def ranking(
    order: list[int], ok: list[int], junk: list[int]
) -> tuple[tuple[NDArray[np.int64], ...], NDArray[np.int64]]:
    """Judged ranks of one query whose database came back in that order."""
    scores = -np.arange(len(order), dtype=np.float32)[None]
    truth = GroundTruth((np.array(ok, np.int64),), (np.array(junk, np.int64),))
    judged = judge(TopK(scores, np.array([order], np.int64)), truth, len(order))
    return judged.ranks, judged.n_positives


@pytest.mark.parametrize(
    ("order", "ok", "junk", "expected"),
    [
        ([3, 1, 0, 2, 4, 5], [0, 4], [3, 2], 0.416667),
        ([3, 1, 0, 2, 4, 5], [0, 4], [], 0.245833),
        ([3, 0, 5, 1, 4, 2], [0], [3, 1, 2], 1.0),
        ([3, 0, 5, 1, 4, 2], [0, 1, 2], [3], 0.711111),
        ([3, 0, 5, 1, 4, 2], [1, 2], [3, 0], 0.333333),
    ],
)
def test_golden_revisited_map(order: list[int], ok: list[int], junk: list[int], expected: float) -> None:
    ranks, n = ranking(order, ok, junk)
    assert mean_average_precision(ranks, n, "trapezoid") == pytest.approx(expected, abs=5e-7)


PAIRS = [("q1", "a"), ("q2", "b"), ("q3", "c")]


@pytest.mark.parametrize(
    ("predictions", "micro_ap", "recall", "threshold"),
    [
        ([("q1", "a", 0.9), ("q1", "b", 0.8), ("q2", "b", 0.7), ("q3", "a", 0.6)], 0.555556, 0.333333, 0.9),
        ([("q1", "a", 0.5), ("q1", "b", 0.5), ("q2", "b", 0.5), ("q3", "a", 0.5)], 0.277778, None, None),
        ([("q9", "x", 0.99), ("q1", "a", 0.9), ("q2", "b", 0.7)], 0.388889, None, None),
        ([], 0.0, None, None),
    ],
)
def test_golden_micro_average_precision(
    predictions: list[tuple[str, str, float]], micro_ap: float, recall: float | None, threshold: float | None
) -> None:
    scores, hits = [p[2] for p in predictions], [p[:2] in PAIRS for p in predictions]
    assert micro_average_precision(scores, hits, 3) == pytest.approx(micro_ap, abs=5e-7)
    point = recall_at_precision(scores, hits, 3, 0.9)
    assert (point and point.recall) == (recall and pytest.approx(recall, abs=5e-7))
    assert (point and point.threshold) == threshold


def test_golden_precision_may_dip_before_it_recovers() -> None:
    scores = 0.9 - 0.001 * np.arange(20)
    hits = np.arange(20) > 0
    assert micro_average_precision(scores, hits, 19) == pytest.approx(0.863277, abs=5e-7)
    point = recall_at_precision(scores, hits, 19, 0.9)
    assert point is not None and point.recall == 1.0 and point.threshold == pytest.approx(0.881)


def test_an_operating_point_can_be_used_as_a_threshold() -> None:
    scores = [0.9, 0.8, 0.8, 0.8, 0.7]
    point = recall_at_precision(scores, [True, True, True, False, True], 4, 0.7)
    assert point is not None
    kept = np.array(scores) >= point.threshold
    assert np.array([True, True, True, False, True])[kept].sum() / 4 == point.recall


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30), st.sampled_from([0.5, 0.75, 0.9])
)
def test_the_operating_point_is_the_best_threshold(pairs: list[tuple[int, bool]], wanted: float) -> None:
    """Every threshold tried in turn, all pairs of at least that score taken, ties and all."""
    scores, hits = np.array([s for s, _ in pairs]), np.array([h for _, h in pairs])
    n = max(1, int(hits.sum()))
    reached = [
        (hits[scores >= t].sum() / n, t) for t in sorted(set(scores.tolist())) if hits[scores >= t].mean() >= wanted
    ]
    point = recall_at_precision(scores, hits, n, wanted)
    assert (point and tuple(point)) == (max(reached) if reached else None)


def test_a_pair_that_stands_twice_in_the_ground_truth_counts_twice() -> None:
    assert micro_average_precision([0.9], [True], 2) == 0.5


queries = st.lists(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.sets(st.integers(0, 40), max_size=n).map(sorted), st.just(n))),
    min_size=1,
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(queries)
def test_per_query_metrics_equal_a_plain_count(judged: list[tuple[list[int], int]]) -> None:
    ranks, n = [r for r, _ in judged], [n for _, n in judged]

    def precision(r: Sequence[int], at: int) -> float:
        return sum(x < at for x in r) / at

    finite = [sum(precision(r, x + 1) for x in r) / n for r, n in judged]
    trapezoid = [sum(precision(r, x + 1) + (precision(r, x) if x else 1) for x in r) / 2 / n for r, n in judged]
    assert mean_average_precision(ranks, n) == pytest.approx(np.mean(finite))
    assert mean_average_precision(ranks, n, "trapezoid") == pytest.approx(np.mean(trapezoid))
    for k in (1, 5, 10):
        assert hit_at_k(ranks, n, k) == pytest.approx(np.mean([any(x < k for x in r) for r in ranks]))
        assert recall_at_k(ranks, n, k) == pytest.approx(np.mean([sum(x < k for x in r) / n for r, n in judged]))
    assert mrr(ranks, n) == pytest.approx(np.mean([1 / (min(r) + 1) if r else 0 for r in ranks]))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 1), st.booleans()), min_size=1, max_size=60, unique_by=lambda p: p[0]))
def test_finite_sum_and_micro_ap_equal_scikit_learn_without_ties(pairs: list[tuple[float, bool]]) -> None:
    scores, hits = np.array([s for s, _ in pairs]), np.array([h for _, h in pairs])
    if not hits.any():
        return
    expected = average_precision_score(hits, scores)
    assert micro_average_precision(scores, hits, int(hits.sum())) == pytest.approx(expected)
    order = np.argsort(-scores)
    assert average_precision(np.flatnonzero(hits[order]), int(hits.sum())) == pytest.approx(expected)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_judged_ranks_are_pessimistic_and_without_junk(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    scores = np.array(sorted(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), reverse=True), np.float32)
    order = np.array(data.draw(st.permutations(range(n))))
    role = data.draw(st.lists(st.sampled_from("pjn"), min_size=n, max_size=n))
    ok, junk = ([i for i in range(n) if role[i] == r] for r in "pj")
    judged = judge(
        TopK(scores[None], order[None]), GroundTruth((np.array(ok, np.int64),), (np.array(junk, np.int64),)), n
    )
    score_of = dict(zip(order.tolist(), scores.tolist(), strict=True))
    kept = sorted((i for i in range(n) if role[i] != "j"), key=lambda i: (-score_of[i], role[i] == "p"))
    assert judged.ranks[0].tolist() == [rank for rank, i in enumerate(kept) if role[i] == "p"]
    assert judged.is_match.sum() == len(ok) and len(judged.scores) == n - len(junk)


@pytest.mark.parametrize("metric", [m for m in METRICS if m.name != "threshold@p90"], ids=lambda m: m.name)
def test_a_constant_scorer_is_no_better_than_chance(metric) -> None:  # type: ignore[no-untyped-def]
    n_queries, n_database = 20, 50
    found = TopK(
        np.ones((n_queries, n_database), np.float32), np.tile(np.arange(n_database), (n_queries, 1)).astype(np.int64)
    )
    truth = GroundTruth(
        tuple(np.array([q % n_database], np.int64) for q in range(n_queries)),
        tuple(np.empty(0, np.int64) for _ in range(n_queries)),
    )
    value = metric.score(judge(found, truth, n_database)).value
    assert value is None or value <= 1 / n_database + 1e-12


def test_queries_without_a_positive_are_left_out_of_means_and_stay_in_the_pool() -> None:
    assert mean_average_precision([[0], []], [1, 0]) == 1.0
    assert hit_at_k([[0], []], [1, 0], 1) == 1.0
    found = TopK(np.array([[0.5, 0.4], [0.9, 0.1]], np.float32), np.array([[0, 1], [0, 1]], np.int64))
    empty = np.empty(0, np.int64)
    judged = judge(found, GroundTruth((np.array([0]), empty), (empty, empty)), 2)
    scores = {metric.name: metric.score(judged) for metric in METRICS}
    assert scores["map"].value == 1.0 and scores["map"].n_queries == 1
    assert scores["micro_ap"].value == 0.5 and scores["micro_ap"].n_queries == 2
    assert scores["recall@p90"].value is None


@pytest.mark.parametrize(
    "call",
    [
        lambda: average_precision([0, 1], 1),
        lambda: average_precision([2, 2], 3),
        lambda: average_precision([-1], 3),
        lambda: average_precision([0], 1, "median"),  # type: ignore[arg-type]
        lambda: mean_average_precision([[]], [0]),
        lambda: mean_average_precision([[0]], [1, 1]),
        lambda: micro_average_precision([0.1], [True], 0),
        lambda: micro_average_precision([0.1, 0.2], [True], 2),
        lambda: micro_average_precision([math.nan], [True], 2),
    ],
)
def test_impossible_input_is_an_error(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError):
        call()


def test_no_positive_gives_nan() -> None:
    assert math.isnan(average_precision([], 0))


def test_an_image_can_not_be_positive_and_junk() -> None:
    with pytest.raises(DatasetError, match="both positive and junk"):
        ranking([3, 1, 0, 2, 4, 5], [0, 4], [0])


def test_a_ground_truth_outside_the_database_is_an_error() -> None:
    with pytest.raises(DatasetError, match="outside the database"):
        ranking([0, 1], [2], [])
