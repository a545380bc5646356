"""Stickers: small figures drawn as emoji are, and cuttings of photographs. All are RGBA squares."""

import math
from collections.abc import Callable, Mapping, Sequence

from PIL import Image, ImageDraw, ImageOps

from datasets.demo._rng import Rng

FINE = 4  # figures are drawn so many times larger, for smooth edges
YELLOW, BROWN, RED, WHITE, BLUE = (255, 204, 51), (92, 58, 20), (221, 46, 68), (255, 255, 255), (59, 136, 195)


def cut_out(image: Image.Image, side: int) -> Image.Image:
    """The middle of an image as a disc with a white rim."""
    large = side * FINE
    disc = Image.new("L", (large, large))
    ImageDraw.Draw(disc).ellipse((0, 0, large - 1, large - 1), fill=255)
    inner = Image.new("L", (large, large))
    rim = large // 16
    ImageDraw.Draw(inner).ellipse((rim, rim, large - 1 - rim, large - 1 - rim), fill=255)
    photo = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    made = Image.composite(photo, Image.new("RGB", (side, side), WHITE), inner.resize((side, side), _SMOOTH))
    made.putalpha(disc.resize((side, side), _SMOOTH))
    return made


def _face(side: int, rng: Rng) -> Image.Image:
    """A smiling, laughing or astonished face."""

    def draw(pen: ImageDraw.ImageDraw, unit: float) -> None:
        pen.ellipse(_box(unit, 2, 2, 98, 98), fill=YELLOW)
        for x in (34, 66):
            pen.ellipse(_box(unit, x - 7, 30, x + 7, 50), fill=BROWN)
        mouth = rng.choice(("smile", "laugh", "oh"))
        if mouth == "smile":
            pen.arc(_box(unit, 24, 32, 76, 80), 20, 160, BROWN, round(6 * unit))
        elif mouth == "laugh":
            pen.pieslice(_box(unit, 22, 34, 78, 88), 0, 180, fill=BROWN)
        else:
            pen.ellipse(_box(unit, 40, 58, 60, 86), fill=BROWN)

    return _drawn(side, draw)


def _heart(side: int, rng: Rng) -> Image.Image:
    def draw(pen: ImageDraw.ImageDraw, unit: float) -> None:
        curve = [
            (16 * math.sin(t) ** 3, 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t))
            for t in (math.tau * step / 90 for step in range(90))
        ]
        pen.polygon([((50 + 2.9 * x) * unit, (47 - 2.9 * y) * unit) for x, y in curve], fill=RED)

    return _drawn(side, draw)


def _star(side: int, rng: Rng) -> Image.Image:
    def draw(pen: ImageDraw.ImageDraw, unit: float) -> None:
        spikes = [(48 if step % 2 == 0 else 20, math.pi * step / 5) for step in range(10)]
        pen.polygon([((50 + r * math.sin(a)) * unit, (52 - r * math.cos(a)) * unit) for r, a in spikes], fill=YELLOW)

    return _drawn(side, draw)


def _bubble(side: int, rng: Rng) -> Image.Image:
    """A speech bubble with three dots."""

    def draw(pen: ImageDraw.ImageDraw, unit: float) -> None:
        pen.rounded_rectangle(_box(unit, 2, 10, 98, 74), 22 * unit, fill=WHITE, outline=BLUE, width=round(4 * unit))
        pen.polygon([(20 * unit, 70 * unit), (44 * unit, 70 * unit), (18 * unit, 96 * unit)], fill=WHITE)
        for x in (28, 50, 72):
            pen.ellipse(_box(unit, x - 6, 36, x + 6, 48), fill=BLUE)

    return _drawn(side, draw)


DRAWN: Mapping[str, Callable[[int, Rng], Image.Image]] = {
    "face": _face,
    "heart": _heart,
    "star": _star,
    "bubble": _bubble,
}

_SMOOTH = Image.Resampling.LANCZOS


def _drawn(side: int, draw: Callable[[ImageDraw.ImageDraw, float], None]) -> Image.Image:
    """What `draw` draws on a square of 100 units."""
    large = Image.new("RGBA", (side * FINE, side * FINE))
    draw(ImageDraw.Draw(large), side * FINE / 100)
    return large.resize((side, side), _SMOOTH)


def _box(unit: float, *corners: float) -> Sequence[float]:
    return [corner * unit for corner in corners]
