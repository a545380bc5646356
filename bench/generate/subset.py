"""Training images: nested subsets, the table that names them, their pixels."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import images as decoding
from bench.data.unreadable import LeftOut, require_none
from bench.errors import BenchError, DatasetError, UsageError
from bench.interfaces import Alpha, Colour, ImageFile, Preprocess
from bench.manifest import hash_files
from bench.names import escaped
from bench.sources import Source
from bench.unpacking import absolute

if TYPE_CHECKING:
    from torch import Tensor

#: Of the table: `bench.sources.images_of` reads it back.
COLUMNS = ("id", "path", "sha256")
#: Images hashed and decoded at once.
AT_ONCE = 1024


@dataclass(frozen=True)
class Subset:
    """Images drawn from a source. table: CSV of COLUMNS, a row an image."""

    source: str
    images: tuple[ImageFile, ...]
    table: str


@dataclass(frozen=True)
class TrainingReading:
    """How training images are read.

    side: of their squares, in pixels. workers: threads. strict: stop at the first that can't be read.
    """

    side: int
    workers: int
    alpha: Alpha = "white"
    colour: Colour = "ignored"
    strict: bool = False

    @property
    def preprocess(self) -> Preprocess:
        """The central square, scaled."""
        return Preprocess(size=self.side, crop=self.side, mean=None, alpha=self.alpha, colour=self.colour)


@dataclass(frozen=True)
class DrawnImages:
    """Images in the order in which they are drawn, and their pixels, uint8 [N, 3, side, side].

    sha256: by id. left_out: images that could not be read.
    """

    source: str
    images: tuple[ImageFile, ...]
    sha256: Mapping[str, str]
    pixels: "Tensor"
    left_out: LeftOut

    def first(self, n: int | None = None) -> Subset:
        """The first n of the images, None for all."""
        images = self.images[:n]
        return Subset(self.source, images, listed(images, self.sha256))


def read(
    source: Source, n: int | None, seed: int, reading: TrainingReading, on_progress: Callable[[int, int], Any]
) -> DrawnImages:
    """Draw images and read them.

    They are the first `n`, or all, of one permutation of all images, without those that cannot be read: what is drawn
    for a smaller `n` is part of a larger one.

    Raises:
        UsageError: There are fewer.
        DatasetError: There are none.
        ImageError: One cannot be read, and `reading.strict`.
    """
    import torch

    images = permuted(source, seed)
    wanted = len(images) if n is None else n
    _require(wanted <= len(images), source, wanted, len(images))
    sha256: dict[str, str] = {}
    unreadable = dict(source.unreadable)
    require_none(unreadable, reading.strict)
    kept: list[ImageFile] = []
    squares = torch.empty((wanted, 3, reading.side, reading.side), dtype=torch.uint8)
    at, look = 0, partial(_read, preprocess=reading.preprocess)
    with ThreadPoolExecutor(reading.workers, thread_name_prefix="decode") as pool:
        try:
            while len(kept) < wanted and at < len(images):
                some = images[at : at + min(AT_ONCE, wanted - len(kept))]
                at += len(some)
                hashed, lost = hash_files(some)
                unreadable |= lost
                here = [image for image in some if image.id in hashed]
                for image, square in zip(here, pool.map(look, here), strict=True):
                    if isinstance(square, BenchError):
                        unreadable[image.id] = str(square)
                        continue
                    squares[len(kept)] = square
                    kept.append(image)
                    sha256[image.id] = hashed[image.id]
                    on_progress(len(kept), wanted)
                require_none(unreadable, reading.strict)
        finally:
            pool.shutdown(cancel_futures=True)
    if not kept:
        raise DatasetError(f"none of {len(unreadable)} images can be read: {next(iter(unreadable.values()))}")
    _require(n is None or len(kept) == n, source, wanted, len(kept))
    left_out = LeftOut(unreadable, {}, source.skipped)
    return DrawnImages(source.identity, tuple(kept), sha256, squares[: len(kept)], left_out)


def permuted(source: Source, seed: int) -> list[ImageFile]:
    """All images of a source in an order that the seed draws."""
    images = sorted(source.images, key=lambda image: image.id)
    return [images[place] for place in np.random.default_rng(seed).permutation(len(images))]


def _require(enough: bool, source: Source, wanted: int, there: int) -> None:
    if not enough:
        raise UsageError(
            f"--subset is {wanted:,}, but {source.identity} holds {there:,} images that can be read: lower it"
        )


def _read(image: ImageFile, preprocess: Preprocess) -> "Tensor | BenchError":
    try:
        return decoding.load(image.path, preprocess, image.box)
    except BenchError as error:
        return error


def listed(images: Sequence[ImageFile], sha256: Mapping[str, str]) -> str:
    """The table of images, whose hashes are known by their ids; paths are escaped, as ids are."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((image.id, escaped(str(absolute(image.path))), sha256[image.id]) for image in images)
    return written.getvalue()
