"""Where in an image the token or cell lies that a similarity was taken from."""

import numpy as np
from numpy.typing import NDArray

from bench.interfaces import Preprocess


def regions(
    cells: NDArray[np.int32], grid: tuple[int, int], sizes: NDArray[np.int32], preprocess: Preprocess
) -> NDArray[np.float32]:
    """Left, top, right and bottom of a cell in each image, as fractions of its width and height: float32 [N, 4].

    cells: int32 [N], numbers in a grid of rows and columns over what the backbone reads. sizes: int32 [N, 2], width and
    height of the images. A cell that lies on padding alone has no area.
    """
    resized, offset, side = _frame(sizes.astype(np.float64), preprocess)
    rows, columns = grid
    across_down = np.stack([cells % columns, cells // columns], axis=1)
    one = side / np.array([columns, rows])
    first = across_down * one + offset
    bounds = np.concatenate([first, first + one], axis=1) / np.tile(resized, 2)
    found: NDArray[np.float32] = np.clip(bounds, 0, 1).astype(np.float32)
    return found


def _frame(
    sizes: NDArray[np.float64], preprocess: Preprocess
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of each image [N, 2]: its size when resized; where in that the part begins that the backbone reads, and its size.

    The arithmetic is that of `bench.images.transform`.
    """
    size, crop = preprocess.size, preprocess.crop
    if preprocess.resize == "none" or size is None:
        resized = sizes
    elif preprocess.resize == "squash":
        resized = np.full_like(sizes, size)
    elif preprocess.resize == "short":
        resized = np.maximum(np.floor(size * sizes / sizes.min(axis=1, keepdims=True)), size)
    else:
        resized = np.maximum(np.round(size / sizes.max(axis=1, keepdims=True) * sizes), 1)
    offset, side = np.zeros_like(sizes), resized
    if preprocess.resize == "letterbox" and size is not None:
        side = np.full_like(sizes, size)
        offset = -((side - resized) // 2)
    if crop is not None:
        offset = offset + np.round((side - crop) / 2)
        side = np.full_like(sizes, crop)
    return resized, offset, side
