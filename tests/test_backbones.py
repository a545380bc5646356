"""What the candidates and the embedded backbones promise: sizes, preprocessing, options, and images of any size."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import transforms as T

from backbones._torch import TorchBackbone, TorchModel, mean_of_map, timm_module
from bench import images, plugins, weights
from bench.errors import UsageError
from bench.extract import Extraction, extract
from bench.interfaces import Backbone, Descriptors, ImageFile, Preprocess, Weights
from tests.checkpoints import backbone, batch

# name -> (dimension, millions of parameters, local descriptors of an image of 224 x 224)
CANDIDATES: dict[str, tuple[int, float, tuple[int, int]]] = {
    "clip": (512, 86.193, (196, 768)),
    "clip:vitb32": (512, 87.850, (49, 768)),
    "clip:vitl14": (768, 303.967, (256, 1024)),
    "dino": (768, 85.799, (196, 768)),
    "dino:copydetection": (1536, 85.799, (196, 768)),
    "dino:resnet50": (2048, 23.508, (49, 2048)),
    "dino:vitb8": (768, 85.808, (784, 768)),
    "dino:vits16": (384, 21.666, (196, 384)),
    "dino:vits8": (384, 21.670, (784, 384)),
    "mae": (768, 85.799, (196, 768)),
    "mae:mean": (768, 85.799, (196, 768)),
    "mae:vitl16": (1024, 303.302, (196, 1024)),
    "mocov3": (768, 85.799, (196, 768)),
    "mocov3:vits": (384, 21.666, (196, 384)),
    "multigrain": (2048, 23.508, (49, 2048)),
    "multigrain:joint_3BAA_0.5": (2048, 23.508, (49, 2048)),
    "multigrain:whitened": (2049, 23.508, (49, 2048)),
    "resnet50": (2048, 23.508, (49, 2048)),
    "resnet50:a1": (2048, 23.508, (49, 2048)),
    "resnet50:tv2": (2048, 23.508, (49, 2048)),
    "sscd": (512, 24.557, (49, 2048)),
    "sscd:disc_advanced": (512, 24.557, (49, 2048)),
    "sscd:disc_blur": (512, 24.557, (49, 2048)),
    "sscd:disc_large": (1024, 44.227, (49, 2048)),
    "sscd:disc_mixup": (512, 24.557, (49, 2048)),
    "sscd:imagenet_advanced": (512, 24.557, (49, 2048)),
    "sscd:imagenet_blur": (512, 24.557, (49, 2048)),
    "swin": (1024, 86.743, (49, 1024)),
    "swin:in22k": (1024, 86.743, (49, 1024)),
    "vicregl": (2048, 23.508, (49, 2048)),
    "vicregl:convnext_base": (1024, 87.548, (49, 1024)),
    "vicregl:convnext_small": (768, 49.441, (49, 768)),
    "vicregl:resnet50_alpha0.75": (2048, 23.508, (49, 2048)),
    "vit": (768, 85.799, (196, 768)),
    "vit:in1k": (768, 85.799, (196, 768)),
    "vit:in21k": (768, 85.799, (196, 768)),
}
PLAIN = [name for name in CANDIDATES if ":" not in name]


def torch_backbone(name: str, options: Mapping[str, str] = MappingProxyType({})) -> TorchBackbone:
    found = backbone(name).configured(options)
    assert isinstance(found, TorchBackbone)
    return found


@cache
def network(name: str) -> nn.Module:
    """The backbone's module with random weights; not to be changed."""
    torch.manual_seed(1)
    return torch_backbone(name).build().eval()


def random_model(name: str, **options: str) -> TorchModel:
    """The model that `load` makes, over a module that the tests share."""
    return TorchModel(network(name), torch_backbone(name, options), "cpu")


def said(name: str, pictures: Tensor, **options: str) -> Descriptors:
    """What the model with random weights says of pictures."""
    with torch.inference_mode():
        return random_model(name, **options).describe(pictures)


def test_the_candidates_are_the_ten_and_these_their_variants() -> None:
    assert [chosen.item.name for chosen in plugins.backbones.select("candidates")] == PLAIN
    families = {entry.name: entry for entry in plugins.backbones.entries()}
    assert {name for family in PLAIN for name in families[family].names} == set(CANDIDATES)


@pytest.mark.parametrize("name", CANDIDATES)
def test_sizes(name: str) -> None:
    """On torch's meta device, where tensors have shapes only."""
    dimension, millions, local = CANDIDATES[name]
    chosen = torch_backbone(name)
    with torch.device("meta"):
        module: nn.Module = chosen.build().eval()
        if name.startswith("multigrain"):
            module.gem_p = torch.tensor(3.0, device="cpu")
        found = chosen.describe(module, torch.empty(2, 3, 224, 224))
    assert found.global_.shape == (2, dimension) == (2, chosen.embed_dim)
    assert found.local is not None and found.local.shape == (2, *local)
    assert sum(parameter.numel() for parameter in module.parameters()) / 1e6 == pytest.approx(millions, abs=5e-4)


@pytest.mark.parametrize("name", CANDIDATES)
def test_weights_say_what_they_are(name: str) -> None:
    origin = backbone(name).weights
    assert origin.licence and origin.pretraining and origin.citation
    if name == "multigrain:whitened":
        assert origin.source.startswith("file:") and origin.megabytes is None
        return
    assert all(source.startswith(("https://", "hub:")) for source in (origin.source, *origin.mirrors))
    # no file is smaller than the parameters in it; OpenAI's have half precision
    halves = 2 if name.startswith("clip") else 1
    assert origin.megabytes is not None and origin.megabytes >= CANDIDATES[name][1] * 4 / halves - 0.5


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
BICUBIC, BILINEAR = T.InterpolationMode.BICUBIC, T.InterpolationMode.BILINEAR

Official = Callable[[Image.Image], Tensor]


def official(
    size: int | list[int], crop: int | None, interpolation: T.InterpolationMode, statistics: tuple[object, object]
) -> Official:
    crops = [T.CenterCrop(crop)] if crop else []
    composed: Official = T.Compose([T.Resize(size, interpolation), *crops, T.ToTensor(), T.Normalize(*statistics)])
    return composed


@pytest.mark.parametrize(
    ("names", "theirs"),
    [
        ("swin* dino mae* dino:vits16 dino:resnet50", official(256, 224, BICUBIC, IMAGENET)),
        ("mocov3* vicregl* multigrain multigrain:joint* resnet50", official(256, 224, BILINEAR, IMAGENET)),
        ("resnet50", torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()),
        ("resnet50:tv2", torchvision.models.ResNet50_Weights.IMAGENET1K_V2.transforms()),
        ("resnet50:a1", official(235, 224, BICUBIC, IMAGENET)),
        ("sscd*", official(288, None, BILINEAR, IMAGENET)),
        ("clip*", official(224, 224, BICUBIC, CLIP)),
        ("vit*", official(248, 224, BICUBIC, HALF)),
        ("dino:copydetection", official([320, 320], None, BICUBIC, IMAGENET)),
        ("multigrain:whitened", official(571, 500, BILINEAR, IMAGENET)),
    ],
)
def test_preprocessing_gives_the_authors_pixels(names: str, theirs: Official, photo: Path) -> None:
    expected = theirs(Image.open(photo).convert("RGB"))
    chosen = [name for pattern in names.split() for name in CANDIDATES if Path(name).match(pattern)]
    assert chosen
    for name in chosen:
        assert torch.equal(images.load(photo, backbone(name).preprocess), expected)


# --- images of any size, options, batches


@pytest.mark.parametrize("name", PLAIN)
def test_any_size_and_several_scales(name: str) -> None:
    """Images of 64 x 90 pixels: no side is a whole number of windows, and few scaled ones of patches."""
    pictures = F.interpolate(batch(count=3), (64, 90))
    scaled = [
        pictures,
        *(F.interpolate(pictures, scale_factor=s, mode="bilinear", align_corners=False) for s in (2**-0.5, 0.5)),
    ]
    assert [tuple(p.shape[2:]) for p in scaled] == [(64, 90), (45, 63), (32, 45)]
    found = said(name, pictures, multiscale="yes")
    alone = torch.cat([said(name, picture[None], multiscale="yes").global_ for picture in pictures])
    separate = [said(name, p) for p in scaled]
    assert found.global_.shape == (3, backbone(name).embed_dim) and bool(found.global_.isfinite().all())
    assert torch.allclose(found.global_, sum(s.global_ for s in separate) / 3, atol=1e-5, rtol=1e-5)
    assert torch.allclose(found.global_, alone, atol=1e-4, rtol=1e-4)
    assert found.local is not None and separate[0].local is not None
    assert torch.allclose(found.local, separate[0].local, atol=1e-4, rtol=1e-4)


def extracted(name: str, files: list[ImageFile], batch_size: int) -> NDArray[np.float32]:
    rows: list[NDArray[np.float32]] = []
    preprocess = replace(backbone(name).preprocess, size=64, crop=None)
    extract(random_model(name), files, Extraction(preprocess, batch_size, 2), rows.append)
    return np.concatenate(rows)


@pytest.mark.parametrize("name", ["sscd", "dino:vits16", "efficientnet_lite0"])
def test_batches_and_order_change_no_descriptor(name: str, photo: Path, tmp_path: Path) -> None:
    """32 crops of three shapes, mixed."""
    picture = Image.open(photo).convert("RGB")
    files = []
    for number in range(32):
        width, height = [(110, 110), (150, 110), (110, 140)][number % 3]
        left, top = 9 * number, 5 * number
        picture.crop((left, top, left + width, top + height)).save(tmp_path / f"{number}.png")
        files.append(ImageFile(str(number), tmp_path / f"{number}.png"))
    order = np.random.default_rng(2).permutation(32)
    expected = extracted(name, files, 32)
    assert np.linalg.matrix_rank(expected) > 16  # they do differ
    scale = np.abs(expected).max()
    for batch_size in (1, 7):
        assert np.abs(extracted(name, files, batch_size) - expected).max() < 1e-5 * scale
    assert np.abs(extracted(name, [files[i] for i in order], 7) - expected[order]).max() < 1e-5 * scale


@pytest.mark.parametrize(
    "name", ["resnet50", "dino:vits16", "mocov3:vits", "vicregl:convnext_small", "swin", "efficientnet_lite0"]
)
def test_gem_is_the_generalised_mean_of_the_local_descriptors(name: str) -> None:
    found, plain = said(name, batch(64), gem="3"), said(name, batch(64))
    assert found.local is not None and plain.local is not None and torch.equal(found.local, plain.local)
    assert torch.allclose(found.global_, (plain.local.clamp(min=1e-6) ** 3).mean(1) ** (1 / 3), rtol=1e-4)


def test_gem_comes_before_what_follows_pooling() -> None:
    for name in ("sscd", "multigrain", "multigrain:whitened"):
        plain, three, seven = said(name, batch(64)), said(name, batch(64), gem="3"), said(name, batch(64), gem="7")
        assert torch.allclose(three.global_, plain.global_, atol=1e-6)  # which 3 is, of random weights too
        assert not torch.allclose(seven.global_, plain.global_, atol=1e-3)
    found = said("sscd", batch(64), gem="7")
    assert found.local is not None
    pooled = (found.local.clamp(min=1e-6) ** 7).mean(1) ** (1 / 7)
    with torch.inference_mode():
        projected = network("sscd")["projection"](pooled)  # type: ignore[operator, index]
    assert torch.allclose(found.global_, F.normalize(projected), atol=1e-5)
    copies = said("dino:copydetection", batch(64), gem="2")
    assert copies.local is not None
    assert torch.allclose(copies.global_[:, 768:], (copies.local.clamp(min=1e-6) ** 2).mean(1) ** 0.5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("clip", {"gem": "3"}, "'clip' has no option 'gem': it has precision, multiscale, compile"),
        ("sscd:disc_large", {"gem": "3"}, "has no option 'gem'"),
        ("dino", {"gem": "0"}, "gem is a positive number"),
        ("dino", {"gem": "inf"}, "gem is a positive number"),
        ("dino", {"precision": "fp8"}, "precision of dino is fp32 or bf16 or fp16, not 'fp8'"),
        ("dino", {"multiscale": "3"}, "multiscale of dino is no or yes"),
        ("dino", {"size": "3"}, "'dino' has no option 'size'"),
    ],
)
def test_options_that_are_none_are_refused(name: str, options: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        backbone(name).configured(options)


def test_options_show_in_the_name() -> None:
    chosen = plugins.backbones.select("dino:vits16[multiscale=yes, gem=4, precision=bf16],dino[precision=fp32]")
    assert [c.item.name for c in chosen] == ["dino:vits16[precision=bf16,multiscale=yes,gem=4]", "dino"]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["dino:vits16", "vicregl", "multigrain", "clip:vitb32"])
def test_reduced_precision_is_close_and_gives_float32(name: str, precision: str) -> None:
    exact, found = said(name, batch(64)), said(name, batch(64), precision=precision)
    assert found.global_.dtype == torch.float32 and found.local is not None and found.local.dtype == torch.float32
    assert not torch.equal(found.global_, exact.global_)
    assert F.cosine_similarity(found.global_, exact.global_).min() > 0.99


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="torch.compile needs a C++ compiler")
def test_compiled_describes_the_same() -> None:
    weights_ = Weights("none", "", "none")
    tiny: Backbone = TorchBackbone(
        "tiny", "test_resnet", 128, Preprocess(), weights_, build=timm_module("test_resnet"), describe=mean_of_map
    )
    torch.manual_seed(1)
    eager = tiny.load("cpu", None)
    torch.manual_seed(1)
    compiled = tiny.configured({"compile": "yes"}).load("cpu", None)
    with torch.inference_mode():
        expected, found = (model.describe(batch(64)) for model in (eager, compiled))
    assert torch.allclose(found.global_, expected.global_, atol=1e-4)
    assert found.local is not None and torch.allclose(found.local, expected.local, atol=1e-4)


# --- the embedded ones


@pytest.mark.parametrize("number", [0, 1, 2])
def test_efficientnet_weights_are_the_trained_ones(number: int, photo: Path) -> None:
    """Photographs of a cat and of a cup of coffee get their ImageNet labels from the package's own classifier."""
    chosen = backbone(f"efficientnet_lite{number}")
    found = weights.WeightsStore(weights.Network(offline=True)).obtain(chosen.weights)
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
