"""Figures: what is drawn against the numbers, what is left out, the files as a journal takes them."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from PIL import Image

from bench.errors import UsageError
from bench.ranking import Ranking, rank
from bench.records import FIGURES
from bench.report.figures import FOLDER, FORMATS, Drawn, draw, speeds, write_figures, write_sweep_figures
from bench.report.figures.heatmap import _COLOURS, _DARK, _luminance
from bench.report.figures.pareto import front
from bench.report.figures.style import looks
from bench.scored import Scored
from bench.sweep import gains
from bench.throughput.table import COLUMNS
from tests.conftest import ROOT
from tests.test_sweep import drawn as ranks_of
from tests.test_sweep import no_better, scored

BACKBONES = ("alpha", "beta[size=64]", "gamma$_$<script>")
SIMILARITIES = ("global", "chunked@2", "chunked@8", "chunked@2[norm=chunk]", "chunked@4[norm=chunk]")
ALIKE = "chunked@8"  # no worse than global, nor better
AREAS = (0.1, 0.5, 0.9)
NOWHERE = Path("nowhere")


def full_run(weights: str = "pretrained", backbones: tuple[str, ...] = BACKBONES) -> Scored:
    """Three backbones, each a little worse, on a dataset of classes and one of copies with tags; the last is slow."""
    run = scored(
        {
            (backbone, dataset, similarity): no_better(ranks_of(len(dataset)), place + worse * (similarity != ALIKE))
            for place, backbone in enumerate(backbones)
            for dataset in ("plain", "pairs:copies")
            for worse, similarity in enumerate(SIMILARITIES)
        },
        weights,
    )
    for record in run.records:
        body = record.body
        place = backbones.index(record.cell.backbone)
        body["throughput"] |= {"images_per_s": [100.0, 300.0, 30.0][place]}
        if record.cell.dataset == "pairs:copies":
            body["by_tag"] |= {f"area={area}": {"map": {"value": area / (1 + place), "n_queries": 5}} for area in AREAS}
    return run


@pytest.fixture(scope="module")
def run() -> Scored:
    return full_run()


@pytest.fixture(scope="module")
def ranking(run: Scored) -> Ranking:
    return rank(run)


@pytest.fixture(scope="module")
def figures(run: Scored, ranking: Ranking) -> dict[str, Drawn]:
    return by_name(run, ranking)


def by_name(run: Scored, ranking: Ranking, folder: Path = NOWHERE) -> dict[str, Drawn]:
    return {figure.name: figure for figure in draw(run, ranking, speeds(folder, run.records))}


def curves(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """Points of each line in a legend."""
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    return {str(line.get_label()): list(zip(*line.get_data(), strict=True)) for line in lines}


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(match=lambda part: hasattr(part, "get_text")) if text.get_text()]


# what is drawn


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    found = front(points)
    for n, (x, y) in enumerate(points):
        is_beaten = any((a > x and b >= y) or (a >= x and b > y) for a, b in points)
        assert (n in found) == (not is_beaten)
    assert [points[n] for n in found] == sorted(points[n] for n in found)


def test_quality_against_speed(figures: dict[str, Drawn], ranking: Ranking) -> None:
    drawn = figures["pareto"]
    (axes,) = drawn.figure.axes
    names = {text.get_text(): text for text in axes.texts if isinstance(text, Annotation)}
    expected = {"alpha": 100.0, "beta[size=64]": 300.0, "gamma$_$<script>": 30.0}
    assert names.keys() == expected.keys()
    for standing in ranking.standings:
        place = pytest.approx((expected[standing.backbone], 100 * standing.mean_map))
        assert names[standing.backbone].xy == place
        assert standing.low is not None and standing.high is not None
        bars = [bar for of in axes.collections for bar in of.get_segments()]  # type: ignore[attr-defined]
        x = expected[standing.backbone]
        assert any(np.allclose(bar, [(x, 100 * standing.low), (x, 100 * standing.high)]) for bar in bars)
    (line,) = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 2]  # gamma is slow and bad
    best = sorted((expected[s.backbone], 100 * s.mean_map) for s in ranking.standings[:2])
    assert line == pytest.approx(np.array(best))
    assert "one device, a CPU (cpu)" in drawn.caption and "extraction with decoding" in axes.get_xlabel()


def test_labels_do_not_cover_each_other_or_leave_the_figure() -> None:
    names = tuple(f"a_backbone_{number}" for number in range(12))
    run = scored({(name, "a", "global"): no_better(ranks_of(1), at // 4) for at, name in enumerate(names)})
    for at, record in enumerate(run.records):
        record.body["throughput"] |= {"images_per_s": 100.0 * 1.02**at}  # a heap
    figure = by_name(run, rank(run))["pareto"].figure
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(label) for label in figure.axes[0].texts]  # without the line to the point
    assert len(boxes) == 12
    for one, other in combinations(boxes, 2):
        common = Bbox.intersection(one, other)
        assert common is None or common.width * common.height < 1
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_ranks_with_their_intervals_and_brackets(figures: dict[str, Drawn], ranking: Ranking) -> None:
    (axes,) = figures["ranks"].figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == [s.backbone for s in ranking.standings]
    segments = [line.get_xydata().tolist() for line in axes.lines]
    for place, standing in enumerate(ranking.standings):
        assert [[standing.rank_low, place], [standing.rank_high, place]] in segments
        assert [[standing.rank, place]] in segments
    assert len(axes.lines) == 2 * len(ranking.standings) + len(ranking.brackets)
    same = {(name, "a", "global"): ranks_of(1) for name in ("a", "b", "c")}
    alike = by_name(run := scored(same), rank(run))["ranks"]
    (bracket,) = [line for line in alike.figure.axes[0].lines if len(line.get_xydata()) == 4]
    assert bracket.get_ydata().min() < 0 and bracket.get_ydata().max() > 2 and "Brackets" in alike.caption


def test_every_score_is_in_the_heat_map_and_what_is_missing_is_hatched() -> None:
    cells = {(name, data, "global"): ranks_of(at) for at, (name, data) in enumerate(combinations("abcd", 2))}
    run = scored({**cells, ("a", "b", "chunked@2"): no_better(ranks_of(0), 1), ("z", "b", "global"): None})
    drawn = by_name(run, rank(run))["heatmap"]
    (axes,) = drawn.figure.axes
    rows = [text.get_text() for text in axes.get_yticklabels()]
    columns = [text.get_text() for text in axes.get_xticklabels()]
    assert rows == ["a", "b", "c"] and columns == ["b", "c", "d"]  # by number of scores; z has none
    found = {
        (rows[int(text.get_position()[1])], columns[int(text.get_position()[0])]): text.get_text()
        for text in axes.texts
    }
    assert found == {
        (record.cell.backbone, record.cell.dataset): f"{100 * record.body['metrics']['map']:.1f}"
        for record in run.records
        if record.status == "ok" and str(record.cell.similarity) == "global"
    }
    boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    hatched = {(rows[int(box.get_y())], columns[int(box.get_x())]) for box in boxes if box.get_hatch()}
    assert len(boxes) == 9 and hatched == {("b", "b"), ("c", "b"), ("c", "c")}


def test_letters_in_the_heat_map_stand_out_from_every_colour() -> None:
    for share in np.linspace(0, 1, 101):
        dark = _luminance(_COLOURS(share))
        contrast = 1.05 / (dark + 0.05) if dark < _DARK else (dark + 0.05) / 0.05
        assert contrast >= 4.5  # WCAG 2.2, AA
    grey = [_luminance(_COLOURS(share)) for share in np.linspace(0, 1, 101)]
    assert all(lighter > darker for lighter, darker in pairwise(grey))


def test_the_main_metric_of_a_dataset_is_shown_as_what_it_is() -> None:
    run = scored({("a", "plain", "global"): ranks_of(1), ("a", "ukbench", "global"): ranks_of(2)})
    for record in run.records:
        if record.cell.dataset == "ukbench":
            record.body["dataset"]["metrics"] = ["ns_score", "map"]
            record.body["metrics"]["ns_score"] = 3.25
            record.body["n_used"]["ns_score"] = 40
    drawn = by_name(run, rank(run))["heatmap"]
    assert "3.25" in words(drawn.figure) and "ukbench\nns_score" in words(drawn.figure)
    assert "ns_score where the column says so" in drawn.caption


def test_number_of_chunks(figures: dict[str, Drawn], run: Scored) -> None:
    drawn = figures["chunks"]
    assert [axes.get_title() for axes in drawn.figure.axes] == ["norm=vector", "norm=chunk"]
    means = {(g.line.backbone, g.line.similarity): 100 * g.line.mean_map for g in gains(run)}
    for axes, norm in zip(drawn.figure.axes, ("vector", "chunk"), strict=True):
        expected = {
            name: sorted((s.chunks, mean) for (of, s), mean in means.items() if of == name and s.norm == norm)
            for name in BACKBONES
        }
        assert curves(axes) == expected
        heights = {line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1}
        assert heights >= {100 * gain.over.mean_map for gain in gains(run)}
        assert [text.get_text() for text in axes.get_xticklabels()] == ["global", "2", "4", "8"]


def test_difficulty(figures: dict[str, Drawn]) -> None:
    (axes,) = figures["difficulty"].figure.axes
    assert axes.get_title() == "pairs:copies"
    assert curves(axes) == {
        name: [(100 * area, 100 * (area / (1 + place))) for area in AREAS] for place, name in enumerate(BACKBONES)
    }


def test_gains_are_drawn_with_their_intervals_filled_where_they_are_sure(
    figures: dict[str, Drawn], run: Scored
) -> None:
    panels = {axes.get_title(): axes for axes in figures["gain"].figure.axes}
    labels = [text.get_text() for text in panels["norm=vector"].get_yticklabels()]
    assert labels[:3] == ["alpha   K = 2", "4", "8"] and len(labels) == 9
    for gain in gains(run):
        look = looks(BACKBONES)[gain.line.backbone]
        lines = panels[f"norm={gain.line.similarity.norm}"].lines
        own = [line for line in lines if line.get_color() == look.colour]
        assert gain.low is not None and gain.high is not None
        (mark,) = [line for line in own if line.get_xydata()[:, 0].tolist() == [100 * gain.value]]
        (bar,) = [line for line in own if line.get_xydata()[:, 0].tolist() == [100 * gain.low, 100 * gain.high]]
        assert mark.get_marker() == look.marker and set(bar.get_ydata()) == set(mark.get_ydata())
        assert (mark.get_markerfacecolor() == "white") == (gain.low <= 0 <= gain.high)


def test_more_gains_than_fit_on_a_page_are_the_best_of_each() -> None:
    chunks = [f"chunked@{k}" for k in (2, 4, 8)]
    cells = {
        (f"net{at}", "a", similarity): no_better(ranks_of(at), worse)
        for at in range(30)
        for worse, similarity in enumerate(("global", *chunks))
    }
    drawn = by_name(run := scored(cells), rank(run))["gain"]
    assert [text.get_text() for text in drawn.figure.axes[0].get_yticklabels()] == [f"net{at}" for at in range(30)]
    assert "Similarity of all: chunked@2." in drawn.caption and drawn.figure.get_figheight() < 9


def test_a_backbone_looks_the_same_everywhere(figures: dict[str, Drawn]) -> None:
    look = looks(BACKBONES)
    for figure in (figures[name].figure for name in ("chunks", "difficulty")):
        for line in (line for axes in figure.axes for line in axes.lines if line.get_label() in look):
            of = look[str(line.get_label())]
            assert (to_hex(line.get_color()).upper(), line.get_marker()) == (to_hex(of.colour).upper(), of.marker)
    for figure in (figures[name].figure for name in ("pareto", "ranks", "gain")):
        marked = [line for axes in figure.axes for line in axes.lines if line.get_marker() in ["o", "s", "^"]]
        assert {(line.get_color(), line.get_marker()) for line in marked} == {
            (of.colour, of.marker) for of in look.values()
        }


def test_sixteen_backbones_are_told_apart_without_colour_and_many_with_it() -> None:
    found = list(looks(f"net{number}" for number in range(280)).values())
    assert len({(of.marker, of.filled) for of in found[:16]}) == 16
    assert len({(of.colour, of.marker, of.line, of.filled) for of in found}) == 280


# marks


def drawn_at(figure: Drawn) -> set[tuple[float, float]]:
    """Where the SVG has a marker, in its units."""
    tree = ET.fromstring(figure.encoded("svg"))
    uses = tree.iter("{http://www.w3.org/2000/svg}use")
    return {(float(use.attrib["x"]), float(use.attrib["y"])) for use in uses if "style" in use.attrib}


@pytest.mark.parametrize("name", ["pareto", "chunks", "difficulty"])
def test_a_mark_is_where_its_point_is_in_the_svg(figures: dict[str, Drawn], name: str) -> None:
    places = np.array(sorted(drawn_at(figures[name])))
    marks = figures[name].marks
    assert {mark.backbone for mark in marks} == set(BACKBONES) and all(mark.is_round for mark in marks)
    for mark in marks:
        centre = mark.left + mark.width / 2, mark.top + mark.height / 2
        assert np.hypot(*(places - centre).T).min() < 0.02
        assert mark.width == pytest.approx(12) == mark.height


@pytest.mark.parametrize("name", ["ranks", "gain"])
def test_a_mark_is_the_row_of_its_point(figures: dict[str, Drawn], name: str) -> None:
    places = drawn_at(figures[name])
    marks = figures[name].marks
    for mark in marks:
        inside = [
            (x, y)
            for x, y in places
            if mark.left <= x <= mark.left + mark.width and mark.top < y < mark.top + mark.height
        ]
        assert inside and {round(y - mark.top - mark.height / 2, 1) for _, y in inside} == {0.0}
    assert len(marks) == {"ranks": 3, "gain": 12}[name]


def test_a_mark_is_the_cell_of_its_score(figures: dict[str, Drawn]) -> None:
    tree = ET.fromstring(figures["heatmap"].encoded("svg"))
    paths = [path.attrib["d"] for path in tree.iter("{http://www.w3.org/2000/svg}path")]
    corners = [np.array(re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path), float) for path in paths]
    boxes = [(*points.min(axis=0), *points.max(axis=0)) for points in corners if len(points) == 4]
    marks = figures["heatmap"].marks
    assert len(marks) == 6
    for mark in marks:
        box = mark.left, mark.top, mark.left + mark.width, mark.top + mark.height
        assert any(np.allclose(box, other, atol=0.02) for other in boxes)


def test_marks_say_the_scores(figures: dict[str, Drawn], run: Scored, ranking: Ranking) -> None:
    labels = {name: [mark.label for mark in of.marks] for name, of in figures.items()}
    speed = dict(zip(BACKBONES, (100.0, 300.0, 30.0), strict=True))
    for s in ranking.standings:
        assert s.low is not None and s.high is not None
        mean = f"mean mAP {100 * s.mean_map:.1f} % ({100 * s.low:.1f}\u2013{100 * s.high:.1f})"
        name = f"{s.backbone}, {s.similarity}"
        assert f"{name}: {mean}, {speed[s.backbone]:.1f} images/s" in labels["pareto"]
        assert f"{name}: rank {s.rank} ({s.rank_low}\u2013{s.rank_high}), {mean}" in labels["ranks"]
        for record in run.records:
            if (record.cell.backbone, str(record.cell.similarity)) == (s.backbone, s.similarity):
                score = f"map {100 * record.body['metrics']['map']:.1f} %"
                assert f"{name}, {record.cell.dataset}: {score}" in labels["heatmap"]
    for g in gains(run):
        assert g.low is not None and g.high is not None
        between = f"({100 * g.low:+.1f} to {100 * g.high:+.1f})"
        name, similarity = g.line.backbone, g.line.similarity
        said = f"{name}, {similarity}: {100 * g.value:+.1f} {between} points of mean mAP over global"
        assert said in labels["gain"]
        k, norm, mean = similarity.chunks, similarity.norm, f"mean mAP {100 * g.line.mean_map:.1f} %"
        assert f"{name}, K = {k}, norm={norm}: {mean}" in labels["chunks"]
        assert f"{name}, global: mean mAP {100 * g.over.mean_map:.1f} %" in labels["chunks"]
    assert "alpha, global, pairs:copies, 50 % copied: mAP 50.0 %" in labels["difficulty"]


def test_what_has_no_score_and_no_interval_says_so() -> None:
    run = scored({("a", "one", "global"): ranks_of(1), ("b", "two", "global"): ranks_of(2)})
    marks = by_name(run, rank(run))["heatmap"].marks
    without = {mark.label for mark in marks if mark.label.endswith("no score")}
    assert without == {"a, global, two: no score", "b, global, one: no score"}
    lost = full_run()
    for mark in by_name(lost := Scored(lost.records, {}, 2), rank(lost))["pareto"].marks:
        assert re.search(r"mean mAP \d+\.\d %, [\d.]+ images/s$", mark.label)


# what is left out


def test_what_has_no_data_is_left_out() -> None:
    run = scored({("a", "plain", "global"): ranks_of(1), ("a", "plain", "cross@tokens"): ranks_of(2)})
    for record in run.records:
        record.body["throughput"] = None
    assert by_name(run, rank(run)).keys() == {"heatmap"}
    lost = full_run()
    lost = Scored(lost.records, {}, 2)
    found = by_name(lost, rank(lost))
    assert found.keys() == {"pareto", "heatmap", "chunks", "gain", "difficulty"}
    assert not any("95 %" in figure.caption for figure in found.values())
    failed = scored({("a", "plain", "global"): None})
    assert by_name(failed, rank(failed)) == {}


def test_random_weights_are_never_drawn_beside_real_ones() -> None:
    both, random = full_run(), full_run("random", ("untrained", "b", "c"))
    mixed = Scored((*both.records, *random.records), {**both.evidence, **random.evidence}, 2)
    found = by_name(mixed, rank(mixed))
    assert found.keys() == {"pareto", "ranks", "heatmap", "chunks", "gain", "difficulty"}
    assert not any("untrained" in word or "random" in word for drawn in found.values() for word in words(drawn.figure))
    assert all(drawn.caption.endswith("Left out, of random weights: b, c, untrained.") for drawn in found.values())
    alone = by_name(random, rank(random))
    assert alone.keys() == {f"{name}.random" for name in ("heatmap", "chunks", "gain", "difficulty")}
    for drawn in alone.values():
        assert "random weights" in words(drawn.figure) and drawn.caption.endswith("All weights are random.")


def test_a_sample_is_told() -> None:
    run = scored({("a", "plain", "global"): ranks_of(1)}, dataset={"limit": 40, "metrics": ["map"]})
    for record in run.records:
        record.body["dataset"] |= {"name": "plain", "kind": "copy"}
    assert by_name(run, rank(run))["heatmap"].caption.endswith("A sample of 40 queries a dataset.")


# speeds


def timing(folder: Path, *rows: dict[str, object]) -> Path:
    lines = [",".join(str(row.get(column, "")) for column in COLUMNS) for row in rows]
    (folder / "throughput.csv").write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    return folder


def timed(backbone: str, speed: float | str, batch_size: int = 32, **changed: object) -> dict[str, object]:
    usual = {"precision": "fp32", "device": "cpu", "cpu": "a CPU", "forward_images_per_s_median": speed}
    return {"backbone": backbone, "batch_size": batch_size, **usual, **changed}


def test_measured_throughput_is_taken_for_the_speed(tmp_path: Path, run: Scored) -> None:
    rows = [timed("alpha", 7.5), timed("beta[size=64]", 5), timed("alpha", 9, 1), timed("gamma", "", error="no memory")]
    rows += [timed("alpha", 99, precision="bf16"), timed("alpha", 999, device="cuda", gpu="a GPU")]
    found = speeds(timing(tmp_path, *rows), run.records)
    assert found is not None and found.images_per_s == {"alpha": 7.5, "beta[size=64]": 5}
    assert (found.what, found.device) == ("forward pass, fp32, batches of 32", "a CPU (cpu)")
    drawn = by_name(run, rank(run), tmp_path)["pareto"]
    assert drawn.caption.endswith("Without a speed on that device: gamma$_$<script>.")


def test_the_largest_batch_of_the_device_with_most_backbones_is_taken(tmp_path: Path, run: Scored) -> None:
    on_gpu = {"device": "cuda", "gpu": "a GPU"}
    rows = [timed("a", 1), timed("a", 2, 64, **on_gpu), timed("b", 3, 64, **on_gpu), timed("b", 4, 8, **on_gpu)]
    found = speeds(timing(tmp_path, *rows, timed("a", 5, 8, **on_gpu), timed("a", 6, 256, **on_gpu)), run.records)
    assert found is not None and found.images_per_s == {"a": 2, "b": 3} and found.device == "a GPU (cuda)"


def test_speeds_of_a_run_are_of_one_device_and_over_all_images(tmp_path: Path) -> None:
    run = full_run()
    for record in run.records:
        if record.cell.backbone == "alpha":
            plain = record.cell.dataset == "plain"
            record.body["throughput"] |= {"n_images": 90 if plain else 10, "images_per_s": 90.0 if plain else 1.0}
        if record.cell.backbone == "beta[size=64]":
            record.body["hardware"]["cpu"] = "another CPU"
    found = speeds(timing(tmp_path, timed("alpha", 5, 1)), run.records)  # a table without batches
    assert found is not None and found.device == "a CPU (cpu)"
    assert found.images_per_s == pytest.approx({"alpha": 100 / 11, "gamma$_$<script>": 30})


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00"])
def test_a_table_that_is_none_is_refused(content: bytes, tmp_path: Path, run: Scored) -> None:
    (tmp_path / "throughput.csv").write_bytes(content)
    with pytest.raises(UsageError, match=r"throughput\.csv is no table of `throughput` .*: delete it"):
        speeds(tmp_path, run.records)


# files


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of the same run, written by another process."""
    script = (
        "import sys; from pathlib import Path; from bench.ranking import rank\n"
        "from bench.report.figures import draw, speeds, write_figures; from tests.test_figures import full_run\n"
        "run, folder = full_run(), Path(sys.argv[1])\n"
        "write_figures(folder, draw(run, rank(run), speeds(folder, run.records)))"
    )
    folder = tmp_path_factory.mktemp("run")
    subprocess.run([sys.executable, "-c", script, str(folder)], cwd=ROOT, check=True)
    return sorted((folder / FOLDER).iterdir())


def test_the_same_run_is_the_same_bytes_in_another_process(written: list[Path], figures: dict[str, Drawn]) -> None:
    before = dict(rcParams)
    for name, drawn in figures.items():
        for kind in FORMATS:
            (path,) = [path for path in written if path.name == f"{name}.{kind}"]
            assert drawn.encoded(kind) == path.read_bytes(), path.name
    assert dict(rcParams) == before


@pytest.mark.parametrize("setting", ["figure.autolayout", "figure.constrained_layout.use"])
def test_no_settings_of_the_reader_change_the_layout(
    setting: str, run: Scored, ranking: Ranking, figures: dict[str, Drawn]
) -> None:
    with rc_context({setting: True}):
        drawn = by_name(run, ranking)["ranks"]
        assert drawn.svg == figures["ranks"].svg


def test_every_figure_is_there_in_every_format_with_its_caption(written: list[Path], figures: dict[str, Drawn]) -> None:
    assert {path.name for path in written} == {f"{name}.{kind}" for name in figures for kind in (*FORMATS, "txt")}
    for path in written:
        if path.suffix == ".txt":
            assert path.read_text() == f"{figures[path.stem].caption}\n"


def test_figures_are_one_or_two_columns_wide_with_fonts_inside(written: list[Path]) -> None:
    for path in (path for path in written if path.suffix == ".pdf"):
        content = path.read_bytes()
        box = re.search(rb"/MediaBox \[\s*0 0 ([0-9.]+) ([0-9.]+)", content)
        assert box is not None and float(box[1]) / 72 in (pytest.approx(3.3, abs=0.01), pytest.approx(6.9, abs=0.01))
        assert float(box[2]) / 72 < 9.5
        assert b"/FontFile2" in content and b"/Type3" not in content and b"/CreationDate" not in content
        with Image.open(path.with_suffix(".png")) as picture:
            assert picture.width == pytest.approx(float(box[1]) / 72 * 300, abs=2)


def test_letters_have_seven_points_or_nearly(figures: dict[str, Drawn]) -> None:
    for drawn in figures.values():
        texts = drawn.figure.findobj(match=lambda part: hasattr(part, "get_fontsize"))
        assert all(6 <= text.get_fontsize() <= 8.5 for text in texts if text.get_text())


def test_svg_needs_nothing_from_elsewhere_and_tells_what_it_shows(
    written: list[Path], figures: dict[str, Drawn]
) -> None:
    for path in (path for path in written if path.suffix == ".svg"):
        content = path.read_text()
        root = ET.fromstring(content)
        links = [value for part in root.iter() for key, value in part.attrib.items() if key.endswith("href")]
        assert all(link.startswith("#") for link in links)
        assert not list(root.iter("{http://www.w3.org/2000/svg}script")) and "<dc:date>" not in content
        described = root.find(".//{http://purl.org/dc/elements/1.1/}description")
        assert described is not None and described.text == figures[path.stem].caption


def test_figures_that_are_no_more_go_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name in ("pareto.pdf", "chunks.random.svg", "mine.pdf"):
        (folder / name).write_text("before")
    run = scored({("a", "plain", similarity): ranks_of(1) for similarity in ("global", "chunked@2")})
    write_sweep_figures(tmp_path, run)
    assert {path.name for path in folder.iterdir()} == {
        *("pareto.pdf", "mine.pdf"),
        *(f"gain.{kind}" for kind in (*FORMATS, "txt")),
    }
    write_figures(tmp_path, draw(run, rank(run), None))
    assert {path.stem for path in folder.iterdir()} == {"heatmap", "gain", "mine"}


def test_every_figure_is_documented() -> None:
    documented = (ROOT / "docs/figures.md").read_text().partition("## Sweeps")[0]
    assert re.findall(r"^\| `(\w+)` \|", documented, re.M) == list(FIGURES)
