"""`verify`: every score follows from its evidence, every table from the records; what was changed is named."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.records import RunFolder
from bench.scored import read
from bench.verify_run import of_table, problems
from tests.conftest import Bench
from tests.run_folders import make_run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path / "run", {"near": 0.4, "far": 1.2}, {"one": 1, "two": 2})


def found(folder: RunFolder) -> list[str]:
    return list(problems(folder.path, read(folder)))


def change(folder: RunFolder, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a record, and nothing else."""
    path = folder.records_path / f"{name}.json"
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


def test_a_run_as_it_was_written_has_no_problems(run: RunFolder) -> None:
    assert found(run) == []


@pytest.mark.parametrize(
    ("tampered", "field"),
    [
        (lambda body: body["metrics"].update(map=body["metrics"]["map"] + 1e-15), "metrics.map"),
        (lambda body: body["metrics"].update(map=None), "metrics.map"),
        (lambda body: body["metrics"].update(mrr=1.0), "metrics.mrr"),
        (lambda body: body["n_used"].update(micro_ap=39), "n_used.micro_ap"),
        (lambda body: body["by_tag"]["even"]["map"].update(value=0.5), "by_tag.even.map.value"),
        (lambda body: body["by_tag"]["even"]["map"].update(n_queries=1), "by_tag.even.map.n_queries"),
        (lambda body: body["dataset"].update(n_queries=41), "dataset.n_queries"),
    ],
)
def test_a_number_of_a_record_that_was_changed_is_named(
    run: RunFolder, tampered: Callable[[dict[str, Any]], Any], field: str
) -> None:
    change(run, "near--one--global", tampered)
    of_record = [told for told in found(run) if told.startswith("the record of ")]
    assert len(of_record) == 1 and of_record[0].startswith(f"the record of near / one / global: {field} is ")


def test_metrics_that_its_evidence_does_not_hold_are_told(run: RunFolder) -> None:
    def other(body: dict[str, Any]) -> None:
        body["dataset"]["metrics"].append("map[HARD]")
        for field, value in (("metrics", 0.5), ("n_used", 39), ("metric_versions", 1)):
            body[field]["map[HARD]"] = value

    for name in ("near--one--global", "far--one--global"):
        change(run, name, other)
    expected = "the record of near / one / global can't be held against its evidence (KeyError: 'HARD')"
    assert expected in found(run)


@pytest.mark.parametrize("field", ["metrics", "n_used", "by_tag"])
def test_a_record_that_lacks_a_field_is_told(run: RunFolder, field: str) -> None:
    change(run, "near--one--global", lambda body: body.pop(field))
    told = f"near--one--global.json is not a whole record (it has no field {field}): delete it and run again"
    assert any(problem.endswith(told) for problem in found(run))


@pytest.mark.parametrize("at", [0, 300, -30])
def test_a_byte_of_evidence_that_was_changed_is_found(run: RunFolder, at: int) -> None:
    path = run.records_path / "far--two--global.npz"
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert any("far--two--global.npz is not the file its record names" in told for told in found(run))


def test_lost_evidence_is_found(run: RunFolder) -> None:
    (run.records_path / "far--two--global.npz").unlink()
    assert any("far--two--global.npz can't be read" in told for told in found(run))


def test_what_is_of_no_cell_is_named(run: RunFolder) -> None:
    (run.records_path / "a copy.json").write_bytes((run.records_path / "far--one--global.json").read_bytes())
    (run.records_path / "other.npz").write_bytes(b"")
    assert found(run) == [
        f"the file {run.records_path / 'a copy.json'} is a second record of far / one / global, which stands in "
        "far--one--global.json: delete it",
        f"the evidence {run.records_path / 'other.npz'} is of no record: delete it",
    ]


def test_a_cell_of_a_table_that_was_changed_is_named(run: RunFolder) -> None:
    path = run.path / "scores.csv"
    lines = path.read_text().splitlines(keepends=True)
    cells = lines[1].split(",")
    before, cells[5] = cells[5], "0.999"
    path.write_text("".join([lines[0], ",".join(cells), *lines[2:]]))
    expected = f"scores.csv, line 2 (far, pretrained, one, global, map), value: is 0.999, but {before} follows"
    assert found(run) == [expected]


def test_every_cell_of_every_table_counts(run: RunFolder) -> None:
    """One character changed anywhere in a table is a problem that names the table."""
    texts = {path: path.read_text() for path in run.path.glob("*.*") if path.suffix in (".csv", ".md", ".tex")}
    assert len(texts) >= 5

    @settings(max_examples=100, deadline=None)
    @given(st.sampled_from(sorted(texts)), st.integers(0, 10_000), st.sampled_from("7x,\r"))
    def changed(path: Path, at: int, letter: str) -> None:
        text = texts[path]
        at %= len(text)
        if text[at] == letter:
            return
        path.write_bytes(f"{text[:at]}{letter}{text[at + 1 :]}".encode())
        told = list(of_table(path, text))
        path.write_text(text)
        assert told and all(path.name in sentence for sentence in told)

    changed()
    assert found(run) == []


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda text: text.replace("\n", "\r\n"), "scores.csv has other bytes, such as line ends"),
        (lambda text: text.replace("value", "score", 1), "scores.csv, the columns are backbone,weights,"),
        (lambda text: text[: text.rindex("\n", 0, -1) + 1], "scores.csv, it has 15 rows, but 16 follow"),
        (lambda text: text.replace("global", "local"), "scores.csv: 11 more differences; `report` makes it again"),
        (lambda text: "", "scores.csv, the columns are , but backbone,weights,"),
    ],
)
def test_what_else_a_table_may_be(run: RunFolder, broken: Callable[[str], str], told: str) -> None:
    path = run.path / "scores.csv"
    path.write_bytes(broken(path.read_text()).encode())
    sentences = found(run)
    assert any(sentence.startswith(told) for sentence in sentences), sentences


def test_a_table_too_few_or_too_many(run: RunFolder) -> None:
    (run.path / "leaderboard.md").unlink()
    (run.path / "leaderboard.random.csv").write_text("rank\n")
    sentences = found(run)
    assert len(sentences) == 2
    assert sentences[0].endswith("leaderboard.md is not there: `report` makes it")
    assert sentences[1].endswith("leaderboard.random.csv follows from no record: delete it")


def test_a_cell_that_failed_is_no_problem(run: RunFolder) -> None:
    def fail(body: dict[str, Any]) -> None:
        error = {"status": "failed", "phase": "extract", "type": "E", "message": "it broke"}
        empty: Mapping[str, Any] = {"metrics": {}, "n_used": {}, "by_tag": {}, "evidence": None, "throughput": None}
        body.update(status="failed", error=error, fingerprint=None, **empty)

    change(run, "far--two--global", fail)
    (run.records_path / "far--two--global.npz").unlink()
    sentences = found(run)
    assert sentences and all(
        told.partition(",")[0].partition(":")[0].endswith((".csv", ".md", ".tex")) for told in sentences
    )
    assert not any(told.startswith("the record") for told in sentences)


def test_the_command_verifies_a_real_run(bench: Bench, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bench("run", "--backbones", "dhash,pdq", "--datasets", f"disc:{small}", "--output", out)
    ran = bench("verify", out)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.startswith("4 of 4 cells have evidence") and "all scores follow from the evidence" in ran.stdout
    record = next((out / "records").glob("pdq--*--global*.json"))
    record.write_text(record.read_text().replace('"map": ', '"map": 0.123, "mrr": ', 1))
    ran = bench("verify", out)
    assert ran.returncode == 3 and "metrics.map is 0.123, but" in ran.stdout and ran.stdout.endswith("problems\n")


def test_a_folder_that_is_no_run(bench: Bench, tmp_path: Path) -> None:
    ran = bench("verify", tmp_path)
    assert ran.returncode == 2 and "holds no records" in ran.stderr
