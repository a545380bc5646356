"""Decoding: orientation, depth, and files that are broken or huge."""

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench import images
from bench.errors import DescriptorError, ImageError
from bench.extract import Extraction, extract
from bench.interfaces import NATIVE, Descriptors, ImageFile, Preprocess


def test_exif_orientation_is_applied(photo: Path, tmp_path: Path) -> None:
    upright = Image.open(photo).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(np.asarray(images.decode(tmp_path / "turned.png")), np.asarray(upright))


def test_sixteen_bit_greys_are_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert np.array_equal(np.asarray(images.decode(tmp_path / "deep.png"))[0, :, 0], np.arange(256))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(mode: str, photo: Path, tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    Image.open(photo).convert(mode).save(path)
    assert images.load(path, NATIVE).shape == (3, 300, 451)


def spoiled(folder: Path, photo: Path) -> dict[str, Path]:
    """Files that can't be decoded, by what is wrong with them."""
    whole = folder / "whole.jpg"
    Image.open(photo).convert("RGB").save(whole)
    content = whole.read_bytes()
    files = {"cut.jpg": content[: len(content) // 2], "empty.png": b"", "page.jpg": b"<!DOCTYPE html><html></html>"}
    for name, broken in files.items():
        (folder / name).write_bytes(broken)
    Image.new("1", (20_000, 10_000)).save(folder / "huge.png")
    return {name: folder / name for name in [*files, "huge.png", "missing.jpg"]}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cut.jpg", "truncated"),
        ("empty.png", "cannot identify"),
        ("page.jpg", "cannot identify"),
        ("huge.png", "20000 x 10000 pixels"),
        ("missing.jpg", "no such file"),
    ],
)
def test_a_broken_file_is_named(name: str, told: str, photo: Path, tmp_path: Path) -> None:
    path = spoiled(tmp_path, photo)[name]
    with pytest.raises(ImageError, match=told) as error:
        images.decode(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_an_elongated_image_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (10_000, 1)).save(tmp_path / "line.png")
    with pytest.raises(ImageError, match=r"line\.png of 10000 x 1 pixels is too elongated"):
        images.load(tmp_path / "line.png", Preprocess(size=256, crop=None))


class Answer:
    """Gives the same answer to every batch."""

    n_parameters = 0

    def __init__(self, answer: torch.Tensor) -> None:
        self.answer = answer

    def describe(self, batch: torch.Tensor) -> Descriptors:
        return Descriptors(self.answer)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (torch.ones(1, 4), r"2 images gave descriptors of shape \(1, 4\)"),
        (torch.ones(2, 4, 4), r"shape \(2, 4, 4\)"),
        (torch.tensor([[1.0, 2], [np.nan, 1]]), r"the descriptor of .*1\.png is not finite"),
        (torch.tensor([[0.0, 0], [1, 1]]), r"the descriptor of .*0\.png is zero"),
    ],
)
def test_a_wrong_answer_of_a_model_is_told(answer: torch.Tensor, told: str, tmp_path: Path) -> None:
    files = [ImageFile(str(n), tmp_path / f"{n}.png") for n in range(2)]
    for file in files:
        Image.new("RGB", (4, 4)).save(file.path)
    with pytest.raises(DescriptorError, match=told):
        extract(Answer(answer), files, Extraction(NATIVE, 2, 1), keep=lambda rows: None)


class Corner:
    """Describes an image by its first pixel and its shape."""

    n_parameters = 0

    def describe(self, batch: torch.Tensor) -> Descriptors:
        shape = torch.tensor(batch.shape[2:]).expand(len(batch), 2)
        return Descriptors(torch.cat([batch[:, :, 0, 0].float(), shape.float()], 1))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("workers", [1, 3])
def test_extraction_keeps_the_order_of_images_of_any_shape(batch_size: int, workers: int, tmp_path: Path) -> None:
    files = []
    for number in range(20):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (5 + number % 3, 4 + number % 2), (number, 2 * number, 3 * number)).save(path)
        files.append(ImageFile(str(number), path))
    seen: list[int] = []
    found: list[list[float]] = []
    speed = extract(
        Corner(), files, Extraction(NATIVE, batch_size, workers), lambda rows: found.extend(rows.tolist()), seen.append
    )
    assert found == [[n, 2 * n, 3 * n, 4 + n % 2, 5 + n % 3] for n in range(20)]
    assert seen[-1] == 20 and seen == sorted(seen) and speed.n_images == 20 and speed.images_per_s > 0


def test_squash_ignores_the_shape_and_short_keeps_it(photo: Path) -> None:
    assert images.load(photo, Preprocess("squash", 64, None)).shape == (3, 64, 64)
    assert images.load(photo, Preprocess("short", 64, None)).shape == (3, 64, 96)
    assert images.load(photo, Preprocess("short", 64, 48)).shape == (3, 48, 48)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads have no priority of their own")
def test_decoding_threads_step_aside_and_the_process_does_not(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "image.png")
    seen: set[int] = set()

    class Watched(type(tmp_path)):  # type: ignore[misc]
        """A path that notes the priority of the thread that opens it."""

        def __fspath__(self) -> str:
            seen.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return str(tmp_path / "image.png")

    before = os.getpriority(os.PRIO_PROCESS, 0)
    extract(Corner(), [ImageFile("a", Watched("x"))], Extraction(NATIVE, 1, 1), lambda rows: None)
    assert seen == {19} and os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_box_is_the_part_of_the_upright_image(tmp_path: Path) -> None:
    pixels = np.arange(40 * 30 * 3, dtype=np.uint8).reshape(30, 40, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = np.asarray(images.decode(tmp_path / "a.png", (4.6, 2.4, 20.0, 90.0)))
    assert np.array_equal(found, pixels[2:30, 5:20])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    upright = np.rot90(pixels, -1)
    assert np.array_equal(np.asarray(images.decode(tmp_path / "turned.png", (0, 0, 10, 40))), upright[:, :10])


@pytest.mark.parametrize("box", [(40, 0, 50, 10), (5, 5, 5, 10), (-9, 0, -1, 10), (9, 0, 2, 10)])
def test_a_box_without_a_pixel_is_told(box: tuple[float, float, float, float], tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"leaves nothing of the image .*a\.png of 40 x 30"):
        images.decode(tmp_path / "a.png", box)


DRAFT = Preprocess("short", 32, 32, "bicubic", None, None, draft=True)
EXACT = replace(DRAFT, draft=False)


@pytest.fixture(scope="module")
def large(photo: Path) -> Image.Image:
    """832 x 592: both sides are multiples of 16, the short one is over 18 times 32."""
    return Image.open(photo).convert("RGB").resize((832, 592), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("size", "preprocess", "decoded"),
    [
        ((832, 592), DRAFT, (208, 148)),
        ((832, 592), replace(DRAFT, size=24), (104, 74)),
        ((832, 592), replace(DRAFT, size=98), (416, 296)),
        ((832, 592), replace(DRAFT, size=99), (832, 592)),  # half of it would be under three times 99
        ((832, 592), replace(DRAFT, resize="squash", size=99), (832, 592)),
        ((832, 592), replace(DRAFT, resize="letterbox", size=99), (416, 296)),
        ((832, 590), DRAFT, (416, 295)),  # a quarter would end within a pixel
        ((831, 592), DRAFT, (831, 592)),
        ((832, 592), EXACT, (832, 592)),
    ],
)
def test_a_draft_keeps_three_times_the_side_and_the_shape(
    size: tuple[int, int], preprocess: Preprocess, decoded: tuple[int, int], large: Image.Image, tmp_path: Path
) -> None:
    large.crop((0, 0, *size)).save(tmp_path / "a.jpg")
    assert images.decode(tmp_path / "a.jpg", preprocess=preprocess).size == decoded


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_a_draft_differs_from_the_exact_pixels_by_little(
    mode: str, progressive: bool, orientation: int, large: Image.Image, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    large.convert(mode).save(path, quality=90, progressive=progressive, exif=exif)
    preprocess = replace(DRAFT, crop=None)
    exact, draft = (images.load(path, p).int() for p in (replace(preprocess, draft=False), preprocess))
    assert exact.shape == draft.shape == ((3, 32, 44) if orientation == 1 else (3, 44, 32))
    difference = (exact - draft).abs()
    assert 0 < difference.float().mean() < 1 and difference.max() <= 16


def test_a_draft_changes_neither_a_box_nor_another_format(large: Image.Image, tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        large.save(tmp_path / name)
    assert torch.equal(images.load(tmp_path / "a.png", DRAFT), images.load(tmp_path / "a.png", EXACT))
    box = (16, 16, 816, 576)
    assert torch.equal(images.load(tmp_path / "a.jpg", DRAFT, box), images.load(tmp_path / "a.jpg", EXACT, box))
    assert not torch.equal(images.load(tmp_path / "a.jpg", DRAFT), images.load(tmp_path / "a.jpg", EXACT))


def test_a_cut_jpeg_is_named_by_a_draft_as_well(large: Image.Image, tmp_path: Path) -> None:
    large.save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-20_000])
    with pytest.raises(ImageError, match=r"a\.jpg can't be read \(image file is truncated"):
        images.load(tmp_path / "a.jpg", DRAFT)
