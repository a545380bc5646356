"""Kinds of descriptors: their names, the grid that tokens make, its average, and what is told where there is none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from bench.descriptor import DescriptorKind, grid_of
from bench.descriptors.batches import stacked
from bench.errors import DescriptorError, UsageError
from bench.extract import Extraction, describe_batch, extract
from bench.interfaces import NATIVE, Descriptors, ImageFile


@pytest.mark.parametrize("text", ["global", "local", "local/7x7", "local/3x12"])
def test_a_kind_prints_as_it_is_written(text: str) -> None:
    assert str(DescriptorKind.parse(text)) == text


@pytest.mark.parametrize("text", ["", "tokens", "local/7", "local/0x7", "global/7x7", "local/7x7x7", "local/"])
def test_another_kind_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(UsageError, match="global, local, local/HxW"):
        DescriptorKind.parse(text)


@given(side=st.integers(1, 40), height=st.integers(40, 500), width=st.integers(40, 500), up=st.booleans())
def test_the_grid_of_square_tokens_is_found_by_the_shape(side: int, height: int, width: int, up: bool) -> None:
    rows, columns = ((n + side - 1) // side if up else n // side for n in (height, width))
    found = grid_of(rows * columns, height, width)
    assert found[0] * found[1] == rows * columns
    off = [abs(r * width - c * height) for r, c in (found, (rows, columns))]
    assert off[0] <= off[1]  # another grid only where it suits the shape as well


@pytest.mark.parametrize(
    ("tokens", "height", "width", "grid"),
    [
        (49, 224, 224, (7, 7)),
        (196, 224, 224, (14, 14)),
        (70, 224, 320, (7, 10)),
        (70, 320, 224, (10, 7)),
        (12, 96, 128, (3, 4)),
        (88, 250, 339, (8, 11)),  # sides 32, rounded up
        (70, 250, 339, (7, 10)),  # rounded down
    ],
)
def test_grids_of_usual_backbones(tokens: int, height: int, width: int, grid: tuple[int, int]) -> None:
    assert grid_of(tokens, height, width) == grid


@pytest.mark.parametrize(("tokens", "height", "width"), [(50, 224, 224), (12, 224, 224), (71, 224, 320), (64, 64, 640)])
def test_tokens_that_are_no_grid_are_told(tokens: int, height: int, width: int) -> None:
    with pytest.raises(DescriptorError, match=f"{tokens} local descriptors of an image of {width} x {height} pixels"):
        grid_of(tokens, height, width)


class Cells:
    """Local descriptors are the means of squares of 4 x 4 pixels; the global one is their mean."""

    n_parameters = 0

    def describe(self, batch: torch.Tensor) -> Descriptors:
        cells = torch.nn.functional.avg_pool2d(batch.float(), 4).flatten(2).transpose(1, 2)
        return Descriptors(cells.mean(1), cells)


class Whole:
    """Has no local descriptors."""

    n_parameters = 0

    def describe(self, batch: torch.Tensor) -> Descriptors:
        return Descriptors(batch.float().mean((2, 3)))


def test_the_grid_is_averaged_over_its_own_parts() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 24, 32), np.uint8)
    batch = stacked(list(torch.from_numpy(pixels)))
    found = describe_batch(Cells(), batch, DescriptorKind.parse("local/3x2"))
    # 6 x 8 cells: a part is 2 x 4 of them, 8 x 16 pixels
    expected = pixels.reshape(2, 3, 3, 8, 2, 16).mean((3, 5), dtype=np.float64).transpose(0, 2, 3, 1).reshape(2, 6, 3)
    assert found.shape == (2, 6, 3) and np.allclose(found, expected, atol=1e-4)
    cells = describe_batch(Cells(), batch, DescriptorKind.parse("local"))
    assert np.allclose(cells, pixels.reshape(2, 3, 6, 4, 8, 4).mean((3, 5)).reshape(2, 3, 48).transpose(0, 2, 1))
    # unequal parts overlap by a row: 6 rows to 4 are 0-1, 1-2, 3-4, 4-5
    uneven = describe_batch(Cells(), batch, DescriptorKind.parse("local/4x8")).reshape(2, 4, 8, 3)
    rows = cells.reshape(2, 6, 8, 3)
    assert np.allclose(uneven[:, 1], rows[:, 1:3].mean(1), atol=1e-4)


@pytest.fixture
def shapes(tmp_path: Path) -> list[ImageFile]:
    """Three images of 12 x 16 and 24 x 32 pixels."""
    files = []
    for number, scale in enumerate((1, 2, 1)):
        pixels = np.random.default_rng(number).integers(1, 256, (12 * scale, 16 * scale, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        files.append(ImageFile(str(number), tmp_path / f"{number}.png"))
    return files


def extracted(model: Any, files: list[ImageFile], kind: str, dtype: Any = "float32") -> NDArray[Any]:
    rows: list[NDArray[Any]] = []
    how = Extraction(NATIVE, 2, 1, kind=DescriptorKind.parse(kind), dtype=dtype)
    extract(model, files, how, rows.append)
    return np.concatenate(rows)


def test_images_of_other_shapes_have_one_grid_when_averaged(shapes: list[ImageFile]) -> None:
    found = extracted(Cells(), shapes, "local/3x4")
    for row, file in zip(found, shapes, strict=True):
        pixels = np.asarray(Image.open(file.path)).astype(np.float64)
        height, width = pixels.shape[:2]
        expected = pixels.reshape(3, height // 3, 4, width // 4, 3).mean((1, 3)).reshape(12, 3)
        assert np.allclose(row, expected, atol=1e-4)
    with pytest.raises(DescriptorError, match=r"shapes \(12, 3\) and \(48, 3\): average local ones to one grid"):
        extracted(Cells(), shapes, "local")


def test_half_precision_is_the_rounded_single(shapes: list[ImageFile]) -> None:
    for kind in ("global", "local/3x4"):
        half, single = extracted(Cells(), shapes, kind, "float16"), extracted(Cells(), shapes, kind)
        assert half.dtype == np.float16 and single.dtype == np.float32
        assert np.array_equal(half, single.astype(np.float16))


class Scaled(Cells):
    """The same times a factor."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def describe(self, batch: torch.Tensor) -> Descriptors:
        found = super().describe(batch)
        assert found.local is not None
        return Descriptors(found.global_ * self.factor, found.local * self.factor)


@pytest.mark.parametrize("factor", [1e5, 1e-11])
def test_what_half_precision_can_not_hold_is_told(factor: float, shapes: list[ImageFile]) -> None:
    with pytest.raises(DescriptorError, match=r"0\.png is beyond the range of float16: keep float32"):
        extracted(Scaled(factor), shapes, "global", "float16")
    assert len(extracted(Scaled(factor), shapes, "global")) == 3


def test_a_token_that_is_not_finite_is_told(shapes: list[ImageFile]) -> None:
    class Broken(Cells):
        def describe(self, batch: torch.Tensor) -> Descriptors:
            found = super().describe(batch)
            assert found.local is not None
            found.local[-1, 3, 1] = torch.nan
            return found

    with pytest.raises(DescriptorError, match=r"the descriptor of .*\.png is not finite"):
        extracted(Broken(), shapes, "local/3x4")
    assert len(extracted(Broken(), shapes, "global")) == 3


@pytest.mark.parametrize(
    ("model", "kind", "told"),
    [
        (Whole(), "local", "the backbone has no local descriptors: take its global one"),
        (Whole(), "local/2x2", "the backbone has no local descriptors"),
        (Cells(), "local/4x4", "is 3 x 4, which can't be averaged to 4 x 4: ask for a smaller one"),
    ],
)
def test_local_descriptors_that_can_not_be_are_told(model: Any, kind: str, told: str, shapes: list[ImageFile]) -> None:
    with pytest.raises(DescriptorError, match=told):
        extracted(model, shapes, kind)
