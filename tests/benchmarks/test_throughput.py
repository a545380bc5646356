"""Images per second by `bench throughput` beside timm's way of timing: the same network, layout and batch.

Run with `python -m pytest tests/benchmarks/test_throughput.py --benchmark-enable`. Every round is a process of its
own, so the times that pytest-benchmark prints are of whole processes; what counts is `images_per_s` in its JSON, one
number a round (docs/throughput.md). TIMM_BENCHMARK names timm's own benchmark.py, which no package holds; without it,
that part is skipped.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import plugins, weights
from bench.throughput import photographs
from bench.throughput.plan import Cell, Request, Settings
from bench.throughput.run import ask
from tests.conftest import ROOT

ROUNDS, BATCH = 3, 32
#: timm's defaults.
WARMUP, STEPS = 10, 40
#: What bench.memory tells glibc, for a program that does not.
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}

# the steps of timm's InferenceBenchmarkRunner.run
LOOP = """
import json, sys, time
import timm, torch

result, batch, warmup, steps = sys.argv[1], *map(int, sys.argv[2:])
module = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval().to(memory_format=torch.channels_last)
images = torch.randn(batch, 3, 224, 224).contiguous(memory_format=torch.channels_last)
with torch.inference_mode():
    for _ in range(warmup):
        module(images)
    started = time.perf_counter()
    for _ in range(steps):
        module(images)
    seconds = time.perf_counter() - started
json.dump({"infer_samples_per_sec": batch * steps / seconds}, open(result, "w"))
"""

pytestmark = pytest.mark.benchmark(group=f"processes: EfficientNet-Lite0, batch of {BATCH}, 224 px, fp32, CPU")


@pytest.fixture(autouse=True)
def only_when_timed(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("benchmark_enable"):
        pytest.skip("slow, and nothing is timed")


def by_program(program: list[object], result: Path, environment: dict[str, str]) -> float:
    subprocess.run([sys.executable, *map(str, program)], env=os.environ | environment, cwd=ROOT, check=True)
    return float(json.loads(result.read_text())["infer_samples_per_sec"])


def test_ours(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    cell, settings = Cell("efficientnet_lite0", "cpu", "fp32", BATCH), Settings(STEPS, WARMUP, 2, "pretrained")
    (chosen,) = plugins.backbones.select(cell.backbone)
    found = weights.WeightsStore(weights.Network(offline=True)).obtain(chosen.item.weights)
    assert found is not None
    files = [str(file) for file in photographs.write(tmp_path)]
    request = Request(cell, settings, cell.backbone, [], str(found.path), files)
    per_s = benchmark.extra_info["images_per_s"] = []

    def measure() -> None:
        outcome = ask(request)
        assert isinstance(outcome, dict)
        per_s.append(BATCH / np.median(outcome["forward"]["seconds"]))

    benchmark.pedantic(measure, rounds=ROUNDS)


@pytest.mark.parametrize("memory", ["given back", "kept"])
def test_timms_way(benchmark: BenchmarkFixture, tmp_path: Path, memory: str) -> None:
    result, environment = tmp_path / "result.json", KEPT if memory == "kept" else {}
    per_s = benchmark.extra_info["images_per_s"] = []
    program = ["-c", LOOP, result, BATCH, WARMUP, STEPS]
    benchmark.pedantic(lambda: per_s.append(by_program(program, result, environment)), rounds=ROUNDS)


@pytest.mark.parametrize("memory", ["given back", "kept"])
def test_timms_script(benchmark: BenchmarkFixture, tmp_path: Path, memory: str) -> None:
    if not (script := os.environ.get("TIMM_BENCHMARK")):
        pytest.skip("TIMM_BENCHMARK names no script")
    result, environment = tmp_path / "result.json", KEPT if memory == "kept" else {}
    per_s = benchmark.extra_info["images_per_s"] = []
    how = ["--bench", "inference", "--device", "cpu", "--batch-size", BATCH, "--channels-last", "--no-retry"]
    what = [
        "--model",
        "tf_efficientnet_lite0",
        "--num-classes",
        0,
        "--results-file",
        result,
        "--results-format",
        "json",
    ]
    program = [Path(script).absolute(), *how, *what]
    benchmark.pedantic(lambda: per_s.append(by_program(program, result, environment)), rounds=ROUNDS)
