"""The ten further backbones, from checkpoints in the published forms, against independent forwards or timm's own path.

The checkpoints hold seeded random values: this proves conversion, preprocessing and descriptor, not training.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from backbones._checkpoint import load_strictly
from bench import images, plugins, weights
from bench.errors import CheckpointError, UsageError
from bench.preprocess import Mode
from tests.checkpoints import (
    State,
    assert_describes,
    backbone,
    batch,
    cells,
    described,
    feature_map,
    headless,
    resnet,
    written,
)

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SWAV = ((0.485, 0.456, 0.406), (0.228, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

# name -> dimension, million parameters, local descriptors at the official size, resize, crop, interpolation, statistics
EXTRAS: dict[str, tuple[int, float, tuple[int, int], object, int | None, str, object]] = {
    "barlowtwins": (2048, 23.508, (49, 2048), 256, 224, "bilinear", IMAGENET),
    "beit": (768, 85.762, (196, 768), 256, 224, "bicubic", HALF),
    "beit:in1k": (768, 85.762, (196, 768), 256, 224, "bicubic", HALF),
    "convnext": (1024, 87.566, (49, 1024), 256, 224, "bicubic", IMAGENET),
    "convnext:clip_laion2b": (640, 88.222, (64, 1024), 256, 256, "bicubic", CLIP),
    "convnext:clip_laion2b_augreg": (640, 88.222, (64, 1024), 256, 256, "bicubic", CLIP),
    "convnext:dinov3_lvd1689m": (1024, 87.566, (64, 1024), 256, 256, "bicubic", IMAGENET),
    "deit": (768, 85.799, (196, 768), 256, 224, "bicubic", IMAGENET),
    "deit:small": (384, 21.666, (196, 384), 256, 224, "bicubic", IMAGENET),
    "dinov2": (768, 86.579, (256, 768), 256, 224, "bicubic", IMAGENET),
    "dinov2:vitb14_reg": (768, 86.582, (256, 768), 256, 224, "bicubic", IMAGENET),
    "dinov2:vitl14": (1024, 304.367, (256, 1024), 256, 224, "bicubic", IMAGENET),
    "dinov2:vits14": (384, 22.056, (256, 384), 256, 224, "bicubic", IMAGENET),
    "dinov3": (768, 85.641, (256, 768), 256, 256, "bicubic", IMAGENET),
    "eva02": (768, 85.759, (256, 768), 256, 224, "bicubic", CLIP),
    "siglip2": (768, 92.884, (196, 768), (224, 224), None, "bilinear", HALF),
    "swav": (2048, 23.508, (49, 2048), 256, 224, "bilinear", SWAV),
    "vicreg": (2048, 23.508, (49, 2048), 256, 224, "bilinear", IMAGENET),
}


def one(side: int = 224) -> Tensor:
    return batch(side, count=1)


def on_meta(name: str) -> tuple[Any, Any]:
    """A backbone and its module on the device "meta": shapes without values, at no cost."""
    chosen: Any = backbone(name)
    with torch.device("meta"):
        return chosen, chosen.build().eval()


def random_values(module: nn.Module) -> State:
    """Values in the shapes of a module, of a size that keeps every layer's output alive."""
    generator = torch.Generator().manual_seed(5)

    def values(key: str, shape: torch.Size) -> Tensor:
        about = 1.0 if key.endswith("weight") and len(shape) == 1 else 0.5 if "gamma" in key or "scale" in key else 0.0
        return about + 0.1 * (torch.rand(shape, generator=generator) - 0.5)

    return {key: values(key, value.shape) for key, value in module.state_dict().items()}


def random_state(arch: str, **options: Any) -> State:
    """Such values for an architecture of timm's."""
    with torch.device("meta"):
        module = timm.create_model(arch, **options)
    return random_values(module)


def assert_converts_to(expected: State, name: str, checkpoint: object, path: Path) -> None:
    """A file of another published form becomes the same parameters."""
    chosen, module = on_meta(name)
    found = chosen.convert(chosen.read(written(checkpoint, path)), module)
    path.unlink()
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


# --- ResNet-50: torchvision's is the authors' architecture


@pytest.mark.parametrize("name", ["barlowtwins", "vicreg"])
def test_resnets_published_without_classifier(name: str, tmp_path: Path) -> None:
    module, state = resnet()
    last = feature_map(module, batch(96))
    found = described(name, headless(state), tmp_path / "resnet50.pth", batch(96))
    assert_describes(found, last.mean((2, 3)), cells(last))


def test_swav_leaves_its_projector_and_prototypes_out(tmp_path: Path) -> None:
    module, state = resnet()
    trained = headless(state) | {"projection_head.0.weight": torch.ones(3), "prototypes.weight": torch.ones(3)}
    checkpoint = {f"module.{key}": value for key, value in trained.items()}
    last = feature_map(module, batch(96))
    found = described("swav", checkpoint, tmp_path / "swav_800ep_pretrain.pth.tar", batch(96))
    assert_describes(found, last.mean((2, 3)), cells(last))


# --- vision transformers written out


@torch.inference_mode()
def transformer(s: State, x: Tensor, heads: int, activation: Callable[[Tensor], Tensor] = F.gelu) -> Tensor:
    """The tokens x [B, T, d] through the blocks and the final norm of a state in the authors' names."""
    for block in (f"blocks.{number}" for number in range(12)):
        qkv = linear(s, norm(s, x, f"{block}.norm1"), f"{block}.attn.qkv")
        q, k, v = qkv.view(*x.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
        attended = ((q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(3) @ v).transpose(1, 2).flatten(2)
        x = x + linear(s, attended, f"{block}.attn.proj") * s.get(f"{block}.ls1.gamma", 1)
        hidden = activation(linear(s, norm(s, x, f"{block}.norm2"), f"{block}.mlp.fc1"))
        x = x + linear(s, hidden, f"{block}.mlp.fc2") * s.get(f"{block}.ls2.gamma", 1)
    return norm(s, x, "norm")


def norm(s: State, x: Tensor, name: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"], 1e-6)


def linear(s: State, x: Tensor, name: str) -> Tensor:
    return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]


def patches(s: State, x: Tensor) -> Tensor:
    weight = s["patch_embed.proj.weight"]
    return F.conv2d(x, weight, s["patch_embed.proj.bias"], stride=weight.shape[-1]).flatten(2).transpose(1, 2)


def with_class_token(s: State, tokens: Tensor) -> Tensor:
    return torch.cat([s["cls_token"].expand(len(tokens), -1, -1), tokens], 1)


def test_deit(tmp_path: Path) -> None:
    state = random_state("deit_small_patch16_224")
    expected = transformer(state, with_class_token(state, patches(state, one())) + state["pos_embed"], heads=6)
    found = described("deit:small", {"model": state}, tmp_path / "deit_small_patch16_224-cd65a155.pth", one())
    assert_describes(found, expected[:, 0], expected[:, 1:])
    assert_converts_to(headless(state), "deit:small", state, tmp_path / "model.safetensors")


def cubic(grid: int) -> Tensor:
    """[grid, 37]: weights of a bicubic resampling (a = -3/4) of 37 positions by the scale (grid + 0.1) / 37."""
    matrix = torch.zeros(grid, 37)
    for row in range(grid):
        source = (row + 0.5) * 37 / (grid + 0.1) - 0.5
        for near in range(int(source // 1) - 1, int(source // 1) + 3):
            d = abs(source - near)
            inner, outer = 1.25 * d**3 - 2.25 * d**2 + 1, -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            matrix[row, min(max(near, 0), 36)] += inner if d <= 1 else outer
    return matrix


@pytest.mark.parametrize(("published", "rows", "columns"), [("model.safetensors", 16, 16), ("pretrain.pth", 9, 20)])
def test_dinov2_resamples_its_positions_as_the_authors(published: str, rows: int, columns: int, tmp_path: Path) -> None:
    state = random_state("vit_small_patch14_dinov2", num_classes=0)
    known = state["pos_embed"][0, 1:].unflatten(0, (37, 37))
    grid = torch.einsum("ri,cj,ijd->rcd", cubic(rows), cubic(columns), known).flatten(0, 1)
    positions = torch.cat([state["pos_embed"][:, :1], grid[None]], 1)
    pixels = one(280)[..., : rows * 14, : columns * 14]
    expected = transformer(state, with_class_token(state, patches(state, pixels)) + positions, heads=6)
    masked = {"mask_token": torch.ones(1, 384)} if published.endswith(".pth") else {}
    # what is not a whole patch at the right and bottom is not looked at
    found = described("dinov2:vits14", state | masked, tmp_path / published, F.pad(pixels, (0, 13, 0, 1), value=9.0))
    assert_describes(found, expected[:, 0], expected[:, 1:])


def test_dinov2_with_registers(tmp_path: Path) -> None:
    hub = random_state("vit_base_patch14_reg4_dinov2", num_classes=0)
    authors = {key: value for key, value in hub.items() if key != "reg_token"} | {
        "register_tokens": hub["reg_token"],
        "pos_embed": torch.cat([torch.full((1, 1, 768), 0.01), hub["pos_embed"]], 1),
        "mask_token": torch.ones(1, 768),
    }
    hub["cls_token"] = authors["cls_token"] + authors["pos_embed"][:, :1]
    # the authors' models with registers resample to a size, with antialiasing
    grid = hub["pos_embed"].unflatten(1, (37, 37)).permute(0, 3, 1, 2)
    positions = F.interpolate(grid, (16, 16), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    first = torch.cat([hub["cls_token"], hub["reg_token"]], 1)
    expected = transformer(hub, torch.cat([first, patches(hub, one()) + positions], 1), heads=12)
    found = described("dinov2:vitb14_reg", authors, tmp_path / "dinov2_vitb14_reg4_pretrain.pth", one())
    assert_describes(found, expected[:, 0], expected[:, 5:])
    assert_converts_to(hub, "dinov2:vitb14_reg", hub, tmp_path / "model.safetensors")


def test_siglip2_pools_by_attention(tmp_path: Path) -> None:
    state = random_state("vit_base_patch16_siglip_224", num_classes=0)

    def tanh_gelu(x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")

    tokens = transformer(state, patches(state, one()) + state["pos_embed"], 12, tanh_gelu)
    pool = nn.MultiheadAttention(768, 12, batch_first=True)
    pool.in_proj_weight.data = torch.cat([state["attn_pool.q.weight"], state["attn_pool.kv.weight"]])
    pool.in_proj_bias.data = torch.cat([state["attn_pool.q.bias"], state["attn_pool.kv.bias"]])
    pool.out_proj.weight.data, pool.out_proj.bias.data = state["attn_pool.proj.weight"], state["attn_pool.proj.bias"]
    with torch.inference_mode():
        x = pool(state["attn_pool.latent"], tokens, tokens, need_weights=False)[0]
        hidden = tanh_gelu(linear(state, norm(state, x, "attn_pool.norm"), "attn_pool.mlp.fc1"))
        expected = (x + linear(state, hidden, "attn_pool.mlp.fc2"))[:, 0]
    assert_describes(described("siglip2", state, tmp_path / "model.safetensors", one()), expected, tokens)


# --- vision transformers against timm's own way from a file to a model


def by_timm(arch: str, checkpoint: State, path: Path) -> Any:
    overlay = {"file": str(written(checkpoint, path))}
    module = timm.create_model(arch, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0).eval()
    path.unlink()
    return module


def renamed(state: State, *pairs: tuple[str, str]) -> State:
    def rename(key: str) -> str:
        for pattern, replacement in pairs:
            key = re.sub(pattern, replacement, key)
        return key

    return {rename(key): value for key, value in state.items()}


@torch.inference_mode()
def test_dinov3(tmp_path: Path) -> None:
    arch = "vit_base_patch16_dinov3"
    hub = random_state(arch, num_classes=0)
    found = described("dinov3", hub, tmp_path / "model.safetensors", one(128))
    module = by_timm(arch, hub, tmp_path / "model.safetensors")
    rounded = module.rope.periods.bfloat16().float()
    assert not torch.equal(module.rope.periods, rounded)
    module.rope.periods = rounded
    tokens = module.forward_features(one(128))
    assert tokens.shape[1] == 1 + 4 + 64
    assert_describes(found, tokens[:, 0], tokens[:, 5:])

    authors = renamed(hub, ("reg_token", "storage_tokens"), (r"\.gamma_(\d)", r".ls\1.gamma"))
    authors |= {"mask_token": torch.ones(1, 768), "rope_embed.periods": rounded}
    for block in (f"blocks.{number}.attn.qkv" for number in range(12)):
        authors |= {f"{block}.bias": torch.zeros(2304), f"{block}.bias_mask": torch.ones(2304)}
    assert_converts_to(hub, "dinov3", authors, tmp_path / "dinov3_vitb16.pth")
    biased = {"blocks.3.attn.qkv.bias": torch.ones(2304)}
    assert_converts_to(hub | biased, "dinov3", authors | biased, tmp_path / "biased.pth")


@torch.inference_mode()
def test_beit(tmp_path: Path) -> None:
    state = random_state("beit_base_patch16_224", num_classes=9)
    index = {f"blocks.{number}.attn.relative_position_index": torch.ones(197, 197).long() for number in range(12)}
    found = described("beit", {"model": state | index}, tmp_path / "beit_base_patch16_224_pt22k_ft22k.pth", one())
    assert_converts_to(headless(state), "beit:in1k", state | index, tmp_path / "model.safetensors")
    module = by_timm("beit_base_patch16_224.in22k_ft_in22k", state | index, tmp_path / "model.safetensors")
    tokens = module.forward_features(one())
    assert_describes(found, module.fc_norm(tokens[:, 1:].mean(1)), tokens[:, 1:])


@torch.inference_mode()
def test_eva02(tmp_path: Path) -> None:
    hub = random_state("eva02_base_patch14_224", num_classes=0)
    found = described("eva02", hub, tmp_path / "model.safetensors", one())
    module = by_timm("eva02_base_patch14_224.mim_in22k", hub, tmp_path / "model.safetensors")
    tokens = module.forward_features(one())[:, 1:]
    assert_describes(found, module.fc_norm(tokens.mean(1)), module.fc_norm(tokens))

    gated = (r"mlp\.fc1_g", "mlp.w1"), (r"mlp\.fc1_x", "mlp.w2"), (r"mlp\.fc2", "mlp.w3"), (r"mlp\.norm", "mlp.ffn_ln")
    biases = (r"attn\.([qv])_proj\.bias", r"attn.\1_bias")
    rotary = {f"{at}rope.freqs_{of}": torch.ones(256, 64) for at in ("", "blocks.0.attn.") for of in ("cos", "sin")}
    heads = {"mask_token": torch.ones(1, 1, 768), "lm_head.weight": torch.ones(2), "lm_head.bias": torch.ones(2)}
    checkpoint = {"model": renamed(hub, ("fc_norm", "norm"), *gated, biases) | rotary | heads}
    assert_converts_to(hub, "eva02", checkpoint, tmp_path / "eva02_B_pt_in21k_p14.pt")


# --- ConvNeXt-B: torchvision's, its names put into the authors' or timm's


@pytest.fixture(scope="module")
def convnext() -> Any:
    with torch.device("meta"):
        module = torchvision.models.convnext_base().eval()
    module.load_state_dict(random_values(module), assign=True)
    return module


def convnext_names(key: str, stem: str, block: str, layers: tuple[str, str, str, str, str], down: str) -> str:
    """A parameter's name: of the stem, of a block's layers, of what scales the map down between stages."""
    layer = dict(zip(["block.0", "block.2", "block.3", "block.5", "layer_scale"], layers, strict=True))
    if match := re.fullmatch(r"features\.0\.(\d)\.(\w+)", key):
        return f"{stem}.{match[1]}.{match[2]}"
    stage, number, rest = re.fullmatch(r"features\.(\d)\.(\d+)\.(.*)", key).groups()  # type: ignore[union-attr]
    if int(stage) % 2 == 0:
        return f"{down.format(int(stage) // 2)}.{number}.{rest}"
    name = rest if rest in layer else rest.rpartition(".")[0]
    return f"{block.format(int(stage) // 2, number)}.{layer[name]}{rest.removeprefix(name)}"


AUTHORS = (
    "downsample_layers.0",
    "stages.{}.{}",
    ("dwconv", "norm", "pwconv1", "pwconv2", "gamma"),
    "downsample_layers.{}",
)
TIMM = "stem", "stages.{}.blocks.{}", ("conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma"), "stages.{}.downsample"


def convnext_state(module: Any, names: tuple[str, str, tuple[str, str, str, str, str], str]) -> State:
    state = {k: v for k, v in module.state_dict().items() if k.startswith("features.")}
    return {convnext_names(k, *names): v.flatten() if k.endswith("layer_scale") else v for k, v in state.items()}


def finals(module: Any, norm_name: str) -> State:
    return {f"{norm_name}.{kind}": module.state_dict()[f"classifier.0.{kind}"] for kind in ("weight", "bias")}


@torch.inference_mode()
def test_convnext(convnext: Any, tmp_path: Path) -> None:
    hub = convnext_state(convnext, TIMM) | finals(convnext, "head.norm")
    authors = convnext_state(convnext, AUTHORS) | finals(convnext, "norm")
    last = convnext.features(one(128))
    expected = convnext.classifier[0](convnext.avgpool(last)).flatten(1)
    head = {"head.weight": torch.ones(1000, 1024), "head.bias": torch.ones(1000)}
    found = described("convnext", {"model": authors | head}, tmp_path / "convnext_base_1k_224_ema.pth", one(128))
    assert_describes(found, expected, cells(convnext.classifier[0](last)))

    classifier = {"head.fc.weight": torch.ones(1000, 1024), "head.fc.bias": torch.ones(1000)}
    assert_converts_to(hub, "convnext", hub | classifier, tmp_path / "model.safetensors")
    twice = authors | finals(convnext, "norms.3")
    assert_converts_to(hub, "convnext:dinov3_lvd1689m", twice, tmp_path / "dinov3_convnext_base.pth")


@torch.inference_mode()
def test_convnext_of_captions_is_projected(convnext: Any, tmp_path: Path) -> None:
    tower = convnext_state(convnext, TIMM) | finals(convnext, "head.norm")
    projection = torch.randn(640, 1024, generator=torch.Generator().manual_seed(9))
    hub = tower | {"head.fc.weight": projection, "head.fc.bias": torch.zeros(640)}
    last = convnext.features(one(128))
    expected = convnext.classifier[0](convnext.avgpool(last)).flatten(1) @ projection.T
    found = described("convnext:clip_laion2b", hub, tmp_path / "model.safetensors", one(128))
    assert_describes(found, expected, cells(convnext.classifier[0](last)))

    both = {f"visual.trunk.{key}": value for key, value in tower.items()}
    both |= {"visual.head.proj.weight": projection, "logit_scale": torch.tensor(4.6), "text_projection": torch.ones(2)}
    assert_converts_to(hub, "convnext:clip_laion2b_augreg", both, tmp_path / "open_clip_pytorch_model.bin")


# --- what all share


def test_the_extras_are_the_ten() -> None:
    entries = [entry for entry in plugins.backbones.entries() if "extras" in entry.groups]
    assert sorted(name for entry in entries for name in entry.names) == sorted(EXTRAS)
    assert [chosen.item.name for chosen in plugins.backbones.select("extras")] == sorted(
        n for n in EXTRAS if ":" not in n
    )


@pytest.mark.parametrize("name", EXTRAS)
def test_extras_are_of_the_published_size(name: str) -> None:
    dimension, millions, local, *_ = EXTRAS[name]
    chosen, module = on_meta(name)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    assert parameters / 1e6 == pytest.approx(millions, abs=5e-4)
    assert chosen.weights.megabytes >= 4 * parameters / 1e6 - 1
    side = chosen.preprocess.crop or chosen.preprocess.size
    found = chosen.describe(module, torch.empty(2, 3, side, side, device="meta"))
    assert found.global_.shape == (2, dimension) == (2, chosen.embed_dim)
    assert found.local.shape == (2, *local)


@pytest.mark.parametrize("name", [name for name in EXTRAS if not name.startswith("beit")])
def test_extras_take_images_of_any_size(name: str) -> None:
    dimension, _, (_, width), *_ = EXTRAS[name]
    chosen, module = on_meta(name)
    for shape in [(320, 320), (256, 385), (113, 71)]:
        found = chosen.describe(module, torch.empty(1, 3, *shape, device="meta"))
        assert found.global_.shape == (1, dimension) and found.local.shape[::2] == (1, width)


@pytest.mark.parametrize("shape", [(320, 320), (224, 336), (158, 158)])
def test_beit_says_what_sizes_it_takes(shape: tuple[int, int]) -> None:
    chosen, module = on_meta("beit")
    told = f"BEiT reads images of 224 x 224, .*, not {shape[1]} x {shape[0]}: .*"
    with pytest.raises(UsageError, match=told):
        chosen.describe(module, torch.empty(1, 3, *shape, device="meta"))


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("barlowtwins", ""),
        ("beit", ""),
        ("convnext", ""),
        ("convnext:clip_laion2b", ""),
        ("deit", ""),
        ("dinov2", ""),
        ("dinov2:vitb14_reg", ""),
        ("dinov3", ""),
        ("eva02", ""),
        ("siglip2", ""),
        ("swav", "module."),
        ("vicreg", ""),
    ],
)
def test_what_does_not_fit_is_refused(name: str, prefix: str) -> None:
    chosen, module = on_meta(name)
    state = {f"{prefix}{key}": value for key, value in module.state_dict().items()}
    removed = next(
        key for key in state if key.endswith("norm1.weight") or "layer1.0.bn1.weight" in key or "conv_dw" in key
    )
    del state[removed]
    state[f"{prefix}foreign"] = torch.ones(1)
    told = f"wrong.pth does not fit .*: it lacks {re.escape(removed.removeprefix(prefix))}; has unknown foreign$"
    with pytest.raises(CheckpointError, match=told):
        load_strictly(module, chosen.convert(state, module), Path("wrong.pth"))


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("beit", "blocks.0.attn.relative_position_bias_table", (2212, 12)),
        ("convnext", "stem.0.weight", (128, 3, 2, 2)),
        ("deit", "pos_embed", (1, 577, 768)),
        ("dinov2", "pos_embed", (1, 257, 768)),
        ("dinov3", "patch_embed.proj.weight", (768, 3, 14, 14)),
        ("eva02", "pos_embed", (1, 1025, 768)),
        ("siglip2", "pos_embed", (1, 256, 768)),
    ],
)
def test_a_checkpoint_for_another_size_is_not_resampled(name: str, key: str, shape: tuple[int, ...]) -> None:
    chosen, module = on_meta(name)
    state = {**module.state_dict(), key: torch.empty(shape, device="meta")}
    with pytest.raises(CheckpointError, match=f"wrong.pth does not fit .*: it has of another shape {re.escape(key)}"):
        load_strictly(module, chosen.convert(state, module), Path("wrong.pth"))


@pytest.mark.parametrize("name", EXTRAS)
def test_preprocessing_gives_torchvisions_pixels(name: str, photo: Path) -> None:
    from torchvision import transforms as T

    *_, resize, crop, interpolation, (mean, std) = EXTRAS[name]  # type: ignore[misc]
    steps = [T.Resize(resize, T.InterpolationMode(interpolation)), *([T.CenterCrop(crop)] if crop else [])]
    official = T.Compose([*steps, T.ToTensor(), T.Normalize(mean, std)])
    assert torch.equal(images.load(photo, backbone(name).preprocess), official(Image.open(photo).convert("RGB")))


@torch.inference_mode()
def test_a_photograph_in_its_own_shape_and_several_scales(photo: Path) -> None:
    chosen: Any = backbone("dinov2:vits14[multiscale=yes]")
    model: Any = chosen.load("cpu", None)
    pixels = images.load(photo, Mode.parse("short:128").apply(chosen.preprocess))[None]
    scaled = [F.interpolate(pixels, scale_factor=2**-s, mode="bilinear") for s in (0, 0.5, 1)]
    each = [chosen.describe(model.module, x) for x in scaled]
    assert each[0].local.shape == (1, 9 * 13, 384) and pixels.shape == (1, 3, 128, 192)
    assert_describes(model.describe(pixels), torch.stack([found.global_ for found in each]).mean(0), each[0].local)


@pytest.mark.parametrize("name", ["beit", "convnext", "deit", "dinov2", "dinov3", "eva02", "siglip2", "swav"])
def test_gem_pools_the_local_descriptors(name: str) -> None:
    chosen, module = on_meta(f"{name}[gem=3]")
    side = chosen.preprocess.crop or chosen.preprocess.size
    assert chosen.describe(module, torch.empty(1, 3, side, side, device="meta")).global_.shape == (1, chosen.embed_dim)


def test_the_projected_convnext_has_no_gem() -> None:
    with pytest.raises(UsageError, match="'convnext:clip_laion2b' has no option 'gem'"):
        backbone("convnext:clip_laion2b[gem=3]")


@pytest.mark.parametrize(
    ("name", "licence", "gated", "pretraining"),
    [
        ("barlowtwins", "MIT", False, "ImageNet-1k, no labels"),
        ("beit", "Apache-2.0", False, "then labels of ImageNet-22k"),
        ("beit:in1k", "Apache-2.0", False, "then labels of ImageNet-22k, then 1k"),
        ("convnext", "Apache-2.0", False, "ImageNet-1k, labels"),
        ("convnext:clip_laion2b", "Apache-2.0", False, "LAION-2B"),
        ("convnext:dinov3_lvd1689m", "DINOv3-License", True, "LVD-1689M"),
        ("deit", "Apache-2.0", False, "ImageNet-1k, labels"),
        ("dinov2", "Apache-2.0", False, "may hold a benchmark's images"),
        ("dinov3", "DINOv3-License", True, "LVD-1689M"),
        ("eva02", "MIT", False, "EVA-CLIP"),
        ("siglip2", "Apache-2.0", False, "WebLI"),
        ("swav", "CC-BY-NC-4.0", False, "ImageNet-1k, no labels"),
        ("vicreg", "MIT", False, "ImageNet-1k, no labels"),
    ],
)
def test_extras_say_where_they_come_from(name: str, licence: str, gated: bool, pretraining: str) -> None:
    origin = backbone(name).weights
    assert (origin.licence, origin.gated) == (licence, gated) and pretraining in origin.pretraining
    assert origin.non_commercial == (name == "swav") and not origin.carries_code
    assert re.fullmatch(r".+ \d{4}, arXiv:\d{4}\.\d{5}", origin.citation)
    assert all((weights.address(source) or "").startswith("https://") for source in (origin.source, *origin.mirrors))
