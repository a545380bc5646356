"""The page of an audit: its numbers are those of the other files, names are text, its size has a bound."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from typer.testing import CliRunner

from bench.audit import gallery
from bench.audit import page as audit_page
from bench.audit.gallery import N_STEPS, steps
from bench.cli import app
from bench.interfaces import ImageFile
from bench.report.thumbnails import SIDE, thumbnails
from tests.audit_pages import N_COPIES, N_GENERATED, TOP_K, make_sides
from tests.report_page import SCRIPT
from tests.test_page import Read

Audit = Callable[..., Result]


@pytest.fixture(scope="module")
def sides(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sides(tmp_path_factory.mktemp("sides"), photo)


@pytest.fixture
def audit(sides: Path, tmp_path: Path) -> Audit:
    """The command on the two folders, or others, by dhash."""

    def call(
        *options: object, generated: object = sides / "generated", training: object = sides / "training"
    ) -> Result:
        fixed = ["--generated", str(generated), "--training", str(training), "--backbones", "dhash"]
        fixed += ["--top-k", str(TOP_K), "--output", str(tmp_path / "out")]
        return CliRunner().invoke(app, ["audit", *fixed, *map(str, options)])

    return call


def read(folder: Path) -> Read:
    return Read((folder / "out/report.html").read_text())


def test_the_numbers_are_those_of_the_summary(audit: Audit, tmp_path: Path) -> None:
    ran = audit("--similarities", "global,chunked@4", "--threshold", "0.85,fpr:0.05")
    assert ran.exit_code == 0 and f"{tmp_path / 'out/report.html'}" in ran.output, ran.output
    page = read(tmp_path)
    (table,) = page.tables
    told = json.loads((tmp_path / "out/summary.json").read_text())
    wanted = [(v, above) for v in told["verdicts"] for above in v["above"]]
    assert len(table) == 1 + len(wanted) and len({above["threshold"] for _, above in wanted}) == 2
    for cells, (v, above) in zip(table[1:], wanted, strict=True):
        values = [attributes.get("data-value") for attributes, _ in cells]
        assert values[:2] == [v["backbone"], v["similarity"]]
        b = v["background"]
        numbers = (above["score"], above["generated"]["value"], above["training"]["value"], v["top1"]["p50"])
        numbers += (b["top1"]["p50"], b["overlap"], b["ks"], b["difference"])
        assert [float(value) for value in values[2:]] == list(numbers)
        texts = [text for _, text in cells]
        if above["threshold"] != f"{above['score']:g}":
            assert above["threshold"] in texts[2]
        share = above["generated"]
        low, high = 100 * share["low"], 100 * share["high"]
        assert texts[3] == f"{100 * share['value']:.2f}{low:.2f} to {high:.2f}{share['k']} of {N_GENERATED}"
        assert texts[8].endswith(f"p {b['ks_p']:.2g}") and texts[9].endswith(f"p {b['p']:.2g}")
    for part in (*told["argv"][-2:], told["hardware"]["cpu"], told["packages"]["numpy"], told["finished"]):
        assert part in page.text
    assert "Left out" not in page.text


def test_the_matches_are_those_of_the_table(audit: Audit, sides: Path, tmp_path: Path) -> None:
    assert audit("--similarities", "global", "--threshold", 0.85).exit_code == 0
    page = read(tmp_path)
    table = pd.read_csv(tmp_path / "out/matches.csv")
    best = table[table["rank"] == 1].sort_values("score", ascending=False, kind="stable")
    order = best["generated_id"].tolist()
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    wanted = []
    for generated in order:
        of = table[table["generated_id"] == generated]
        wanted.append(f"generated image: {generated}")
        wanted += [f"match {rank}: {name}" for rank, name in zip(of["rank"], of["training_id"], strict=True)]
    assert labels == wanted and len(order) == N_GENERATED
    scores = [float(value or "nan") for _, name, value in page.attributes if name == "data-score"]
    assert scores == pytest.approx(best["score"].tolist(), abs=1e-6)
    badges = [value for tag, name, value in page.attributes if (tag, name, value) == ("span", "class", "badge")]
    assert "above 0.85" in page.text and len(badges) == N_COPIES == int((best["score"] > 0.85).sum())
    # the picture of each file is in the page once
    pictures = [value for tag, name, value in page.attributes if (tag, name) == ("image", "href")]
    assert len(pictures) == len(set(table["training_id"])) + N_GENERATED
    assert all(value and value.startswith("data:image/jpeg;base64,") for value in pictures)
    used = {value for tag, name, value in page.attributes if (tag, name) == ("use", "href")}
    assert used == {f"#p{number}" for number in range(len(pictures))}


def test_a_name_that_tries_to_be_markup_is_text(audit: Audit, tmp_path: Path) -> None:
    assert audit("--similarities", "global").exit_code == 0
    page = read(tmp_path)
    assert SCRIPT in page.text and "alert" not in page.raw["script"]
    assert (tmp_path / "out/report.html").read_text().count("<script") == 1


def test_what_was_left_out_is_told(audit: Audit, sides: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for path in sides.glob("training/*.png"):
        (mixed / path.name).write_bytes(path.read_bytes())
    for number in range(60):
        (mixed / f"text{number}.png").write_text("no image")
    assert audit("--similarities", "global,chunked@7", training=mixed).exit_code == 3
    page = read(tmp_path)
    assert "Training images that can't be read or described: 60" in page.text and "and 10 others" in page.text
    assert "text0.png" in page.text and page.text.count("cannot identify image file") == 50
    assert "dhash, chunked@7 failed: chunked@7 can't cut 64 dimensions into equal chunks" in page.text


def test_a_set_against_itself_has_no_background(audit: Audit, sides: Path, tmp_path: Path) -> None:
    assert audit("--similarities", "global", generated=sides / "training").exit_code == 0
    page = read(tmp_path)
    assert "the same set, in which no image counts as its own match" in page.text
    ((_, cells),) = page.tables
    assert [text for _, text in cells][4] == "" and "data-value" not in cells[-1][0]


def test_descriptors_have_names_and_scores_alone(audit: Audit, sides: Path, tmp_path: Path) -> None:
    for side in ("generated", "training"):
        options = ["--backbone", "dhash", "--images", str(sides / side), "--output", str(tmp_path / side)]
        assert CliRunner().invoke(app, ["embed", *options]).exit_code == 0
    ran = audit("--similarities", "global", generated=tmp_path / "generated", training=tmp_path / "training")
    assert ran.exit_code == 0, ran.output
    page = read(tmp_path)
    assert SCRIPT in page.text and "t00.png" in page.text
    tags = {tag for tag, _, _ in page.attributes}
    assert "image" not in tags and "use" not in tags and "no picture" not in page.text


def test_a_page_over_the_bound_shows_fewer_and_says_so(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert audit("--similarities", "global,chunked@4").exit_code == 0
    whole = (tmp_path / "out/report.html").read_text()
    assert whole.count("<li data-score") == 2 * N_GENERATED and "To keep the page small" not in whole
    room = len(whole.encode()) - 8000
    monkeypatch.setattr(audit_page, "MAX_BYTES", room)
    assert audit("--similarities", "global,chunked@4").exit_code == 0
    smaller = (tmp_path / "out/report.html").read_text()
    assert len(smaller.encode()) <= room
    n = smaller.count("<li data-score") // 2
    assert 0 < n < N_GENERATED
    assert smaller.count(f"To keep the page small, it shows {n} instead of {N_GENERATED}.") == 2
    # the filter still counts all of them
    assert f'data-counts="{N_GENERATED} ' in smaller
    shown = Read(smaller)
    assert {v for t, name, v in shown.attributes if (t, name) == ("use", "href")} == {
        f"#{v}" for t, name, v in shown.attributes if (t, name) == ("image", "id")
    }


def test_only_so_many_pictures_are_made(audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "N_PICTURES", 10)
    assert audit("--similarities", "global").exit_code == 0
    page = (tmp_path / "out/report.html").read_text()
    n = page.count("<li data-score")
    assert 2 <= n < N_GENERATED and TOP_K < page.count("<image ") <= 10
    assert f"The {n} generated images, of {N_GENERATED}," in page


def test_an_image_that_is_gone_meanwhile_has_no_picture(
    audit: Audit, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_sides(tmp_path / "own", photo)

    def without_one(audited: object) -> object:
        (own / "generated/g1.jpg").unlink()
        return gallery.galleries(audited)

    monkeypatch.setattr(audit_page, "galleries", without_one)
    ran = audit("--similarities", "global", generated=own / "generated")
    assert ran.exit_code == 0, ran.output
    page = read(tmp_path)
    assert page.text.count("no picture: it can't be read any more") == 1 and "g1.jpg" in page.text
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(labels) == N_GENERATED * (1 + TOP_K) - 1 and "generated image: g1.jpg" not in labels


def test_thumbnails_are_made_once_and_of_what_can_be_read(sides: Path, tmp_path: Path) -> None:
    tile = ImageFile("a", sides / "training/t00.png")
    (tmp_path / "b.png").write_text("no image")
    found = thumbnails([tile, ImageFile("b", tmp_path / "b.png"), tile], 2)
    assert list(found) == [tile]
    assert (found[tile].width, found[tile].height) == (SIDE, SIDE // 2)
    Image.new("RGB", (1, 4000)).save(tmp_path / "long.png")
    (thin,) = thumbnails([ImageFile("long", tmp_path / "long.png")], 1).values()
    assert (thin.width, thin.height) == (1, SIDE)


@given(arrays(np.float32, st.integers(1, 30), elements=st.floats(-1, 1, width=32) | st.floats(-4096, 4096, width=32)))
def test_steps_lie_around_all_scores_and_count_them(best: np.ndarray) -> None:
    found = steps(best)
    values = [float(value) for value in found.places]
    size = float(found.size)
    assert values == pytest.approx([values[0] + size * n for n in range(len(values))], rel=1e-9, abs=size * 1e-3)
    assert len(values) <= N_STEPS + 2
    spread = math.ldexp(1, -20) * max(1, abs(values[0]))
    assert values[0] <= best.min() + spread and best.max() <= values[-1] + spread
    assert list(found.counts) == [sum(score >= value for score in best.astype(float)) for value in values]
