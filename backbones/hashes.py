"""Training-free descriptors that practitioners use: perceptual hashes and a colour histogram.

A hash of n bits is a vector of n values of +1 and -1, so that the cosine is 1 - 2 * (Hamming distance) / n.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.interfaces import NATIVE, TRAINING_FREE, Backbone, Descriptors, Model, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class TrainingFree(Backbone):
    """A function from an RGB image, uint8 [H, W, 3], to a vector [D]."""

    describe: Callable[[Pixels], NDArray[np.float32]]

    def load(self, device: str, weights_file: Path | None) -> Model:
        return TrainingFreeModel(self.describe)


class TrainingFreeModel:
    """Applies the function image by image; there is nothing to train."""

    n_parameters = 0

    def __init__(self, describe: Callable[[Pixels], NDArray[np.float32]]) -> None:
        self._describe = describe

    def describe(self, batch: "Tensor") -> Descriptors:
        import torch

        images = batch.permute(0, 2, 3, 1).cpu().numpy()
        return Descriptors(torch.from_numpy(np.stack([self._describe(image) for image in images])))


def _signs(bits: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.where(bits.ravel(), np.float32(1), np.float32(-1))


def _pdq(image: Pixels) -> NDArray[np.float32]:
    import pdqhash

    bits, _quality = pdqhash.compute(np.ascontiguousarray(image))
    return _signs(bits)


def _phash(image: Pixels) -> NDArray[np.float32]:
    import imagehash

    return _signs(imagehash.phash(Image.fromarray(image)).hash)


def _dhash(image: Pixels) -> NDArray[np.float32]:
    import imagehash

    return _signs(imagehash.dhash(Image.fromarray(image)).hash)


def _color(image: Pixels) -> NDArray[np.float32]:
    """Square roots of a joint histogram of hue (16), saturation (4) and value (4): 256-d, Hellinger's kernel."""
    hue, saturation, value = np.moveaxis(np.asarray(Image.fromarray(image).convert("HSV")), 2, 0)
    cells = (hue >> 4).astype(np.int64) * 16 + (saturation >> 6) * 4 + (value >> 6)
    counts = np.bincount(cells.ravel(), minlength=256)
    shares: NDArray[np.float32] = np.sqrt(counts / counts.sum()).astype(np.float32)
    return shares


def _training_free(
    name: str, arch: str, dimension: int, describe: Callable[[Pixels], NDArray[np.float32]], *packages: str
) -> Backbone:
    weights = Weights(TRAINING_FREE, licence="", pretraining="none")
    return TrainingFree(name, arch, dimension, NATIVE, weights, packages=packages, describe=describe)


@register_backbone(groups=("embedded",))
def pdq() -> Backbone:
    """PDQ (Facebook 2019): 256 bits of a 16 x 16 cosine transform."""
    return _training_free("pdq", "PDQ hash", 256, _pdq, "pdqhash")


@register_backbone(groups=("embedded",))
def phash() -> Backbone:
    """Perceptual hash: 64 bits of a cosine transform."""
    return _training_free("phash", "perceptual hash", 64, _phash, "ImageHash", "scipy")


@register_backbone(groups=("embedded",))
def dhash() -> Backbone:
    """Difference hash: 64 bits, is a pixel brighter than its left neighbour."""
    return _training_free("dhash", "difference hash", 64, _dhash, "ImageHash")


@register_backbone(groups=("embedded",))
def color() -> Backbone:
    """Colour histogram, 256-d."""
    return _training_free("color", "HSV histogram", 256, _color)
