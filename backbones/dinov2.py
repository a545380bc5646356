"""DINOv2 (Oquab et al., TMLR 2024; with registers Darcet et al., ICLR 2024): self-distillation without labels."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State, without
from backbones._torch import Describe, cls_and_tokens, gem_of_local, named, whole_patches
from backbones._vit import vision_transformer
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor

#: Side of the grid of patches of the positional embedding: 518 px / 14 px.
GRID = 37
#: Added by the authors to the side of the wanted grid: their models without registers resample to a scale.
OFFSET = 0.1
PRETRAINING = "LVD-142M, no labels, gathered by likeness to public sets: may hold a benchmark's images"


def _convert(state: State, module: Any) -> State:
    """From timm's checkpoint or the authors'; the position of the class token is added to it once and for all."""
    kept = without(state, "mask_token", "register_tokens")
    if "register_tokens" in state:
        kept["reg_token"] = state["register_tokens"]
    if kept["pos_embed"].shape[1] == 1 + GRID**2:
        kept["cls_token"] = kept["cls_token"] + kept["pos_embed"][:, :1]
        kept["pos_embed"] = kept["pos_embed"][:, 1:]
    return kept


def _positions(embedding: "Tensor", rows: int, columns: int) -> "Tensor":
    """The positional embedding [1, 37 * 37, d] resampled to [1, rows * columns, d] as the authors do it.

    Source: `interpolate_pos_encoding` of their vision transformer, with the options of their published models.
    """
    from torch.nn.functional import interpolate

    if rows == columns == GRID:
        return embedding
    scale = (rows + OFFSET) / GRID, (columns + OFFSET) / GRID
    grid = embedding.reshape(1, GRID, GRID, -1).permute(0, 3, 1, 2)
    return interpolate(grid, scale_factor=scale, mode="bicubic").flatten(2).transpose(1, 2)


def _describe(module: Any, batch: "Tensor") -> Descriptors:
    """The class token and the patch tokens after the final norm."""
    import torch

    patches = module.patch_embed(whole_patches(module, batch))  # [B, rows, columns, d]
    placed = patches.flatten(1, 2) + _positions(module.pos_embed, *patches.shape[1:3])
    tokens = module.norm(module.blocks(torch.cat([module.cls_token.expand(len(batch), -1, -1), placed], 1)))
    return Descriptors(tokens[:, 0], tokens[:, 1:])


@dataclass(frozen=True)
class Trained:
    """A model. arch: timm's name. file: the authors', below their address."""

    arch: str
    file: str
    embed_dim: int
    megabytes: float
    sha256: str | None = None
    describe: Describe = _describe


_TRAINED = {
    "": Trained(
        "vit_base_patch14_dinov2",
        "dinov2_vitb14/dinov2_vitb14_pretrain.pth",
        768,
        346,
        "55cbb5d887b336d430e649c277b85a1429e724871f9d02ac16203235886d8c7b",
    ),
    "vits14": Trained("vit_small_patch14_dinov2", "dinov2_vits14/dinov2_vits14_pretrain.pth", 384, 88),
    "vitl14": Trained("vit_large_patch14_dinov2", "dinov2_vitl14/dinov2_vitl14_pretrain.pth", 1024, 1217),
    "vitb14_reg": Trained(
        "vit_base_patch14_reg4_dinov2",
        "dinov2_vitb14/dinov2_vitb14_reg4_pretrain.pth",
        768,
        346,
        # the models with registers resample to a size and with antialiasing, which is timm's way too
        describe=cls_and_tokens,
    ),
}


@register_backbone(groups=("extras",), variants=tuple(filter(None, _TRAINED)))
def dinov2(variant: str = "") -> Backbone:
    """DINOv2 ViT-B/14 at 224 px, as in the authors' classification; its positional embedding is that of 518 px.

    Contamination: LVD-142M was gathered from the web by retrieving what resembles images of public data sets, so images
    of a benchmark, or copies of them, may be among those it learnt from.
    """
    chosen = _TRAINED[variant]
    return vision_transformer(
        named("dinov2", variant),
        Preprocess(),
        Weights(
            f"hub:timm/{chosen.arch}.lvd142m/model.safetensors",
            licence="Apache-2.0",
            pretraining=PRETRAINING,
            citation="Oquab et al., TMLR 2024, arXiv:2304.07193",
            megabytes=chosen.megabytes,
            sha256=chosen.sha256,
            mirrors=(f"https://dl.fbaipublicfiles.com/dinov2/{chosen.file}",),
        ),
        chosen.arch,
        chosen.embed_dim,
        convert=_convert,
        describe=chosen.describe,
        pooled=partial(gem_of_local, chosen.describe),
        no_embed_class=True,
    )
