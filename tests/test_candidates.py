"""The ten candidates and their variants against independent forwards, from checkpoints in the published form."""

import argparse
import re
from functools import cache
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import CheckpointError
from tests.checkpoints import (
    State,
    assert_close,
    assert_describes,
    backbone,
    batch,
    cells,
    described,
    feature_map,
    headless,
    jittered,
    resnet,
    transformer,
    tree,
    vit_state,
    written,
)

# --- convolutional: torchvision's ResNet-50 is the official architecture of all


def gem(feature_map: Tensor, p: float) -> Tensor:
    return (feature_map.clamp(min=1e-6) ** p).mean((2, 3)) ** (1 / p)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("resnet50", "model.safetensors"),
        ("resnet50", "resnet50-0676ba61.pth"),
        ("resnet50:a1", "model.safetensors"),
        ("resnet50:tv2", "resnet50-11ad3fa6.pth"),
        ("vicregl", "resnet50_alpha0.9.pth"),
        ("vicregl:resnet50_alpha0.75", "resnet50_alpha0.75.pth"),
        ("dino:resnet50", "dino_resnet50_pretrain.pth"),
    ],
)
def test_resnets(name: str, file: str, tmp_path: Path) -> None:
    module, state = resnet()
    images = batch(96)
    published = state if name.startswith("resnet50") else headless(state)
    expected = feature_map(module, images)
    assert_describes(described(name, published, tmp_path / file, images), expected.mean((2, 3)), cells(expected))


def test_a_checkpoint_older_than_batch_counters_is_taken(tmp_path: Path) -> None:
    module, state = resnet()
    old = {k: v for k, v in headless(state).items() if not k.endswith("num_batches_tracked")}
    found = described("vicregl", old, tmp_path / "old.pth", batch(64))
    assert_close(found.global_, feature_map(module, batch(64)).mean((2, 3)))


@pytest.mark.parametrize("name", ["sscd", "sscd:disc_mixup"])
def test_sscd(name: str, tmp_path: Path) -> None:
    module, state = resnet(512)
    checkpoint = {f"backbone.{key}": value for key, value in state.items()}
    images = batch(128)[..., :96]  # any shape
    expected = feature_map(module, images)
    with torch.inference_mode():
        projected = F.normalize(module.fc(gem(expected, 3)))  # type: ignore[operator]
    found = described(name, checkpoint, tmp_path / "sscd.torchvision.pt", images)
    assert_describes(found, projected, cells(expected))


class UnitLength(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x)


def test_sscd_large_is_the_program_in_its_file(tmp_path: Path) -> None:
    torch.manual_seed(8)
    network = nn.Sequential(nn.Conv2d(3, 1024, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), UnitLength()).eval()
    torch.jit.script(network).save(tmp_path / "sscd_disc_large.torchscript.pt")
    model = backbone("sscd:disc_large").load("cpu", tmp_path / "sscd_disc_large.torchscript.pt")
    with torch.inference_mode():
        found = model.describe(batch(64))
        assert_close(found.global_, network(batch(64)))
    assert found.local is None and model.n_parameters == 3 * 9 * 1024 + 1024
    assert torch.allclose(found.global_.norm(dim=1), torch.ones(2))


def multigrain_checkpoint(p: Tensor) -> tuple[nn.Module, dict[str, State]]:
    """As the authors write it: the trunk's name is `features`, the exponent's `pool.p`."""
    module, state = resnet()
    features = {f"features.{key}": value for key, value in headless(state).items()}
    head = {"classifier.weight": state["fc.weight"], "classifier.bias": state["fc.bias"]}
    return module, {"model_state": {**features, **head, "pool.p": p}}


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("name", ["multigrain", "multigrain:joint_3BAA_0.5"])
def test_multigrain_has_the_trained_exponent(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    module, checkpoint = multigrain_checkpoint(torch.full(shape, 2.5))
    # torch of 2019 did not write zip archives
    torch.save(checkpoint, tmp_path / "2019.pth", _use_new_zipfile_serialization=False)
    expected = feature_map(module, batch(64))
    with torch.inference_mode():
        found = backbone(name).load("cpu", tmp_path / "2019.pth").describe(batch(64))
    assert_describes(found, gem(expected, 2.5), cells(expected))


def test_multigrain_whitened(tmp_path: Path) -> None:
    module, checkpoint = multigrain_checkpoint(torch.tensor(3.5))
    generator = torch.Generator().manual_seed(9)
    m, P = torch.randn(2049, generator=generator) / 45, torch.randn(2049, 2049, generator=generator)
    whitened = {**checkpoint["model_state"], "whitening.pca.pca_m": m, "whitening.pca.pca_P": P}
    expected = feature_map(module, batch(64))
    extended = torch.cat([gem(expected, 3.5), torch.ones(2, 1)], 1)
    vectors = (extended / (extended.norm(dim=1, keepdim=True) + 1e-6) - m) @ P
    path = tmp_path / "joint_3B_0.5_whitened.pth"
    found = described("multigrain:whitened", {"model_state": whitened}, path, batch(64))
    assert_describes(found, vectors, cells(expected))


def test_multigrain_as_published_has_no_whitening(tmp_path: Path) -> None:
    _, checkpoint = multigrain_checkpoint(torch.tensor(3.0))
    path = written(checkpoint, tmp_path / "joint_3B_0.5.pth")
    with pytest.raises(CheckpointError, match=r"joint_3B_0.5.pth is not .* no whitening.* scripts/whiten.py"):
        backbone("multigrain:whitened").load("cpu", path)


def test_vicregl_convnext(tmp_path: Path) -> None:
    """torchvision's ConvNeXt without layer scale; its classifier's norm is the authors' last layer."""
    torch.manual_seed(10)
    module = torchvision.models.convnext_small().eval()
    state = {k: torch.ones_like(v) if k.endswith("layer_scale") else v for k, v in jittered(module).items()}
    module.load_state_dict(state)
    names = {"block.0": "dwconv", "block.2": "norm", "block.3": "pwconv1", "block.5": "pwconv2"}

    def official(key: str) -> str:
        if match := re.match(r"features\.(\d)\.(\d+)\.(block\.\d)\.(.*)", key):
            return f"stages.{int(match[1]) // 2}.{match[2]}.{names[match[3]]}.{match[4]}"
        if match := re.match(r"features\.(\d)\.(\d)\.(.*)", key):
            return f"downsample_layers.{int(match[1]) // 2}.{match[2]}.{match[3]}"
        return key.replace("classifier.0.", "norm.")

    published = {official(k): v for k, v in state.items() if not k.endswith("layer_scale") and "classifier.2" not in k}
    with torch.inference_mode():
        expected = module.classifier[0](module.features(batch(96)))
    found = described("vicregl:convnext_small", published, tmp_path / "convnext_small_alpha0.75.pth", batch(96))
    assert_describes(found, expected.mean((2, 3)), cells(expected))


# --- Swin: torchvision's Swin-B, its names put into the official ones; it takes images of any size


def swin_official(key: str) -> str:
    key = key.replace("features.0.0.", "patch_embed.proj.").replace("features.0.2.", "patch_embed.norm.")
    key = key.replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2.")
    if match := re.match(r"features\.(\d)\.(\d+)\.(.*)", key):
        return f"layers.{int(match[1]) // 2}.blocks.{match[2]}.{match[3]}"
    if match := re.match(r"features\.(\d)\.(norm|reduction)\.(.*)", key):
        return f"layers.{int(match[1]) // 2 - 1}.downsample.{match[2]}.{match[3]}"
    return key


def test_swin(tmp_path: Path) -> None:
    torch.manual_seed(4)
    module = torchvision.models.swin_b().eval()
    module.load_state_dict(jittered(module))
    official = {swin_official(key): value for key, value in module.state_dict().items()}
    official["layers.0.blocks.1.attn_mask"] = torch.ones(64, 49, 49)
    model = backbone("swin").load("cpu", written({"model": official}, tmp_path / "swin_base_patch4_window7_224.pth"))
    # the native size; windows and maps that need padding, also after windows were shifted; maps below a window
    for height, width in [(224, 224), (128, 96), (60, 161)]:
        images = F.interpolate(batch(count=1), (height, width))
        with torch.inference_mode():
            expected = module.norm(module.features(images)).flatten(1, 2)
            found = model.describe(images)
        assert_describes(found, expected.mean(1), expected)

    # the hub's file is in timm's names, with a classifier
    state = {**model.module.state_dict(), "head.fc.weight": torch.ones(3), "head.fc.bias": torch.ones(3)}  # type: ignore[attr-defined]
    assert_describes(described("swin:in22k", state, tmp_path / "model.safetensors", images), expected.mean(1), expected)


# --- vision transformers: a forward from the state alone

VIT, VIT_SMALL = "vit_base_patch16_224", "vit_small_patch16_224"


@cache
def encoder(arch: str = VIT) -> State:
    return headless(vit_state(arch))


@cache
def other_patches(arch: str, patch: int) -> State:
    """The same blocks with patches of another size."""
    generator = torch.Generator().manual_seed(11)
    width = encoder(arch)["cls_token"].shape[-1]
    kernel = 0.05 * torch.randn(width, 3, patch, patch, generator=generator)
    positions = 0.05 * torch.randn(1, 1 + (224 // patch) ** 2, width, generator=generator)
    return {**encoder(arch), "patch_embed.proj.weight": kernel, "pos_embed": positions}


@cache
def tokens_of_batch(arch: str = VIT, heads: int = 12) -> Tensor:
    return transformer(encoder(arch), batch(), heads)


def assert_describes_as(found: object, tokens: Tensor) -> None:
    assert_describes(found, tokens[:, 0], tokens[:, 1:])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "arch", "heads", "file"),
    [
        ("dino", VIT, 12, "model.safetensors"),
        ("dino:vits16", VIT_SMALL, 6, "model.safetensors"),
        ("dino:vits16", VIT_SMALL, 6, "dino_deitsmall16_pretrain.pth"),
        ("mae", VIT, 12, "model.safetensors"),
    ],
)
def test_self_supervised_transformers(name: str, arch: str, heads: int, file: str, tmp_path: Path) -> None:
    assert_describes_as(described(name, encoder(arch), tmp_path / file), tokens_of_batch(arch, heads))


def test_dino_with_smaller_patches(tmp_path: Path) -> None:
    state, images = other_patches(VIT_SMALL, 8), batch(count=1)
    found = described("dino:vits8", state, tmp_path / "dino_deitsmall8_pretrain.pth", images)
    assert_describes_as(found, transformer(state, images, 6))


@pytest.mark.parametrize(("name", "classes"), [("vit", 1000), ("vit:in21k", 21843)])
def test_vit_has_a_classifier_in_its_file(name: str, classes: int, tmp_path: Path) -> None:
    published = {**encoder(), "head.weight": torch.ones(classes, 768), "head.bias": torch.ones(classes)}
    assert_describes_as(described(name, published, tmp_path / "model.safetensors"), tokens_of_batch())


def test_mae_from_the_authors(tmp_path: Path) -> None:
    """The published encoder, and the checkpoint of a whole training with decoder, optimiser and settings."""
    tokens = tokens_of_batch()
    decoder = {"mask_token": torch.ones(1, 1, 512), "decoder_blocks.0.norm1.weight": torch.ones(512)}
    training = {
        "model": {**encoder(), **decoder},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
        "epoch": 399,
        "scaler": {"scale": 65536.0},
        "args": argparse.Namespace(model="mae_vit_base_patch16", blr=1e-3),
    }
    assert_describes_as(described("mae", training, tmp_path / "checkpoint-399.pth"), tokens)
    found = described("mae:mean", {"model": encoder()}, tmp_path / "mae_pretrain_vit_base.pth")
    assert_describes(found, tokens[:, 1:].mean(1), tokens[:, 1:])


@pytest.mark.parametrize(("name", "arch"), [("mocov3", VIT), ("mocov3:vits", VIT_SMALL)])
def test_mocov3_takes_the_base_encoder(name: str, arch: str, tmp_path: Path) -> None:
    heads = {"head.0.weight": torch.ones(3), "head.1.running_mean": torch.ones(3)}
    checkpoint = {
        "epoch": 300,
        "arch": "vit_base",
        "state_dict": {
            **{f"module.base_encoder.{k}": v for k, v in {**encoder(arch), **heads}.items()},
            **{f"module.momentum_encoder.{k}": torch.zeros(1) for k in encoder(arch)},
            "module.predictor.0.weight": torch.ones(3),
        },
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4, "params": [0]}]},
        "scaler": {"scale": 65536.0},
    }
    # both of the authors' sizes have 12 heads
    assert_describes_as(described(name, checkpoint, tmp_path / "300ep.pth.tar"), tokens_of_batch(arch, 12))


def cubic(t: Tensor) -> Tensor:
    """Keys' cubic kernel, a = -0.75."""
    t, a = t.abs(), -0.75
    near, far = (a + 2) * t**3 - (a + 3) * t**2 + 1, a * (t**3 - 5 * t**2 + 8 * t - 4)
    return torch.where(t <= 1, near, torch.where(t < 2, far, 0.0))


def resampling(old: int, new: int, scale: float) -> Tensor:
    """Matrix [new, old] of bicubic interpolation without antialiasing; beyond the border its value goes on."""
    centers = (torch.arange(new, dtype=torch.float64) + 0.5) / scale - 0.5
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for offset in range(-1, 3):
        at = centers.floor() + offset
        matrix[torch.arange(new), at.clamp(0, old - 1).long()] += cubic(centers - at)
    return matrix


def dino_positions(state: State, rows: int, columns: int) -> Tensor:
    """The positional embedding for other sizes as DINO's own class interpolates it."""
    embedding = state["pos_embed"][0].double()
    old = round((len(embedding) - 1) ** 0.5)
    down, across = (resampling(old, new, (new + 0.1) / old) for new in (rows, columns))
    grid = torch.einsum("ri,cj,ijd->rcd", down, across, embedding[1:].view(old, old, -1))
    return torch.cat([embedding[:1], grid.flatten(0, 1)])[None].float()


def test_dino_copy_detection(tmp_path: Path) -> None:
    state = encoder()
    images = F.interpolate(batch(count=1), 320)
    tokens = transformer(state, images, 12, positions=dino_positions(state, 20, 20))
    pooled = (tokens[:, 1:].clamp(min=1e-6) ** 4).mean(1) ** 0.25
    found = described("dino:copydetection", state, tmp_path / "dino_vitbase16_pretrain.pth", images)
    assert_describes(found, torch.cat([tokens[:, 0], pooled], 1), tokens[:, 1:])


@pytest.mark.parametrize(("height", "width"), [(112, 112), (150, 266), (224, 230)])
def test_dino_takes_any_size_as_its_authors_do(height: int, width: int, tmp_path: Path) -> None:
    state = encoder(VIT_SMALL)
    images = F.interpolate(batch(), (height, width))
    tokens = transformer(state, images, 6, positions=dino_positions(state, height // 16, width // 16))
    assert_describes_as(described("dino:vits16", state, tmp_path / "model.safetensors", images), tokens)


def test_other_transformers_resample_their_positions(tmp_path: Path) -> None:
    state = encoder(VIT_SMALL)
    images = F.interpolate(batch(), (150, 266))  # 9 x 16 whole patches
    grid = state["pos_embed"][:, 1:].view(1, 14, 14, -1).permute(0, 3, 1, 2)
    resampled = F.interpolate(grid, (9, 16), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    tokens = transformer(state, images, 12, positions=torch.cat([state["pos_embed"][:, :1], resampled], 1))
    checkpoint = {"state_dict": {f"module.base_encoder.{k}": v for k, v in state.items()}}
    assert_describes_as(described("mocov3:vits", checkpoint, tmp_path / "vit-s-300ep.pth.tar", images), tokens)


# --- CLIP: OpenAI's TorchScript form, in half precision, with the image tower under `visual.` and a text tower

CLIP_NAMES = (
    (r"^(blocks\..*)\.norm(\d)", r"\1.ln_\2"),
    (r"\.attn\.qkv\.", ".attn.in_proj_"),
    (r"\.attn\.proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"^blocks\.", "transformer.resblocks."),
    (r"^norm_pre\.", "ln_pre."),
    (r"^norm\.", "ln_post."),
    (r"^patch_embed\.proj\.", "conv1."),
)


def openai(key: str) -> str:
    for ours, theirs in CLIP_NAMES:
        key = re.sub(ours, theirs, key)
    return f"visual.{key}"


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


@pytest.mark.parametrize(
    ("name", "patch", "file"),
    [("clip", 16, "ViT-B-16.pt"), ("clip:vitb32", 32, "ViT-B-32.pt"), ("clip:vitb32", 32, "pytorch_model.bin")],
)
def test_clip(name: str, patch: int, file: str, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(6)
    state = {k: v for k, v in other_patches(VIT, patch).items() if k != "patch_embed.proj.bias"}
    state |= {f"norm_pre.{p}": 1 + 0.1 * torch.rand(768, generator=generator) for p in ("weight", "bias")}
    state = {k: v.half().float() for k, v in state.items()}
    projection = (0.05 * torch.randn(768, 512, generator=generator)).half().float()
    published = {openai(k): v for k, v in state.items() if k not in ("cls_token", "pos_embed")}
    published |= {
        "visual.class_embedding": state["cls_token"].flatten(),
        "visual.positional_embedding": state["pos_embed"][0],
        "visual.proj": projection,
        "token_embedding.weight": torch.ones(2, 2),
        "logit_scale": torch.tensor(4.6),
    }
    tokens = transformer(state, batch(), 12, 1e-5, quick_gelu)
    if file.endswith(".pt"):
        torch.jit.script(tree({k: v.half() for k, v in published.items()})).save(tmp_path / file)
        with torch.inference_mode():
            found = backbone(name).load("cpu", tmp_path / file).describe(batch())
    else:
        found = described(name, published, tmp_path / file)
    assert_describes(found, tokens[:, 0] @ projection, tokens[:, 1:])


def test_clip_as_a_program_is_read_but_not_run(tmp_path: Path) -> None:
    torch.save({"visual.proj": torch.ones(1)}, tmp_path / "ViT-B-16.pt")
    with pytest.raises(CheckpointError, match=r"ViT-B-16.pt is not a TorchScript archive"):
        backbone("clip").load("cpu", tmp_path / "ViT-B-16.pt")
