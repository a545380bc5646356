"""Any image encoder in a repository of the Hugging Face hub, or in a folder of that form."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbones._options import OwnOptions
from backbones._timm import Recipe, timm_backbone
from backbones._torch import TorchBackbone
from backbones._transformers import transformers_backbone
from bench.errors import CheckpointError, UsageError
from bench.files import sha256_file
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

FILES = ("model.safetensors", "pytorch_model.bin")
COMPANIONS = ("config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class HfBackbone(OwnOptions):
    """A repository whose files were not looked at yet; `settled` gives the backbone that they make."""

    OWN = ("pool",)

    pool: str | None = field(default=None, kw_only=True)

    def told(self, name: str, options: Mapping[str, Any]) -> "HfBackbone":
        return replace(self, name=name, **options)

    def settled(self, weights_file: Path | None) -> Backbone:
        folder = self._folder(weights_file)
        if self._is_of_timm(folder):
            made: TorchBackbone = self._of_timm(folder)
        else:
            made = transformers_backbone(self.name, folder, weights_file, self.weights, self.pool)
        return replace(
            made,
            # what the configuration says decides the output as the weights do
            arch=f"{made.arch}, configuration {sha256_file(folder / 'config.json')[:8]}",
            precision=self.precision,
            multiscale=self.multiscale,
            compiled=self.compiled,
        )

    def _folder(self, weights_file: Path | None) -> Path:
        """Where config.json lies: beside the weights."""
        if weights_file is None and not self.weights.source.startswith("file:"):
            raise CheckpointError(f"{self.name} has no architecture without its files: leave out --weights random")
        return (weights_file or Path(self.weights.source.removeprefix("file:"))).parent

    def _is_of_timm(self, folder: Path) -> bool:
        file = folder / "config.json"
        if not file.is_file():
            raise CheckpointError(f"there is no {file}, which tells the architecture: bring it from the repository")
        try:
            return "architecture" in json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{file} can't be read as JSON ({error}): download it again") from error

    def _of_timm(self, folder: Path) -> TorchBackbone:
        from timm.models._hub import load_model_config_from_path

        if self.pool:
            raise CheckpointError(f"{self.name} is a model of timm, which has no option pool: leave it out")
        try:
            cfg, arch, options = load_model_config_from_path(folder)
            return timm_backbone(self.name, Recipe(arch, {"architecture": arch, **cfg}, True, options), self.weights)
        except (UsageError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{folder / 'config.json'} is of no model of timm's ({error})") from error


def _build() -> "nn.Module":
    raise AssertionError("a repository is settled before it is loaded")


def _describe(module: Any, batch: "Tensor") -> Descriptors:
    raise AssertionError("a repository is settled before it is loaded")


@register_backbone(groups=(), argument="OWNER/REPO")
def hf(place: str) -> Backbone:
    """An image encoder of the Hugging Face hub, or of a folder of that form: hf:OWNER/REPO, hf:FOLDER.

    config.json beside the weights tells what it is: a model of timm, described as `timm:` does, or one of transformers.
    Of the latter the global descriptor is, in this order: of two towers (CLIP, SigLIP) the image's embedding in the
    space shared with text; the model's own pooling (`pooler_output`), if it has one and the file has its parameters;
    the class token; the mean of the patch tokens. Local: the patch tokens or the cells of the last map. Code in a
    repository is never run, and weights are one file, model.safetensors or pytorch_model.bin.

    Options: pool=pooler|cls|mean (not of timm's), precision, multiscale, compile.
    """
    folder = Path(place)
    if folder.is_dir():
        file = next((folder / name for name in FILES if (folder / name).is_file()), None)
        if file is None:
            raise UsageError(
                f"the folder {folder} holds neither {' nor '.join(FILES)}: give one that save_pretrained wrote"
            )
        name, weights = folder.resolve().name, Weights(f"file:{file}", licence="", pretraining="unknown")
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", place):
        sources = [f"hub:{place}/{name}" for name in FILES]
        name, weights = (
            place,
            Weights(sources[0], licence="", pretraining="unknown", mirrors=tuple(sources[1:]), companions=COMPANIONS),
        )
    else:
        raise UsageError(f"there is no folder {place}, and it is not a repository's OWNER/REPO: correct hf:{place}")
    return HfBackbone(
        f"hf:{name}", "Hugging Face repository", None, Preprocess(), weights, build=_build, describe=_describe
    )
