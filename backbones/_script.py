"""TorchScript archives: a program with its weights inside, for models whose authors publish nothing else."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbones._checkpoint import why_unreadable
from backbones._torch import TorchBackbone, TorchModel
from bench.errors import CheckpointError
from bench.interfaces import Descriptors, Model

if TYPE_CHECKING:
    from torch import Tensor, nn


def read_script(path: Path, device: str = "cpu") -> "nn.Module":
    """The program of an archive; running it runs whatever code it holds, so its hash must be trusted before.

    Raises CheckpointError where the file is not a TorchScript archive.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, but this is the form that is published
        try:
            module: nn.Module = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise CheckpointError(
                f"{path} is not a TorchScript archive ({why_unreadable(path, error)}): "
                "make one by torch.jit.save, or download it again"
            ) from error
    return module


def output_of_script(module: Any, batch: "Tensor") -> Descriptors:
    """What the program says of a batch [B, 3, H, W], which must be one tensor [B, D]. Raises CheckpointError."""
    import torch

    output = module(batch)
    if not isinstance(output, torch.Tensor):
        raise CheckpointError(f"the TorchScript program gave a {type(output).__name__}, not one tensor [images, D]")
    if output.ndim != 2 or len(output) != len(batch) or not output.is_floating_point():
        raise CheckpointError(
            f"the TorchScript program gave {output.dtype} of shape {list(output.shape)} for {len(batch)} images, "
            "not floating-point [images, D]"
        )
    return Descriptors(output)


@dataclass(frozen=True)
class ScriptBackbone(TorchBackbone):
    """A backbone whose weights file is its program; `build` and `describe` are for random weights only."""

    def load(self, device: str, weights_file: Path | None) -> Model:
        if weights_file is None:
            return super().load(device, None)
        return TorchModel(read_script(weights_file, device).eval(), replace(self, describe=output_of_script), device)
