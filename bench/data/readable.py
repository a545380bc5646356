"""Images that decode, each tried once: what commands ask for that need every image whole before they begin."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from bench import images
from bench.data.unreadable import readable_files, require_none
from bench.errors import DatasetError, ImageError
from bench.interfaces import ImageFile
from bench.sources import Listing, Source

T = TypeVar("T")
#: Images that are looked at together.
AT_ONCE = 1024
#: Pixels of the short side of an image that synthetic copies are made of.
LEAST_SIDE = 8


@dataclass(frozen=True)
class Looked(Generic[T]):
    """found: the images that could be read, with what was found in each. unreadable: the others, id -> reason."""

    found: list[tuple[ImageFile, T]]
    unreadable: dict[str, str]


def tried(
    files: Sequence[ImageFile],
    look: Callable[[ImageFile], T],
    workers: int,
    strict: bool,
    on_progress: Callable[[int, int], Any] = lambda done, total: None,
) -> Looked[T]:
    """Look at every image by several threads.

    Args:
        look: What is asked of an image; its ImageError makes the image an unreadable one.

    Raises:
        ImageError: One is unreadable, and `strict`.
    """
    found: list[tuple[ImageFile, T]] = []
    unreadable: dict[str, str] = {}

    def attempt(image: ImageFile) -> T | ImageError:
        try:
            return look(image)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(workers, thread_name_prefix="images") as pool:
        for first in range(0, len(files), AT_ONCE):
            some = files[first : first + AT_ONCE]
            for image, outcome in zip(some, pool.map(attempt, some), strict=True):
                if isinstance(outcome, ImageError):
                    unreadable[image.id] = str(outcome)
                    require_none(unreadable, strict)
                else:
                    found.append((image, outcome))
            on_progress(first + len(some), len(files))
    return Looked(found, unreadable)


def decodes(image: ImageFile, side: int = 0) -> None:
    """Decode an image and forget it.

    Args:
        side: What its long side is to be scaled to, in pixels; 0 where it is not scaled.

    Raises:
        ImageError: It does not decode, or is too elongated.
    """
    width, height = images.decode(image.path, image.box).size
    if side and round(min(width, height) * side / max(width, height)) < LEAST_SIDE:
        raise ImageError(
            f"the image {image.path} of {width} x {height} pixels is too elongated to be scaled to {side}: leave it out"
        )


def readable(source: Source, side: int, workers: int, strict: bool, on_progress: Callable[[int, int], Any]) -> Source:
    """The source without the images that do not decode, which `Source.unreadable` of the new one lists.

    Args:
        side: As `decodes` has it.

    Raises:
        DatasetError: There are none.
        ImageError: One does not decode, and `strict`.
    """
    files, _, unreadable = readable_files(source, strict)
    checked = tried(files, partial(decodes, side=side), workers, strict, on_progress)
    unreadable |= checked.unreadable
    if not checked.found:
        raise DatasetError(f"none of {len(unreadable)} images can be read: {next(iter(unreadable.values()))}")
    listing = Listing([image for image, _ in checked.found], unreadable, source.skipped)
    return Source(source.identity, lambda: listing)
