"""Any image encoder in a TorchScript file. It is a program, so the user has to allow it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbones._options import IMAGE_OPTIONS, OwnOptions, beside, blank, preprocess
from backbones._script import ScriptBackbone, output_of_script
from bench.errors import CheckpointError
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class AnyScript(OwnOptions, ScriptBackbone):
    """A TorchScript file, with what is said of it in options."""

    OWN = IMAGE_OPTIONS

    options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    def told(self, name: str, options: Mapping[str, Any]) -> "AnyScript":
        return replace(self, name=name, options={**self.options, **options})

    def settled(self, weights_file: Path | None) -> Backbone:
        if weights_file is None:
            raise CheckpointError(f"{self.name} has no architecture without its file: leave out --weights random")
        import torch

        prepared = preprocess(self.options, None, False, weights_file)
        try:
            with torch.inference_mode():
                found = self.load("cpu", weights_file).describe(blank(prepared))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise CheckpointError(
                f"{weights_file} does not run on a float32 batch {list(blank(prepared).shape)} ({reason}): "
                "correct its options, or export it for such a batch"
            ) from error
        return replace(self, embed_dim=found.global_.shape[1], preprocess=prepared)


def _no_architecture() -> "nn.Module":
    raise CheckpointError("a TorchScript file has no architecture without its file: leave out --weights random")


@register_backbone(groups=(), argument="FILE")
def torchscript(file: str) -> Backbone:
    """An image encoder in a TorchScript file, from a float32 batch [B, 3, H, W] to one vector an image, [B, D].

    Options, also in a TOML file of the same name (model.toml beside model.pt; what is in brackets wins): size (needed),
    resize=squash|short|letterbox, crop, interpolation=bilinear|bicubic, mean, std. Without them the shape is not kept,
    bilinear, with ImageNet's mean and deviation (raw values of 0..255 are mean=0,std=0.00392156862745098). In brackets
    only: precision, multiscale, compile.
    """
    path = Path(file)
    return AnyScript(
        name=f"torchscript:{path.name}",
        arch="TorchScript program",
        embed_dim=None,
        preprocess=Preprocess(),
        weights=Weights(f"file:{file}", licence="", pretraining="unknown", carries_code=True),
        build=_no_architecture,
        describe=output_of_script,
        options=beside(path, IMAGE_OPTIONS),
    )
