"""The report page: its numbers are the ranking's, names are text, nothing is fetched, pictures are the right ones."""

import base64
import copy
import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bench import published_figures as published
from bench.interfaces import Split
from bench.plugins import datasets, load_file
from bench.published_figures import Beside
from bench.records import Record, RunFolder
from bench.report import best, page, tables_of, thumbnails, write_page
from bench.report.figures import draw, speeds
from bench.report.figures.marks import Mark
from bench.report.gallery import Gallery, HardQuery, Picture, bounded, galleries, hardest, n_bytes
from bench.sample import limited
from bench.scored import Scored, read
from tests.conftest import Bench
from tests.report_page import FIGURE, MARKUP, SCRIPT, page_of, page_of_scored, run_odd
from tests.run_folders import make_run


class Read(HTMLParser):
    """The page as a list of tables of rows of cells, all attributes, and all text outside of style and script."""

    VOID = frozenset({"img", "meta", "link", "input", "br", "line"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[tuple[dict[str, str | None], str]]]] = []
        self.captions: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.raw: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "caption":
            self.captions.append("")
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            self.raw[self.open[-1]] = self.raw.get(self.open[-1], "") + data
            return
        self.text += data
        if "caption" in self.open:
            self.captions[-1] += data
        if "td" in self.open or "th" in self.open:
            attrs, before = self.tables[-1][-1][-1]
            self.tables[-1][-1][-1] = attrs, before + data

    def rows(self, caption: str) -> list[dict[str, str]]:
        """The text of the lines of a table by heading, of the first with such a caption."""
        at = next(at for at, own in enumerate(self.captions) if caption in own)
        head, *body = self.tables[at]
        names = [text for _, text in head]
        return [dict(zip(names, (text for _, text in line), strict=True)) for line in body]


@pytest.fixture(scope="module")
def odd(bench: Bench, small: Path, photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a sample of each dataset."""
    return run_odd(bench, tmp_path_factory.mktemp("odd"), small, photo, "--limit", "5")


def split_of(folder: Path, name: str) -> Split:
    """What a run over `--limit 5` measured."""
    config = RunFolder(folder).config()
    chosen = [s.item for identity in config["datasets"] for s in datasets.select(identity)]
    return limited(next(item for item in chosen if item.name == name).load(), 5, config["seed"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four backbones, the second and third alike, over two sets of copies."""
    folder = tmp_path_factory.mktemp("made") / "run"
    make_run(folder, {"good": 0.6, "alike": 1.4, "alike_2": 1.4, "bad": 4.0}, {"one": 1, "two": 2})
    return folder


def changed(scored: Scored, change: Callable[[dict[str, Any]], None]) -> Scored:
    """The same with every record's body changed."""
    records = []
    for record in scored.records:
        body = copy.deepcopy(dict(record.body))
        change(body)
        records.append(Record(body))
    return Scored(tuple(records), scored.evidence, scored.n_datasets, scored.problems)


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    return percent(value) + ("" if interval is None else "–".join(percent(end) for end in interval))  # noqa: RUF001


def test_the_leaderboard_is_the_ranking(made: Path) -> None:
    scored = read(RunFolder(made))
    ranking = tables_of(scored).verdicts[0]
    found = Read(page_of(made))
    lines = found.rows("Ranking over all datasets; similarity of a backbone: the best on the mean")
    assert [line["backbone"] for line in lines] == [s.backbone for s in ranking.standings]
    for line, s in zip(lines, ranking.standings, strict=True):
        assert s.low is not None and s.high is not None
        assert line["rank"] == f"{s.rank}{s.rank_low}–{s.rank_high}"  # noqa: RUF001
        assert line["mean mAP %"] == with_interval(s.mean_map, (s.low, s.high))
        assert (line["P(first)"], line["P(top 3)"]) == (f"{s.p_top[0]:.2f}", f"{s.p_top[2]:.2f}")
        small = s.p_next is not None and s.p_next < 0.00005
        assert line["p to next"] == ("" if s.p_next is None else "<0.0001" if small else f"{s.p_next:.4f}")
        for record in scored.records:
            if record.cell.backbone == s.backbone:
                value, interval = record.body["metrics"]["map"], scored.intervals[record.cell, "map"]
                assert line[f"{record.cell.dataset}map %"] == with_interval(value, interval)
    letters = [line["not separable"] for line in lines]
    expected = [
        " ".join("ab"[n] for n, (low, high) in enumerate(ranking.brackets) if low <= at <= high) for at in range(4)
    ]
    assert (
        letters == expected
        and ranking.brackets
        and {"alike", "alike_2"} == {line["backbone"] for line, letter in zip(lines, letters, strict=True) if letter}
    )
    assert f"good, global, is first of 4: mean mAP {percent(ranking.standings[0].mean_map)} %" in found.text
    assert "separable from the next, " + ranking.standings[1].backbone in found.text


def test_every_metric_of_a_dataset_has_its_interval(made: Path) -> None:
    scored = read(RunFolder(made))
    lines = {line["backbone"]: line for line in Read(page_of(made)).rows("Every metric on two")}
    assert len(lines) == 4
    for record in scored.records:
        if record.cell.dataset == "two":
            line, body, cell = lines[record.cell.backbone], record.body["metrics"], record.cell
            for name in ("map", "hit@1", "micro_ap"):
                assert line[f"{name} %"] == with_interval(body[name], scored.intervals[cell, name])
            threshold = body["threshold@p90"]
            # a similarity is no percentage
            assert line["threshold@p90"].startswith("" if threshold is None else f"{threshold:.3f}")
    values = [float(line["map %"][:4]) for line in Read(page_of(made)).rows("Every metric on two")]
    assert values == sorted(values, reverse=True)


def test_scores_by_tag(made: Path) -> None:
    scored = read(RunFolder(made))
    lines = {line["backbone"]: line for line in Read(page_of(made)).rows("hit@1 in percent on one, by tag")}
    for record in scored.records:
        if record.cell.dataset == "one":
            score = record.body["by_tag"]["even"]["hit@1"]
            assert lines[record.cell.backbone][f"even{score['n_queries']} queries"] == percent(score["value"])


def test_a_missing_result_is_an_empty_cell(made: Path) -> None:
    scored = read(RunFolder(made))

    def lose(body: dict[str, Any]) -> None:
        if body["backbone"]["name"] == "bad":
            body["metrics"] |= {"micro_ap": None}
            body |= {"throughput": None}

    found = Read(page_of_scored(changed(scored, lose), made))
    at = next(at for at, caption in enumerate(found.captions) if "Every metric on one" in caption)
    column = [text for _, text in found.tables[at][0]].index("micro_ap %")
    (line,) = [line for line in found.tables[at][1:] if line[0][1] == "bad"]
    assert line[column] == ({"class": "number"}, "")  # nothing to sort it by


def test_random_weights_are_labelled_and_never_ranked(made: Path) -> None:
    scored = read(RunFolder(made))
    shuffled = changed(
        scored, lambda body: body["backbone"].update(weights="random") if body["backbone"]["name"] == "good" else None
    )
    found = Read(page_of_scored(shuffled, made))
    assert "good" not in [line["backbone"] for line in found.rows("Ranking over all datasets")]
    assert "good: its weights are random" in found.text and "weights=random" in found.text
    (row,) = [line for line in found.rows("Every backbone with every") if line["backbone"].startswith("good")]
    assert row["rank"] == "" and "random weights" in row["backbone"]
    # the best value of a column is another one's
    best = [attrs.get("class") for t in found.tables for r in t for attrs, _ in r if r[0][1].startswith("good")]
    assert not any("best" in (name or "") for name in best)


def test_a_run_of_random_weights_alone(tmp_path: Path) -> None:
    make_run(tmp_path / "run", {"a": 0.6, "bb": 1.0}, {"one": 1}, weights="random")
    found = Read(page_of(tmp_path / "run"))
    assert "Every backbone has random weights, so none is ranked." in found.text
    assert [line["rank"] for line in found.rows("Every backbone with every") if "rank" in line] == []
    assert "There is no ranking to choose them by." in found.text


def test_what_has_no_scores_says_why(made: Path) -> None:
    def fail(body: dict[str, Any]) -> None:
        if body["backbone"]["name"] == "bad":
            error = {"phase": "weights", "type": "WeightsUnavailable", "message": "bring <b>bad.pth</b>"}
            body |= {"status": "unavailable", "error": error, "metrics": {}, "n_used": {}, "by_tag": {}}

    found = Read(page_of_scored(changed(read(RunFolder(made)), fail), made))
    assert "bad: unavailable: bring <b>bad.pth</b>" in found.text
    assert "bad: it has no score on one, two" in found.text
    assert "bad" not in [line["backbone"] for line in found.rows("Every backbone with every")]


def test_what_cannot_be_used_is_told_and_the_rest_is_there(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    lost = next((folder / "records").glob("bad--one*.npz"))
    lost.unlink()
    found = Read(page_of(folder))
    assert "Not everything could be used" in found.text and str(lost) in found.text
    lines = found.rows("Every metric on one")
    assert len(lines) == 4
    (line,) = [line for line in lines if line["backbone"] == "bad"]
    assert re.fullmatch(r"\d+\.\d", line["map %"])  # its score without an interval


def test_names_are_text(odd: Path) -> None:
    text = page_of(odd)
    found = Read(text)
    assert SCRIPT in found.text and MARKUP in found.text and "What <b>it</b> says." in found.text
    assert text.count("<script") == text.count("<style") == 1 and "alert" not in found.raw["script"]
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]

    def rename(body: dict[str, Any]) -> None:
        body["backbone"]["name"] = f'"><script>alert("{body["backbone"]["name"]}")</script>'
        body["argv"] = ["bench", "run", "<script>alert(5)</script>"]

    scored = changed(read(RunFolder(odd)), rename)
    renamed = page_of_scored(Scored(scored.records, {r.cell: e for r, e in _paired(scored)}, 2), odd)
    assert renamed.count("<script") == 1 and '"><script>alert("pdq")</script>' in Read(renamed).text


def _paired(scored: Scored) -> list[tuple[Record, Any]]:
    return list(zip(scored.records, scored.evidence.values(), strict=True))


def test_nothing_is_fetched_and_only_its_own_script_runs(odd: Path) -> None:
    found = Read(page_of(odd))
    links = [
        value or "" for _, name, value in found.attributes if name in ("src", "href", "srcset", "action", "xlink:href")
    ]
    assert links and all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"@import|url\(|https?:", found.raw["style"] + found.raw["script"])
    (policy,) = [value for _, name, value in found.attributes if name == "content" and "default-src" in (value or "")]
    rules = dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(found.raw[tag].encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert not [value for _, name, value in found.attributes if name == "style"]  # the policy would refuse it
    targets = {value for _, name, value in found.attributes if name == "id"}
    assert {link[1:] for link in links if link.startswith("#")} <= targets


def test_every_image_and_table_is_named(odd: Path) -> None:
    found = Read(page_of(odd))
    n_images = sum(name == "src" for tag, name, _ in found.attributes if tag == "img")
    assert n_images == sum(name == "alt" and bool(value) for tag, name, value in found.attributes if tag == "img")
    assert len(found.captions) == len(found.tables) and all(found.captions)
    scopes = [attrs.get("scope") for table in found.tables for line in table for attrs, _ in line if "scope" in attrs]
    assert set(scopes) == {"row", "col"}


def test_provenance(odd: Path) -> None:
    found = Read(page_of(odd)).text
    body = next(read(RunFolder(odd)).records.__iter__()).body
    for told in ("bench run --backbones color,dhash,pdq", body["hardware"]["cpu"], body["packages"]["torch"]):
        assert told in found
    assert body["dataset"]["manifest_sha256"] in found and (body["git"]["sha"] or "unknown") in found


def test_figures_are_images_of_their_own(odd: Path) -> None:
    text = page_of(odd)
    (uri,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)" width="386" height="110"', text)
    assert base64.b64decode(uri).decode() == FIGURE.svg
    assert page_of(odd, ()).count("<figcaption><strong>Ranks") == 0


def test_published_figures_stand_beside_ours(made: Path) -> None:
    def rename(body: dict[str, Any]) -> None:
        body["postprocess"] |= {"fit_set": None}
        if body["backbone"]["name"] == "good" and body["dataset"]["name"] == "one":
            body["backbone"] |= {"name": "clip", "non_commercial": True}
            body["dataset"] |= {"name": "cub200"}

    scored = changed(read(RunFolder(made)), rename)
    pairs = published.pairs_of(scored.records)
    assert pairs and {pair.figure.metric for pair in pairs} == {"hit@1"}
    tables = tables_of(scored)
    odd_source = [Beside(replace(pair.figure, source=MARKUP, url="javascript:alert(3)"), pair.record) for pair in pairs]
    shown = [*pairs, *odd_source]
    text = page.page(scored, tables.leaderboard, tables.verdicts, (), (), shown)
    found = Read(text)
    rows = found.rows("Scores of this run beside those that were published")
    assert len(rows) == len(shown)
    for row, pair in zip(rows, shown, strict=True):
        assert row == pair.cells | {"backbone": "clip†", "source": pair.figure.source}
    links = [value for tag, name, value in found.attributes if (tag, name) == ("a", "href") and "#" not in str(value)]
    assert links == [pair.figure.url for pair in pairs]
    assert ("a", "href", "#published") in found.attributes
    assert 'id="published"' not in page_of(made) and "#published" not in page_of(made)


def test_the_report_of_a_folder_has_what_pairs(made: Path, tmp_path: Path) -> None:
    def rename(body: dict[str, Any]) -> None:
        body["postprocess"] |= {"fit_set": None}
        body["backbone"] |= {"name": "clip"} if body["backbone"]["name"] == "good" else {}
        body["dataset"] |= {"name": "cub200"} if body["dataset"]["name"] == "one" else {}

    scored = changed(read(RunFolder(made)), rename)
    folder = RunFolder(tmp_path)
    (tmp_path / "run.json").write_bytes((made / "run.json").read_bytes())
    tables = tables_of(scored)
    drawn = draw(scored, best(scored, tables.verdicts), speeds(tmp_path, scored.records))
    written = write_page(folder, scored, tables, drawn)
    found = Read(written.read_text(encoding="utf-8"))
    assert found.rows("Scores of this run beside those")[0]["backbone"] == "clip"
    # the marks of its figures are of the ranked backbones
    assert {value for _, name, value in found.attributes if name == "data-backbone"} == {
        record.cell.backbone for record in scored.records
    }


def test_marks_are_in_the_units_of_their_picture(odd: Path) -> None:
    mark = Mark("<b>pdq", 'says "<script>"', left=10.125, top=20.0, width=12.0, height=6.0, is_round=True)
    found = Read(page_of(odd, (replace(FIGURE, marks=(mark,)),)))
    of = {name: value for tag, name, value in found.attributes if tag == "rect"}
    assert of.pop("x") in ("10.12", "10.13")
    assert of == {
        "role": "button",
        "tabindex": "0",
        "data-backbone": "<b>pdq",
        "y": "20.0",
        "width": "12.0",
        "height": "6.0",
        "rx": "6.0",
    }
    assert ("svg", "viewbox", "0 0 252 72") in found.attributes and 'says "<script>"' in found.text
    assert 'class="marks"' not in page_of(odd)


# the gallery


def test_hardest_by_brute_force() -> None:
    first, second = np.array([0.5, np.nan, 1.0, 0.1, 0.4]), np.array([0.1, np.nan, 1.0, 0.5, 0.1])
    order, means = hardest([first, second], 9)
    assert order.tolist() == [4, 0, 3] and np.allclose(means, [0.25, 0.3, 0.3])  # 2 is perfect, 1 has no answer
    assert hardest([first, second], 1)[0].tolist() == [4]


def found_galleries(folder: Path) -> dict[str, Gallery]:
    scored = read(RunFolder(folder))
    return {g.dataset: g for g in galleries(scored, tables_of(scored).verdicts[0], RunFolder(folder).config())}


def test_matches_are_what_the_first_backbone_found(odd: Path) -> None:
    scored = read(RunFolder(odd))
    ranking = tables_of(scored).verdicts[0]
    first = ranking.standings[0]
    shown = found_galleries(odd)["folder:odd"]
    assert (shown.backbone, shown.similarity, shown.n_backbones) == (first.backbone, first.similarity, 3)
    split = split_of(odd, "folder:odd")
    evidence = next(
        e
        for cell, e in scored.evidence.items()
        if (cell.backbone, cell.dataset, str(cell.similarity)) == (first.backbone, "folder:odd", first.similarity)
    )
    assert shown.queries
    for query in shown.queries:
        at = [image.id for image in split.queries].index(query.picture.id)
        assert [m.picture.id for m in query.matches] == [split.database[row].id for row in evidence.top[at, :5]]
        right = {split.database[row].id for row in split.ground_truth.positives[at]}
        assert [m.right for m in query.matches] == [m.picture.id in right for m in query.matches]
        ranks = [place for place, row in enumerate(evidence.top[at]) if split.database[row].id in right]
        assert query.first_right == ranks[0] + 1
    colour = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.queries[0].picture.uri.partition(",")[2]))))
    assert max(colour.shape[:2]) == thumbnails.SIDE
    path = next(image.path for image in split.queries if image.id == shown.queries[0].picture.id)
    wanted = np.asarray(Image.open(path).convert("RGB").resize(colour.shape[1::-1]), np.float64)
    assert np.abs(colour - wanted).mean() < 8  # JPEG


def test_a_miss_shows_what_was_sought(odd: Path) -> None:
    """A hash cut into chunks, to which many images are alike, with the right ones taken out of its best matches."""
    scored = read(RunFolder(odd))
    chunked = next(v for v in tables_of(scored).verdicts if (v.group, v.rule) == ("synthetic", "chunked"))
    alone = replace(
        chunked, standings=tuple(s for s in chunked.standings if s.backbone == "dhash"), brackets=(), apart={}
    )
    cell = next(
        c for c in scored.evidence if (c.backbone, c.dataset, c.similarity.chunks) == ("dhash", "disc:small", 16)
    )
    evidence = scored.evidence[cell]
    split = split_of(odd, "disc:small")
    rows = np.arange(len(split.database))
    top = np.array([[*np.setdiff1d(rows, own)[:3], -1, -1] for own in split.ground_truth.positives])
    missing = replace(scored, evidence={**scored.evidence, cell: replace(evidence, top=top)})
    (shown,) = galleries(missing, alone, RunFolder(odd).config())
    assert shown.queries
    for query in shown.queries:
        assert len(query.matches) == 3 and not any(match.right for match in query.matches)
        assert query.sought and query.sought.id == query.picture.id.replace("queries/q", "references/r0")
    text = Read(page.page(missing, tables_of(missing).leaderboard, [alone], (), [shown])).text
    assert text.count("sought") == len(shown.queries) and "✓ right" in text  # in the legend


def moved(odd: Path, folder: Path, name: str) -> tuple[Path, Path]:
    """The run with a copy of one of its datasets elsewhere; both folders."""
    out = folder / "out"
    shutil.copytree(odd, out)
    config = RunFolder(odd).config()
    kind, _, source = next(identity for identity in config["datasets"] if identity.endswith(name)).partition(":")
    copied = folder / name
    shutil.copytree(source, copied)
    config["datasets"] = [f"{kind}:{copied}" if i == f"{kind}:{source}" else i for i in config["datasets"]]
    (out / "run.json").write_text(json.dumps(config))
    return out, copied


def test_changed_images_are_not_shown(odd: Path, tmp_path: Path) -> None:
    out, images = moved(odd, tmp_path, "odd")
    assert found_galleries(out)["folder:odd"] == found_galleries(odd)["folder:odd"]
    for image in split_of(out, "folder:odd").queries:
        Image.new("RGB", (60, 60), "red").save(image.path)
    shown = found_galleries(out)
    assert "not the ones that were measured" in shown["folder:odd"].why_none and not shown["folder:odd"].queries
    assert shown["disc:small"] == found_galleries(odd)["disc:small"]
    assert "not the ones that were measured" in Read(page_of(out)).text
    shutil.rmtree(images)
    assert "there is no dataset folder" in found_galleries(out)["folder:odd"].why_none


def test_a_ground_truth_that_is_no_text_any_more(odd: Path, tmp_path: Path) -> None:
    out, images = moved(odd, tmp_path, "small")
    (images / "ground_truth.csv").write_bytes(b"\xff\xfe\x00")
    shown = found_galleries(out)
    assert "ground_truth.csv" in shown["disc:small"].why_none and shown["folder:odd"].queries


def test_a_dataset_that_is_not_known_here_has_a_sentence(made: Path) -> None:
    assert "there is no dataset 'one'" in found_galleries(made)["one"].why_none
    assert "there is no dataset" in Read(page_of(made)).text


def test_whatever_a_plugin_raises_is_told(odd: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "from bench.interfaces import Dataset\n"
        "from bench.plugins import register_dataset\n"
        "class Broken(Dataset):\n"
        "    def load(self):\n"
        "        raise KeyError('no such <row>')\n"
        "@register_dataset(groups=())\n"
        "def broken():\n"
        "    return Broken('broken', 'copy', 'raises')\n"
    )
    load_file(plugin)
    try:
        scored = read(RunFolder(odd))
        ranking = tables_of(scored).verdicts[0]

        def rename(body: dict[str, Any]) -> None:
            body["dataset"]["name"] = body["dataset"]["name"].replace("disc:small", "broken")

        renamed = changed(scored, rename)
        renamed = replace(renamed, evidence={r.cell: e for r, e in _paired(renamed)})
        names = tuple(name.replace("disc:small", "broken") for name in ranking.datasets)
        config = RunFolder(odd).config()
        config["datasets"] = ["broken", config["datasets"][1]]
        broken, other = galleries(renamed, replace(ranking, datasets=names), config)
        assert (broken.dataset, broken.why_none) == ("broken", "KeyError: 'no such <row>'")
        assert other.queries
    finally:
        datasets._entries.pop("broken")


Sizes = st.lists(st.lists(st.integers(1, 400), max_size=6), max_size=4)


@given(Sizes, st.integers(-10, 3000))
def test_pictures_are_dropped_evenly(sizes: list[list[int]], room: int) -> None:
    made = [
        Gallery(f"d{at}", queries=tuple(HardQuery(Picture("q", "x" * n), 0.0, (), None, None) for n in of))
        for at, of in enumerate(sizes)
    ]
    kept, n = bounded(made, room)
    assert [g.queries for g in kept] == [g.queries[:n] for g in made]
    assert n_bytes(kept) <= room or n == 0
    longest = max((len(of) for of in sizes), default=0)
    assert n == longest or sum(sum(of[: n + 1]) for of in sizes) > room


def test_a_page_over_the_bound_says_what_it_left_out(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = page_of(odd)
    monkeypatch.setattr(page, "MAX_BYTES", len(whole.encode()) - 1)
    smaller = page_of(odd)
    assert len(smaller.encode()) < len(whole.encode()) and "To keep the page small" not in whole
    (n,) = re.findall(r"To keep the page small, it shows (\d+) queries of each dataset at most", smaller)
    assert smaller.count('<figure class="query">') < whole.count('<figure class="query">') and int(n) >= 1
