"""Shared by the tests of backbones: checkpoints of seeded random values, and reference networks to compare with.

Random values prove conversion, preprocessing and descriptor, not training.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from bench import plugins
from bench.interfaces import Backbone, Descriptors

State = dict[str, Tensor]


def backbone(name: str) -> Backbone:
    return plugins.backbones.select(name)[0].item


def jittered(module: nn.Module, seed: int = 0) -> State:
    """A state of the module in which no two layers, and no norm, is at its initial value."""
    generator = torch.Generator().manual_seed(seed)

    def changed(value: Tensor) -> Tensor:
        noise = torch.rand(value.shape, generator=generator) - 0.5
        return value * (1 + 0.2 * noise) + 0.02 * noise if value.is_floating_point() else value

    return {key: changed(value) for key, value in module.state_dict().items()}


def batch(side: int = 224, count: int = 2) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(7))


def written(checkpoint: object, path: Path) -> Path:
    """The path, after writing the checkpoint in the form that its suffix tells."""
    if path.suffix == ".safetensors":
        assert isinstance(checkpoint, dict)
        save_file({key: value.contiguous() for key, value in checkpoint.items()}, path)
    else:
        torch.save(checkpoint, path)
    return path


@torch.inference_mode()
def described(name: str, checkpoint: object, path: Path, images: Tensor | None = None) -> Descriptors:
    """The descriptors of `images`, else of `batch()`, by the backbone loaded from a file through its real path."""
    chosen = backbone(name)
    images = batch() if images is None else images
    found = chosen.load("cpu", written(checkpoint, path)).describe(images)
    path.unlink()  # some are hundreds of megabytes
    assert found.global_.shape == (len(images), chosen.embed_dim) and found.global_.dtype == torch.float32
    return found


def assert_close(found: Tensor | None, expected: Tensor | None) -> None:
    assert found is not None and expected is not None and found.shape == expected.shape
    assert (found - expected).norm() / expected.norm() < 1e-5


def assert_describes(found: Descriptors, global_: Tensor, local: Tensor) -> None:
    assert_close(found.global_, global_)
    assert_close(found.local, local)


@cache
def resnet(classes: int = 1000) -> tuple[nn.Module, State]:
    """torchvision's ResNet-50, the official architecture of many, and its state; not to be changed."""
    torch.manual_seed(3)
    module = torchvision.models.resnet50(num_classes=classes)
    module.load_state_dict(jittered(module))
    return module.eval(), module.state_dict()


def headless(state: State) -> State:
    """Without the classifier, as self-supervised networks are published."""
    return {key: value for key, value in state.items() if not key.startswith(("fc.", "head."))}


@torch.inference_mode()
def feature_map(module: nn.Module, images: Tensor | None = None) -> Tensor:
    """The output of a torchvision ResNet's last stage."""
    x = batch() if images is None else images
    for name, layer in module.named_children():
        x = layer(x)
        if name == "layer4":
            return x
    raise AssertionError("no layer4")


def cells(feature_map: Tensor) -> Tensor:
    """[B, d, h, w] as [B, h * w, d]."""
    return feature_map.flatten(2).transpose(1, 2)


@cache
def vit_state(arch: str = "vit_base_patch16_224") -> State:
    """The state of a vision transformer with a classifier, in timm's names, which are the authors' of most."""
    torch.manual_seed(5)
    return jittered(timm.create_model(arch))


@torch.inference_mode()
def transformer(
    s: State,
    images: Tensor,
    heads: int,
    eps: float = 1e-6,
    activation: Callable[[Tensor], Tensor] = F.gelu,
    positions: Tensor | None = None,
) -> Tensor:
    """Tokens [B, 1 + T, d] after the final norm of a vision transformer, written out from its state alone.

    positions: the positional embedding [1, 1 + T, d] where it is not the state's. A norm before the blocks is applied
    if there is one.
    """
    width = s["cls_token"].shape[-1]

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (width,), s[f"{name}.weight"], s[f"{name}.bias"], eps)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]

    kernel = s["patch_embed.proj.weight"]
    patches = F.conv2d(images, kernel, s.get("patch_embed.proj.bias"), stride=kernel.shape[-1])
    x = torch.cat([s["cls_token"].expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], 1)
    x = x + (s["pos_embed"] if positions is None else positions)
    if "norm_pre.weight" in s:
        x = norm(x, "norm_pre")
    for number in range(sum(key.endswith("norm1.weight") for key in s)):
        block = f"blocks.{number}"
        qkv = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv")
        q, k, v = qkv.view(*x.shape[:2], 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        attended = (q @ k.transpose(2, 3) / (width // heads) ** 0.5).softmax(3) @ v
        x = x + linear(attended.transpose(1, 2).flatten(2), f"{block}.attn.proj")
        x = x + linear(activation(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
    return norm(x, "norm")


class Node(nn.Module):
    """A module that only holds parameters."""

    def forward(self) -> int:
        return 0


def tree(state: State) -> Node:
    """Modules nested so that their state has these keys."""
    root = Node()
    for key, value in state.items():
        node: nn.Module = root
        *parents, leaf = key.split(".")
        for parent in parents:
            if parent not in node._modules:
                node.add_module(parent, Node())
            node = node._modules[parent]  # type: ignore[assignment]
        node.register_parameter(leaf, nn.Parameter(value, requires_grad=False))
    return root
