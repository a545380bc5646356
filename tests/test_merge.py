"""Runs of several machines as one folder: what fits is whole in it, what does not is refused with its reason."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import merge as merging
from bench.errors import UsageError
from bench.merge import merge
from bench.records import CONFIG, Config, RunFolder
from bench.report import write_tables
from bench.scored import read
from bench.verify_run import problems
from tests.conftest import Bench
from tests.run_folders import make_run

DATA = {"one": 1, "two": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two machines, which have one cell in common."""
    place = tmp_path_factory.mktemp("runs")
    make_run(place / "a", {"near": 0.4, "both": 0.8}, DATA)
    folder = make_run(place / "b", {"far": 1.2, "both": 0.8}, DATA)
    for suffix in ("json", "npz"):
        (folder.records_path / f"both--two--global.{suffix}").unlink()
    for path in folder.records_path.glob("*.json"):
        change(folder, path.stem, lambda body: body["hardware"].update(device="cuda", cpu="another CPU"))
        change(folder, path.stem, lambda body: body.update(run_id="b" * 16))
    configure(folder, device="cuda", batch_size=256)
    return place


@pytest.fixture
def a(made: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(shutil.copytree(made / "a", tmp_path / "a"))


@pytest.fixture
def b(made: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(shutil.copytree(made / "b", tmp_path / "b"))


def change(folder: RunFolder, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder.records_path / f"{name}.json"
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


def configure(folder: RunFolder, **changed: object) -> None:
    path = folder.path / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_what_fits_is_whole_in_one_folder(a: RunFolder, b: RunFolder, tmp_path: Path) -> None:
    merged = merge([a.path, b.path], tmp_path / "all")
    names = {path.name for path in merged.records_path.iterdir()}
    assert names == {path.name for folder in (a, b) for path in folder.records_path.glob("*.*s*")} | {
        path.name for folder in (a, b) for path in folder.records_path.glob("*.npz")
    }
    for path in merged.records_path.iterdir():
        first = a if (a.records_path / path.name).exists() else b
        assert path.read_bytes() == (first.records_path / path.name).read_bytes()
    write_tables(merged.path, read(merged))
    assert list(problems(merged.path, read(merged))) == []
    table = pd.read_csv(merged.path / "leaderboard.csv").set_index("backbone")
    assert table["rank"].notna().all() and set(table.index) == {"near", "both", "far"}
    assert table["device"].to_dict() == {"near": "cpu", "both": "cpu", "far": "cuda"}
    assert not list(tmp_path.glob(".making-*"))


def test_it_says_what_it_is_merged_from_and_no_run_goes_on_in_it(a: RunFolder, b: RunFolder, tmp_path: Path) -> None:
    merged = merge([a.path, b.path], tmp_path / "all")
    config = merged.config()
    assert [part["folder"] for part in config[merging.MERGED_FROM]] == [str(a.path), str(b.path)]
    assert [part["device"] for part in config[merging.MERGED_FROM]] == ["cpu", "cuda"]
    assert (config["backbones"], config["datasets"]) == (["both", "far", "near"], ["one", "two"])
    # whatever one asks for: no run has a device of that name
    wanted = Config(("both",), ("one",), ("global",), "pretrained", 0, "cpu", 32)
    with pytest.raises(UsageError, match=r"merged from other runs|device was None, now cpu"):
        RunFolder.open(merged.path, wanted, overwrite=False)


def test_a_merged_folder_merges_again(a: RunFolder, b: RunFolder, tmp_path: Path) -> None:
    third = make_run(tmp_path / "c", {"third": 0.6}, {"one": 1, "two": 2})
    merged = merge([merge([a.path, b.path], tmp_path / "ab").path, third.path], tmp_path / "abc")
    assert {record.cell.backbone for record in merged.records()} == {"near", "both", "far", "third"}


def test_a_cell_with_scores_takes_the_place_of_one_that_failed(a: RunFolder, b: RunFolder, tmp_path: Path) -> None:
    error = {"phase": "extract", "type": "E", "message": "it broke"}
    empty = {"metrics": {}, "n_used": {}, "by_tag": {}, "evidence": None}
    change(a, "both--one--global", lambda body: body.update(status="failed", error=error, **empty))
    (a.records_path / "both--one--global.npz").unlink()
    for order in ([a.path, b.path], [b.path, a.path]):
        merged = merge(order, tmp_path / f"all{order[0].name}")
        assert {record.status for record in merged.records()} == {"ok"}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (lambda body: body["metrics"].update(map=0.5), "map of both / one / global is "),
        (lambda body: body["by_tag"]["even"]["map"].update(value=0.5), "even of both / one / global is "),
        (lambda body: body["dataset"].update(manifest_sha256="f" * 64), "the manifest of one is "),
        (lambda body: body["dataset"].update(metrics=["map"]), "the list of metrics of one is "),
        (lambda body: body["dataset"].update(kind="retrieval"), "the kind of one is copy "),
        (lambda body: body["backbone"].update(weights_sha256="f" * 64), "the weights' sha256 of both is "),
        (lambda body: body["backbone"].update(weights="random"), "the kind of weights of both is pretrained "),
        (lambda body: body["preprocess"].update(size=320), "the preprocessing of both is "),
        (lambda body: body.update(precision="bf16"), "the precision of both is fp32 "),
        (lambda body: body["metric_versions"].update(map=2), "the version of the metric map is 1 "),
    ],
)
def test_records_that_do_not_fit_are_refused(
    a: RunFolder, b: RunFolder, tmp_path: Path, changed: Callable[[dict[str, Any]], Any], told: str
) -> None:
    change(b, "both--one--global", changed)
    with pytest.raises(UsageError) as raised:
        merge([a.path, b.path], tmp_path / "all")
    sentence = str(raised.value)
    assert told in sentence and f"in {a.path} and " in sentence and str(b.path) in sentence and "\n" not in sentence
    assert not (tmp_path / "all").exists() and not list(tmp_path.glob(".making-*"))


@pytest.mark.parametrize(
    ("name", "value", "changed"),
    [
        ("preprocess", "squash:320", lambda body: body["preprocess"].update(mode="squash:320")),
        ("postprocess", "pcaw64,l2", lambda body: body["postprocess"].update(spec="pcaw64,l2")),
        ("background", "photos", lambda body: body["postprocess"].update(fit_set="photos")),
        ("limit", 10, lambda body: body["dataset"].update(limit=10)),
    ],
)
def test_runs_that_were_told_otherwise_are_refused(
    a: RunFolder, b: RunFolder, tmp_path: Path, name: str, value: object, changed: Callable[[dict[str, Any]], Any]
) -> None:
    for path in b.records_path.glob("*.json"):
        change(b, path.stem, changed)
    with pytest.raises(UsageError, match=rf"don't fit together: --{name} is .* and {value} in "):
        merge([a.path, b.path], tmp_path / "all")


def test_a_run_of_random_weights_does_not_fit_one_of_real_ones(a: RunFolder, b: RunFolder, tmp_path: Path) -> None:
    configure(b, weights="random")
    with pytest.raises(UsageError, match=r"--weights is pretrained in .* and random in "):
        merge([a.path, b.path], tmp_path / "all")


def test_a_seed_counts_where_it_decides_scores(a: RunFolder, b: RunFolder, tmp_path: Path) -> None:
    configure(b, seed=1)
    for path in b.records_path.glob("*.json"):
        change(b, path.stem, lambda body: body.update(seed=1))
    assert merge([a.path, b.path], tmp_path / "all").config()["seed"] is None
    for folder in (a, b):
        for path in folder.records_path.glob("*.json"):
            change(folder, path.stem, lambda body: body["dataset"].update(limit=10))
    with pytest.raises(UsageError, match=r"--seed is 0 in .* and 1 in "):
        merge([a.path, b.path], tmp_path / "sample")


def test_another_schema_is_refused(a: RunFolder, b: RunFolder, tmp_path: Path) -> None:
    change(b, "far--one--global", lambda body: body.update(schema_version=2))
    with pytest.raises(UsageError, match=r"far--one--global\.json has schema 2"):
        merge([a.path, b.path], tmp_path / "all")


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"other")])
def test_lost_evidence_is_refused(a: RunFolder, b: RunFolder, tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    spoil(b.records_path / "far--one--global.npz")
    with pytest.raises(UsageError, match=r"the evidence of far / one / global in .* is lost or damaged"):
        merge([a.path, b.path], tmp_path / "all")


def test_a_folder_that_is_there_or_alone_is_refused(a: RunFolder, b: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is there already"):
        merge([a.path, b.path], a.path)
    with pytest.raises(UsageError, match="nothing to merge"):
        merge([a.path], tmp_path / "all")
    with pytest.raises(UsageError, match="holds no records"):
        merge([a.path, tmp_path / "nothing"], tmp_path / "all")


def test_halves_say_what_the_whole_run_says(a: RunFolder, b: RunFolder, tmp_path: Path) -> None:
    whole = make_run(tmp_path / "whole", {"near": 0.4, "both": 0.8, "far": 1.2}, DATA)
    merged = merge([a.path, b.path], tmp_path / "all")
    write_tables(merged.path, read(merged))
    for name in ("scores.csv", "ranking.csv", "breakdown.csv"):
        assert (merged.path / name).read_text() == (whole.path / name).read_text()


def test_the_merge_command(bench: Bench, a: RunFolder, b: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "all"
    ran = bench("merge", a.path, b.path, "--output", out)
    assert ran.returncode == 0 and "6 of 6 cells have scores" in ran.stdout, ran.stderr
    assert f"written: {out / 'leaderboard.csv'}" in ran.stdout
    assert bench("select", out).returncode == 0
    again = bench("run", "--backbones", "dhash", "--output", out)
    assert again.returncode == 2 and re.search("is merged from|belongs to another run", again.stderr)
    change(b, "far--one--global", lambda body: body["dataset"].update(limit=10))
    ran = bench("merge", a.path, b.path, "--output", tmp_path / "other")
    assert ran.returncode == 2 and "don't fit together: --limit is None in" in ran.stderr
