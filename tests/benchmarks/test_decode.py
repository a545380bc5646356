"""Decoding alone: a JPEG file to the tensor that a model reads, beside pillow and torchvision used plainly.

Run with `python -m pytest tests/benchmarks/test_decode.py --benchmark-enable --benchmark-group-by=group`.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture
from torchvision import transforms

from bench import images
from bench.interfaces import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from bench.throughput import photographs

PREPROCESS = Preprocess()
PLAIN = transforms.Compose(
    [
        transforms.Resize(256, transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
)


def sizes(group: str) -> pytest.MarkDecorator:
    named = {"photo": "500 x 375", "large": "4000 x 3000"}
    return pytest.mark.parametrize(
        "size", [pytest.param(name, marks=pytest.mark.benchmark(group=f"{group}, {of}")) for name, of in named.items()]
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file as `bench throughput` decodes it, and the same photograph as a camera would write it."""
    folder = tmp_path_factory.mktemp("photos")
    photo = photographs.write(folder)[0]
    large = folder / "large.jpg"
    Image.open(photo).resize((4000, 3000), Image.Resampling.BICUBIC).save(large, quality=90)
    return {"photo": photo, "large": large}


@sizes("JPEG to pixels")
def test_decode(benchmark: BenchmarkFixture, files: dict[str, Path], size: str) -> None:
    assert np.array_equal(benchmark(images.decode, files[size]), Image.open(files[size]).convert("RGB"))


@sizes("JPEG to pixels")
def test_pillow(benchmark: BenchmarkFixture, files: dict[str, Path], size: str) -> None:
    assert benchmark(lambda: Image.open(files[size]).convert("RGB")).mode == "RGB"


@sizes("JPEG to a tensor of 224 x 224")
def test_load(benchmark: BenchmarkFixture, files: dict[str, Path], size: str) -> None:
    found = benchmark(images.load, files[size], PREPROCESS)
    assert torch.allclose(found, PLAIN(Image.open(files[size]).convert("RGB")), atol=1e-6)


@sizes("JPEG to a tensor of 224 x 224")
def test_load_as_a_draft(benchmark: BenchmarkFixture, files: dict[str, Path], size: str) -> None:
    found = benchmark(images.load, files[size], replace(PREPROCESS, draft=True))
    assert (found - images.load(files[size], PREPROCESS)).abs().mean() < 0.01


@sizes("JPEG to a tensor of 224 x 224")
def test_torchvision(benchmark: BenchmarkFixture, files: dict[str, Path], size: str) -> None:
    assert benchmark(lambda: PLAIN(Image.open(files[size]).convert("RGB"))).shape == (3, 224, 224)
