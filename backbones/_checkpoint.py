"""Checkpoints of torch modules: read without running code, cut to what a module needs, loaded strictly."""

import re
import warnings
import zipfile
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

    Raises CheckpointError for anything else: a TorchScript archive, a pickle with code, a web page, a part of a file.
    """
    import pickle

    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise CheckpointError(
                f"{path} is not a safetensors file ({why_unreadable(path, error)}): download it again"
            ) from error
    import torch

    try:
        # torch also warns of what it then refuses
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(_harmless()):
            state: State = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} is not a checkpoint without code ({why_unreadable(path, error)}): download it again"
        ) from error
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not parameters by name: it is another file")
    return state


def _harmless() -> list[Any]:
    """What training checkpoints hold beside tensors: settings, and numbers of numpy's under its old and new names."""
    import argparse

    import numpy as np
    from numpy._core.multiarray import scalar

    numbers = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.bool_)]
    return [argparse.Namespace, scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *numbers]


def why_unreadable(path: Path, error: Exception) -> str:
    """Why a file can't be read, in a few words."""
    with path.open("rb") as stream:
        start = stream.read(256).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        return "it is a web page"
    if start.startswith(b"pk") and not zipfile.is_zipfile(path):
        return "it is cut short"
    told = str(error) or type(error).__name__
    if "TorchScript" in told:
        return "it is a TorchScript program"
    if called := re.search(r"GLOBAL (\S+) was not", told):
        return f"it calls {called[1]}"
    return told.splitlines()[0].partition(". ")[0]


def load_strictly(module: "nn.Module", state: State, path: Path) -> None:
    """Load a state that must fit exactly. Raises CheckpointError listing the keys that do not fit."""
    own = module.state_dict()
    problems = {
        # batch counters came with torch 0.4.1 and decide nothing here; older checkpoints lack them
        "lacks": [key for key in own if key not in state and not key.endswith("num_batches_tracked")],
        "has unknown": [key for key in state if key not in own],
        "has of another shape": [
            f"{key} ({_shape(state[key])}, not {_shape(own[key])})"
            for key in own
            if key in state and _shape(state[key]) != _shape(own[key])
        ],
    }
    told = "; ".join(
        f"{what} {', '.join(map(str, keys[:MOST_NAMED_KEYS]))}"
        + (f" and {more} more" if (more := len(keys) - MOST_NAMED_KEYS) > 0 else "")
        for what, keys in problems.items()
        if keys
    )
    if told:
        raise CheckpointError(f"the checkpoint {path} does not fit the architecture: it {told}")
    module.load_state_dict(dict(state), strict=True)


def _shape(value: Any) -> str:
    return " x ".join(map(str, value.shape)) or "one number" if hasattr(value, "shape") else type(value).__name__


def entry(state: State, key: str) -> Any:
    """What a checkpoint holds under a key. Raises KeyError, saying what it holds instead."""
    if key not in state:
        raise KeyError(f"it has no '{key}', but {', '.join(map(str, list(state)[:MOST_NAMED_KEYS]))}")
    return state[key]


def nested(state: State, key: str) -> State:
    """The state inside a training checkpoint such as {"epoch": ..., "state_dict": ...}. Raises KeyError."""
    return dict(entry(state, key))


def without(state: State, *prefixes: str) -> dict[str, "Tensor"]:
    """The entries whose key starts with none of the prefixes: classifiers, projectors, momentum copies."""
    return {key: value for key, value in state.items() if not key.startswith(prefixes)}


def under(state: State, prefix: str) -> dict[str, "Tensor"]:
    """The entries below a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
