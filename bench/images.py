"""From an image file to the tensor a backbone reads."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from bench.errors import ImageError
from bench.interfaces import IMAGENET_MEAN, Preprocess

if TYPE_CHECKING:
    from torch import Tensor

#: Decoding more than this would take over half a gigabyte for one image.
MAX_PIXELS = 178_956_970
Image.MAX_IMAGE_PIXELS = None  # pillow's own limit warns from half of it on, without naming the file
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})


def decode(path: Path) -> Image.Image:
    """The image as 8-bit RGB, turned upright by its EXIF orientation.

    Raises ImageError, naming the file, where it is missing, unreadable, cut short or over MAX_PIXELS.
    """
    try:
        with Image.open(path) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise ImageError(
                    f"the image {path} has {width} x {height} pixels, more than the {MAX_PIXELS:,} that are "
                    "decoded: scale it down or leave it out"
                )
            opened.load()
            return _rgb(ImageOps.exif_transpose(opened))
    except (OSError, SyntaxError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error) or type(error).__name__
        raise ImageError(f"the image {path} can't be read ({reason}): replace it or leave it out") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        # convert("RGB") would clip 16-bit greys at 255 instead of scaling them
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


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


def load(path: Path, preprocess: Preprocess) -> "Tensor":
    """Decode and transform one file. Raises ImageError naming it, also where it is too elongated to be resized."""
    image = decode(path)
    short, long = sorted(image.size)
    if preprocess.resize == "short" and preprocess.size and preprocess.size**2 * long / short > MAX_PIXELS:
        raise ImageError(
            f"the image {path} of {image.width} x {image.height} pixels is too elongated to have its short side "
            f"resized to {preprocess.size}: cut it or leave it out"
        )
    return transform(image, preprocess)
