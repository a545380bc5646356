"""Synthetic copies: the compositions as pure functions, masks, painters, the sets they make, what bad input gets."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner, Result

from bench import plugins
from bench.cli import app
from bench.errors import BenchError, DatasetError, ImageError, UsageError
from bench.interfaces import ImageFile, Recipe
from bench.manifest import manifest
from bench.records import RunFolder
from datasets import _pairs
from datasets.demo._rng import Rng
from datasets.synthetic import _kinds
from datasets.synthetic._kinds import Copy, Miss, Scene, covering
from datasets.synthetic._masks import decoded, masks
from datasets.synthetic._painters import painted, painter
from datasets.synthetic._pictures import picture
from datasets.synthetic._plan import planned
from datasets.synthetic._regions import above_diagonal, blob, inside, mixed, ramp, random_box

KINDS = ("cutmix", "segmix", "outpaint_diagonal", "outpaint_patch", "inpaint")
PAINTING = KINDS[2:]
PAINTERS = ("opencv", "opencv:ns", "blend")

#: With the locked packages, as for the demo; the same with and without the wider instructions of the processor.
#: By kind; what OpenCV paints differs in the last bit between processors with AVX-512 (first) and without (second).
MANIFESTS = {
    "cutmix": ("e42b9b25f0e3be796e43a1a831e633eee87d9140a5d09d4fa2d3fe2c6fb026a4",),
    "segmix": ("6ff466860215a7ae5748fb904e900cafed9bd605d38fd3135999c3ad23a71acc",),
    "outpaint_diagonal": (
        "e4951045635dfd48bca9f4101df85b05382f69d9e9c8c3d10b6acfa2a92afd64",
        "69a6599f35feba19faf165f8cfaef539ddcefff37583d93df8e22e8a422938d8",
    ),
    "outpaint_patch": (
        "5e408753235231c303580e38eff0bc940131cf9ff69d0bba4bd4c69b24115414",
        "862b226a6abf6e6e118b8746044107cc54edaffa40ec4a4d604087624d3cc1bf",
    ),
    "inpaint": (
        "3fea67678501d6da7e7406a797f746fa3636aa2db3d66669b55ba4f45a772b1c",
        "9ed6f142fe034a1936295972f1549693080a49928169367339446e34abc9ea69",
    ),
}

shares = st.floats(0.05, 0.95)
shapes = st.tuples(st.integers(20, 90), st.integers(20, 90))
seeds = st.integers(0, 10**6).map(str)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def photo(name: str, side: int) -> NDArray[np.uint8]:
    (path,) = (Path(skimage.__file__).parent / "data").glob(f"{name}.*g")
    opened = Image.open(path).convert("RGB")
    opened.thumbnail((side, side))
    return np.asarray(opened)


# --- regions -------------------------------------------------------------------------------------------------------


@given(shapes, shares, seeds)
def test_a_random_box_has_its_share_and_lies_inside(shape: tuple[int, int], share: float, seed: str) -> None:
    left, top, right, bottom = random_box(shape, share, Rng(seed))
    assert 0 <= left < right <= shape[1] and 0 <= top < bottom <= shape[0]
    assert (right - left) * (bottom - top) / (shape[0] * shape[1]) == pytest.approx(share, abs=0.5 / min(shape) + 0.01)


def test_random_boxes_are_anywhere_and_of_many_forms() -> None:
    boxes = [random_box((100, 100), 0.1, Rng(str(seed))) for seed in range(400)]
    forms = [(right - left) / (bottom - top) for left, top, right, bottom in boxes]
    assert min(forms) < 0.6 and max(forms) > 1.7
    assert min(box[0] for box in boxes) < 4 and max(box[2] for box in boxes) > 96


@given(shapes, shares, st.booleans())
def test_what_is_above_a_diagonal_has_its_share(shape: tuple[int, int], share: float, rising: bool) -> None:
    kept = above_diagonal(shape, share, rising)
    assert kept.mean() == pytest.approx(share, abs=1.5 / min(shape))
    # a kept pixel has all those above it kept
    assert np.all(kept[:-1] >= kept[1:])


def test_the_half_above_a_diagonal_is_a_triangle() -> None:
    rows, columns = np.mgrid[:8, :8]
    assert np.array_equal(above_diagonal((8, 8), 0.5, rising=True), rows + columns <= 7)
    assert np.array_equal(above_diagonal((8, 8), 0.5, rising=False), rows <= columns)


@given(shapes, shares, seeds)
def test_a_blob_has_its_share_and_is_in_one_piece(shape: tuple[int, int], share: float, seed: str) -> None:
    mask = blob(shape, share, Rng(seed))
    assert mask.mean() == pytest.approx(share, abs=1 / mask.size)
    assert ndimage.label(mask, np.ones((3, 3)))[1] == 1


def test_a_ramp_rises_from_the_seam_but_not_from_the_edge_of_the_image() -> None:
    mask = inside((10, 20), (0, 0, 8, 10))
    weight = ramp(mask, 3)
    assert np.allclose(weight[5], [1, 1, 1, 1, 1, 0.75, 0.5, 0.25] + [0] * 12)
    assert np.array_equal(ramp(mask, 0), mask)


@given(seeds)
def test_mixing_is_exact_at_both_ends(seed: str) -> None:
    old, new = noise(7, 9, int(seed)), noise(7, 9, int(seed) + 1)
    mask = blob((7, 9), 0.4, Rng(seed))
    assert np.array_equal(mixed(old, new, mask.astype(np.float32)), np.where(mask[..., None], new, old))
    half = mixed(old, new, np.full((7, 9), 0.5, np.float32)).astype(int)
    assert np.abs(2 * half - old - new).max() <= 1


# --- compositions --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(shares, seeds)
def test_cutmix_is_the_background_outside_the_box_and_the_original_inside(area: float, seed: str) -> None:
    scene = Scene(noise(60, 80), noise(50, 90, 1))
    copy = _kinds.cutmix(scene, area, Rng(seed))
    assert isinstance(copy, Copy)
    x, y, right, bottom = copy.box
    left, top = map(int, copy.transformation.removeprefix("from=").split()[:2])
    outside = ~inside((60, 80), copy.box)
    assert np.array_equal(copy.pixels[outside], covering(scene.other, (60, 80))[outside])
    source = scene.original[top : top + bottom - y, left : left + right - x]
    assert np.array_equal(copy.pixels[y:bottom, x:right], source)
    assert copy.area == pytest.approx((right - x) * (bottom - y) / 4800) and abs(copy.area - area) < 0.02


def test_cutmix_pastes_at_the_same_place_and_at_others() -> None:
    copies = [_kinds.cutmix(Scene(noise(60, 80), noise(60, 80, 1)), 0.2, Rng(str(seed))) for seed in range(60)]
    same = sum(copy.transformation == f"from={' '.join(map(str, copy.box))}" for copy in copies)
    assert 18 < same < 42
    drawn = [_kinds.cutmix(Scene(noise(60, 80), noise(60, 80, 1)), None, Rng(str(seed))).area for seed in range(200)]
    # Beta(1, 1), without its ends
    assert 0.08 < min(drawn) < 0.2 and 0.8 < max(drawn) < 0.92 and np.mean(drawn) == pytest.approx(0.5, abs=0.06)


def disc(size: int = 80) -> Image.Image:
    y, x = np.mgrid[:size, :size]
    return Image.fromarray(((np.hypot(x - 39.5, y - 39.5) < 25) * 255).astype(np.uint8))


@settings(deadline=None)
@given(st.floats(0.02, 0.7), seeds)
def test_segmix_pastes_the_object_alone_at_the_size_asked(area: float, seed: str) -> None:
    object_ = noise(80, 80)
    object_[..., ::2] = np.where(np.asarray(disc())[..., None] > 0, (250, 10), (0, 0))
    scene = Scene(object_, np.full((90, 90, 3), (10, 10, 250), np.uint8), disc())
    copy = _kinds.segmix(scene, area, Rng(seed))
    assert isinstance(copy, Copy) and copy.area == pytest.approx(area, abs=0.02)
    red = copy.pixels[..., 0].astype(int)
    # every pixel mixes red and blue, to a few levels of rounding; the black around the object comes nowhere
    assert np.abs(red + copy.pixels[..., 2] - 260).max() <= 12
    assert ((red - 10) / 240).mean() == pytest.approx(copy.area, abs=0.01)
    left, top, right, bottom = copy.box
    outside = ~inside((90, 90), (left, top, right, bottom))
    assert np.array_equal(copy.pixels[outside], scene.other[outside])


def test_an_object_that_does_not_get_as_large_as_asked_makes_no_query() -> None:
    scene = Scene(noise(80, 80), noise(90, 90, 1), disc())
    assert _kinds.segmix(scene, 0.9, Rng("a")) is Miss.OUT_OF_REACH
    made = [_kinds.segmix(scene, None, Rng(str(seed))) for seed in range(30)]
    assert all(isinstance(copy, Copy) and 0.09 < copy.area < 0.51 for copy in made)


def test_a_wide_object_stands_over_the_edges_where_it_has_to() -> None:
    mask = Image.new("L", (80, 80))
    mask.paste(255, (0, 30, 80, 50))  # 4 : 1, so that a quarter is the most that fits into a square
    copy = _kinds.segmix(Scene(noise(80, 80), noise(80, 80, 1), mask), 0.6, Rng("a"))
    assert isinstance(copy, Copy) and copy.area == pytest.approx(0.6, abs=0.05)
    assert copy.box[0] == 0 and copy.box[2] == 80


def test_the_hard_level_changes_colour_form_and_size() -> None:
    scene = Scene(photo("chelsea", 80)[:80, :80], noise(90, 90, 1), Image.new("L", (80, 53), 255))
    done: set[str] = set()
    for seed in range(60):
        copy = _kinds.segmix(Scene(scene.original, scene.other, scene.mask, hard=True), 0.3, Rng(str(seed)))
        assert isinstance(copy, Copy)
        told = dict(part.partition("=")[::2] for part in copy.transformation.split("; "))
        assert -10 <= float(told["rotate"]) <= 10 and 0.75 <= float(told["resize"]) <= 1
        assert copy.area == pytest.approx(0.3 * float(told["resize"]) ** 2, abs=0.02)
        done |= set(told)
    assert done == {
        *("scale", "brightness", "contrast", "colour", "grey", "solarise", "blur"),
        *("mirror", "flip", "rotate", "resize"),
    }


@pytest.mark.parametrize("how", PAINTERS)
@pytest.mark.parametrize("kind", PAINTING)
def test_the_kept_part_is_the_original_and_the_rest_is_not(kind: str, how: str) -> None:
    compose = getattr(_kinds, kind)
    original = photo("coffee", 120)
    for area in (0.15, 0.5, 0.85):
        copy = compose(Scene(original, photo("rocket", 90), painter=painter(how)), area, Rng("a"))
        same = (copy.pixels == original).all(-1)
        assert copy.area == pytest.approx(area, abs=0.015)
        # a painted pixel may have the old colour by chance
        assert area - 0.015 < same.mean() < area + 0.05 * (1 - area) + 0.015
        if kind != "inpaint":
            left, top, right, bottom = copy.box
            assert same[top:bottom, left:right].mean() > (0.4 if kind == "outpaint_diagonal" else 0.999)


def test_the_kept_shares_without_a_wish_are_those_of_the_kinds() -> None:
    scene = Scene(noise(64, 64), noise(64, 64, 1), painter=painter("opencv"))
    for kind, share in zip(PAINTING, (0.5, 0.25, 0.75), strict=True):
        assert getattr(_kinds, kind)(scene, None, Rng("a")).area == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("how", PAINTERS)
def test_no_painter_sees_what_was_in_the_hole(how: str) -> None:
    one, hole = photo("coffee", 100), blob((67, 100), 0.4, Rng("hole"))
    other = np.where(hole[..., None], noise(67, 100), one)
    filled = [painted(painter(how), image, hole, photo("astronaut", 100)[:67], Rng("a")) for image in (one, other)]
    assert np.array_equal(*filled)
    assert np.array_equal(filled[0][~hole], one[~hole])


def test_a_painter_is_given_a_blank_hole() -> None:
    class Copying:
        packages, takes_other = (), False

        def paint(self, image: Any, hole: Any, other: Any, rng: Rng) -> Any:
            return image

    image, hole = noise(20, 30), inside((20, 30), (5, 5, 20, 15))
    filled = painted(Copying(), image, hole, None, Rng("a"))
    assert (filled[hole] == 127).all() and np.array_equal(filled[~hole], image[~hole])


def test_opencv_paints_on_and_its_grain_is_that_of_the_image() -> None:
    hole = inside((64, 64), (20, 20, 44, 44))
    plain = np.full((64, 64, 3), 90, np.uint8)
    assert np.abs(painted(painter("opencv"), plain, hole, plain, Rng("a")).astype(int) - 90).max() <= 4
    rough = np.clip(plain + np.random.default_rng(0).normal(0, 8, (64, 64, 1)), 0, 255).astype(np.uint8)
    grain = painted(painter("opencv"), rough, hole, plain, Rng("a"))[hole].std()
    assert 3 < grain < 12


def test_blending_brings_in_the_other_image_in_the_colours_around_it() -> None:
    image, hole = np.full((64, 64, 3), 90, np.uint8), inside((64, 64), (16, 16, 48, 48))
    stripes = np.where((np.arange(64) // 4 % 2)[None, :, None] > 0, 230, 170).repeat(64, 0).repeat(3, 2)
    filled = painted(painter("blend"), image, hole, stripes.astype(np.uint8), Rng("a"))[20:44, 20:44].astype(float)
    assert np.corrcoef(filled[12, :, 0], stripes[32, 20:44, 0])[0, 1] > 0.9
    assert 60 < filled.mean() < 120  # not 200


@pytest.mark.parametrize("feather", [0, 6])
def test_feathering_softens_the_seam(feather: int) -> None:
    black, white = np.zeros((60, 60, 3), np.uint8), noise(60, 60)
    white[..., 0] = 255
    copy = _kinds.cutmix(Scene(white, black, feather=feather), 0.4, Rng("a"))
    steps = np.abs(np.diff(copy.pixels[..., 0].astype(int), axis=1)).max()
    assert steps == 255 if not feather else steps < 60
    assert copy.area == pytest.approx(copy.pixels[..., 0].mean() / 255, abs=0.003)


def test_feathering_thins_the_rim_of_an_object() -> None:
    black, white = np.zeros((80, 80, 3), np.uint8), noise(80, 80)
    sharp, soft = (_kinds.segmix(Scene(white, black, disc(), feather=f), 0.4, Rng("a")) for f in (0, 5))
    assert isinstance(sharp, Copy) and isinstance(soft, Copy) and soft.area < sharp.area - 0.05
    assert np.all(soft.pixels <= sharp.pixels) and soft.pixels.max() == 255


def half_blank(side: int = 60) -> NDArray[np.uint8]:
    """White, but for its lower third."""
    image = np.full((side, side, 3), 255, np.uint8)
    image[-side // 3 :] = noise(side // 3, side)
    return image


@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_that_copies_a_blank_part_makes_no_query(kind: str) -> None:
    mask = Image.new("L", (60, 60))
    mask.paste(255, (5, 5, 30, 30))
    scene = Scene(half_blank(), noise(60, 60, 1), mask, painter("opencv"))
    if kind != "segmix":
        made = [getattr(_kinds, kind)(scene, 0.1, Rng(str(seed))) for seed in range(60)]
        copies = [copy for copy in made if isinstance(copy, Copy)]
        # those above a diagonal are all blank at so small an area
        assert Miss.FLAT in made and made.count(Miss.FLAT) + len(copies) == len(made)
        assert bool(copies) == (kind != "outpaint_diagonal")
    else:
        copies = []
        assert _kinds.segmix(scene, 0.1, Rng("a")) is Miss.FLAT
        assert isinstance(_kinds.segmix(Scene(noise(60, 60), half_blank(), mask), 0.1, Rng("a")), Copy)
    for copy in copies if kind in ("cutmix", "outpaint_patch") else ():
        left, top, right, bottom = copy.box
        assert np.asarray(Image.fromarray(copy.pixels[top:bottom, left:right]).convert("L")).std() >= 6


# --- masks ---------------------------------------------------------------------------------------------------------


def image_file(folder: Path, name: str = "a.png", size: tuple[int, int] = (8, 5), mode: str = "RGB") -> ImageFile:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, 90 if mode == "L" else None).save(path)
    return ImageFile(name, path)


def mask_of(spec: str | None, image: ImageFile, seed: str = "a") -> NDArray[np.bool_]:
    return np.asarray(masks(spec).of(image, picture(image), Rng(seed))[0]) > 0


WANTED = np.array([[0] * 8, [0, 0, 1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 0, 0], [0] * 8, [0] * 8], bool)


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (3, 250)])
def test_a_mask_folder_has_masks_of_any_two_values(tmp_path: Path, values: tuple[int, int]) -> None:
    image = image_file(tmp_path / "images", "dog/a.jpg")
    (tmp_path / "masks/dog").mkdir(parents=True)
    Image.fromarray(np.where(WANTED, values[1], values[0]).astype(np.uint8)).save(tmp_path / "masks/dog/a.png")
    assert np.array_equal(mask_of(str(tmp_path / "masks"), image), WANTED)
    assert not masks(str(tmp_path / "masks")).has(image_file(tmp_path / "images", "cat/a.jpg"))


def test_a_mask_of_one_bit_at_the_top_of_the_folder_is_found_by_name(tmp_path: Path) -> None:
    image = image_file(tmp_path / "images", "dog/a.jpg")
    (tmp_path / "masks").mkdir()
    Image.fromarray(WANTED).save(tmp_path / "masks/a.png")
    assert np.array_equal(mask_of(str(tmp_path / "masks"), image), WANTED)


def voc(folder: Path, indices: NDArray[np.uint8], kind: str = "SegmentationObject") -> str:
    (folder / kind).mkdir(parents=True)
    palette = Image.fromarray(indices)
    palette.putpalette([value for index in range(256) for value in (index, 128, 255 - index)])
    assert palette.mode == "P"
    palette.save(folder / kind / "a.png")
    return str(folder)


def test_pascal_voc_tells_objects_apart_and_leaves_out_their_border(tmp_path: Path) -> None:
    indices = np.array([[1, 1, 1, 255, 0, 2, 2, 2]] * 5, np.uint8)
    spec = voc(tmp_path, indices)
    found = {tuple(mask_of(spec, image_file(tmp_path), str(seed))[0].tolist()) for seed in range(20)}
    assert found == {tuple((indices[0] == number).tolist()) for number in (1, 2)}


def test_of_pascal_voc_classes_are_taken_where_there_are_no_objects(tmp_path: Path) -> None:
    spec = voc(tmp_path, np.where(WANTED, 15, 0).astype(np.uint8), "SegmentationClass")
    assert np.array_equal(mask_of(spec, image_file(tmp_path)), WANTED)


def coco(folder: Path, *segmentations: Any, **changed: Any) -> str:
    annotations = [{"image_id": 7, "segmentation": s, "iscrowd": 0} for s in segmentations]
    content = {"images": [{"id": 7, "file_name": "a.png"}], "annotations": annotations, **changed}
    (folder / "instances.json").write_text(json.dumps(content))
    return str(folder / "instances.json")


#: In WANTED's columns: 2 empty ones, then 1 off, 2 on, 2 off four times, of which the last runs on to the end.
RUNS = {"size": [5, 8], "counts": [11, 2, 3, 2, 3, 2, 3, 2, 12]}


#: Each as x, y, x, y, ...: one polygon, or the same in two halves.
POLYGON, HALVES = [[2, 1, 6, 1, 6, 3, 2, 3]], [[2, 1, 4, 1, 4, 3, 2, 3], [4, 1, 6, 1, 6, 3, 4, 3]]


@pytest.mark.parametrize("segmentation", [POLYGON, HALVES, RUNS])
def test_coco_polygons_and_run_lengths(tmp_path: Path, segmentation: Any) -> None:
    assert np.array_equal(mask_of(coco(tmp_path, segmentation), image_file(tmp_path)), WANTED)


def test_coco_run_lengths_as_packed_by_pycocotools() -> None:
    wanted = np.zeros((5, 7), bool)
    wanted[1:4, 2:6] = True
    wanted[2, 3], wanted[4, 6] = False, True
    assert np.array_equal(decoded({"size": [5, 7], "counts": ";32NO012003N"}, (5, 7), "x"), wanted)


def test_a_crowd_is_no_object_of_coco(tmp_path: Path) -> None:
    spec = coco(tmp_path, annotations=[{"image_id": 7, "segmentation": RUNS, "iscrowd": 1}])
    assert not masks(spec).has(image_file(tmp_path))


def test_a_tiny_object_is_not_chosen_beside_a_large_one(tmp_path: Path) -> None:
    image = image_file(tmp_path, size=(20, 20))
    spec = coco(tmp_path, [[0, 0, 1, 0, 1, 1, 0, 1]], [[5, 5, 15, 5, 15, 15, 5, 15]])
    assert {int(mask_of(spec, image, str(seed)).sum()) for seed in range(20)} == {100}


def test_an_alpha_channel_is_a_mask_and_the_picture_is_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((5, 8, 4), np.uint8)
    pixels[WANTED] = (200, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = ImageFile("a", tmp_path / "a.png", (1, 0, 8, 5))
    assert np.array_equal(mask_of("alpha", image), WANTED[:, 1:])
    shown = np.asarray(picture(image).rgb)
    assert (shown[WANTED[:, 1:]] == (200, 0, 0)).all() and (shown[~WANTED[:, 1:]] == 255).all()
    assert not masks("alpha").has(image_file(tmp_path, "opaque.png", mode="RGBA"))


def test_without_masks_a_blob_is_taken(tmp_path: Path) -> None:
    image = image_file(tmp_path, size=(60, 40))
    mask, told = masks(None).of(image, picture(image), Rng("a"))
    assert told == "blob" and 0.19 < np.asarray(mask).mean() / 255 < 0.51


def broken(folder: Path) -> str:
    folder.mkdir()
    (folder / "a.png").write_text("no image")
    return str(folder)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda f: voc(f, np.ones((4, 8), np.uint8)), r"a\.png is of 8 x 4 pixels, its image .*a\.png of 8 x 5"),
        (lambda f: voc(f, np.full((5, 8), 255, np.uint8)), r"SegmentationObject/a\.png shows no object"),
        (lambda f: broken(f / "masks"), "can't be read"),
        (lambda f: coco(f, {"size": [8, 5], "counts": [40]}), r"annotation of a\.png .* is of \(8, 5\) pixels"),
        (lambda f: coco(f, {"size": [5, 8], "counts": [39]}), "of the sum 39 and .* its image has 40 pixels"),
        (lambda f: coco(f, {"size": [5, 8], "counts": [50, -10]}), "the sum 40 and the least -10, .* none is below 0"),
        (lambda f: coco(f, {"size": [5, 8], "counts": [20.5, 19.5]}), "counts that are not whole numbers"),
        (lambda f: coco(f, {"size": [5, 8], "counts": ["20", "20"]}), "counts that are not whole numbers"),
        (lambda f: coco(f, {"size": [5, 8], "counts": [10**30]}), "run lengths of the sum 10{30} "),
        (lambda f: coco(f, {"counts": [40]}), "neither polygons nor run lengths"),
        (lambda f: coco(f, [[1, 2, 3]]), "neither polygons nor run lengths"),
        (lambda f: coco(f, {"size": [5, 8], "counts": [40]}), "shows no object"),
    ],
)
def test_a_bad_mask_is_told(tmp_path: Path, make: Callable[[Path], str], sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        mask_of(make(tmp_path), image_file(tmp_path))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not a JSON file"),
        ("[]", "is not COCO's instances file"),
        ('{"images": []}', "KeyError 'annotations'"),
        ('{"images": [], "annotations": [{"image_id": 3, "segmentation": [[1]]}]}', "KeyError 3"),
    ],
)
def test_a_file_that_is_not_cocos_is_told(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DatasetError, match=sentence):
        masks(str(tmp_path / "x.json")).has(image_file(tmp_path))


# --- sets ----------------------------------------------------------------------------------------------------------


def make(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["make", "synthetic", *map(str, arguments)])


def failure(*arguments: object) -> BenchError:
    error = make(*arguments).exception
    assert isinstance(error, BenchError)
    return error


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "pairs.csv").open() as stream:
        return list(csv.DictReader(stream))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 tiles of photographs, one of them twice."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("chelsea", "coffee", "astronaut"):
        whole = Image.fromarray(photo(name, 300)[:190])
        (folder / name).mkdir()
        for number in range(10):
            x, y = 58 * (number % 5), 95 * (number // 5)
            whole.crop((x, y, x + 58, y + 90)).save(folder / name / f"{number}.png")
    (folder / "twin.png").write_bytes((folder / "coffee/3.png").read_bytes())
    return folder


SMALL = ("--queries", 10, "--size", 64, "--workers", 2)


@pytest.fixture(scope="module")
def sets(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A set of every kind by every painter."""
    folder = tmp_path_factory.mktemp("sets")
    chosen = [(kind, None) for kind in KINDS] + [(kind, how) for kind in PAINTING for how in PAINTERS[1:]]
    for kind, how in chosen:
        output = folder / f"{kind}-{how or 'default'}".replace(":", "-")
        result = make(
            "--source", source, "--kind", kind, "--output", output, *SMALL, *(("--painter", how) if how else ())
        )
        assert result.exit_code == 0, result.exception
    return {path.name: path for path in sorted(folder.iterdir())}


def test_every_kind_and_painter_makes_a_set_that_a_run_scores(sets: dict[str, Path], tmp_path: Path) -> None:
    chosen = ",".join(f"pairs:{path}" for path in sets.values())
    arguments = ["run", "--datasets", chosen, "--backbones", "dhash", "--similarities", "global"]
    result = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "run")])
    assert result.exit_code == 0, result.exception
    records = list(RunFolder.existing(tmp_path / "run").records())
    assert len(sets) == len(records) == 11 and all(record.status == "ok" for record in records)


def test_the_ground_truth_names_the_originals(sets: dict[str, Path], source: Path) -> None:
    for name, folder in sets.items():
        rows, split = rows_of(folder), _pairs.read(folder)
        told = json.loads((folder / "manifest.json").read_text())
        assert len(split.queries) == told["queries"] == 10 and len(split.database) == told["references"]
        matches = [row for row in rows if row["reference"]]
        assert len(matches) == 8 and told["originals"] == 8
        answers = {row["reference"] for row in matches}
        assert len(answers) < len(split.database)  # the others are distractors
        in_database = {image.path.stem.partition("_")[2] for image in split.database}
        slug = {row["query"]: row["original"].removesuffix(".png").replace("/", "_") for row in rows}
        for row in rows:
            assert row["kind"] == name.partition("-")[0]
            # what is pasted or blended in is no unlabelled copy, nor is a query without a match
            assert bool(row["other"]) == (row["kind"] in ("cutmix", "segmix") or name.endswith("blend"))
            assert row["other"].removesuffix(".png").replace("/", "_") not in in_database
            assert row["other"] != row["original"]
            if row["reference"]:
                assert Path(row["reference"]).stem.partition("_")[2] == slug[row["query"]]
            else:
                assert slug[row["query"]] not in in_database
        assert told["source"] == {**told["source"], "images": 31, "identical_files_left_out": 1}
        assert told["source"]["identity"] == str(source.resolve())


def test_no_query_is_pasted_into_its_own_original() -> None:
    files = [ImageFile(str(number), Path(str(number))) for number in range(10)]
    plan = planned(files, (), None, Recipe(queries=200, unmatched=0.1))
    assert {query.other.id for query in plan.queries if query.reference is None} == {
        query.original.id for query in plan.queries if query.reference is None
    }
    assert all(query.other is not query.original for query in plan.queries)
    assert len({query.original.id for query in plan.queries if query.reference}) == 6


def test_the_manifest_tells_how_a_set_was_made(sets: dict[str, Path]) -> None:
    told = {name: json.loads((folder / "manifest.json").read_text()) for name, folder in sets.items()}
    assert told["inpaint-default"]["painter"] == "opencv" and told["inpaint-blend"]["painter"] == "blend"
    assert told["outpaint_patch-opencv-ns"]["painter"] == "opencv:ns" and told["cutmix-default"]["painter"] is None
    assert "blob" in told["segmix-default"]["masks"] and told["inpaint-default"]["masks"] is None
    assert told["cutmix-default"]["parameters"]["size"] == 64 and told["cutmix-default"]["seed"] == 0
    assert set(told["cutmix-default"]["versions"]) == {"pillow", "opencv-python-headless", "numpy"}


def test_a_query_is_its_original_but_for_what_is_painted(sets: dict[str, Path]) -> None:
    """Both after the same JPEG pass."""
    folder = sets["inpaint-default"]
    for row in (row for row in rows_of(folder) if row["reference"]):
        query, reference = (np.asarray(Image.open(folder / row[name]), int) for name in ("query", "reference"))
        box = inside(query.shape[:2], tuple(map(int, row["transformation"].removeprefix("painted=").split())))
        difference = np.abs(query - reference).mean(-1)
        assert difference[~box].mean() < 2 and difference[box].mean() > 2 * difference[~box].mean()


@pytest.mark.parametrize("kind", ["segmix", "inpaint"])
def test_the_bytes_do_not_depend_on_the_number_of_workers(source: Path, tmp_path: Path, kind: str) -> None:
    extra = ("--level", "hard") if kind == "segmix" else ()
    for workers in (1, 3):
        arguments = ("--source", source, "--kind", kind, "--output", tmp_path / str(workers), *extra)
        assert make(*arguments, "--queries", 8, "--size", 64, "--workers", workers).exit_code == 0
    assert make(*arguments[:5], tmp_path / "other", *SMALL, "--seed", 1).exit_code == 0
    one, three, other = (contents(tmp_path / name) for name in ("1", "3", "other"))
    assert one == three and one["pairs.csv"] != other["pairs.csv"]


def test_a_sweep_makes_the_queries_for_every_area(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "sweep"
    assert (
        make("--source", source, "--kind", "cutmix", "--output", output, *SMALL, "--area", "0.1,0.5,0.9").exit_code == 0
    )
    split, rows = _pairs.read(output), rows_of(output)
    assert len(rows) == 30 and split.tags.count(("area=0.1",)) == split.tags.count(("area=0.9",)) == 10
    for row in rows:
        assert float(row["area"]) == pytest.approx(float(row["tags"].removeprefix("area=")), abs=0.02)
    by_area = [{(r["original"], r["other"]) for r in rows if r["tags"] == f"area={a}"} for a in (0.1, 0.5, 0.9)]
    assert by_area[0] == by_area[1] == by_area[2]


def test_a_sweep_has_only_the_objects_that_reach_every_area(tmp_path: Path, source: Path) -> None:
    """Cut-outs pasted into other photographs: squares fill a query, discs do not."""
    (tmp_path / "cutouts").mkdir()
    for number in range(8):
        cutout = Image.fromarray(noise(80, 80, number))
        cutout.putalpha(Image.new("L", (80, 80), 255) if number % 2 else disc())
        cutout.putpixel((0, 0), (0, 0, 0, 0))
        cutout.save(tmp_path / f"cutouts/{number}.png")
    output = tmp_path / "out"
    sources = ("--source", tmp_path / "cutouts", "--backgrounds", tmp_path / "square")
    common = (*sources, "--kind", "segmix", "--masks", "alpha")
    (tmp_path / "square").mkdir()
    for number in range(4):
        Image.fromarray(photo("coffee", 300)[:180, number * 20 : number * 20 + 180]).save(
            tmp_path / f"square/{number}.png"
        )
    result = make(*common, "--output", output, *SMALL, "--area", "0.2,0.98")
    assert result.exit_code == 0, result.exception
    told = json.loads((output / "manifest.json").read_text())
    by_area = [[r["original"] for r in rows_of(output) if r["tags"] == f"area={area}"] for area in (0.2, 0.98)]
    assert by_area[0] == by_area[1] and {int(Path(name).stem) % 2 for name in by_area[0]} == {1}
    assert told["queries"] == 2 * len(by_area[0]) and told["left_out_of_reach"] == 10 - len(by_area[0]) > 0
    assert told["originals"] == len({row["reference"] for row in rows_of(output) if row["reference"]})
    assert told["left_out_flat"] == 0 and {row["other"] for row in rows_of(output)} <= {f"{n}.png" for n in range(4)}
    for number in range(1, 8, 2):
        (tmp_path / f"cutouts/{number}.png").unlink()
        Image.fromarray(noise(80, 80, number)).save(tmp_path / f"cutouts/{number}.png")
    error = str(failure(*common, "--output", tmp_path / "none", "--size", 64, "--area", "0.2,0.95,0.98"))
    assert "reaches the area 0.95, 0.98 of a query: ask for smaller ones" in error
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", ["cutmix", "outpaint_patch"])
def test_a_blank_part_is_drawn_again_and_blank_images_make_no_query(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    for number in range(12):
        pixels = half_blank()
        if number % 3 == 0:
            pixels[:] = 20 * number  # nothing to be found anywhere
        pixels[0, 0, 0] = number
        Image.fromarray(pixels).save(tmp_path / f"in/{number}.png")
    arguments = ("--source", tmp_path / "in", "--kind", kind, "--size", 60, "--area", 0.1, "--jpeg", 100)
    made = ("--queries", 24, "--unmatched", 0.4)
    for workers in (1, 3):
        result = make(*arguments, *made, "--output", tmp_path / str(workers), "--workers", workers)
        assert result.exit_code == 0, result.exception
    assert contents(tmp_path / "1") == contents(tmp_path / "3")
    rows, told = rows_of(tmp_path / "1"), json.loads((tmp_path / "1/manifest.json").read_text())
    assert told["queries"] == len(rows) and told["left_out_flat"] == 24 - len(rows) > 0 == told["left_out_of_reach"]
    assert {bool(row["reference"]) for row in rows} == {True, False}
    for row in rows:
        assert int(Path(row["original"]).stem) % 3
        left, top, right, bottom = map(int, row["box"].split())
        copied = np.asarray(Image.open(tmp_path / "1" / row["query"]).convert("L"))[top:bottom, left:right]
        assert copied.std() > 5.5


def test_images_that_show_nothing_make_no_set(tmp_path: Path) -> None:
    for number in range(6):
        Image.new("RGB", (60, 60), (number, 90, 90)).save(tmp_path / f"{number}.png")
    error = failure("--source", tmp_path, "--kind", "cutmix", "--output", tmp_path / "out", "--size", 60)
    assert "shows anything in the part to be copied: name other images, or ask for larger areas" in str(error)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("named", ["", "masks", "SegmentationObject"])
def test_masks_in_the_source_folder_are_no_images_to_copy(source: Path, tmp_path: Path, named: str) -> None:
    """Of Pascal VOC both kinds of masks are told by its folder, and by the folder of one."""
    (tmp_path / "images").mkdir()
    kinds = ("masks",) if named == "masks" else ("SegmentationObject", "SegmentationClass")
    for number in range(8):
        (tmp_path / f"images/{number}.png").write_bytes((source / f"coffee/{number}.png").read_bytes())
        for value, kind in enumerate(kinds):
            (tmp_path / kind).mkdir(exist_ok=True)
            mask = np.zeros((90, 58), np.uint8)
            mask[10 : 60 + number, 10:40] = 100 + value
            Image.fromarray(mask).save(tmp_path / kind / f"{number}.png")
    arguments = ("--source", tmp_path, "--kind", "segmix", "--masks", tmp_path / named, "--output", tmp_path / "out")
    result = make(*arguments, *SMALL)
    assert result.exit_code == 0, result.exception
    assert {Path(row[name]).parts[0] for row in rows_of(tmp_path / "out") for name in ("original", "other")} == {
        "images"
    }
    told = json.loads((tmp_path / "out/manifest.json").read_text())["source"]
    assert (told["images"], told["masks_left_out"]) == (8, 8 * len(kinds))
    assert len(list((tmp_path / "out/references").iterdir())) < 8


def test_a_source_of_masks_alone_is_told(tmp_path: Path) -> None:
    Image.new("L", (60, 60), 9).save(tmp_path / "0.png")
    error = failure("--source", tmp_path, "--kind", "segmix", "--masks", tmp_path, "--output", tmp_path / "out")
    assert "is one of the masks: name a folder of masks apart" in str(error)


def test_images_without_a_mask_are_distractors(source: Path, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / "masks/coffee").mkdir(parents=True, exist_ok=True)
        Image.new("1", (58, 90), 1).save(tmp_path / f"masks/coffee/{number}.png")
    arguments = ("--source", source, "--kind", "segmix", "--masks", tmp_path / "masks", "--output", tmp_path / "out")
    assert make(*arguments, *SMALL).exit_code == 0
    assert {row["original"] for row in rows_of(tmp_path / "out")} <= {f"coffee/{number}.png" for number in range(5)}
    assert len(list((tmp_path / "out/references").iterdir())) == 28


def test_a_plugin_adds_a_kind(source: Path, tmp_path: Path) -> None:
    (tmp_path / "my_kind.py").write_text(
        "from bench.plugins import register_generator\n"
        "from datasets.synthetic._kinds import Copy\n"
        "from datasets.synthetic._make import Synthetic\n"
        "def upside_down(scene, area, rng):\n"
        "    return Copy(scene.original[::-1], 1.0, (0, 0, 1, 1), 'flip')\n"
        "@register_generator()\n"
        "def flipped():\n"
        "    return Synthetic('flipped', 'upside down', upside_down, frozenset())\n"
    )
    arguments = (
        "--plugin",
        tmp_path / "my_kind.py",
        "--source",
        source,
        "--kind",
        "flipped",
        "--output",
        tmp_path / "o",
    )
    assert make(*arguments, *SMALL).exit_code == 0
    row = next(row for row in rows_of(tmp_path / "o") if row["reference"])
    query, reference = (np.asarray(Image.open(tmp_path / "o" / row[name]), int) for name in ("query", "reference"))
    assert np.abs(query[::-1] - reference).mean() < 3


def test_generators_are_listed() -> None:
    listed = json.loads(CliRunner().invoke(app, ["list", "generators", "--json"]).stdout)
    assert set(KINDS) <= {row["name"] for row in listed}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--kind", "cutmax"), "there is no kind of synthetic copies 'cutmax': did you mean cutmix"),
        (("--kind", "outpaint*"), "is 2 kinds of synthetic copies: name one"),
        (("--kind", "cutmix", "--painter", "blend"), "cutmix has no use for --painter blend: leave it out"),
        (("--kind", "inpaint", "--level", "hard"), "inpaint has no use for --level hard: leave it out"),
        (("--kind", "inpaint", "--masks", "alpha"), "inpaint has no use for --masks alpha: leave it out"),
        (("--kind", "inpaint", "--painter", "oil"), "there is no painter 'oil': known are opencv, opencv:ns, blend"),
        (("--kind", "inpaint", "--painter", "diffusion"), "there is no painter 'diffusion'"),
        (("--kind", "segmix", "--level", "soft"), "there is no level 'soft'"),
        (("--kind", "segmix", "--masks", "nowhere"), "there are no masks 'nowhere': name a folder of masks"),
        (("--kind", "segmix", "--masks", "alpha"), r"no image of .* has a mask \(alpha channel\)"),
        (("--kind", "cutmix", "--area", "0.5,1.5"), "the area 1.5 is not from 0.01 to 0.99"),
        (("--kind", "cutmix", "--area", "0.5,0.5"), "the area 0.5 is not from 0.01 to 0.99, or is given twice"),
        (("--kind", "cutmix", "--area", "half"), "the areas 'half' are not numbers between 0 and 1"),
        (("--kind", "cutmix", "--unmatched", "1"), "the share of queries without a match is 1"),
        (("--kind", "cutmix", "--distractors", "40"), "too few for 40 distractors and 6 images outside the database"),
    ],
)
def test_a_bad_wish_is_one_sentence(source: Path, tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    error = failure("--source", source, "--output", tmp_path / "out", *SMALL, *arguments)
    assert isinstance(error, UsageError | DatasetError)
    with pytest.raises(type(error), match=sentence):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_is_there_is_left_alone(source: Path, tmp_path: Path) -> None:
    error = failure("--source", source, "--kind", "cutmix", "--output", tmp_path)
    assert f"there is already {tmp_path}: name a new folder, or delete it" in str(error)


def test_a_broken_image_is_left_out_and_listed_and_strict_leaves_nothing(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.png").write_bytes(
            (source / f"coffee/{number}.png").read_bytes()[: 900 if number == 5 else None]
        )
    Image.fromarray(noise(40, 900, 8)).save(folder / "8.png")
    call = ("--source", folder, "--kind", "cutmix", "--output", tmp_path / "out", "--size", 64)
    error = failure(*call, "--strict")
    assert isinstance(error, ImageError) and "5.png" in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]
    ran = make(*call)
    assert ran.exit_code == 0 and "source: 2 images can't be read or described and are left out" in ran.output
    listed = (tmp_path / "out/unreadable.csv").read_text().splitlines()
    assert listed[0] == "side,id,reason" and [line.split(",")[1] for line in listed[1:]] == ["5.png", "8.png"]
    assert "of 900 x 40 pixels is too elongated to be scaled to 64: leave it out" in listed[2]
    used = {row["original"] for row in rows_of(tmp_path / "out")} | {row["other"] for row in rows_of(tmp_path / "out")}
    assert used and not used & {"5.png", "8.png"}


def test_backgrounds_that_are_in_the_source_are_not_used(source: Path, tmp_path: Path) -> None:
    common = ("--source", source, "--kind", "cutmix", "--output", tmp_path / "out", *SMALL)
    assert "every background of" in str(failure(*common, "--backgrounds", source / "coffee"))


def test_the_diffusion_painter_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UsageError, match=r"needs the package diffusers .* pip install -e '\.\[generate\]'"):
        painter("diffusion:some/model")


@pytest.fixture(scope="module")
def tiny_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inpainting pipeline with random weights, in the form in which diffusers stores one."""
    diffusers = pytest.importorskip("diffusers", reason="the extra generate is not installed")
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("diffusion")
    (folder / "vocab.json").write_text('{"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2}')
    (folder / "merges.txt").write_text("#version: 0.2\n")
    sizes = {"vocab_size": 3, "hidden_size": 8, "intermediate_size": 8, "max_position_embeddings": 8}
    text = CLIPTextConfig(**sizes, num_hidden_layers=1, num_attention_heads=2, bos_token_id=0, eos_token_id=1)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    pipeline = diffusers.StableDiffusionInpaintPipeline(
        vae=diffusers.AutoencoderKL(block_out_channels=(4,) * 4, norm_num_groups=2, **blocks),
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=8),
        unet=diffusers.UNet2DConditionModel(
            sample_size=8,
            in_channels=9,
            out_channels=4,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=8,
            attention_head_dim=4,
        ),
        scheduler=diffusers.DDIMScheduler(steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "model")
    return folder / "model"


def test_the_diffusion_painter_makes_a_set(tiny_diffusion: Path, source: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        arguments = ("--source", source, "--kind", "inpaint", "--output", tmp_path / str(workers), "--queries", 3)
        result = make(*arguments, "--size", 60, "--painter", f"diffusion:{tiny_diffusion}", "--workers", workers)
        assert result.exit_code == 0, result.exception
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    told = json.loads((tmp_path / "1/manifest.json").read_text())
    assert told["painter"] == f"diffusion:{tiny_diffusion}" and "diffusers" in told["versions"]


def test_a_diffusion_model_that_is_not_there(tiny_diffusion: Path) -> None:
    with pytest.raises(UsageError, match=r"the diffusion model '.*nowhere' can't be loaded"):
        painter(f"diffusion:{tiny_diffusion}/nowhere")


# --- the registered five -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_manifest_is_the_pinned_one(name: str) -> None:
    found = manifest(plugins.datasets.select(name)[0].item.load())
    assert found.n_queries_without_positive == 15 and found.n_queries == found.n_pairs + 15
    assert 58 <= found.n_pairs <= 60  # of two originals hardly a part shows anything
    assert 120 <= found.n_database <= 200
    assert found.sha256 in MANIFESTS[name]


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_query_shows_something_of_its_original(name: str) -> None:
    dataset = plugins.datasets.select(name)[0].item
    (folder,) = {path.path.parents[1] for path in dataset.load().queries}
    for row in rows_of(folder):
        left, top, right, bottom = map(int, row["box"].split())
        query = Image.open(folder / row["query"]).convert("L").crop((left, top, right, bottom))
        assert np.asarray(query).std() > 5.5
    told = json.loads((folder / "manifest.json").read_text())
    assert told["queries"] + told["left_out_flat"] == 75


def test_the_bundled_segmix_says_that_its_masks_are_no_objects() -> None:
    assert "a seeded smooth region of an original" in plugins.datasets.select("segmix")[0].item.description


def test_the_five_are_a_group_and_part_of_the_papers_ten() -> None:
    five = {chosen.item.name for chosen in plugins.datasets.select("synthetic")}
    assert five == set(KINDS) <= {chosen.item.name for chosen in plugins.datasets.select("paper")}
    assert all(chosen.item.kind == "copy" for chosen in plugins.datasets.select("synthetic"))
