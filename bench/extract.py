"""Images to descriptors: decoding in threads runs ahead of the model, memory stays at a few batches."""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench import images as decoding
from bench.errors import DescriptorError
from bench.interfaces import ImageFile, Model, Preprocess

if TYPE_CHECKING:
    from torch import Tensor

BATCHES_AHEAD = 2
LOWEST_PRIORITY = 19


@dataclass(frozen=True)
class Throughput:
    """How fast an extraction went, decoding included; the first batch is left out where there are more."""

    images_per_s: float
    n_images: int
    batch_size: int
    workers: int
    includes_decode: bool = True


def extract(
    model: Model,
    preprocess: Preprocess,
    images: Sequence[ImageFile],
    batch_size: int,
    workers: int,
    keep: Callable[[NDArray[np.float32]], Any],
    on_progress: Callable[[int], Any] = lambda done: None,
    step_aside: bool = False,
) -> Throughput:
    """Hands the global descriptors of `images` to `keep`, batch by batch [B, D] float32, in the images' order.

    `on_progress` is told how many are done. step_aside: decoding gives way to a model that computes on the same cores,
    which stalls as a whole when one of its threads has to wait.

    Raises ImageError for a file that can't be read, DescriptorError for a descriptor that is not finite or zero.
    """
    import torch

    started = time.perf_counter()
    counted, counted_from = len(images), started
    with torch.inference_mode():
        for first, tensors in _batches(images, preprocess, batch_size, workers, step_aside):
            described = describe_batch(model, tensors)
            _require_comparable(described, images[first : first + batch_size])
            keep(described)
            on_progress(first + len(tensors))
            if first == 0 and len(images) > batch_size:
                counted, counted_from = len(images) - len(tensors), time.perf_counter()
    seconds = time.perf_counter() - counted_from
    return Throughput(counted / seconds, len(images), batch_size, workers)


def _batches(
    images: Sequence[ImageFile], preprocess: Preprocess, batch_size: int, workers: int, step_aside: bool
) -> Iterator[tuple[int, list["Tensor"]]]:
    """Decoded batches with the index of their first image."""
    with ThreadPoolExecutor(
        workers, thread_name_prefix="decode", initializer=_step_aside if step_aside else None
    ) as pool:
        waiting: deque[Future[Tensor]] = deque()
        queue = iter(images)
        try:
            for first in range(0, len(images), batch_size):
                while len(waiting) < batch_size * BATCHES_AHEAD and (image := next(queue, None)):
                    waiting.append(pool.submit(decoding.load, image.path, preprocess, image.box))
                size = min(batch_size, len(images) - first)
                yield first, [waiting.popleft().result() for _ in range(size)]
        finally:
            for future in waiting:
                future.cancel()


def _step_aside() -> None:
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)


def describe_batch(model: Model, tensors: Sequence["Tensor"]) -> NDArray[np.float32]:
    """Global descriptors [B, D] of decoded images, those of one shape together.

    Raises DescriptorError where the model gives another number of vectors.
    """
    import torch

    by_shape: dict[tuple[int, ...], list[int]] = {}
    for position, tensor in enumerate(tensors):
        by_shape.setdefault(tuple(tensor.shape), []).append(position)
    described: NDArray[np.float32] | None = None
    for positions in by_shape.values():
        vectors = model.describe(torch.stack([tensors[i] for i in positions])).global_
        values = vectors.float().cpu().numpy()
        if values.ndim != 2 or len(values) != len(positions):
            raise DescriptorError(f"{len(positions)} images gave descriptors of shape {values.shape}, not [images, D]")
        if described is None:
            described = np.empty((len(tensors), values.shape[1]), np.float32)
        described[positions] = values
    assert described is not None
    return described


def _require_comparable(described: NDArray[np.float32], images: Sequence[ImageFile]) -> None:
    """Raises DescriptorError naming the first image whose descriptor has no cosine to anything."""
    finite, zero = np.isfinite(described).all(axis=1), ~described.any(axis=1)
    if not finite.all():
        path = images[int(np.argmin(finite))].path
        raise DescriptorError(f"the descriptor of {path} is not finite: the weights or the precision are wrong")
    if zero.any():
        path = images[int(np.argmax(zero))].path
        raise DescriptorError(
            f"the descriptor of {path} is zero: it has no similarity to anything; leave the image out"
        )
