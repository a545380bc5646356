"""Small pictures that a page carries inside."""

import base64
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.errors import ImageError
from bench.images import decode
from bench.interfaces import ImageFile, Preprocess

#: Pixels of the long side, and the quality of the JPEG: about 3 kB a picture.
SIDE = 96
QUALITY = 70

_SMALL = Preprocess(resize="letterbox", size=SIDE, crop=None, draft=True)


@dataclass(frozen=True)
class Thumbnail:
    """uri: data:image/jpeg. width, height: in pixels."""

    uri: str
    width: int
    height: int


def thumbnail(image: ImageFile) -> Thumbnail:
    """Raises ImageError where the file can't be read."""
    small = decode(image.path, image.box, _SMALL)
    small.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=QUALITY)
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}", *small.size)


def thumbnails(images: Iterable[ImageFile], workers: int) -> dict[ImageFile, Thumbnail]:
    """Of each image once, made in threads; without those that can't be read."""
    wanted = list(dict.fromkeys(images))
    with ThreadPoolExecutor(workers, thread_name_prefix="thumbnails") as pool:
        made = list(pool.map(_thumbnail_or_none, wanted))
    return {image: small for image, small in zip(wanted, made, strict=True) if small}


def _thumbnail_or_none(image: ImageFile) -> Thumbnail | None:
    try:
        return thumbnail(image)
    except ImageError:
        return None
