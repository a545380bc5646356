"""What a TIFF file states of its samples, and where Pillow would read them wrongly."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PIL import ImageFile, ImagePalette
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from bench.images.refusal import Unsupported

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION = 256, 257, 258, 259, 262, 274
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, MIN_VALUE, MAX_VALUE, PLANAR = 273, 277, 278, 280, 281, 284
COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, EXTRA, FORMAT, SMIN_VALUE, SMAX_VALUE = 320, 322, 323, 338, 339, 340, 341
SUBSAMPLING = 530
WHITE_IS_ZERO, PALETTE, YCBCR = 0, 3, 6
SEPARATE = 2
ASSOCIATED = 1
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
#: A tile may be larger than the image, by so many pixels at most.
TILE_PIXELS = 2**22

_KINDS = {UNSIGNED: "unsigned integers", SIGNED: "signed integers", FLOAT: "floating-point numbers"}


@dataclass(frozen=True)
class Range:
    """The sample values that are black and white; white may be the lower one. stated: by the file itself."""

    black: float
    white: float
    stated: bool = False


def prepare(file: TiffImageFile) -> Range | None:
    """Correct what Pillow gets wrong of a file before its pixels are decoded.

    Returns:
        The range of the samples where Pillow does not give them as 8 bits, else None.

    Raises:
        Unsupported: for samples that Pillow would read wrongly, or that have no range.
    """
    # the orientation is applied by our own code, which a bad EXIF block doesn't stop
    file.load_end = lambda: None  # type: ignore[method-assign]
    tags = file.tag_v2
    bits, kind = _first(tags.get(BITS, 1)), _first(tags.get(FORMAT, UNSIGNED))
    _require_tile(tags)
    if kind == SIGNED:
        raise Unsupported(f"its samples are {bits}-bit signed integers, for which no black and white are defined")
    if tags.get(PLANAR, 1) == SEPARATE:
        if file.mode in ("LA", "La", "PA"):
            raise Unsupported("its alpha is stored apart from its greys", "store it with them, or leave it out")
        if not file.use_load_libtiff:
            _read_planes_by_libtiff(file, bits)
    if tags.get(PHOTOMETRIC) == YCBCR and not file.use_load_libtiff:
        _require_whole_chroma(tags)
    if file.mode in ("P", "PA"):
        _correct_palette(file)
    if file.use_load_libtiff and file.mode == "F":
        name, extents, offset, arguments = file.tile[0]
        assert isinstance(arguments, tuple)
        file.tile = [ImageFile._Tile(name, extents, offset, ("F;32NF", *arguments[1:]))]
    if file.mode not in ("I", "F", "I;16", "I;16B"):
        return None
    return _range(tags, bits, kind)


def stated(source: Path | IO[bytes]) -> str:
    """What the first image of a TIFF file states of its samples, for a sentence about it; empty if nothing."""
    try:
        content = source.read_bytes() if isinstance(source, Path) else rewound(source).read()
        stream = io.BytesIO(content)
        tags = ImageFileDirectory_v2(stream.read(16) if content[2:3] in b"\x2b" else stream.read(8))
        tags._tag_data_limit = len(content)
        stream.seek(tags.next)
        tags.load(stream)
        bits, kind = tags.get(BITS, (1,)), _first(tags.get(FORMAT, UNSIGNED))
        many = ", ".join(map(str, bits if isinstance(bits, tuple) else (bits,)))
        return (
            f" (bits of the samples: {many}, as {_KINDS.get(kind, f'format {kind}')}; photometric interpretation: "
            f"{tags.get(PHOTOMETRIC)}; compression: {tags.get(COMPRESSION, 1)})"
        )
    except Exception:  # noqa: BLE001
        return ""


def rewound(stream: IO[bytes]) -> IO[bytes]:
    """The same stream, at its beginning."""
    stream.seek(0)
    return stream


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value


def _require_tile(tags: ImageFileDirectory_v2) -> None:
    """A decoder allocates a whole tile, however small the image is."""
    width, height = (_first(tags.get(tag, 0)) for tag in (TILE_WIDTH, TILE_HEIGHT))
    if width * height > max(TILE_PIXELS, 2 * tags[WIDTH] * tags[HEIGHT]):
        raise Unsupported(
            f"it has tiles of {width} x {height} pixels, far larger than the image itself",
            "write it with smaller tiles, or leave it out",
        )


def _read_planes_by_libtiff(file: TiffImageFile, bits: int) -> None:
    """Pillow's own reading of uncompressed planes takes every sample for 8 bits, and knows no associated alpha."""
    rawmode = file.mode.partition(";")[0]
    if rawmode == "RGBA" and ASSOCIATED in file.tag_v2.get(EXTRA, ()):
        rawmode = "RGBa"
    if bits == 16:
        rawmode += ";16N"
    elif bits not in (8, 32):
        raise Unsupported(f"its planes have {bits}-bit samples")
    width, height = file.tag_v2[WIDTH], file.tag_v2[HEIGHT]
    file.tile = [ImageFile._Tile("libtiff", (0, 0, width, height), 0, (rawmode, False, file.tag_v2.offset))]
    file.use_load_libtiff = True


def _require_whole_chroma(tags: ImageFileDirectory_v2) -> None:
    if tuple(tags.get(SUBSAMPLING, (2, 2))) != (1, 1):
        raise Unsupported("it has subsampled colours without a compression", "convert it to RGB, or leave it out")


def _correct_palette(file: TiffImageFile) -> None:
    """A palette has 16 bits a value; some programs write 8, which Pillow would scale down to black."""
    palette = file.tag_v2[COLOUR_MAP]
    if palette and max(palette) < 256:
        file.palette = ImagePalette.raw("RGB;L", bytes(palette))


def _range(tags: ImageFileDirectory_v2, bits: int, kind: int) -> Range:
    found = None
    if kind == FLOAT or bits == 32:
        found = _stated(tags, SMIN_VALUE, SMAX_VALUE) or _stated(tags, MIN_VALUE, MAX_VALUE)
        if found is None and kind != FLOAT:
            raise Unsupported(f"its samples are {bits}-bit {_KINDS[kind]} and the file states no range")
        found = found or Range(0, 1)
    else:
        found = Range(0, 2**bits - 1)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        return Range(found.white, found.black, found.stated)
    return found


def _stated(tags: ImageFileDirectory_v2, lowest: int, highest: int) -> Range | None:
    low, high = (tags.get(tag) for tag in (lowest, highest))
    if low is None or high is None:
        return None
    return Range(float(_first(low)), float(_first(high)), stated=True)
