"""MoCo v3 (Chen, Xie, He, ICCV 2021)."""

from typing import Any

from backbones._checkpoint import State, nested, under, without
from backbones._torch import TorchBackbone, cls_and_tokens, timm_module
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone


def _convert(state: State, module: Any) -> State:
    # {"epoch", "arch", "state_dict", ...}: the base encoder is the one the authors evaluate, not its momentum copy
    trained = nested(state, "state_dict")
    return without(under(trained, "module.base_encoder."), "head.")


@register_backbone(groups=("candidates",))
def mocov3() -> Backbone:
    """MoCo v3 ViT-B/16, 300 epochs."""
    return TorchBackbone(
        name="mocov3",
        arch="vit_base_patch16_224",
        embed_dim=768,
        preprocess=Preprocess(interpolation="bilinear"),
        weights=Weights(
            "https://dl.fbaipublicfiles.com/moco-v3/vit-b-300ep/vit-b-300ep.pth.tar",
            licence="CC-BY-NC-4.0",
            pretraining="ImageNet-1k, no labels",
        ),
        build=timm_module("vit_base_patch16_224"),
        convert=_convert,
        describe=cls_and_tokens,
    )
