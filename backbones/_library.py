"""Modules that a library makes of a checkpoint by its own conversion, where there is no code of this project."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backbones._checkpoint import State
from backbones._torch import TorchBackbone, TorchModel
from bench.errors import CheckpointError
from bench.interfaces import Model

if TYPE_CHECKING:
    from torch import nn

#: What libraries raise for a model, a configuration or a checkpoint that is not as it should be.
REFUSALS = (LookupError, RuntimeError, AttributeError, TypeError, ValueError, AssertionError)
LONGEST_REASON = 200


@dataclass(frozen=True)
class LibraryBackbone(TorchBackbone):
    """A torch module that a library makes. assemble: from a checkpoint's state; `build` makes it without one."""

    assemble: Callable[[State], "nn.Module"] = field(kw_only=True)

    def load(self, device: str, weights_file: Path | None) -> Model:
        if weights_file is None:
            return super().load(device, None)
        state = self.read(weights_file)
        try:
            module = self.assemble(state)
        except REFUSALS as error:
            raise CheckpointError(
                f"{weights_file} is not the checkpoint of {self.name} ({in_short(error)}): bring the file of its source"
            ) from error
        return TorchModel(module.eval(), self, device)


def in_short(error: Exception) -> str:
    """The start of an error's message, on one line."""
    told = " ".join((str(error) or type(error).__name__).split())
    return told if len(told) <= LONGEST_REASON else told[:LONGEST_REASON] + "..."
