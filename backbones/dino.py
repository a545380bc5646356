"""DINO (Caron et al., ICCV 2021): self-distillation without labels."""

from backbones._vit import vit_base
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone


@register_backbone(groups=("candidates",))
def dino() -> Backbone:
    """DINO ViT-B/16."""
    return vit_base(
        "dino",
        Preprocess(),
        Weights(
            "hub:timm/vit_base_patch16_224.dino/model.safetensors",
            licence="Apache-2.0",
            pretraining="ImageNet-1k, no labels",
            sha256="93181583427d6de3e18ab0e6ee4df35736cfc51a3c1bf9ae0e9b53b1316598dc",
        ),
    )
