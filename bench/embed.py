"""A backbone's descriptors of any images in a folder of their own, in the layout of bench.shards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from bench import paths
from bench.describe import Loading, make
from bench.descriptor import DescriptorKind
from bench.errors import UsageError
from bench.extract import DType
from bench.files import sha256_text
from bench.manifest import hashes, images_sha256
from bench.shards import Writer
from bench.sources import Source


def embed(
    loading: Loading,
    source: Source,
    folder: Path,
    kind: DescriptorKind,
    dtype: DType,
    workers: int,
    on_progress: Callable[[int, int], Any],
) -> int:
    """Writes the descriptors of all images of `source` to `folder`, their ids as names, and returns their number.

    Goes on after the last shard that is whole. on_progress: told how many are done, and of how many. Raises UsageError
    where the folder holds anything else or another process writes to it, DatasetError where there are no images, and
    ImageError, DescriptorError, OSError as `make` and the writer do.
    """
    images = source.images
    key = loading.key(images_sha256(images, hashes(images)), kind, dtype)
    with _alone(folder), Writer(folder, key) as writer:
        if writer.whole:
            return writer.done
        first = written = writer.done

        def keep(rows: NDArray[np.floating]) -> None:
            nonlocal written
            writer.append(rows, [image.id for image in images[written : written + len(rows)]])
            written += len(rows)

        count = partial(_count, on_progress, first, len(images))
        n_parameters, speed, hardware, when = make(loading, images[first:], key, keep, workers, count)
        writer.finish(n_parameters=n_parameters, throughput=asdict(speed), hardware=hardware, measured_utc=when)
        return written


def _count(on_progress: Callable[[int, int], Any], before: int, total: int, done: int) -> None:
    on_progress(before + done, total)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Raises UsageError where another process of this machine writes to `folder`."""
    lock = paths.home() / "locks" / f"{sha256_text(str(folder.resolve()))[:16]}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(lock).acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"another process is writing to {folder}: wait for it, or choose another --output") from error
    with held:
        yield
