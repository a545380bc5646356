"""The vision transformer ViT-B/16 that five of the candidates share."""

from typing import Any

from backbones._checkpoint import State, without
from backbones._torch import TorchBackbone, cls_and_tokens, timm_module
from bench.interfaces import Backbone, Preprocess, Weights


def convert(state: State, module: Any) -> State:
    """From timm's or the authors' own checkpoint; a classifier is left out."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    return without(checkpoint_filter_fn(dict(state), module), "head.")


def vit_base(name: str, preprocess: Preprocess, weights: Weights) -> Backbone:
    """A ViT-B/16 described by its class token after the final norm, 768-d."""
    return TorchBackbone(
        name=name,
        arch="vit_base_patch16_224",
        embed_dim=768,
        preprocess=preprocess,
        weights=weights,
        build=timm_module("vit_base_patch16_224"),
        convert=convert,
        describe=cls_and_tokens,
    )
