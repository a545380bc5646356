"""Any classifier of torchvision, with any of its published weights."""

import difflib
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State
from backbones._library import LibraryBackbone
from backbones._torch import gem_of_local
from bench.errors import UsageError
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

#: The part of each family whose output is the last map or the tokens: the first that a module has.
_LAST = ("layer4", "trunk_output", "conv5", "Mixed_7c", "inception5b", "encoder", "permute", "features", "layers")
_AUXILIARY = ("aux1", "aux2", "AuxLogits")


@register_backbone(groups=(), argument="NAME[.WEIGHTS]")
def torchvision(name: str) -> Backbone:
    """A classifier of torchvision; without WEIGHTS (IMAGENET1K_V1) with those that torchvision prefers.

    Global descriptor: what its last layer, which is left out, would see. Local ones: the cells of the last map or the
    patch tokens; none of MaxViT. Preprocessing: the weights' own. Options: precision, multiscale, compile, and gem
    where the descriptor is pooled of the local ones.
    """
    arch = name.partition(".")[0]
    chosen = _chosen(name)
    preprocess = _preprocess(chosen)
    build = partial(_build, arch, chosen)
    embed_dim, cell_dim = _dimensions(build, preprocess)
    return LibraryBackbone(
        name=f"torchvision:{name}",
        arch=arch,
        embed_dim=embed_dim,
        preprocess=preprocess,
        weights=Weights(
            chosen.url,
            # SWAG's weights come under the licence of its repository
            licence="CC-BY-NC-4.0" if "SWAG" in chosen.name else "BSD-3-Clause",
            pretraining=chosen.name,
            megabytes=round(chosen.meta["_file_size"] * 2**20 / 1e6, 1),
        ),
        build=build,
        assemble=build,
        describe=_describe,
        pooled=partial(gem_of_local, _describe) if cell_dim == embed_dim else None,
    )


def _chosen(name: str) -> Any:
    """The entry of torchvision's enumeration of weights. Raises UsageError with the nearest names."""
    from torchvision import models

    arch, _, tag = name.partition(".")
    known = models.list_models(module=models)
    if arch not in known:
        near = difflib.get_close_matches(arch, known, 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise UsageError(f"there is no classifier '{arch}' in torchvision: {hint}")
    entries: Any = models.get_model_weights(arch)
    # one entry of VGG lacks the layers before its last one
    tags = [entry.name for entry in entries if entry.meta["categories"]]
    if tag not in ("", *tags):
        raise UsageError(f"torchvision has no weights '{tag}' of {arch} as a classifier: there are {', '.join(tags)}")
    return entries[tag] if tag else entries.DEFAULT


def _preprocess(chosen: Any) -> Preprocess:
    own = chosen.transforms()
    (size,), (crop,) = own.resize_size, own.crop_size
    return Preprocess("short", size, crop, own.interpolation.value, tuple(own.mean), tuple(own.std))


def _build(arch: str, chosen: Any, state: State | None = None) -> "nn.Module":
    """The module without its last layer, from a checkpoint's state or else with initial parameters."""
    from torchvision import models

    options: dict[str, Any] = {}
    if arch.startswith("vit_"):
        options["image_size"] = chosen.meta["min_size"][0]
    elif arch in ("googlenet", "inception_v3"):
        # the weights were trained elsewhere, with other statistics of the colours
        options |= {"transform_input": True, "init_weights": False}
    module = models.get_model(arch, weights=None, **options)
    if state is not None:
        module.load_state_dict(_renamed(state) if arch.startswith("densenet") else state)
    return _headless(module, len(chosen.meta["categories"]))


def _renamed(state: State) -> State:
    """From the names of torch 0.3: denselayer1.norm.1.weight."""
    return {re.sub(r"\.(norm|relu|conv)\.(\d)\.", r".\1\2.", key): value for key, value in state.items()}


def _headless(module: "nn.Module", classes: int) -> "nn.Module":
    from torch import nn

    for name in _AUXILIARY:
        if hasattr(module, name):
            setattr(module, name, None)
    layers = [
        name
        for name, layer in module.named_modules()
        if classes in (getattr(layer, "out_features", None), getattr(layer, "out_channels", None))
    ]
    module.set_submodule(layers[-1], nn.Identity())
    return module


def _describe(module: Any, batch: "Tensor") -> Descriptors:
    kept: list[Tensor] = []
    last = next((part for name in _LAST if (part := getattr(module, name, None)) is not None), None)
    hook = last.register_forward_hook(lambda *called: kept.append(called[2])) if last is not None else None
    found = module(batch)
    if hook is None:
        return Descriptors(found)
    hook.remove()
    # tokens start with the class token
    return Descriptors(found, kept[0].flatten(2).transpose(1, 2) if kept[0].ndim == 4 else kept[0][:, 1:])


def _dimensions(build: Any, preprocess: Preprocess) -> tuple[int, int | None]:
    """Of the global and the local descriptors, found without memory for the parameters."""
    import torch

    try:
        with torch.device("meta"):
            module = build()
    except NotImplementedError:  # RegNet computes its widths with tensors
        module = build().to("meta")
    assert preprocess.crop is not None
    with torch.inference_mode():
        found = _describe(module.eval(), torch.empty(1, 3, preprocess.crop, preprocess.crop, device="meta"))
    return found.global_.shape[1], None if found.local is None else found.local.shape[2]
