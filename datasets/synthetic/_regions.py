"""Regions of an image as masks, and the mixing of two images by one. A mask is bool [H, W], True inside."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.demo._rng import Rng

Pixels = NDArray[np.uint8]  # [H, W, 3], RGB
Mask = NDArray[np.bool_]  # [H, W]
Shape = tuple[int, int]  # height, width
PixelBox = tuple[int, int, int, int]  # left, top, right, bottom

HARMONICS = 4  # of a blob's outline
ANGLES = 721  # at which the outline is computed; linear between
MOST_ELONGATED = 2.0  # width by height of a random box beside that of the image


def random_box(shape: Shape, share: float, rng: Rng) -> PixelBox:
    """A box of that share of the area, at a random place, up to twice as wide or high as the image's own form."""
    height, width = shape
    low, high = max(share, 1 / MOST_ELONGATED), min(1 / share, MOST_ELONGATED)
    form = math.exp(rng.real(math.log(low), math.log(high)))
    across = min(width, max(1, round(width * math.sqrt(share * form))))
    down = min(height, max(1, round(share * width * height / across)))
    left, top = rng.integer(0, width - across), rng.integer(0, height - down)
    return left, top, left + across, top + down


def inside(shape: Shape, box: PixelBox) -> Mask:
    """The mask of a box."""
    mask = np.zeros(shape, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def above_diagonal(shape: Shape, share: float, rising: bool) -> Mask:
    """That share of an image above a line parallel to a diagonal: the diagonal itself for a half.

    rising: the line goes from the lower left to the upper right.
    """
    rows, columns = _grid(shape)
    return _lowest(rows + columns if rising else rows - columns, share)


def blob(shape: Shape, share: float, rng: Rng) -> Mask:
    """A smooth star-shaped region of that share of the area, around a point in the middle third of the image."""
    rows, columns = _grid(shape)
    y, x = rows - rng.real(1 / 3, 2 / 3), columns - rng.real(1 / 3, 2 / 3)
    angles = np.linspace(-math.pi, math.pi, ANGLES)
    outline = np.ones(ANGLES)
    for harmonic in range(1, HARMONICS + 1):
        outline += rng.real(0, 0.6) / (harmonic + 1) * np.cos(harmonic * angles + rng.real(0, 2 * math.pi))
    return _lowest(np.hypot(x, y) / np.interp(np.arctan2(y, x), angles, outline), share)


def _grid(shape: Shape) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows [H, 1] and columns [1, W] of the middles of the pixels, from 0 to 1."""
    height, width = shape
    rows, columns = np.ogrid[:height, :width]
    return (rows + 0.5) / height, (columns + 0.5) / width


def _lowest(field: NDArray[np.float64], share: float) -> Mask:
    """The pixels with the lowest values, as many as make up that share."""
    count = min(field.size, max(1, round(share * field.size)))
    mask: Mask = field <= np.partition(field, count - 1, axis=None)[count - 1]
    return mask


def ramp(mask: Mask, feather: int) -> NDArray[np.float32]:
    """Weights [H, W], 0 outside a mask, that rise to 1 inside it over `feather` pixels; image edges are no seam."""
    if feather == 0 or mask.all():
        return mask.astype(np.float32)
    import cv2

    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.minimum(distance / (feather + 1), 1, dtype=np.float32)


def mixed(old: Pixels, new: Pixels, weight: NDArray[np.float32]) -> Pixels:
    """`new` by its weight over `old`; exactly the one or the other where the weight is 1 or 0."""
    difference = new.astype(np.float32) - old
    return np.rint(old + weight[..., None] * difference).astype(np.uint8)


def deviation(image: Pixels, mask: Mask) -> float:
    """Of the grey levels inside a mask; 0 where it has no pixel."""
    grey = np.asarray(Image.fromarray(image).convert("L"))[mask]
    return float(grey.std()) if grey.size else 0.0


def bounds(mask: Mask) -> PixelBox:
    """The smallest box around a mask that has a pixel."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
