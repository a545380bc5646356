"""SSCD (Pizzi et al., CVPR 2022): self-supervised copy detection."""

from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State
from backbones._torch import TorchBackbone, gem, timm_module
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

GEM_P = 3.0


def _build() -> "nn.Module":
    from torch import nn

    return nn.ModuleDict({"trunk": timm_module("resnet50")(), "projection": nn.Linear(2048, 512)})


def _convert(state: State, module: Any) -> State:
    # torchvision form: backbone.* with the projection where a ResNet has its classifier
    def rename(key: str) -> str:
        key = key.removeprefix("backbone.")
        return key.replace("fc.", "projection.", 1) if key.startswith("fc.") else f"trunk.{key}"

    return {rename(key): value for key, value in state.items()}


def _describe(module: Any, batch: "Tensor") -> Descriptors:
    from torch.nn.functional import normalize

    cells = module["trunk"].forward_features(batch).flatten(2).transpose(1, 2)
    return Descriptors(normalize(module["projection"](gem(cells, GEM_P))), cells)


@register_backbone(groups=("candidates",))
def sscd() -> Backbone:
    """SSCD ResNet-50 trained on ImageNet with mixup, 512-d; images keep their shape, short side 288."""
    return TorchBackbone(
        name="sscd",
        arch="resnet50",
        embed_dim=512,
        preprocess=Preprocess(size=288, crop=None, interpolation="bilinear"),
        weights=Weights(
            "https://dl.fbaipublicfiles.com/sscd-copy-detection/sscd_imagenet_mixup.torchvision.pt",
            licence="MIT",
            pretraining="ImageNet-1k, no labels",
        ),
        build=_build,
        convert=_convert,
        describe=_describe,
        channels_last=True,
    )
