"""Parts shared by the backbones that are torch modules: reading checkpoints safely, loading them strictly."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import CheckpointError
from bench.interfaces import Backbone, Descriptors, Model

if TYPE_CHECKING:
    from torch import Tensor, nn

State = Mapping[str, "Tensor"]
# Any, since timm's modules have methods (forward_features) that nn.Module does not declare
Describe = Callable[[Any, "Tensor"], Descriptors]
Convert = Callable[[State, Any], State]

MOST_NAMED_KEYS = 5


@dataclass(frozen=True)
class TorchBackbone(Backbone):
    """A torch module with its checkpoint's conversion.

    build: makes the module with initial parameters. convert: from the published checkpoint to the module's state,
    where they differ. describe: from the module and a float32 batch [B, 3, H, W] to descriptors.
    read: reads the file; the default refuses code. channels_last: memory layout, faster for convolutions.
    """

    build: Callable[[], "nn.Module"]
    describe: Describe
    convert: Convert = lambda state, module: state
    read: Callable[[Path], State] = lambda path: read_state(path)
    channels_last: bool = False

    def load(self, device: str, weights_file: Path | None) -> Model:
        module = self.build()
        if weights_file is not None:
            try:
                state = self.convert(self.read(weights_file), module)
            except (KeyError, RuntimeError, AttributeError, TypeError) as error:
                raise CheckpointError(
                    f"{weights_file} is not the checkpoint of {self.name} from {self.weights.source}: {error}"
                ) from error
            load_strictly(module, state, weights_file)
        return TorchModel(module.eval(), self.describe, device, self.channels_last)


class TorchModel:
    """A module on a device, and how its output is read."""

    def __init__(self, module: "nn.Module", describe: Describe, device: str, channels_last: bool) -> None:
        import torch

        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self.module = module.to(device, memory_format=self._layout)  # type: ignore[call-overload]
        self.n_parameters = sum(parameter.numel() for parameter in module.parameters())
        self._describe = describe
        self._device = device

    def describe(self, batch: "Tensor") -> Descriptors:
        return self._describe(self.module, batch.to(self._device, memory_format=self._layout))


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


def timm_module(arch: str, **options: Any) -> Callable[[], "nn.Module"]:
    """Builder of a timm architecture without a classifier; never downloads."""

    def build() -> "nn.Module":
        import timm

        module: nn.Module = timm.create_model(arch, pretrained=False, **{"num_classes": 0, **options})
        return module

    return build


def cls_and_tokens(module: Any, batch: "Tensor") -> Descriptors:
    """Of a vision transformer: the class token after the final norm, and the patch tokens."""
    tokens = module.forward_features(batch)
    return Descriptors(tokens[:, 0], tokens[:, 1:])


def mean_of_map(module: Any, batch: "Tensor") -> Descriptors:
    """Of a convolutional network: the mean over the last feature map [B, d, h, w], and its cells."""
    cells = module.forward_features(batch).flatten(2).transpose(1, 2)
    return Descriptors(cells.mean(1), cells)


def gem(cells: "Tensor", p: float) -> "Tensor":
    """Generalised mean over the cells of [B, T, d] (Radenovic et al. 2018): (mean x^p)^(1/p), x clamped to 1e-6."""
    return cells.clamp(min=1e-6).pow(p).mean(1).pow(1 / p)
