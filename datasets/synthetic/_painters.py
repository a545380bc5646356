"""Painters: what fills a hole in an image. None of them sees what was in the hole."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from datasets.demo._rng import Rng
from datasets.synthetic._regions import Mask, Pixels

PAINTED_SIDE = 128  # long side in pixels at which OpenCV paints: at full size it takes seconds and smears as much
RADIUS = 3
DETAIL_SCALE = 20  # of grey levels of detail kept as a byte, at most 12: what is more is an edge
DETAIL_WINDOW = (9, 9)
LEAST_BLENDED = 4  # pixels across a hole that OpenCV blends into
FRAME = 2  # pixels around a picture, since OpenCV does not blend up to the edge
BLANK = 127  # grey level that the painters find in the hole


class Painter(Protocol):
    """Fills holes.

    packages: distributions that its pictures depend on, beside pillow, opencv and numpy. takes_other: it puts another
    image into the hole.
    """

    @property
    def packages(self) -> tuple[str, ...]: ...

    @property
    def takes_other(self) -> bool: ...

    def paint(self, image: Pixels, hole: Mask, other: Pixels | None, rng: Rng) -> Pixels:
        """The image with the hole filled; outside it anything may stand. `other` is another image of that shape."""
        ...


def painter(text: str) -> Painter:
    """The painter that `opencv[:ns]`, `blend` or `diffusion:MODEL` names, ready to paint.

    Raises UsageError where there is none, or its package or model is missing.
    """
    name, _, argument = text.partition(":")
    if name == "opencv" and argument in ("", "telea", "ns"):
        return OpenCv(navier_stokes=argument == "ns")
    if text == "blend":
        return Blend()
    if name == "diffusion" and argument:
        return Diffusion.load(argument)
    raise UsageError(f"there is no painter '{text}': known are opencv, opencv:ns, blend, diffusion:MODEL")


def painted(how: Painter, image: Pixels, hole: Mask, other: Pixels | None, rng: Rng) -> Pixels:
    """The image with its hole painted by one that does not see what was there; the rest is as it was."""
    import cv2

    mask = hole.astype(np.uint8)
    blanked = np.asarray(cv2.copyTo(np.full_like(image, BLANK), mask, image.copy()), np.uint8)
    new = np.ascontiguousarray(how.paint(blanked, hole, other, rng))
    return np.asarray(cv2.copyTo(new, mask, image.copy()), np.uint8)


@dataclass(frozen=True)
class OpenCv:
    """Telea's fast marching (2004), or Navier-Stokes (Bertalmio et al. 2001), with grain like the rest of the image."""

    navier_stokes: bool
    packages: tuple[str, ...] = ()
    takes_other: bool = False

    def paint(self, image: Pixels, hole: Mask, other: Pixels | None, rng: Rng) -> Pixels:
        import cv2

        method = cv2.INPAINT_NS if self.navier_stokes else cv2.INPAINT_TELEA
        # the grain is as strong as the detail near it: none beside a plain background
        strength = _continued(_detail(image, hole), hole, method)[..., None] / DETAIL_SCALE
        smooth = _continued(image, hole, method)
        return np.clip(smooth + strength * _noise(hole.shape, rng), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Blend:
    """Another image, fitted in by Poisson blending (Perez et al. 2003)."""

    packages: tuple[str, ...] = ()
    takes_other: bool = True

    def paint(self, image: Pixels, hole: Mask, other: Pixels | None, rng: Rng) -> Pixels:
        import cv2

        assert other is not None
        # the edges of the picture are known too: there the image, smoothly continued, holds the other's colours
        smooth = np.clip(_continued(image, hole, cv2.INPAINT_TELEA), 0, 255).astype(np.uint8)
        target, patch = (
            np.pad(part, ((FRAME, FRAME), (FRAME, FRAME), (0, 0)), mode="edge")
            for part in (np.where(hole[..., None], smooth, image), other)
        )
        mask = np.pad(hole.astype(np.uint8) * 255, FRAME)
        left, top, width, height = cv2.boundingRect(mask)
        if min(width, height) < LEAST_BLENDED:
            return smooth
        centre = left + width // 2, top + height // 2
        cloned = cv2.seamlessClone(patch, target, mask, centre, cv2.NORMAL_CLONE)
        return np.asarray(cloned[FRAME:-FRAME, FRAME:-FRAME], np.uint8)


@dataclass(frozen=True)
class Diffusion:
    """An inpainting pipeline of the diffusers library, without a prompt; one picture at a time."""

    pipeline: Callable[..., Any]
    lock: threading.Lock
    packages: tuple[str, ...] = ("diffusers", "torch", "transformers")
    takes_other: bool = False

    @classmethod
    def load(cls, model: str) -> "Diffusion":
        """The pipeline of a model's name or folder. Raises UsageError where it cannot be had."""
        try:
            import diffusers
        except ImportError as error:
            raise UsageError(
                f"the painter diffusion needs the package diffusers ({error}): pip install -e '.[generate]'"
            ) from error
        import torch

        loader: Any = diffusers.AutoPipelineForInpainting  # typed in part
        try:
            pipeline = loader.from_pretrained(model, use_safetensors=True)
        except (OSError, ValueError) as error:  # what diffusers and the hub raise for a model that is not there
            reason = str(error).strip().splitlines()[0]
            raise UsageError(
                f"the diffusion model '{model}' can't be loaded ({reason}): name an inpainting model of the hub or "
                "the folder of one"
            ) from error
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline.to("cuda" if torch.cuda.is_available() else "cpu"), threading.Lock())

    def paint(self, image: Pixels, hole: Mask, other: Pixels | None, rng: Rng) -> Pixels:
        import torch
        from PIL import Image

        height, width = hole.shape
        whole = 8 * -(-height // 8), 8 * -(-width // 8)  # the latents are an eighth of the picture
        size = whole[1], whole[0]
        with self.lock:
            made = self.pipeline(
                prompt="",
                image=Image.fromarray(image).resize(size),
                mask_image=Image.fromarray(hole).convert("L").resize(size),
                height=whole[0],
                width=whole[1],
                strength=1.0,
                generator=torch.Generator("cpu").manual_seed(rng.integer(0, 2**31 - 1)),
            ).images[0]
        return np.asarray(made.convert("RGB").resize((width, height)), np.uint8)


def _continued(image: NDArray[np.uint8], hole: Mask, method: int) -> NDArray[np.float32]:
    """The known values [H, W] or [H, W, 3] continued into the hole by OpenCV's method, smooth there."""
    import cv2

    height, width = hole.shape
    scale = min(1.0, PAINTED_SIDE / max(hole.shape))
    small, known = _shrunk(image, ~hole, (max(1, round(width * scale)), max(1, round(height * scale))))
    filled = cv2.inpaint(small, (known == 0).astype(np.uint8), RADIUS, method)
    return np.asarray(cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _shrunk(
    image: NDArray[np.uint8], known: Mask, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The image at (width, height), each pixel the mean of the known ones below it, and the share that is known."""
    import cv2

    weight = known.astype(np.float32)
    share = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    shown = cv2.copyTo(image, known.astype(np.uint8))  # black elsewhere
    total = cv2.resize(shown.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    mean = (total.T / np.maximum(share.T, 1e-6)).T
    return np.asarray(np.rint(mean).clip(0, 255), np.uint8), np.asarray(share, np.float32)


def _detail(image: Pixels, hole: Mask) -> NDArray[np.uint8]:
    """How far the grey of each known pixel [H, W] is from the mean of the known ones around it, by DETAIL_SCALE."""
    import cv2

    known = (~hole).astype(np.float32)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    around = cv2.blur(grey * known, DETAIL_WINDOW) / np.maximum(cv2.blur(known, DETAIL_WINDOW), 1e-6)
    return np.asarray(np.clip(DETAIL_SCALE * np.abs(grey - around), 0, 255), np.uint8)


def _noise(shape: tuple[int, ...], rng: Rng) -> NDArray[np.float32]:
    """Nearly normal noise [H, W, 1] at two scales."""
    import cv2

    height, width = shape
    coarse = cv2.resize(_white((-(-height // 4), -(-width // 4)), rng), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(0.5 * _white((height, width), rng) + coarse, np.float32)[..., None]


def _white(shape: tuple[int, int], rng: Rng) -> NDArray[np.float32]:
    """Of deviation 1 [H, W]; numpy promises the raw stream of a bit generator, not the numbers made of it."""
    count = shape[0] * shape[1]
    raw = np.random.PCG64(rng.integer(0, 2**31 - 1)).random_raw(-(-count // 2))
    words = raw.astype("<u8").view("<u4")[:count]
    pairs = (words & 0x00FF00FF) + (words >> 8 & 0x00FF00FF)
    sums = ((pairs & 0xFFFF) + (pairs >> 16)).astype(np.float32)
    return np.asarray((sums - 510) / np.float32(147.8)).reshape(shape)  # mean and deviation of the sum of four bytes
