"""VICRegL (Bardes, Ponce, LeCun, NeurIPS 2022): global and local self-supervised features."""

from backbones._torch import TorchBackbone, mean_of_map, timm_module
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone


@register_backbone(groups=("candidates",))
def vicregl() -> Backbone:
    """VICRegL ResNet-50, alpha 0.9."""
    return TorchBackbone(
        name="vicregl",
        arch="resnet50",
        embed_dim=2048,
        preprocess=Preprocess(interpolation="bilinear"),
        weights=Weights(
            "https://dl.fbaipublicfiles.com/vicregl/resnet50_alpha0.9.pth",
            licence="CC-BY-NC-4.0",
            pretraining="ImageNet-1k, no labels",
        ),
        build=timm_module("resnet50"),
        describe=mean_of_map,
        channels_last=True,
    )
