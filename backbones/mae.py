"""Masked autoencoder (He et al., CVPR 2022)."""

from backbones._vit import vit_base
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone


@register_backbone(groups=("candidates",))
def mae() -> Backbone:
    """MAE ViT-B/16; the class token, as in the authors' linear probe."""
    return vit_base(
        "mae",
        Preprocess(),
        Weights(
            "hub:timm/vit_base_patch16_224.mae/model.safetensors",
            licence="CC-BY-NC-4.0",
            pretraining="ImageNet-1k, no labels",
        ),
    )
