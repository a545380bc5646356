"""An audit that is killed, politely or not, while images are described and while its files are written."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bench.cli import app
from bench.shards import Meta
from tests.conftest import ROOT

#: 256 kB a row: few rows make several shards, which are what a killed audit keeps.
WIDE = 1 << 16
N_GENERATED, N_TRAINING = 30, 40
PLUGIN = f"""
import hashlib, os, time

from bench.interfaces import NATIVE, Backbone, Descriptors, TRAINING_FREE, Weights
from bench.plugins import register_backbone


class Wide:
    n_parameters = None

    def describe(self, batch):
        time.sleep(float(os.environ.get("SECONDS_A_BATCH", 0)))
        with open(os.environ["DESCRIBED"], "a") as stream:
            stream.writelines(hashlib.sha256(image.numpy().tobytes()).hexdigest() + "\\n" for image in batch)
        return Descriptors(batch.float().flatten(1).repeat(1, {WIDE} // 48) + 1)


class WideBackbone(Backbone):
    def load(self, device, weights_file):
        return Wide()


@register_backbone()
def wide() -> Backbone:
    return WideBackbone("wide", "pixels, again and again", {WIDE} // 48 * 48, NATIVE, Weights(TRAINING_FREE, "", ""))
"""
#: Of a finished audit.
FILES = {
    *("matches.parquet", "matches.csv", "summary.json", "report.html"),
    *(f"histogram.{kind}" for kind in ("pdf", "svg", "png", "txt")),
}
#: Of these, those that tell neither time nor command.
SAME = {"matches.csv", "matches.parquet", "histogram.txt", "histogram.png"}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """generated/ and training/: images of 16 pixels, all different."""
    rng = np.random.default_rng(0)
    for side, n in (("generated", N_GENERATED), ("training", N_TRAINING)):
        (tmp_path / side).mkdir()
        for number in range(n):
            pixels = rng.integers(1, 256, (4, 4, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / side / f"{number:02d}.png")
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return tmp_path


def of_images(folder: Path, output: Path) -> list[str]:
    """The audit of the two sides in a folder."""
    options = ["--plugin", folder / "plugin.py", "--backbones", "wide", "--similarities", "global,chunked@16"]
    options += ["--batch-size", 2, "--workers", 1, "--top-k", 3, "--threshold", "fpr:0.05", "--output", output]
    return [
        "audit",
        "--generated",
        str(folder / "generated"),
        "--training",
        str(folder / "training"),
        *map(str, options),
    ]


def of_descriptors(folder: Path, output: Path) -> list[str]:
    """The audit of generated.npy and training.npy."""
    sides = ["--generated", str(folder / "generated.npy"), "--training", str(folder / "training.npy")]
    return ["audit", *sides, "--similarities", "global", "--threshold", "fpr:0.01", "--output", str(output)]


def finished(command: list[str]) -> None:
    """Run it in this process to its end."""
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output + str(ran.exception)


def stopped(command: list[str], how: signal.Signals, when: Callable[[], object]) -> str:
    """Run it in a process that gets a signal as soon as something is so; what that told on its standard error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", *command],
        cwd=ROOT,
        env={**os.environ, "SECONDS_A_BATCH": "0.2"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not when():
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.send_signal(how)
    told = process.communicate()[1]
    assert process.returncode == (-how if how is signal.SIGKILL else 130), told
    assert "Traceback" not in told
    return told


def described(folder: Path) -> list[str]:
    """The hash of each image that was described since the last call."""
    path = folder / "described"
    lines = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def kept(home: Path) -> int:
    """How many descriptors lie in whole shards of a side that is not whole."""
    return sum(Meta.read(path).rows for path in home.glob("descriptors/*/partial.json"))


def shards(home: Path) -> dict[str, bytes]:
    """The files of descriptors and names in a store."""
    found = [path for path in home.glob("descriptors/*/*/*") if path.suffix in (".npy", ".parquet")]
    assert len(found) > 4
    return {str(path.relative_to(home)): path.read_bytes() for path in found}


def told(folder: Path) -> dict[str, object]:
    """Of summary.json all but time and command."""
    summary = json.loads((folder / "summary.json").read_text())
    return {name: value for name, value in summary.items() if name not in ("argv", "finished")}


def require_same(a: Path, b: Path) -> None:
    """The files of two audits, hidden ones included, and what they say; times and commands aside."""
    assert {path.name for path in a.iterdir()} == {path.name for path in b.iterdir()} == FILES
    assert told(a) == told(b)
    for name in SAME:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


def test_a_killed_audit_goes_on_with_the_images_that_are_missing(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped politely at the first side, killed at the second one, and then finished."""
    home, command = images / "home", of_images(images, images / "out")
    monkeypatch.setenv("BENCH_HOME", str(home))
    monkeypatch.setenv("DESCRIBED", str(images / "described"))
    sentence = stopped(command, signal.SIGTERM, lambda: kept(home))
    last = sentence.splitlines()[-1]
    assert last == "error: interrupted; whole descriptors are kept, and the same command goes on"
    n_first = kept(home)
    assert 0 < n_first < N_GENERATED and not list(home.rglob("*.tmp")) and not (images / "out").exists()
    described(images)
    stopped(command, signal.SIGKILL, lambda: list(home.glob("descriptors/*/meta.json")) and kept(home))
    n_second, again = kept(home), described(images)
    assert 0 < n_second < N_TRAINING and not (images / "out").exists()
    finished(command)
    rest = described(images)
    # what is kept is not described again: neither the first side nor the whole shards of the second
    assert len(rest) == N_TRAINING - n_second
    assert len(set(rest) & set(again)) == len(again) - (N_GENERATED - n_first) - n_second
    monkeypatch.setenv("BENCH_HOME", str(images / "another"))
    finished(of_images(images, images / "never_killed"))
    assert len(described(images)) == N_GENERATED + N_TRAINING
    require_same(images / "out", images / "never_killed")
    assert shards(home) == shards(images / "another") and not list(home.rglob("*.tmp"))


def test_an_audit_stopped_while_it_writes_leaves_whole_files(tmp_path: Path) -> None:
    """So many descriptors that their matches take a while to be written."""
    rng = np.random.default_rng(0)
    for side, n in (("generated", 8000), ("training", 300)):
        np.save(tmp_path / f"{side}.npy", rng.normal(size=(n, 8)).astype(np.float32))
    finished(of_descriptors(tmp_path, tmp_path / "never_killed"))
    out = tmp_path / "out"
    for how in (signal.SIGINT, signal.SIGKILL):
        told = stopped(of_descriptors(tmp_path, out), how, lambda: list(out.glob(".matches.csv.*.tmp")))
        assert how is signal.SIGKILL or told.endswith("whole descriptors are kept, and the same command goes on\n")
        # what has its name is whole; without a summary nobody takes it for an audit
        named = {path.name for path in out.iterdir() if path.suffix != ".tmp"}
        assert "matches.parquet" in named and "summary.json" not in named
        for name in named & SAME:
            assert (out / name).read_bytes() == (tmp_path / "never_killed" / name).read_bytes(), name
        assert how is signal.SIGKILL or not list(out.glob(".*.tmp"))
    (out / ".matches.csv.x.tmp").write_text("half")  # should the kill have come after it was written
    finished(of_descriptors(tmp_path, out))
    require_same(out, tmp_path / "never_killed")
