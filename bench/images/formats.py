"""The image formats that are read, by content and not by suffix, and the opening of a file as one of them."""

import io
import re
import stat
import struct
import threading
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from bench.errors import ImageError
from bench.images.notices import name_of, note
from bench.images.refusal import CONVERT, REPLACE, Unsupported, named
from bench.images.tiff import rewound, stated

#: Names of Pillow's decoders; that of JPEG reads MPO as well. None of them starts a program, and no other one is tried.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM")
#: A TGA file need not have a signature, so that it is known by its suffix alone.
TGA_SUFFIXES = frozenset({".tga", ".icb", ".vda", ".vst"})
#: A file with one of these counts as an image whatever it holds; a file with another one where its content is an image.
SUFFIXES = TGA_SUFFIXES | {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".avif", ".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
}
#: Pillow's own limit, twice its MAX_IMAGE_PIXELS; so many pixels take over half a gigabyte.
MAX_PIXELS = 178_956_970
SCALE_DOWN = "scale it down or leave it out"
#: Of a file: Pillow reads WebP and AVIF files whole, and parts of other ones that may be as large as the file.
MAX_BYTES = 2**30

# Pillow warns from half of its limit on; the limit itself is an error.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
_HEADER = 32
#: Opening a GIF file allocates as much as its first frame, and opening a large file may read it whole, so that only one
#: of them is opened at a time.
LARGE_BYTES = 2**26
_one_large = threading.Lock()


def opened(source: Path | IO[bytes]) -> ImageFile:
    """Open an image file, or a binary stream that can seek, as one of FORMATS; its pixels are not decoded yet.

    A file with a suffix of TGA_SUFFIXES may be a TGA file as well.

    Returns:
        Pillow's image of at most MAX_PIXELS pixels, to be used as a context.

    Raises:
        ImageError: naming the file, where it is missing, no regular file, of another format, or too large.
    """
    with named(name_of(source)):
        if isinstance(source, Path):
            _require_regular(source)
        formats = (*FORMATS, "TGA") if isinstance(source, Path) and source.suffix.lower() in TGA_SUFFIXES else FORMATS
        header = _header(source)
        _require_size(_webp_size(header), source)
        large = _require_bytes(source) > LARGE_BYTES or header.startswith(b"GIF8")
        with _one_large if large else nullcontext():
            file = _opened(source, formats)
            if file.format == "GIF":
                file.dispose = None  # type: ignore[attr-defined]
        try:
            _require_size(file.size, source)
        except ImageError:
            file.close()
            raise
        return file


def is_image(path: Path) -> bool:
    """Whether a file is one of an image by its suffix or its content."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with opened(path):
            return True
    except ImageError:
        return False


def _require_regular(path: Path) -> None:
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind != stat.S_IFREG:
        raise Unsupported(f"it is {_KINDS.get(kind, 'a device')} and no file", REPLACE)


def _require_bytes(source: Path | IO[bytes]) -> int:
    """The size of a file in bytes, if that is not too large."""
    n_bytes = source.stat().st_size if isinstance(source, Path) else source.seek(0, io.SEEK_END)
    if n_bytes > MAX_BYTES:
        raise Unsupported(f"it has {n_bytes:,} bytes, more than the {MAX_BYTES:,} that are read", SCALE_DOWN)
    return n_bytes


def _header(source: Path | IO[bytes]) -> bytes:
    if isinstance(source, Path):
        with source.open("rb") as stream:
            return stream.read(_HEADER)
    source.seek(0)
    header = source.read(_HEADER)
    source.seek(0)
    return header


def _opened(source: Path | IO[bytes], formats: tuple[str, ...]) -> ImageFile:
    try:
        return Image.open(source, formats=formats)
    except UnidentifiedImageError as error:
        if not _header(source).startswith(b"\xff\xd8\xff"):
            raise _why_not(source, formats) from error
        try:
            return _without_exif(source, rb"()Exif(?=\0\0)", "JPEG")
        except UnidentifiedImageError:
            raise _why_not(source, formats) from error
    except (RuntimeError, ValueError) as error:
        if "Exif" not in str(error):
            raise
        return _without_exif(source, rb"(infe.{8})Exif", "AVIF")
    except Image.DecompressionBombError as error:
        _require_size(_size(source, formats), source)
        raise Unsupported(f"it has more than the {MAX_PIXELS:,} pixels that are decoded", SCALE_DOWN) from error


def _without_exif(source: Path | IO[bytes], pattern: bytes, name: str) -> ImageFile:
    """A file whose EXIF data stops Pillow from opening it, opened with the name of that data changed."""
    content = source.read_bytes() if isinstance(source, Path) else rewound(source).read()
    changed = re.sub(pattern, rb"\1none", content, count=1, flags=re.DOTALL)
    file = Image.open(io.BytesIO(changed), formats=(name,))
    note("the EXIF data is ignored: it is damaged")
    return file


def _why_not(source: Path | IO[bytes], formats: tuple[str, ...]) -> Unsupported:
    """Why no format took the file: Pillow keeps the reason of the one that its signature names to itself."""
    for name in _candidates(source, formats):
        try:
            _parsed(source, name)
        except Exception as error:  # noqa: BLE001
            detail = stated(source) if name == "TIFF" else ""
            reason = f"cannot identify image file: as {name}, {str(error) or type(error).__name__}{detail}"
            return Unsupported(reason, CONVERT if detail else REPLACE)
    return Unsupported(f"cannot identify image file: it is none of {', '.join(formats)}", REPLACE)


def _size(source: Path | IO[bytes], formats: tuple[str, ...]) -> tuple[int, int]:
    """Width and height as the file's header states them, (0, 0) where it cannot be parsed."""
    for name in _candidates(source, formats):
        try:
            return _parsed(source, name).size
        except Exception:  # noqa: BLE001
            continue
    return 0, 0


def _candidates(source: Path | IO[bytes], formats: tuple[str, ...]) -> list[str]:
    """The formats among `formats` whose signature the file has."""
    header, found = _header(source), []
    for name in formats:
        accept = Image.OPEN[name][1] if name in Image.OPEN else None
        try:
            if accept is not None and accept(header) is True:
                found.append(name)
        except (struct.error, IndexError):  # a header cut short
            continue
    return found


def _parsed(source: Path | IO[bytes], name: str) -> ImageFile:
    factory = Image.OPEN[name][0]
    if not isinstance(source, Path):
        source.seek(0)
        return factory(source, "")
    with source.open("rb") as stream:
        return factory(stream, "")


def _webp_size(header: bytes) -> tuple[int, int]:
    """The canvas of an extended WebP file, which is allocated as it is opened; (0, 0) for any other file."""
    if header[:4] != b"RIFF" or header[8:16] != b"WEBPVP8X":
        return 0, 0
    return int.from_bytes(header[24:27], "little") + 1, int.from_bytes(header[27:30], "little") + 1


def _require_size(size: tuple[int, int], source: Path | IO[bytes]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"the image {name_of(source)} has {width} x {height} pixels, more than the {MAX_PIXELS:,} that are "
            f"decoded: {SCALE_DOWN}"
        )
