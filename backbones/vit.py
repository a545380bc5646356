"""Vision transformer (Dosovitskiy et al., ICLR 2021; AugReg weights of Steiner et al. 2021), supervised."""

from dataclasses import dataclass

from backbones._torch import named
from backbones._vit import BASE, vision_transformer
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone

HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Trained:
    """A training: timm's tag of it, what it saw, and the size of its file, classifier included."""

    tag: str
    pretraining: str
    megabytes: float


_TRAINED = {
    "": Trained("augreg_in21k_ft_in1k", "ImageNet-21k then 1k, labels", 346),
    "in1k": Trained("augreg_in1k", "ImageNet-1k, labels", 346),
    "in21k": Trained("augreg_in21k", "ImageNet-21k, labels", 410),
}


@register_backbone(groups=("candidates",), variants=tuple(filter(None, _TRAINED)))
def vit(variant: str = "") -> Backbone:
    """Supervised ViT-B/16, 768-d; trained on ImageNet-21k and fine-tuned on 1k, or on one of the two alone."""
    trained = _TRAINED[variant]
    weights = Weights(
        f"hub:timm/{BASE}.{trained.tag}/model.safetensors",
        licence="Apache-2.0",
        pretraining=trained.pretraining,
        citation="Steiner et al., TMLR 2022, arXiv:2106.10270",
        megabytes=trained.megabytes,
    )
    return vision_transformer(named("vit", variant), Preprocess(size=248, mean=HALF, std=HALF), weights)
