"""SigLIP 2 (Tschannen et al. 2025): images matched with captions, beside captioning and self-supervised losses."""

from functools import partial
from typing import TYPE_CHECKING, Any

from backbones._torch import gem_of_local, whole_patches
from backbones._vit import vision_transformer
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor

HALF = (0.5, 0.5, 0.5)


def _describe(module: Any, batch: "Tensor") -> Descriptors:
    """The output of the trained attention pooling, which is the authors' embedding; local: the tokens before it."""
    tokens = module.forward_features(whole_patches(module, batch))
    return Descriptors(module.forward_head(tokens), tokens)


@register_backbone(groups=("extras",))
def siglip2() -> Backbone:
    """SigLIP 2 ViT-B/16's image encoder with its attention pooling (MAP), 768-d.

    The authors squash images to 224 x 224 bilinearly; timm's configuration of these weights crops.
    """
    return vision_transformer(
        "siglip2",
        Preprocess("squash", 224, None, "bilinear", HALF, HALF),
        Weights(
            "hub:timm/vit_base_patch16_siglip_224.v2_webli/model.safetensors",
            licence="Apache-2.0",
            pretraining="WebLI, image-caption pairs",
            citation="Tschannen et al. 2025, arXiv:2502.14786",
            megabytes=372,
        ),
        "vit_base_patch16_siglip_224",
        describe=_describe,
        pooled=partial(gem_of_local, _describe),
        act_layer="gelu_tanh",  # which jax.nn.gelu is by default; timm's own is the exact one
    )
