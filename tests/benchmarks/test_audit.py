"""How long an audit takes: 9,000 generated images against 100,000 training images, descriptors of 512 dimensions.

Run with `python -m pytest tests/benchmarks/test_audit.py --benchmark-enable`. The command is a process of its own:
global and chunked@16, the 20 best, a background of 10,000, figures included. Its peak memory holds the pages of the
descriptors that were mapped.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.conftest import ROOT

SIMILARITIES = "global,chunked@16"


def write(path: Path, n: int, seed: int, of: np.ndarray | None = None) -> np.ndarray:
    """Descriptors in 50 loose groups, as real ones are; a tenth near to some of `of`."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(50, 512))
    made = (centres[rng.integers(0, 50, n)] + rng.normal(size=(n, 512))).astype(np.float32)
    if of is not None:
        copies = rng.integers(0, len(of), n // 10)
        made[: n // 10] = of[copies] + 0.3 * rng.normal(size=(n // 10, 512)).astype(np.float32)
    np.save(path, made)
    return made


@pytest.mark.benchmark(group="audit of descriptors, whole process")
def test_audit(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    n_generated, n_training = (90, 400) if benchmark.disabled else (9_000, 100_000)
    training = write(tmp_path / "training.npy", n_training, 1)
    write(tmp_path / "generated.npy", n_generated, 2, training)
    out = tmp_path / "out"
    sides = ["--generated", str(tmp_path / "generated.npy"), "--training", str(tmp_path / "training.npy")]
    command = [sys.executable, "-m", "bench", "audit", *sides, "--similarities", SIMILARITIES, "--output", str(out)]
    # the child of a small process: its peak begins with its own
    launcher = (
        "import json, resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(json.dumps(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024))"
    )
    peaks = benchmark.extra_info["peak_rss_mb"] = []

    def run() -> None:
        ran = subprocess.run(
            [sys.executable, "-c", launcher, *command],
            cwd=ROOT,
            env=os.environ,
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(json.loads(ran.stdout))

    benchmark.pedantic(run, rounds=1 if benchmark.disabled else 3)
    verdicts = json.loads((out / "summary.json").read_text())["verdicts"]
    assert [of["similarity"] for of in verdicts] == SIMILARITIES.split(",")
    assert verdicts[0]["above"][0]["generated"]["k"] >= n_generated // 10
