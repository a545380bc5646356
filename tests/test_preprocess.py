"""What a run may change about preprocessing: forms, pixels, and what stays the backbone's own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T

from bench import images
from bench.errors import UsageError
from bench.interfaces import NATIVE, Preprocess
from bench.preprocess import Mode

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
OFFICIAL = Preprocess("short", 224, 224, "bicubic", MEAN, STD)


@pytest.mark.parametrize("text", ["official", "seed", "squash:320", "short:288", "letterbox:224"])
def test_a_mode_prints_as_it_is_written(text: str) -> None:
    assert str(Mode.parse(f" {text} ")) == text


@pytest.mark.parametrize("text", ["", "squash", "squash:0", "squash:-3", "seed:224", "short:1e3", "crop:224", "Seed"])
def test_another_form_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(UsageError, match=r"official, seed, squash:SIZE, short:SIZE, letterbox:SIZE"):
        Mode.parse(text)


def test_the_official_mode_changes_nothing() -> None:
    assert Mode().apply(OFFICIAL) == OFFICIAL


def test_the_seeds_pixels_are_those_of_its_authors_transforms(photo: Path) -> None:
    theirs = T.Compose([T.Resize(256), T.CenterCrop(224), T.ToTensor(), T.Normalize([0.5], [0.5])])
    ours = images.load(photo, Mode.parse("seed").apply(OFFICIAL))
    assert torch.equal(ours, theirs(Image.open(photo).convert("RGB")))


@pytest.mark.parametrize(("text", "size"), [("squash:160", (160, 160)), ("short:160", 160)])
def test_squash_and_short_keep_interpolation_and_statistics(text: str, size: object, photo: Path) -> None:
    resize = T.Resize(size, T.InterpolationMode.BICUBIC)
    theirs = T.Compose([resize, T.ToTensor(), T.Normalize(MEAN, STD)])
    ours = images.load(photo, Mode.parse(text).apply(OFFICIAL))
    assert torch.equal(ours, theirs(Image.open(photo).convert("RGB")))


@pytest.mark.parametrize("size", [(451, 300), (300, 451), (7, 1), (64, 64)])
def test_letterbox_keeps_the_shape_and_pads_with_the_mean(size: tuple[int, int], photo: Path) -> None:
    image = Image.open(photo).convert("RGB").resize(size)
    preprocess = Mode.parse("letterbox:64").apply(replace(OFFICIAL, mean=None, std=None))
    found = images.transform(image, preprocess)
    assert found.dtype == torch.uint8 and found.shape == (3, 64, 64)
    width, height = (max(1, round(side * 64 / max(size))) for side in size)
    left, top = (64 - width) // 2, (64 - height) // 2
    inside = np.zeros((64, 64), bool)
    inside[top : top + height, left : left + width] = True
    pixels = found.permute(1, 2, 0).numpy()
    assert (pixels[~inside] == [124, 116, 104]).all()
    shrunk = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    assert np.array_equal(pixels[inside].reshape(height, width, 3), shrunk)


def test_the_mean_colour_is_about_zero_to_the_model() -> None:
    preprocess = Mode.parse("letterbox:64").apply(OFFICIAL)
    found = images.transform(Image.new("RGB", (64, 16)), preprocess)
    assert found[:, 0].abs().max() < 0.01 and found[:, 32].abs().min() > 1


@pytest.mark.parametrize("text", ["seed", "squash:320", "letterbox:64"])
def test_a_descriptor_that_scales_by_itself_keeps_its_own(text: str) -> None:
    assert Mode.parse(text).apply(NATIVE) == NATIVE


def test_a_model_that_reads_uint8_goes_on_reading_it() -> None:
    assert Mode.parse("seed").apply(replace(OFFICIAL, mean=None, std=None)).mean is None


@pytest.mark.parametrize("text", ["official+draft", "seed+draft", "squash:320+draft"])
def test_a_draft_changes_the_decoding_alone(text: str) -> None:
    mode, exact = Mode.parse(text), Mode.parse(text.removesuffix("+draft"))
    assert str(mode) == text and mode.apply(OFFICIAL) == replace(exact.apply(OFFICIAL), draft=True)
    assert mode.apply(NATIVE) == NATIVE
