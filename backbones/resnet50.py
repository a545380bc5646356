"""ResNet-50 (He et al., CVPR 2016), supervised, torchvision's first recipe."""

from typing import Any

from backbones._checkpoint import State, without
from backbones._torch import TorchBackbone, mean_of_map, timm_module
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone


def _convert(state: State, module: Any) -> State:
    return without(state, "fc.")


@register_backbone(groups=("candidates",))
def resnet50() -> Backbone:
    """Supervised ResNet-50."""
    return TorchBackbone(
        name="resnet50",
        arch="resnet50",
        embed_dim=2048,
        preprocess=Preprocess(interpolation="bilinear"),
        weights=Weights(
            "hub:timm/resnet50.tv_in1k/model.safetensors",
            licence="BSD-3-Clause",
            pretraining="ImageNet-1k, labels",
            sha256="5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888",
        ),
        build=timm_module("resnet50"),
        convert=_convert,
        describe=mean_of_map,
        channels_last=True,
    )
