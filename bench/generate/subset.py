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
from bench.errors import UsageError
from bench.interfaces import ImageFile, Preprocess
from bench.manifest import hashes
from bench.sources import Source
from bench.unpacking import absolute

if TYPE_CHECKING:
    from torch import Tensor

#: Of the table: `bench.sources.images_of` reads it back.
COLUMNS = ("id", "path", "sha256")


@dataclass(frozen=True)
class Subset:
    """Images drawn from a source. table: CSV of COLUMNS, a row an image."""

    source: str
    images: tuple[ImageFile, ...]
    table: str


def nested(source: Source, n: int | None, seed: int) -> Subset:
    """The first `n` of one permutation of all images, or all: what is drawn for a smaller `n` is part of a larger one.

    Raises UsageError where there are fewer, and DatasetError where there are none or a file is missing.
    """
    images = sorted(source.images, key=lambda image: image.id)
    if n is not None and n > len(images):
        raise UsageError(f"--subset is {n:,}, but {source.identity} holds {len(images):,} images: lower it")
    order = np.random.default_rng(seed).permutation(len(images))[:n]
    drawn = tuple(images[place] for place in order)
    return Subset(source.identity, drawn, listed(drawn, hashes(drawn)))


def pixels(images: Sequence[ImageFile], side: int, workers: int, on_progress: Callable[[int, int], Any]) -> "Tensor":
    """uint8 [N, 3, side, side]: the central square of each image, scaled.

    Raises ImageError for one that can't be read.
    """
    import torch

    read = partial(_read, preprocess=Preprocess(size=side, crop=side, mean=None))
    decoded = torch.empty((len(images), 3, side, side), dtype=torch.uint8)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for place, image in enumerate(pool.map(read, images)):
                decoded[place] = image
                on_progress(place + 1, len(images))
        finally:
            pool.shutdown(cancel_futures=True)
    return decoded


def _read(image: ImageFile, preprocess: Preprocess) -> "Tensor":
    return decoding.load(image.path, preprocess, image.box)


def listed(images: Sequence[ImageFile], sha256: Mapping[str, str]) -> str:
    """The table of images, whose hashes are known by their ids."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((image.id, absolute(image.path), sha256[image.id]) for image in images)
    return written.getvalue()
