"""SwAV (Caron et al., NeurIPS 2020): swapped assignments between views, without labels."""

from typing import Any

from backbones._checkpoint import State, under, without
from backbones._resnet import resnet50
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone


def _convert(state: State, module: Any) -> State:
    return without(under(state, "module."), "projection_head.", "prototypes.")


@register_backbone(groups=("extras",))
def swav() -> Backbone:
    """SwAV ResNet-50, 800 epochs."""
    return resnet50(
        "swav",
        # the deviation of red is .228 in the authors' evaluation, not ImageNet's usual .229
        Preprocess(interpolation="bilinear", std=(0.228, 0.224, 0.225)),
        Weights(
            "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar",
            licence="CC-BY-NC-4.0",
            pretraining="ImageNet-1k, no labels",
            citation="Caron et al., NeurIPS 2020, arXiv:2006.09882",
            megabytes=113,
        ),
        _convert,
    )
