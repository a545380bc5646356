"""Checkpoints of torch modules: read without running code, cut to what a module needs, loaded strictly."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn

State = Mapping[str, "Tensor"]

MOST_NAMED_KEYS = 5


def read_state(path: Path) -> State:
    """The content of a .safetensors file or of a pickle without code.

    Raises CheckpointError for anything else: a TorchScript archive, a pickle with code, a web page.
    """
    import pickle

    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise CheckpointError(f"{path} is not a safetensors file ({error}): download it again") from error
    import torch

    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path} is not a checkpoint without code ({first_line}): download it again") from error
    return state


def load_strictly(module: "nn.Module", state: State, path: Path) -> None:
    """Load a state that must fit exactly. Raises CheckpointError listing the keys that do not fit."""
    own = module.state_dict()
    problems = {
        # batch counters came with torch 0.4.1 and decide nothing here; older checkpoints lack them
        "lacks": [key for key in own if key not in state and not key.endswith("num_batches_tracked")],
        "has unknown": [key for key in state if key not in own],
        "has of another shape": [key for key in own if key in state and own[key].shape != state[key].shape],
    }
    told = "; ".join(
        f"{what} {', '.join(keys[:MOST_NAMED_KEYS])}"
        + (f" and {more} more" if (more := len(keys) - MOST_NAMED_KEYS) > 0 else "")
        for what, keys in problems.items()
        if keys
    )
    if told:
        raise CheckpointError(f"the checkpoint {path} does not fit the architecture: it {told}")
    module.load_state_dict(dict(state), strict=True)


def nested(state: State, key: str) -> State:
    """The state inside a training checkpoint such as {"epoch": ..., "state_dict": ...}. Raises KeyError."""
    inner: Any = state[key]
    return dict(inner)


def without(state: State, *prefixes: str) -> dict[str, "Tensor"]:
    """The entries whose key starts with none of the prefixes: classifiers, projectors, momentum copies."""
    return {key: value for key, value in state.items() if not key.startswith(prefixes)}


def under(state: State, prefix: str) -> dict[str, "Tensor"]:
    """The entries below a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
