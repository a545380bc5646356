"""Vision transformer (Dosovitskiy et al., ICLR 2021; AugReg weights of Steiner et al. 2021), supervised."""

from backbones._vit import vit_base
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone

HALF = (0.5, 0.5, 0.5)


@register_backbone(groups=("candidates",))
def vit() -> Backbone:
    """Supervised ViT-B/16."""
    return vit_base(
        "vit",
        Preprocess(size=248, mean=HALF, std=HALF),
        Weights(
            "hub:timm/vit_base_patch16_224.augreg_in21k_ft_in1k/model.safetensors",
            licence="Apache-2.0",
            pretraining="ImageNet-21k then 1k, labels",
        ),
    )
