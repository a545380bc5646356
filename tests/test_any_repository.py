"""Repositories of the Hugging Face hub as backbones, against transformers and timm themselves, from real files."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from torch import nn

from bench import images, weights
from bench.errors import CheckpointError, UsageError, WeightsUnavailable
from bench.interfaces import Backbone, Preprocess
from tests.checkpoints import assert_close, assert_describes, backbone, jittered
from tests.serving import serving

VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 100,
    "max_position_embeddings": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SQUARE = {"height": 32, "width": 32}
HALF = (0.5, 0.5, 0.5)


def vit() -> nn.Module:
    return transformers.ViTModel(transformers.ViTConfig(**VISION))


def repository(folder: Path, module: Any, processor: Any = None) -> tuple[Path, Any]:
    """A folder as save_pretrained writes it, and the module, whose parameters are none of the initial ones."""
    module.load_state_dict(jittered(module))
    module.save_pretrained(folder)
    (processor or transformers.ViTImageProcessor(size=SQUARE)).save_pretrained(folder)
    return folder, module.eval()


def settled(folder: Path, options: str = "") -> Backbone:
    chosen = backbone(f"hf:{folder}{options}")
    assert chosen.embed_dim is None and chosen.name == f"hf:{folder.name}{options}"
    return chosen.settled(folder / "model.safetensors")


def batch(side: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(4))


def whole(module: Any, pixels: torch.Tensor) -> Any:
    return module(pixel_values=pixels)


# name -> model, its call, tokens before the patches; None: a map
MODELS: dict[str, tuple[Callable[[], Any], Callable[[Any, torch.Tensor], Any], int | None]] = {
    "vit": (vit, whole, 1),
    "dinov2": (
        lambda: transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**VISION)),
        whole,
        5,
    ),
    "swin": (
        lambda: transformers.SwinModel(
            transformers.SwinConfig(
                image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4
            )
        ),
        whole,
        0,
    ),
    "convnext": (
        lambda: transformers.ConvNextModel(
            transformers.ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16])
        ),
        whole,
        None,
    ),
    "clip": (
        lambda: transformers.CLIPModel(
            transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)
        ),
        lambda module, pixels: module.get_image_features(pixel_values=pixels),
        1,
    ),
    "siglip": (
        lambda: transformers.SiglipModel(transformers.SiglipConfig(text_config=TEXT, vision_config=VISION)),
        lambda module, pixels: module.get_image_features(pixel_values=pixels),
        0,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_of_transformers(name: str, tmp_path: Path) -> None:
    make, call, prefix = MODELS[name]
    folder, module = repository(tmp_path / name, make())
    made = settled(folder)
    model = made.load("cpu", folder / "model.safetensors")
    with torch.inference_mode():
        found, expected = model.describe(batch()), call(module, batch())
    hidden = expected.last_hidden_state
    cells = hidden.flatten(2).transpose(1, 2) if prefix is None else hidden[:, prefix:]
    assert_describes(found, expected.pooler_output, cells)
    assert found.global_.shape == (2, made.embed_dim)
    assert made.preprocess == Preprocess("squash", 32, None, "bilinear", HALF, HALF)


@pytest.mark.parametrize("name", ["vit", "dinov2", "clip", "siglip"])
def test_images_of_another_size(name: str, tmp_path: Path) -> None:
    folder, module = repository(tmp_path / name, MODELS[name][0]())
    found = settled(folder).load("cpu", folder / "model.safetensors").describe(batch(48))
    options = {} if name == "dinov2" else {"interpolate_pos_encoding": True}  # it always does
    tower = module if name in ("vit", "dinov2") else module.vision_model
    assert_close(found.local, tower(batch(48), **options).last_hidden_state[:, -36:])


def test_the_text_tower_is_not_counted(tmp_path: Path) -> None:
    folder, module = repository(tmp_path / "siglip", MODELS["siglip"][0]())
    scales = module.logit_scale.numel() + module.logit_bias.numel()
    expected = sum(parameter.numel() for parameter in module.vision_model.parameters()) + scales
    assert settled(folder).load("cpu", folder / "model.safetensors").n_parameters == expected


@pytest.mark.parametrize("pool", ["pooler", "cls", "mean"])
def test_the_pool_is_chosen(pool: str, tmp_path: Path) -> None:
    folder, module = repository(tmp_path / "vit", vit())
    found = settled(folder, f"[pool={pool}]").load("cpu", folder / "model.safetensors").describe(batch())
    output = whole(module, batch())
    tokens = output.last_hidden_state
    expected = {"pooler": output.pooler_output, "cls": tokens[:, 0], "mean": tokens[:, 1:].mean(1)}
    assert_close(found.global_, expected[pool])


def test_a_pooler_that_was_not_trained_is_not_used(tmp_path: Path) -> None:
    """A classifier's checkpoint has none: transformers would use random parameters."""
    folder, module = repository(
        tmp_path / "vit", transformers.ViTForImageClassification(transformers.ViTConfig(**VISION))
    )
    found = settled(folder).load("cpu", folder / "model.safetensors").describe(batch())
    assert_close(found.global_, whole(module.vit, batch()).last_hidden_state[:, 0])
    with pytest.raises(CheckpointError, match=r"lacks, or has of another shape, pooler\.dense\.bias"):
        settled(folder, "[pool=pooler]")


def test_without_class_token_the_tokens_mean(tmp_path: Path) -> None:
    folder, module = repository(tmp_path / "ijepa", transformers.IJepaModel(transformers.IJepaConfig(**VISION)))
    with torch.inference_mode():
        expected = whole(module, batch()).last_hidden_state.mean(1)
    assert_close(settled(folder).load("cpu", folder / "model.safetensors").describe(batch()).global_, expected)
    with pytest.raises(CheckpointError, match="has no cls, only mean: choose by the option pool"):
        settled(folder, "[pool=cls]")


def test_older_files_of_torch(tmp_path: Path) -> None:
    folder, module = repository(tmp_path / "vit", vit())
    (folder / "model.safetensors").unlink()
    torch.save(module.state_dict(), folder / "pytorch_model.bin")
    chosen = backbone(f"hf:{folder}")
    assert chosen.weights.source == f"file:{folder / 'pytorch_model.bin'}"
    model = chosen.settled(folder / "pytorch_model.bin").load("cpu", folder / "pytorch_model.bin")
    assert_close(model.describe(batch()).global_, whole(module, batch()).pooler_output)


def test_half_precision_files_are_used_in_full(tmp_path: Path) -> None:
    folder, module = repository(tmp_path / "vit", vit().half())
    found = settled(folder).load("cpu", folder / "model.safetensors").describe(batch())
    assert_close(found.global_, whole(module.float(), batch()).pooler_output)


def test_what_the_configuration_says_is_part_of_the_identity(tmp_path: Path) -> None:
    folder, _ = repository(tmp_path / "vit", vit())
    before = settled(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    assert settled(folder).arch != before.arch


def test_random_weights_of_a_folder(tmp_path: Path) -> None:
    folder, _ = repository(tmp_path / "vit", vit())
    made = backbone(f"hf:{folder}[precision=bf16]").settled(None)
    assert (made.embed_dim, made.precision, made.name) == (32, "bf16", "hf:vit[precision=bf16]")
    torch.manual_seed(3)
    first = made.load("cpu", None).describe(batch()).global_
    torch.manual_seed(3)
    assert torch.equal(first, made.load("cpu", None).describe(batch()).global_)
    with pytest.raises(CheckpointError, match="leave out --weights random"):
        backbone("hf:owner/repo").settled(None)


# --- preprocessing


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (
            transformers.ViTImageProcessor(size=SQUARE, resample=3),
            Preprocess("squash", 32, None, "bicubic", HALF, HALF),
        ),
        (
            transformers.BitImageProcessor(
                size={"shortest_edge": 40}, crop_size=SQUARE, image_mean=[0.4, 0.5, 0.6], image_std=[0.1, 0.2, 0.3]
            ),
            Preprocess("short", 40, 32, "bicubic", (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)),
        ),
        (
            transformers.DeiTImageProcessor(size={"height": 40, "width": 40}, crop_size=SQUARE),
            Preprocess("squash", 40, 32, "bicubic", HALF, HALF),
        ),
        (
            transformers.ConvNextImageProcessor(size={"shortest_edge": 56}),
            Preprocess("short", 64, 56, "bicubic", HALF, HALF),
        ),
        (
            transformers.ViTImageProcessor(size=SQUARE, do_normalize=False),
            Preprocess("squash", 32, None, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ),
    ],
)
def test_preprocessing_is_the_processors(processor: Any, expected: Preprocess, tmp_path: Path, photo: Path) -> None:
    folder, _ = repository(tmp_path / "vit", vit(), processor)
    own = settled(folder).preprocess
    assert own == expected
    theirs = processor(Image.open(photo).convert("RGB"), return_tensors="np")["pixel_values"][0]
    ours = images.load(photo, own).numpy()
    assert ours.shape == theirs.shape and np.abs(ours - theirs).mean() < 0.01  # pillow rounds, torch does not


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"resample": 1}, "resampling by 1"),
        ({"do_resize": False}, "resizing to"),
        ({"size": {"height": 32, "width": 40}}, "resizing to"),
        ({"rescale_factor": 1 / 127.5}, "can't be made here: ViTImageProcessor"),
        ({"image_processor_type": "NoSuchProcessor"}, "no preprocessing that can be made here"),
    ],
)
def test_preprocessing_that_is_not_ours(changed: dict[str, Any], told: str, tmp_path: Path) -> None:
    folder, _ = repository(tmp_path / "vit", vit())
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    with pytest.raises(CheckpointError, match=told) as error:
        settled(folder)
    assert "preprocessor_config.json" in str(error.value) and "\n" not in str(error.value)


# --- models of timm


def test_a_repository_of_timm(tmp_path: Path) -> None:
    module: Any = timm.create_model("test_vit", img_size=96, num_classes=7)
    module.load_state_dict(jittered(module))
    module.pretrained_cfg.update(input_size=(3, 96, 96), crop_pct=0.8, interpolation="bilinear", mean=HALF)
    timm.models.save_for_hf(module.eval(), str(tmp_path / "mine"), model_args={"img_size": 96}, safe_serialization=True)
    made = settled(tmp_path / "mine")
    assert made.preprocess == Preprocess("short", 120, 96, "bilinear", HALF, made.preprocess.std)
    assert made.embed_dim == 64 and made.arch.startswith("test_vit, configuration ")
    with torch.inference_mode():
        found = made.load("cpu", tmp_path / "mine" / "model.safetensors").describe(batch(96))
        features = module.forward_features(batch(96))
        assert_describes(found, module.forward_head(features, pre_logits=True), features[:, 1:])


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"architecture": "no_such_model", "pretrained_cfg": {}}, "is of no model of timm's .*no_such_model"),
        ({"architecture": "test_vit", "pretrained_cfg": {"colour": 3}}, "is of no model of timm's"),
        ({"architecture": "test_vit", "pretrained_cfg": {"input_size": [3, 96, 80]}}, "only colour squares"),
        ({"architecture": "test_vit", "pretrained_cfg": 3}, "is of no model of timm's"),
    ],
)
def test_wrong_configurations_of_timm(config: dict[str, Any], told: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match=told):
        settled(tmp_path)


# --- the hub


def test_a_repository_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, module = repository(tmp_path / "vit", vit())
    commit = "c" * 40
    with serving(b"") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        server.headers = {"X-Repo-Commit": commit}
        server.files = {
            f"/some/vit/resolve/{'main' if file.suffix == '.safetensors' else commit}/{file.name}": file.read_bytes()
            for file in folder.iterdir()
        }
        chosen = backbone("hf:some/vit")
        found = weights.WeightsStore(weights.Network(offline=False)).obtain(chosen.weights)
    assert found is not None and found.path.parent.name == commit
    made = chosen.settled(found.path)
    assert (made.name, made.embed_dim) == ("hf:some/vit", 32)
    assert_close(made.load("cpu", found.path).describe(batch()).global_, whole(module, batch()).pooler_output)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("vit", "there is no folder vit, and it is not a repository's OWNER/REPO"),
        ("a/b/c", "there is no folder a/b/c"),
        ("owner/repo[pool=max]", "pool of hf:owner/repo is pooler or cls or mean, not 'max'"),
        ("owner/repo[pol=cls]", "no option 'pol'"),
        ("owner/repo[precision=fp8]", "precision"),
    ],
)
def test_wrong_names(place: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        backbone(f"hf:{place}")


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds neither model\.safetensors nor pytorch_model\.bin"):
        backbone(f"hf:{tmp_path}")


@pytest.mark.parametrize("missing", ["config.json", "preprocessor_config.json"])
def test_a_file_that_is_missing(missing: str, tmp_path: Path) -> None:
    folder, _ = repository(tmp_path / "vit", vit())
    (folder / missing).unlink()
    with pytest.raises(CheckpointError, match=f"there is no {folder / missing}"):
        settled(folder)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "can't be read as JSON"),
        ("3", "can't be read as JSON"),
        ("{}", "is of no model of transformers"),
        ('{"model_type": "no_such_model"}', "is of no model of transformers"),
    ],
)
def test_wrong_configurations(text: str, told: str, tmp_path: Path) -> None:
    folder, _ = repository(tmp_path / "vit", vit())
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=told) as error:
        settled(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (lambda: transformers.BertModel(transformers.BertConfig(**TEXT)), "is a bert, which does not read images"),
        (lambda: transformers.ViTMAEModel(transformers.ViTMAEConfig(**VISION)), "hides patches at random"),
    ],
)
def test_models_that_describe_no_image(module: Callable[[], Any], told: str, tmp_path: Path) -> None:
    folder, _ = repository(tmp_path / "model", module())
    with pytest.raises(CheckpointError, match=told):
        settled(folder)


@pytest.mark.parametrize("spoilt", ["lacks", "shape"])
def test_another_checkpoint_is_refused(spoilt: str, tmp_path: Path) -> None:
    folder, _ = repository(tmp_path / "vit", vit())
    file = folder / "config.json"
    changed = {"num_hidden_layers": 3} if spoilt == "lacks" else {"patch_size": 4}
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    with pytest.raises(CheckpointError, match=r"is not the checkpoint of hf:vit .*lacks, or has of another shape"):
        settled(folder)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_code_in_a_repository_is_never_run(name: str, tmp_path: Path) -> None:
    folder, _ = repository(tmp_path / "vit", vit())
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')")
    named = {"AutoConfig": "evil.C", "AutoModel": "evil.C", "AutoImageProcessor": "evil.C"}
    text = json.loads((folder / name).read_text())
    changed = {"auto_map": named, "model_type": "evil", "image_processor_type": "Evil"}
    (folder / name).write_text(json.dumps(text | changed))
    with pytest.raises(CheckpointError, match=rf"vit/{name} is of no"):
        settled(folder)
    assert not (tmp_path / "was_run").exists()


def test_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = repository(tmp_path / "vit", vit())
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(WeightsUnavailable, match="hf:vit needs transformers: pip install transformers"):
        settled(folder)
