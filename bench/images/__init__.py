"""From an image file to the tensor a backbone reads."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from bench.errors import ImageError
from bench.images.formats import SUFFIXES as SUFFIXES
from bench.interfaces import IMAGENET_MEAN, Box, Preprocess

if TYPE_CHECKING:
    from torch import Tensor

#: Decoding more than this would take over half a gigabyte for one image.
MAX_PIXELS = 178_956_970
Image.MAX_IMAGE_PIXELS = None  # pillow's own limit warns from half of it on, without naming the file
#: With `Preprocess.draft` a JPEG keeps at least so many times the side it is resized to. On 75 files of 19 photographs
#: of 0.4 to 16 megapixels, resized to 224 or 256, an image's pixels changed by at most 0.32 of 255 in the mean and by 7
#: at worst, and EfficientNet-Lite0's descriptors had a cosine of 0.998 or more to the exact ones.
DRAFT_MARGIN = 3


def decode(path: Path, box: Box | None = None, preprocess: Preprocess | None = None) -> Image.Image:
    """The image, or the part of it inside `box`, as 8-bit RGB, turned upright by its EXIF orientation.

    Where `preprocess` allows a draft, a whole JPEG may come out scaled by 1/2, 1/4 or 1/8.

    Raises ImageError, naming the file, where it is missing, unreadable, cut short or over MAX_PIXELS, or the box
    leaves nothing of it.
    """
    try:
        with Image.open(path) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise ImageError(
                    f"the image {path} has {width} x {height} pixels, more than the {MAX_PIXELS:,} that are "
                    "decoded: scale it down or leave it out"
                )
            if preprocess is not None and preprocess.draft and box is None:
                _draft(opened, preprocess)
            opened.load()
            ImageOps.exif_transpose(opened, in_place=True)  # copying takes as long as decoding
            upright = _rgb(opened)
            return upright if box is None else _cropped(upright, box, path)
    except (OSError, SyntaxError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error) or type(error).__name__
        raise ImageError(f"the image {path} can't be read ({reason}): replace it or leave it out") from error


def _draft(opened: Image.Image, preprocess: Preprocess) -> None:
    """Let libjpeg scale a JPEG as far as DRAFT_MARGIN and whole pixels allow, so that its shape stays what it was."""
    assert preprocess.size is not None
    width, height = opened.size
    side = max(width, height) if preprocess.resize == "letterbox" else min(width, height)
    for factor in (8, 4, 2):
        if side >= factor * DRAFT_MARGIN * preprocess.size and width % factor == height % factor == 0:
            opened.draft(None, (width // factor, height // factor))  # no-op for other formats
            return


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        # convert("RGB") would clip 16-bit greys at 255 instead of scaling them
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _cropped(image: Image.Image, box: Box, path: Path) -> Image.Image:
    """The box rounded to pixels, as far as it lies inside the image."""
    left, top, right, bottom = (round(side) for side in box)
    inside = max(0, left), max(0, top), min(image.width, right), min(image.height, bottom)
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise ImageError(
            f"the box {box} leaves nothing of the image {path} of {image.width} x {image.height} pixels: correct it"
        )
    return image.crop(inside)


def transform(image: Image.Image, preprocess: Preprocess) -> "Tensor":
    """Resize, crop and normalise an RGB image: float32 [3, H, W], or uint8 where there is no mean."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    interpolation = InterpolationMode(preprocess.interpolation)
    if preprocess.size is not None:
        image = F.resize(image, _size(image, preprocess.resize, preprocess.size), interpolation=interpolation)
        if preprocess.resize == "letterbox":
            image = _padded(image, preprocess.size, preprocess.mean or IMAGENET_MEAN)
    if preprocess.crop is not None:
        image = F.center_crop(image, preprocess.crop)
    tensor: Tensor = F.pil_to_tensor(image)
    if preprocess.mean is not None:
        tensor = F.normalize(tensor.float().div_(255), preprocess.mean, preprocess.std, inplace=True)
    return tensor


def _size(image: Image.Image, resize: str, size: int) -> list[int]:
    """What torchvision resizes to: the short side alone, or height and width."""
    if resize == "short":
        return [size]
    if resize == "squash":
        return [size, size]
    scale = size / max(image.size)
    return [max(1, round(image.height * scale)), max(1, round(image.width * scale))]


def _padded(image: Image.Image, side: int, mean: tuple[float, float, float]) -> Image.Image:
    """The image in the middle of a square of the mean colour."""
    red, green, blue = (round(255 * value) for value in mean)
    square = Image.new("RGB", (side, side), (red, green, blue))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def load(path: Path, preprocess: Preprocess, box: Box | None = None) -> "Tensor":
    """Decode and transform one file, or the part of it in `box`.

    Raises ImageError naming it, also where it is too elongated to be resized.
    """
    image = decode(path, box, preprocess)
    short, long = sorted(image.size)
    if preprocess.resize == "short" and preprocess.size and preprocess.size**2 * long / short > MAX_PIXELS:
        raise ImageError(
            f"the image {path} of {image.width} x {image.height} pixels is too elongated to have its short side "
            f"resized to {preprocess.size}: cut it or leave it out"
        )
    return transform(image, preprocess)
