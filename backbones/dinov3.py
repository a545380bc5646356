"""DINOv3 (Siméoni et al. 2025): self-distillation without labels, distilled from a model of 7 billion parameters."""

from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State
from backbones._torch import TorchBackbone, cls_and_tokens, gem_of_tokens, timm_module
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import nn

ARCH = "vit_base_patch16_dinov3"
_NAMES = {"storage_tokens": "reg_token", ".ls1.gamma": ".gamma_1", ".ls2.gamma": ".gamma_2"}
_CONSTANT_OR_UNUSED = ("mask_token", "rope_embed.periods", ".attn.qkv.bias_mask")


def _build() -> "nn.Module":
    module: Any = timm_module(ARCH, global_pool="token")()
    # the authors publish the periods of the rotary embedding in bfloat16; timm computes them in float32
    module.rope.periods = module.rope.periods.bfloat16().float()
    return module  # type: ignore[no-any-return]


def _convert(state: State, module: Any) -> State:
    """From timm's checkpoint, which has the module's own names, or the authors'."""

    def rename(key: str) -> str:
        for theirs, ours in _NAMES.items():
            key = key.replace(theirs, ours)
        return key

    return {
        rename(key): value
        for key, value in state.items()
        # the published biases of query, key and value are zero, and this architecture has none
        if not key.endswith(_CONSTANT_OR_UNUSED) and (not key.endswith(".attn.qkv.bias") or value.any())
    }


@register_backbone(groups=("extras",))
def dinov3() -> Backbone:
    """DINOv3 ViT-B/16 with four registers, at 256 px."""
    return TorchBackbone(
        name="dinov3",
        arch=ARCH,
        embed_dim=768,
        preprocess=Preprocess(size=256, crop=256),
        weights=Weights(
            "hub:timm/vit_base_patch16_dinov3.lvd1689m/model.safetensors",
            licence="DINOv3-License",
            pretraining="LVD-1689M, no labels, distilled from a ViT-7B",
            citation="Siméoni et al. 2025, arXiv:2508.10104",
            megabytes=343,
            gated=True,
            mirrors=(
                "https://dl.fbaipublicfiles.com/dinov3/dinov3_vitb16/dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth",
            ),
        ),
        build=_build,
        convert=_convert,
        describe=cls_and_tokens,
        pooled=gem_of_tokens,
    )
