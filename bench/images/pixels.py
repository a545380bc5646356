"""From any mode of Pillow to 8-bit colours and alpha, and from these to RGB."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from bench.images import profiles
from bench.images.refusal import Unsupported
from bench.images.tiff import Range
from bench.interfaces import Alpha, Colour

#: Rows of so many pixels are scaled at once.
AT_ONCE = 2**20
SIXTEEN_BITS = Range(0, 65535)
OPAQUE = (255, 255)


def rgb(image: Image.Image, alpha: Alpha, treatment: Colour, samples: Range | None = None) -> Image.Image:
    """An image of any mode as 8-bit RGB.

    Args:
        image: decoded, upright.
        alpha: the colour that it is laid on where it is transparent, or "drop" for its own colours there.
        treatment: whether its ICC profile is converted to sRGB.
        samples: black and white of samples of more than 8 bits; None for 0 and 65535.

    Returns:
        The image itself where it is RGB already.

    Raises:
        Unsupported: for samples outside of their range.
    """
    colours, transparency = layers(image, samples)
    profile = image.info.get("icc_profile") if treatment == "managed" else None
    colours = profiles.to_srgb(colours, profile)
    if transparency is None or alpha == "drop":
        return colours
    colours.paste(alpha, mask=ImageChops.invert(transparency))  # in place: they are a copy wherever there is alpha
    return colours


def layers(image: Image.Image, samples: Range | None = None) -> tuple[Image.Image, Image.Image | None]:
    """The colours of an image without its alpha (L, RGB, CMYK or LAB, 8 bits), and the alpha (L); None if opaque.

    Raises:
        Unsupported: for samples outside of their range.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _scaled(image, samples or SIXTEEN_BITS), _opaque_as_none(_keyed(image))
    if not image.has_transparency_data:
        return _without_alpha(image), None
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    elif image.mode not in ("LA", "RGBA"):
        image = image.convert("RGBA")
    return image.convert("L" if image.mode == "LA" else "RGB"), _opaque_as_none(image.getchannel("A"))


def _without_alpha(image: Image.Image) -> Image.Image:
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("RGB")


def _opaque_as_none(alpha: Image.Image | None) -> Image.Image | None:
    return None if alpha is None or alpha.getextrema() == OPAQUE else alpha


def _keyed(image: Image.Image) -> Image.Image | None:
    """The alpha of 16-bit greys of which one value is transparent."""
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return None
    return Image.fromarray(np.where(np.asarray(image) == key, np.uint8(0), np.uint8(255)))


def _scaled(image: Image.Image, samples: Range) -> Image.Image:
    """Greys of more than 8 bits as 8 bits: the high bits of integers, the nearest value of others."""
    scaled = np.empty((image.height, image.width), np.uint8)
    first = 0
    for rows in _rows(image):
        scaled[first : first + len(rows)] = _eight_bits(rows, samples)
        first += len(rows)
    return Image.fromarray(scaled)


def _rows(image: Image.Image) -> Iterator[NDArray[np.generic]]:
    step = max(1, AT_ONCE // image.width)
    for top in range(0, image.height, step):
        yield np.asarray(image.crop((0, top, image.width, min(top + step, image.height))))


def _eight_bits(values: NDArray[np.generic], samples: Range) -> NDArray[np.uint8]:
    depth = max(samples.black, samples.white)
    if not samples.stated and depth > 1:  # bits that are all used
        high = (values.astype(np.uint32) >> (int(depth).bit_length() - 8)).astype(np.uint8)
        return high if samples.white > samples.black else 255 - high
    if values.dtype == np.int32:
        values = values.view(np.uint32)
    low, high_end = sorted((samples.black, samples.white))
    if not (np.min(values) >= low and np.max(values) <= high_end and low < high_end):
        where = "that the file states" if samples.stated else "of black and white, and the file states no other one"
        raise Unsupported(
            f"its samples reach from {np.min(values):g} to {np.max(values):g}, beyond the range from {low:g} to "
            f"{high_end:g} {where}"
        )
    share = (values.astype(np.float64) - samples.black) / (samples.white - samples.black)
    return np.rint(255 * share).astype(np.uint8)
