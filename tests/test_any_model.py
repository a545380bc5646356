"""Any model of timm and of torchvision, against the libraries themselves, from files in the form they publish.

The parameters are random: this proves conversion, preprocessing and descriptor, not training.
"""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from bench import images, weights
from bench.errors import CheckpointError, UsageError
from bench.interfaces import Descriptors
from tests.checkpoints import assert_close, backbone, jittered, written

#: architecture -> where local descriptors come from: layout of the last map, tokens before the patches, or None
TIMM: dict[str, str | int | None] = {
    "test_resnet": "NCHW",
    "test_efficientnet": "NCHW",
    "test_convnext": "NCHW",
    "test_byobnet": "NCHW",
    "mobilenetv3_small_050": "NCHW",  # with a layer between pooling and classifier
    "mobilevit_xxs": "NCHW",
    "fastvit_t8": "NCHW",
    "edgenext_xx_small": "NCHW",
    "mambaout_femto": "NHWC",
    "test_vit": 1,
    "eva02_tiny_patch14_224": 1,
    "vit_tiny_r_s16_p8_224": 1,
    "xcit_nano_12_p16_224": 1,
    "levit_128s": 0,
    "pit_ti_224": None,  # gives the class token alone
    "coat_lite_tiny": None,  # does not tell where its class token is
    "crossvit_9_240": None,  # two maps
}


def model(arch: str, seed: int = 1, **options: Any) -> nn.Module:
    """timm's model with random parameters and its classifier."""
    torch.manual_seed(seed)
    module: nn.Module = timm.create_model(arch, **options)
    module.load_state_dict(jittered(module, seed))
    return module.eval()


def saved(module: nn.Module, folder: Path) -> Path:
    # a tensor under two names can't be in such a file
    return written({key: value.clone() for key, value in module.state_dict().items()}, folder / "model.safetensors")


def batch(side: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(7))


@torch.inference_mode()
def before_classifier(module: Any, pixels: Tensor) -> Tensor:
    found: Tensor = module.forward_head(module.forward_features(pixels), pre_logits=True)
    return found


@torch.inference_mode()
def described(name: str, path: Path | None, pixels: Tensor) -> Descriptors:
    chosen = backbone(name)
    loaded = chosen.load("cpu", path)
    found = loaded.describe(pixels)
    assert found.global_.shape == (len(pixels), chosen.embed_dim)
    return found


# --- timm


@pytest.mark.parametrize("arch", TIMM)
def test_timm(arch: str, tmp_path: Path) -> None:
    module: Any = model(arch)
    pixels = batch(module.pretrained_cfg["input_size"][-1], 1)
    found = described(f"timm:{arch}", saved(module, tmp_path), pixels)
    assert_close(found.global_, before_classifier(module, pixels))
    with torch.inference_mode():
        features = module.forward_features(pixels)
    match TIMM[arch]:
        case None:
            assert found.local is None
        case "NCHW":
            assert_close(found.local, features.flatten(2).transpose(1, 2))
        case "NHWC":
            assert_close(found.local, features.flatten(1, 2))
        case int(prefix):
            assert_close(found.local, features[:, prefix:])
            assert found.local is not None and math.isqrt(found.local.shape[1]) ** 2 == found.local.shape[1]


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18"])
def test_the_classifier_is_not_counted(name: str) -> None:
    assert backbone(name).load("cpu", None).n_parameters == 11_176_512


def test_timms_own_conversion_of_the_authors_file(tmp_path: Path) -> None:
    """The authors of DeiT publish {"model": ...}, with a classifier of its own for the second token."""
    module = model("deit_tiny_distilled_patch16_224")
    path = written({"model": module.state_dict()}, tmp_path / "deit_tiny_distilled_patch16_224-b40b3cf7.pth")
    found = described("timm:deit_tiny_distilled_patch16_224.fb_in1k", path, batch(224))
    assert_close(found.global_, before_classifier(module, batch(224)))
    assert found.local is not None and found.local.shape == (2, 196, 192)  # neither token of a class is among them


@pytest.mark.parametrize(
    ("name", "side", "tokens"),
    [
        ("test_vit", 17 * 16, 17**2),
        ("eva02_tiny_patch14_224", 17 * 14, 17**2),
        ("swin_tiny_patch4_window7_224", 260, 9**2),
    ],
)
def test_images_of_another_size(name: str, side: int, tokens: int, tmp_path: Path) -> None:
    """The positions are resampled by timm; what is more than whole patches is cut off."""
    module = model(name, dynamic_img_size=True)
    pixels = batch(side + 3, 1)
    found = described(f"timm:{name}", saved(module, tmp_path), pixels)
    assert_close(found.global_, before_classifier(module, pixels[..., :side, :side]))
    assert found.local is not None and found.local.shape[1] == tokens


def test_an_architecture_built_for_another_size(tmp_path: Path) -> None:
    module = model("test_vit")
    state = {key: value.clone() for key, value in module.state_dict().items()}
    direct = timm.create_model(
        "test_vit", pretrained=True, pretrained_cfg_overlay={"state_dict": state}, img_size=112
    ).eval()
    name = "timm:test_vit[img_size=112]"
    found = described(name, saved(module, tmp_path), batch(112))
    assert_close(found.global_, before_classifier(direct, batch(112)))
    assert found.local is not None and found.local.shape == (2, 49, 64)
    assert backbone(name).preprocess.crop == 112 and backbone(name).name == name


def test_options_of_torch_and_of_timm_together() -> None:
    chosen = backbone("timm:test_vit[gem=3,precision=bf16,img_size=96]")
    assert chosen.name == "timm:test_vit[img_size=96,precision=bf16,gem=3]" and chosen.precision == "bf16"
    with torch.inference_mode():
        plain = backbone("timm:test_vit[gem=1]").load("cpu", None).describe(batch(160))
    assert plain.local is not None
    assert_close(plain.global_, plain.local.clamp(min=1e-6).mean(1))
    with pytest.raises(UsageError, match="no option 'gem'"):  # its cells have 288 dimensions, its descriptor 1024
        backbone("timm:mobilenetv3_small_050[gem=3]")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18.a1_in1k", None),
        ("resnet18.tv_in1k", None),
        ("resnet18.tv_in1k", 288),
        ("efficientnet_b0.ra_in1k", None),
        ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", 160),
        ("vit_small_patch14_dinov2.lvd142m", 224),
        ("vit_base_patch16_siglip_224.webli", None),
        ("convnext_base.clip_laiona_augreg_ft_in1k_384", None),
        ("deepseek_vit_412m.deepseek_v4_1_flash", None),
    ],
)
def test_timms_preprocessing_gives_timms_pixels(name: str, size: int | None, photo: Path) -> None:
    from timm.data import create_transform, resolve_data_config

    cfg = timm.get_pretrained_cfg(name)
    assert cfg is not None
    data = resolve_data_config({"img_size": size}, pretrained_cfg=cfg.to_dict())  # type: ignore[no-untyped-call]
    theirs = create_transform(**data, is_training=False)(Image.open(photo).convert("RGB"))
    chosen = backbone(f"timm:{name}[img_size={size}]" if size else f"timm:{name}")
    assert torch.equal(images.load(photo, chosen.preprocess), theirs)


def test_where_timms_weights_come_from() -> None:
    resnet = backbone("timm:resnet18.a1_in1k").weights
    assert resnet.source == "hub:timm/resnet18.a1_in1k/model.safetensors" and resnet.licence == "Apache-2.0"
    assert resnet.mirrors[0] == "hub:timm/resnet18.a1_in1k/pytorch_model.bin"
    assert weights.published_sha256(resnet, resnet.mirrors[1]) == "d63eafa0"
    mae = backbone("timm:vit_base_patch16_224.mae").weights
    assert mae.non_commercial and mae.pretraining == "mae"
    only_here = backbone("timm:gcvit_xxtiny.in1k").weights
    assert only_here.source.startswith("https://github.com/") and not only_here.mirrors
    augreg = backbone("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k").weights
    assert not any(source.endswith(".npz") for source in (augreg.source, *augreg.mirrors))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("timm:resnet81", "there is no model 'resnet81' in timm: did you mean .*resnet18"),
        ("timm:resnet18.a4_in1k", r"did you mean resnet18\.a1_in1k or"),
        ("timm:qqq", "timm.list_pretrained"),
        ("timm:test_mambaout", "timm has no weights of 'test_mambaout'"),
        ("timm:vit_base_patch16_sapiens2", "reads 3 x 1024 x 768: only colour squares"),
        ("timm:qwen3_vit_88m_enc", "builds no image encoder qwen3_vit_88m_enc"),
        ("timm:resnet18[img_size=big]", "img_size of timm:resnet18 is a number of pixels, not 'big'"),
        ("timm:vit_tiny_patch16_224[img_size=9]", "image"),
        ("timm:resnet18[sise=3]", "no option 'sise'"),
        ("torchvision:resnet81", "there is no classifier 'resnet81' in torchvision: did you mean resnet18"),
        ("torchvision:fcn_resnet50", "there is no classifier 'fcn_resnet50'"),
        ("torchvision:resnet50.V3", "'V3' of resnet50 as a classifier: there are IMAGENET1K_V1, IMAGENET1K_V2"),
        ("torchvision:vgg16.IMAGENET1K_FEATURES", "there are IMAGENET1K_V1$"),
    ],
)
def test_wrong_names(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as error:
        backbone(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18"])
@pytest.mark.parametrize("spoilt", ["lacks", "more", "shape", "other", "empty"])
def test_another_checkpoint_is_refused(name: str, spoilt: str, tmp_path: Path) -> None:
    state = dict(model("resnet18").state_dict())
    if spoilt == "lacks":
        state.pop("layer1.0.bn1.weight")
    elif spoilt == "more":
        state["extra"] = torch.ones(1)
    elif spoilt == "shape":
        state["bn1.bias"] = torch.ones(3)
    elif spoilt == "other":
        state = dict(model("test_vit").state_dict())
    else:
        state = {}
    with pytest.raises(CheckpointError, match=r"wrong\.pth is not the checkpoint of .*resnet18") as error:
        backbone(name).load("cpu", written(state, tmp_path / "wrong.pth"))
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


# --- torchvision


def in_place(module: nn.Module) -> nn.Module:
    """With changed parameters; unlike a new state, its own keeps the versions that some modules ask for."""
    changed = jittered(module)
    with torch.no_grad():
        for key, value in module.state_dict().items():
            value.copy_(changed[key])
    return module.eval()


@torch.inference_mode()
def seen_by(module: nn.Module, layer: str, pixels: Tensor) -> Tensor:
    """What a layer is given."""
    kept: list[Tensor] = []
    with module.get_submodule(layer).register_forward_pre_hook(lambda _, given: kept.append(given[0])):
        module(pixels)
    return kept[0]


# name -> last layer, cells, their dimension
TORCHVISION: dict[str, tuple[str, int, int]] = {
    "resnet18": ("fc", 49, 512),
    "densenet121": ("classifier", 49, 1024),
    "googlenet": ("fc", 49, 1024),
    "mnasnet0_5": ("classifier.1", 49, 1280),
    "mobilenet_v3_small": ("classifier.3", 49, 576),
    "regnet_y_400mf": ("fc", 49, 440),
    "shufflenet_v2_x0_5": ("fc", 49, 1024),
    "swin_t": ("head", 49, 768),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str, tmp_path: Path) -> None:
    layer, *shape = TORCHVISION[name]
    torch.manual_seed(1)
    options = {"transform_input": True, "init_weights": False} if name == "googlenet" else {}
    module = in_place(torchvision.models.get_model(name, **options))
    state = module.state_dict()
    if name == "densenet121":  # published with the names of torch 0.3
        state = {re.sub(r"(denselayer\d+\.\w+)(\d)\.", r"\1.\2.", key): value for key, value in state.items()}
    torch.save(state, tmp_path / "file.pth")
    found = described(f"torchvision:{name}", tmp_path / "file.pth", batch(224, 1))
    assert_close(found.global_, seen_by(module, layer, batch(224, 1)))
    assert found.local is not None and list(found.local.shape) == [1, *shape]
    if shape[-1] == found.global_.shape[1] and name not in (
        "densenet121",
    ):  # whose last step before the mean is a ReLU
        assert_close(found.local.mean(1), found.global_)


def test_torchvisions_squeezenet_ends_with_a_convolution() -> None:
    torch.manual_seed(2)
    module = torchvision.models.squeezenet1_1().eval()
    torch.manual_seed(2)
    found = described("torchvision:squeezenet1_1", None, batch(224))
    assert_close(found.global_, seen_by(module, "classifier.1", batch(224)).relu().mean((2, 3)))


def test_torchvisions_transformer() -> None:
    loaded: Any = backbone("torchvision:vit_b_16").load("cpu", None)
    with torch.inference_mode():
        found = loaded.describe(batch(224, 1))
    assert_close(found.global_, seen_by(loaded.module, "heads", batch(224, 1)))
    assert found.local is not None and found.local.shape == (1, 196, 768)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet50",
        "resnet50.IMAGENET1K_V1",
        "efficientnet_b1",
        "efficientnet_v2_s",
        "swin_t",
        "vit_b_16.IMAGENET1K_SWAG_E2E_V1",
    ],
)
def test_torchvisions_preprocessing_gives_its_pixels(name: str, photo: Path) -> None:
    arch, _, tag = name.partition(".")
    entries: Any = torchvision.models.get_model_weights(arch)
    theirs = (entries[tag] if tag else entries.DEFAULT).transforms()(Image.open(photo).convert("RGB"))
    assert torch.equal(images.load(photo, backbone(f"torchvision:{name}").preprocess), theirs)


def test_where_torchvisions_weights_come_from() -> None:
    resnet = backbone("torchvision:resnet50.IMAGENET1K_V1").weights
    assert weights.published_sha256(resnet, resnet.source) == "0676ba61"
    assert (resnet.licence, resnet.pretraining, resnet.megabytes) == ("BSD-3-Clause", "IMAGENET1K_V1", 102.5)
    assert backbone("torchvision:vit_b_16.IMAGENET1K_SWAG_LINEAR_V1").weights.non_commercial
