"""What files other than TIFF state of their samples where Pillow does not take account of it."""

import struct
from pathlib import Path
from typing import Any

from PIL import ImageFile

from bench.images.refusal import Unsupported
from bench.images.tiff import Range

#: How far a PNG's greys of few bits are scaled, which its transparent grey is not.
GREYS = {"L;2": 85, "L;4": 17}
#: The marker that begins a JPEG 2000 codestream, and the one that states its components.
CODESTREAM = b"\xff\x4f\xff\x51"
#: The file header of JPEG 2000 boxes is searched for the codestream so far.
SEARCHED = 2**20


def prepare(file: ImageFile.ImageFile, path: Path) -> Range | None:
    """Correct what Pillow gets wrong of a file before its pixels are decoded.

    Returns:
        The range of floating-point samples, None for others.

    Raises:
        Unsupported: for samples that Pillow would read wrongly, or that have no range.
    """
    if file.format == "PNG":
        _prepare_png(file)
    elif file.format == "TGA":
        _prepare_tga(file, path)
    elif file.format == "JPEG2000":
        _require_eight_bits(path)
    elif file.format == "PPM" and file.mode == "F":
        if file.info["scale"] != 1:
            raise Unsupported(f"its samples are to be scaled by {file.info['scale']:g} to a unit that it does not name")
        return Range(0, 1)
    return None


def _rawmode(file: ImageFile.ImageFile) -> Any:
    arguments = file.tile[0].args if file.tile else None
    return arguments[0] if isinstance(arguments, tuple) else arguments


def _prepare_png(file: ImageFile.ImageFile) -> None:
    rawmode, key = _rawmode(file), file.info.get("transparency")
    if key is None:
        return
    if rawmode in GREYS:
        file.info["transparency"] = key * GREYS[rawmode]
    elif rawmode == "RGB;16B":
        raise Unsupported("it has 16-bit colours of which one is transparent, which 8 bits cannot tell from others")


def _prepare_tga(file: ImageFile.ImageFile, path: Path) -> None:
    """The fourth sample is alpha only where the header states bits of it; many programs leave it at zero."""
    with path.open("rb") as stream:
        header = stream.read(18)
    if file.mode == "RGBA" and not header[17] & 0x0F:
        name, extents, offset, arguments = file.tile[0]
        assert isinstance(arguments, tuple)
        rawmode = {"BGRA": "BGRX", "BGRA;15Z": "BGR;15"}.get(arguments[0], arguments[0])
        file._mode = "RGB"
        file.tile = [ImageFile._Tile(name, extents, offset, (rawmode, *arguments[1:]))]


def _require_eight_bits(path: Path) -> None:
    """Pillow shifts JPEG 2000 samples of less than 8 bits up without scaling them."""
    with path.open("rb") as stream:
        content = stream.read(SEARCHED)
    start = content.find(CODESTREAM)
    try:
        (components,) = struct.unpack_from(">H", content, start + 40)
        bits = [(content[start + 42 + 3 * number] & 0x7F) + 1 for number in range(components)]
    except (struct.error, IndexError):
        raise Unsupported("its codestream is missing", "replace it or leave it out") from None
    if start < 0 or min(bits) < 8 or max(bits) > 16:
        raise Unsupported(f"its samples have {min(bits)} to {max(bits)} bits, and only those of 8 to 16 are read")
