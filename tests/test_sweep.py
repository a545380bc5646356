"""Braces, gains against resampling cell by cell, the command on a real run."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from bench import cli_sweep
from bench.cli import app
from bench.errors import UsageError
from bench.evidence import Evidence
from bench.metrics import Judged, Ranks
from bench.plan import Definition
from bench.records import Record, RunFolder, order
from bench.scored import Scored
from bench.similarity import Similarity
from bench.similarity.spec import MOST, parse_all
from bench.sweep import COLUMNS, gains, left_out, lines, table
from bench.uncertainty import interval
from tests.conftest import ROOT, Bench
from tests.run_folders import record_body

Cells = Mapping[tuple[str, str, str], NDArray[np.int64] | None]


def evidence(ranks: NDArray[np.int64]) -> Evidence:
    """One positive a query, at these ranks; none where the rank is below 0."""
    n, asked = len(ranks), ranks >= 0
    found = Ranks(ranks[asked], np.flatnonzero(asked), n)
    ids = tuple(f"q{number}" for number in range(n))
    judged = Judged(found, found.values, asked.astype(np.int64))
    return Evidence.of({"": judged}, ids, (), np.zeros((n, 1), np.int64), np.zeros((n, 1), np.float32))


def scored(cells: Cells, weights: str = "pretrained", **changed: Any) -> Scored:
    """A run of (backbone, dataset, similarity) -> ranks of each query's positive; None: the cell failed."""
    records, of = [], {}
    for (backbone, dataset, similarity), ranks in cells.items():
        body = record_body(backbone, dataset, weights)
        body["similarity"]["spec"] = similarity
        body["dataset"] |= {"metrics": ["map"], "kind": "copy"}
        body["postprocess"]["pca_dim"] = None
        body |= {"by_tag": {}, "metrics": {}, "n_used": {}, "status": "failed" if ranks is None else "ok"}
        if ranks is not None:
            of[Definition(backbone, dataset, Similarity.parse(similarity))] = made = evidence(ranks)
            body["metrics"]["map"] = float(np.nanmean(made.ap))
            body["n_used"]["map"] = int((ranks >= 0).sum())
        for part, values in changed.items():
            body[part] = body[part] | values
        records.append(Record(body))
    return Scored(tuple(sorted(records, key=order)), of, len({dataset for _, dataset, _ in cells}))


def drawn(seed: int, n: int = 40) -> NDArray[np.int64]:
    """Ranks of 0 to 4; of one query in ten none."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(n) < 0.1, -1, rng.integers(0, 5, n))


def no_better(ranks: NDArray[np.int64], by: int) -> NDArray[np.int64]:
    return np.where(ranks < 0, -1, ranks + by)


# braces


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("global,chunked@{2,4}[norm=chunk]", ["global", "chunked@2[norm=chunk]", "chunked@4[norm=chunk]"]),
        (
            "chunked@{2,16}{,[norm=chunk]}",
            ["chunked@2", "chunked@2[norm=chunk]", "chunked@16", "chunked@16[norm=chunk]"],
        ),
        ("{global,{cross,chunked}@tokens}", ["global", "cross@tokens", "chunked@tokens"]),
        ("chunked@{2..4}", ["chunked@2", "chunked@3", "chunked@4"]),
        ("chunked@{16}", ["chunked@16"]),
        ("global, chunked@2,global", ["global", "chunked@2"]),
    ],
)
def test_braces_of_similarities(text: str, names: list[str]) -> None:
    assert [str(similarity) for similarity in parse_all(text)] == names


@pytest.mark.parametrize("text", ["chunked@{2,4", "chunked@2,4}", "{", "}", "global,{chunked@2"])
def test_a_brace_alone_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"the braces in '{text}' are no pairs: write chunked@{{2,4,8}}")):
        parse_all(text)


def test_more_similarities_than_anyone_means_are_refused_before_they_are_made() -> None:
    assert len(parse_all(f"chunked@{{1..{MOST}}}")) == MOST
    for text in (f"chunked@{{1..{MOST + 1}}}", "chunked@" + "{1,2}" * 60, "chunked@{1..1000000000000}"):
        with pytest.raises(UsageError, match="stands for more than 1,000 similarities: write fewer"):
            parse_all(text)


# gains


def test_a_gain_is_the_difference_of_means_over_datasets() -> None:
    cells = {
        ("net", "a", "global"): np.array([0, 0, 1, 1]),  # mAP 0.75
        ("net", "b", "global"): np.array([0, 3, -1, -1]),  # 0.625
        ("net", "a", "chunked@4"): np.array([0, 0, 0, 1]),  # 0.875
        ("net", "b", "chunked@4"): np.array([0, 0, -1, -1]),  # 1
        ("net", "a", "cross@tokens"): np.array([0, 0, 0, 0]),
        ("net", "b", "cross@tokens"): np.array([0, 0, -1, -1]),
    }
    run = scored(cells)
    (gain,) = gains(run)
    assert str(gain.line.similarity) == "chunked@4" and len(gain.line.cells) == 2
    assert (gain.over.mean_map, gain.line.mean_map, gain.value) == (0.6875, 0.9375, 0.25)
    assert [str(line.similarity) for line in lines(run)] == ["global", "chunked@4", "cross@tokens"]


def test_the_interval_is_that_of_both_resampled_alike() -> None:
    cells = {
        ("net", dataset, similarity): drawn(number + (10 if similarity == "global" else 0))
        for number, (dataset, similarity) in enumerate(
            (d, s) for d in ("a", "b") for s in ("global", "chunked@2", "chunked@4[norm=chunk]")
        )
    }
    # the same queries have an answer
    asked = {dataset: drawn(99 + at) >= 0 for at, dataset in enumerate("ab")}
    cells = {key: np.where(asked[key[1]], np.abs(ranks), -1) for key, ranks in cells.items()}
    run = scored(cells)
    for gain in gains(run):
        total = np.zeros(1000)
        for cell in gain.line.cells:
            dataset = cell.cell.dataset
            ours, theirs = (run.evidence[Definition("net", dataset, s)] for s in (gain.line.similarity, Similarity()))
            for number, weights in enumerate(run.weights(dataset, 40).astype(int)):
                better = np.repeat(ours.ap, weights), np.repeat(theirs.ap, weights)
                total[number] += (np.nanmean(better[0]) - np.nanmean(better[1])) / 2
        expected = interval(total, min(int(of.sum()) for of in asked.values()))
        assert (gain.low, gain.high) == pytest.approx(expected, abs=1e-6)
        assert gain.low is not None and gain.high is not None and gain.low < gain.value < gain.high


def test_what_is_worse_for_every_query_is_worse_for_sure_and_what_is_equal_is_equal() -> None:
    ranks = drawn(3)
    cells = {
        ("net", "a", "global"): ranks,
        ("net", "a", "chunked@2"): ranks,
        ("net", "a", "chunked@4"): no_better(ranks, 1),
    }
    same, worse = gains(scored(cells))
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert worse.high is not None and worse.high < 0


def test_only_whole_rows_are_compared_and_without_evidence_there_is_no_interval() -> None:
    cells: dict[tuple[str, str, str], NDArray[np.int64] | None] = {
        (backbone, dataset, similarity): drawn(1)
        for backbone in ("half", "whole", "without_global")
        for dataset in ("a", "b")
        for similarity in ("global", "chunked@2")
    }
    cells["half", "b", "chunked@2"] = None
    for dataset in ("a", "b"):
        del cells["without_global", dataset, "global"]
    run = scored(cells)
    assert [gain.line.backbone for gain in gains(run)] == ["whole"]
    lost = {cell: of for cell, of in run.evidence.items() if cell.dataset != "b"}
    (gain,) = gains(Scored(run.records, lost, 2))
    assert gain.value == 0 and (gain.low, gain.high) == (None, None)


def test_the_table_is_in_full_precision_and_in_the_order_of_all_tables() -> None:
    cells = {
        (backbone, "a", similarity): np.array([0, 2, rank])
        for rank, backbone in enumerate(("net10", "net9"))
        for similarity in ("chunked@16", "global", "chunked@4[norm=chunk]", "chunked@4")
    }
    rows = list(csv.DictReader(table(gains(scored(cells))).to_csv(index=False).splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["backbone"], row["similarity"]) for row in rows] == [
        (backbone, similarity)
        for backbone in ("net9", "net10")
        for similarity in ("chunked@4[norm=chunk]", "chunked@4", "chunked@16")
    ]
    assert rows[0]["mean_map"] == rows[0]["global_mean_map"] == repr(float(np.mean([1, 1 / 3, 1 / 2])))
    assert (rows[0]["chunks"], rows[0]["norm"], rows[0]["n_datasets"], rows[0]["gain"]) == ("4", "chunk", "1", "0.0")
    assert table([]).columns.tolist() == list(COLUMNS)
    documented = (ROOT / "docs/figures.md").read_text().partition("### gains.csv")[2]
    assert re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", documented, re.M))) == list(COLUMNS)


def test_what_has_no_cells_since_it_does_not_divide_is_told() -> None:
    run = scored({("net", "a", "global"): drawn(1), ("net", "a", "chunked@4"): drawn(2)})  # of 16 dimensions
    asked = [Similarity.parse(spec) for spec in ("global", "chunked@3", "chunked@4", "chunked@5[norm=chunk]")]
    told = "net: chunked@3, chunked@5[norm=chunk] left out, K has to divide its 16 dimensions"
    assert left_out(run, asked) == [told]
    assert left_out(run, asked[::2]) == []
    reduced = scored({("net", "a", "global"): drawn(1)}, postprocess={"pca_dim": 15})
    assert left_out(reduced, asked) == ["net: chunked@4 left out, K has to divide its 15 dimensions"]


# the command


def test_the_command_has_the_options_of_run_and_shows_what_a_run_left(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    told: dict[str, Any] = {}

    def execute(
        backbones: Annotated[str, typer.Option(help="Which.")] = "all",
        similarities: Annotated[str, typer.Option()] = "global",
        sweeps: bool = False,
    ) -> tuple[RunFolder, bool]:
        told.update(backbones=backbones, similarities=similarities, sweeps=sweeps)
        named = ",".join(map(str, parse_all(similarities)))
        options = ["--backbones", backbones, "--datasets", f"disc:{small}", "--similarities", named]
        ran = CliRunner().invoke(app, ["run", *options, "--output", str(folder)])
        assert ran.exit_code == 0, ran.output
        return RunFolder.existing(folder), True

    commands = typer.Typer()
    commands.command()(cli_sweep.command(execute))
    shown = CliRunner().invoke(commands, ["--help"]).output
    assert "--backbones" in shown and "Which." in shown and "--sweeps" not in shown
    assert "chunked@{2,4,8,16,32,64}" in re.sub(r"\s", "", shown)
    ran = CliRunner().invoke(commands, ["--backbones", "dhash,color", "--similarities", "chunked@{2,4}"])
    assert ran.exit_code == 3  # as the run says
    assert told == {"backbones": "dhash,color", "similarities": "global,chunked@2,chunked@4", "sweeps": True}
    written = pd.read_csv(folder / "gains.csv")
    leaderboard = pd.read_csv(folder / "leaderboard.csv").set_index(["backbone", "similarity"])["mean_map"]
    assert written["backbone"].tolist() == ["color"] * 2 + ["dhash"] * 2
    for row in written.to_dict("records"):
        assert row["mean_map"] == leaderboard[row["backbone"], row["similarity"]]
        assert row["gain"] == pytest.approx(row["mean_map"] - leaderboard[row["backbone"], "global"])
        assert row["gain_low"] <= row["gain"] <= row["gain_high"]
        points = re.escape(f"{100 * row['gain']:+.1f}")
        assert re.search(rf"{row['backbone']} .* {row['similarity']} .*{points}", ran.output)
    found = {path.name for path in (folder / "figures").iterdir()}
    assert found == {f"{name}.{kind}" for name in ("chunks", "gain") for kind in ("pdf", "svg", "png", "txt")}


def test_a_sweep_in_which_nothing_divides_is_told(bench: Bench, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    what = ["--backbones", "dhash", "--datasets", f"disc:{small}", "--similarities", "chunked@{3,5}"]
    ran = bench("sweep", *what, "--output", out)
    assert ran.returncode == 2
    assert "dhash: chunked@3, chunked@5 left out, K has to divide its 64 dimensions" in ran.stdout
    assert "the sweep has no gain to show: name numbers of chunks that divide the descriptors" in ran.stderr
    assert not (out / "gains.csv").exists() and (out / "leaderboard.csv").exists()
