"""Whether a file may be an image, by how it begins: most others are told apart without their formats being tried."""

import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

from PIL import Image

from bench.images.formats import FORMATS

#: As many bytes as pillow asks of a file before it tries a format.
PREFIX = 16

_Accept = Callable[[bytes], bool | str] | None


def could_be_image(begins: bytes) -> bool:
    """Whether content may be an image of which these are the first PREFIX bytes."""
    return any(_accepts(accept, begins) for accept in _known())


def begins_as_image(path: Path) -> bool:
    """Whether a regular file may be an image; False where it can't be opened."""
    try:
        with path.open("rb") as stream:
            return could_be_image(stream.read(PREFIX))
    except OSError:
        return False


@cache
def _known() -> tuple[_Accept, ...]:
    Image.init()
    return tuple(Image.OPEN[kind][1] for kind in FORMATS if kind in Image.OPEN)


def _accepts(accept: _Accept, begins: bytes) -> bool:
    try:
        return accept is None or bool(accept(begins))
    except (struct.error, IndexError):  # fewer bytes than a header has
        return False
