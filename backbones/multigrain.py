"""MultiGrain (Berman et al. 2019): one embedding for classes and instances."""

from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State, nested, under
from backbones._torch import TorchBackbone, gem, timm_module
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

INITIAL_P = 3.0


def _build() -> "nn.Module":
    import torch

    module = timm_module("resnet50")()
    module.register_buffer("gem_p", torch.tensor(INITIAL_P))
    return module


def _convert(state: State, module: Any) -> State:
    # {"model_state": ...} with features.*, pool.p and a classifier that is not used here
    trained = nested(state, "model_state")
    return {**under(trained, "features."), "gem_p": trained["pool.p"].reshape(())}


def _describe(module: Any, batch: "Tensor") -> Descriptors:
    cells = module.forward_features(batch).flatten(2).transpose(1, 2)
    return Descriptors(gem(cells, float(module.gem_p)), cells)


@register_backbone(groups=("candidates",))
def multigrain() -> Backbone:
    """MultiGrain ResNet-50, lambda 0.5, GeM with the trained exponent, not whitened."""
    return TorchBackbone(
        name="multigrain",
        arch="resnet50",
        embed_dim=2048,
        preprocess=Preprocess(interpolation="bilinear"),
        weights=Weights(
            "https://dl.fbaipublicfiles.com/multigrain/multigrain_models/joint_3B_0.5.pth",
            licence="CC-BY-NC-4.0",
            pretraining="ImageNet-1k, labels and instances",
        ),
        build=_build,
        convert=_convert,
        describe=_describe,
        channels_last=True,
    )
