"""Tables from records alone: what is missing, what has no rank, and that they can be rebuilt."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.console import print_rows
from bench.ranking import competition_ranks
from bench.records import Record, order
from bench.report import leaderboard, scores
from bench.report.text import markdown, missing, shown
from bench.scored import Scored
from tests.conftest import Bench


@pytest.fixture(scope="module")
def folder(bench: Bench, small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with four cells."""
    out = tmp_path_factory.mktemp("report") / "out"
    ran = bench("run", "--backbones", "dhash,pdq", "--datasets", f"disc:{small}", "--output", out)
    assert ran.returncode == 0, ran.stderr
    return out


Make = Callable[..., Record]

NC = {"licence": "CC-BY-NC-4.0", "non_commercial": True}


@pytest.fixture
def make(folder: Path) -> Make:
    """Records like the real ones, with other names and scores."""
    body = json.loads(next((folder / "records").glob("pdq*global*.json")).read_text())

    def record(
        backbone: str,
        dataset: str,
        value: float | None,
        weights: str = "pretrained",
        status: str = "ok",
        limit: int | None = None,
    ) -> Record:
        made: dict[str, Any] = copy.deepcopy(body)
        made["status"] = status
        made["backbone"] |= {"name": backbone, "weights": weights}
        made["dataset"] |= {"name": dataset, "kind": "retrieval", "metrics": ["map", "map_rop"], "limit": limit}
        made["metrics"] = {} if value is None else {"map": value, "map_rop": value / 2}
        made["throughput"] = None if value is None else made["throughput"] | {"images_per_s": 10.0, "n_images": 30}
        made["error"] = None if status == "ok" else {"phase": "weights", "type": "E", "message": f"no {backbone}"}
        return Record(made)

    return record


def of(records: list[Record], n_datasets: int = 1) -> Scored:
    """Records as a run of so many datasets, sorted, without evidence."""
    return Scored(tuple(sorted(records, key=order)), {}, n_datasets)


def text_of(records: list[Record]) -> str:
    return markdown(leaderboard(of(records)), of(records), [])


def test_an_incomplete_row_has_no_rank_and_no_mean(make: Make) -> None:
    records = [
        make("a", "one", 0.5),
        make("a", "two", 0.7),
        make("b", "one", 0.9),
        make("b", "two", None, status="failed"),
    ]
    table = leaderboard(of(records, 2)).set_index("backbone")
    assert list(table.index) == ["a", "b"] and table.loc["a", "rank"] == 1 and table.loc["a", "mean_map"] == 0.6
    assert (
        pd.isna(table.loc["b", "rank"]) and pd.isna(table.loc["b", "mean_map"]) and pd.isna(table.loc["b", "two.map"])
    )
    assert table.loc["b", "one.map"] == 0.9 and table.loc["b", "status"] == "failed"
    assert list(table["n_datasets"]) == [2, 1] and list(table["complete"]) == [True, False]


def test_a_dataset_without_a_value_leaves_no_mean_and_it_is_said(make: Make) -> None:
    records = [make("a", "one", 0.5), make("a", "two", None), make("b", "one", 0.4), make("b", "two", 0.6)]
    run = of(records, 2)
    table = leaderboard(run).set_index("backbone")
    assert table.loc["b", "mean_map"] == 0.5 and table.loc["b", "rank"] == 1
    assert pd.isna(table.loc["a", "mean_map"]) and pd.isna(table.loc["a", "rank"]) and table.loc["a", "complete"]
    assert "a has no rank: it has no score on two." in markdown(leaderboard(run), run, [])


def test_random_weights_are_never_ranked_beside_real_ones(make: Make) -> None:
    records = [make("a", "one", 0.5), make("b", "one", 0.9, weights="random"), make("c", "one", 0.4, weights="none")]
    table = leaderboard(of(records, 1)).set_index("backbone")
    assert table["rank"].astype(object).where(table["rank"].notna(), None).to_dict() == {"a": 1, "c": 2, "b": None}
    assert "weights=random" in text_of(records)


def test_licences_that_forbid_commercial_use_are_marked(make: Make) -> None:
    records = [make("a", "one", 0.5), make("b", "one", 0.9)]
    records[1] = Record({**records[1].body, "backbone": {**records[1].body["backbone"], **NC}})
    table = leaderboard(of(records, 1))
    assert list(table["licence"]) == ["CC-BY-NC-4.0", ""] and list(table["non_commercial"]) == [True, False]
    text = text_of(records)
    assert "| b†" in text and "a†" not in text and text.count("forbids commercial use") == 1
    assert "forbids" not in text_of(records[:1])


def test_changed_preprocessing_and_post_processing_are_told(make: Make) -> None:
    body = dict(make("a", "one", 0.5).body)
    assert "Preprocessing" not in text_of([Record(body)])
    body["preprocess"] = body["preprocess"] | {"mode": "squash:320"}
    body["postprocess"] = body["postprocess"] | {"spec": "pcaw64,l2", "fit_set": "photos"}
    text = text_of([Record(body)])
    assert "Preprocessing of all rows: squash:320." in text
    assert "Post-processing of all rows: pcaw64,l2, fitted on photos." in text


def test_a_run_that_was_killed_has_no_complete_rows(bench: Bench, small: Path, tmp_path: Path) -> None:
    """One dataset of two has records so far."""
    out = tmp_path / "out"
    bench("run", "--backbones", "dhash", "--datasets", f"disc:{small},demo_retrieval", "--output", out)
    for path in (out / "records").glob("*demo_retrieval*"):
        path.unlink()
    assert bench("report", out).returncode == 0
    table = pd.read_csv(out / "leaderboard.csv")
    assert len(table) == 2 and table["rank"].isna().all() and not table["complete"].any()


def test_names_that_read_as_one_number_stay_apart(make: Make) -> None:
    table = leaderboard(of([make("net1", "one", 0.5), make("net01", "one", 0.6)], 1))
    assert list(table["backbone"]) == ["net01", "net1"]


def test_equal_scores_share_a_rank() -> None:
    assert competition_ranks([0.5, 0.9, None, 0.5, 0.1]) == [2, 1, None, 2, 4]
    assert competition_ranks([None]) == [None]


def test_missing_is_an_empty_cell_never_zero(make: Make) -> None:
    records = [make("a", "one", 0.0), make("b", "one", None, status="unavailable")]
    lines = leaderboard(of(records, 1)).to_csv(index=False).splitlines()
    assert lines[1].startswith("1,,,a,global,pretrained,ok,0.0,0.0,0.0,,,1,True,,256,0.0,10.0,cpu")
    assert lines[2].startswith(",,,b,global,pretrained,unavailable,,,,,,0,False,,256,0.0,,cpu")
    long = scores(of(records))
    assert long[long["backbone"] == "b"]["value"].isna().all()
    assert missing(records) == {"unavailable: no b": ["b"]}
    assert "- b: unavailable: no b" in text_of(records)


def test_speed_is_over_all_images(make: Make) -> None:
    fast, slow = make("a", "one", 0.5), make("a", "two", 0.5)
    fast.body["throughput"].update(images_per_s=100.0, n_images=100)
    slow.body["throughput"].update(images_per_s=10.0, n_images=10)
    assert leaderboard(of([fast, slow], 2))["images_per_s"].tolist() == [55.0]


def test_columns_follow_the_datasets_in_natural_order(make: Make) -> None:
    columns = list(leaderboard(of([make("a", "d10", 0.1), make("a", "d9", 0.1)], 2)).columns)
    assert columns.index("d9.map") < columns.index("d9.map_rop") < columns.index("d10.map")


def test_a_sample_is_marked(make: Make) -> None:
    whole, sample = make("a", "one", 0.5), make("a", "one", 0.9, limit=10)
    assert leaderboard(of([sample]))["limit"].tolist() == [10] and leaderboard(of([whole]))["limit"].isna().all()
    assert "limit=10: a sample" in text_of([sample]) and "sample of" not in text_of([whole])


def test_the_main_metric_is_shown_and_a_metric_that_is_no_share_is_no_percent(make: Make) -> None:
    one = make("a", "one", 0.5)
    one.body["dataset"]["metrics"] = ["map_rop[M]", "map_rop[E]", "map"]
    one.body["metrics"] = {"map_rop[M]": 0.25, "map_rop[E]": 0.75, "map": 0.5}
    objects = make("a", "two", 0.5)
    objects.body["dataset"]["metrics"] = ["ns_score", "map"]
    objects.body["metrics"] = {"ns_score": 3.5, "map": 0.5}
    levels = make("a", "z", 0.5)
    levels.body["dataset"]["metrics"] = ["pearson"]
    levels.body["metrics"] = {"pearson": 0.125}
    table = leaderboard(of([one, objects, levels], 3))
    headings, rows = shown(table)
    assert dict(zip(headings, rows[0], strict=True)) == {
        "rank": "1",
        "backbone": "a",
        "similarity": "global",
        "weights": "pretrained",
        "mean_map %": "50.0",
        "one.map_rop[M] %": "25.0",
        "one.map %": "50.0",
        "two.ns_score": "3.5",
        "two.map %": "50.0",
        "z.pearson %": "12.5",
        "images_per_s": "10.0",
    }


def test_report_rebuilds_the_tables_from_the_records(bench: Bench, folder: Path) -> None:
    tables = {path.name: path.read_bytes() for path in folder.glob("*.csv")} | {
        path.name: path.read_bytes() for path in folder.glob("*.md")
    }
    for name in tables:
        (folder / name).unlink()
    ran = bench("report", folder)
    assert ran.returncode == 0 and "leaderboard.csv" in ran.stdout
    assert {name: (folder / name).read_bytes() for name in tables} == tables


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "can't be read as JSON"),
        ('{"a": NaN}', "it holds NaN"),
        ("[]", "is not a JSON object"),
        ('{"schema_version": 99}', "has schema 99"),
    ],
)
def test_a_file_that_is_no_record_is_named(content: str, told: str, bench: Bench, folder: Path) -> None:
    wrong = folder / "records/zz.json"
    wrong.write_text(content)
    ran = bench("report", folder)
    wrong.unlink()
    assert ran.returncode == 0 and told in ran.stdout and "zz.json" in ran.stdout and "4 of 4 cells" in ran.stdout


def test_a_folder_without_records_is_told(bench: Bench, tmp_path: Path) -> None:
    ran = bench("report", tmp_path)
    assert ran.returncode == 2 and "holds no records" in ran.stderr


@pytest.mark.parametrize("what", ["backbones", "datasets", "similarities", "metrics"])
def test_list(what: str, bench: Bench) -> None:
    rows = json.loads(bench("list", what, "--json").stdout)
    shown = bench("list", what).stdout
    assert len(rows) >= 3 and all(row["name"] in shown for row in rows)
    if what == "backbones":
        states = {row["name"]: row["weights"] for row in rows}
        found = [states[name] for name in ("efficientnet_lite0", "pdq", "dino")]
        assert found == ["here", "none needed", "downloadable"]
        assert all({"source", "licence", "embed_dim"} <= row.keys() for row in rows)


def test_help_imports_nothing_heavy(bench: Bench) -> None:
    import subprocess
    import sys

    from tests.conftest import ROOT

    code = (
        "import sys; sys.argv = ['bench', '--help']\n"
        "from bench.cli import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'timm', 'pandas', 'numpy') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0 and ran.stdout.endswith("[]\n") and "run" in ran.stdout


def test_names_are_text_on_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([{"name": "folder:cat: [bold]chunked@16[norm=chunk]"}])
    assert "folder:cat: [bold]chunked@16[norm=chunk]" in capsys.readouterr().out


def test_names_end_no_cell_of_markdown_and_begin_no_tag(make: Make) -> None:
    name = r"a|b<script>\\"
    records = [make(name, "one", 0.5), make("c", "one", 0.4)]
    row = next(line for line in text_of(records).splitlines() if "script" in line)
    assert r"| a\|b&lt;script>\\\\ " in row
    head = next(line for line in text_of(records).splitlines() if line.startswith("|:"))
    assert len(re.findall(r"(?<!\\)\|", row)) == head.count("|")
