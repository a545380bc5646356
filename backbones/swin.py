"""Swin Transformer (Liu et al., ICCV 2021), supervised on ImageNet-1k."""

from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State, without
from backbones._torch import TorchBackbone, timm_module
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor


def _convert(state: State, module: Any) -> State:
    from timm.models.swin_transformer import checkpoint_filter_fn

    return without(checkpoint_filter_fn(dict(state), module), "head.")


def _describe(module: Any, batch: "Tensor") -> Descriptors:
    cells = module.forward_features(batch).flatten(1, 2)  # [B, 7, 7, 1024] after the norm
    return Descriptors(cells.mean(1), cells)


@register_backbone(groups=("candidates",))
def swin() -> Backbone:
    """Swin-B, patch 4, window 7."""
    return TorchBackbone(
        name="swin",
        arch="swin_base_patch4_window7_224",
        embed_dim=1024,
        preprocess=Preprocess(),
        weights=Weights(
            "hub:timm/swin_base_patch4_window7_224.ms_in1k/model.safetensors",
            licence="MIT",
            pretraining="ImageNet-1k, labels",
        ),
        build=timm_module("swin_base_patch4_window7_224"),
        convert=_convert,
        describe=_describe,
    )
