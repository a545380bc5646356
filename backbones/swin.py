"""Swin Transformer (Liu et al., ICCV 2021), supervised."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State, without
from backbones._torch import TorchBackbone, gem_of_local, named, timm_module, whole_patches
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

ARCH = "swin_base_patch4_window7_224"
_FROM_WINDOW = ("relative_position_index", "attn_mask")


@dataclass(frozen=True)
class Trained:
    """A training: timm's tag of it, what it saw, and the authors' own file."""

    tag: str
    pretraining: str
    file: str


_TRAINED = {
    "": Trained("ms_in1k", "ImageNet-1k, labels", f"{ARCH}.pth"),
    "in22k": Trained("ms_in22k_ft_in1k", "ImageNet-22k then 1k, labels", f"{ARCH}_22kto1k.pth"),
}


def _build() -> "nn.Module":
    module: Any = timm_module(ARCH, strict_img_size=False)()
    for stage in module.layers:
        for block in stage.blocks:
            block._attn = partial(_attend, block, block._attn)
    return module  # type: ignore[no-any-return]


def _attend(block: Any, attend: Callable[["Tensor"], "Tensor"], x: "Tensor") -> "Tensor":
    """Window attention over a map [B, H, W, d] of any size, as the authors do it for detection.

    The map is padded to whole windows before it is shifted, and is not shifted where one window covers it. timm shifts
    before it pads, which lets opposite borders see each other, and decides about the shift for 224 pixels only.
    """
    from torch.nn.functional import pad

    height, width = x.shape[1:3]
    rows, columns = block.window_size
    x = pad(x, (0, 0, 0, -width % columns, 0, -height % rows))
    sides = zip(x.shape[1:3], block.window_size, block.target_shift_size, strict=True)
    block.shift_size = tuple(shift if side > window else 0 for side, window, shift in sides)
    return attend(x)[:, :height, :width]


def _convert(state: State, module: Any) -> State:
    """From timm's or the authors' own checkpoint; a classifier and what follows from the window size are left out.

    Not by timm's own function: it resamples what does not fit, so that another network's checkpoint passes.
    """
    given: Any = state.get("model", state)
    trained = {k: v for k, v in without(given, "head.").items() if not k.endswith(_FROM_WINDOW)}
    if "layers.0.downsample.norm.weight" not in trained:
        return trained

    def rename(key: str) -> str:
        # the authors' stages end with the merging of patches that timm's begin with
        return re.sub(r"^layers\.(\d)\.downsample", lambda match: f"layers.{int(match[1]) + 1}.downsample", key)

    return {rename(key): value for key, value in trained.items()}


def _describe(module: Any, batch: "Tensor") -> Descriptors:
    cells = module.forward_features(whole_patches(module, batch)).flatten(1, 2)  # [B, 7, 7, 1024] after the norm
    return Descriptors(cells.mean(1), cells)


@register_backbone(groups=("candidates", "winners"), variants=tuple(filter(None, _TRAINED)))
def swin(variant: str = "") -> Backbone:
    """Swin-B, patch 4, window 7, trained on ImageNet-1k, 1024-d; in22k saw ImageNet-22k before."""
    trained = _TRAINED[variant]
    return TorchBackbone(
        name=named("swin", variant),
        arch=ARCH,
        embed_dim=1024,
        preprocess=Preprocess(),
        weights=Weights(
            f"hub:timm/{ARCH}.{trained.tag}/model.safetensors",
            licence="MIT",
            pretraining=trained.pretraining,
            citation="Liu et al., ICCV 2021, arXiv:2103.14030",
            mirrors=(f"https://github.com/SwinTransformer/storage/releases/download/v1.0.0/{trained.file}",),
            megabytes=353,
        ),
        build=_build,
        convert=_convert,
        describe=_describe,
        pooled=partial(gem_of_local, _describe),
    )
