"""Images as they are copied: upright, at the size of the set, with their alpha channel where they have one."""

from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from bench import images
from bench.data.readable import LEAST_SIDE
from bench.errors import ImageError
from bench.interfaces import NATIVE, ImageFile

UNDER_ALPHA = replace(NATIVE, alpha="drop")


@dataclass(frozen=True)
class Picture:
    """An image as RGB, on white where it is transparent. alpha: 8 bits, None where it is not transparent."""

    path: Path
    rgb: Image.Image
    alpha: Image.Image | None

    def fitted(self, side: int) -> Image.Image:
        """As RGB, scaled so that its long side is `side` pixels. Raises ImageError where it is too elongated."""
        scale = side / max(self.rgb.size)
        size = round(self.rgb.width * scale), round(self.rgb.height * scale)
        if min(size) < LEAST_SIDE:
            raise ImageError(
                f"the image {self.path} of {self.rgb.width} x {self.rgb.height} pixels is too elongated to be scaled "
                f"to {side}: leave it out"
            )
        return self.rgb.resize(size, Image.Resampling.BICUBIC)


def picture(image: ImageFile) -> Picture:
    """The image at its own size. Raises ImageError where it can't be read."""
    rgb, alpha = images.decode(image.path, image.box, UNDER_ALPHA), alpha_of(image)
    if alpha is None:
        return Picture(image.path, rgb, None)
    return Picture(image.path, Image.composite(rgb, Image.new("RGB", rgb.size, (255, 255, 255)), alpha), alpha)


def alpha_of(image: ImageFile) -> Image.Image | None:
    """The alpha channel, 8 bits, where there is one that is not everywhere opaque or everywhere transparent."""
    try:
        alpha = images.decode_layers(image.path)[1]
    except ImageError:
        return None  # decoding it as a picture tells what is wrong
    if alpha is None:
        return None
    uniform = alpha.getextrema() in ((0, 0), (255, 255))
    return None if uniform else cut(alpha, image)


def cut(mask: Image.Image, image: ImageFile) -> Image.Image:
    """What of a mask of the whole file lies in the image's box."""
    if image.box is None:
        return mask
    left, top, right, bottom = (round(side) for side in image.box)
    return mask.crop((max(0, left), max(0, top), min(mask.width, right), min(mask.height, bottom)))
