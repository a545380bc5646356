"""Images per second of extraction: on decoded tensors beside timm's own loop, and from JPEG files beside its parts.

Run with `python -m pytest tests/benchmarks/test_extract.py --benchmark-enable`. All in one run, on a quiet machine:
the numbers that count are the ratios.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import skimage
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from bench import images, plugins
from bench.descriptors.batches import stacked
from bench.extract import Extraction, describe_batch, extract
from bench.interfaces import ImageFile, Model
from bench.memory import keep_freed_memory

BATCH, N_IMAGES, WORKERS = 32, 96, 2
BACKBONE = plugins.backbones.select("resnet50")[0].item


@pytest.fixture(scope="module")
def model() -> Model:
    keep_freed_memory()
    return BACKBONE.load("cpu", None)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[ImageFile]:
    """Crops of a photograph, JPEG files of 500 x 375 pixels as in many photo collections."""
    folder = tmp_path_factory.mktemp("photos")
    whole = Image.open(Path(skimage.__file__).parent / "data" / "coffee.png").convert("RGB").resize((900, 600))
    found = []
    for number in range(N_IMAGES):
        x, y = 4 * number, 2 * (number % 100)
        path = folder / f"{number}.jpg"
        whole.crop((x, y, x + 500, y + 375)).save(path, quality=90)
        found.append(ImageFile(str(number), path))
    return found


@pytest.fixture(scope="module")
def tensors() -> list[torch.Tensor]:
    return list(torch.randn(N_IMAGES, 3, 224, 224, generator=torch.Generator().manual_seed(0)))


def batches(of: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    return (of[start : start + BATCH] for start in range(0, N_IMAGES, BATCH))


@pytest.mark.benchmark(group="decoded tensors, ResNet-50, batch of 32")
def test_describe_tensors(benchmark: BenchmarkFixture, model: Model, tensors: list[torch.Tensor]) -> None:
    with torch.inference_mode():
        found = benchmark(lambda: np.concatenate([describe_batch(model, stacked(batch)) for batch in batches(tensors)]))
    assert found.shape == (N_IMAGES, 2048)


@pytest.mark.benchmark(group="decoded tensors, ResNet-50, batch of 32")
def test_timm_loop_of_the_same_layout(benchmark: BenchmarkFixture, tensors: list[torch.Tensor]) -> None:
    keep_freed_memory()
    module = timm.create_model("resnet50", num_classes=0).eval().to(memory_format=torch.channels_last)

    def loop() -> torch.Tensor:
        stacked = (torch.stack(batch).to(memory_format=torch.channels_last) for batch in batches(tensors))
        return torch.cat([module(batch) for batch in stacked])

    with torch.inference_mode():
        assert benchmark(loop).shape == (N_IMAGES, 2048)


@pytest.mark.benchmark(group="JPEG files, ResNet-50, batch of 32, 2 decoding threads")
def test_extract_files(benchmark: BenchmarkFixture, model: Model, files: list[ImageFile]) -> None:
    rows: list[int] = []

    def keep(found: NDArray[np.float32]) -> None:
        rows.append(len(found))

    benchmark(extract, model, files, Extraction(BACKBONE.preprocess, BATCH, WORKERS), keep)
    assert sum(rows) % N_IMAGES == 0


@pytest.mark.benchmark(group="JPEG files, ResNet-50, batch of 32, 2 decoding threads")
def test_decode_alone(benchmark: BenchmarkFixture, files: list[ImageFile]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:

        def decode() -> int:
            return sum(1 for _ in pool.map(lambda file: images.load(file.path, BACKBONE.preprocess), files))

        assert benchmark(decode) == N_IMAGES


@pytest.mark.benchmark(group="JPEG files, ResNet-50, batch of 32, 2 decoding threads")
def test_forward_alone(benchmark: BenchmarkFixture, model: Model, tensors: list[torch.Tensor]) -> None:
    stacked = [torch.stack(batch) for batch in batches(tensors)]
    with torch.inference_mode():
        benchmark(lambda: [model.describe(batch) for batch in stacked])
