"""Options of single models, and what they tell of a file that does not say how its images are prepared."""

import math
import re
import tomllib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbones._torch import TorchBackbone
from bench.errors import CheckpointError, UsageError
from bench.interfaces import IMAGENET_MEAN, IMAGENET_STD, Backbone, Preprocess

if TYPE_CHECKING:
    from torch import Tensor

#: Of the preprocessing. mean and std: one number, or one a channel as 0.485/0.456/0.406.
IMAGE_OPTIONS = ("size", "resize", "crop", "interpolation", "mean", "std")


def read_options(options: Mapping[str, Any], known: Sequence[str], where: str) -> dict[str, Any]:
    """Options as text or TOML values, as values, in the order of `known`.

    Raises UsageError, saying `where`, for an unknown one and for a value that can't be.
    """
    if unknown := [name for name in options if name not in known]:
        raise UsageError(f"{where} has no option '{unknown[0]}': there are {', '.join(known)}")
    values = {}
    for name in known:
        if name in options:
            try:
                values[name] = _READERS[name](options[name])
            except ValueError as error:
                raise UsageError(f"the option {name} of {where} is {error}, not '{options[name]}'") from error
    return values


def beside(file: Path, known: Sequence[str]) -> dict[str, Any]:
    """The options in the TOML file of a model file's name (model.toml beside model.onnx), or none.

    Raises UsageError where it can't be read as options.
    """
    path = file.with_suffix(".toml")
    if not path.is_file():
        return {}
    try:
        return read_options(tomllib.loads(path.read_text(encoding="utf-8")), known, str(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read as TOML ({error}): correct it") from error


def shown(name: str, options: Mapping[str, str]) -> str:
    """The name with its options: name[size=224,mean=0.5]."""
    return f"{name}[{','.join(f'{key}={value}' for key, value in options.items())}]" if options else name


@dataclass(frozen=True)
class OwnOptions(TorchBackbone):
    """A torch module with options beside those that all of them have."""

    @abstractmethod
    def told(self, name: str, options: Mapping[str, Any]) -> "OwnOptions":
        """This backbone with values of its own options, under a name that shows them."""

    def configured(self, options: Mapping[str, str]) -> Backbone:
        own = read_options({k: v for k, v in options.items() if k in self.OWN}, self.OWN, self.name)
        told = self.told(shown(self.name, {key: options[key] for key in own}), own) if own else self
        configured = super(OwnOptions, told).configured({k: v for k, v in options.items() if k not in own})
        return replace(configured, name=configured.name.replace("][", ","))


def preprocess(options: Mapping[str, Any], side: int | None, pixels: bool, file: Path) -> Preprocess:
    """The preprocessing that options tell of a file which reads squares of `side` pixels, or of any size.

    Without options: both sides resized to `side`, bilinear, ImageNet's mean and deviation. `resize=short` alone is
    followed by a crop where the file's size is fixed. pixels: the file reads uint8, so there is no mean.
    Raises CheckpointError where the size is unknown or the options contradict the file.
    """
    resize = options.get("resize", "squash")
    crop = options.get("crop", side if resize == "short" else None)
    size = options.get("size", crop or side)
    if size is None:
        raise CheckpointError(f"{file} does not tell the size of its images: give the option size=PIXELS")
    if crop is not None and crop > size:
        raise CheckpointError(
            f"the crop of {crop} pixels is larger than the size {size} for {file}: give a larger size"
        )
    if side is not None and (crop or size) != side:
        raise CheckpointError(f"{file} reads {side} x {side} pixels, not {crop or size}: correct its options")
    if pixels and options.keys() & {"mean", "std"}:
        raise CheckpointError(f"{file} reads pixels as they are (uint8): leave out the options mean and std")
    return Preprocess(
        resize,
        size,
        crop,
        options.get("interpolation", "bilinear"),
        None if pixels else options.get("mean", IMAGENET_MEAN),
        None if pixels else options.get("std", IMAGENET_STD),
    )


def blank(preprocess: Preprocess) -> "Tensor":
    """One image [1, 3, H, W] as a preprocessing makes it, to try a model with."""
    import torch

    side = preprocess.crop or preprocess.size
    assert side is not None
    return torch.zeros(1, 3, side, side, dtype=torch.uint8 if preprocess.mean is None else torch.float32)


def _pixels(value: Any) -> int:
    if not re.fullmatch("[1-9][0-9]{0,4}", str(value)):
        raise ValueError("a number of pixels")
    return int(value)


def _channels(value: Any) -> tuple[float, float, float]:
    parts = value if isinstance(value, list) else str(value).split("/")
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
        raise ValueError("one number, or one a channel as 0.485/0.456/0.406")
    red, green, blue = numbers * 3 if len(numbers) == 1 else numbers
    return red, green, blue


def _deviations(value: Any) -> tuple[float, float, float]:
    deviations = _channels(value)
    if min(deviations) <= 0:
        raise ValueError("positive")
    return deviations


def _one_of(*choices: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(" or ".join(choices))
        return str(value)

    return read


_READERS: dict[str, Callable[[Any], Any]] = {
    "size": _pixels,
    "img_size": _pixels,
    "resize": _one_of("squash", "short", "letterbox"),
    "crop": _pixels,
    "interpolation": _one_of("bilinear", "bicubic"),
    "mean": _channels,
    "std": _deviations,
    "layout": _one_of("NCHW", "NHWC"),
    "output": str,
    "pool": _one_of("pooler", "cls", "mean"),
}
