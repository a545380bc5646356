"""Masked autoencoder (He et al., CVPR 2022)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backbones import _vit
from backbones._checkpoint import State, without
from backbones._torch import Describe, cls_and_tokens, named
from backbones._vit import BASE, vision_transformer
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor


def _mean(module: Any, batch: "Tensor") -> Descriptors:
    """The mean of the patch tokens after the final norm, and these tokens."""
    local = cls_and_tokens(module, batch).local
    assert local is not None
    return Descriptors(local.float().mean(1), local)


@dataclass(frozen=True)
class Trained:
    """An encoder that the authors published, and what describes an image."""

    arch: str
    embed_dim: int
    file: str
    megabytes: float
    describe: Describe = cls_and_tokens


_BASE = BASE, 768, "mae_pretrain_vit_base.pth", 343
_TRAINED = {
    "": Trained(*_BASE),
    "mean": Trained(*_BASE, _mean),
    "vitl16": Trained("vit_large_patch16_224", 1024, "mae_pretrain_vit_large.pth", 1213),
}


def _convert(state: State, module: Any) -> State:
    # the checkpoint of a whole training has the decoder too
    return without(_vit.convert(state, module), "mask_token", "decoder_")


@register_backbone(groups=("candidates",), variants=tuple(filter(None, _TRAINED)))
def mae(variant: str = "") -> Backbone:
    """MAE ViT-B/16, 768-d; the class token, as in the authors' linear probe.

    mean is the mean of the patch tokens instead, since no loss ever trained the class token; vitl16 is ViT-L/16.
    """
    trained = _TRAINED[variant]
    return vision_transformer(
        named("mae", variant),
        Preprocess(),
        Weights(
            f"hub:timm/{trained.arch}.mae/model.safetensors",
            licence="CC-BY-NC-4.0",
            pretraining="ImageNet-1k, no labels",
            citation="He et al., CVPR 2022, arXiv:2111.06377",
            mirrors=(f"https://dl.fbaipublicfiles.com/mae/pretrain/{trained.file}",),
            megabytes=trained.megabytes,
        ),
        trained.arch,
        trained.embed_dim,
        convert=_convert,
        describe=trained.describe,
    )
