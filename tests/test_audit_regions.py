"""Regions of cells against the preprocessing itself: a mark in an image is found in the cell that is told."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import images
from bench.audit.regions import regions
from bench.interfaces import Preprocess

NORMALISED = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "interpolation": "bilinear"}


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess("short", 64, 56, **NORMALISED),
        Preprocess("short", 64, None, **NORMALISED),
        Preprocess("squash", 64, None, **NORMALISED),
        Preprocess("squash", 64, 48, **NORMALISED),
        Preprocess("letterbox", 64, None, **NORMALISED),
        Preprocess("none", None, None, **NORMALISED),
    ],
)
@pytest.mark.parametrize("size", [(400, 300), (301, 517), (128, 128)])
def test_what_lights_a_cell_lies_in_its_region(preprocess: Preprocess, size: tuple[int, int], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grid = 4, 4
    found = 0
    for place in rng.uniform(0.03, 0.97, (30, 2)):
        picture = np.zeros((size[1], size[0], 3), np.uint8)
        x, y = (place * size).astype(int)
        reach = 6
        picture[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach] = 255
        Image.fromarray(picture).save(tmp_path / "a.png")
        read = images.load(tmp_path / "a.png", preprocess)[0].numpy()
        light = np.array(
            [[cell.sum() for cell in np.array_split(rows, 4, axis=1)] for rows in np.array_split(read, 4, axis=0)]
        )
        if light.max() < 0.9 * light.sum() or light.sum() < 1:
            continue  # cropped away, or on an edge of cells
        (region,) = regions(np.array([light.argmax()], np.int32), grid, np.array([size], np.int32), preprocess)
        slack = (reach + 1) / np.array(size)
        assert (region[:2] - slack <= place).all() and (place <= region[2:] + slack).all()
        found += 1
    assert found >= 3


def test_cells_tile_what_is_read() -> None:
    cells = np.arange(6, dtype=np.int32)
    found = regions(cells, (2, 3), np.tile(np.array([[300, 200]], np.int32), (6, 1)), Preprocess("squash", 60, None))
    assert found[0].tolist() == pytest.approx([0, 0, 1 / 3, 0.5]) and found[5].tolist() == pytest.approx(
        [2 / 3, 0.5, 1, 1]
    )
    assert ((found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])).sum() == pytest.approx(1)
