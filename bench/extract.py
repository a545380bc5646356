"""Images to descriptors: decoding in threads runs ahead of the model, memory stays at a few batches."""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench import images as decoding
from bench.descriptor import DescriptorKind
from bench.errors import DescriptorError
from bench.interfaces import ImageFile, Model, Preprocess

if TYPE_CHECKING:
    from torch import Tensor

BATCHES_AHEAD = 2
LOWEST_PRIORITY = 19
GLOBAL = DescriptorKind()
#: Of stored descriptors; they are computed in float32.
DType = Literal["float32", "float16"]


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
    keep: Callable[[NDArray[np.floating]], Any],
    on_progress: Callable[[int], Any] = lambda done: None,
    device: str = "cpu",
    kind: DescriptorKind = GLOBAL,
    dtype: DType = "float32",
) -> Throughput:
    """Hands the descriptors of `images` to `keep`, batch by batch [B, D] or [B, T, d], in the images' order.

    `on_progress` is told how many are done. device: where the model is. On the CPU decoding gives way to the model,
    which computes on the same cores and stalls as a whole when one of its threads has to wait.

    Raises ImageError for a file that can't be read, DescriptorError for a descriptor that is not finite or zero, or
    that is so in `dtype`.
    """
    import torch

    started = time.perf_counter()
    done, counted, counted_from = 0, len(images), started
    with torch.inference_mode():
        for batch in _batches(images, preprocess, batch_size, workers, device):
            described = describe_batch(model, batch, kind, device)
            keep(_stored(described, dtype, images[done : done + batch.size]))
            done += batch.size
            on_progress(done)
            if done == batch.size and len(images) > done:
                counted, counted_from = len(images) - done, time.perf_counter()
    seconds = time.perf_counter() - counted_from
    return Throughput(counted / seconds, len(images), batch_size, workers)


@dataclass(frozen=True)
class Batch:
    """Decoded images: of each shape among them the places in the batch, and the pixels [P, 3, H, W]."""

    size: int
    parts: list[tuple[list[int], "Tensor"]]


def _batches(
    images: Sequence[ImageFile], preprocess: Preprocess, batch_size: int, workers: int, device: str
) -> Iterator[Batch]:
    """Batches decoded ahead of the model, in memory that a GPU copies from by itself where there is one."""
    first = _step_aside if device == "cpu" else None
    with (
        ThreadPoolExecutor(workers, thread_name_prefix="decode", initializer=first) as decoders,
        ThreadPoolExecutor(1, thread_name_prefix="stack", initializer=first) as stacker,
    ):
        waiting: deque[Future[Batch]] = deque()
        try:
            for start in range(0, len(images), batch_size):
                some = images[start : start + batch_size]
                decoded = [decoders.submit(decoding.load, image.path, preprocess, image.box) for image in some]
                waiting.append(stacker.submit(_collected, decoded, device.startswith("cuda")))
                if len(waiting) > BATCHES_AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            decoders.shutdown(cancel_futures=True)


def _collected(decoded: Sequence[Future["Tensor"]], pinned: bool) -> Batch:
    return stacked([future.result() for future in decoded], pinned)


def stacked(tensors: Sequence["Tensor"], pinned: bool = False) -> Batch:
    """Decoded images [3, H, W] as a batch."""
    import torch

    by_shape: dict[tuple[int, ...], list[int]] = {}
    for place, tensor in enumerate(tensors):
        by_shape.setdefault(tuple(tensor.shape), []).append(place)
    parts = []
    for shape, places in by_shape.items():
        room = torch.empty((len(places), *shape), dtype=tensors[places[0]].dtype, pin_memory=pinned)
        parts.append((places, torch.stack([tensors[place] for place in places], out=room)))
    return Batch(len(tensors), parts)


def _step_aside() -> None:
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)


def describe_batch(
    model: Model, batch: Batch, kind: DescriptorKind = GLOBAL, device: str = "cpu"
) -> NDArray[np.float32]:
    """Descriptors [B, D], or [B, T, d] of local ones, of decoded images, those of one shape together.

    Raises DescriptorError where the model gives another number of vectors, or images another number of local ones.
    """
    described: NDArray[np.float32] | None = None
    for places, pixels in batch.parts:
        found = model.describe(pixels.to(device, non_blocking=pixels.is_pinned()))
        values = kind.of(found, *pixels.shape[2:]).cpu().numpy()
        if values.ndim != (3 if kind.local else 2) or len(values) != len(places):
            form = "[images, T, d]" if kind.local else "[images, D]"
            raise DescriptorError(f"{len(places)} images gave descriptors of shape {values.shape}, not {form}")
        if described is None:
            described = np.empty((batch.size, *values.shape[1:]), np.float32)
        if values.shape[1:] != described.shape[1:]:
            raise DescriptorError(
                f"images of different shapes gave descriptors of shapes {described.shape[1:]} and {values.shape[1:]}: "
                "average local ones to one grid, such as 7x7, or bring the images to one shape by the preprocessing"
            )
        described[places] = values
    assert described is not None
    return described


def _stored(described: NDArray[np.float32], dtype: DType, images: Sequence[ImageFile]) -> NDArray[np.floating]:
    """The descriptors in `dtype`, checked. Raises DescriptorError naming the first image that can't be compared."""
    _require_comparable(described, images)
    if dtype == "float32":
        return described
    with np.errstate(over="ignore"):  # told below
        half = described.astype(dtype)
    flat = half.reshape(len(half), -1)
    lost = ~(np.isfinite(flat).all(axis=1) & flat.any(axis=1))
    if lost.any():
        path = images[int(np.argmax(lost))].path
        raise DescriptorError(f"the descriptor of {path} is beyond the range of {dtype}: keep float32")
    return half


def _require_comparable(described: NDArray[np.float32], images: Sequence[ImageFile]) -> None:
    """Raises DescriptorError naming the first image whose descriptor has no cosine to anything."""
    flat = described.reshape(len(described), -1)
    finite, zero = np.isfinite(flat).all(axis=1), ~flat.any(axis=1)
    if not finite.all():
        path = images[int(np.argmin(finite))].path
        raise DescriptorError(f"the descriptor of {path} is not finite: the weights or the precision are wrong")
    if zero.any():
        path = images[int(np.argmax(zero))].path
        raise DescriptorError(
            f"the descriptor of {path} is zero: it has no similarity to anything; leave the image out"
        )
