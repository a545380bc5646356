"""The vision transformers of several of the candidates."""

from collections.abc import Callable
from typing import Any

from backbones._checkpoint import State, without
from backbones._torch import Convert, Describe, TorchBackbone, cls_and_tokens, gem_of_tokens, timm_module
from bench.interfaces import Backbone, Preprocess, Weights

BASE = "vit_base_patch16_224"


def convert(state: State, module: Any) -> State:
    """From timm's or the authors' own checkpoint, whose names are the same; a classifier is left out.

    Not by timm's own function: it resamples what does not fit, so that another network's checkpoint passes.
    """
    encoder: Any = state.get("model", state)
    return without(encoder, "head.", "pre_logits.")


def vision_transformer(
    name: str,
    preprocess: Preprocess,
    weights: Weights,
    arch: str = BASE,
    embed_dim: int = 768,
    *,
    convert: Convert = convert,
    describe: Describe = cls_and_tokens,
    pooled: Callable[[float], Describe] = gem_of_tokens,
    **options: Any,
) -> Backbone:
    """A vision transformer of timm's, by default a ViT-B/16 described by its class token after the final norm.

    It takes images of any size: its positional embedding is resampled. options: of the architecture.
    """
    return TorchBackbone(
        name=name,
        arch=arch,
        embed_dim=embed_dim,
        preprocess=preprocess,
        weights=weights,
        build=timm_module(arch, dynamic_img_size=True, **options),
        convert=convert,
        describe=describe,
        pooled=pooled,
    )
