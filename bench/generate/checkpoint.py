"""The state of a training on disk: whole or not there, and read without running anything in it."""

import pickle
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

from bench.errors import CheckpointError
from bench.files import write_atomic

NAME = "checkpoint.pt"


class Stateful(Protocol):
    """What torch and diffusers keep and restore in the same way: networks, averages, optimisers, schedules."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


def save(path: Path, step: int, parts: Mapping[str, Stateful]) -> None:
    """Keep the parts as they are after `step` steps. Raises OSError such as for a full disk."""
    state = {"step": step} | {name: part.state_dict() for name, part in parts.items()}
    write_atomic(path, partial(_write, state))


def load(path: Path, parts: Mapping[str, Stateful], device: str) -> int:
    """Restore the parts, and return after how many steps they were kept: 0, and nothing restored, without a file.

    Raises CheckpointError where the file is not whole or of other parts.
    """
    import torch

    if not path.is_file():
        return 0
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return int(state["step"])
    except (RuntimeError, KeyError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"the checkpoint {path} can't be read ({reason}): delete it, and the training begins again"
        ) from error


def _write(state: Mapping[str, Any], stream: IO[bytes]) -> None:
    import torch

    try:
        torch.save(state, stream)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):  # torch complains of the file it could not end
            raise error.__context__ from None
        raise
