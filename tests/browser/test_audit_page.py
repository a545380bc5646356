"""The page of an audit in headless Chromium: choosing, filtering, where regions lie, and what it never does."""

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.audit_pages import N_COPIES, N_GENERATED, TOP_K, audited, make_sides
from tests.browser.opened import Opened, opened, sync_api
from tests.conftest import Bench
from tests.report_page import SCRIPT

TOKENS = "cross@tokens/4x4"
#: Left, top, right and bottom of a frame as fractions of its picture.
FRAME = """svg => {
    const [all, frame] = [svg, svg.querySelector(".region")].map((one) => one.getBoundingClientRect());
    const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(
        svg.querySelector(".region").getAttribute(name)));
    const to = svg.getScreenCTM();
    const corners = [[x, y], [x + width, y + height]].map(([a, b]) => new DOMPoint(a, b).matrixTransform(to));
    return corners.flatMap((corner) => [(corner.x - all.x) / all.width, (corner.y - all.y) / all.height]);
}"""


@pytest.fixture(scope="module")
def audit(bench: Bench, photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit by two backbones, one of which has no local descriptors."""
    folder = make_sides(tmp_path_factory.mktemp("audit"), photo)
    options = ["--backbones", "efficientnet_lite0,dhash", "--similarities", f"global,{TOKENS}", "--threshold", "0.85"]
    return audited(bench, folder, *options, code=3)


@pytest.fixture(scope="module")
def table(audit: Path) -> pd.DataFrame:
    return pd.read_csv(audit / "matches.csv")


def of(table: pd.DataFrame, backbone: str, similarity: str) -> pd.DataFrame:
    return table[(table["backbone"] == backbone) & (table["similarity"] == similarity)]


def choose(page: Opened, backbone: str, similarity: str) -> "sync_api.Locator":
    """The part of the page that is shown of them."""
    for name in (backbone, similarity):
        page.tab.get_by_role("radio", name=name, exact=True).check()
    return page.tab.locator(".verdict:visible")


@pytest.mark.parametrize(("backbone", "similarity"), [("efficientnet_lite0", "global"), ("dhash", "global")])
def test_filtering_by_score(
    browser: "sync_api.Browser", audit: Path, table: pd.DataFrame, backbone: str, similarity: str
) -> None:
    page = opened(browser, audit / "report.html")
    shown = choose(page, backbone, similarity)
    best = of(table, backbone, similarity)
    best = best[best["rank"] == 1].sort_values("score", ascending=False, kind="stable")
    slider = page.tab.get_by_label("Best score at least").and_(page.tab.locator(":visible"))
    copies = shown.locator(".copies > li:visible")
    assert copies.count() == N_GENERATED
    low, high, size = (float(slider.get_attribute(name)) for name in ("min", "max", "step"))
    for value in np.linspace(low, high, 8):
        least = f"{round(value / size) * size:.6g}"
        slider.fill(least)
        wanted = best[best["score"] >= float(least)]["generated_id"].tolist()
        assert copies.locator(".query .id").all_text_contents() == wanted
        told = f"{slider.input_value()}: {len(wanted)} of {N_GENERATED} generated images"
        assert shown.locator("output").inner_text() == told
    slider.focus()
    page.tab.keyboard.press("Home")
    assert copies.count() == N_GENERATED
    page.tab.keyboard.press("End")
    assert copies.count() == int((best["score"] >= high).sum())
    page.tab.keyboard.press("Enter")  # sends nothing
    assert page.said == [] and page.asked == [(audit / "report.html").as_uri()]


def test_choice_of_backbone_and_similarity(browser: "sync_api.Browser", audit: Path, table: pd.DataFrame) -> None:
    page = opened(browser, audit / "report.html")
    expect = sync_api.expect  # waits until it is so
    expect(page.tab.locator(".verdict:visible h3")).to_have_text(["efficientnet_lite0, global"])
    for backbone, similarity in (("efficientnet_lite0", TOKENS), ("dhash", "global")):
        shown = choose(page, backbone, similarity)
        expect(shown.locator("h3")).to_have_text([f"{backbone}, {similarity}"])
        rows = of(table, backbone, similarity)
        for copy in shown.locator(".copies > li").all():
            matches = rows[rows["generated_id"] == copy.locator(".query .id").text_content()]
            assert copy.locator(".matches .id").all_text_contents() == matches["training_id"].tolist()
            scores = [f"{score:.3f}" for score in matches["score"]]
            assert copy.locator(".matches strong").all_text_contents() == scores
    assert not page.tab.locator("#no-verdict").is_visible()
    assert choose(page, "dhash", TOKENS).count() == 0 and page.tab.locator("#no-verdict").is_visible()
    assert "dhash failed: the backbone has no local descriptors" in page.tab.locator("#left-out").inner_text()
    page.tab.get_by_role("radio", name=TOKENS).focus()
    page.tab.keyboard.press("ArrowLeft")
    expect(page.tab.locator(".verdict:visible h3")).to_have_text(["dhash, global"])


def test_regions_lie_where_the_table_says(browser: "sync_api.Browser", audit: Path, table: pd.DataFrame) -> None:
    page = opened(browser, audit / "report.html")
    shown = choose(page, "efficientnet_lite0", TOKENS)
    rows = of(table, "efficientnet_lite0", TOKENS)
    sides = {
        side: [f"{side}_{edge}" for edge in ("left", "top", "right", "bottom")] for side in ("generated", "training")
    }
    seen = set()
    for copy in shown.locator(".copies > li").all():
        matches = rows[rows["generated_id"] == copy.locator(".query .id").text_content()]
        assert copy.locator(".query .seen").evaluate(FRAME) == pytest.approx(
            matches.iloc[0][sides["generated"]].tolist(), abs=0.01
        )
        tiles = copy.locator(".matches > li").all()
        assert len(tiles) == TOP_K
        for tile, (_, match) in zip(tiles, matches.iterrows(), strict=True):
            framed = tile.locator(".seen").evaluate(FRAME)
            assert framed == pytest.approx(match[sides["training"]].tolist(), abs=0.01)
            assert tile.locator(".inset .region").count() == 1
            attributes = [float(tile.locator(".inset .region").get_attribute(name)) for name in ("x", "y")]
            own = [match["generated_left"] * 96, match["generated_top"] * 48]
            assert attributes == pytest.approx(own, abs=0.02)
            seen.add(tuple(np.round(framed, 2)))
    assert len(seen) > 3
    assert choose(page, "efficientnet_lite0", "global").locator(".region").count() == 0


def test_pictures_show_the_images(browser: "sync_api.Browser", audit: Path) -> None:
    page = opened(browser, audit / "report.html")
    copy = choose(page, "dhash", "global").locator(".copies > li").first
    for part, side in ((".query", "generated"), (".matches > li >> nth=1", "training")):
        figure = copy.locator(part)
        name = figure.locator(".id").text_content()
        taken = Image.open(io.BytesIO(figure.locator(".seen").screenshot())).convert("RGB")
        wanted = Image.open(audit.parent / side / name).convert("RGB").resize(taken.size)
        assert np.abs(np.asarray(taken, np.float64) - np.asarray(wanted, np.float64)).mean() < 12


def test_nothing_is_fetched_nothing_is_said_and_names_are_text(browser: "sync_api.Browser", audit: Path) -> None:
    page = opened(browser, audit / "report.html")
    page.tab.wait_for_load_state("networkidle")
    assert SCRIPT in choose(page, "dhash", "global").text_content()
    assert page.tab.locator("script").count() == 1
    figure = page.tab.locator("#figures img")
    assert figure.evaluate("image => image.complete && image.naturalWidth > 0")
    assert [url for url in page.asked if not url.startswith("data:")] == [(audit / "report.html").as_uri()]
    assert page.said == []
    # the policy holds: a script and a request that are not the page's own are refused
    page.tab.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s);"
        " const i = new Image(); i.src = 'https://example.invalid/x.png'; document.body.append(i); }"
    )
    page.tab.wait_for_timeout(100)
    assert page.tab.evaluate("window.ran === undefined") and len(page.said) == 2


def test_sorting_the_verdict(browser: "sync_api.Browser", audit: Path) -> None:
    page = opened(browser, audit / "report.html")
    page.tab.locator("#verdict").get_by_role("button", name="overlap").click()
    values = [float(value) for value in page.column("histograms\noverlap", "#verdict table")]
    assert len(values) == 3 and values == sorted(values)
    assert page.tab.locator("#status").inner_text() == "Sorted by overlap, ascending."


def test_dark_light_and_print(browser: "sync_api.Browser", audit: Path) -> None:
    page = opened(browser, audit / "report.html", color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.tab.evaluate(background) == "rgb(20, 23, 26)"
    page.tab.get_by_role("button", name="Switch between dark and light colours").click()
    assert page.tab.evaluate(background) == "rgb(251, 251, 249)"
    page.tab.emulate_media(media="print")
    assert page.tab.evaluate("getComputedStyle(document.body).color") == "rgb(28, 33, 38)"
    assert page.tab.locator(".verdict:visible .seen").last.is_visible()
    assert not page.tab.locator(".least").first.is_visible() and not page.tab.locator("nav").is_visible()
    assert page.tab.pdf().startswith(b"%PDF")


def test_keyboard_and_screen_reader(browser: "sync_api.Browser", audit: Path) -> None:
    page = opened(browser, audit / "report.html")
    page.tab.keyboard.press("Tab")
    assert page.tab.locator(":focus").inner_text() == "Skip to the matches"
    for role in ("banner", "main", "navigation"):
        assert page.tab.get_by_role(role).count() == 1
    heads = page.tab.locator("h1, h2, h3").evaluate_all("all => all.map((one) => Number(one.tagName[1]))")
    assert heads[0] == 1 and heads.count(1) == 1 and all(b - a <= 1 for a, b in pairwise(heads))
    ids = page.tab.locator("[id]").evaluate_all("all => all.map((one) => one.id)")
    assert len(ids) == len(set(ids))
    assert page.tab.evaluate("[...document.querySelectorAll('input')].every((one) => one.labels.length === 1)")
    shown = choose(page, "efficientnet_lite0", TOKENS)
    images = shown.get_by_role("img")
    assert images.count() == N_GENERATED * (1 + TOP_K)
    names = images.evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
    assert any(name.startswith(f"generated image: {SCRIPT}; the region lies from ") for name in names)


def test_without_script_everything_is_there(browser: "sync_api.Browser", audit: Path) -> None:
    page = opened(browser, audit / "report.html", java_script_enabled=False)
    assert page.tab.locator(".verdict:visible").count() == 3
    assert page.tab.locator(".seen:visible").count() == 3 * N_GENERATED * (1 + TOP_K)
    assert not page.tab.locator("#controls").is_visible() and not page.tab.locator(".least").first.is_visible()


@pytest.mark.parametrize("width", [320, 1280])
def test_the_page_never_scrolls_sideways(browser: "sync_api.Browser", audit: Path, width: int) -> None:
    page = opened(browser, audit / "report.html", viewport={"width": width, "height": 800})
    choose(page, "efficientnet_lite0", TOKENS)
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width


def test_copies_stand_first(browser: "sync_api.Browser", audit: Path) -> None:
    page = opened(browser, audit / "report.html")
    badges = (
        choose(page, "dhash", "global")
        .locator(".copies > li")
        .evaluate_all("all => all.map((one) => one.querySelectorAll('.badge').length)")
    )
    assert badges == [1] * N_COPIES + [0] * (N_GENERATED - N_COPIES)
