"""The edits that make a copy: what people and platforms do to an image before they post it again."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from datasets.demo._rng import Rng

JPEG_QUALITY = 92  # of every image that is written, copies and originals alike

WORDS = ("sale", "LOL", "breaking news", "@someone", "best of 2024", "do not copy", "part two", "wow")


@dataclass(frozen=True)
class Edit:
    """A named edit; `apply` draws its parameters from the generator. `others` are images to paste into."""

    name: str
    apply: Callable[[Image.Image, Rng, Sequence[Image.Image]], Image.Image]


def _crop(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    """A box of 30 to 75 % of the area."""
    share = rng.real(0.3, 0.75) ** 0.5
    width, height = int(image.width * share), int(image.height * share)
    left, top = rng.integer(0, image.width - width), rng.integer(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def _rotate(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    angle = rng.choice((-1, 1)) * rng.real(5, 40)
    return image.rotate(
        angle, Image.Resampling.BILINEAR, expand=True, fillcolor=rng.choice(((0, 0, 0), (255, 255, 255)))
    )


def _flip(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    return ImageOps.mirror(image) if rng.integer(0, 3) else ImageOps.flip(image)


def _jpeg(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=rng.integer(4, 15))
    return Image.open(buffer).convert("RGB")


def _blur(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(rng.integer(2, 5)))


def _colour(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    if rng.integer(0, 3) == 0:
        return image.convert("L").convert("RGB")
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(rng.real(0.5, 1.7))
    return image


def _overlay(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    """A half-transparent band or disc over a third of the image."""
    layer = Image.new("L", image.size, 0)
    left, top = rng.integer(0, image.width // 2), rng.integer(0, image.height // 2)
    box = (left, top, left + image.width * 6 // 10, top + image.height * 6 // 10)
    draw = ImageDraw.Draw(layer)
    rng.choice((draw.rectangle, draw.ellipse))(box, fill=rng.integer(140, 255))
    return Image.composite(Image.new("RGB", image.size, rng.colour()), image, layer)


def _text(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    image = image.copy()
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integer(1, 3)):
        font = ImageFont.load_default(size=rng.integer(image.height // 8, image.height // 4))
        place = rng.integer(0, image.width // 3), rng.integer(0, image.height * 3 // 4)
        draw.text(place, rng.choice(WORDS), font=font, fill=rng.colour(), stroke_width=1, stroke_fill=rng.colour())
    return image


def _paste(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    """The image, at half to four fifths of the side, into another one."""
    canvas = rng.choice(others).resize(image.size, Image.Resampling.BICUBIC)
    share = rng.real(0.5, 0.8)
    small = image.resize((int(image.width * share), int(image.height * share)), Image.Resampling.BICUBIC)
    canvas.paste(small, (rng.integer(0, image.width - small.width), rng.integer(0, image.height - small.height)))
    return canvas


EDITS = (
    Edit("crop", _crop),
    Edit("rotate", _rotate),
    Edit("flip", _flip),
    Edit("jpeg", _jpeg),
    Edit("blur", _blur),
    Edit("colour", _colour),
    Edit("overlay", _overlay),
    Edit("text", _text),
    Edit("paste", _paste),
)


def edited(image: Image.Image, edits: Sequence[Edit], rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    """The image after the edits, in their order."""
    for edit in edits:
        image = edit.apply(image, rng, others)
    return image
