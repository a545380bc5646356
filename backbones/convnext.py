"""ConvNeXt-B (Liu et al., CVPR 2022): supervised, matched with captions, or distilled from DINOv3."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State, without
from backbones._torch import TorchBackbone, gem_of_local, named, timm_module
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor

LAION = "Schuhmann et al., NeurIPS 2022, arXiv:2210.08402"


@dataclass(frozen=True)
class Trained:
    """One checkpoint. projection: the dimension of the space shared with captions, or 0 where there is none."""

    weights: Weights
    preprocess: Preprocess
    projection: int = 0


def _clip(tag: str, authors: str) -> Trained:
    weights = Weights(
        f"hub:timm/convnext_base.{tag}/model.safetensors",
        licence="Apache-2.0",
        pretraining="LAION-2B, image-caption pairs",
        citation=LAION,
        megabytes=353,
        mirrors=(f"hub:laion/{authors}/open_clip_pytorch_model.bin",),
    )
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    return Trained(weights, Preprocess(size=256, crop=256, mean=mean, std=std), projection=640)


_TRAINED = {
    "": Trained(
        Weights(
            "hub:timm/convnext_base.fb_in1k/model.safetensors",
            licence="Apache-2.0",  # of the hub's file; the authors' repository is under MIT
            pretraining="ImageNet-1k, labels",
            citation="Liu et al., CVPR 2022, arXiv:2201.03545",
            megabytes=354,
            mirrors=("https://dl.fbaipublicfiles.com/convnext/convnext_base_1k_224_ema.pth",),
        ),
        Preprocess(),
    ),
    "clip_laion2b": _clip("clip_laion2b", "CLIP-convnext_base_w-laion2B-s13B-b82K"),
    "clip_laion2b_augreg": _clip("clip_laion2b_augreg", "CLIP-convnext_base_w-laion2B-s13B-b82K-augreg"),
    "dinov3_lvd1689m": Trained(
        Weights(
            "hub:timm/convnext_base.dinov3_lvd1689m/model.safetensors",
            licence="DINOv3-License",
            pretraining="LVD-1689M, no labels, distilled from a ViT-7B",
            citation="Siméoni et al. 2025, arXiv:2508.10104",
            megabytes=350,
            gated=True,
        ),
        Preprocess(size=256, crop=256),
    ),
}


def _convert(state: State, module: Any) -> State:
    from timm.models.convnext import checkpoint_filter_fn

    converted: State = checkpoint_filter_fn(dict(state), module)  # type: ignore[no-untyped-call]
    return converted if module.num_classes else without(converted, "head.fc.")


def _describe(module: Any, batch: "Tensor") -> Descriptors:
    """The normalised mean of the last map, projected where there is a projection; local: its normalised cells."""
    features = module.forward_features(batch)
    return Descriptors(module.forward_head(features), module.head.norm(features).flatten(2).transpose(1, 2))


@register_backbone(groups=("extras",), variants=tuple(filter(None, _TRAINED)))
def convnext(variant: str = "") -> Backbone:
    """ConvNeXt-B supervised on ImageNet-1k, 1024-d; of the CLIP variants the projection, 640-d."""
    chosen = _TRAINED[variant]
    return TorchBackbone(
        name=named("convnext", variant),
        arch="convnext_base",
        embed_dim=chosen.projection or 1024,
        preprocess=chosen.preprocess,
        weights=chosen.weights,
        build=timm_module("convnext_base", num_classes=chosen.projection),
        convert=_convert,
        describe=_describe,
        # the cells are not projected, so they pool to a descriptor of the same dimension only without a projection
        pooled=None if chosen.projection else partial(gem_of_local, _describe),
    )
