"""Models of timm as backbones, by timm's own configuration of their weights."""

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State
from backbones._library import REFUSALS, LibraryBackbone, in_short
from backbones._options import OwnOptions
from backbones._torch import gem_of_local, whole_patches
from bench.errors import UsageError
from bench.interfaces import Descriptors, Preprocess, Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Where weights may come from; timm downloads from the first that it is left.
_SOURCES = ("source", "file", "url", "hf_hub_id", "hf_hub_filename")


@dataclass(frozen=True)
class Recipe:
    """How timm builds a model.

    name: ARCHITECTURE or ARCHITECTURE.TAG. cfg: its configuration, as timm.models.PretrainedCfg has it; given: whether
    timm does not have it under the name. options: of the architecture.
    """

    name: str
    cfg: Mapping[str, Any]
    given: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, state: State | None = None) -> "nn.Module":
        """The module without its classifier, from a checkpoint's state or else with initial parameters.

        timm converts the checkpoint and loads it with the classifier that it was trained with, so that every key counts
        (but for the few architectures whose files timm itself takes with gaps: convnext fcmae, davit fl, siglip gap,
        dla, mobilenetv5).
        """
        import timm

        module: Any = timm.create_model(
            self.name,
            pretrained=state is not None,
            pretrained_cfg=dict(self.cfg) if self.given else None,
            pretrained_cfg_overlay={"state_dict": state, **dict.fromkeys(_SOURCES)},
            **self.options,
        )
        module.pretrained_cfg.pop("state_dict", None)  # a second copy of the parameters
        module.reset_classifier(0)
        built: nn.Module = module
        return built

    def on_paper(self) -> "nn.Module":
        """The module without memory for its parameters: shapes can be computed with it. Raises UsageError."""
        import torch

        try:
            with torch.device("meta"):
                return self.build().eval()
        except REFUSALS as error:
            raise UsageError(f"timm builds no image encoder {self.name} ({in_short(error)}): choose another") from error

    def sized(self, img_size: int | None) -> "Recipe":
        """For images of another size, and of any size where the architecture can."""
        accepted = inspect.signature(type(self.on_paper()).__init__).parameters
        options = dict(self.options)
        if "dynamic_img_size" in accepted:
            options["dynamic_img_size"] = True
        if img_size and ("img_size" in accepted or self.cfg.get("fixed_input_size")):
            options["img_size"] = img_size
        return replace(self, options=options)

    def shapes(self, side: int) -> tuple[int, int | None]:
        """The dimensions of the global and of the local descriptors of images of `side` pixels. Raises UsageError."""
        import torch

        try:
            with torch.inference_mode():
                found = describe(self.on_paper(), torch.empty(1, 3, side, side, device="meta"))
        except (*REFUSALS, NotImplementedError) as error:
            raise UsageError(f"timm's {self.name} describes no image of {side} pixels ({in_short(error)})") from error
        return found.global_.shape[1], None if found.local is None else found.local.shape[2]


@dataclass(frozen=True)
class TimmBackbone(OwnOptions, LibraryBackbone):
    """A model of timm. Options: img_size=PIXELS, and those of every torch module."""

    OWN = ("img_size",)

    recipe: Recipe = field(kw_only=True)

    def told(self, name: str, options: Mapping[str, Any]) -> "TimmBackbone":
        return timm_backbone(name, self.recipe, self.weights, options["img_size"])


def timm_backbone(name: str, recipe: Recipe, weights: Weights, img_size: int | None = None) -> TimmBackbone:
    """The backbone of a recipe: global descriptors are what the classifier would see.

    Raises UsageError where the model gives none.
    """
    prepared = preprocess(recipe.cfg, img_size)
    recipe = recipe.sized(img_size)
    side = prepared.crop or prepared.size
    assert side is not None
    embed_dim, cell_dim = recipe.shapes(side)
    return TimmBackbone(
        name=name,
        arch=recipe.name.partition(".")[0],
        embed_dim=embed_dim,
        preprocess=prepared,
        weights=weights,
        build=recipe.build,
        assemble=recipe.build,
        describe=describe,
        # cells of another dimension are not what the global descriptor is pooled of
        pooled=partial(gem_of_local, describe) if cell_dim == embed_dim else None,
        recipe=recipe,
    )


def describe(module: Any, batch: "Tensor") -> Descriptors:
    """The input of the classifier, and the last map's cells or the tokens, where it is clear which they are."""
    if getattr(module, "dynamic_img_size", False):
        batch = whole_patches(module, batch)
    features = module.forward_features(batch)
    return Descriptors(module.forward_head(features, pre_logits=True), _local(module, features))


def _local(module: Any, features: Any) -> "Tensor | None":
    """[B, T, d] of the features, without class and register tokens; None for several maps, or one token alone."""
    local: Tensor | None = None
    if isinstance(features, (list, tuple)) or features.ndim not in (3, 4):
        return local
    if features.ndim == 4:
        channels_last = getattr(module, "output_fmt", "NCHW") == "NHWC"
        local = features.flatten(1, 2) if channels_last else features.flatten(2).transpose(1, 2)
        return local
    tokens = features.shape[1]
    # models that do not tell have patches of squares alone, or a class token that may be anywhere
    prefix = getattr(module, "num_prefix_tokens", 0 if tokens == math.isqrt(tokens) ** 2 else None)
    if prefix is not None and tokens > 1:
        local = features[:, prefix:]
    return local


def preprocess(cfg: Mapping[str, Any], img_size: int | None = None) -> Preprocess:
    """timm's own preprocessing for evaluation (timm.data.create_transform), at the size that the model is trained at.

    The crop's share stays the same at another `img_size`. Raises UsageError for what is not a square of three channels.
    """
    from timm.data.config import resolve_data_config

    data = resolve_data_config({"img_size": img_size}, pretrained_cfg=dict(cfg))  # type: ignore[no-untyped-call]
    channels, height, width = data["input_size"]
    name = cfg.get("architecture")
    if channels != 3 or height != width:
        raise UsageError(f"timm's {name} reads {channels} x {height} x {width}: only colour squares can be made")
    if data["interpolation"] not in ("bilinear", "bicubic"):
        raise UsageError(
            f"timm's {name} asks for {data['interpolation']} interpolation: only bilinear and bicubic are made"
        )
    size = math.floor(height / data["crop_pct"])
    # "border" pads with the mean
    resize = {"squash": "squash", "border": "letterbox"}.get(data["crop_mode"], "short")
    crop = None if resize != "short" and size == height else height
    mean, std = tuple(data["mean"]), tuple(data["std"])
    return Preprocess(resize, size, crop, data["interpolation"], mean, std)  # type: ignore[arg-type]
