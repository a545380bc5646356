"""Scores by tag: the table of a real run against counting by hand, and the section for people."""

import copy
import csv
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from bench.cli import app
from bench.plugins import datasets
from bench.records import Record, RunFolder
from bench.report import write_tables
from bench.report.breakdown import COLUMNS, breakdown, sections
from bench.scored import Scored
from tests.test_copyedits import make_photos


@pytest.fixture(scope="module")
def source(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("source") / "photos", photo)


@pytest.fixture(scope="module")
def folder(source: Path, small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of dhash over the suite of some images, and over a dataset without tags."""
    out = tmp_path_factory.mktemp("breakdown") / "out"
    options = ["--datasets", f"copyedits:{source},disc:{small}", "--similarities", "global,chunked@16"]
    ran = CliRunner().invoke(app, ["run", "--backbones", "dhash", *options, "--output", str(out)])
    assert ran.exit_code == 0, ran.exception
    return out


def test_the_table_of_a_run_is_what_counting_gives(folder: Path, source: Path) -> None:
    split = datasets.select(f"copyedits:{source}")[0].item.load()
    bits = [
        np.stack([imagehash.dhash(Image.open(image.path).convert("RGB")).hash.ravel() for image in images])
        for images in (split.queries, split.database)
    ]
    scores = 1 - 2 * (bits[0][:, None] != bits[1][None]).mean(axis=2)
    is_match = np.zeros(scores.shape, bool)
    for query, positives in enumerate(split.ground_truth.positives):
        is_match[query, positives] = True
    table = pd.read_csv(folder / "breakdown.csv")
    assert tuple(table.columns) == COLUMNS and set(table["dataset"]) == {"copyedits:photos"}
    assert not table.duplicated(["similarity", "tag", "metric"]).any()
    found = table[table["similarity"] == "global"].set_index(["tag", "metric"])
    tags = list(dict.fromkeys(tag for of_query in split.tags for tag in of_query))
    assert list(dict.fromkeys(found.index.get_level_values("tag"))) == tags and len(tags) == 19
    for tag in tags:
        tagged = [query for query, of_query in enumerate(split.tags) if tag in of_query and is_match[query].any()]
        hits = [scores[q][is_match[q]].max() > scores[q][~is_match[q]].max() for q in tagged]
        assert found.loc[(tag, "hit@1"), ["value", "n_queries"]].tolist() == [np.mean(hits), len(tagged)]
        pooled = [*tagged, *np.flatnonzero(~is_match.any(axis=1))]
        pairs = sorted((-scores[q, d], is_match[q, d]) for q in pooled for d in range(scores.shape[1]))
        precisions = [n / place for n, place in zip(*_places([match for _, match in pairs]), strict=True)]
        expected = [sum(precisions) / len(tagged), len(pooled)]
        assert found.loc[(tag, "micro_ap"), ["value", "n_queries"]].tolist() == pytest.approx(expected)


def _places(matches: list[bool]) -> tuple[range, list[int]]:
    """Numbers from 1 of the matches, and their places in the ranking."""
    places = [place for place, match in enumerate(matches, 1) if match]
    return range(1, len(places) + 1), places


def test_report_writes_the_same_table_again(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for name in ("breakdown.csv", "leaderboard.md"):
        (folder / name).unlink()
    assert CliRunner().invoke(app, ["report", str(folder), "--format", "csv,md,tex"]).exit_code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_the_leaderboard_shows_tags_with_the_best_similarity(folder: Path) -> None:
    text = (folder / "leaderboard.md").read_text()
    assert text.count(" by tag") == 1 and "\n## copyedits:photos by tag\n" in text
    rows = _table(text)
    scores = pd.read_csv(folder / "scores.csv")
    of_suite = scores[(scores["dataset"] == "copyedits:photos") & (scores["metric"] == "map")]
    best = of_suite.sort_values("value").iloc[-1]["similarity"]
    assert [row["similarity"] for row in rows] == [best, ""] and rows[1]["backbone"] == "queries"
    table = pd.read_csv(folder / "breakdown.csv")
    shown = table[(table["similarity"] == best) & (table["metric"] == "hit@1")].set_index("tag")
    assert list(rows[0])[2:] == list(shown.index)
    for tag, (value, n_queries) in shown[["value", "n_queries"]].iterrows():
        assert [row[str(tag)] for row in rows] == [f"{100 * value:.1f}", str(int(n_queries))]


def _table(text: str) -> list[dict[str, str]]:
    """The rows of the last table in a Markdown text."""
    lines = [line[1:-1].split("|") for line in text.split("by tag")[1].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def made(body: dict[str, Any], backbone: str, similarity: str, value: float | None, weights: str = "none") -> Record:
    """A record like the real one with other names, and one score under two tags."""
    new = copy.deepcopy(body)
    new["backbone"] |= {"name": backbone, "weights": weights}
    new["similarity"]["spec"] = similarity
    new["metrics"]["map"] = value
    new["by_tag"] = {
        "z first": {"map": {"value": value, "n_queries": 3}, "hit@1": {"value": value, "n_queries": 3}},
        "a second": {"hit@1": {"value": None, "n_queries": 0}},
    }
    return Record(new)


@pytest.fixture(scope="module")
def body(folder: Path) -> dict[str, Any]:
    return next(dict(r.body) for r in RunFolder.existing(folder).records() if r.body["by_tag"])


def test_rows_are_in_order_and_in_full_precision(body: dict[str, Any]) -> None:
    records = [
        made(body, "net10", "global", 1 / 3),
        made(body, "net9", "chunked@16", 0.2),
        made(body, "net9", "global", 0.1 + 0.2),
    ]
    rows = list(csv.reader(breakdown(records).to_csv(index=False).splitlines()))
    assert [(row[0], row[3], row[4], row[5]) for row in rows[1:4]] == [
        ("net9", "global", "z first", "map"),
        ("net9", "global", "z first", "hit@1"),
        ("net9", "global", "a second", "hit@1"),
    ]
    assert [row[0] for row in rows[1:]] == ["net9"] * 6 + ["net10"] * 3 and rows[4][3] == "chunked@16"
    assert (rows[1][6], rows[3][6], rows[3][7], rows[7][6]) == (repr(0.1 + 0.2), "", "0", repr(1 / 3))


def test_of_each_backbone_the_best_similarity_is_shown(body: dict[str, Any]) -> None:
    records = [
        made(body, "a", "global", 0.2),
        made(body, "a", "chunked@16", 0.5),
        made(body, "b", "global", 0.5),
        made(body, "b", "chunked@16", 0.5),
        made(body, "c", "global", None),
    ]
    rows = _table(sections(records))
    assert [list(row.values()) for row in rows] == [
        ["a", "chunked@16", "50.0", ""],
        ["b", "global", "50.0", ""],
        ["c", "global", "", ""],
        ["queries", "", "3", "0"],
    ]


def test_a_run_without_tags_has_no_breakdown(body: dict[str, Any], tmp_path: Path) -> None:
    record = Record({**body, "by_tag": {}})
    _, written = write_tables(tmp_path, Scored((record,), {}, 1))
    tables = ["leaderboard.csv", "leaderboard.md", "leaderboard.tex", "ranking.csv", "scores.csv"]
    assert sorted(path.name for path in written) == tables
    assert sections([record]) == "" and "by tag" not in (tmp_path / "leaderboard.md").read_text()


def test_random_weights_mark_the_breakdown(body: dict[str, Any], tmp_path: Path) -> None:
    write_tables(tmp_path, Scored((made(body, "a", "global", 0.5, weights="random"),), {}, 1))
    assert (tmp_path / "breakdown.random.csv").is_file() and not (tmp_path / "breakdown.csv").exists()
