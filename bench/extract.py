"""Images to descriptors: decoding in threads runs ahead of the model, memory stays at a few batches."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.descriptor import DescriptorKind
from bench.descriptors.batches import Parts, batches
from bench.errors import BenchError, DescriptorError
from bench.interfaces import ImageFile, Model, Preprocess

if TYPE_CHECKING:
    from torch import Tensor

GLOBAL = DescriptorKind()
#: Of stored descriptors; they are computed in float32.
DType = Literal["float32", "float16"]
#: Receives an image that has no descriptor, and why.
OnFailure = Callable[[ImageFile, BenchError], Any]


@dataclass(frozen=True)
class Throughput:
    """How fast an extraction went, decoding included; the first batch is left out where there are more."""

    images_per_s: float
    n_images: int
    batch_size: int
    workers: int
    includes_decode: bool = True


@dataclass(frozen=True)
class Extraction:
    """How images become descriptors.

    workers: threads that decode. device: where the model is.
    """

    preprocess: Preprocess
    batch_size: int
    workers: int
    device: str = "cpu"
    kind: DescriptorKind = GLOBAL
    dtype: DType = "float32"


def raise_failure(image: ImageFile, error: BenchError) -> None:
    """Stop at the first image without a descriptor. Raises the error."""
    raise error


def extract(
    model: Model,
    images: Sequence[ImageFile],
    how: Extraction,
    keep: Callable[[NDArray[np.floating]], Any],
    on_progress: Callable[[int], Any] = lambda done: None,
    on_failure: OnFailure = raise_failure,
) -> Throughput:
    """Describe images batch by batch, in their order.

    On the CPU decoding gives way to the model, which computes on the same cores and stalls as a whole when one of its
    threads has to wait.

    Args:
        keep: Receives the descriptors [B, D] or [B, T, d] of the images of a batch that have one.
        on_progress: Receives the number of images done.
        on_failure: Receives each image that cannot be read, or whose descriptor has no cosine to anything (zero, not
            finite, beyond the range of `how.dtype`), before `keep` receives the others of its batch.

    Raises:
        DescriptorError: No descriptor of a batch of several images is finite, or the model gives another number of
            vectors than images.
    """
    import torch

    started = time.perf_counter()
    done, counted, counted_from = 0, len(images), started
    with torch.inference_mode():
        for batch in batches(images, how.preprocess, how.batch_size, how.workers, how.device):
            for image, error in batch.failed:
                on_failure(image, error)
            if batch.images:
                described = describe_batch(model, batch.parts, how.kind, how.device)
                rows = _comparable(described, batch.images, how.dtype, on_failure)
                if len(rows):
                    keep(rows)
            done += batch.size
            on_progress(done)
            if done == batch.size and len(images) > done:
                counted, counted_from = len(images) - done, time.perf_counter()
    seconds = time.perf_counter() - counted_from
    return Throughput(counted / seconds, len(images), how.batch_size, how.workers)


def describe_batch(
    model: Model, parts: Parts, kind: DescriptorKind = GLOBAL, device: str = "cpu"
) -> NDArray[np.float32]:
    """Describe the decoded images of a batch, those of one shape together.

    Args:
        parts: As `bench.descriptors.batches.stacked` makes them.

    Returns:
        Descriptors [B, D], or [B, T, d] of local ones.

    Raises:
        DescriptorError: The model gives another number of vectors, or images another number of local ones.
    """
    described: NDArray[np.float32] | None = None
    for places, pixels in parts:
        found = model.describe(_on(device, pixels))
        values = kind.of(found, *pixels.shape[2:]).cpu().numpy()
        if values.ndim != (3 if kind.local else 2) or len(values) != len(places):
            form = "[images, T, d]" if kind.local else "[images, D]"
            raise DescriptorError(f"{len(places)} images gave descriptors of shape {values.shape}, not {form}")
        if described is None:
            described = np.empty((sum(len(of) for of, _ in parts), *values.shape[1:]), np.float32)
        if values.shape[1:] != described.shape[1:]:
            raise DescriptorError(
                f"images of different shapes gave descriptors of shapes {described.shape[1:]} and {values.shape[1:]}: "
                "average local ones to one grid, such as 7x7, or bring the images to one shape by the preprocessing"
            )
        described[places] = values
    assert described is not None
    return described


def _on(device: str, pixels: "Tensor") -> "Tensor":
    return pixels.to(device, non_blocking=pixels.is_pinned())


def _comparable(
    described: NDArray[np.float32], images: Sequence[ImageFile], dtype: DType, on_failure: OnFailure
) -> NDArray[np.floating]:
    """The rows that have a cosine to others, in `dtype`; the images of the other ones are failures."""
    flat = described.reshape(len(described), -1)
    finite = np.isfinite(flat).all(axis=1)
    if len(flat) > 1 and not finite.any():
        raise DescriptorError(
            f"the descriptor of {images[0].path} is not finite, nor is any other of its batch: the weights or the "
            "precision are wrong"
        )
    with np.errstate(over="ignore"):  # a failure of the image
        stored = described.astype(dtype, copy=False)
    kept = stored.reshape(len(stored), -1)
    lost = ~(np.isfinite(kept).all(axis=1) & kept.any(axis=1))
    for row in np.flatnonzero(lost).tolist():
        image = images[row]
        if not np.isfinite(flat[row]).all():
            why = "is not finite: the weights or the precision are wrong"
        elif not flat[row].any():
            why = "is zero: it has no similarity to anything; leave the image out"
        else:
            why = f"is beyond the range of {dtype}: keep float32"
        on_failure(image, DescriptorError(f"the descriptor of {image.path} {why}"))
    return stored[~lost] if lost.any() else stored
