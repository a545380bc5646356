"""Golden values of the public reference code, independent brute force, equality with scikit-learn."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import pearsonr
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier

from bench.errors import DatasetError, UsageError
from bench.interfaces import GroundTruth
from bench.metrics import (
    METRICS,
    Judged,
    JudgedPairs,
    Ranks,
    average_precision,
    concatenated,
    hit_at_k,
    joined,
    judge,
    judge_predictions,
    knn_accuracy,
    mean_average_precision,
    mean_average_precision_at_r,
    mean_precision_at_k,
    micro_average_precision,
    mrr,
    nearest,
    ns_score,
    pair_recall_at_k,
    parse,
    pearson,
    pooled,
    r_precision,
    recall_at_k,
    recall_at_precision,
    relative_deviation,
    revisited,
)

Truth = dict[str, Any]


# --- golden values of the public reference code


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


@pytest.mark.parametrize(
    ("order", "truth", "difficulty", "expected"),
    [
        ([3, 1, 0, 2, 4, 5], {"easy": [0, 4], "hard": [], "junk": [3, 2]}, "E", (0.416667, 0, 0.666667, 0.666667)),
        ([3, 1, 0, 2, 4, 5], {"easy": [0, 4], "hard": [], "junk": []}, "E", (0.245833, 0, 0.4, 0.4)),
        ([3, 0, 5, 1, 4, 2], {"easy": [0], "hard": [1, 2], "junk": [3]}, "E", (1, 1, 1, 1)),
        ([3, 0, 5, 1, 4, 2], {"easy": [0], "hard": [1, 2], "junk": [3]}, "M", (0.711111, 1, 0.6, 0.6)),
        ([3, 0, 5, 1, 4, 2], {"easy": [0], "hard": [1, 2], "junk": [3]}, "H", (0.333333, 0, 0.5, 0.5)),
    ],
)
def test_golden_revisited(order: list[int], truth: Truth, difficulty: str, expected: tuple[float, ...]) -> None:
    found = revisited(np.array([order]), [truth])
    assert list(found) == ["E", "M", "H"] and list(found[difficulty]) == ["map_rop", "mp@1", "mp@5", "mp@10"]
    assert tuple(found[difficulty].values()) == pytest.approx(expected, abs=5e-7)


PAIRS = [(1, 101), (2, 102), (3, 103)]


@pytest.mark.parametrize(
    ("predictions", "micro_ap", "recall", "threshold", "rank1", "rank10"),
    [
        (
            [(1, 101, 0.9), (1, 102, 0.8), (2, 102, 0.7), (3, 101, 0.6)],
            *(0.555556, 0.333333, 0.9, 0.666667, 0.666667),
        ),
        (
            [(1, 101, 0.5), (1, 102, 0.5), (2, 102, 0.5), (3, 101, 0.5)],
            *(0.277778, None, None, 0.333333, 0.666667),
        ),
        ([(9, 109, 0.99), (1, 101, 0.9), (2, 102, 0.7)], 0.388889, None, None, 0.666667, 0.666667),
        ([], 0.0, None, None, 0.0, 0.0),
    ],
)
def test_golden_image_similarity_challenge(
    predictions: list[tuple[int, int, float]],
    micro_ap: float,
    recall: float | None,
    threshold: float | None,
    rank1: float,
    rank10: float,
) -> None:
    judged = judge_predictions([p[:2] for p in predictions], [p[2] for p in predictions], PAIRS)
    assert judged.pool is not None and judged.n_positives.sum() == 3
    assert micro_average_precision(judged.pool.scores, judged.pool.is_match, 3) == pytest.approx(micro_ap, abs=5e-7)
    point = recall_at_precision(judged.pool.scores, judged.pool.is_match, 3, 0.9)
    assert (point and point.recall) == (recall and pytest.approx(recall, abs=5e-7))
    assert (point and point.threshold) == threshold
    for k, expected in ((1, rank1), (10, rank10)):
        assert pair_recall_at_k(judged.pair_ranks, 3, k) == pytest.approx(expected, abs=5e-7)


def test_golden_two_positives_reach_half_of_the_pairs_at_rank_1() -> None:
    judged = judge_predictions([(1, 1), (1, 2)], [0.9, 0.8], [(1, 1), (1, 2)])
    assert pair_recall_at_k(judged.pair_ranks, 2, 1) == 0.5


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


@settings(max_examples=150, deadline=None)
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
    judged = judge_predictions([(1, 1)], [0.9], [(1, 1), (1, 1)])
    assert judged.pool is not None and judged.n_positives.tolist() == [2]
    assert micro_average_precision(judged.pool.scores, judged.pool.is_match, 2) == 0.5


queries = st.lists(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.sets(st.integers(0, 40), max_size=n).map(sorted), st.just(n))),
    min_size=1,
    max_size=8,
)


@settings(max_examples=100, deadline=None)
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
        capped = [min(max(r) + 1, k) if len(r) == n else k for r, n in judged]
        shares = [precision(r, cut) for (r, _), cut in zip(judged, capped, strict=True)]
        assert mean_precision_at_k(ranks, n, k) == pytest.approx(np.mean(shares))
    assert mrr(ranks, n) == pytest.approx(np.mean([1 / (min(r) + 1) if r else 0 for r in ranks]))
    assert r_precision(ranks, n) == pytest.approx(np.mean([precision(r, n) for r, n in judged]))
    at_r = [sum(precision(r, x + 1) for x in r if x < n) / n for r, n in judged]
    assert mean_average_precision_at_r(ranks, n) == pytest.approx(np.mean(at_r))
    assert ns_score(ranks, n) == pytest.approx(np.mean([1 + len([x for x in r if x < 3]) for r in ranks]))
    for metric in (mean_average_precision, mrr, r_precision, mean_average_precision_at_r, ns_score):
        assert metric(Ranks.of([r[::-1] for r in ranks]), n) == metric(ranks, n)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 1), st.booleans()), min_size=1, max_size=60, unique_by=lambda p: p[0]))
def test_finite_sum_and_micro_ap_equal_scikit_learn_without_ties(pairs: list[tuple[float, bool]]) -> None:
    scores, hits = np.array([s for s, _ in pairs]), np.array([h for _, h in pairs])
    if not hits.any():
        return
    expected = average_precision_score(hits, scores)
    assert micro_average_precision(scores, hits, int(hits.sum())) == pytest.approx(expected)
    order = np.argsort(-scores)
    assert average_precision(np.flatnonzero(hits[order]), int(hits.sum())) == pytest.approx(expected)


# --- similarities held against the ground truth

NO_JUNK = np.empty(0, np.int64)


@st.composite
def scored(draw: st.DrawFn) -> tuple[NDArray[np.float32], list[list[str]]]:
    """Scores with ties of up to 4 queries to up to 10 images, and the role of each: p(ositive), j(unk) or n(either)."""
    n_queries, n_images = draw(st.integers(1, 4)), draw(st.integers(1, 10))

    def matrix(of: st.SearchStrategy[Any]) -> list[list[Any]]:
        row = st.lists(of, min_size=n_images, max_size=n_images)
        return draw(st.lists(row, min_size=n_queries, max_size=n_queries))

    return np.array(matrix(st.integers(-2, 2)), np.float32) / 3, matrix(st.sampled_from("pjnn"))


def truth_of(roles: list[list[str]]) -> GroundTruth:
    return GroundTruth(
        *(tuple(np.array([i for i, r in enumerate(row) if r == role], np.int64) for row in roles) for role in "pj")
    )


def ranks_of(judged: Judged, query: int) -> list[int]:
    return judged.ranks.values[judged.ranks.query == query].tolist()


@settings(max_examples=150, deadline=None)
@given(scored(), st.integers(1, 60))
def test_judged_results_are_pessimistic_and_without_junk(
    given: tuple[NDArray[np.float32], list[list[str]]], n_best: int
) -> None:
    scores, roles = given
    truth = truth_of(roles)
    judged, pool = judge(scores, truth), pooled(scores, truth)
    every, pair_ranks = [], []
    for query, row in enumerate(roles):
        kept = sorted((-scores[query, i], role == "p") for i, role in enumerate(row) if role != "j")
        assert ranks_of(judged, query) == [rank for rank, (_, is_positive) in enumerate(kept) if is_positive]
        pair_ranks += [sum(s <= mine for s, _ in kept) - 1 for mine, is_positive in kept if is_positive]
        every += [(s, is_positive, query) for s, is_positive in kept]
    assert judged.pair_ranks.tolist() == pair_ranks
    assert judged.n_positives.tolist() == [row.count("p") for row in roles]

    def as_list(pool: Any) -> list[tuple[float, bool, int]]:
        query = np.repeat(np.arange(len(pool.n_pairs)), pool.n_pairs)
        return sorted(zip(-pool.scores, pool.is_match, query, strict=True))

    assert as_list(pool) == sorted(every)
    best = pool.best(n_best)
    cut = sorted(every)[:n_best]  # of equal scores non-matches first, then earlier queries
    assert as_list(best) == cut
    for chosen in (np.arange(len(roles)) % 2 == 0, np.zeros(len(roles), bool)):
        part = judged.of_queries(chosen)
        assert [ranks_of(part, q) for q in range(chosen.sum())] == [ranks_of(judged, q) for q in np.flatnonzero(chosen)]
        assert part.n_positives.tolist() == judged.n_positives[chosen].tolist()
        assert as_list(best.of_queries(chosen)) == sorted(
            (s, m, int(np.cumsum(chosen)[q]) - 1) for s, m, q in cut if chosen[q]
        )


@settings(max_examples=100, deadline=None)
@given(scored())
def test_groups_of_queries_are_judged_as_all_of_them(given: tuple[NDArray[np.float32], list[list[str]]]) -> None:
    scores, roles = given
    whole = judge(scores, truth_of(roles))
    parts = [judge(scores[[q]], truth_of([roles[q]])) for q in range(len(roles))]
    together = joined(parts)
    for name in ("values", "query", "n_queries"):
        assert np.array_equal(getattr(together.ranks, name), getattr(whole.ranks, name))
    assert np.array_equal(together.pair_ranks, whole.pair_ranks)
    pools = [pooled(scores[[q]], truth_of([roles[q]])) for q in range(len(roles))]
    assert np.array_equal(concatenated(pools).scores, pooled(scores, truth_of(roles)).scores)


@settings(max_examples=150, deadline=None)
@given(scored())
def test_listed_predictions_are_judged_as_a_full_ranking(given: tuple[NDArray[np.float32], list[list[str]]]) -> None:
    scores, roles = given
    cells = [(q, i) for q, row in enumerate(roles) for i, role in enumerate(row) if role != "j"]
    wanted = [(q, i) for q, i in cells if roles[q][i] == "p"]
    listed, full = (
        judge_predictions(cells, [scores[cell] for cell in cells], wanted),
        judge(scores, truth_of(roles)),
    )
    assert listed.ranks.values.tolist() == full.ranks.values.tolist()
    assert listed.pair_ranks.tolist() == full.pair_ranks.tolist()


# --- the vote of classes, and levels


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_votes_equal_a_plain_count(data: st.DataObject) -> None:
    n_queries, n_images, k = (data.draw(st.integers(1, most)) for most in (4, 9, 12))
    scores = np.array(data.draw(_lists(n_queries, n_images, st.integers(-2, 2))), np.float32) / 10
    own, classes = (
        np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))) for n in (n_queries, n_images)
    )
    junk = [np.array(sorted(data.draw(st.sets(st.integers(0, n_images - 1)))), np.int64) for _ in own]
    right = 0
    for query, mine in enumerate(own):
        visible = [i for i in range(n_images) if i not in junk[query]]
        voting = sorted(visible, key=lambda i: (-scores[query, i], classes[i] == mine, i))[:k]
        votes: dict[int, float] = defaultdict(float)
        for i in voting:
            votes[classes[i]] += math.exp((scores[query, i] - scores[query, voting[0]]) / 0.07)
        others = [votes[c] for c in votes if c != mine]
        right += votes[mine] > max(others, default=0) * (1 + 1e-12)
    found = nearest(scores, own, classes, junk, k)
    assert found.scores.shape == (n_queries, min(k, n_images))
    assert knn_accuracy(found.scores, found.classes, found.own, k) == right / n_queries


def _lists(rows: int, columns: int, of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[Any]]]:
    return st.lists(st.lists(of, min_size=columns, max_size=columns), min_size=rows, max_size=rows)


@pytest.mark.parametrize("k", [1, 5, 20, 200])
def test_the_vote_equals_scikit_learns_weighted_neighbours(k: int) -> None:
    rng = np.random.default_rng(k)
    database, queries = rng.normal(size=(150, 8)), rng.normal(size=(60, 8))
    classes, own = rng.integers(0, 4, 150), rng.integers(0, 4, 60)
    voter = KNeighborsClassifier(min(k, 150), metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    cosines = np.array([[q @ x / np.linalg.norm(q) / np.linalg.norm(x) for x in database] for q in queries])
    ours = knn_accuracy(cosines, np.tile(classes, (60, 1)), own, k)
    assert ours == pytest.approx(voter.fit(database, classes).score(queries, own))


def test_an_equal_vote_is_lost_and_a_stranger_of_equal_score_votes_first() -> None:
    assert knn_accuracy([[0.5, 0.5]], [[1, 2]], [1], k=2) == 0
    assert knn_accuracy([[0.5, 0.5]], [[1, 2]], [1], k=1) == 0
    assert knn_accuracy([[0.5, 0.5, 0.5]], [[1, 1, 2]], [1], k=3) == 1
    assert knn_accuracy([[-np.inf, -np.inf]], [[1, 1]], [1]) == 0


levels = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), min_size=2, max_size=30)


@settings(max_examples=100, deadline=None)
@given(levels)
def test_correlation_and_deviation_equal_scipy_and_a_plain_mean(pairs: list[tuple[float, int]]) -> None:
    scores, given = [s for s, _ in pairs], [level for _, level in pairs]
    deviation = sum(abs(5 * s - level) / max(5 - level, level) for s, level in pairs) / len(pairs)
    assert relative_deviation([5 * s for s in scores], given) == pytest.approx(deviation)
    if max(scores) - min(scores) > 1e-6 and len(set(given)) > 1:
        assert pearson(scores, given) == pytest.approx(pearsonr(scores, given).statistic, abs=1e-9)


def test_correlation_with_a_constant_does_not_exist() -> None:
    assert math.isnan(pearson([0.5, 0.5], [1, 2])) and math.isnan(pearson([1], [1]))
    pairs = JudgedPairs(np.array([0, 1]), np.array([0.5, 0.5]), np.array([1.0, 2.0]))
    assert parse("pearson")[0].score(Judged(Ranks.of([]), NO_JUNK, NO_JUNK, pairs=pairs)).value is None


# --- chance, and what is left out

#: What a scorer without any knowledge may get at most, on 20 queries with one of 50 images to be found.
CHANCE = {"ns_score": 1 + 3 / 50, "knn@20": 1 / 5, "pearson": 0, "relative_deviation": math.inf}


@pytest.mark.parametrize("metric", [m for m in METRICS if m.name != "threshold@p90"], ids=lambda m: m.name)
def test_a_constant_scorer_is_no_better_than_chance(metric) -> None:  # type: ignore[no-untyped-def]
    n_queries, n_images = 20, 50
    scores = np.ones((n_queries, n_images), np.float32)
    truth = truth_of([["p" if i == q else "n" for i in range(n_images)] for q in range(n_queries)])
    own, classes = np.arange(n_queries) % 5, np.arange(n_images) % 5
    judged = judge(scores, truth)
    value = metric.score(
        Judged(
            judged.ranks,
            judged.pair_ranks,
            judged.n_positives,
            pooled(scores, truth),
            nearest(scores, own, classes, truth.junk, 20),
            JudgedPairs(np.arange(n_queries), scores[:, 0], np.arange(n_queries) % 6.0),
        )
    ).value
    assert value is None or value <= CHANCE.get(metric.name, 1 / n_images) + 1e-12


def test_queries_without_a_positive_are_left_out_of_means_and_stay_in_the_pool() -> None:
    assert mean_average_precision([[0], []], [1, 0]) == 1.0
    assert hit_at_k([[0], []], [1, 0], 1) == 1.0
    scores, truth = np.array([[0.5, 0.4], [0.9, 0.1]], np.float32), truth_of([["p", "n"], ["n", "n"]])
    judged = judge(scores, truth)
    judged = Judged(judged.ranks, judged.pair_ranks, judged.n_positives, pooled(scores, truth))
    scored = {name: parse(name)[0].score(judged) for name in ("map", "micro_ap", "recall@p90", "pair_recall@1")}
    assert scored["map"].value == 1.0 and scored["map"].n_queries == 1
    assert scored["micro_ap"].value == 0.5 and scored["micro_ap"].n_queries == 2
    assert scored["recall@p90"].value is None
    assert scored["pair_recall@1"].value == 1.0 and scored["pair_recall@1"].n_queries == 1


def test_without_any_positive_a_metric_does_not_exist() -> None:
    scores, truth = np.ones((2, 3), np.float32), truth_of([["n"] * 3, ["j"] * 3])
    judged = judge(scores, truth)
    judged = Judged(judged.ranks, judged.pair_ranks, judged.n_positives, pooled(scores, truth))
    for name in ("map", "ns_score", "micro_ap", "threshold@p90", "pair_recall@10"):
        assert parse(name)[0].score(judged).value is None


def test_a_metric_says_what_it_lacks() -> None:
    judged = judge(np.ones((1, 1), np.float32), truth_of([["p"]]))
    for name, what in (("knn@20", "classes"), ("pearson", "levels"), ("micro_ap", "pooled pairs")):
        with pytest.raises(DatasetError, match=f"the metric {name} needs {what}"):
            parse(name)[0].score(judged)


def test_a_metric_is_named_with_or_without_a_setup() -> None:
    assert [(m.name, setup) for m, setup in map(parse, ("mp@5", "map_rop[E]"))] == [("mp@5", None), ("map_rop", "E")]
    for wrong in ("mp@7", "map[", "map[E][M]", ""):
        with pytest.raises(UsageError, match="there is no metric"):
            parse(wrong)


@pytest.mark.parametrize(
    "call",
    [
        lambda: average_precision([0, 1], 1),
        lambda: average_precision([2, 2], 3),
        lambda: average_precision([-1], 3),
        lambda: average_precision([0], 1, "median"),  # type: ignore[arg-type]
        lambda: mean_average_precision([[]], [0]),
        lambda: mean_average_precision([[0]], [1, 1]),
        lambda: hit_at_k([[0], [3, 3]], [1, 2], 1),
        lambda: micro_average_precision([0.1], [True], 0),
        lambda: micro_average_precision([0.1, 0.2], [True], 2),
        lambda: micro_average_precision([math.nan], [True], 2),
        lambda: pair_recall_at_k([0, 0], 1, 1),
        lambda: pair_recall_at_k([], 0, 1),
        lambda: judge_predictions([(1, 1), (1, 2), (1, 1)], [0.9, 0.8, 0.7], [(1, 1)]),
        lambda: judge_predictions([(1, 1)], [0.9, 0.8], [(1, 1)]),
        lambda: knn_accuracy([[0.5]], [[1, 2]], [1]),
        lambda: knn_accuracy([[0.5]], [[1]], [1], k=0),
        lambda: knn_accuracy(np.empty((0, 3)), np.empty((0, 3)), []),
        lambda: pearson([1, 2], [1]),
        lambda: pearson([1, math.inf], [1, 2]),
        lambda: relative_deviation([5.1], [5]),
        lambda: relative_deviation([0], [-1]),
        lambda: relative_deviation([], []),
    ],
)
def test_impossible_input_is_an_error(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError):
        call()


def test_no_positive_gives_nan() -> None:
    assert math.isnan(average_precision([], 0))


@pytest.mark.parametrize(
    ("positives", "junk", "message"),
    [
        ([0, 2], [2], "query 1 has an image that is both positive and junk"),
        ([3], [], "query 1 names images outside the database of 3"),
        ([], [-1], "query 1 names images outside the database of 3"),
        ([2, 0, 2], [], "query 1 names image 2 twice"),
    ],
)
def test_a_ground_truth_that_contradicts_itself_is_an_error(
    positives: list[int], junk: list[int], message: str
) -> None:
    truth = GroundTruth(*((NO_JUNK, np.array(of, np.int64)) for of in (positives, junk)))
    with pytest.raises(DatasetError, match=message):
        judge(np.ones((2, 3), np.float32), truth)


# --- the revisited benchmarks


def reference(order: Sequence[int], positives: set[int], junk: set[int], k: int) -> tuple[float, float]:
    """Trapezoid AP and P@k of one query, by walking down its ranking."""
    ap, seen, hits, at = 0.0, 0, 0, []
    for image in order:
        if image in junk:
            continue
        if image in positives:
            before = hits / seen if seen else 1.0
            ap += (before + (hits + 1) / (seen + 1)) / 2 / len(positives)
            hits += 1
            at.append(seen + 1)
        seen += 1
    cut = min(at[-1], k) if len(at) == len(positives) else k
    return ap, sum(p <= cut for p in at) / cut


@st.composite
def rankings(draw: st.DrawFn) -> tuple[NDArray[np.int64], list[Truth], int]:
    """Rankings of up to 12 images, each cut somewhere, with their ground truth."""
    n_images, n_queries = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    width = draw(st.integers(0, n_images))
    rows, truths = [], []
    for _ in range(n_queries):
        order = draw(st.permutations(range(n_images)))[: draw(st.integers(0, width))]
        rows.append(list(order) + [-1] * (width - len(order)))
        role = draw(st.lists(st.sampled_from("ehjnn"), min_size=n_images, max_size=n_images))
        of = {label: [i for i in range(n_images) if role[i] == label[0]] for label in ("easy", "hard", "junk")}
        truths.append(of | {"junk": np.array(of["junk"], np.int64), "bbx": [0.5, 1.5, 2.0, 3.0]})
    return np.array(rows, np.int64).reshape(n_queries, width), truths, n_images


@settings(max_examples=150, deadline=None)
@given(rankings())
def test_revisited_equals_a_walk_down_each_ranking(given: tuple[NDArray[np.int64], list[Truth], int]) -> None:
    retrieved, truths, n_images = given
    found = revisited(retrieved, truths, (1, 3, 10), n_images)
    assert str(revisited(retrieved.astype(np.int32), truths, (1, 3, 10))) == str(found)  # nan is not nan
    for difficulty, positive, ignored in (
        ("E", ["easy"], ["hard"]),
        ("M", ["easy", "hard"], []),
        ("H", ["hard"], ["easy"]),
    ):
        of = [
            (
                row[row >= 0].tolist(),
                *({i for label in labels for i in truth[label]} for labels in (positive, ["junk", *ignored])),
            )
            for row, truth in zip(retrieved, truths, strict=True)
        ]
        of = [case for case in of if case[1]]
        for k in (1, 3, 10):
            walked = [reference(*case, k) for case in of]
            expected = np.mean(walked, axis=0).tolist() if walked else [math.nan] * 2
            got = [found[difficulty]["map_rop"], found[difficulty][f"mp@{k}"]]
            assert got == pytest.approx(expected, nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_truncated_ranking_has_the_precision_of_the_full_one(data: st.DataObject) -> None:
    order = np.array([data.draw(st.permutations(range(10))) for _ in range(3)])
    truths = [{"easy": [0, 1], "hard": [2, 3, 4], "junk": [5]} for _ in range(3)]
    full, cut = revisited(order, truths, (1, 2)), revisited(order[:, : data.draw(st.integers(6, 10))], truths, (1, 2))
    for difficulty in "EMH":
        assert cut[difficulty]["mp@1"] == full[difficulty]["mp@1"]
        assert cut[difficulty]["mp@2"] == full[difficulty]["mp@2"]
        assert cut[difficulty]["map_rop"] <= full[difficulty]["map_rop"]


def test_a_ranking_may_stand_on_its_side_and_in_any_byte_order() -> None:
    order = np.random.default_rng(0).permuted(np.tile(np.arange(40), (6, 1)), axis=1)
    truths = [{"easy": [0, 1], "hard": [2, 3, 4], "junk": [5, 6]}] * 6
    found = revisited(order, truths)
    columns = np.ascontiguousarray(order.T).T
    assert revisited(columns, truths) == revisited(order.astype(">i4"), truths) == found
    assert revisited(order.astype(np.uint16), truths) == revisited(order.astype(np.int8), truths) == found


def test_a_difficulty_that_no_query_has_is_nan() -> None:
    found = revisited([[0, 1]], [{"easy": [0], "hard": [], "junk": []}])
    assert found["E"]["map_rop"] == found["M"]["mp@10"] == 1 and math.isnan(found["H"]["map_rop"])
    assert math.isnan(found["H"]["mp@1"])


FINE = {"easy": [0], "hard": [1], "junk": [2]}


@pytest.mark.parametrize(
    ("ranking", "truth", "message"),
    [
        ([0, 1, 2], FINE | {"junk": [0]}, "query 1 names image 0 twice"),
        ([0, 1, 2], FINE | {"hard": [1, 0]}, "query 1 names image 0 twice"),
        ([0, 1, 2], FINE | {"easy": [-1]}, "query 1 names images outside"),
        ([0, 1, 2], FINE | {"easy": [3]}, "query 1 names images outside"),
        ([0, 1, 2], FINE | {"easy": [0.5]}, "query 1 holds other than integers"),
        ([0, 1, 2], {"easy": [0], "hard": []}, "query 1 lacks the key junk"),
        ([0, 1, 0], FINE, "the ranking of query 1 has an image twice"),
        ([0, 1, 3], FINE, "the ranking of query 1 names images outside the database of 3"),
        ([0, -1, 2], FINE, "the ranking of query 1 has a negative index"),
        ([0, 1, -2], FINE, "the ranking of query 1 has a negative index"),
    ],
)
def test_rankings_and_truths_that_contradict_themselves_name_the_query(
    ranking: list[int], truth: Truth, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        revisited([[2, 1, 0], ranking], [FINE, truth], n_database=3)
    with pytest.raises(DatasetError, match=message):
        revisited([[2, 1, 0], ranking], [FINE, truth], n_database=3)


@pytest.mark.parametrize("ranking", [[[0.0, 1.0]], [0, 1], [[0, 1], [1, 0]]])
def test_a_ranking_is_integers_a_row_a_query(ranking: list[Any]) -> None:
    with pytest.raises(ValueError, match="give integers, a row a query"):
        revisited(ranking, [FINE])


def test_a_score_that_is_no_number_is_an_error_and_not_the_best() -> None:
    truth = GroundTruth((np.array([0]),), (np.empty(0, np.int64),))
    with pytest.raises(ValueError, match="not a number"):
        judge(np.array([[math.nan, 0.5]]), truth)
