"""Records of one folder that were not measured alike: told in a sentence each, and the rest is shown and ranked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.ranking import rank
from bench.records import RunFolder
from bench.report import tables_of
from bench.scored import read
from tests.conftest import Bench
from tests.run_folders import make_run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path / "run", {"near": 0.4, "mid": 0.8, "far": 1.2}, {"one": 1, "two": 2})


def change(folder: RunFolder, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder.records_path / f"{name}.json"
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (lambda b: b["metric_versions"].update(map=2), "the version of the metric map is 2"),
        (lambda b: b["dataset"].update(manifest_sha256="f" * 64), f'the manifest of one is "{"f" * 64}"'),
        (lambda b: b["dataset"].update(metrics=["map"]), 'the list of metrics of one is ["map"]'),
        (lambda b: b["dataset"].update(kind="retrieval"), 'the kind of one is "retrieval"'),
        (lambda b: b["dataset"].update(limit=10), "--limit is 10"),
        (lambda b: b["preprocess"].update(mode="squash:320"), '--preprocess is "squash:320"'),
        (lambda b: b["postprocess"].update(spec="l2"), '--postprocess is "l2"'),
        (lambda b: b["postprocess"].update(fit_set="photos"), '--background is "photos"'),
    ],
)
def test_what_was_measured_otherwise_is_left_out_and_told(
    run: RunFolder, changed: Callable[[dict[str, Any]], Any], told: str
) -> None:
    change(run, "near--one--global", changed)
    scored = read(run)
    assert [str(record.cell) for record in scored.records if record.cell.backbone == "near"] == ["near / two / global"]
    (sentence,) = [problem for problem in scored.problems if told in problem]
    assert "in the record of near / one / global, left out, and " in sentence and "\n" not in sentence
    found = rank(scored)
    assert [s.backbone for s in found.standings] == ["mid", "far"] and all(s.p_top for s in found.standings)
    assert found.apart == {"near": "it has no score on one"}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (lambda b: b["backbone"].update(weights_sha256="f" * 64), "the weights' sha256 of near is "),
        (lambda b: b["backbone"].update(weights="random"), 'the kind of weights of near is "'),
        (lambda b: b["preprocess"].update(size=320), "the preprocessing of near is "),
        (lambda b: b.update(precision="bf16"), 'the precision of near is "'),
    ],
)
def test_of_two_that_equally_many_have_the_newest_counts(
    run: RunFolder, changed: Callable[[dict[str, Any]], Any], told: str
) -> None:
    change(run, "near--one--global", changed)
    change(run, "near--one--global", lambda body: body.update(created_utc="2026-02-01T00:00:00+00:00"))
    scored = read(run)
    assert [str(record.cell) for record in scored.records if record.cell.backbone == "near"] == ["near / one / global"]
    assert any(told in problem and "of near / two / global, left out" in problem for problem in scored.problems)


def test_what_is_left_out_has_no_vote_on_the_next(run: RunFolder) -> None:
    for name, changed in (
        ("near", lambda body: body["preprocess"].update(mode="squash:320")),
        ("mid", lambda body: body["postprocess"].update(spec="l2")),
        ("far", lambda body: body["metric_versions"].update(map=2)),
    ):
        for dataset in ("one", "two"):
            change(run, f"{name}--{dataset}--global", changed)
    scored = read(run)
    assert len(scored.problems) == 2 and len({record.cell.backbone for record in scored.records}) == 1
    assert len(tables_of(scored).verdicts[0].standings) == 1


def test_a_seed_counts_where_it_decides_scores(run: RunFolder, tmp_path: Path) -> None:
    change(run, "near--one--global", lambda body: body.update(seed=1))
    assert read(run).problems == ()
    random = make_run(tmp_path / "random", {"near": 0.4, "far": 1.2}, {"one": 1}, weights="random", tables=False)
    change(random, "near--random--one--global", lambda body: body.update(seed=1))
    assert [problem.startswith("--seed is ") for problem in read(random).problems[:1]] == [True]


def test_records_without_scores_need_not_agree(run: RunFolder) -> None:
    failed = {"status": "failed", "error": {"phase": "extract", "type": "E", "message": "it broke"}, "evidence": None}
    empty: dict[str, Any] = {"metrics": {}, "n_used": {}, "by_tag": {}, "metric_versions": {}}
    change(run, "near--one--global", lambda body: body.update(failed | empty, precision="bf16"))
    scored = read(run)
    assert scored.problems == () and len(scored.records) == 6


def test_several_devices_stand_in_one_table_and_it_is_said(bench: Bench, run: RunFolder) -> None:
    for name in ("near--one--global", "near--two--global", "mid--two--global"):
        change(run, name, lambda body: body["hardware"].update(device="cuda", gpu="a GPU"))
    ran = bench("report", run.path, "--format", "csv,md")
    sentence = (
        "Measured on several devices, cpu (a CPU, 2 threads); cuda (a GPU, 2 threads): images_per_s compares between "
        "rows of one device alone."
    )
    assert ran.returncode == 0 and sentence in ran.stdout
    assert sentence in (run.path / "leaderboard.md").read_text()
    table = pd.read_csv(run.path / "leaderboard.csv").set_index("backbone")
    assert table["device"].to_dict() == {"near": "cuda", "mid": "cpu, cuda", "far": "cpu"}
    assert table["rank"].notna().all() and table["images_per_s"].isna().to_dict() == {
        "near": False,
        "mid": True,
        "far": False,
    }


def test_the_commands_tell_it_and_go_on(bench: Bench, run: RunFolder) -> None:
    change(run, "near--one--global", lambda body: body["metric_versions"].update(map=2))
    ran = bench("report", run.path, "--format", "csv,md,html")
    told = "the version of the metric map is 2 in the record of near / one / global, left out, and 1 in 5 records"
    assert ran.returncode == 0 and told in ran.stdout, ran.stderr
    assert told in (run.path / "leaderboard.md").read_text() and told in (run.path / "report.html").read_text()
    verified = bench("verify", run.path)
    assert verified.returncode == 3 and told in verified.stdout
    assert bench("select", run.path, "--top", "2").returncode == 0


def test_what_the_run_names_and_no_record_has_is_told(run: RunFolder) -> None:
    for path in run.records_path.glob("near--*.json"):
        path.unlink()
    assert read(run).problems == ("the run has no record of the backbones near: go on with it",)
    for path in run.records_path.glob("*--two--*.json"):
        path.unlink()
    (told,) = read(run).problems
    assert told == "the run has no record of the backbones near and of 1 of its 2 datasets: go on with it"


def test_a_record_that_lacks_a_field_is_told_and_the_rest_renders(run: RunFolder) -> None:
    change(run, "near--one--global", lambda body: body["dataset"].pop("kind"))
    change(run, "mid--one--global", lambda body: body.update(preprocess=None))
    scored = read(run)
    assert [name in problem for name, problem in zip(("mid", "near"), scored.problems, strict=True)] == [True, True]
    assert all(
        "is not a whole record" in problem and "delete it and run again" in problem for problem in scored.problems
    )
    assert [s.backbone for s in tables_of(scored).verdicts[0].standings] == ["far"]


def test_a_folder_without_its_configuration_is_told(bench: Bench, run: RunFolder) -> None:
    (run.path / "run.json").unlink()
    ran = bench("report", run.path)
    assert ran.returncode == 2 and f"the folder {run.path} has no run.json" in ran.stderr and "restore it" in ran.stderr
