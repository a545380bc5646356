"""The image formats that are read, by content and not by suffix, and the opening of a file as one of them."""

from pathlib import Path

from PIL import Image

#: Names that pillow gives the formats. No decoder among them starts a program, and no other one is tried.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM")
#: A TGA file need not have a signature, so that it is known by its suffix alone.
TGA_SUFFIXES = frozenset({".tga", ".icb", ".vda", ".vst"})
#: A file with one of these counts as an image whatever it holds; a file with another one where its content is an image.
SUFFIXES = TGA_SUFFIXES | {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".avif", ".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
}


def is_image(path: Path) -> bool:
    """Whether a file is one of an image by its suffix or its content."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except Exception:  # noqa: BLE001
        return False
