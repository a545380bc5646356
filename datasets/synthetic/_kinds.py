"""The five compositions: from an original to a query that copies a part of it. Pure functions of their generator."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from PIL import Image, ImageOps

from datasets.demo._photos import LEAST_DEVIATION
from datasets.demo._rng import Rng
from datasets.synthetic._hard import hardened
from datasets.synthetic._painters import Painter, painted
from datasets.synthetic._regions import (
    Mask,
    PixelBox,
    Pixels,
    above_diagonal,
    blob,
    bounds,
    deviation,
    inside,
    mixed,
    ramp,
    random_box,
)

CUT_SHARES = (0.1, 0.9)  # CutMix (Yun et al. 2019) draws from Beta(1, 1), which is uniform; nearly nothing is no copy
OBJECT_SHARES = (0.1, 0.5)
PATCH_SHARE = 0.25
INPAINT_SHARE = 0.75
REACH = 0.05  # by which an object may miss the share it was asked for
PROBES = 24  # scales tried for an object that stands over the edges, on a canvas of PROBED_SIDE pixels
PROBED_SIDE = 128


@dataclass(frozen=True)
class Scene:
    """What a query is made of.

    original, other: uint8 [H, W, 3], of any two shapes; no other where the painter takes none. mask: of the original's
    object, 8 bits at its size, for segmix. painter: for the kinds that paint. feather: width in pixels of the ramp at
    the seam.
    """

    original: Pixels
    other: Pixels | None
    mask: Image.Image | None = None
    painter: Painter | None = None
    feather: int = 0
    hard: bool = False


@dataclass(frozen=True)
class Copy:
    """A query. area: its share that is the original's, pixels weighted by how much; box: around that part."""

    pixels: Pixels
    area: float
    box: PixelBox
    transformation: str


class Miss(Enum):
    """Why a draw makes no query: what it copies is so flat that nothing can be found, or its area is out of reach."""

    FLAT = auto()
    OUT_OF_REACH = auto()


#: A composition takes the share of the query that the original is to have, or None for the kind's own.
Composition = Callable[[Scene, float | None, Rng], Copy | Miss]


def cutmix(scene: Scene, area: float | None, rng: Rng) -> Copy | Miss:
    """A random box of the original in another image of its shape, at the same place or another."""
    assert scene.other is not None
    shape = scene.original.shape[:2]
    left, top, right, bottom = cut = random_box(shape, rng.real(*CUT_SHARES) if area is None else area, rng)
    if _flat(scene.original, inside(shape, cut)):
        return Miss.FLAT
    same = rng.integer(0, 1) == 0
    x, y = rng.integer(0, shape[1] - (right - left)), rng.integer(0, shape[0] - (bottom - top))
    box = (left, top, right, bottom) if same else (x, y, x + right - left, y + bottom - top)
    pasted = np.zeros_like(scene.original)
    pasted[box[1] : box[3], box[0] : box[2]] = scene.original[top:bottom, left:right]
    weight = ramp(inside(shape, box), scene.feather)
    pixels = mixed(covering(scene.other, shape), pasted, weight)
    return Copy(pixels, float(weight.mean()), box, f"from={left} {top} {right} {bottom}")


def segmix(scene: Scene, area: float | None, rng: Rng) -> Copy | Miss:
    """The original's object, scaled, in another image."""
    assert scene.mask is not None and scene.other is not None
    wanted = rng.real(*OBJECT_SHARES) if area is None else area
    cutout = Image.fromarray(scene.original)
    cutout.putalpha(scene.mask)
    cutout = cutout.crop(scene.mask.getbbox())
    cutout, shrink, done = hardened(cutout, rng) if scene.hard else (cutout, 1.0, [])
    height, width = scene.other.shape[:2]
    at = rng.real(0, 1), rng.real(0, 1)
    scale, miss = _scale(cutout.getchannel("A"), (width, height), wanted, at)
    if area is not None and miss > REACH:
        return Miss.OUT_OF_REACH
    placed = _placed(cutout, (width, height), shrink * scale, at)
    alpha = np.asarray(placed.getchannel("A"), np.float32) / np.float32(255)
    weight = np.minimum(alpha, ramp(alpha >= 0.5, scene.feather), dtype=np.float32) if scene.feather else alpha
    pasted = np.asarray(placed.convert("RGB"))
    if _flat(pasted, weight > 0):
        return Miss.FLAT
    pixels = mixed(scene.other, pasted, weight)
    return Copy(pixels, float(weight.mean()), bounds(weight > 0), "; ".join([f"scale={shrink * scale:.3f}", *done]))


def outpaint_diagonal(scene: Scene, area: float | None, rng: Rng) -> Copy | Miss:
    """The half of the original above one of its diagonals; below it the rest is painted anew."""
    rising = rng.integer(0, 1) == 0
    kept = above_diagonal(scene.original.shape[:2], 0.5 if area is None else area, rising)
    return _repainted(scene, ~kept, rng, f"diagonal={'rising' if rising else 'falling'}")


def outpaint_patch(scene: Scene, area: float | None, rng: Rng) -> Copy | Miss:
    """A box of the original; around it the rest is painted anew."""
    shape = scene.original.shape[:2]
    kept = inside(shape, random_box(shape, PATCH_SHARE if area is None else area, rng))
    return _repainted(scene, ~kept, rng, "")


def inpaint(scene: Scene, area: float | None, rng: Rng) -> Copy | Miss:
    """The original with a smooth region painted anew."""
    hole = blob(scene.original.shape[:2], 1 - (INPAINT_SHARE if area is None else area), rng)
    return _repainted(scene, hole, rng, f"painted={' '.join(map(str, bounds(hole)))}")


def covering(image: Pixels, shape: tuple[int, int]) -> Pixels:
    """The largest middle part of an image of that form, scaled to that shape."""
    height, width = shape
    return np.asarray(ImageOps.fit(Image.fromarray(image), (width, height), Image.Resampling.BICUBIC))


def _repainted(scene: Scene, hole: Mask, rng: Rng, transformation: str) -> Copy | Miss:
    assert scene.painter is not None
    if _flat(scene.original, ~hole):
        return Miss.FLAT
    other = None if scene.other is None else covering(scene.other, hole.shape)
    new = painted(scene.painter, scene.original, hole, other, rng)
    weight = ramp(hole, scene.feather)
    pixels = mixed(scene.original, new, weight)
    return Copy(pixels, float((1 - weight).mean()), bounds(weight < 1), transformation)


def _flat(image: Pixels, copied: Mask) -> bool:
    return deviation(image, copied) < LEAST_DEVIATION


def _placed(cutout: Image.Image, size: tuple[int, int], scale: float, at: tuple[float, float]) -> Image.Image:
    """The object, scaled, on a transparent canvas of (width, height); `at` 0..1 from one edge to the other.

    An object larger than the canvas stands over its edges.
    """
    scaled = cutout.resize(_times(cutout.size, scale), Image.Resampling.BICUBIC)
    canvas = Image.new(cutout.mode, size)
    left, top = (round(a * (whole - part)) for a, whole, part in zip(at, size, scaled.size, strict=True))
    canvas.paste(scaled, (left, top))
    return canvas


def _scale(alpha: Image.Image, size: tuple[int, int], wanted: float, at: tuple[float, float]) -> tuple[float, float]:
    """The scale at which an object covers the wanted share of a canvas, or the nearest share it can, and the miss.

    It becomes at most so large that its box covers the canvas: of a larger one little would be seen.
    """
    exact = math.sqrt(wanted * size[0] * size[1] / (np.asarray(alpha, np.float64).sum() / 255))
    whole, largest = sorted((size[0] / alpha.width, size[1] / alpha.height))
    if exact <= whole:
        return exact, 0.0
    reduction = max(1, max(size) / PROBED_SIDE)
    small = _times(size, 1 / reduction)

    def miss(scale: float) -> float:
        return abs(float(np.asarray(_placed(alpha, small, scale / reduction, at), np.float64).mean()) / 255 - wanted)

    return min(((scale, miss(scale)) for scale in np.linspace(whole, largest, PROBES).tolist()), key=lambda p: p[1])


def _times(size: tuple[int, int], factor: float) -> tuple[int, int]:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
