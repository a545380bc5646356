"""From an image file to upright 8-bit RGB, and to the tensor a backbone reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from bench.errors import ImageError
from bench.images import depth, notices, pixels, tiff
from bench.images.formats import MAX_BYTES, MAX_PIXELS, opened
from bench.images.gate import Gate
from bench.images.refusal import named
from bench.images.tensors import require_shape, transform
from bench.interfaces import Box, Preprocess

if TYPE_CHECKING:
    from torch import Tensor

#: With `Preprocess.draft` a JPEG keeps at least so many times the side it is resized to. On 75 files of 19 photographs
#: of 0.4 to 16 megapixels, resized to 224 or 256, an image's pixels changed by at most 0.32 of 255 in the mean and by 7
#: at worst, and EfficientNet-Lite0's descriptors had a cosine of 0.998 or more to the exact ones.
DRAFT_MARGIN = 3
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PLAIN = Preprocess(resize="none", size=None, crop=None, mean=None, std=None)

#: Bytes that Pillow allocates at once for a large image. Blocks of over 32 MB return to the system when they are freed;
#: of smaller ones, each thread that has read a large image would keep as much as that took.
BLOCK = 2**26
Image.core.set_block_size(BLOCK)  # type: ignore[attr-defined]

#: Images that are decoded at the same time have together no more pixels than the largest one that is decoded at all.
_pixels = Gate(MAX_PIXELS)
#: And their files no more bytes than the largest one.
_bytes = Gate(MAX_BYTES)


def decode(path: Path, box: Box | None = None, preprocess: Preprocess | None = None) -> Image.Image:
    """Read an image file, or the part of it inside a box.

    Args:
        path: of a file of one of `formats.FORMATS`.
        box: left, top, right and bottom in pixels of the upright image, rounded; what lies outside is left out.
        preprocess: for its `alpha`, its `colour` and its `draft`: a whole JPEG may come out scaled by 1/2, 1/4 or 1/8.
            None composites on white, ignores ICC profiles and makes no draft.

    Returns:
        8-bit RGB, turned upright by its EXIF orientation.

    Raises:
        ImageError: naming the file, where it is missing, unreadable, cut short, over MAX_PIXELS or of samples that
            have no black and white, or where the box leaves nothing of it.
    """
    with named(path), _decoded(path, box, preprocess or PLAIN) as (image, samples):
        return _rgb(image, samples, box, preprocess or PLAIN, path)


def load(path: Path, preprocess: Preprocess, box: Box | None = None) -> "Tensor":
    """Decode and transform one file, or the part of it in `box`.

    Args:
        path: as in `decode`.
        preprocess: how it is resized, cropped and normalised.
        box: as in `decode`.

    Returns:
        float32 [3, H, W], or uint8 where there is no mean.

    Raises:
        ImageError: as `decode`, and where the image cannot be resized or is too elongated for it.
    """
    with named(path), _decoded(path, box, preprocess) as (image, samples):
        part = _rgb(image, samples, box, preprocess, path)
        del image
        require_shape(part, preprocess, path)
        return transform(part, preprocess)


def decode_layers(path: Path, box: Box | None = None) -> tuple[Image.Image, Image.Image | None]:
    """Read an image file as colours and alpha.

    Args:
        path: as in `decode`.
        box: as in `decode`.

    Returns:
        The colours under the transparency, RGB, and the alpha, L; None where the image is opaque everywhere.

    Raises:
        ImageError: as `decode`.
    """
    with named(path), _decoded(path, box, PLAIN) as (image, samples):
        colours, alpha = pixels.layers(image, samples)
        whole = pixels.rgb(colours, "drop", "ignored")
        if box is None:
            return whole, alpha
        return _cropped(whole, box, path), None if alpha is None else _cropped(alpha, box, path)


@contextmanager
def _decoded(path: Path, box: Box | None, preprocess: Preprocess) -> Iterator[tuple[Image.Image, tiff.Range | None]]:
    """The upright image in its own mode, and the range of its samples; other large images wait while it is in use."""
    with _bytes.holding(path.stat().st_size), opened(path) as file:
        if preprocess.draft and box is None:
            _draft(file, preprocess)
        turn = _turn(file) if isinstance(file, TiffImageFile) else None  # decoding closes a TIFF file
        samples = tiff.prepare(file) if isinstance(file, TiffImageFile) else depth.prepare(file, path)
        file.filename = ""  # no memory map, which Pillow gives the wrong shape where a TIFF file is to be turned
        with _pixels.holding(file.width * file.height):
            file.load()
            turn = turn if isinstance(file, TiffImageFile) else _turn(file)
            yield (file if turn is None else file.transpose(turn)), samples  # copying takes as long as decoding


def _draft(file: ImageFile, preprocess: Preprocess) -> None:
    """Let libjpeg scale a JPEG as far as DRAFT_MARGIN and whole pixels allow, so that its shape stays what it was."""
    assert preprocess.size is not None
    if not isinstance(file, JpegImageFile) or not file.quantization:  # a lossless JPEG cannot be scaled
        return
    width, height = file.size
    side = max(width, height) if preprocess.resize == "letterbox" else min(width, height)
    for factor in (8, 4, 2):
        if side >= factor * DRAFT_MARGIN * preprocess.size and width % factor == height % factor == 0:
            file.draft(None, (width // factor, height // factor))
            return


def _turn(file: ImageFile) -> Image.Transpose | None:
    """What turns the image upright by its TIFF, EXIF or XMP orientation, as far as that can be read."""
    orientation: object = None
    try:
        if isinstance(file, TiffImageFile):
            orientation = file.tag_v2.get(ORIENTATION)
        if orientation is None:
            orientation = file.getexif().get(ORIENTATION)
    except Exception as error:  # noqa: BLE001
        notices.note(f"the EXIF or XMP data is ignored: {error}")
    return TURNS.get(orientation) if isinstance(orientation, int) else None


def _rgb(
    image: Image.Image, samples: tiff.Range | None, box: Box | None, preprocess: Preprocess, path: Path
) -> Image.Image:
    whole = pixels.rgb(image, preprocess.alpha, preprocess.colour, samples)
    return whole if box is None else _cropped(whole, box, path)


def _cropped(image: Image.Image, box: Box, path: Path) -> Image.Image:
    """The box rounded to pixels, as far as it lies inside the image."""
    left, top, right, bottom = (round(side) for side in box)
    inside = max(0, left), max(0, top), min(image.width, right), min(image.height, bottom)
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise ImageError(
            f"the box {box} leaves nothing of the image {path} of {image.width} x {image.height} pixels: correct it"
        )
    return image.crop(inside)
