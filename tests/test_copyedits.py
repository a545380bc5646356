"""The robustness suite: what each edit does, which images get which, and the suite of any images."""

import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bench import plugins
from bench.errors import DatasetError, UsageError
from bench.interfaces import Split
from bench.manifest import manifest
from datasets.copyedits._edits import EDITS, edited
from datasets.copyedits._parts import Original, Parameters
from datasets.copyedits._suite import LEAST_IMAGES, Query, Suite, plan, write
from datasets.demo._rng import Rng

MANIFEST = "c4747d711fd28cf396ced649a490c07fd8f3492761bc708d472510ac590cb2d0"
NAMES = [edit.name for edit in EDITS]
EDIT = {edit.name: edit for edit in EDITS}
#: Edits that change which pixels there are, not where.
SAME_SIZE = {"flip_horizontal", "flip_vertical", "perspective", "jpeg", "blur", "noise", "colour", "grey", "pixelate"}
SAME_SIZE |= {"text", "sticker", "paste"}


@pytest.fixture(scope="module")
def cat(photo: Path) -> Image.Image:
    """A photograph of 226 x 150 pixels."""
    return Image.open(photo).convert("RGB").reduce(2)


@pytest.fixture(scope="module")
def others(cat: Image.Image) -> list[Original]:
    """Two images to paste onto and to cut stickers of."""
    upside_down = ImageOps.flip(cat).resize((90, 130))
    return [Original("turned", upside_down.copy), Original("negative", ImageOps.invert(cat).copy)]


def applied(name: str, image: Image.Image, others: list[Original], seed: object = 0) -> tuple[Image.Image, Parameters]:
    return EDIT[name].apply(image, Rng(f"{name}/{seed}"), others)


def until(
    name: str, image: Image.Image, others: list[Original], key: str, value: str
) -> tuple[Image.Image, Parameters]:
    """The edit with the first seed that draws this parameter."""
    return next(made for seed in range(200) if (made := applied(name, image, others, seed))[1][key] == value)


def array(image: Image.Image) -> NDArray[np.int64]:
    return np.asarray(image).astype(np.int64)


def flat(level: int, size: tuple[int, int] = (200, 120)) -> Image.Image:
    return Image.new("RGB", size, (level, level, level))


def test_each_edit_is_seeded_and_differs_from_the_image_and_from_the_others(
    cat: Image.Image, others: list[Original]
) -> None:
    found = {}
    for name in NAMES:
        first, parameters = applied(name, cat, others)
        again, same = applied(name, cat, others)
        assert first.mode == "RGB" and first.tobytes() == again.tobytes() and parameters == same
        assert (first.size == cat.size) == (name in SAME_SIZE)
        seen = {applied(name, cat, others, seed)[0].tobytes() for seed in range(6)}
        assert (len(seen) > 1) == bool(parameters) == (name not in ("flip_horizontal", "flip_vertical", "grey"))
        json.dumps(parameters)
        found[first.size, first.tobytes()] = name
    assert (cat.size, cat.tobytes()) not in found and len(found) == len(NAMES) == 17


@pytest.mark.parametrize("size", [(1, 1), (2, 90), (120, 3)])
def test_each_edit_takes_images_of_any_size(size: tuple[int, int], others: list[Original]) -> None:
    image = Image.effect_noise(size, 60).convert("RGB")
    for name in NAMES:
        for seed in range(4):
            made, _ = applied(name, image, others, seed)
            assert min(made.size) >= 1


def test_stacked_edits_are_applied_in_their_order(cat: Image.Image, others: list[Original]) -> None:
    made, parameters = edited(cat, [EDIT["crop"], EDIT["grey"]], Rng("two"), others)
    cropped, of_crop = EDIT["crop"].apply(cat, Rng("two"), others)
    assert made.tobytes() == cropped.convert("L").convert("RGB").tobytes()
    assert parameters == {"crop": of_crop, "grey": {}} and list(parameters) == ["crop", "grey"]


def test_crop_is_a_window_of_30_to_75_percent(cat: Image.Image, others: list[Original]) -> None:
    shares = []
    for seed in range(60):
        made, told = applied("crop", cat, others, seed)
        left, top = int(told["left"]), int(told["top"])
        window = array(cat)[top : top + made.height, left : left + made.width]
        assert np.array_equal(array(made), window)
        shares.append(made.width * made.height / (cat.width * cat.height))
        assert shares[-1] == pytest.approx(told["area"], abs=0.01)
    assert 0.29 < min(shares) < 0.4 and 0.65 < max(shares) < 0.76


@pytest.mark.parametrize(("border", "level"), [("black", 0), ("white", 255), ("cut", 128)])
def test_rotate_fills_or_cuts_its_corners(border: str, level: int, others: list[Original]) -> None:
    for size in [(200, 120), (90, 260)]:
        made, told = until("rotate", flat(128, size), others, "border", border)
        pixels, angle = array(made), np.deg2rad(abs(float(told["angle"])))
        assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == level).all()
        assert (pixels[made.height // 2, made.width // 2] == 128).all()
        wide = size[0] * np.cos(angle) + size[1] * np.sin(angle)
        if border == "cut":
            assert (pixels == 128).all() and made.width * made.height > 0.3 * size[0] * size[1]
        else:
            assert made.width == pytest.approx(wide, abs=2)


def test_turns_and_flips_move_every_pixel(cat: Image.Image, others: list[Original]) -> None:
    pixels = array(cat)
    assert np.array_equal(array(applied("flip_horizontal", cat, others)[0]), pixels[:, ::-1])
    assert np.array_equal(array(applied("flip_vertical", cat, others)[0]), pixels[::-1])
    angles = set()
    for seed in range(8):
        made, told = applied("quarter_turn", cat, others, seed)
        assert np.array_equal(array(made), np.rot90(pixels, int(told["angle"]) // 90))
        angles.add(told["angle"])
    assert angles == {90, 270}


def test_perspective_moves_each_corner_as_told(cat: Image.Image, others: list[Original]) -> None:
    """Against OpenCV's projection through the same corners."""
    width, height = cat.size
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    for seed in range(6):
        made, told = applied("perspective", cat, others, seed)
        shifts = np.array([pair.split(",") for pair in str(told["shifts"]).split()], np.float32)
        assert shifts.min() >= 0 and shifts.max() <= 0.25 and (shifts.min(axis=1) >= 0.1).any()
        seen = np.abs(corners - shifts * np.float32(cat.size))
        level = 255 if told["border"] == "white" else 0
        # OpenCV puts pixel centres at whole numbers, pillow at halves
        matrix = cv2.getPerspectiveTransform(corners - 0.5, seen - np.float32(0.5))
        wanted = cv2.warpPerspective(
            np.asarray(cat), matrix, cat.size, flags=cv2.INTER_CUBIC, borderValue=(level, level, level)
        )
        inside = cv2.erode(
            cv2.fillConvexPoly(np.zeros((height, width), np.uint8), seen.round().astype(np.int32), 1),
            np.ones((7, 7), np.uint8),
        ).astype(bool)
        assert np.abs(array(made) - wanted)[inside].mean() < 2
        outside = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), seen.round().astype(np.int32), 1)
        outside = ~cv2.dilate(outside, np.ones((7, 7), np.uint8)).astype(bool)
        assert (array(made)[outside] == level).all()


def test_jpeg_is_of_quality_5_to_15(cat: Image.Image, others: list[Original]) -> None:
    qualities = set()
    for seed in range(80):
        made, told = applied("jpeg", cat, others, seed)
        buffer = io.BytesIO()
        cat.save(buffer, "JPEG", quality=int(told["quality"]))
        assert made.tobytes() == Image.open(buffer).convert("RGB").tobytes()
        qualities.add(told["quality"])
    assert qualities == set(range(5, 16))


def test_blur_takes_away_detail_and_nothing_else(cat: Image.Image, others: list[Original]) -> None:
    sigmas = {}
    for seed in range(12):
        made, told = applied("blur", cat, others, seed)
        detail = np.abs(np.diff(array(made), axis=1)).mean()
        assert detail < 0.75 * np.abs(np.diff(array(cat), axis=1)).mean()
        assert np.abs(array(made).mean((0, 1)) - array(cat).mean((0, 1))).max() < 2
        sigmas[told["sigma"]] = detail
    assert [sigmas[sigma] for sigma in sorted(sigmas)] == sorted(sigmas.values(), reverse=True)
    assert 0.006 <= min(sigmas) < max(sigmas) < 0.02


def test_noise_is_as_strong_as_told(others: list[Original]) -> None:
    image = flat(128, (160, 100))
    made, told = until("noise", image, others, "kind", "gaussian")
    change = array(made) - 128
    assert 20 <= told["strength"] <= 50 and change.std() == pytest.approx(told["strength"], rel=0.05)
    assert abs(change.mean()) < 1 and abs(np.corrcoef(change[..., 0].ravel(), change[..., 1].ravel())[0, 1]) < 0.05
    made, told = until("noise", image, others, "kind", "salt and pepper")
    levels = Counter(array(made)[..., 0].ravel().tolist())
    assert set(levels) == {0, 128, 255} and (np.ptp(array(made), axis=2) == 0).all()
    for level in (0, 255):
        assert levels[level] / (160 * 100) == pytest.approx(float(told["strength"]) / 2, abs=0.01)


def test_colour_changes_brightness_and_hue(others: list[Original]) -> None:
    image = Image.new("RGB", (8, 8), (150, 90, 60))
    before = image.convert("HSV").getpixel((0, 0))
    for seed in range(20):
        made, told = applied("colour", image, others, seed)
        assert all(0.5 <= told[name] <= 0.8 or 1.25 <= told[name] <= 1.7 for name in list(told)[:3])
        assert 5 <= abs(int(told["hue"])) <= 20
        after = made.convert("HSV").getpixel((0, 0))
        # a quarter turn of hue is 64; rounding of 8-bit channels moves it by a little
        assert abs((after[0] - before[0] - int(told["hue"]) + 128) % 256 - 128) <= 6
        assert np.abs(array(made) - array(image)).mean() > 5


def test_grey_is_the_luminance(cat: Image.Image, others: list[Original]) -> None:
    made = array(applied("grey", cat, others)[0])
    luminance = array(cat) @ (0.299, 0.587, 0.114)
    assert np.abs(made - luminance[..., None]).max() <= 1


def test_pixelate_has_as_many_blocks_as_told(others: list[Original]) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 300, 3), np.uint8))
    for seed in range(5):
        made, told = applied("pixelate", noise, others, seed)
        edges = (np.diff(array(made), axis=1) != 0).any((0, 2)).sum()
        assert edges == int(told["blocks"]) - 1 and 24 <= edges + 1 <= 56
        assert np.abs(array(made).mean((0, 1)) - array(noise).mean((0, 1))).max() < 3


@pytest.mark.parametrize(("name", "least", "most"), [("text", 0.01, 0.6), ("sticker", 0.02, 0.5)])
def test_text_and_stickers_leave_most_of_the_image_as_it_was(
    name: str, least: float, most: float, cat: Image.Image, others: list[Original]
) -> None:
    drawn = Counter()
    for seed in range(24):
        made, told = applied(name, cat, others, seed)
        assert least < (array(made) != array(cat)).any(axis=2).mean() < most, (seed, told)
        told_of = [str(told["style"])] if name == "text" else str(told["stickers"]).split("; ")
        drawn.update(kind.split()[0] for kind in told_of)
    assert set(drawn) == (
        {"caption", "bar", "words", "watermark"} if name == "text" else {"face", "heart", "star", "bubble", "cutting"}
    )


@pytest.mark.parametrize("size", [(226, 150), (100, 260), (150, 150), (400, 100)])
def test_frames_have_a_border(size: tuple[int, int], cat: Image.Image, others: list[Original]) -> None:
    image = cat.resize(size)
    for style in ("border", "instant"):
        made, told = until("frame", image, others, "style", style)
        edge = round(max(size) * float(told["edge"]))
        assert np.array_equal(array(made)[edge : edge + size[1], edge : edge + size[0]], array(image))
        assert made.size == (size[0] + 2 * edge, size[1] + edge * (4 if style == "instant" else 2))
    for style in ("bars", "blurred"):
        made, told = until("frame", image, others, "style", style)
        shape = made.width / made.height
        assert shape == pytest.approx(1 if told["shape"] == "square" else 9 / 16, rel=0.02)
        covered = min(shape, size[0] / size[1]) / max(shape, size[0] / size[1])
        assert covered < 0.81 and told["shape"] == ("upright" if size[0] == size[1] else "square")
        inside = ImageOps.contain(image, made.size, Image.Resampling.BICUBIC)
        left, top = (made.width - inside.width) // 2, (made.height - inside.height) // 2
        box = (left, top, left + inside.width, top + inside.height)
        assert np.array_equal(array(made.crop(box)), array(inside))
        corner = array(made)[0, 0]
        assert style == "blurred" or corner.tolist() in ([0, 0, 0], [255, 255, 255])


@pytest.mark.parametrize(("device", "size"), [("phone", (360, None)), ("window", (640, 480))])
def test_screenshots_hold_the_scaled_image(
    device: str, size: tuple[int, int | None], cat: Image.Image, others: list[Original]
) -> None:
    made, told = until("screenshot", cat, others, "device", device)
    assert made.width == size[0] and made.height in ([size[1]] if size[1] else range(640, 761))
    left, top, right, bottom = map(int, str(told["box"]).split(","))
    assert right - left == 360 or 355 <= right - left <= 460
    inside = cat.resize((right - left, bottom - top), Image.Resampling.BICUBIC)
    assert np.array_equal(array(made.crop((left, top, right, bottom))), array(inside))
    assert (right - left) / (bottom - top) == pytest.approx(cat.width / cat.height, rel=0.01)


def numbered(n: int) -> list[Original]:
    """Images without a colour, but for every third."""
    colours = [(i % 251, i % 251, i % 251) if i % 3 else (200, i % 251, 0) for i in range(n)]
    return [Original(f"image {i}", Image.new("RGB", (4, 4), colour).copy) for i, colour in enumerate(colours)]


@pytest.mark.parametrize(("n", "per_edit"), [(20, 1), (222, 11), (1000, 40)])
def test_every_edit_has_as_many_queries_of_the_same_images(n: int, per_edit: int) -> None:
    suite = plan(numbered(n), [Original("drawn", Image.new("RGB", (4, 4)).copy)])
    held_out, references = ({image.name for image in images} for images in (suite.held_out, suite.references))
    assert len(held_out) == -(-n // 5) and held_out | references == {f"image {i}" for i in range(n)} | {"drawn"}
    assert not held_out & references
    alone = {name: [q for q in suite.queries if q.tags == ("one_edit", name)] for name in NAMES}
    matched = {name: {q.original.name for q in queries if q.matched} for name, queries in alone.items()}
    assert all(sources == matched["crop"] for sources in matched.values()) and len(matched["crop"]) == per_edit
    unmatched = [sum(not q.matched for q in queries) for queries in alone.values()]
    assert set(unmatched) == {max(1, per_edit // 10)}
    stacked = [q for q in suite.queries if q.tags == ("two_edits",)]
    pairs = Counter(tuple(edit.name for edit in q.edits) for q in stacked if q.matched)
    assert max(pairs.values()) == 1 and all(first != second for first, second in pairs)
    rounds = max(1, per_edit * 2 // 5)
    for place in (0, 1):
        assert Counter(pair[place] for pair in pairs) == dict.fromkeys(NAMES, rounds)
    assert len(stacked) + sum(map(len, alone.values())) == len(suite.queries)
    assert all((q.original.name in references) == q.matched for q in suite.queries)
    assert all((q.original.name in held_out) != q.matched for q in suite.queries)
    made = [(q.original.name, q.edits) for q in suite.queries]
    assert len(set(made)) == len(made)


def test_grey_images_are_edited_alone_only_where_there_are_too_few_others() -> None:
    grey = [Original(f"grey {i}", Image.new("RGB", (4, 4), (i, i, i)).copy) for i in range(60)]
    coloured = [Original(f"coloured {i}", Image.new("RGB", (4, 4), (90, i, 0)).copy) for i in range(20)]
    alone = {q.original.name for q in plan([*grey, *coloured], []).queries if q.matched and len(q.edits) == 1}
    assert len(alone) == 4 and all(name.startswith("coloured") for name in alone)
    alone = {q.original.name for q in plan(grey, []).queries if q.matched and len(q.edits) == 1}
    assert len(alone) == 3


def load(name: str) -> Split:
    return plugins.datasets.select(name)[0].item.load()


def rows_of(split: Split) -> list[dict[str, str]]:
    with (split.queries[0].path.parent.parent / "pairs.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_manifest_is_the_pinned_one() -> None:
    """With the locked packages; another pillow may encode other bytes, and the manifest then says so."""
    found = manifest(load("copyedits"))
    assert found.sha256 == MANIFEST
    assert (found.n_queries, found.n_pairs, found.n_queries_without_positive) == (289, 255, 34)
    assert found.n_database == 238


def test_tags_tell_single_edits_from_stacked_ones() -> None:
    split = load("copyedits")
    rows = {row["query"]: row for row in rows_of(split)}
    for query, tags, positives in zip(split.queries, split.tags, split.ground_truth.positives, strict=True):
        row = rows[query.id]
        edits = row["edits"].split("+")
        assert tags == (("one_edit", *edits) if len(edits) == 1 else ("two_edits",))
        assert list(json.loads(row["parameters"])) == edits
        assert [split.database[p].id for p in positives] == ([row["reference"]] if row["reference"] else [])
    counts = Counter(tag for tags in split.tags for tag in tags)
    assert counts == dict.fromkeys(NAMES, 12) | {"one_edit": 204, "two_edits": 85}


def test_the_named_reference_is_what_was_copied() -> None:
    """Undoing what can be undone gives the reference back, but for the JPEG that both went through."""
    split = load("copyedits")
    undo: dict[str, Callable[[Image.Image, float], Image.Image]] = {
        "flip_horizontal": lambda image, _: ImageOps.mirror(image),
        "flip_vertical": lambda image, _: ImageOps.flip(image),
        "quarter_turn": lambda image, angle: image.rotate(-angle, expand=True),
    }
    folder = split.queries[0].path.parent.parent
    undone = 0
    for row in rows_of(split):
        if row["edits"] in undo and row["reference"]:
            angle = json.loads(row["parameters"])[row["edits"]].get("angle", 0)
            copy = undo[row["edits"]](Image.open(folder / row["query"]), angle)
            assert np.abs(array(copy) - array(Image.open(folder / row["reference"]))).mean() < 8
            undone += 1
    assert undone == 33


def test_what_is_pasted_on_a_query_is_not_in_the_database() -> None:
    rows = rows_of(load("copyedits"))
    copied = {row["source"] for row in rows if row["reference"]}
    without = {row["source"] for row in rows if not row["reference"]}
    told = [json.loads(row["parameters"]).get("paste") for row in rows]
    backgrounds = {parameters["background"] for parameters in told if parameters}
    assert len(backgrounds) > 10 and not backgrounds & copied and not without & copied


def test_no_query_is_pasted_onto_its_own_original(tmp_path: Path, others: list[Original]) -> None:
    pasted = [(EDIT["paste"], edit) for edit in EDITS if edit.name != "paste"]
    queries = tuple(Query(original, edits, False) for original in others for edits in pasted)
    write(tmp_path, Suite(queries, (), tuple(others)))
    with (tmp_path / "pairs.csv").open(newline="") as stream:
        told = Counter(
            (r["source"], json.loads(r["parameters"])["paste"]["background"]) for r in csv.DictReader(stream)
        )
    assert told == {("turned", "negative"): 16, ("negative", "turned"): 16}


def make_photos(folder: Path, photo: Path, n: int = 24) -> Path:
    """So many small tiles of a photograph, in two sub-folders, and one of them twice."""
    image = Image.open(photo).convert("RGB")
    for number in range(n):
        path = folder / f"part {number % 2}" / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.crop((17 * number, 4 * number, 17 * number + 60, 4 * number + 50)).save(path)
    shutil.copy(path, folder / "again.png")
    return folder


def test_the_suite_of_any_folder(tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept by what the images are: the same images elsewhere are the same suite, other images another one."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    folder = make_photos(tmp_path / "my photos", photo)
    chosen = plugins.datasets.select(f"copyedits:{folder}")[0].item
    assert (chosen.name, chosen.identity, chosen.kind) == ("copyedits:my photos", f"copyedits:{folder}", "copy")
    split = chosen.load()
    assert len(split.database) == 24 - 5 and len(split.queries) == 4 * len(NAMES)
    assert Counter(tag for tags in split.tags for tag in tags)["crop"] == 2
    assert {row["source"] for row in rows_of(split)} <= {i.relative_to(folder).as_posix() for i in folder.rglob("*")}
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert load(f"copyedits:{moved}").queries == split.queries
    (moved / "part 0" / "00.png").unlink()
    assert load(f"copyedits:{moved}").queries[0].path != split.queries[0].path
    assert len([path for path in (tmp_path / "home/datasets/copyedits").iterdir() if path.is_dir()]) == 2


def test_large_images_of_a_source_are_scaled_down(tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    folder = make_photos(tmp_path / "photos", photo, 20)
    for path in folder.glob("part 0/*.png"):
        Image.open(path).resize((600, 500)).save(path)
    sizes = Counter(Image.open(image.path).size for image in load(f"copyedits:{folder}").database)
    assert set(sizes) == {(512, 427), (60, 50)} and sum(sizes.values()) == 16


def test_a_source_that_can_not_be_used_is_told(
    tmp_path: Path, photo: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    with pytest.raises(DatasetError, match=f"disc:{small} has 12 different images: .* {LEAST_IMAGES} or more"):
        load(f"copyedits:disc:{small}")
    with pytest.raises(UsageError, match="'nothing' is no folder"):
        load("copyedits:nothing")
    folder = make_photos(tmp_path / "photos", photo)
    (folder / "part 0" / "broken.jpg").write_bytes(b"no image")
    (folder / "part 0" / "notes.txt").write_bytes(b"no image")
    split = load(f"copyedits:{folder}")
    assert list(split.unreadable) == ["part 0/broken.jpg"] and split.skipped == {".txt": 1}
    assert load(f"copyedits:{folder}").unreadable == split.unreadable  # without decoding again
    assert len(split.database) == 24 - 5 and not any("broken" in image.id for image in split.database)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=f"0 different images: .* {LEAST_IMAGES} or more"):
        load(f"copyedits:{folder}")


def test_a_suite_that_was_changed_is_refused(tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    folder = make_photos(tmp_path / "photos", photo, 20)
    table = load(f"copyedits:{folder}").queries[0].path.parent.parent / "pairs.csv"
    table.write_text(table.read_text().replace("one_edit;crop", "one_edit;grey", 1))
    with pytest.raises(DatasetError, match="was changed since it was built: delete it"):
        load(f"copyedits:{folder}")
