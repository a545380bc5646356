"""Images per second of a forward pass, beside timm's own loop over the same model and batch in the same run.

Run with `python -m pytest tests/benchmarks/test_forward.py --benchmark-enable`. The order matters: glibc's setting
is not taken back.
"""

import pytest
import timm
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from bench import plugins, weights
from bench.memory import keep_freed_memory

BATCH = 32

pytestmark = pytest.mark.benchmark(group=f"EfficientNet-Lite0, batch of {BATCH}, 224 px, fp32")


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return torch.randn(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def ours(benchmark: BenchmarkFixture, batch: torch.Tensor) -> None:
    chosen = plugins.backbones.select("efficientnet_lite0")[0].item
    found = weights.WeightsStore(weights.Network(offline=True)).obtain(chosen.weights)
    assert found is not None
    model = chosen.load("cpu", found.path)
    with torch.inference_mode():
        described = benchmark(model.describe, batch)
    assert described.global_.shape == (BATCH, 1280)


def timms(benchmark: BenchmarkFixture, batch: torch.Tensor) -> None:
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    with torch.inference_mode():
        assert benchmark(model, batch).shape == (BATCH, 1280)


def test_timm_loop(benchmark: BenchmarkFixture, batch: torch.Tensor) -> None:
    timms(benchmark, batch)


def test_describe(benchmark: BenchmarkFixture, batch: torch.Tensor) -> None:
    ours(benchmark, batch)


def test_describe_with_freed_memory_kept(benchmark: BenchmarkFixture, batch: torch.Tensor) -> None:
    keep_freed_memory()
    ours(benchmark, batch)


def test_timm_loop_with_freed_memory_kept(benchmark: BenchmarkFixture, batch: torch.Tensor) -> None:
    keep_freed_memory()
    timms(benchmark, batch)
