"""The leaderboard in LaTeX and as one asks for it: marks, escapes, columns, order; compiled where there is pdflatex."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.records import RunFolder
from bench.report import leaderboard, tables_of
from bench.report.choose import as_text, better, columns, in_order, usual
from bench.report.latex import escaped, latex
from bench.report.view import View
from bench.scored import Scored, read
from tests.conftest import Bench
from tests.run_folders import make_run

# underscores are drawn, and letters that fonts lack told by their code points
NASTY = "a_b&c%d#e$f{g}h~i^j\\k<l>m|n\"o`p'q[r]*s--t @ é Ł ß ñ ï ç µ 模型 \t \U0001f600 \u0301"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    noise = {"near": 0.4, "middle_": 0.9, "far": 1.2}
    return make_run(tmp_path_factory.mktemp("latex") / "run", noise, {"one": 1, "two": 2})


@pytest.fixture(scope="module")
def scored(run: RunFolder) -> Scored:
    return read(run)


@pytest.fixture(scope="module")
def whole(scored: Scored) -> pd.DataFrame:
    return leaderboard(scored)


@pytest.fixture
def table(whole: pd.DataFrame) -> pd.DataFrame:
    return whole.copy()


def rows(text: str) -> list[list[str]]:
    """The cells of the body, and of what is below the rule between rows with and without a rank."""
    body = re.split(r"\\midrule\n", text, maxsplit=1)[1].partition("\\bottomrule")[0]
    return [line.removesuffix(r" \\").split(" & ") for line in body.splitlines()]


def of_column(text: str, number: int) -> list[str]:
    return [cells[number] for cells in rows(text) if len(cells) > 1]


def with_maps(table: pd.DataFrame, values: list[float | None], **others: object) -> pd.DataFrame:
    """The rows of a leaderboard with other values of one.map."""
    changed = table.head(len(values)).copy()
    changed["one.map"] = pd.Series(values, dtype="float64")
    return changed.assign(**others)


def test_the_best_is_bold_and_the_second_underlined(table: pd.DataFrame, scored: Scored) -> None:
    text = latex(with_maps(table, [0.5, 0.75, 0.25]), scored, ["backbone", "one.map"])
    assert of_column(text, 1) == [r"\underline{50.0}", r"\textbf{75.0}", "25.0"]


def test_equal_printed_values_share_a_mark_and_missing_ones_are_empty(table: pd.DataFrame, scored: Scored) -> None:
    text = latex(with_maps(table, [0.75004, 0.7496, 0.75]), scored, ["backbone", "one.map"])
    assert of_column(text, 1) == [r"\textbf{75.0}"] * 3
    text = latex(with_maps(table, [0.5, None, 0.5]), scored, ["backbone", "one.map"])
    assert of_column(text, 1) == [r"\textbf{50.0}", "", r"\textbf{50.0}"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=3, max_size=3))
def test_marks_are_those_of_a_sort(whole: pd.DataFrame, scored: Scored, values: list[float | None]) -> None:
    text = latex(with_maps(whole, values), scored, ["backbone", "one.map"])
    printed = [None if value is None else f"{100 * value:.1f}" for value in values]
    places = sorted({float(p) for p in printed if p}, reverse=True)
    commands = dict(zip(places, (r"\textbf{%s}", r"\underline{%s}"), strict=False))
    assert of_column(text, 1) == ["" if p is None else commands.get(float(p), "%s") % p for p in printed]


def test_random_rows_are_never_marked_and_stand_below(table: pd.DataFrame, scored: Scored) -> None:
    weights = ["pretrained", "random", "pretrained"]
    changed = with_maps(table, [0.5, 0.9, 0.25], weights=weights, rank=pd.array([1, None, 2], "Int64"))
    text = latex(changed, scored, ["backbone", "weights", "one.map"])
    assert [cells[-1] for cells in rows(text)] == [r"\textbf{50.0}", r"\underline{25.0}", r"\midrule", "90.0"]
    assert rows(text)[-1][1] == "random" and "% Below the last rule: rows without a rank" in text


def test_less_is_better_of_a_deviation_and_a_threshold_has_no_best(table: pd.DataFrame, scored: Scored) -> None:
    changed = with_maps(table, [0.5, 0.75, 0.25]).rename(columns={"one.map": "one.relative_deviation"})
    text = latex(changed, scored, ["backbone", "one.relative_deviation", "one.threshold@p90", "images_per_s"])
    assert of_column(text, 1) == [r"\underline{50.0}", "75.0", r"\textbf{25.0}"]
    assert "text" not in "".join(of_column(text, 2) + of_column(text, 3))
    assert [better(f"d.{name}") for name in ("map[H]", "relative_deviation", "threshold@p90")] == ["high", "low", None]


def test_uncertainty_is_that_of_the_scores(table: pd.DataFrame, scored: Scored) -> None:
    chosen = ["backbone", "mean_map", "one.map", "images_per_s"]
    cell = next(record.cell for record in scored.records if record.cell.backbone == table["backbone"][0])
    low, high = scored.intervals[cell, "map"]
    value = f"{100 * table['one.map'][0]:.1f}"
    pm, between = (latex(table, scored, chosen, of) for of in ("pm", "interval"))
    assert of_column(pm, 2)[0] == rf"\textbf{{{value}}} $\pm$ {50 * (high - low):.1f}"
    assert of_column(between, 2)[0] == rf"\textbf{{{value}}} {{\small [{100 * low:.1f}, {100 * high:.1f}]}}"
    ends = [f"{100 * table[end][0]:.1f}" for end in ("mean_map_low", "mean_map_high")]
    assert of_column(between, 1)[0].endswith(rf" {{\small [{', '.join(ends)}]}}")
    assert all("small" not in cell for cell in of_column(between, 3))
    assert "half the width" in pm and "half" not in between


def test_comments_say_where_it_is_from_and_are_one_line_each(table: pd.DataFrame, scored: Scored) -> None:
    text = latex(table.assign(non_commercial=[True, False, False]), scored)
    head = text.partition(r"\begin{tabular}")[0].splitlines()
    assert all(line.startswith("% ") for line in head)
    assert head[0] == r"% Run 0123456789ab of descriptor-bench, commit aaaaaaaaaaaa. Needs \usepackage{booktabs}."
    assert any("forbids commercial use" in line for line in head) and rows(text)[0][1] == r"near\dag{}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a_b", r"a\_b"),
        ("50%", r"50\%"),
        (r"C:\x", r"C:\textbackslash{}x"),
        ("chunked@16[norm=chunk]", r"chunked@16{[}norm=chunk]"),
        ("x^2~", r"x\textasciicircum{}2\textasciitilde{}"),
        ("é", r"\'{e}"),
        ("e\u0301", r"\'{e}"),
        ("ï", r"\"{\i}"),
        ("ß", r"\ss{}"),
        ("模", r"{[}U+6A21]"),
        ("\n", r"{[}U+000A]"),
        ("a--b", "a-{}-{}b"),
    ],
)
def test_names_are_escaped(name: str, expected: str) -> None:
    assert escaped(name) == expected


@given(st.text())
def test_escaped_names_hold_printable_ascii_alone(name: str) -> None:
    text = escaped(name)
    assert text.isascii() and (text.isprintable() or not text)


def has_booktabs() -> bool:
    """Whether there is a pdflatex that finds booktabs, which Debian keeps in texlive-latex-recommended."""
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        return False
    return bool(subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False).stdout.strip())


@pytest.mark.skipif(not has_booktabs(), reason="pdflatex with booktabs is not installed")
@pytest.mark.parametrize("uncertainty", ["none", "pm", "interval"])
def test_it_compiles(uncertainty: str, table: pd.DataFrame, scored: Scored, tmp_path: Path) -> None:
    others = {"backbone": [NASTY, "[first", "*second"], "rank": pd.array([1, None, None], "Int64")}
    text = latex(table.assign(**others).rename(columns={"one.map": f"{NASTY}.map"}), scored, None, uncertainty)
    printable = "".join(map(chr, range(32, 127)))
    document = [r"\documentclass{article}", r"\usepackage{booktabs}", r"\usepackage[landscape]{geometry}"]
    document += [r"\begin{document}", text, escaped(printable), r"\end{document}"]
    (tmp_path / "paper.tex").write_text("\n".join(document))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert ran.returncode == 0, ran.stdout
    assert not re.search(r"^(!|LaTeX Warning: Command|Missing character)", ran.stdout, re.MULTILINE)
    if shutil.which("pdftotext"):
        subprocess.run(["pdftotext", "-layout", "paper.pdf"], cwd=tmp_path, check=True)
        read_back = (tmp_path / "paper.txt").read_text()
        assert "[first" in read_back and "*second" in read_back and "b&c%d#e$f{g}h" in read_back


def test_columns_are_named_or_globbed(table: pd.DataFrame) -> None:
    assert columns(table, "backbone, *.map,one.*,backbone") == [
        "backbone",
        "one.map",
        "two.map",
        "one.hit@1",
        "one.micro_ap",
        "one.threshold@p90",
    ]
    with_setup = table.rename(columns={"one.map": "one.map[H]"})
    assert columns(with_setup, "one.map[H]") == columns(with_setup, "*map[[]H]".replace("[[]", "[")) == ["one.map[H]"]
    assert usual(table)[:5] == ["rank", "backbone", "similarity", "weights", "mean_map"]


@pytest.mark.parametrize("ask", [columns, in_order])
def test_an_unknown_column_is_told_with_near_names(ask: object, table: pd.DataFrame) -> None:
    assert callable(ask)
    with pytest.raises(UsageError, match=r"no column 'mean_mpa': did you mean mean_map\b") as raised:
        ask(table, "mean_mpa")
    assert "rank_low" not in str(raised.value) and "\n" not in str(raised.value)
    with pytest.raises(UsageError, match=r"no column 'zzz\*': name some of rank, rank_low"):
        ask(table, "zzz*")


def test_nothing_chosen_is_told(table: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match="no column was chosen: name some of rank"):
        columns(table, " ,")


def names(table: pd.DataFrame) -> list[str]:
    return list(table["backbone"])


def test_rows_are_sorted_the_best_score_first_and_missing_ones_last(table: pd.DataFrame) -> None:
    changed = with_maps(table, [0.5, None, 0.75])
    first, second, third = names(changed)
    assert names(in_order(changed, "one.map")) == names(in_order(changed, "-one.map")) == [third, first, second]
    assert names(in_order(changed, "+one.map")) == [first, third, second]
    deviations = changed.rename(columns={"one.map": "one.relative_deviation"})
    assert names(in_order(deviations, "one.relative_deviation")) == [first, third, second]
    assert names(in_order(table, "rank")) == names(table) and names(in_order(table, "-rank")) == names(table)[::-1]
    net = table.assign(backbone=["net10", "net9", "net1"])
    assert names(in_order(net, "backbone")) == ["net1", "net9", "net10"]
    fast = table.assign(images_per_s=[1.0, 3.0, 2.0])
    assert list(in_order(fast, "images_per_s")["images_per_s"]) == [3.0, 2.0, 1.0]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=3, max_size=3), st.booleans())
def test_equal_rows_stay_as_they_were(whole: pd.DataFrame, values: list[int], falling: bool) -> None:
    table = with_maps(whole, [value / 4 for value in values])
    sign = -1 if falling else 1
    wanted = np.argsort(sign * np.array(values), kind="stable")
    assert names(in_order(table, f"{'-' if falling else '+'}one.map")) == [names(table)[row] for row in wanted]


def test_cells_are_written_in_percent_where_they_are_shares() -> None:
    found = [as_text(0.5, "d.map"), as_text(3.5, "d.ns_score"), as_text(12.25, "images_per_s"), as_text(3, "rank")]
    assert found == ["50.0", "3.5", "12.2", "3"]
    assert as_text(float("nan"), "d.map") == as_text(None, "d.map") == as_text(pd.NA, "rank") == ""


def test_a_view_leaves_the_tables_of_record_alone(scored: Scored) -> None:
    tables = tables_of(scored)
    assert View().texts(tables, scored) == {} and View().ordered(tables) is tables
    view = View("backbone,one.map", "+one.map", "pm")
    texts = view.texts(tables, scored)
    assert sorted(texts) == ["leaderboard.view.md", "leaderboard.view.tex"]
    wanted = [*reversed(names(in_order(tables.leaderboard, "one.map")))]
    assert [cell.replace(r"\_", "_") for cell in of_column(texts["leaderboard.view.tex"], 0)] == wanted
    lines = texts["leaderboard.view.md"].splitlines()
    assert [line.split("|")[1].strip() for line in lines[4 : 4 + len(wanted)]] == wanted
    assert lines[2].split() == ["|", "backbone", "|", "one.map", "%", "|"]


def test_the_report_command(bench: Bench, run: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("leaderboard.*")}
    asked = [
        "--columns",
        "backbone,one.*",
        "--sort",
        "-one.micro_ap",
        "--format",
        "tex,md",
        "--uncertainty",
        "interval",
    ]
    ran = bench("report", tmp_path / "run", *asked, "--format", "tex,md")
    assert ran.returncode == 0, ran.stderr
    after = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("leaderboard.*")}
    assert set(after) - set(before) == {"leaderboard.view.md", "leaderboard.view.tex"}
    assert {name: after[name] for name in before} == before
    assert "scores.csv" not in ran.stdout and "near" in ran.stdout and "two" not in ran.stdout
    assert rb"{\small [" in after["leaderboard.view.tex"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--columns", "mean_mpa"], "no column 'mean_mpa': did you mean mean_map"),
        (["--sort", "-nothing"], "no column 'nothing'"),
        (["--format", "csv,pdf"], "there is no format 'pdf': write some of csv,md,tex,"),
    ],
)
def test_a_wrong_report_is_told_in_one_sentence(bench: Bench, run: RunFolder, asked: list[str], told: str) -> None:
    ran = bench("report", run.path, *asked)
    assert ran.returncode == 2 and told in ran.stderr and len(ran.stderr.splitlines()) == 1
