"""The edits that people and platforms make to an image before they post it again, each with its parameters.

They are those of the copy-detection literature (the transformations of DISC21, Douze et al. 2021,
https://arxiv.org/abs/2106.09672, and of the Copydays set). Lengths are relative to the image, so that an edit means
the same at every size.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from datasets.copyedits._overlays import frame, screenshot, sticker, text
from datasets.copyedits._parts import Edited, Original, Parameters, real
from datasets.demo._rng import Rng

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True)
class Edit:
    """A named edit. `apply` draws its parameters from the generator; it gets images to take stickers and backgrounds
    from, and returns the RGB image with the parameters."""

    name: str
    apply: Callable[[Image.Image, Rng, Sequence[Original]], Edited]


def edited(
    image: Image.Image, edits: Sequence[Edit], rng: Rng, others: Sequence[Original]
) -> tuple[Image.Image, Mapping[str, Parameters]]:
    """The image after the edits, in their order, and the parameters of each."""
    parameters: dict[str, Parameters] = {}
    for edit in edits:
        image, parameters[edit.name] = edit.apply(image, rng, others)
    return image, parameters


def _crop(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    """A box of 30 to 75 % of the area, somewhat narrower or flatter than the image."""
    area, stretch = real(rng, 0.3, 0.75), real(rng, 0.76, 1.32)
    width = max(1, round(image.width * (area * stretch) ** 0.5))
    height = max(1, round(image.height * (area / stretch) ** 0.5))
    left, top = rng.integer(0, image.width - width), rng.integer(0, image.height - height)
    return image.crop((left, top, left + width, top + height)), {
        "area": area,
        "stretch": stretch,
        "left": left,
        "top": top,
    }


def _rotate(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    """By 5 to 45 degrees either way in a black or white box, or by 5 to 20 and cut to what has no border."""
    border = rng.choice(("black", "white", "cut"))
    angle = rng.choice((-1, 1)) * real(rng, 5, 20 if border == "cut" else 45)
    rotated = image.rotate(
        angle, Image.Resampling.BICUBIC, expand=border != "cut", fillcolor=WHITE if border == "white" else BLACK
    )
    if border == "cut":
        rotated = _inside(rotated, abs(angle))
    return rotated, {"angle": angle, "border": border}


def _inside(rotated: Image.Image, angle: float) -> Image.Image:
    """The largest box of the image's own shape that has no border after a rotation about the centre."""
    radians = np.deg2rad(angle)
    elongation = max(rotated.size) / min(rotated.size)
    share = float(1 / (np.cos(radians) + elongation * np.sin(radians)))
    width, height = (max(1, int(side * share)) for side in rotated.size)
    left, top = (rotated.width - width) // 2, (rotated.height - height) // 2
    return rotated.crop((left, top, left + width, top + height))


def _quarter_turn(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    angle = rng.choice((90, 270))
    return image.transpose(Image.Transpose.ROTATE_90 if angle == 90 else Image.Transpose.ROTATE_270), {"angle": angle}


def _flip_horizontal(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    return ImageOps.mirror(image), {}


def _flip_vertical(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    return ImageOps.flip(image), {}


def _perspective(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    """Seen from the side: each corner moves inwards by up to a quarter of the side, and at least one by a tenth."""
    shifts = [(real(rng, 0, 0.25), real(rng, 0, 0.25)) for _ in range(4)]
    strongest = rng.integer(0, 3)
    shifts[strongest] = real(rng, 0.1, 0.25), real(rng, 0.1, 0.25)
    border = rng.choice(("black", "white"))
    right, bottom = image.size
    corners = [(0, 0), (right, 0), (right, bottom), (0, bottom)]
    seen = [(abs(x - dx * right), abs(y - dy * bottom)) for (x, y), (dx, dy) in zip(corners, shifts, strict=True)]
    warped = image.transform(
        image.size,
        Image.Transform.PERSPECTIVE,
        _projection(seen, corners),
        Image.Resampling.BICUBIC,
        fillcolor=WHITE if border == "white" else BLACK,
    )
    return warped, {"shifts": " ".join(f"{dx},{dy}" for dx, dy in shifts), "border": border}


def _projection(seen: Sequence[tuple[float, float]], corners: Sequence[tuple[float, float]]) -> list[float]:
    """a ... h of x' = (ax + by + c) / (gx + hy + 1), y' = (dx + ey + f) / (gx + hy + 1), from `seen` to `corners`."""
    rows: list[list[float]] = []
    for (x, y), (u, v) in zip(seen, corners, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    found: list[float] = np.linalg.solve(np.array(rows), np.array(corners, np.float64).ravel()).tolist()
    return found


def _jpeg(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    quality = rng.integer(5, 15)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB"), {"quality": quality}


def _blur(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    """Gaussian, its sigma 0.6 to 2 % of the long side."""
    sigma = real(rng, 0.006, 0.02)
    return image.filter(ImageFilter.GaussianBlur(sigma * max(image.size))), {"sigma": sigma}


def _noise(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    """Gaussian noise of 20 to 50 grey levels a channel, or 3 to 12 % of the pixels black or white."""
    kind, seed = rng.choice(("gaussian", "salt and pepper")), rng.integer(0, 2**32 - 1)
    pixels, noise = np.asarray(image), np.random.PCG64(seed)
    if kind == "gaussian":
        strength = real(rng, 20, 50)
        # a sum of four uniform numbers is near enough to a normal one, and the same on every machine
        uniform = noise.random_raw(pixels.size).view(np.uint16).reshape(*pixels.shape, 4) / 65535
        changed = pixels + (uniform.sum(-1) - 2) * 3**0.5 * strength
    else:
        strength = real(rng, 0.03, 0.12)
        uniform = (noise.random_raw(image.width * image.height) / 2.0**64).reshape(*pixels.shape[:2], 1)
        changed = np.where(uniform < strength / 2, 0.0, np.where(uniform < strength, 255.0, pixels))
    return Image.fromarray(changed.round().clip(0, 255).astype(np.uint8)), {
        "kind": kind,
        "strength": strength,
        "seed": seed,
    }


def _colour(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    """Brightness, contrast, saturation and hue, each changed so that one sees it."""
    parameters = {name: _factor(rng) for name in ("brightness", "contrast", "saturation")}
    enhancers = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
    for enhance, factor in zip(enhancers, parameters.values(), strict=True):
        image = enhance(image).enhance(factor)
    hue, saturation, value = image.convert("HSV").split()
    parameters["hue"] = rng.choice((-1, 1)) * rng.integer(5, 20)
    turned = hue.point([(level + parameters["hue"]) % 256 for level in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB"), parameters


def _factor(rng: Rng) -> float:
    return real(rng, 0.5, 0.8) if rng.integer(0, 1) else real(rng, 1.25, 1.7)


def _grey(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    return image.convert("L").convert("RGB"), {}


def _pixelate(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    """24 to 56 blocks along the long side."""
    blocks = rng.integer(24, 56)
    scale = min(1.0, blocks / max(image.size))
    small = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    coarse = image.resize(small, Image.Resampling.BOX)
    return coarse.resize(image.size, Image.Resampling.NEAREST), {"blocks": blocks}


def _paste(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    """At 40 to 75 % of the side, somewhere on another image."""
    background, share = rng.choice(others), real(rng, 0.4, 0.75)
    canvas = ImageOps.fit(background.open(), image.size, Image.Resampling.BICUBIC)
    size = max(1, int(image.width * share)), max(1, int(image.height * share))
    left, top = rng.integer(0, image.width - size[0]), rng.integer(0, image.height - size[1])
    canvas.paste(image.resize(size, Image.Resampling.BICUBIC), (left, top))
    return canvas, {"background": background.name, "share": share, "left": left, "top": top}


EDITS = (
    Edit("crop", _crop),
    Edit("rotate", _rotate),
    Edit("quarter_turn", _quarter_turn),
    Edit("flip_horizontal", _flip_horizontal),
    Edit("flip_vertical", _flip_vertical),
    Edit("perspective", _perspective),
    Edit("jpeg", _jpeg),
    Edit("blur", _blur),
    Edit("noise", _noise),
    Edit("colour", _colour),
    Edit("grey", _grey),
    Edit("pixelate", _pixelate),
    Edit("text", text),
    Edit("sticker", sticker),
    Edit("frame", frame),
    Edit("screenshot", screenshot),
    Edit("paste", _paste),
)
