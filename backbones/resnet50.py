"""ResNet-50 (He et al., CVPR 2016), supervised."""

from dataclasses import dataclass
from typing import Any

from backbones import _resnet
from backbones._checkpoint import State, without
from backbones._torch import named
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone


@dataclass(frozen=True)
class Trained:
    """A training recipe: timm's tag of it, and the file of those who trained it, which timm's is a copy of."""

    tag: str
    licence: str
    citation: str
    mirror: str
    preprocess: Preprocess
    sha256: str | None = None


_TRAINED = {
    "": Trained(
        "tv_in1k",
        "BSD-3-Clause",
        "He et al., CVPR 2016, arXiv:1512.03385",
        "https://download.pytorch.org/models/resnet50-0676ba61.pth",
        Preprocess(interpolation="bilinear"),
        "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888",
    ),
    "a1": Trained(
        "a1_in1k",
        "Apache-2.0",
        "Wightman, Touvron and Jegou 2021, arXiv:2110.00476",
        "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-rsb-weights/"
        "resnet50_a1_0-14fe96d1.pth",
        Preprocess(size=235),  # crop ratio 0.95 at 224 pixels, as in the paper
        "773525d5821de224f8f30c33377b7a795d7863e08522698200d3217d3f2a41bb",
    ),
    "tv2": Trained(
        "tv2_in1k",
        "BSD-3-Clause",
        "He et al., CVPR 2016, arXiv:1512.03385; recipe: Vryniotis 2021, PyTorch blog",
        "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
        Preprocess(size=232, interpolation="bilinear"),
    ),
}


def _convert(state: State, module: Any) -> State:
    return without(state, "fc.")


@register_backbone(groups=("candidates",), variants=tuple(filter(None, _TRAINED)))
def resnet50(variant: str = "") -> Backbone:
    """Supervised ResNet-50, 2048-d, torchvision's first recipe (IMAGENET1K_V1).

    a1 is the recipe A1 of "ResNet strikes back"; tv2 is torchvision's second recipe (IMAGENET1K_V2). Each has the
    preprocessing that its authors evaluate it with at 224 pixels.
    """
    trained = _TRAINED[variant]
    weights = Weights(
        f"hub:timm/resnet50.{trained.tag}/model.safetensors",
        licence=trained.licence,
        pretraining="ImageNet-1k, labels",
        sha256=trained.sha256,
        citation=trained.citation,
        mirrors=(trained.mirror,),
        megabytes=102,
    )
    return _resnet.resnet50(named("resnet50", variant), trained.preprocess, weights, _convert)
