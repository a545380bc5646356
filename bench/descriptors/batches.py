"""Decoded batches of images, ahead of the model that describes them, in bounded memory."""

import os
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import images as decoding
from bench.errors import BenchError
from bench.interfaces import ImageFile, Preprocess

if TYPE_CHECKING:
    from torch import Tensor

BATCHES_AHEAD = 2
LOWEST_PRIORITY = 19
#: Bytes of one batch of images that keep their own size (3 bytes a pixel), and of all that wait for the model.
BATCH_BYTES, WAITING_BYTES = 1 << 26, 1 << 27
#: Images whose shape is kept go through the model together up to so many times SIZE x SIZE pixels each on average.
ELONGATED = 2


#: Of each shape among decoded images their places in a batch and their pixels [P, 3, H, W].
Parts = list[tuple[list[int], "Tensor"]]


@dataclass(frozen=True)
class Batch:
    """Decoded images.

    images: those that could be decoded. parts: their pixels. failed: the others, and why. size: of both.
    """

    images: Sequence[ImageFile]
    parts: Parts
    failed: Sequence[tuple[ImageFile, BenchError]] = ()

    @property
    def size(self) -> int:
        return len(self.images) + len(self.failed)

    @property
    def n_bytes(self) -> int:
        return sum(pixels.nbytes for _, pixels in self.parts)


def batches(
    images: Sequence[ImageFile], preprocess: Preprocess, batch_size: int, workers: int, device: str
) -> Iterator[Batch]:
    """Decode images ahead of the model.

    Images that keep their own size make smaller batches where they have more than BATCH_BYTES together; threads wait
    while WAITING_BYTES of them are decoded. On a GPU batches lie in memory that it copies from by itself.

    Args:
        workers: Threads that decode; on the CPU they step aside for the model.
    """
    first = _step_aside if device == "cpu" else None
    waiting_room = _Room(WAITING_BYTES if preprocess.size is None else None)
    with (
        ThreadPoolExecutor(workers, thread_name_prefix="decode", initializer=first) as decoders,
        ThreadPoolExecutor(1, thread_name_prefix="stack", initializer=first) as stacker,
    ):
        source = _Decoded(images, preprocess, batch_size, decoders, waiting_room)

        def collect() -> Batch | None:
            return source.batch(at_most(preprocess, batch_size), device.startswith("cuda"))

        ahead = deque(stacker.submit(collect) for _ in range(BATCHES_AHEAD + 1))
        try:
            while batch := ahead.popleft().result():
                yield batch
                waiting_room.leave(batch.n_bytes)
                ahead.append(stacker.submit(collect))
        finally:
            waiting_room.close()
            decoders.shutdown(cancel_futures=True)


class _Room:
    """Bytes that are decoded and not yet described; who enters waits while they are over a limit.

    The image that the model needs next enters in any case.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._held = self._needed = 0
        self._closed = False

    def wait(self, place: int) -> None:
        """Wait until there is room for the image of this place."""
        if self._limit is not None:
            with self._changed:
                self._changed.wait_for(lambda: self._has_room(place))

    def _has_room(self, place: int) -> bool:
        return self._closed or place <= self._needed or self._held < (self._limit or 0)

    def enter(self, n_bytes: int) -> None:
        self._change(n_bytes)

    def leave(self, n_bytes: int) -> None:
        self._change(-n_bytes)

    def need(self, place: int) -> None:
        """Let the image of this place in."""
        with self._changed:
            self._needed = place
            self._changed.notify_all()

    def close(self) -> None:
        """Let all in: nobody describes any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _change(self, n_bytes: int) -> None:
        with self._changed:
            self._held += n_bytes
            self._changed.notify_all()


class _Decoded:
    """Images in their order, a batch of them being decoded ahead."""

    def __init__(
        self,
        images: Sequence[ImageFile],
        preprocess: Preprocess,
        batch_size: int,
        decoders: ThreadPoolExecutor,
        room: _Room,
    ) -> None:
        self._images, self._preprocess, self._batch_size = images, preprocess, batch_size
        self._decoders, self._room = decoders, room
        self._futures: deque[Future[Tensor | BenchError]] = deque()
        self._taken = 0
        for _ in range(batch_size):
            self._submit()

    def batch(self, limit: int | None, pinned: bool) -> Batch | None:
        """The next batch, None behind the last. limit: as `stacked` has it."""
        decoded: list[tuple[ImageFile, Tensor]] = []
        failed: list[tuple[ImageFile, BenchError]] = []
        n_bytes = 0
        while self._futures and len(decoded) + len(failed) < self._batch_size:
            image, found = self._next()
            if isinstance(found, BenchError):
                failed.append((image, found))
                continue
            decoded.append((image, found))
            n_bytes += found.nbytes
            if self._preprocess.size is None and n_bytes >= BATCH_BYTES:
                break
        if not decoded and not failed:
            return None
        return Batch([image for image, _ in decoded], stacked([pixels for _, pixels in decoded], limit, pinned), failed)

    def _next(self) -> "tuple[ImageFile, Tensor | BenchError]":
        self._room.need(self._taken)
        found = self._futures.popleft().result()
        image = self._images[self._taken]
        self._taken += 1
        self._submit()
        return image, found

    def _submit(self) -> None:
        place = self._taken + len(self._futures)
        if place < len(self._images):
            self._futures.append(self._decoders.submit(self._decode, place))

    def _decode(self, place: int) -> "Tensor | BenchError":
        self._room.wait(place)
        image = self._images[place]
        try:
            pixels = decoding.load(image.path, self._preprocess, image.box)
        except BenchError as error:
            return error
        self._room.enter(pixels.nbytes)
        return pixels


def at_most(preprocess: Preprocess, batch_size: int) -> int | None:
    """Pixels that go through a model together, where images keep their shape but not their size; None for no limit.

    Elongated images would otherwise need many times the memory of ordinary ones.
    """
    if preprocess.resize != "short" or preprocess.crop is not None or preprocess.size is None:
        return None
    return batch_size * ELONGATED * preprocess.size**2


def stacked(tensors: Sequence["Tensor"], limit: int | None = None, pinned: bool = False) -> Parts:
    """Stack decoded images [3, H, W] of one shape.

    Args:
        limit: Pixels of one stack of several images, None for no limit.
        pinned: Into memory that a GPU copies from by itself.

    Returns:
        Their places in `tensors` and their pixels.
    """
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for place, tensor in enumerate(tensors):
        by_shape.setdefault(tuple(tensor.shape), []).append(place)
    parts = []
    for shape, places in by_shape.items():
        n = len(places) if limit is None else max(1, limit // (shape[-2] * shape[-1]))
        for first in range(0, len(places), n):
            some = places[first : first + n]
            parts.append((some, _stack([tensors[place] for place in some], pinned)))
    return parts


def _stack(tensors: Sequence["Tensor"], pinned: bool) -> "Tensor":
    import torch

    if len(tensors) == 1 and not pinned:
        return tensors[0][None]  # without a copy: it may be large
    room = torch.empty((len(tensors), *tensors[0].shape), dtype=tensors[0].dtype, pin_memory=pinned)
    return torch.stack(list(tensors), out=room)


def _step_aside() -> None:
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
