"""Models in files without code of this project: ONNX and TorchScript, against the same computed with numpy."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench import images, weights
from bench.errors import CheckpointError, UsageError, WeightsUnavailable
from bench.interfaces import IMAGENET_MEAN, IMAGENET_STD, Backbone, Preprocess
from tests.checkpoints import backbone

MATRIX = np.random.default_rng(5).standard_normal((3, 4)).astype(np.float32)
BATCH = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def write(
    path: Path,
    shape: list[int | str],
    dtype: int = TensorProto.FLOAT,
    layout: str = "NCHW",
    outputs: tuple[str, ...] = ("embedding",),
    inputs: int = 1,
    external: bool = False,
    colours: bool = True,
) -> Path:
    """An ONNX file: the mean colour [B, 3] times MATRIX as `embedding`, [B, 3, 1, 1] as `pooled`, the map as `map`.

    Without colours `embedding` is all that it reads, whatever its shape.
    """
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["map"], perm=[0, 1, 2, 3] if layout == "NCHW" else [0, 3, 1, 2]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["colour"]),
        helper.make_node("MatMul", ["colour", "matrix"], ["embedding"]),
    ]
    if not colours:
        nodes = [helper.make_node("Flatten", ["images"], ["embedding"])]
    entries = [helper.make_tensor_value_info(name, dtype, shape) for name in ("images", "more")[:inputs]]
    exits = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "g", entries, exits, [numpy_helper.from_array(MATRIX, "matrix")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path, save_as_external_data=external, size_threshold=0, location="weights.bin")
    return path


def settled(path: Path, options: str = "") -> Backbone:
    chosen = backbone(f"onnx:{path}{options}")
    assert chosen.embed_dim is None and chosen.packages == ("onnxruntime",)
    return chosen.settled(path)


@torch.inference_mode()
def described(path: Path, batch: torch.Tensor, options: str = "") -> NDArray[Any]:
    found = settled(path, options).load("cpu", path).describe(batch)
    assert found.global_.dtype == torch.float32 and found.local is None
    return found.global_.numpy()


def mean_colour(batch: torch.Tensor) -> NDArray[Any]:
    return batch.numpy().astype(np.float32).mean((2, 3))


# --- ONNX


@pytest.mark.parametrize("count", [1, 2, 3, 5, "N"])
def test_float_images_in_batches_of_any_size(count: int | str, tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", [count, 3, 32, 32])
    assert np.allclose(described(path, BATCH), mean_colour(BATCH) @ MATRIX, atol=1e-5)


def test_half_precision_images(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", ["N", 3, 32, 32], TensorProto.FLOAT16)
    assert np.allclose(described(path, BATCH), mean_colour(BATCH.half().float()) @ MATRIX, atol=1e-5)


def test_pixels_with_channels_last(tmp_path: Path, photo: Path) -> None:
    path = write(tmp_path / "model.onnx", [2, 48, 48, 3], TensorProto.UINT8, "NHWC")
    made = settled(path)
    assert made.preprocess == Preprocess("squash", 48, None, "bilinear", None, None)
    batch = torch.stack([images.load(photo, made.preprocess)] * 3)
    assert batch.dtype == torch.uint8 and np.allclose(described(path, batch), mean_colour(batch) @ MATRIX, atol=1e-3)


def test_the_output_is_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", ["N", 3, 32, 32], outputs=("embedding", "pooled", "map"))
    assert np.allclose(described(path, BATCH, "[output=pooled]"), mean_colour(BATCH), atol=1e-5)
    pooled, embedding = settled(path, "[output=pooled]"), settled(path, "[output=embedding]")
    assert (pooled.embed_dim, embedding.embed_dim) == (3, 4)
    assert pooled.arch != embedding.arch


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        (["N", 3, 48, 48], "", Preprocess("squash", 48, None, "bilinear")),
        (["N", 3, "H", "W"], "[size=96]", Preprocess("squash", 96, None, "bilinear")),
        (["N", 3, "H", "W"], "[size=96,resize=short]", Preprocess("short", 96, None, "bilinear")),
        (["N", 3, 48, 48], "[resize=short]", Preprocess("short", 48, 48, "bilinear")),
        (["N", 3, 48, 48], "[size=56,resize=short,interpolation=bicubic]", Preprocess("short", 56, 48)),
        (["N", 3, 48, 48], "[size=56,crop=48]", Preprocess("squash", 56, 48, "bilinear")),
        (["N", 3, "H", "W"], "[size=64,resize=letterbox]", Preprocess("letterbox", 64, None, "bilinear")),
        (
            ["N", 3, 48, 48],
            "[mean=0.5,std=0.1/0.2/0.3]",
            Preprocess("squash", 48, None, "bilinear", (0.5, 0.5, 0.5), (0.1, 0.2, 0.3)),
        ),
    ],
)
def test_preprocessing_by_file_and_options(
    shape: list[int | str], options: str, expected: Preprocess, tmp_path: Path
) -> None:
    path = write(tmp_path / "model.onnx", shape)
    made = settled(path, options)
    assert made.preprocess == expected and made.name == f"onnx:model.onnx{options}"


def test_options_in_a_file_beside_it(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", ["N", 3, "H", "W"], outputs=("embedding", "pooled"))
    path.with_suffix(".toml").write_text('size = 64\nmean = [0.1, 0.2, 0.3]\noutput = "pooled"\n')
    made = settled(path, "[size=32]")
    assert made.preprocess == Preprocess("squash", 32, None, "bilinear", (0.1, 0.2, 0.3), IMAGENET_STD)
    assert made.embed_dim == 3 and made.name == "onnx:model.onnx[size=32]"


def test_raw_values_by_mean_and_deviation(tmp_path: Path, photo: Path) -> None:
    path = write(tmp_path / "model.onnx", ["N", 3, 32, 32])
    raw = settled(path, "[mean=0,std=0.00392156862745098]").preprocess
    pixels = images.load(photo, Preprocess("squash", 32, None, "bilinear", None, None))
    assert torch.allclose(images.load(photo, raw), pixels.float(), atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "options", "told"),
    [
        (["N", 3, "H", "W"], "", "does not tell the size of its images: give the option size=PIXELS"),
        (["N", 3, 48, 48], "[size=64]", "reads 48 x 48 pixels, not 64"),
        (["N", 3, 48, 32], "", "48 x 32 pixels: only squares"),
        (["N", 3, 48, 48], "[layout=NHWC]", "is not NHWC"),
        (["N", 3, 48, 3], "", "does not tell its layout"),
        (["N", 3, 48, 48], "[crop=64,size=56]", "larger than the size 56"),
        (["N", 3, 48, 48], "[output=logits]", "no output 'logits': give the option output= one of embedding"),
    ],
)
def test_options_that_do_not_fit_the_file(shape: list[int | str], options: str, told: str, tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", shape)
    with pytest.raises(CheckpointError, match=told) as error:
        settled(path, options)
    assert "model.onnx" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"shape": ["N", 4, 32, 32], "colours": False}, "does not tell its layout"),
        ({"shape": ["N", 3, 32], "colours": False}, r"is tensor.float. \['N', 3, 32\], not a batch of images"),
        ({"outputs": ("embedding", "map")}, "has 2 outputs: give the option output= one of embedding, map"),
        ({"outputs": ("map",)}, r"'map' of .* has the shape \[1, 3, 32, 32\]"),
        ({"inputs": 2}, r"has 2 inputs \(images, more\)"),
        ({"dtype": TensorProto.INT64}, "is tensor.int64. .* not a batch of images"),
        ({"external": True}, "keeps weights in another file"),
    ],
)
def test_graphs_that_are_no_image_encoders(changed: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", **{"shape": ["N", 3, 32, 32], **changed})
    with pytest.raises(CheckpointError, match=told):
        settled(path)


def test_pixels_have_no_mean(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", ["N", 3, 32, 32], TensorProto.UINT8)
    with pytest.raises(CheckpointError, match="reads pixels as they are"):
        settled(path, "[mean=0.5]")


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", None])
def test_what_is_no_onnx_file(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(write(path, ["N", 3, 32, 32]).read_bytes()[:150] if content is None else content)
    with pytest.raises(CheckpointError, match=r"model\.onnx is not an ONNX file") as error:
        settled(path)
    assert "\n" not in str(error.value)


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", ["N", 3, 48, 48])
    with pytest.raises(CheckpointError, match="reads 48 x 48 pixels, the run makes 32 x 32"):
        described(path, BATCH)


def test_a_file_has_no_random_weights(tmp_path: Path) -> None:
    for name in ("onnx:model.onnx", "torchscript:model.pt"):
        with pytest.raises(CheckpointError, match="leave out --weights random"):
            backbone(name).settled(None)


def test_without_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "model.onnx", ["N", 3, 48, 48])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(WeightsUnavailable, match="needs onnxruntime: pip install onnxruntime"):
        settled(path)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("[sise=224]", "no option 'sise': there are size, resize"),
        ("[size=0]", "size of onnx:model.onnx is a number of pixels, not '0'"),
        ("[size=big]", "is a number of pixels"),
        ("[resize=none]", "is squash or short or letterbox"),
        ("[mean=0.1/0.2]", "is one number, or one a channel"),
        ("[mean=nan]", "is one number, or one a channel"),
        ("[std=0]", "is positive"),
        ("[layout=CHW]", "is NCHW or NHWC"),
    ],
)
def test_wrong_options(options: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        backbone(f"onnx:model.onnx{options}")


@pytest.mark.parametrize("text", ["size = ", "size = 'big'", "sise = 3", "mean = [1, 'x', 3]"])
def test_wrong_options_in_a_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text(text)
    with pytest.raises(UsageError, match=r"model\.toml"):
        backbone(f"onnx:{tmp_path / 'model.onnx'}")


# --- TorchScript


class MeanColour(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.from_numpy(MATRIX))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) @ self.matrix


class Whole(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


class OnlyGrey(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(images, torch.ones(4, 1, 3, 3)).mean((2, 3))


def script(module: torch.nn.Module, path: Path) -> Path:
    with pytest.warns():  # torch.jit is deprecated
        torch.jit.script(module).save(path)
    return path


def test_a_scripted_module(tmp_path: Path) -> None:
    path = script(MeanColour(), tmp_path / "model.pt")
    made = backbone(f"torchscript:{path}[size=64,std=0.5]").settled(path)
    assert made.preprocess == Preprocess("squash", 64, None, "bilinear", IMAGENET_MEAN, (0.5, 0.5, 0.5))
    assert (made.name, made.embed_dim) == ("torchscript:model.pt[size=64,std=0.5]", 4)
    model = made.load("cpu", path)
    assert model.n_parameters == MATRIX.size
    assert np.allclose(model.describe(BATCH).global_.detach().numpy(), mean_colour(BATCH) @ MATRIX, atol=1e-5)


def test_options_of_torch_and_of_images_together(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text("size = 64")
    made = backbone(f"torchscript:{tmp_path / 'model.pt'}[precision=bf16,resize=short]")
    assert made.name == "torchscript:model.pt[resize=short,precision=bf16]" and made.precision == "bf16"


def test_a_program_is_loaded_only_if_allowed(tmp_path: Path) -> None:
    path = script(MeanColour(), tmp_path / "model.pt")
    wanted = backbone(f"torchscript:{path}[size=64]").weights
    with pytest.raises(WeightsUnavailable, match="--allow-code"):
        weights.WeightsStore(weights.Network(offline=True)).obtain(wanted)
    found = weights.WeightsStore(weights.Network(offline=True), allow_code=True).obtain(wanted)
    assert found is not None and found.path == path


@pytest.mark.parametrize(
    ("module", "options", "told"),
    [
        (MeanColour(), "", "does not tell the size of its images"),
        (Whole(), "[size=8]", r"shape \[1, 3, 8, 8\]"),
        (OnlyGrey(), "[size=8]", r"does not run on a float32 batch \[1, 3, 8, 8\]"),
    ],
)
def test_programs_that_are_no_image_encoders(module: torch.nn.Module, options: str, told: str, tmp_path: Path) -> None:
    path = script(module, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=told) as error:
        backbone(f"torchscript:{path}{options}").settled(path)
    assert "\n" not in str(error.value)


def test_what_is_no_torchscript_file(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(MeanColour().state_dict(), path)
    with pytest.raises(CheckpointError, match="not a TorchScript archive"):
        backbone(f"torchscript:{path}[size=8]").settled(path)
