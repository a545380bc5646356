"""VICRegL (Bardes, Ponce, LeCun, NeurIPS 2022): global and local self-supervised features."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State
from backbones._resnet import resnet50
from backbones._torch import TorchBackbone, gem_of_map, mean_of_map, named, timm_module
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import nn

PREPROCESS = Preprocess(interpolation="bilinear")

# from the authors' names to timm's, in this order
_NAMES = (
    (r"stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"downsample_layers\.0\.", "stem."),
    (r"downsample_layers\.(\d)\.", r"stages.\1.downsample."),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.pwconv(\d)\.", r".mlp.fc\1."),
    (r"^norm\.", "norm_pre."),
)


@dataclass(frozen=True)
class ConvNeXt:
    """A ConvNeXt without layer scale, whose final norm comes before pooling."""

    arch: str
    embed_dim: int
    megabytes: float

    def build(self) -> "nn.Module":
        module: Any = timm_module(self.arch, head_norm_first=True)()
        for stage in module.stages:
            for block in stage.blocks:
                block.gamma = None  # timm has no option for it: it leaves out those that are None
        return module  # type: ignore[no-any-return]


_CONVNEXTS = {
    "convnext_small": ConvNeXt("convnext_small", 768, 197.8),
    "convnext_base": ConvNeXt("convnext_base", 1024, 350.3),
}


def _convert(state: State, module: Any) -> State:
    def rename(key: str) -> str:
        for theirs, ours in _NAMES:
            key = re.sub(theirs, ours, key)
        return key

    return {rename(key): value for key, value in state.items()}


def _weights(training: str, megabytes: float) -> Weights:
    return Weights(
        f"https://dl.fbaipublicfiles.com/vicregl/{training}.pth",
        licence="CC-BY-NC-4.0",
        pretraining="ImageNet-1k, no labels",
        citation="Bardes, Ponce and LeCun, NeurIPS 2022, arXiv:2210.01571",
        megabytes=megabytes,
    )


def _resnet(variant: str) -> Backbone:
    return resnet50(named("vicregl", variant), PREPROCESS, _weights(variant or "resnet50_alpha0.9", 94.3))


def _convnext(variant: str) -> Backbone:
    network = _CONVNEXTS[variant]
    return TorchBackbone(
        name=named("vicregl", variant),
        arch=network.arch,
        embed_dim=network.embed_dim,
        preprocess=PREPROCESS,
        weights=_weights(f"{variant}_alpha0.75", network.megabytes),
        build=network.build,
        convert=_convert,
        describe=mean_of_map,
        pooled=gem_of_map,
        channels_last=True,
    )


_MAKERS = dict.fromkeys(("", "resnet50_alpha0.75"), _resnet) | dict.fromkeys(_CONVNEXTS, _convnext)


@register_backbone(groups=("candidates",), variants=tuple(filter(None, _MAKERS)))
def vicregl(variant: str = "") -> Backbone:
    """VICRegL ResNet-50, alpha 0.9, 2048-d; the variants are of alpha 0.75, which weighs the local loss more.

    convnext_small is 768-d; convnext_base, 1024-d, has the best local features of those trained on ImageNet-1k.
    """
    return _MAKERS[variant](variant)
