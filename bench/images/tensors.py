"""From an RGB image to the tensor a backbone reads."""

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from bench.errors import ImageError
from bench.interfaces import IMAGENET_MEAN, Preprocess

if TYPE_CHECKING:
    from torch import Tensor

#: An image of which "short" would make more pixels than this, and more than ELONGATION squares of `size`, is refused.
RESIZED_PIXELS = 2**22
ELONGATION = 4


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


def require_shape(image: Image.Image, preprocess: Preprocess, path: Path) -> None:
    """Check that resizing the short side of an image does not make it too large.

    Raises:
        ImageError: naming the file, where it would have more than max(RESIZED_PIXELS, ELONGATION * size**2) pixels.
    """
    if preprocess.resize != "short" or preprocess.size is None:
        return
    short, long = sorted(image.size)
    limit = max(RESIZED_PIXELS, ELONGATION * preprocess.size**2)
    if preprocess.size * int(preprocess.size * long / short) > limit:
        raise ImageError(
            f"the image {path} of {image.width} x {image.height} pixels is too elongated to have its short side "
            f"resized to {preprocess.size}, as it would have more than {limit:,} pixels: cut it or leave it out"
        )


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
