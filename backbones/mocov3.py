"""MoCo v3 (Chen, Xie, He, ICCV 2021)."""

from dataclasses import dataclass
from typing import Any

from backbones._checkpoint import State, nested, under, without
from backbones._torch import named
from backbones._vit import BASE, vision_transformer
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone


@dataclass(frozen=True)
class Trained:
    """A pretraining that the authors published; megabytes: of its tensors, at least."""

    arch: str
    embed_dim: int
    training: str
    megabytes: float


_TRAINED = {
    "": Trained(BASE, 768, "vit-b-300ep", 863),
    "vits": Trained("vit_small_patch16_224", 384, "vit-s-300ep", 337),
}
HEADS = 12  # of both; timm's ViT-S has 6, which would take the same weights and compute something else


def _convert(state: State, module: Any) -> State:
    # {"epoch", "arch", "state_dict", ...}: the base encoder is the one the authors evaluate, not its momentum copy
    trained = nested(state, "state_dict")
    return without(under(trained, "module.base_encoder."), "head.")


@register_backbone(groups=("candidates",), variants=tuple(filter(None, _TRAINED)))
def mocov3(variant: str = "") -> Backbone:
    """MoCo v3 ViT-B/16, 300 epochs, 768-d; vits is the authors' ViT-S/16 of 12 heads, 384-d."""
    trained = _TRAINED[variant]
    return vision_transformer(
        named("mocov3", variant),
        Preprocess(interpolation="bilinear"),
        Weights(
            f"https://dl.fbaipublicfiles.com/moco-v3/{trained.training}/{trained.training}.pth.tar",
            licence="CC-BY-NC-4.0",
            pretraining="ImageNet-1k, no labels",
            citation="Chen, Xie and He, ICCV 2021, arXiv:2104.02057",
            megabytes=trained.megabytes,
        ),
        trained.arch,
        trained.embed_dim,
        convert=_convert,
        num_heads=HEADS,
    )
