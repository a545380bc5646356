"""DINO (Caron et al., ICCV 2021): self-distillation without labels."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from backbones._resnet import resnet50
from backbones._torch import Describe, gem, gem_of_local, named, whole_patches
from backbones._vit import BASE, vision_transformer
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor

COPY_DETECTION_P = 4.0


@dataclass(frozen=True)
class Trained:
    """A transformer that the authors published, in timm's architecture and under their own folder's name."""

    arch: str
    embed_dim: int
    folder: str
    megabytes: float
    sha256: str | None = None

    @property
    def weights(self) -> Weights:
        return Weights(
            f"hub:timm/{self.arch}.dino/model.safetensors",
            licence="Apache-2.0",
            pretraining="ImageNet-1k, no labels",
            sha256=self.sha256,
            citation=CITATION,
            mirrors=(f"https://dl.fbaipublicfiles.com/dino/{self.folder}/{self.folder}.pth",),
            megabytes=self.megabytes,
        )


CITATION = "Caron et al., ICCV 2021, arXiv:2104.14294"
VITB16 = Trained(
    BASE, 768, "dino_vitbase16_pretrain", 343, "93181583427d6de3e18ab0e6ee4df35736cfc51a3c1bf9ae0e9b53b1316598dc"
)
TRANSFORMERS = {
    "": VITB16,
    "vits16": Trained("vit_small_patch16_224", 384, "dino_deitsmall16_pretrain", 86.7),
    "vitb8": Trained("vit_base_patch8_224", 768, "dino_vitbase8_pretrain", 343.2),
    "vits8": Trained("vit_small_patch8_224", 384, "dino_deitsmall8_pretrain", 86.7),
}


def _cls(module: Any, batch: "Tensor") -> Descriptors:
    """The class token after the final norm, and the patch tokens, with the authors' positions for any image size."""
    import torch

    cells = module.patch_embed(whole_patches(module, batch)).flatten(1, 2)
    tokens = torch.cat([module.cls_token.expand(len(batch), -1, -1), cells], 1)
    tokens = module.norm(module.blocks(tokens + _positions(module, *batch.shape[-2:])))
    return Descriptors(tokens[:, 0], tokens[:, 1:])


def _positions(module: Any, height: int, width: int) -> "Tensor":
    """The positional embedding for an image of height x width pixels.

    As the authors interpolate it, which timm does otherwise: bicubic without antialiasing, and by a scale that is a
    tenth of a patch larger than the grid's, against rounding errors.
    """
    import torch
    from torch.nn.functional import interpolate

    rows, columns = module.patch_embed.grid_size
    patch = module.patch_embed.patch_size[0]
    if height == width and height // patch == rows:
        trained: Tensor = module.pos_embed
        return trained
    scale = (height // patch + 0.1) / rows, (width // patch + 0.1) / columns
    grid = module.pos_embed[:, 1:].unflatten(1, (rows, columns)).permute(0, 3, 1, 2)
    grid = interpolate(grid, scale_factor=scale, mode="bicubic")
    return torch.cat([module.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], 1)


def _cls_and_gem(p: float) -> Describe:
    """The class token followed by the generalised mean of the patch tokens."""

    def describe(module: Any, batch: "Tensor") -> Descriptors:
        import torch

        found = _cls(module, batch)
        assert found.local is not None
        return Descriptors(torch.cat([found.global_, gem(found.local, p)], 1), found.local)

    return describe


def _transformer(variant: str) -> Backbone:
    trained = TRANSFORMERS[variant]
    return vision_transformer(
        named("dino", variant),
        Preprocess(),
        trained.weights,
        trained.arch,
        trained.embed_dim,
        describe=_cls,
        pooled=partial(gem_of_local, _cls),
    )


def _resnet(variant: str) -> Backbone:
    weights = Weights(
        "https://dl.fbaipublicfiles.com/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth",
        licence="Apache-2.0",
        pretraining="ImageNet-1k, no labels",
        citation=CITATION,
        megabytes=94.3,
    )
    return resnet50(named("dino", variant), Preprocess(), weights)


def _copy_detection(variant: str) -> Backbone:
    return vision_transformer(
        named("dino", variant),
        Preprocess(resize="squash", size=320, crop=None),
        VITB16.weights,
        embed_dim=2 * VITB16.embed_dim,
        describe=_cls_and_gem(COPY_DETECTION_P),
        pooled=_cls_and_gem,
    )


_MAKERS = dict.fromkeys(TRANSFORMERS, _transformer) | {"resnet50": _resnet, "copydetection": _copy_detection}


@register_backbone(groups=("candidates", "winners"), variants=tuple(filter(None, _MAKERS)))
def dino(variant: str = "") -> Backbone:
    """DINO ViT-B/16, 768-d; vits16, vits8, vitb8 and resnet50 are the authors' other sizes.

    copydetection is their recipe for copy detection (eval_copy_detection.py) without its whitening, which is fitted on
    images: the class token followed by the generalised mean of the patch tokens, exponent 4, 1536-d, at 320 pixels.
    """
    return _MAKERS[variant](variant)
