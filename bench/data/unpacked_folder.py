"""The folder that images of shards are unpacked into: numbered files, and an index of what they are."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from bench.errors import DatasetError, ImageError
from bench.files import write_json
from bench.images.formats import TGA_SUFFIXES, opened
from bench.interfaces import ImageFile
from bench.listing import Listing
from bench.names import escaped

INDEX = "index.json"
#: File suffix by the name that pillow gives a format.
SUFFIX_OF = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "DIB": ".dib",
    "TIFF": ".tif",
    "AVIF": ".avif",
    "JPEG2000": ".jp2",
    "PPM": ".ppm",
    "TGA": ".tga",
}
_FILES_A_FOLDER = 1000


class Unpacking:
    """An unpacked folder while it is filled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._n_files = 0
        self._images: list[tuple[tuple[str, ...], str, str]] = []
        self._unreadable: dict[str, str] = {}
        self._skipped: Counter[str] = Counter()

    def keep(self, blocks: Iterable[bytes], suffix: str, where: str) -> Path:
        """Write an image as a file, and name it by its format.

        Args:
            blocks: its content.
            suffix: of its name in the shard; a TGA file is known by that alone.
            where: how an error names it.

        Raises:
            ImageError: it is no image that is read. No file is left then, nor after any other error.
        """
        number = self._n_files
        self._n_files += 1
        end = suffix.lower() if suffix.lower() in TGA_SUFFIXES else ""
        written = self._folder / f"{number // _FILES_A_FOLDER:05d}" / f"packed-{number:08d}{end}"
        written.parent.mkdir(exist_ok=True)
        try:
            with written.open("xb") as stream:
                for block in blocks:
                    stream.write(block)
            with opened(written) as image:
                kind = str(image.format)
        except BaseException as error:
            written.unlink(missing_ok=True)
            if not isinstance(error, ImageError):
                raise
            raise ImageError(str(error).replace(str(written), where)) from error
        return written.rename(written.with_suffix(SUFFIX_OF.get(kind, f".{kind.lower()}")))

    def add(self, name: str, file: Path) -> None:
        """Have a kept file as the image of that name, which may be any text."""
        whole = name + file.suffix
        self._images.append((PurePosixPath(whole).parts, escaped(whole), file.relative_to(self._folder).as_posix()))

    def fail(self, name: str, reason: str) -> None:
        """List what can't be read, under a name that may be any text; the first reason of a name stays."""
        self._unreadable.setdefault(escaped(name), str(DatasetError(reason)))

    def skip(self, suffix: str) -> None:
        """Count what is no image, by the suffix of its name."""
        self._skipped[escaped(suffix.lower())] += 1

    def finish(self) -> None:
        """Write the index."""
        images = {name: file for _, name, file in sorted(self._images)}
        # a member that is refused may be called as an image that is read
        unreadable = {name + " (2)" * (name in images): reason for name, reason in self._unreadable.items()}
        skipped = dict(sorted(self._skipped.items()))
        write_json(self._folder / INDEX, {"images": images, "unreadable": unreadable, "skipped": skipped})


def read(folder: Path) -> Listing:
    """What an unpacked folder holds. Raises DatasetError where its index can't be read."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        images = [ImageFile(name, folder / file) for name, file in index["images"].items()]
        return Listing(images, index["unreadable"], index["skipped"])
    except (OSError, ValueError, LookupError) as error:
        raise DatasetError(
            f"the unpacked images in {folder} can't be read ({error}): delete it, they are then unpacked again"
        ) from error
