"""What files other than TIFF state of their samples where Pillow does not take account of it."""

import struct
from pathlib import Path
from typing import Any

from PIL import ImageFile, ImagePalette

from bench.images.refusal import REPLACE, Unsupported
from bench.images.tiff import Range

#: How far a PNG's greys of few bits are scaled, which its transparent grey is not.
GREYS = {"L;2": 85, "L;4": 17}
#: Raw modes with alpha, and those that leave it out.
OPAQUE = {"BGRA": "BGRX", "BGRA;15Z": "BGR;15", "LA": "LX"}
#: Bytes that hold the header of a TGA or BMP file, and the compression of a BMP file that states its masks.
HEADER, BITFIELDS = 70, 3
#: The marker that begins a JPEG 2000 codestream, and the one that states its components.
CODESTREAM = b"\xff\x4f\xff\x51"
#: The file header of JPEG 2000 boxes is searched for the codestream so far.
SEARCHED = 2**24


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
    elif file.format == "BMP":
        _prepare_bmp(file, path)
    elif file.format == "JPEG2000":
        _require_readable_bits(path)
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
    """A file has alpha only where its header states bits of it; many programs leave the samples at zero."""
    alpha = _header(path)[17] & 0x0F
    palette = file.palette.rawmode if file.palette else None
    if alpha and "BGRA;15Z" in (_rawmode(file), palette):
        raise Unsupported("its 16-bit colours have a transparency bit, which programs read in opposite ways")
    if alpha:
        return
    if file.palette and palette in OPAQUE:
        file.palette = ImagePalette.raw(OPAQUE[palette], file.palette.palette)
    if _rawmode(file) in OPAQUE:
        _decode_as(file, "L" if file.mode == "LA" else "RGB", OPAQUE[_rawmode(file)])


def _prepare_bmp(file: ImageFile.ImageFile, path: Path) -> None:
    """Pillow takes two greys for 1-bit samples whatever their bits, and alpha from 32 bits but not from 16."""
    header = _header(path)
    (size,), (bits, compression) = struct.unpack_from("<I", header, 14), struct.unpack_from("<HI", header, 28)
    alpha = struct.unpack_from("<I", header, 66)[0] if compression == BITFIELDS and size >= 56 else 0
    if file.mode == "1" and size >= 40 and bits != 1:
        if bits != 8 or compression:
            raise Unsupported(f"it has two greys in samples of {bits} bits", "convert it to PNG, or leave it out")
        _decode_as(file, "1", "1;8")
    if alpha and bits == 16:
        raise Unsupported("its 16-bit colours have a transparency bit", "convert it to PNG, or leave it out")
    if not alpha and _rawmode(file) == "BGRA":
        _decode_as(file, "RGB", "BGRX")


def _decode_as(file: ImageFile.ImageFile, mode: str, rawmode: str) -> None:
    name, extents, offset, arguments = file.tile[0]
    assert isinstance(arguments, tuple)
    file._mode = mode
    file.tile = [ImageFile._Tile(name, extents, offset, (rawmode, *arguments[1:]))]


def _header(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEADER)


def _require_readable_bits(path: Path) -> None:
    """Pillow shifts samples of less than 8 bits up without scaling them, and wraps the brightest deep colours."""
    with path.open("rb") as stream:
        content = stream.read(SEARCHED)
    start = content.find(CODESTREAM)
    try:
        (components,) = struct.unpack_from(">H", content, start + 40)
        bits = [(content[start + 42 + 3 * number] & 0x7F) + 1 for number in range(components)]
    except (struct.error, IndexError):
        bits = []
    if start < 0 or not bits:
        raise Unsupported(f"no JPEG 2000 codestream begins in its first {SEARCHED:,} bytes", REPLACE)
    if min(bits) < 8 or max(bits) > (16 if len(bits) == 1 else 8):
        many = "samples" if len(bits) == 1 else "colours"
        raise Unsupported(f"its {many} have {max(bits)} bits: of JPEG 2000, greys of 8 to 16 and colours of 8 are read")
