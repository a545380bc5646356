"""Figures that answer, and published figures, in headless Chromium: what is pointed at, tapped, typed and printed."""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from bench import published_figures as published
from bench.ranking import rank
from bench.report import tables_of
from bench.report.figures import draw, speeds
from bench.report.figures.heatmap import _COLOURS
from bench.report.figures.style import looks
from bench.report.page import Figure, page
from tests.browser.opened import BOARD, Opened, opened, sync_api
from tests.test_figures import full_run

#: The first is a part of the second, the third is markup with a quote in it.
BACKBONES = ("net1", "net10", 'x"<script>alert(1)</script>')
ORDER = ("pareto", "ranks", "heatmap", "chunks", "gain", "difficulty")
ROWS = "tbody tr:not([hidden])"


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of three backbones with all figures, two of whose scores stand beside published ones."""
    run = full_run(backbones=BACKBONES)
    for record in run.records:  # what a run writes too
        record.body["dataset"] |= {"n_queries": 40, "manifest_sha256": "0" * 64}
        record.body["postprocess"] |= {"fit_set": None}
    tables = tables_of(run)
    drawn = {one.name: one for one in draw(run, rank(run), speeds(Path("nowhere"), run.records))}
    figures = [Figure(o.title, o.caption, o.encoded("svg").decode(), o.marks) for o in map(drawn.get, ORDER) if o]
    assert len(figures) == len(ORDER)
    source = next(figure for figure in published.read(published.FIGURES) if figure.comparable)
    ours = run.records[0]
    beside = [
        published.Beside(replace(source, backbone="net1", metric="map", value=0.99), ours),
        published.Beside(replace(source, metric="map", value=0.001, url="javascript:alert(2)"), ours),
    ]
    path = tmp_path_factory.mktemp("marked") / "report.html"
    path.write_text(page(run, tables.leaderboard, tables.verdicts, figures, (), beside), encoding="utf-8")
    return path


def figure(tab: "sync_api.Page", name: str) -> "sync_api.Locator":
    return tab.locator("#figures figure").nth(ORDER.index(name))


def marks(tab: "sync_api.Page", name: str, backbone: str = BACKBONES[0]) -> "sync_api.Locator":
    found = figure(tab, name).locator(".marks rect")
    at = [n for n, of in enumerate(found.evaluate_all("all => all.map((m) => m.dataset.backbone)")) if of == backbone]
    return found.nth(at[0])


def pixels(page: Opened) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(page.tab.screenshot(full_page=True))).convert("RGB"))


def colour(found: NDArray[np.uint8], box: dict[str, float], across: float, down: float) -> list[int]:
    """Where a box is so far across and down, two pixels a CSS pixel."""
    x, y = (2 * (box[of] + part * box[side]) for of, side, part in (("x", "width", across), ("y", "height", down)))
    return found[int(y), int(x)].tolist()


@pytest.mark.parametrize("width", [1280, 400])
def test_marks_lie_on_what_is_drawn(browser: "sync_api.Browser", marked: Path, width: int) -> None:
    page = opened(browser, marked, viewport={"width": width, "height": 800}, device_scale_factor=2)
    # below the window they are not drawn yet
    page.tab.evaluate("Promise.all([...document.images].map((one) => { one.loading = 'eager'; return one.decode(); }))")
    found = pixels(page)  # at the top of the page, so that boxes are places on it
    look = looks(BACKBONES)
    for name in ("pareto", "chunks", "difficulty"):
        points = figure(page.tab, name).locator("rect").all()
        boxes = np.array([list(point.bounding_box().values()) for point in points])
        alone = [n for n, (x, y, *_) in enumerate(boxes) if (np.hypot(*(boxes[:, :2] - (x, y)).T) < 8).sum() == 1]
        assert len(alone) >= 3
        for n in alone:
            expected = [round(255 * part) for part in to_rgb(look[points[n].get_attribute("data-backbone")].colour)]
            assert colour(found, points[n].bounding_box(), 0.5, 0.5) == pytest.approx(expected, abs=3)
    for backbone in BACKBONES:  # the rank is somewhere on the row, and on no other
        expected = np.array([round(255 * part) for part in to_rgb(look[backbone].colour)])
        box = marks(page.tab, "ranks", backbone).bounding_box()
        top, bottom, left, right = (
            int(2 * end) for end in (box["y"], box["y"] + box["height"], box["x"], box["x"] + box["width"])
        )
        near = np.abs(found[:, left:right].astype(int) - expected).max(axis=2) <= 3
        rows = np.flatnonzero(near[top - 200 : bottom + 200].any(axis=1)) + top - 200
        middle = (top + bottom) / 2
        assert abs(rows - middle).min() <= 1 and top < np.median(rows) < bottom
    cells = figure(page.tab, "heatmap").locator("rect")
    for at in range(cells.count()):
        share = float(re.search(r"([\d.]+) %", cells.nth(at).text_content())[1]) / 100
        expected = [round(255 * part) for part in _COLOURS(share)[:3]]
        assert colour(found, cells.nth(at).bounding_box(), 0.1, 0.2) == pytest.approx(expected, abs=3)


def test_pointing_tells_and_shows_the_backbone_everywhere(browser: "sync_api.Browser", marked: Path) -> None:
    page = opened(browser, marked)
    told = figure(page.tab, "pareto").locator(".told")
    assert told.inner_text() == "No mark is chosen." and page.tab.locator(".same").count() == 0
    mark = marks(page.tab, "pareto")
    mark.hover()
    label = mark.text_content()
    assert re.fullmatch(r"net1, \S+: mean mAP \d+\.\d % \(\d+\.\d\u2013\d+\.\d\), 100\.0 images/s", label)
    assert told.inner_text() == label
    assert page.tab.get_by_role("button", name=label, exact=True).count() == 1
    for name in ORDER:
        same = figure(page.tab, name).locator(".same")
        assert same.count() and set(same.evaluate_all("all => all.map((m) => m.dataset.backbone)")) == {"net1"}
        strokes = same.evaluate_all("all => all.map((m) => getComputedStyle(m).stroke)")
        assert "rgba(0, 0, 0, 0)" not in strokes
    sync_api.expect(page.tab.locator(f"{BOARD} tr.same th.name")).to_have_count(1)
    (row,) = page.tab.locator(f"{BOARD} tr.same th.name").all_inner_texts()
    assert row == "net1"
    page.tab.mouse.move(0, 0)
    assert told.inner_text() == "No mark is chosen." and page.tab.locator(".same").count() == 0
    # names are text here too
    assert BACKBONES[2] in marks(page.tab, "ranks", BACKBONES[2]).text_content()
    assert page.said == [] and page.asked == [marked.as_uri()]


def test_a_click_filters_the_leaderboard_and_the_box_undoes_it(browser: "sync_api.Browser", marked: Path) -> None:
    page = opened(browser, marked)
    names = page.tab.locator(f"{BOARD} {ROWS} th.name")
    for backbone in BACKBONES:
        marks(page.tab, "heatmap", backbone).click()
        assert page.tab.get_by_label("Names with").input_value() == f'"{backbone}"'
        sync_api.expect(names).to_have_text([backbone])
    assert figure(page.tab, "heatmap").locator(".told").inner_text().endswith(" %. Leaderboard: 1 of 3 rows.")
    page.tab.get_by_label("Names with").fill("")
    assert names.count() == 3
    page.tab.get_by_label("Names with").fill('"net1')  # while it is typed
    sync_api.expect(names).to_have_count(2)
    assert sorted(names.all_inner_texts()) == ["net1", "net10"]
    page.tab.get_by_label("Names with").fill('"net1" chunked')
    assert names.count() == 0
    assert page.said == []


def test_marks_by_keyboard(browser: "sync_api.Browser", marked: Path) -> None:
    page = opened(browser, marked)
    focused = page.tab.locator("rect:focus")
    told = figure(page.tab, "heatmap").locator(".told")
    for name in ORDER:
        assert figure(page.tab, name).locator("rect[tabindex='0']").count() == 1  # one stop of Tab
    figure(page.tab, "heatmap").locator("rect[tabindex='0']").focus()
    said = [told.inner_text()]
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "ArrowUp"):
        page.tab.keyboard.press(key)
        said.append(told.inner_text())
        assert focused.text_content() == said[-1]
    places = [tuple(re.split(r": map|, (?:global|chunked[^,]*), ", text)[:2]) for text in said]
    first, second = sorted({dataset for _, dataset in places})
    assert [dataset for _, dataset in places] == [first, second, second, second, first, first, first]
    assert len({backbone for backbone, _ in places}) == 2 and places[3][0] != places[0][0] == places[6][0]
    names = page.tab.locator(f"{BOARD} {ROWS} th.name")
    page.tab.keyboard.press("Enter")
    sync_api.expect(names).to_have_text([places[0][0]])
    page.tab.keyboard.press("Space")
    assert names.count() == 3 and told.inner_text().endswith("Leaderboard: 3 rows.")
    page.tab.keyboard.press("Shift+Tab")
    assert (
        told.inner_text() == "No mark is chosen." and focused.text_content() in figure(page.tab, "ranks").inner_text()
    )
    page.tab.keyboard.press("Tab")
    assert told.inner_text() == said[0]  # where it was left
    width = focused.evaluate("mark => getComputedStyle(mark).strokeWidth")
    assert width == "4px" and page.said == []


def test_a_first_tap_tells_and_a_second_filters(browser: "sync_api.Browser", marked: Path) -> None:
    page = opened(browser, marked, has_touch=True, viewport={"width": 400, "height": 800})
    mark, names = marks(page.tab, "ranks"), page.tab.locator(f"{BOARD} {ROWS} th.name")
    mark.tap()
    assert figure(page.tab, "ranks").locator(".told").inner_text() == mark.text_content() and names.count() == 3
    mark.tap()
    sync_api.expect(names).to_have_text(["net1"])
    mark.tap()
    assert names.count() == 3 and page.said == []


def test_marks_need_a_script_a_screen_and_no_motion(browser: "sync_api.Browser", marked: Path) -> None:
    without = opened(browser, marked, java_script_enabled=False)
    for part in (".marks", ".told", ".hint"):
        assert without.tab.locator(part).count() and not without.tab.locator(part).first.is_visible()
    assert figure(without.tab, "pareto").locator("img").is_visible()
    page = opened(browser, marked, reduced_motion="reduce")
    marks(page.tab, "pareto").focus()
    moving = page.tab.locator(".marks rect, tr.same, .told").evaluate_all(
        "all => all.map(getComputedStyle).filter((s) => s.transitionDuration !== '0s' || s.animationName !== 'none')"
    )
    assert moving == []
    page.tab.emulate_media(media="print")
    for part in (".marks", ".told", ".hint"):
        assert not page.tab.locator(part).first.is_visible()


def test_published_figures_sort_and_name_their_source(browser: "sync_api.Browser", marked: Path) -> None:
    page = opened(browser, marked)
    page.tab.get_by_role("navigation").get_by_role("link", name="Beside published figures").click()
    section = page.tab.locator("#published")
    assert section.get_by_role("heading").inner_text() == "Beside published figures"
    differences = page.column("difference", "#published table")
    assert len(differences) == 2 and differences[0].startswith("-") and differences[1].startswith("+")
    section.get_by_role("button", name="difference").click()
    assert page.column("difference", "#published table") == differences[::-1]
    (link,) = section.locator("tbody a").all()  # an address that is none of the web is text
    assert (link.get_attribute("href"), link.get_attribute("rel")) == ("https://arxiv.org/abs/2202.10261", "noreferrer")
    address = "link => getComputedStyle(link, '::after').content"
    assert link.evaluate(address) == "none"
    page.tab.emulate_media(media="print")
    assert "https://arxiv.org/abs/2202.10261" in link.evaluate(address)
    assert page.said == [] and page.asked == [marked.as_uri()]
