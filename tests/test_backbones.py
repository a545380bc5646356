"""The ten candidates against independent forwards, from checkpoints in the published form; the embedded ones.

The checkpoints hold seeded random values: this proves conversion, preprocessing and descriptor, not training.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from bench import images, plugins, weights
from bench.errors import CheckpointError
from bench.interfaces import Backbone, Descriptors

State = dict[str, Tensor]

# name -> (dimension, million parameters, local shape at 224 or the native size)
CANDIDATES = {
    "clip": (512, 86.193, (196, 768)),
    "dino": (768, 85.799, (196, 768)),
    "mae": (768, 85.799, (196, 768)),
    "mocov3": (768, 85.799, (196, 768)),
    "multigrain": (2048, 23.508, (49, 2048)),
    "resnet50": (2048, 23.508, (49, 2048)),
    "sscd": (512, 24.557, (49, 2048)),
    "swin": (1024, 86.743, (49, 1024)),
    "vicregl": (2048, 23.508, (49, 2048)),
    "vit": (768, 85.799, (196, 768)),
}


def backbone(name: str) -> Backbone:
    return plugins.backbones.select(name)[0].item


def jittered(module: nn.Module, seed: int = 0) -> State:
    """A state of the module in which no two layers, and no norm, is at its initial value."""
    generator = torch.Generator().manual_seed(seed)

    def changed(value: Tensor) -> Tensor:
        noise = torch.rand(value.shape, generator=generator) - 0.5
        return value * (1 + 0.2 * noise) + 0.02 * noise if value.is_floating_point() else value

    return {key: changed(value) for key, value in module.state_dict().items()}


def batch() -> Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(7))


def described(name: str, checkpoint: object, path: Path) -> Tensor:
    """The global descriptors of `batch` by the backbone, loaded from a file through its real path."""
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in checkpoint.items()}, path)  # type: ignore[attr-defined]
    else:
        torch.save(checkpoint, path)
    return checked(name, path).global_


def checked(name: str, path: Path) -> Descriptors:
    """The descriptors of `batch` after loading a file, with dimensions and number of parameters as published."""
    dimension, millions, local = CANDIDATES[name]
    chosen = backbone(name)
    model = chosen.load("cpu", path)
    with torch.inference_mode():
        found = model.describe(batch())
    assert found.global_.shape == (2, dimension) == (2, chosen.embed_dim)
    assert found.local is not None and found.local.shape == (2, *local)
    assert model.n_parameters / 1e6 == pytest.approx(millions, abs=5e-4)
    return found


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert (found - expected).norm() / expected.norm() < 1e-5


# --- convolutional: torchvision's ResNet-50 is the official architecture of all four


def resnet(classes: int = 1000) -> tuple[nn.Module, State]:
    torch.manual_seed(3)
    module = torchvision.models.resnet50(num_classes=classes)
    module.load_state_dict(jittered(module))
    return module.eval(), module.state_dict()


@torch.inference_mode()
def feature_map(module: nn.Module) -> Tensor:
    for name, layer in module.named_children():
        x = layer(batch() if name == "conv1" else x)  # noqa: F821 - conv1 comes first
        if name == "layer4":
            return x
    raise AssertionError("no layer4")


def test_resnet50(tmp_path: Path) -> None:
    module, state = resnet()
    assert_close(described("resnet50", state, tmp_path / "model.safetensors"), feature_map(module).mean((2, 3)))


def test_vicregl(tmp_path: Path) -> None:
    module, state = resnet()
    headless = {key: value for key, value in state.items() if not key.startswith("fc.")}
    assert_close(described("vicregl", headless, tmp_path / "resnet50_alpha0.9.pth"), feature_map(module).mean((2, 3)))


def test_multigrain(tmp_path: Path) -> None:
    module, state = resnet()
    features = {f"features.{key}": value for key, value in state.items() if not key.startswith("fc.")}
    head = {"classifier.weight": state["fc.weight"], "classifier.bias": state["fc.bias"]}
    checkpoint = {"model_state": {**features, **head, "pool.p": torch.tensor([2.5])}}
    expected = (feature_map(module).clamp(min=1e-6) ** 2.5).mean((2, 3)) ** (1 / 2.5)
    assert_close(described("multigrain", checkpoint, tmp_path / "joint_3B_0.5.pth"), expected)


def test_sscd(tmp_path: Path) -> None:
    module, state = resnet(512)
    checkpoint = {f"backbone.{key}": value for key, value in state.items()}
    pooled = (feature_map(module).clamp(min=1e-6) ** 3).mean((2, 3)) ** (1 / 3)
    with torch.inference_mode():
        expected = F.normalize(module.fc(pooled))  # type: ignore[operator]
    assert_close(described("sscd", checkpoint, tmp_path / "sscd.torchvision.pt"), expected)


# --- Swin: torchvision's Swin-B, its names put into the official ones


def test_swin(tmp_path: Path) -> None:
    torch.manual_seed(4)
    module = torchvision.models.swin_b().eval()
    module.load_state_dict(jittered(module))

    def official(key: str) -> str:
        key = key.replace("features.0.0.", "patch_embed.proj.").replace("features.0.2.", "patch_embed.norm.")
        key = key.replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2.")
        if match := re.match(r"features\.(\d)\.(\d+)\.(.*)", key):
            return f"layers.{int(match[1]) // 2}.blocks.{match[2]}.{match[3]}"
        if match := re.match(r"features\.(\d)\.(norm|reduction)\.(.*)", key):
            return f"layers.{int(match[1]) // 2 - 1}.downsample.{match[2]}.{match[3]}"
        return key

    checkpoint = {"model": {official(key): value for key, value in module.state_dict().items()}}
    with torch.inference_mode():
        expected = module.norm(module.features(batch())).mean((1, 2))
    assert_close(described("swin", checkpoint, tmp_path / "swin_base_patch4_window7_224.pth"), expected)


# --- vision transformers: a forward from the state alone


def transformer(s: State, x: Tensor, eps: float, activation: Callable[[Tensor], Tensor], norm_first: bool) -> Tensor:
    """Tokens [B, 197, 768] after the final norm of a ViT-B/16 in timm's names, written out."""

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (768,), s[f"{name}.weight"], s[f"{name}.bias"], eps)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]

    patches = F.conv2d(x, s["patch_embed.proj.weight"], s.get("patch_embed.proj.bias"), stride=16)
    x = torch.cat([s["cls_token"].expand(len(x), -1, -1), patches.flatten(2).transpose(1, 2)], 1) + s["pos_embed"]
    if norm_first:
        x = norm(x, "norm_pre")
    for block in (f"blocks.{number}" for number in range(12)):
        q, k, v = (
            linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv").view(len(x), -1, 3, 12, 64).permute(2, 0, 3, 1, 4)
        )
        attended = (q @ k.transpose(2, 3) / 8).softmax(3) @ v
        x = x + linear(attended.transpose(1, 2).flatten(2), f"{block}.attn.proj")
        x = x + linear(activation(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
    return norm(x, "norm")


def vit_state() -> State:
    import timm

    torch.manual_seed(5)
    return jittered(timm.create_model("vit_base_patch16_224"))


def expected_cls(state: State) -> Tensor:
    with torch.inference_mode():
        return transformer(state, batch(), 1e-6, F.gelu, norm_first=False)[:, 0]


@pytest.mark.parametrize("name", ["dino", "mae", "vit"])
def test_vit_from_the_hub(name: str, tmp_path: Path) -> None:
    state = vit_state()
    published = {k: v for k, v in state.items() if name == "vit" or not k.startswith("head.")}
    assert_close(described(name, published, tmp_path / "model.safetensors"), expected_cls(state))


def test_mae_from_the_authors(tmp_path: Path) -> None:
    state = {k: v for k, v in vit_state().items() if not k.startswith("head.")}
    assert_close(described("mae", {"model": state}, tmp_path / "mae_pretrain_vit_base.pth"), expected_cls(state))


def test_mocov3_takes_the_base_encoder(tmp_path: Path) -> None:
    state = vit_state()
    encoder = {k: v for k, v in state.items() if not k.startswith("head.")}
    heads = {"head.0.weight": torch.ones(3), "head.1.running_mean": torch.ones(3)}
    checkpoint = {
        "epoch": 300,
        "arch": "vit_base",
        "state_dict": {
            **{f"module.base_encoder.{k}": v for k, v in {**encoder, **heads}.items()},
            **{f"module.momentum_encoder.{k}": torch.zeros_like(v) for k, v in encoder.items()},
            "module.predictor.0.weight": torch.ones(3),
        },
    }
    assert_close(described("mocov3", checkpoint, tmp_path / "vit-b-300ep.pth.tar"), expected_cls(state))


def test_clip(tmp_path: Path) -> None:
    """OpenAI's TorchScript form: half precision, the image tower under `visual.`, a text tower beside it."""
    generator = torch.Generator().manual_seed(6)
    state = {
        k: v.half().float() for k, v in vit_state().items() if not k.startswith(("head.", "patch_embed.proj.bias"))
    }
    state |= {
        f"norm_pre.{p}": (1 + 0.1 * torch.rand(768, generator=generator)).half().float() for p in ("weight", "bias")
    }
    projection = (0.05 * torch.randn(768, 512, generator=generator)).half().float()

    names = {
        "norm1": "ln_1",
        "norm2": "ln_2",
        "attn.qkv.": "attn.in_proj_",
        "attn.proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }

    def openai(key: str) -> str:
        for ours, theirs in names.items():
            key = key.replace(f".{ours}", f".{theirs}") if key.startswith("blocks.") else key
        for ours, theirs in (("blocks.", "transformer.resblocks."), ("norm_pre.", "ln_pre."), ("norm.", "ln_post.")):
            key = theirs + key.removeprefix(ours) if key.startswith(ours) else key
        return "visual." + key.replace("patch_embed.proj", "conv1")

    published = {openai(k): v for k, v in state.items() if k not in ("cls_token", "pos_embed")}
    published |= {
        "visual.class_embedding": state["cls_token"].flatten(),
        "visual.positional_embedding": state["pos_embed"][0],
        "visual.proj": projection,
        "token_embedding.weight": torch.ones(2, 2),
        "logit_scale": torch.tensor(4.6),
    }
    path = tmp_path / "ViT-B-16.pt"
    torch.jit.script(tree({k: v.half() for k, v in published.items()})).save(path)
    with torch.inference_mode():
        tokens = transformer(state, batch(), 1e-5, lambda x: x * torch.sigmoid(1.702 * x), norm_first=True)
        found = checked("clip", path)
    assert_close(found.global_, tokens[:, 0] @ projection)
    assert found.local is not None
    assert_close(found.local, tokens[:, 1:])


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


# --- what all share


def test_the_candidates_are_the_ten() -> None:
    assert [chosen.item.name for chosen in plugins.backbones.select("candidates")] == sorted(CANDIDATES)


def test_a_checkpoint_older_than_batch_counters_is_taken(tmp_path: Path) -> None:
    module, state = resnet()
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked") and not k.startswith("fc.")}
    assert_close(described("vicregl", old, tmp_path / "old.pth"), feature_map(module).mean((2, 3)))


@pytest.mark.parametrize("name", CANDIDATES)
def test_candidates_say_where_they_come_from(name: str) -> None:
    origin = backbone(name).weights
    assert origin.licence and origin.pretraining and (weights.address(origin) or "").startswith("https://")


@pytest.mark.parametrize(
    ("name", "resize", "crop", "interpolation", "mean"),
    [
        ("swin", 256, 224, "bicubic", 0.485),
        ("dino", 256, 224, "bicubic", 0.485),
        ("mae", 256, 224, "bicubic", 0.485),
        ("mocov3", 256, 224, "bilinear", 0.485),
        ("vicregl", 256, 224, "bilinear", 0.485),
        ("multigrain", 256, 224, "bilinear", 0.485),
        ("resnet50", 256, 224, "bilinear", 0.485),
        ("sscd", 288, None, "bilinear", 0.485),
        ("clip", 224, 224, "bicubic", 0.48145466),
        ("vit", 248, 224, "bicubic", 0.5),
    ],
)
def test_preprocessing_gives_torchvisions_pixels(
    name: str, resize: int, crop: int | None, interpolation: str, mean: float, photo: Path
) -> None:
    from torchvision import transforms as T

    stats = {
        0.485: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        0.48145466: ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        0.5: ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    }
    steps = [T.Resize(resize, T.InterpolationMode(interpolation)), *([T.CenterCrop(crop)] if crop else [])]
    official = T.Compose([*steps, T.ToTensor(), T.Normalize(*stats[mean])])
    assert torch.equal(images.load(photo, backbone(name).preprocess), official(Image.open(photo).convert("RGB")))


@pytest.mark.parametrize(
    ("name", "spoil", "told"),
    [
        ("vicregl", lambda s: s.pop("conv1.weight"), "lacks conv1.weight"),
        ("vicregl", lambda s: s.update(extra=torch.ones(1)), "has unknown extra"),
        ("vicregl", lambda s: s.update({"bn1.bias": torch.ones(3)}), "has of another shape bn1.bias"),
        ("multigrain", lambda s: None, "is not the checkpoint of multigrain"),
        ("mocov3", lambda s: None, "is not the checkpoint of mocov3"),
    ],
)
def test_another_checkpoint_is_refused(name: str, spoil: Callable[[State], object], told: str, tmp_path: Path) -> None:
    state = {k: v for k, v in resnet()[1].items() if not k.startswith("fc.")}
    spoil(state)
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(CheckpointError, match=told) as error:
        backbone(name).load("cpu", tmp_path / "wrong.pth")
    assert "wrong.pth" in str(error.value)


class Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("code was run",))


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>not found</html>", b"PK\x03\x04 cut short"])
@pytest.mark.parametrize("name", ["file.pth", "file.safetensors"])
def test_what_is_no_checkpoint_is_refused(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        backbone("vicregl").load("cpu", tmp_path / name)


def test_code_in_a_pickle_is_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"conv1.weight": Malicious()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="not a checkpoint without code"):
        backbone("vicregl").load("cpu", tmp_path / "evil.pth")
    assert "code was run" not in capsys.readouterr().out


# --- the embedded ones


@pytest.mark.parametrize("number", [0, 1, 2])
def test_efficientnet_weights_are_the_trained_ones(number: int, photo: Path) -> None:
    """Photographs of a cat and of a cup of coffee get their ImageNet labels from the package's own classifier."""
    chosen = backbone(f"efficientnet_lite{number}")
    found = weights.obtain(chosen.weights, weights.Network(offline=True))
    assert found is not None
    model = chosen.load("cpu", found.path)
    state = torch.load(found.path, weights_only=True)
    cats, espresso = {281, 282, 285}, {967}
    for path, labels in [(photo, cats), (photo.with_name("coffee.png"), espresso)]:
        with torch.inference_mode():
            vector = model.describe(images.load(path, chosen.preprocess)[None]).global_[0]
        assert vector.shape == (1280,)
        assert int((state["_fc.weight"] @ vector + state["_fc.bias"]).argmax()) in labels


@pytest.mark.parametrize(("name", "bits"), [("pdq", 256), ("phash", 64), ("dhash", 64)])
def test_cosine_of_hashes_is_their_hamming_distance(name: str, bits: int, photo: Path) -> None:
    import imagehash
    import pdqhash

    chosen = backbone(name)
    pictures = [images.decode(photo), images.decode(photo.with_name("coffee.png"))]
    vectors = [
        chosen.load("cpu", None).describe(images.transform(p, chosen.preprocess)[None]).global_[0].numpy()
        for p in pictures
    ]
    direct = {
        "pdq": lambda p: pdqhash.compute(np.asarray(p))[0].astype(bool),
        "phash": lambda p: imagehash.phash(p).hash.ravel(),
        "dhash": lambda p: imagehash.dhash(p).hash.ravel(),
    }[name]
    distance = int((direct(pictures[0]) != direct(pictures[1])).sum())
    assert vectors[0].shape == (bits,) and distance > 0
    assert vectors[0] @ vectors[1] / bits == pytest.approx(1 - 2 * distance / bits)


def test_color_counts_hues(photo: Path) -> None:
    model = backbone("color").load("cpu", None)
    plain = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "red")]
    pixels = torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) for p in plain])
    found = model.describe(pixels).global_.numpy()
    assert found.shape == (3, 256) and np.allclose(found @ found.T, [[1, 0, 1], [0, 1, 0], [1, 0, 1]])


@pytest.mark.parametrize("name", ["pdq", "phash", "dhash", "color"])
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (500, 2)])
def test_training_free_descriptors_take_any_size(name: str, size: tuple[int, int]) -> None:
    chosen = backbone(name)
    pixels = images.transform(Image.new("RGB", size, "gray"), chosen.preprocess)[None]
    found = chosen.load("cpu", None).describe(pixels).global_
    assert found.shape == (1, chosen.embed_dim) and bool(found.any())
