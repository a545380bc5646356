"""The ResNet-50 that many of the backbones share."""

from backbones._torch import Convert, TorchBackbone, gem_of_map, mean_of_map, timm_module
from bench.interfaces import Backbone, Preprocess, Weights


def resnet50(
    name: str, preprocess: Preprocess, weights: Weights, convert: Convert = lambda state, module: state
) -> Backbone:
    """A ResNet-50 described by the mean over its last feature map, 2048-d.

    convert: from the published checkpoint to torchvision's names without the classifier, where it differs.
    """
    return TorchBackbone(
        name=name,
        arch="resnet50",
        embed_dim=2048,
        preprocess=preprocess,
        weights=weights,
        build=timm_module("resnet50"),
        convert=convert,
        describe=mean_of_map,
        pooled=gem_of_map,
        channels_last=True,
    )
