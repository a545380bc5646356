"""The report page in headless Chromium: what a reader clicks, types, prints, and what it never does."""

from itertools import pairwise
from pathlib import Path

import pytest

from tests.browser.opened import BOARD, opened, sync_api
from tests.conftest import Bench
from tests.report_page import FIGURE, MARKUP, SCRIPT, page_of, run_odd
from tests.run_folders import make_run


@pytest.fixture(scope="module")
def odd(bench: Bench, small: Path, photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of copies and classes, some names being markup."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "report.html").write_text(page_of(run_odd(bench, folder, small, photo)))
    return folder / "report.html"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of twelve backbones, so that ten comes after nine; the worst has no value of a metric."""
    folder = tmp_path_factory.mktemp("made")
    noise = {f"net{n}" + "x" * n: 0.4 + 0.3 * n for n in range(1, 12)} | {"blind" + "y" * 20: 60.0}
    make_run(folder / "run", noise, {"one": 1, "two": 2})
    (folder / "report.html").write_text(page_of(folder / "run"))
    return folder / "report.html"


def test_sorting_by_number_and_missing_last(browser: "sync_api.Browser", made: Path) -> None:
    page = opened(browser, made)
    page.tab.locator("#dataset-1 summary").click()
    table = "#dataset-1 table"
    name = "threshold@p90"
    header = page.tab.locator(f"{table} th", has_text=name).first
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    values = page.column(name, table)
    known = [float(value) for value in values if value]
    assert known == sorted(known, reverse=True) and 1 < len(known) < len(values)
    assert not any(values[len(known) :])  # the missing ones, last
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    values = page.column(name, table)
    assert [float(value) for value in values[: len(known)]] == sorted(known) and not any(values[len(known) :])
    assert page.tab.locator(f"{table} th[aria-sort]").count() >= 1
    assert page.tab.locator("#status").inner_text() == f"Sorted by {name}, ascending."
    assert page.said == []


def test_sorting_by_keyboard_and_names_in_natural_order(browser: "sync_api.Browser", made: Path) -> None:
    page = opened(browser, made)
    before = page.column("rank")
    assert [float(rank) for rank in before] == sorted(map(float, before))
    assert page.tab.locator(f"{BOARD} th", has_text="rank").first.get_attribute("aria-sort") == "ascending"
    page.tab.locator(f"{BOARD} th.name button").first.focus()
    page.tab.keyboard.press("Enter")
    names = [name.rstrip("xy") for name in page.column("backbone")]
    assert names == ["blind", *(f"net{n}" for n in range(1, 12))]
    page.tab.keyboard.press("Space")
    assert [name.rstrip("xy") for name in page.column("backbone")] == names[::-1]
    # brackets are lines between neighbours in the ranking: in another order the letters alone are left
    runs = page.tab.locator(f"{BOARD} .run")
    assert runs.count() and not runs.first.is_visible()
    page.tab.locator(f"{BOARD} th", has_text="rank").first.get_by_role("button").click()
    assert page.column("rank") == before and runs.first.is_visible()


def test_filtering(browser: "sync_api.Browser", made: Path) -> None:
    page = opened(browser, made)
    page.tab.get_by_label("Names with").fill("NET1 global")
    assert sorted(name.rstrip("x") for name in page.column("backbone")) == ["net1", "net10", "net11"]
    assert page.tab.locator("#status").inner_text() == "3 of 12 rows."
    page.tab.locator("#dataset-2 summary").click()
    assert len(page.column("backbone", "#dataset-2 table")) == 3
    page.tab.get_by_label("Names with").fill("no such name")
    assert page.column("backbone") == [] and page.tab.locator("#status").inner_text() == "0 of 12 rows."
    page.tab.keyboard.press("Enter")  # sends nothing
    page.tab.get_by_label("Names with").fill("")
    assert len(page.column("backbone")) == 12
    assert len(page.asked) == 1 and page.said == []


def test_the_group_switch(browser: "sync_api.Browser", odd: Path) -> None:
    page = opened(browser, odd)
    captions = page.tab.locator(".verdict:visible caption")
    expect = sync_api.expect  # waits until it is so
    expect(captions).to_have_text(["Ranking over all datasets; similarity of a backbone: the best on the mean"])
    page.tab.get_by_role("radio", name="all datasets", exact=True).focus()
    page.tab.keyboard.press("ArrowRight")
    expect(captions).to_have_text(["Ranking over retrieval; similarity of a backbone: the best on the mean"])
    assert "disc:small" not in page.tab.locator(".verdict:visible thead").inner_text()
    page.tab.get_by_role("radio", name="synthetic copies", exact=True).check()
    page.tab.get_by_role("radio", name="the best chunked", exact=True).check()
    expect(captions).to_have_text(["Ranking over synthetic copies; similarity of a backbone: the best chunked"])
    assert set(page.column("similarity")) == {"chunked@16"}
    assert "folder:odd" not in page.tab.locator(".verdict:visible thead").inner_text()


def test_drill_down(browser: "sync_api.Browser", odd: Path) -> None:
    page = opened(browser, odd)
    table = page.tab.locator("#dataset-1 table")
    assert not table.is_visible()
    page.tab.locator("#dataset-1 summary").focus()
    page.tab.keyboard.press("Enter")
    assert table.is_visible() and table.locator("tbody tr").count() == 6
    assert "micro_ap %" in table.inner_text() and "8 queries, 12 database images" in page.tab.content()
    linked = opened(browser, odd)
    linked.tab.goto(f"{odd.as_uri()}#dataset-2")
    linked.tab.wait_for_selector("#dataset-2 table")


def test_the_gallery_and_names_that_try_to_be_markup(browser: "sync_api.Browser", odd: Path) -> None:
    page = opened(browser, odd)
    folded = page.tab.locator("#hardest details:not([open]) > summary")
    while folded.count():
        folded.first.click()
    section = page.tab.locator("#hardest")
    assert SCRIPT in section.inner_text() and MARKUP in section.inner_text()
    images = section.locator("img")
    assert images.count() > 10
    assert images.evaluate_all("all => all.every((i) => i.complete && i.naturalWidth > 0 && i.alt)")
    right, wrong = section.locator("figure.right"), section.locator("figure.wrong")
    assert right.count() and all(text.startswith("✓ right") for text in right.all_inner_texts())
    assert wrong.count() and all(text.startswith("✗ wrong") for text in wrong.all_inner_texts())
    styles = [part.first.evaluate("figure => getComputedStyle(figure).borderStyle") for part in (right, wrong)]
    assert styles == ["solid", "dashed"]  # told apart without colour
    assert page.tab.locator("img[src='x']").count() == 0 and page.tab.locator("script").count() == 1
    assert page.said == []


def test_nothing_is_fetched_nothing_is_said(browser: "sync_api.Browser", odd: Path) -> None:
    page = opened(browser, odd)
    page.tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.tab.wait_for_load_state("networkidle")
    assert [url for url in page.asked if not url.startswith("data:")] == [odd.as_uri()]
    assert page.said == []
    figure = page.tab.get_by_alt_text(FIGURE.title)
    assert figure.evaluate("image => image.complete && image.naturalWidth > 0")
    # the policy holds: a script and a request that are not the page's own are refused
    page.tab.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s);"
        " const i = new Image(); i.src = 'https://example.invalid/x.png'; document.body.append(i); }"
    )
    page.tab.wait_for_timeout(100)
    assert page.tab.evaluate("window.ran === undefined") and len(page.said) == 2
    assert all("Content Security Policy" in message for message in page.said)


def test_dark_and_light(browser: "sync_api.Browser", made: Path) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light, dark = (opened(browser, made, color_scheme=scheme) for scheme in ("light", "dark"))
    colours = [page.tab.evaluate(background) for page in (light, dark)]
    assert colours == ["rgb(251, 251, 249)", "rgb(20, 23, 26)"]
    toggle = light.tab.get_by_role("button", name="Switch between dark and light colours")
    assert toggle.inner_text() == "Dark"
    toggle.click()
    assert light.tab.evaluate(background) == colours[1] and toggle.inner_text() == "Light"
    toggle.click()
    assert light.tab.evaluate(background) == colours[0]


def test_print_shows_everything_in_light(browser: "sync_api.Browser", odd: Path) -> None:
    page = opened(browser, odd, color_scheme="dark")
    last = page.tab.locator("#datasets details table").last
    assert not last.is_visible()
    page.tab.emulate_media(media="print")
    assert last.is_visible() and page.tab.locator("#hardest img").last.is_visible()
    assert not page.tab.locator("nav").is_visible() and not page.tab.locator("#controls").is_visible()
    ink = page.tab.evaluate("getComputedStyle(document.body).color")
    assert ink == "rgb(28, 33, 38)"
    assert page.tab.pdf().startswith(b"%PDF")
    page.tab.emulate_media(media="screen")
    assert not last.is_visible()


def test_keyboard_and_screen_reader(browser: "sync_api.Browser", odd: Path) -> None:
    page = opened(browser, odd)
    page.tab.keyboard.press("Tab")
    skip = page.tab.locator(":focus")
    assert skip.inner_text() == "Skip to the leaderboard" and skip.bounding_box()["x"] >= 0
    assert skip.evaluate("link => getComputedStyle(link).outlineStyle") == "solid"
    for role, n in (("banner", 1), ("main", 1), ("navigation", 1), ("status", 1)):
        assert page.tab.get_by_role(role).count() == n
    heads = page.tab.locator("h1, h2, h3").evaluate_all("all => all.map((one) => Number(one.tagName[1]))")
    assert heads[0] == 1 and heads.count(1) == 1 and all(b - a <= 1 for a, b in pairwise(heads))
    ids = page.tab.locator("[id]").evaluate_all("all => all.map((one) => one.id)")
    assert len(ids) == len(set(ids))
    assert page.tab.evaluate("[...document.querySelectorAll('input')].every((one) => one.labels.length === 1)")


def test_without_script_everything_is_there(browser: "sync_api.Browser", odd: Path) -> None:
    page = opened(browser, odd, java_script_enabled=False)
    assert page.tab.locator(".verdict table").last.is_visible()
    assert not page.tab.locator("#controls").is_visible() and not page.tab.locator("#theme").is_visible()


@pytest.mark.parametrize("width", [320, 1280])
def test_the_page_never_scrolls_sideways(browser: "sync_api.Browser", odd: Path, width: int) -> None:
    page = opened(browser, odd, viewport={"width": width, "height": 800})
    page.tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
