"""The verdict: aggregates by hand, intervals and brackets against a known truth, what has no rank."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from typer.testing import CliRunner

from bench.cli import app
from bench.evidence import Evidence
from bench.metrics import Judged, Ranks
from bench.plan import Definition
from bench.ranking import borda, mean_reciprocal_rank, mean_z, rank
from bench.records import Record, RunFolder, order
from bench.report.tables import ranking_table, rankings
from bench.scored import Scored, read
from bench.similarity import Similarity


def record(backbone: str, dataset: str, similarity: str, ap: NDArray[np.float64] | None, **changed: Any) -> Record:
    kind = "global" if similarity == "global" else "chunked"
    body = {
        "status": "failed" if ap is None else "ok",
        "backbone": {"name": backbone, "weights": changed.get("weights", "pretrained")},
        "dataset": {"name": dataset, "kind": changed.get("kind", "retrieval"), "metrics": ["map"], "limit": None},
        "similarity": {"spec": similarity, "kind": kind},
        "metrics": {} if ap is None else {"map": float(np.nanmean(ap))},
        "n_used": {} if ap is None else {"map": int((~np.isnan(ap)).sum())},
    }
    return Record(body)


def evidence(ap: NDArray[np.float64]) -> Evidence:
    """One positive a query at the rank whose average precision is the nearest to what is wanted."""
    ranks = np.maximum(np.round(1 / np.maximum(ap, 1e-3)) - 1, 0).astype(np.int64)
    n = len(ap)
    judged = Judged(Ranks(ranks, np.arange(n), n), ranks, np.ones(n, np.int64))
    ids = tuple(f"q{i}" for i in range(n))
    return Evidence.of({"": judged}, ids, (), np.zeros((n, 1), np.int64), np.zeros((n, 1), np.float32))


def scored(cells: dict[tuple[str, str, str], NDArray[np.float64] | None], **changed: Any) -> Scored:
    """A run of (backbone, dataset, similarity) -> wanted average precisions."""
    records, of = [], {}
    for (backbone, dataset, similarity), ap in cells.items():
        if ap is not None:
            of[Definition(backbone, dataset, Similarity.parse(similarity))] = made = evidence(ap)
            ap = made.ap
        kind = "copy" if dataset.startswith("copy") else "retrieval"
        weights = "random" if backbone.startswith("random") else "pretrained"
        records.append(record(backbone, dataset, similarity, ap, kind=kind, weights=weights))
    n = len({dataset for _, dataset, _ in cells})
    return Scored(tuple(sorted(records, key=order)), of, n)


def flat(value: float, n: int = 30) -> NDArray[np.float64]:
    return np.full(n, value)


def test_aggregates_by_hand() -> None:
    values = np.array([[0.9, 0.2], [0.5, 0.2], [0.1, 0.8]])
    assert mean_reciprocal_rank(values) == pytest.approx([(1 + 1 / 2) / 2, (1 / 2 + 1 / 2) / 2, (1 / 3 + 1) / 2])
    assert borda(values) == pytest.approx([(1 + 0.25) / 2, (0.5 + 0.25) / 2, (0 + 1) / 2])
    assert mean_z(values) == pytest.approx(stats.zscore(values).mean(axis=1))
    assert mean_z(np.ones((3, 2))).tolist() == [0, 0, 0] and borda(np.ones((1, 2))).tolist() == [0]


def test_rules_choose_one_similarity_for_all_datasets() -> None:
    run = scored(
        {
            ("a", "one", "global"): flat(1.0),
            ("a", "one", "chunked@4"): flat(0.5),
            ("a", "two", "global"): flat(0.2),
            ("a", "two", "chunked@4"): flat(1 / 3),
            ("b", "one", "global"): flat(0.25),
            ("b", "one", "chunked@4"): flat(0.5),
            ("b", "two", "global"): flat(0.25),
            ("b", "two", "chunked@4"): flat(0.5),
        }
    )
    by = {rule: rank(run, rule=rule).standings for rule in ("best", "global", "chunked", "per-dataset", "each")}
    assert [(s.backbone, s.similarity) for s in by["best"]] == [("a", "global"), ("b", "chunked@4")]
    assert [(s.backbone, s.rank) for s in by["global"]] == [("a", 1), ("b", 2)]
    assert [(s.backbone, s.similarity) for s in by["chunked"]] == [("b", "chunked@4"), ("a", "chunked@4")]
    assert by["per-dataset"][0].mean_map == pytest.approx((1 + 1 / 3) / 2)
    assert [(s.backbone, s.similarity, s.rank) for s in by["each"]] == [
        ("a", "global", 1),
        ("b", "chunked@4", 2),
        ("a", "chunked@4", 3),
        ("b", "global", 4),
    ]


def test_groups_have_their_datasets() -> None:
    cells = {
        (name, data, "global"): flat(v)
        for name, of in (("a", (1.0, 0.2)), ("b", (0.5, 0.5)))
        for data, v in zip(("scenes", "copies"), of, strict=True)
    }
    run = scored({(b, d.replace("copies", "copy_x"), s): ap for (b, d, s), ap in cells.items()})
    first = {group: rank(run, group).standings[0].backbone for group in ("all", "retrieval", "synthetic")}
    assert first == {"all": "a", "retrieval": "a", "synthetic": "b"}
    assert rank(run, "synthetic").datasets == ("copy_x",)


def test_equal_backbones_share_a_rank_and_are_not_separable() -> None:
    run = scored({(name, "one", "global"): flat(v) for name, v in (("a", 0.5), ("b", 0.5), ("c", 0.2), ("d", 0.1))})
    found = rank(run)
    assert [(s.backbone, s.rank) for s in found.standings] == [("a", 1), ("b", 1), ("c", 3), ("d", 4)]
    assert found.brackets == ((0, 1),)
    assert (
        found.standings[0].p_next == 1 and found.standings[1].p_next is not None and found.standings[1].p_next < 0.001
    )
    assert found.standings[0].p_top[0] == found.standings[1].p_top[0] == 1 and found.standings[-1].p_next is None


def test_incomplete_and_random_backbones_stand_apart_and_say_why() -> None:
    run = scored(
        {
            ("a", "one", "global"): flat(0.5),
            ("a", "two", "global"): flat(0.5),
            ("b", "one", "global"): flat(1.0),
            ("b", "two", "global"): None,
            ("random net", "one", "global"): flat(1.0),
            ("random net", "two", "global"): flat(1.0),
        }
    )
    found = rank(run)
    assert [s.backbone for s in found.standings] == ["a"] and found.brackets == ()
    assert found.apart == {"b": "it has no score on two", "random net": "its weights are random"}
    assert rank(run, rule="chunked").apart["a"] == "no similarity fits the rule"
    assert rank(run, "synthetic").standings == ()


def noisy(rng: np.random.Generator, quality: float, n: int) -> NDArray[np.float64]:
    """Average precisions 1 or 0.5, whose mean depends on a quality."""
    return np.where(rng.random(n) < quality, 1.0, 0.5)


def test_intervals_cover_the_truth_and_false_separations_are_rare() -> None:
    """120 runs of three backbones, two of which are equally good, over two datasets of 60 queries."""
    rng = np.random.default_rng(0)
    quality = {"a": 0.5, "b": 0.5, "c": 0.8}
    truth = {name: 0.5 + q / 2 for name, q in quality.items()}
    n_runs, covered, separated, first = 120, 0, 0, 0
    for _ in range(n_runs):
        run = scored({(name, d, "global"): noisy(rng, q, 60) for name, q in quality.items() for d in ("one", "two")})
        found = rank(run)
        by_name = {s.backbone: s for s in found.standings}
        for s in found.standings:
            assert s.low is not None and s.high is not None
            covered += s.low <= truth[s.backbone] <= s.high
        first += by_name["c"].rank_low == 1
        places = sorted(found.standings.index(by_name[name]) for name in "ab")
        separated += places[1] - places[0] == 1 and (places[0], places[1]) not in _inside(found.brackets)
    assert covered / (3 * n_runs) == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / (3 * n_runs)))
    assert separated / n_runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n_runs) and first == n_runs


def _inside(brackets: tuple[tuple[int, int], ...]) -> set[tuple[int, int]]:
    return {(at, at + 1) for begin, end in brackets for at in range(begin, end)}


def test_without_evidence_there_are_ranks_and_no_intervals() -> None:
    run = scored({("a", "one", "global"): flat(0.5), ("b", "one", "global"): flat(0.2)})
    found = rank(Scored(run.records, {}, 1))
    assert [(s.rank, s.rank_low, s.rank_high, s.low, s.p_top) for s in found.standings] == [
        (1, None, None, None, ()),
        (2, None, None, None, ()),
    ]
    assert found.brackets == () and found.standings[0].p_next is None


def test_what_one_lost_leaves_the_others_their_intervals_and_tests() -> None:
    rng = np.random.default_rng(0)
    far = {"a": 0.9, "b": 0.7, "c": 0.4, "d": 0.1}
    cells = {(n, d, "global"): rng.uniform(v / 2, v, 40) for n, v in far.items() for d in ("one", "two")}
    run = scored(cells)
    lost = Definition("c", "two", Similarity())
    part = Scored(run.records, {cell: of for cell, of in run.evidence.items() if cell != lost}, 2)
    whole, found = rank(run).standings, rank(part).standings
    assert [s.backbone for s in found] == ["a", "b", "c", "d"]
    assert [(s.low, s.high) for s in found] == [
        (None, None) if s.backbone == "c" else (s.low, s.high) for s in whole
    ] and all(s.low is not None for s in whole)
    assert all(s.rank_low is None and s.p_top == () for s in found)
    # one test is left, and nothing to correct for
    assert [s.p_next is None for s in found] == [False, True, True, True]
    assert found[0].p_next is not None and found[0].p_next <= 1e-4


def test_few_queries_say_nothing_of_how_sure_a_rank_is() -> None:
    few = scored({(name, "one", "global"): flat(v, 4) for name, v in (("a", 0.5), ("b", 0.2))})
    assert [(s.rank, s.rank_low, s.low, s.p_top) for s in rank(few).standings] == [
        (1, None, None, ()),
        (2, None, None, ()),
    ]
    assert few.intervals == {}
    enough = scored({(name, "one", "global"): flat(v, 5) for name, v in (("a", 0.5), ("b", 0.2))})
    assert [(s.rank_low, s.rank_high) for s in rank(enough).standings] == [(1, 1), (2, 2)]


def test_an_interval_holds_its_score_though_resamples_are_rounded() -> None:
    run = scored({("a", "one", "global"): flat(1 / 3), ("b", "one", "global"): flat(1 / 7)})
    (a, b) = rank(run).standings
    for s in (a, b):
        assert s.low is not None and s.high is not None and s.low <= s.mean_map <= s.high
    for (cell, metric), (low, high) in run.intervals.items():
        value = next(r.body["metrics"][metric] for r in run.records if r.cell == cell)
        assert low <= value <= high


def test_the_table_tells_every_group_and_rule() -> None:
    run = scored({(n, d, "global"): flat(v) for n, v in (("a", 0.5), ("b", 0.2)) for d in ("one", "copy_x")})
    table = ranking_table(rankings(run))
    assert set(zip(table["group"], table["rule"], strict=True)) == {
        (group, rule) for group in ("all", "retrieval", "synthetic") for rule in ("best", "global", "per-dataset")
    }
    assert table["p_top5"].isna().all() and table["p_top2"].eq(1).all()


def test_two_records_of_a_cell_that_disagree_are_told(small: Path, tmp_path: Path) -> None:
    chosen = ["run", "--backbones", "dhash", "--datasets", f"disc:{small}", "--similarities", "global"]
    assert CliRunner().invoke(app, [*chosen, "--output", str(tmp_path / "out")]).exit_code == 0
    (path,) = (tmp_path / "out/records").glob("dhash*.json")
    before = read(RunFolder(tmp_path / "out"))
    for name in ("a copy.json", "z copy.json"):
        (path.parent / name).write_bytes(path.read_bytes())
    same = read(RunFolder(tmp_path / "out"))
    assert same.records == before.records and not same.problems
    body = json.loads(path.read_text())
    body["metrics"]["map"] = 1.5
    (path.parent / "a copy.json").write_text(json.dumps(body))
    (path.parent / "z copy.json").write_text(json.dumps(body))
    found = read(RunFolder(tmp_path / "out"))
    assert found.records == before.records and len(found.problems) == 2
    assert f"two records of dhash / disc:small / global disagree: the one in {path.name} counts" in found.problems[0]


def test_a_lost_evidence_is_told_and_the_rest_renders(small: Path, tmp_path: Path) -> None:
    chosen = ["run", "--backbones", "dhash,phash", "--datasets", f"disc:{small}", "--similarities", "global"]
    assert CliRunner().invoke(app, [*chosen, "--output", str(tmp_path / "out")]).exit_code == 0
    whole = read(RunFolder(tmp_path / "out"))
    assert len(whole.evidence) == 2 and not whole.problems
    (path,) = (tmp_path / "out/records").glob("dhash*.npz")
    path.write_bytes(path.read_bytes()[:-1])
    found = read(RunFolder(tmp_path / "out"))
    assert len(found.records) == 2 and len(found.evidence) == 1
    assert len(found.problems) == 1 and path.name in found.problems[0] and "run again" in found.problems[0]
    again = CliRunner().invoke(app, [*chosen, "--output", str(tmp_path / "out")])
    assert again.exit_code == 0 and not read(RunFolder(tmp_path / "out")).problems
