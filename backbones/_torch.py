"""A torch module as a backbone: its checkpoint's conversion, the options all of them have, and pooling."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from backbones._checkpoint import State, load_strictly, read_state
from bench.errors import CheckpointError, UsageError
from bench.interfaces import Backbone, Descriptors, Model, Precision

if TYPE_CHECKING:
    from torch import Tensor, nn

# Any, since timm's modules have methods (forward_features) that nn.Module does not declare
Describe = Callable[[Any, "Tensor"], Descriptors]
Convert = Callable[[State, Any], State]

#: Of multi-scale descriptors: the sides of the image, relative (DINO's and many retrieval evaluations).
SCALES = (1.0, 2**-0.5, 0.5)
_CHOICES = {"precision": ("fp32", "bf16", "fp16"), "multiscale": ("no", "yes"), "compile": ("no", "yes")}


@dataclass(frozen=True)
class TorchBackbone(Backbone):
    """A torch module with its checkpoint's conversion.

    build: makes the module with initial parameters. convert: from the published checkpoint to the module's state,
    where they differ. describe: from the module and a float32 batch [B, 3, H, W] to descriptors. pooled: the same with
    generalised-mean pooling of an exponent, where there is such a descriptor.
    read: reads the file; the default refuses code. channels_last: memory layout, faster for convolutions.
    multiscale: the mean of the descriptors at SCALES. compiled: by torch.compile.

    Options: precision=fp32|bf16|fp16 (autocast), multiscale=yes, gem=EXPONENT, compile=yes, and OWN ones of a kind.
    """

    OWN: ClassVar[tuple[str, ...]] = ()

    build: Callable[[], "nn.Module"]
    describe: Describe
    convert: Convert = lambda state, module: state
    read: Callable[[Path], State] = lambda path: read_state(path)
    channels_last: bool = False
    pooled: Callable[[float], Describe] | None = None
    multiscale: bool = False
    compiled: bool = False

    def configured(self, options: Mapping[str, str]) -> Backbone:
        for key, value in options.items():
            if key in _CHOICES and value not in _CHOICES[key]:
                raise UsageError(f"the option {key} of {self.name} is {' or '.join(_CHOICES[key])}, not '{value}'")
        known = [*_CHOICES, *(["gem"] if self.pooled else [])]
        has = ", ".join([*self.OWN, *known])
        if unknown := [key for key in options if key not in known]:
            raise UsageError(f"the backbone '{self.name}' has no option '{unknown[0]}': it has {has}")
        precision: Precision = options.get("precision", "fp32")  # type: ignore[assignment]
        shown = {key: options[key] for key in known if key in options and options[key] not in ("fp32", "no")}
        return replace(
            self,
            name=self.name + (f"[{','.join(f'{key}={value}' for key, value in shown.items())}]" if shown else ""),
            precision=precision,
            multiscale=options.get("multiscale") == "yes",
            compiled=options.get("compile") == "yes",
            describe=self.pooled(_exponent(options["gem"])) if self.pooled and "gem" in options else self.describe,
        )

    def load(self, device: str, weights_file: Path | None) -> Model:
        module = self.build()
        if weights_file is not None:
            try:
                state = self.convert(self.read(weights_file), module)
            except (LookupError, RuntimeError, AttributeError, TypeError, ValueError) as error:
                reason = error.args[0] if isinstance(error, KeyError) else error  # its str adds quotes
                raise CheckpointError(
                    f"{weights_file} is not the checkpoint of {self.name} from {self.weights.source}: {reason}"
                ) from error
            load_strictly(module, state, weights_file)
        return TorchModel(module.eval(), self, device)


class TorchModel:
    """A backbone's module on a device, and how its output is read."""

    def __init__(self, module: "nn.Module", backbone: TorchBackbone, device: str) -> None:
        import torch

        self._layout = torch.channels_last if backbone.channels_last else torch.contiguous_format
        self.module = module.to(device, memory_format=self._layout)  # type: ignore[call-overload]
        self.n_parameters = sum(parameter.numel() for parameter in module.parameters())
        self._describe = torch.compile(backbone.describe) if backbone.compiled else backbone.describe
        self._scales = SCALES if backbone.multiscale else SCALES[:1]
        self._device = device
        self._reduced = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(backbone.precision)

    def describe(self, batch: "Tensor") -> Descriptors:
        """Descriptors of a batch; of several scales the mean of the global ones, and the local ones of the first."""
        import torch

        batch = batch.to(self._device, memory_format=self._layout)
        with torch.autocast(self._device.partition(":")[0], self._reduced, enabled=self._reduced is not None):
            found = [self._describe(self.module, _scaled(batch, scale)) for scale in self._scales]
        local = found[0].local
        return Descriptors(
            torch.stack([f.global_.float() for f in found]).mean(0), None if local is None else local.float()
        )


def _scaled(batch: "Tensor", scale: float) -> "Tensor":
    from torch.nn.functional import interpolate

    return batch if scale == 1 else interpolate(batch, scale_factor=scale, mode="bilinear", align_corners=False)


def _exponent(text: str) -> float:
    try:
        exponent = float(text)
    except ValueError:
        exponent = 0.0
    if not 0 < exponent < float("inf"):
        raise UsageError(f"the option gem is a positive number, the exponent of the generalised mean, not '{text}'")
    return exponent


def timm_module(arch: str, **options: Any) -> Callable[[], "nn.Module"]:
    """Builder of a timm architecture without a classifier; never downloads."""

    def build() -> "nn.Module":
        import timm

        module: nn.Module = timm.create_model(arch, pretrained=False, **{"num_classes": 0, **options})
        return module

    return build


def named(family: str, variant: str) -> str:
    """The name of a family's variant; "" is the plain one."""
    return f"{family}:{variant}" if variant else family


def gem_of_local(describe: Describe, p: float) -> Describe:
    """The generalised mean of the local descriptors in place of the global one."""

    def pooled(module: Any, batch: "Tensor") -> Descriptors:
        local = describe(module, batch).local
        assert local is not None
        return Descriptors(gem(local, p), local)

    return pooled


def whole_patches(module: Any, batch: "Tensor") -> "Tensor":
    """The batch cut at the right and bottom to whole patches, as a strided convolution leaves the rest out."""
    height, width = module.patch_embed.patch_size
    return batch[..., : batch.shape[-2] // height * height, : batch.shape[-1] // width * width]


def cls_and_tokens(module: Any, batch: "Tensor") -> Descriptors:
    """Of a vision transformer: the class token after the final norm, and the patch tokens (registers left out)."""
    tokens = module.forward_features(whole_patches(module, batch))
    return Descriptors(tokens[:, 0], tokens[:, module.num_prefix_tokens :])


def gem_of_tokens(p: float) -> Describe:
    """Of a vision transformer: the generalised mean of the patch tokens in place of the class token."""
    return gem_of_local(cls_and_tokens, p)


def cells_of_map(module: Any, batch: "Tensor") -> "Tensor":
    """The cells [B, h * w, d] of a convolutional network's last feature map [B, d, h, w]."""
    cells: Tensor = module.forward_features(batch).flatten(2).transpose(1, 2)
    return cells


def mean_of_map(module: Any, batch: "Tensor") -> Descriptors:
    """Of a convolutional network: the mean over the last feature map, and its cells."""
    cells = cells_of_map(module, batch)
    return Descriptors(cells.float().mean(1), cells)


def gem_of_map(p: float) -> Describe:
    """Of a convolutional network: the generalised mean over the last feature map, and its cells."""
    return gem_of_local(mean_of_map, p)


def gem(cells: "Tensor", p: float) -> "Tensor":
    """Generalised mean over the cells of [B, T, d] (Radenovic et al. 2018): (mean x^p)^(1/p), x clamped to 1e-6.

    In float32 whatever the cells are: x^p leaves the range of half precision.
    """
    return cells.float().clamp(min=1e-6).pow(p).mean(1).pow(1 / p)
