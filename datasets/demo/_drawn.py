"""Procedurally drawn images: distractors that are nobody's copy."""

from PIL import Image, ImageDraw

from datasets.demo._rng import Rng

SIDE = 160


def drawn(rng: Rng) -> Image.Image:
    """An image of one of four kinds: clouds, stripes, a patchwork, or scattered shapes."""
    return rng.choice((_clouds, _stripes, _patchwork, _shapes))(rng)


def _clouds(rng: Rng) -> Image.Image:
    cells = rng.integer(3, 10)
    noise = Image.new("RGB", (cells, cells))
    noise.putdata([rng.colour() for _ in range(cells * cells)])
    return noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _stripes(rng: Rng) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), rng.colour())
    draw = ImageDraw.Draw(image)
    period, slant, colour = rng.integer(8, 40), rng.integer(-80, 80), rng.colour()
    width = rng.integer(3, period - 2)
    for x in range(-100, SIDE + 100, period):
        draw.polygon([(x, 0), (x + width, 0), (x + width + slant, SIDE), (x + slant, SIDE)], fill=colour)
    return image


def _patchwork(rng: Rng) -> Image.Image:
    cells = rng.integer(3, 9)
    palette = [rng.colour() for _ in range(rng.integer(2, 5))]
    image = Image.new("RGB", (cells, cells))
    image.putdata([rng.choice(palette) for _ in range(cells * cells)])
    return image.resize((SIDE, SIDE), Image.Resampling.NEAREST)


def _shapes(rng: Rng) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), rng.colour())
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integer(4, 14)):
        x, y, size = rng.integer(-20, SIDE), rng.integer(-20, SIDE), rng.integer(12, 80)
        outline = rng.choice((draw.ellipse, draw.rectangle))
        outline((x, y, x + size, y + rng.integer(12, 80)), fill=rng.colour())
    return image
