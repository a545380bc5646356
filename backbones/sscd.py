"""SSCD (Pizzi et al., CVPR 2022): self-supervised copy detection."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State
from backbones._script import ScriptBackbone
from backbones._torch import Describe, TorchBackbone, cells_of_map, gem, named, timm_module
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

GEM_P = 3.0
PREPROCESS = Preprocess(size=288, crop=None, interpolation="bilinear")

_DATA = {"imagenet": "ImageNet-1k, no labels", "disc": "DISC21 training images, no labels"}
_RESNETS = ("disc_mixup", "disc_blur", "disc_advanced", "imagenet_blur", "imagenet_advanced")


def _build(trunk: str, dimension: int) -> Callable[[], "nn.Module"]:
    def build() -> "nn.Module":
        from torch import nn

        return nn.ModuleDict({"trunk": timm_module(trunk)(), "projection": nn.Linear(2048, dimension)})

    return build


def _convert(state: State, module: Any) -> State:
    # torchvision form: backbone.* with the projection where a ResNet has its classifier
    def rename(key: str) -> str:
        key = key.removeprefix("backbone.")
        return key.replace("fc.", "projection.", 1) if key.startswith("fc.") else f"trunk.{key}"

    return {rename(key): value for key, value in state.items()}


def _projected(p: float) -> Describe:
    """The generalised mean over the last map, projected, of length 1; local: the cells of the map."""

    def describe(module: Any, batch: "Tensor") -> Descriptors:
        from torch.nn.functional import normalize

        cells = cells_of_map(module["trunk"], batch)
        return Descriptors(normalize(module["projection"](gem(cells, p))), cells)

    return describe


def _weights(training: str, form: str, megabytes: float, carries_code: bool = False) -> Weights:
    return Weights(
        f"https://dl.fbaipublicfiles.com/sscd-copy-detection/sscd_{training}.{form}.pt",
        licence="MIT",
        pretraining=_DATA[training.partition("_")[0]],
        citation="Pizzi et al., CVPR 2022, arXiv:2202.10261",
        megabytes=megabytes,
        carries_code=carries_code,
    )


def _resnet(variant: str) -> Backbone:
    return TorchBackbone(
        name=named("sscd", variant),
        arch="resnet50",
        embed_dim=512,
        preprocess=PREPROCESS,
        weights=_weights(variant or "imagenet_mixup", "torchvision", 98.6),
        build=_build("resnet50", 512),
        convert=_convert,
        describe=_projected(GEM_P),
        pooled=_projected,
        channels_last=True,
    )


def _large(variant: str) -> Backbone:
    return ScriptBackbone(
        name=named("sscd", variant),
        arch="resnext101_32x4d",
        embed_dim=1024,
        preprocess=PREPROCESS,
        weights=_weights(variant, "torchscript", 177.5, carries_code=True),
        build=_build("resnext101_32x4d", 1024),
        describe=_projected(GEM_P),
        channels_last=True,
    )


_MAKERS = dict.fromkeys(("", *_RESNETS), _resnet) | {"disc_large": _large}


@register_backbone(groups=("candidates", "winners"), variants=tuple(filter(None, _MAKERS)))
def sscd(variant: str = "") -> Backbone:
    """SSCD ResNet-50 trained on ImageNet with mixup, 512-d; images keep their shape, short side 288.

    The variants are the authors' other trainings, by data and augmentation. disc_large is ResNeXt-101 32x4d, 1024-d,
    published as a TorchScript program only, without local descriptors.
    """
    return _MAKERS[variant](variant)
