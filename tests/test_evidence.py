"""What a cell's scores follow from: kept whole, read back the same, and enough for every metric and resample."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.evaluate import evaluate, scores_of
from bench.evidence import Evidence, from_bytes, to_bytes
from bench.interfaces import Classes, GroundTruth, ImageFile, Levels, Split
from bench.metrics import METRICS, Judged, JudgedPairs, Neighbours, Pool, Ranks, Resamples
from bench.similarity import Similarity

PLAIN = [m.name for m in METRICS]


def split_of(n_queries: int, n_database: int, seed: int) -> Split:
    """A set with everything a split may have: several positives, none, junk, a setup, classes, levels, tags."""
    rng = np.random.default_rng(seed)
    positives, junk = [], []
    for query in range(n_queries):
        rows = rng.permutation(n_database)
        n = int(rng.integers(0, 4)) if query else 2
        positives.append(np.sort(rows[:n]))
        junk.append(np.sort(rows[n : n + int(rng.integers(0, 3))]))
    truth = GroundTruth(tuple(positives), tuple(junk))
    hard_junk = tuple(np.append(j, p[1:]) for p, j in zip(positives, junk, strict=True))
    hard = GroundTruth(tuple(p[:1] for p in positives), hard_junk)
    images = [
        [ImageFile(f"{role}{i}", Path(f"{role}{i}.png")) for i in range(n)]
        for role, n in (("q", n_queries), ("x", n_database))
    ]
    classes = Classes(rng.integers(0, 3, n_queries), rng.integers(0, 3, n_database))
    query, row = (rng.integers(0, n, 12) for n in (n_queries, n_database))
    return Split(
        tuple(images[0]),
        tuple(images[1]),
        truth,
        setups={"H": hard},
        classes=classes,
        levels=Levels(np.sort(query), row, rng.integers(0, 6, 12).astype(np.float64)),
        tags=tuple(("even", "all") if q % 2 == 0 else ("all",) for q in range(n_queries)),
    )


def evaluated(n_queries: int = 9, n_database: int = 14, seed: int = 0) -> Evidence:
    rng = np.random.default_rng(seed)
    # of few values, so that there are ties
    q, x = (rng.integers(-2, 3, (n, 4)).astype(np.float32) + np.float32(0.5) for n in (n_queries, n_database))
    return evaluate(q, x, split_of(n_queries, n_database, seed), [*PLAIN, "map[H]"], Similarity()).evidence


def repeated(judged: Judged, times: NDArray[np.int64]) -> Judged:
    """The results of a list of queries in which each stands so often, made by copying them one by one."""
    listed = np.repeat(np.arange(len(times)), times)
    of = [judged.of_queries(np.arange(len(times)) == query) for query in listed]
    assert judged.neighbours and judged.pairs
    own = [judged.pairs.query == query for query in listed]
    return Judged(
        Ranks(
            np.concatenate([o.ranks.values for o in of]),
            np.concatenate([np.full(len(o.ranks.values), i) for i, o in enumerate(of)]),
            len(of),
        ),
        np.concatenate([o.pair_ranks for o in of]),
        np.concatenate([o.n_positives for o in of]),
        Pool(
            np.concatenate([o.pool.scores for o in of if o.pool]),
            np.concatenate([o.pool.is_match for o in of if o.pool]),
            np.concatenate([o.pool.n_pairs for o in of if o.pool]),
        ),
        Neighbours(judged.neighbours.scores[listed], judged.neighbours.classes[listed], judged.neighbours.own[listed]),
        JudgedPairs(
            np.concatenate([np.full(o.sum(), i) for i, o in enumerate(own)]),
            np.concatenate([judged.pairs.scores[o] for o in own]),
            np.concatenate([judged.pairs.levels[o] for o in own]),
        ),
    )


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_a_resample_scores_as_its_queries_copied_one_by_one(metric: object) -> None:
    assert isinstance(metric, type(METRICS[0]))
    evidence = evaluated()
    weights = np.random.default_rng(1).multinomial(9, np.full(9, 1 / 9), 40).astype(np.float32)
    weights[0] = 1
    found = metric.resampled(Resamples(evidence.judged[""], weights))
    wanted = [metric.score(repeated(evidence.judged[""], times.astype(int))).value for times in weights]
    assert np.allclose(found, [np.nan if w is None else w for w in wanted], rtol=2e-6, atol=1e-9, equal_nan=True)
    own = metric.score(evidence.judged[""]).value
    assert own is not None and found[0] == pytest.approx(own, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(5, 20), st.integers(0, 10_000))
def test_evidence_is_read_back_with_the_same_scores(n_queries: int, n_database: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    q, x = (rng.integers(-2, 3, (n, 4)).astype(np.float32) + np.float32(0.5) for n in (n_queries, n_database))
    made = evaluate(q, x, split_of(n_queries, n_database, seed), [*PLAIN, "map[H]"], Similarity())
    back = from_bytes(to_bytes(made.evidence), "x.npz")
    scores, by_tag = scores_of(back, [*PLAIN, "map[H]"])
    assert scores == made.scores and by_tag == made.by_tag
    assert np.array_equal(back.ap, made.evidence.ap, equal_nan=True)
    assert back.query_ids == made.evidence.query_ids and back.tags == made.evidence.tags
    assert np.array_equal(back.top, made.evidence.top) and np.array_equal(back.top_scores, made.evidence.top_scores)


def test_the_best_matches_are_those_of_a_sort_without_junk() -> None:
    split = split_of(9, 14, 0)
    rng = np.random.default_rng(0)
    q, x = (rng.integers(-2, 3, (n, 4)).astype(np.float32) + np.float32(0.5) for n in (9, 14))
    evidence = evaluate(q, x, split, ["map"], Similarity()).evidence
    scores = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ (x / np.linalg.norm(x, axis=1, keepdims=True)).T
    for query, ignored in enumerate(split.ground_truth.junk):
        left = [row for row in range(14) if row not in ignored]
        assert set(ignored).isdisjoint(evidence.top[query])
        wanted = sorted((scores[query, row] for row in left), reverse=True)[:10]
        assert np.allclose(evidence.top_scores[query], wanted, atol=1e-6)
        assert np.allclose(scores[query, evidence.top[query]], evidence.top_scores[query], atol=1e-6)


def test_a_pool_is_reduced_without_changing_its_metrics() -> None:
    rng = np.random.default_rng(0)
    n_pairs = rng.integers(0, 30, 20)
    pool = Pool(rng.normal(size=n_pairs.sum()).round(1), rng.random(n_pairs.sum()) < 0.1, n_pairs)
    small = pool.reduced()
    n = np.full(20, int(pool.is_match.sum()))
    for metric in METRICS:
        if metric.unit.startswith("pooled"):
            of = [Judged(Ranks.of([[]] * 20), np.empty(0, np.int64), n, pool=p) for p in (pool, small)]
            assert metric.score(of[0]) == metric.score(of[1])
    assert small.is_match.sum() == pool.is_match.sum() and len(small.scores) < len(pool.scores)
    assert len(np.unique(small.scores)) <= small.is_match.sum()


def test_the_file_is_plain_arrays_and_nothing_else_is_taken(tmp_path: Path) -> None:
    content = to_bytes(evaluated())
    (tmp_path / "e.npz").write_bytes(content)
    with np.load(tmp_path / "e.npz", allow_pickle=False) as arrays:
        assert len(arrays["ap"]) == 9 and json.loads(str(arrays["setups"])) == ["", "H"]
    for broken in (content[:200], b"", b"PK\x03\x04"):
        with pytest.raises(UsageError, match=r"e\.npz is not a cell's evidence .*: delete it and run again"):
            from_bytes(broken, "e.npz")


@pytest.mark.parametrize(
    "changed",
    [
        {"tags": np.array("5")},
        {"setups": np.array("{}[")},
        {"ap": np.zeros(3)},
        {"top": np.zeros((2, 10), np.int32)},
        {"ranks": np.array(["a", "b"])},
        {"n_positives": np.zeros((2, 2, 2))},
    ],
)
def test_arrays_that_do_not_belong_together_are_told(changed: dict[str, NDArray[np.generic]], tmp_path: Path) -> None:
    (tmp_path / "e.npz").write_bytes(to_bytes(evaluated()))
    with np.load(tmp_path / "e.npz", allow_pickle=False) as arrays:
        np.savez(tmp_path / "odd.npz", **{**arrays, **changed})
    with pytest.raises(UsageError, match=r"odd\.npz is not a cell's evidence .*: delete it and run again"):
        _ = from_bytes((tmp_path / "odd.npz").read_bytes(), "odd.npz").judged[""]
