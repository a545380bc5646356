"""Published figures: the file itself, what it is paired with, and what a wrong file is told."""

import copy
import csv
import json
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.plugins import backbones, datasets
from bench.postprocess import Pipeline
from bench.preprocess import Mode
from bench.published_figures import COLUMNS, FIGURES, NUMBERS, Beside, Figure, beside, pairs_of, read, sections
from bench.records import Record
from bench.similarity import Similarity

Make = Callable[..., Record]

#: Public datasets that are not in the registry.
ELSEWHERE = {"imagenet1k"}
CANDIDATES = {"swin", "dino", "sscd", "clip", "mocov3", "mae", "vicregl", "multigrain", "resnet50", "vit"}

SSCD = Figure(
    "sscd",
    "SSCD ResNet50",
    "disc21",
    "micro_ap",
    0.568,
    "50,000 queries",
    True,
    "global",
    "",
    "pcaw512,l2",
    "Pizzi et al., Table 2",
    "https://arxiv.org/abs/2202.10261",
    "2026-11-25",
)


@pytest.fixture(scope="module")
def published() -> list[Figure]:
    return read(FIGURES)


@pytest.fixture(scope="module")
def make() -> Make:
    """A record as a run left it, renamed, with the scores of one dataset and the protocol wanted."""
    path = FIGURES.parent / "reference" / "demo" / "records" / "efficientnet_lite0--demo_copies--global.json"
    body = json.loads(path.read_text(encoding="utf-8"))

    def record(
        backbone: str = "sscd",
        dataset: str = "disc21",
        value: float | None = 0.6,
        metric: str = "micro_ap",
        similarity: str = "global",
        mode: str = "official",
        steps: str = "pcaw512,l2",
        weights: str = "pretrained",
        status: str = "ok",
        limit: int | None = None,
    ) -> Record:
        made: dict[str, Any] = copy.deepcopy(body)
        made["status"] = status
        made["backbone"] |= {"name": backbone, "weights": weights}
        made["dataset"] |= {"name": dataset, "metrics": [metric], "limit": limit, "n_queries": 50000}
        made["similarity"]["spec"] = similarity
        made["preprocess"]["mode"] = mode
        made["postprocess"] |= {"spec": steps, "fit_set": "train" if steps else None}
        made["metrics"] = {metric: value}
        return Record(made)

    return record


def test_the_columns_are_the_fields_in_their_order() -> None:
    with FIGURES.open(encoding="utf-8", newline="") as stream:
        assert tuple(next(csv.reader(stream))) == COLUMNS
    assert COLUMNS == (
        "backbone", "weights", "dataset", "metric", "value", "protocol", "comparable", "similarity",
        "preprocess", "postprocess", "source", "url", "retrieved",
    )  # fmt: skip


def test_the_file_reads_back_as_it_is_written(published: list[Figure]) -> None:
    with FIGURES.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(published) > 100
    for row, figure in zip(rows, published, strict=True):
        assert float(row["value"]) == figure.value and row["comparable"] == str(figure.comparable).lower()
        texts = {name: row[name] for name in COLUMNS if name not in ("value", "comparable")}
        assert texts == {name: getattr(figure, name) for name in texts}


def test_every_candidate_has_a_figure_and_every_name_is_registered(published: list[Figure]) -> None:
    assert {selected.item.name for selected in backbones.select("candidates")} == CANDIDATES
    assert {figure.backbone.partition(":")[0] for figure in published} >= CANDIDATES
    for name in {figure.backbone for figure in published}:
        assert [selected.item.name for selected in backbones.select(name)] == [name]
    for name in {figure.dataset for figure in published} - ELSEWHERE:
        assert [selected.item.name for selected in datasets.select(name)] == [name]


def test_what_is_comparable_can_be_run(published: list[Figure]) -> None:
    comparable = [figure for figure in published if figure.comparable]
    assert {figure.dataset for figure in comparable} == {"disc21", "cub200"}
    for figure in comparable:
        assert figure.metric in datasets.select(figure.dataset)[0].item.metrics
        Pipeline.parse(figure.postprocess).require_global([Similarity.parse(figure.similarity)])


def test_options_are_written_as_a_record_has_them(published: list[Figure]) -> None:
    for figure in published:
        assert str(Pipeline.parse(figure.postprocess)) == figure.postprocess
        assert not figure.preprocess or str(Mode.parse(figure.preprocess)) == figure.preprocess != str(Mode())
        assert not figure.similarity or str(Similarity.parse(figure.similarity)) == figure.similarity


def test_every_figure_says_where_it_was_read(published: list[Figure]) -> None:
    repository = r"https://github\.com/[\w.-]+/[\w.-]+/blob/[0-9a-f]{40}/[\w./-]+"
    for figure in published:
        assert re.fullmatch(rf"{repository}|https://arxiv\.org/abs/\d{{4}}\.\d{{5}}", figure.url), figure.url
        assert figure.weights and figure.protocol and figure.source
        assert date.fromisoformat(figure.retrieved) >= date(2026, 11, 25)
        cells = (getattr(figure, name) for name in COLUMNS)
        assert not any(isinstance(cell, str) and re.search(r"[|\n\r]|^\s|\s$", cell) for cell in cells)


def test_no_figure_stands_there_twice(published: list[Figure]) -> None:
    keys = [
        (f.backbone, f.dataset, f.metric, f.similarity, f.preprocess, f.postprocess, f.protocol, f.source)
        for f in published
    ]
    assert len(set(keys)) == len(keys)


def test_sources_that_round_differently_agree(published: list[Figure]) -> None:
    """The table of SSCD's paper, and what its repository prints for the same weights: within a tenth of a percent."""
    theirs = [f for f in published if f.backbone == "sscd:disc_mixup" and f.metric == "micro_ap"]
    paper = {f.postprocess: f.value for f in theirs if f.source.startswith("Pizzi")}
    printed = {f.postprocess: f.value for f in theirs if f.source.startswith("SSCD repository")}
    assert set(paper) == {"pcaw512,l2", "pcaw512,l2,sn1.0[0,2]"} < set(printed)
    for steps, value in paper.items():
        assert printed[steps] == pytest.approx(value, abs=1e-3)


def test_a_record_of_the_same_protocol_stands_beside_the_figure(make: Make) -> None:
    (pair,) = beside([make(value=0.6)], [SSCD])
    assert (pair.ours, pair.theirs) == (0.6, 0.568) and pair.difference == pytest.approx(0.032)


@pytest.mark.parametrize(
    "other",
    [
        {"backbone": "sscd:disc_mixup"},
        {"dataset": "copydays"},
        {"metric": "recall@p90"},
        {"similarity": "chunked@16"},
        {"mode": "squash:288"},
        {"mode": "official+draft"},
        {"steps": ""},
        {"steps": "pcaw256,l2"},
        {"weights": "random"},
        {"status": "failed"},
        {"limit": 20},
        {"value": None},
    ],
)
def test_a_record_of_another_protocol_does_not(make: Make, other: dict[str, Any]) -> None:
    assert beside([make()], [SSCD]) and not beside([make(**other)], [SSCD])


def test_a_figure_that_is_not_comparable_never_pairs(make: Make, published: list[Figure]) -> None:
    for figure in published:
        record = make(
            figure.backbone,
            figure.dataset,
            0.5,
            figure.metric,
            figure.similarity or "global",
            figure.preprocess or "official",
            figure.postprocess,
        )
        found = beside([record], [figure])
        assert found == ([Beside(figure, record)] if figure.comparable else [])


def test_pairs_stand_in_the_order_of_the_figures(make: Make) -> None:
    second = Figure(**(vars(SSCD) | {"backbone": "clip", "postprocess": ""}))
    records = [make("clip", steps=""), make(), make("dino")]
    assert [pair.figure for pair in beside(records, [SSCD, second])] == [SSCD, second]
    assert [pair.figure for pair in beside(records, [second, SSCD])] == [second, SSCD]


def test_the_section_shows_both_with_the_difference(make: Make) -> None:
    text = sections([make(value=0.5), make("clip", "cub200", 0.7, "hit@1", steps="")])
    assert text.startswith("\n## Beside published figures\n")
    sscd, clip = (line for line in text.splitlines() if re.match(r"\| (sscd|clip) ", line))
    cells = [cell.strip() for cell in sscd.strip("|").split("|")]
    assert cells[:9] == ["sscd", "disc21", "micro_ap", "50.0", "56.8", "-6.8", "50000", "pcaw512,l2", "train"]
    assert cells[-1] == "[Pizzi et al., CVPR 2022, Table 2](https://arxiv.org/abs/2202.10261)"
    cells = [cell.strip() for cell in clip.strip("|").split("|")]
    assert cells[:9] == ["clip", "cub200", "hit@1", "70.0", "61.9", "+8.1", "50000", "", ""]


def test_what_is_shown_is_a_number_or_a_text_and_only_the_web_is_linked(make: Make, tmp_path: Path) -> None:
    (pair,) = beside([make(value=0.6)], [SSCD])
    assert {name: pair.cells[name] for name in NUMBERS} == {
        "ours": "60.0",
        "theirs": "56.8",
        "difference": "+3.2",
        "our queries": "50000",
    }
    for url in ("javascript:alert(1)", "data:text/html,x", "//elsewhere", "", "httpx://a"):
        path = write(tmp_path / "published.csv", [list(COLUMNS), cells(url=url)])
        (pair,) = pairs_of([make()], path)
        assert pair.figure.link == "" and "](" not in sections([make()], path)
    assert SSCD.link == SSCD.url


def test_where_nothing_pairs_there_is_no_section(make: Make, tmp_path: Path) -> None:
    assert sections([make("dino")]) == "" == sections([])
    assert sections([make()], tmp_path / "none.csv") == "" and pairs_of([make()], tmp_path / "none.csv") == []


def write(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return path


def cells(**changed: str) -> list[str]:
    texts = {name: str(getattr(SSCD, name)) for name in COLUMNS} | {"comparable": "true"} | changed
    return list(texts.values())


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([[*COLUMNS, "note"]], "unknown column 'note'"),
        ([[*COLUMNS[:-1], "Retrieved"]], "unknown column 'Retrieved', no column 'retrieved'"),
        ([list(COLUMNS[1:])], "no column 'backbone'"),
        ([list(reversed(COLUMNS))], "columns out of order"),
        ([], "no column 'backbone'"),
        ([list(COLUMNS), cells(), cells(value="56.8")], "line 3: the value '56.8' is not a fraction from 0 to 1"),
        ([list(COLUMNS), cells(value="-0.1")], "the value '-0.1' is not a fraction"),
        ([list(COLUMNS), cells(value="nan")], "the value 'nan' is not a fraction"),
        ([list(COLUMNS), cells(value="")], "the value '' is not a fraction"),
        ([list(COLUMNS), cells(comparable="yes")], "line 2: comparable is 'yes': write true or false"),
        ([list(COLUMNS), [*cells(), "more"]], "line 2: 14 cells where there are 13 columns"),
    ],
)
def test_a_wrong_file_is_told_in_one_sentence(tmp_path: Path, rows: list[list[str]], told: str) -> None:
    path = write(tmp_path / "published.csv", rows)
    with pytest.raises(UsageError) as raised:
        read(path)
    assert told in str(raised.value) and str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "published.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="can't be read as published figures"):
        read(path)
    with pytest.raises(UsageError, match="can't be read as published figures"):
        read(tmp_path / "none.csv")


@given(value=st.floats(0, 1), protocol=st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0")))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, value: float, protocol: str) -> None:
    path = write(
        tmp_path_factory.getbasetemp() / "any.csv", [list(COLUMNS), cells(value=repr(value), protocol=protocol)]
    )
    (figure,) = read(path)
    assert figure == Figure(**(vars(SSCD) | {"value": value, "protocol": protocol}))
