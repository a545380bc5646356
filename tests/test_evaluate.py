"""A cell's scores against brute force: ties, junk, setups, tags, candidates, offsets, classes and levels, in blocks."""

import math
import tracemalloc
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import evaluate as evaluation
from bench.errors import DatasetError, UsageError
from bench.evaluate import Evaluation, evaluate, ignore_self
from bench.interfaces import Classes, GroundTruth, ImageFile, Levels, Split
from bench.metrics import METRICS, parse
from bench.similarity import Similarity, top_k

GLOBAL = Similarity()
N_QUERIES, N_IMAGES = 12, 17
NAMES = [metric.name for metric in METRICS]
Pair = tuple[float, bool]  # score, and whether it is a match


@dataclass(frozen=True)
class Case:
    """A small dataset full of ties: vectors of six kinds."""

    queries: NDArray[np.float32]
    database: NDArray[np.float32]
    split: Split
    offset: NDArray[np.float32]

    def evaluate(self, names: list[str], shifted: bool = False, candidates: int | None = None) -> Evaluation:
        offset = self.offset if shifted else None
        return evaluate(self.queries, self.database, self.split, names, GLOBAL, offset, candidates)


def case(seed: int) -> Case:
    rng = np.random.default_rng(seed)

    kinds = rng.normal(size=(6, 4)).astype(np.float32)

    def vectors(n: int) -> NDArray[np.float32]:
        return kinds[rng.integers(0, len(kinds), n)]

    def truth(shares: list[float]) -> GroundTruth:
        role = rng.choice(3, size=(N_QUERIES, N_IMAGES), p=shares)
        role[:3][role[:3] == 1] = 0  # three queries without a positive
        return GroundTruth(*(tuple(np.flatnonzero(row == wanted) for row in role) for wanted in (1, 2)))

    # the first queries are in the database too
    files = [ImageFile(name, Path(name)) for name in [f"d{i}" for i in range(N_IMAGES)] + ["q0", "q1", "q2", "q3"]]
    database, queries = files[:N_IMAGES], files[:5] + files[N_IMAGES:] + [ImageFile(f"p{i}", Path("p")) for i in "abc"]
    pairs = [(q, d) for q in range(N_QUERIES) for d in range(N_IMAGES)]
    judged = np.array(pairs)[rng.permutation(len(pairs))[:30]]
    split = Split(
        tuple(queries),
        tuple(database),
        truth([0.7, 0.2, 0.1]),
        setups={"E": truth([0.8, 0.1, 0.1]), "H": truth([0.5, 0.1, 0.4])},
        classes=Classes(rng.integers(0, 3, N_QUERIES), rng.integers(0, 3, N_IMAGES)),
        levels=Levels(judged[:, 0], judged[:, 1], rng.integers(0, 6, 30).astype(np.float64)),
        tags=tuple(tuple(t for t in ("crop", "blur", "text") if rng.random() < 0.4) for _ in queries),
    )
    return Case(vectors(N_QUERIES), vectors(N_IMAGES), split, rng.normal(size=N_QUERIES).astype(np.float32))


def table_of(given: Case) -> dict[tuple[int, int], float]:
    """The similarity of every pair, from the search."""
    found = top_k(given.queries, given.database, N_IMAGES, GLOBAL)
    return {
        (query, int(image)): float(score)
        for query, (images, scores) in enumerate(zip(found.indices, found.scores, strict=True))
        for image, score in zip(images, scores, strict=True)
    }


def visible(given: Case, truth: GroundTruth, query: int) -> list[tuple[int, bool]]:
    """The images that count for a query, and whether each is a positive."""
    own = given.split.queries[query].id
    images = [i for i, image in enumerate(given.split.database) if image.id != own and i not in truth.junk[query]]
    return [(image, image in truth.positives[query]) for image in images]


def plain_ranks(given: Case, truth: GroundTruth, queries: Iterable[int]) -> list[tuple[list[int], list[int]]]:
    """Of each query with a positive the ranks of its positives, and of each of its pairs."""
    scores, found = table_of(given), []
    for query in queries:
        kept = sorted((-scores[query, image], positive) for image, positive in visible(given, truth, query))
        ranks = [rank for rank, (_, positive) in enumerate(kept) if positive]
        pair_ranks = [sum(s <= mine for s, _ in kept) - 1 for mine, positive in kept if positive]
        if ranks:
            found.append((ranks, pair_ranks))
    return found


def plain_pool(
    given: Case, truth: GroundTruth, queries: Iterable[int], shifted: bool, candidates: int | None
) -> list[Pair]:
    """The pairs by falling score, non-matches first; the cut is that of all queries together."""
    scores = table_of(given)
    every = [
        (float(given.offset[query]) * shifted - scores[query, image], positive, query)
        for query in range(N_QUERIES)
        for image, positive in visible(given, truth, query)
    ]
    return [(-s, positive) for s, positive, query in sorted(every)[:candidates] if query in set(queries)]


def expected(
    given: Case, name: str, shifted: bool, candidates: int | None, queries: Iterable[int] = range(N_QUERIES)
) -> float | None:
    """A metric by its definition, one query and one pair at a time."""
    metric, setup = parse(name)
    truth = given.split.setups[setup] if setup else given.split.ground_truth
    if metric.unit == "pooled pairs of all queries":
        pool = plain_pool(given, truth, queries, shifted, candidates)
        n_pairs = sum(positive for query in queries for _, positive in visible(given, truth, query))
        return of_pool(metric.name, pool, n_pairs) if n_pairs else None
    if metric.unit in ("queries with a class", "judged pairs"):
        return of_all(metric.name, given, truth, shifted)
    found = plain_ranks(given, truth, queries)
    if not found:
        return None
    if metric.name.startswith("pair_recall"):
        ranks = [rank for _, of_query in found for rank in of_query]
        return sum(rank < int(metric.name.split("@")[1]) for rank in ranks) / len(ranks)
    return sum(of_query(metric.name, ranks) for ranks, _ in found) / len(found)


def of_query(name: str, ranks: list[int]) -> float:
    n, kind, k = len(ranks), name.partition("@")[0], name.partition("@")[2]

    def precision(at: int) -> float:
        return sum(r < at for r in ranks) / at

    return {
        "map": lambda: sum(precision(r + 1) for r in ranks if k != "r" or r < n) / n,
        "map_rop": lambda: sum(precision(r + 1) + (precision(r) if r else 1) for r in ranks) / 2 / n,
        "mp": lambda: precision(min(max(ranks) + 1, int(k))),
        "hit": lambda: float(min(ranks) < int(k)),
        "recall": lambda: sum(r < int(k) for r in ranks) / n,
        "mrr": lambda: 1 / (min(ranks) + 1),
        "r_precision": lambda: precision(n),
        "ns_score": lambda: 1.0 + sum(r < 3 for r in ranks),
    }[kind]()


def of_pool(name: str, pool: list[Pair], n_pairs: int) -> float | None:
    hits, ap, point = 0, 0.0, (0.0, math.nan)
    for position, (score, positive) in enumerate(pool, start=1):
        hits += positive
        ap += positive * hits / position / n_pairs
        if hits / position >= 0.9 and hits / n_pairs > point[0]:
            point = (hits / n_pairs, score)
    reached = point if point[0] else (None, None)
    return {"micro_ap": ap, "recall@p90": reached[0], "threshold@p90": reached[1]}[name]


def of_all(name: str, given: Case, truth: GroundTruth, shifted: bool) -> float | None:
    scores, (classes, levels) = table_of(given), (given.split.classes, given.split.levels)
    assert classes is not None and levels is not None
    if name == "knn@20":
        right = 0
        for query, own in enumerate(classes.queries):
            votes: dict[int, float] = defaultdict(float)
            for image, _ in visible(given, truth, query):  # fewer than 20: all of them vote
                votes[classes.database[image]] += math.exp(scores[query, image] / 0.07)
            right += votes.pop(own, 0.0) > max(votes.values(), default=0.0) * (1 + 1e-9)
        return right / N_QUERIES
    judged = zip(levels.queries, levels.database, strict=True)
    given_scores = np.array([scores[q, d] - shifted * float(given.offset[q]) for q, d in judged])
    if name == "pearson":
        return float(np.corrcoef(given_scores, levels.level)[0, 1])
    highest = np.maximum(5 - levels.level, levels.level)
    return float(np.mean(np.abs(5 * np.clip(given_scores, 0, 1) - levels.level) / highest))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("shifted", "candidates", "block"),
    [
        (False, None, 2**24),
        (True, None, 5 * N_IMAGES),
        (False, 1, 1),
        (False, 23, 5 * N_IMAGES),
        (True, 23, 1),
        (False, 1000, 5 * N_IMAGES),
    ],
)
def test_every_metric_equals_brute_force(
    seed: int, shifted: bool, candidates: int | None, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "PAIRS_A_BLOCK", block)
    given = case(seed)
    names = [*NAMES, "map_rop[E]", "mp@5[E]", "micro_ap[E]", "map_rop[H]", "knn@20[H]"]
    found = given.evaluate(names, shifted, candidates)
    assert list(found.scores) == names
    for name in names:
        wanted = expected(given, name, shifted, candidates)
        assert found.scores[name].value == (wanted if wanted is None else pytest.approx(wanted, abs=1e-6)), name
    first = list(dict.fromkeys(tag for of in given.split.tags for tag in of))
    assert list(found.by_tag) == first and len(first) == 3
    for tag, scores in found.by_tag.items():
        without = [q for q in range(N_QUERIES) if not any(p for _, p in visible(given, given.split.ground_truth, q))]
        tagged = [q for q, of in enumerate(given.split.tags) if tag in of]
        members = sorted({*tagged, *without})
        assert list(scores) == [n for n in NAMES if n not in ("knn@20", "pearson", "relative_deviation")]
        for name, score in scores.items():
            wanted = expected(given, name, shifted, candidates, members)
            assert score.value == (wanted if wanted is None else pytest.approx(wanted, abs=1e-6)), (tag, name)
        assert scores["micro_ap"].n_queries == len(members)
        assert scores["map"].n_queries == len(set(tagged) - set(without))


def test_the_number_of_queries_behind_a_score() -> None:
    given = case(0)
    found = given.evaluate([*NAMES, "map[E]"]).scores
    with_positive = len(plain_ranks(given, given.split.ground_truth, range(N_QUERIES)))
    assert found["map"].n_queries == found["pair_recall@1"].n_queries == with_positive < N_QUERIES
    assert found["map[E]"].n_queries == len(plain_ranks(given, given.split.setups["E"], range(N_QUERIES)))
    assert found["micro_ap"].n_queries == found["knn@20"].n_queries == N_QUERIES
    assert given.split.levels is not None
    assert found["pearson"].n_queries == len(set(given.split.levels.queries.tolist()))


def test_candidates_change_pooled_metrics_alone() -> None:
    given = case(1)
    every, few = (given.evaluate(NAMES, candidates=n).scores for n in (None, 5))
    changed = {name for name in NAMES if every[name] != few[name]}
    assert changed and changed <= {"micro_ap", "recall@p90", "threshold@p90"}


def test_candidates_bound_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four million pairs would take 20 MB in the pool."""
    monkeypatch.setattr(evaluation, "PAIRS_A_BLOCK", 2**17)
    rng = np.random.default_rng(0)
    queries, database = (rng.normal(size=(2000, 8)).astype(np.float32) for _ in range(2))
    files = tuple(ImageFile(str(i), Path(str(i))) for i in range(4000))
    split = Split(files[:2000], files[2000:], GroundTruth(*[(np.array([7]),) * 2000, (np.empty(0, np.int64),) * 2000]))
    tracemalloc.start()
    try:
        evaluate(queries, database, split, ["micro_ap", "map"], GLOBAL, candidates=500)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8e6


def test_at_the_cut_equal_scores_keep_non_matches() -> None:
    """Two queries, three images that are all alike: the one candidate is none of the matches."""
    files = [ImageFile(name, Path(name)) for name in "abcde"]
    truth = GroundTruth((np.array([0]), np.array([1])), (np.empty(0, np.int64),) * 2)
    split = Split(tuple(files[:2]), tuple(files[2:]), truth)
    same = np.ones((3, 2), np.float32)
    cut = [evaluate(same[:2], same, split, ["micro_ap"], GLOBAL, None, n).scores["micro_ap"].value for n in (4, 5, 6)]
    assert cut == [0, pytest.approx(1 / 5 / 2), pytest.approx((1 / 5 + 2 / 6) / 2)]


def test_a_split_without_tags_has_no_scores_by_tag() -> None:
    given = case(0)
    plain = replace(given, split=replace(given.split, tags=()))
    assert plain.evaluate(NAMES).by_tag == {}
    assert given.evaluate(["map[E]"]).by_tag == {}


@pytest.mark.parametrize(
    ("changes", "names", "message"),
    [
        ({}, ["map[X]"], "has no setup 'X' for its metrics: it has E, H"),
        ({"setups": {}}, ["map[E]"], "has no setup 'E' for its metrics: it has none"),
        ({"classes": None}, ["knn@20"], "the metric knn@20 needs classes"),
        ({"levels": None}, ["pearson"], "the metric pearson needs levels"),
    ],
)
def test_what_a_split_lacks_is_named(changes: dict[str, None], names: list[str], message: str) -> None:
    given = case(0)
    with pytest.raises(DatasetError, match=message):
        replace(given, split=replace(given.split, **changes)).evaluate(names)


def test_a_contradiction_names_the_query_of_the_whole_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "PAIRS_A_BLOCK", N_IMAGES)
    given = case(0)
    truth = GroundTruth(
        (np.empty(0, np.int64),) * 7 + (np.array([1]),) * 5, (np.array([2]),) * 9 + (np.array([1]),) * 3
    )
    for changes, name in (({"ground_truth": truth}, "map"), ({"setups": {"E": truth}}, "map[E]")):
        with pytest.raises(DatasetError, match="query 9 has an image that is both positive and junk"):
            replace(given, split=replace(given.split, **changes)).evaluate([name])


def test_a_sample_without_a_judged_pair_has_no_correlation() -> None:
    given = case(0)
    empty = Levels(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    found = replace(given, split=replace(given.split, levels=empty)).evaluate(["pearson", "relative_deviation"]).scores
    assert {(score.value, score.n_queries) for score in found.values()} == {(None, 0)}


def test_an_unknown_metric_is_a_wrong_call() -> None:
    with pytest.raises(UsageError, match="there is no metric 'mapp'"):
        case(0).evaluate(["map", "mapp"])


def test_an_image_in_both_sets_is_no_answer_to_itself() -> None:
    given = case(2)
    truth = ignore_self(given.split, given.split.ground_truth)
    for query in range(N_QUERIES):
        own = query if query < 5 else None  # the first queries are d0 to d4
        assert own not in truth.positives[query]
        assert (own is None) == (truth.junk[query].tolist() == given.split.ground_truth.junk[query].tolist()) or (
            own in given.split.ground_truth.junk[query]
        )
        assert len(set(truth.junk[query].tolist())) == len(truth.junk[query])
