"""Throughput: every cell in a fresh process, raw durations kept, failures as rows, figures that follow from records."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from bench import plugins, provenance
from bench.cli_throughput import throughput
from bench.errors import UsageError
from bench.throughput import photographs
from bench.throughput.folder import TimingFolder, record_name
from bench.throughput.machine import governor, watch_others
from bench.throughput.measure import multiply_accumulates, timed
from bench.throughput.plan import (
    Cell,
    Request,
    Settings,
    in_precision,
    parse_batch_sizes,
    parse_precisions,
    plan,
    require_no_precision,
)
from bench.throughput.run import gone
from bench.throughput.table import COLUMNS, csv_text, row
from bench.throughput.worker import read
from tests.conftest import ROOT

SIDE, DIMENSION = 32, 1024
MACS = 3 * SIDE * SIDE * DIMENSION

PLUGIN = f"""
import os, signal, time
from pathlib import Path

from backbones._torch import TorchBackbone
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone


def make(name, describe):
    def build():
        import torch
        return torch.nn.Linear({3 * SIDE * SIDE}, {DIMENSION})

    prepared = Preprocess(size={SIDE}, crop={SIDE})
    weights = Weights("https://localhost/linear.pth", "MIT", "nothing")
    return TorchBackbone(name, "linear", {DIMENSION}, prepared, weights, build=build, describe=describe)


def layer(module, batch):
    return Descriptors(module(batch.flatten(1)))


def too_large(module, batch):
    import torch
    return Descriptors(torch.empty(len(batch) << 50))


def killed_from_outside(module, batch):
    os.kill(os.getpid(), signal.SIGKILL)


def asleep(module, batch):
    Path(os.environ["ASLEEP"]).write_text(str(os.getpid()))
    time.sleep(600)


@register_backbone()
def linear() -> Backbone:
    return make("linear", layer)


@register_backbone()
def hungry() -> Backbone:
    return make("hungry", too_large)


@register_backbone()
def killed() -> Backbone:
    return make("killed", killed_from_outside)


@register_backbone()
def sleeper() -> Backbone:
    return make("sleeper", asleep)
"""

CALL = """
import sys
import typer
from bench.cli_throughput import throughput
from bench.errors import BenchError

app = typer.Typer()
app.command()(throughput)
try:
    app()
except BenchError as error:
    sys.exit(error.exit_code)
"""


APP = typer.Typer()
APP.command()(throughput)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What it registers is gone after the tests of this file."""
    path = tmp_path_factory.mktemp("plugin") / "mine.py"
    path.write_text(PLUGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins.backbones, "_entries", {entry.name: entry for entry in plugins.backbones.entries()})
        yield path


def call(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(APP, ["--device", "cpu", "--offline", *map(str, arguments)])


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "throughput.csv").open() as stream:
        return list(csv.DictReader(stream))


def records(folder: Path) -> dict[str, dict[str, Any]]:
    made = [json.loads(path.read_text()) for path in (folder / "throughput").glob("*.json")]
    return {record["cell"]["backbone"]: record for record in made}


LARGE = 150_000_000
HOW = ("--batch-sizes", 4, "--rounds", 4, "--warmup", 2, "--workers", 2, "--weights", "random")


@pytest.fixture(scope="module")
def measured(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """Three cells, of which one can be measured, by a process that has 1.2 GB itself."""
    folder = tmp_path_factory.mktemp("measured")
    here = np.ones(LARGE)
    ran = call("--backbones", "killed,linear,hungry", "--plugin", plugin, *HOW, "--output", folder)
    assert here[-1] == 1
    return ran, folder


def test_a_cell_is_measured_with_its_raw_durations(measured: tuple[Result, Path]) -> None:
    record = records(measured[1])["linear"]
    found = record["measured"]
    assert (record["status"], record["error"]) == ("ok", None)
    assert record["cell"] == {
        "backbone": "linear",
        "device": "cpu",
        "precision": "fp32",
        "batch_size": 4,
        "weights": "random",
    }
    assert (found["image_shape"], found["embed_dim"]) == ([3, SIDE, SIDE], DIMENSION)
    assert (found["macs"], found["n_parameters"]) == (MACS, MACS + DIMENSION)
    # four images for each of the two decoding threads are two batches of four
    assert {name: found[name]["items"] for name in ("forward", "latency", "decode_forward", "search")} == {
        "forward": 4,
        "latency": 1,
        "decode_forward": 8,
        "search": 4,
    }
    for name in ("forward", "latency", "decode_forward", "search"):
        assert (len(found[name]["warmup_s"]), len(found[name]["seconds"])) == (2, 4)
        assert min(found[name]["warmup_s"] + found[name]["seconds"]) > 0
    assert found["search"]["rows"] == 512_000_000 // (4 * DIMENSION)
    assert found["settings"]["threads"] == torch.get_num_threads()
    assert found["settings"]["cudnn_allow_tf32"] is False
    assert record["hardware"]["cpu"] and record["packages"]["torch"] == torch.__version__.partition("+")[0]


def test_memory_is_that_of_the_fresh_process_alone(measured: tuple[Result, Path]) -> None:
    memory = records(measured[1])["linear"]["measured"]["memory"]
    assert 100 < memory["start_mb"] <= memory["loaded_mb"] <= memory["peak_mb"] < 8 * LARGE / 1e6
    assert memory["loaded_mb"] - memory["start_mb"] > 4 * MACS / 1e6 / 2
    assert memory["gpu_peak_mb"] is None


def test_failures_are_rows_with_a_reason_and_the_others_go_on(measured: tuple[Result, Path]) -> None:
    ran, folder = measured
    assert ran.exit_code == 3
    found = {row["backbone"]: row for row in table(folder)}
    assert {name: row["status"] for name, row in found.items()} == {
        "hungry": "failed",
        "killed": "failed",
        "linear": "ok",
    }
    assert "can't allocate memory" in found["hungry"]["error"]
    assert found["killed"]["error"].startswith("Killed: the process was killed by SIGKILL")
    for name in ("hungry", "killed"):
        assert found[name]["batch_size"] == "4"  # never a smaller one instead
        empty = set(COLUMNS[COLUMNS.index("image_size") : COLUMNS.index("n_warmup")])
        assert {found[name][column] for column in empty} == {""}
    assert "1 of 3 cells were measured" in ran.output and "SIGKILL" in ran.output


def test_the_table_follows_from_the_records(measured: tuple[Result, Path]) -> None:
    _, folder = measured
    found = next(row for row in table(folder) if row["backbone"] == "linear")
    assert tuple(found) == COLUMNS
    raw = records(folder)["linear"]["measured"]
    steps = sorted(raw["forward"]["seconds"])
    rates = sorted(4 / step for step in steps)
    assert float(found["forward_images_per_s_median"]) == pytest.approx((rates[1] + rates[2]) / 2)
    # of four values the quartiles lie a quarter of the way from the second and the third to their outer neighbours
    iqr = (rates[2] + (rates[3] - rates[2]) / 4) - (rates[1] - (rates[1] - rates[0]) / 4)
    assert float(found["forward_images_per_s_iqr"]) == pytest.approx(iqr)
    assert float(found["forward_step_ms_median"]) == pytest.approx(500 * (steps[1] + steps[2]))
    latency = sorted(raw["latency"]["seconds"])
    assert float(found["latency_ms_p95"]) == pytest.approx(1000 * (latency[2] + 0.85 * (latency[3] - latency[2])))
    per_round = sorted(8 / seconds for seconds in raw["decode_forward"]["seconds"])
    assert float(found["decode_forward_images_per_s_median"]) == pytest.approx((per_round[1] + per_round[2]) / 2)
    assert float(found["search_1m_s"]) == pytest.approx(np.median(raw["search"]["seconds"]) * 1e6 / 125_000)
    assert (found["search_measured_rows"], found["search_queries"]) == ("125000", "4")
    assert (found["gmacs"], found["params_m"]) == (str(MACS / 1e9), str((MACS + DIMENSION) / 1e6))
    assert (found["descriptor_bytes"], found["image_size"], found["weights"]) == ("4096", "32x32", "random")
    assert found["gpu"] == found["gpu_peak_mb"] == found["error"] == ""


def test_what_is_measured_is_kept_until_something_changes(plugin: Path, measured: tuple[Result, Path]) -> None:
    _, folder = measured
    linear, killed = (records(folder)[name] for name in ("linear", "killed"))
    place, other = (folder / "throughput" / record_name(record["cell"]) for record in (linear, killed))
    before, of_killed = place.read_bytes(), other.read_text()
    (folder / "throughput.csv").unlink()
    other.write_text(json.dumps(linear | {"cell": killed["cell"]}))  # measured, but not as this call would
    assert call("--backbones", "linear,killed", "--plugin", plugin, *HOW, "--output", folder).exit_code == 3
    assert place.read_bytes() == before
    assert {row["backbone"]: row["status"] for row in table(folder)}["linear"] == "ok"
    assert json.loads(other.read_text())["error"] == json.loads(of_killed)["error"]


def test_a_backbone_without_weights_or_precision_is_unavailable(tmp_path: Path) -> None:
    ran = call("--backbones", "candidates", "--output", tmp_path)
    found = table(tmp_path)
    assert (ran.exit_code, len(found)) == (0, 20)
    assert {(row["status"], row["forward_images_per_s_median"]) for row in found} == {("unavailable", "")}
    assert call("--backbones", "sscd", "--output", tmp_path).exit_code == 3
    ran = call("--backbones", "dhash", "--precisions", "bf16", "--output", tmp_path)
    assert ran.exit_code == 3
    assert "dhash, bf16, batches of 1; dhash, bf16, batches of 32: unavailable: the backbone 'dhash' has" in ran.output


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_interrupted_it_ends_its_process_and_keeps_what_is_whole(plugin: Path, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    arguments = ["--backbones", "sleeper", "--plugin", plugin, *HOW, "--device", "cpu", "--output", tmp_path / "out"]
    environment = os.environ | {"ASLEEP": str(told)}
    running = subprocess.Popen([sys.executable, "-c", CALL, *map(str, arguments)], cwd=ROOT, env=environment)
    until = time.monotonic() + 120
    while not (told.exists() and told.read_text()):
        assert running.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 130
    state = Path(f"/proc/{told.read_text()}/stat")  # a zombie has ended, and waits to be asked for
    until = time.monotonic() + 30
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not list((tmp_path / "out").rglob("*.json")) and not list((tmp_path / "out").rglob("*.tmp"))


def test_multiply_accumulates_of_known_layers() -> None:
    linear, conv = torch.nn.Linear(30, 7), torch.nn.Conv2d(3, 8, 3, padding=1)
    assert multiply_accumulates(lambda: linear(torch.ones(2, 30))) == 2 * 30 * 7
    assert multiply_accumulates(lambda: conv(torch.ones(1, 3, 16, 16))) == 16 * 16 * 8 * 3 * 9
    q = torch.ones(1, 2, 10, 4)
    attention = torch.nn.functional.scaled_dot_product_attention
    assert multiply_accumulates(lambda: attention(q, q, q)) == 2 * 2 * 10 * 10 * 4
    assert multiply_accumulates(lambda: torch.ones(3).sum()) is None


def test_multiply_accumulates_of_resnet50_are_the_published_4_1_billion() -> None:
    with torch.device("meta"):
        module = timm.create_model("resnet50", num_classes=0).eval()
    with torch.inference_mode():
        found = multiply_accumulates(lambda: module(torch.empty(1, 3, 224, 224, device="meta")))
    assert found == 4_087_136_256  # without the classifier's 2,048,000


def test_rounds_and_warm_up_are_kept_apart() -> None:
    calls = []

    def step() -> None:
        calls.append(time.perf_counter())
        time.sleep(0.02 if len(calls) <= 2 else 0.005)

    found = timed(step, 8, warmup=2, rounds=3)
    assert (found.items, len(found.warmup_s), len(found.seconds), len(calls)) == (8, 2, 3, 5)
    assert min(found.warmup_s) >= 0.02 and min(found.seconds) >= 0.005


def test_photographs_have_one_shape_and_differ(tmp_path: Path) -> None:
    files = photographs.write(tmp_path)
    assert len(files) == 32 == len({file.read_bytes() for file in files})
    assert {Image.open(file).size for file in files} == {(500, 375)}
    assert {Image.open(file).format for file in files} == {"JPEG"}


def test_other_work_on_the_machine_is_noticed() -> None:
    own = watch_others()
    started = time.perf_counter()
    while time.perf_counter() - started < 0.3:
        pass  # this process is none of the others
    elsewhere = own()
    if elsewhere is None:
        pytest.skip("the system does not tell")
    assert 0 <= elsewhere <= (os.cpu_count() or 1) + 0.1
    others = watch_others()
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    time.sleep(1)
    seen = others()
    busy.kill()
    busy.wait()
    assert seen is not None and seen > 0.2


def test_the_governor_is_told_or_none() -> None:
    assert governor() is None or "".join(governor() or "").isprintable()


HERE = provenance.hardware("cpu")
SETTINGS = Settings(rounds=4, warmup=1, workers=2, weights="pretrained")


def test_a_plan_has_every_combination_once() -> None:
    cells = plan(["a", "b"], "cpu", ["fp32", "bf16"], [1, 8])
    assert len(cells) == len(set(cells)) == 8
    assert cells[:2] == [Cell("a", "cpu", "fp32", 1), Cell("b", "cpu", "fp32", 1)]


def test_a_request_survives_its_json(tmp_path: Path) -> None:
    request = Request(Cell("a", "cpu", "bf16", 3), SETTINGS, "a,b", ["p.py"], None, ["x.jpg"])
    (tmp_path / "request").write_text(json.dumps(asdict(request)))
    with (tmp_path / "request").open() as stream:
        assert read(stream) == request


def test_lists_are_parsed_each_once() -> None:
    assert parse_batch_sizes("32, 1,32") == [32, 1]
    assert parse_precisions("bf16,fp32, bf16") == ["bf16", "fp32"]


@pytest.mark.parametrize("text", ["", "0", "-1", "1,", "x", "1.5", "1e3"])
def test_batch_sizes_that_can_not_be(text: str) -> None:
    with pytest.raises(UsageError, match="positive numbers"):
        parse_batch_sizes(text)


@pytest.mark.parametrize("text", ["", "fp64", "fp32,"])
def test_precisions_that_can_not_be(text: str) -> None:
    with pytest.raises(UsageError, match="fp32, bf16, fp16"):
        parse_precisions(text)


def test_precision_keeps_name_and_other_options() -> None:
    (chosen,) = plugins.backbones.select("resnet50[multiscale=yes]")
    half = in_precision(chosen.item, "bf16")
    assert (half.name, half.precision, vars(half)["multiscale"]) == (chosen.item.name, "bf16", True)
    (told,) = plugins.backbones.select("resnet50[precision=fp16]")
    with pytest.raises(UsageError, match="--precisions fp16"):
        require_no_precision([chosen.item, told.item])


def test_why_a_process_left_nothing() -> None:
    assert "SIGKILL, as the system does where memory runs out" in gone(-signal.SIGKILL, "").message
    assert gone(-signal.SIGSEGV, "").message == "the process was killed by SIGSEGV"
    assert gone(1, "Traceback\nImportError: no x\n").message == "the process ended with exit code 1: ImportError: no x"


def record(backbone: str = "a", **changes: Any) -> dict[str, Any]:
    """A record of a cell that failed."""
    cell = Cell(backbone, changes.pop("device", "cpu"), changes.pop("precision", "fp32"), changes.pop("batch_size", 1))
    return {
        "schema_version": 1,
        "status": "failed",
        "error": {"phase": "measure", "type": "MemoryError", "message": 'no, "really"\nno'},
        "created_utc": provenance.now(),
        "cell": asdict(cell) | {"weights": "random"},
        "settings": asdict(SETTINGS),
        "measured": None,
        "governor": None,
        "hardware": HERE | {"device": cell.device} | changes,
        "packages": {"torch": "2"},
        "git": {"sha": None},
    }


def test_rows_are_in_no_order_of_speed_and_never_mix_devices() -> None:
    made = [
        record("b10", device="cuda"),
        record("b9", batch_size=32),
        record("b10", batch_size=4),
        record("b9", precision="bf16"),
        record("b9", batch_size=4),
    ]
    rows = list(csv.DictReader(csv_text(made).splitlines(keepends=True)))
    assert [(r["backbone"], r["device"], r["precision"], r["batch_size"]) for r in rows] == [
        ("b9", "cpu", "fp32", "4"),
        ("b10", "cpu", "fp32", "4"),
        ("b9", "cpu", "fp32", "32"),
        ("b9", "cpu", "bf16", "1"),
        ("b10", "cuda", "fp32", "1"),
    ]
    assert rows[0]["error"] == 'MemoryError: no, "really"\nno'
    assert tuple(row(made[0])) == COLUMNS


def opened(folder: Path, overwrite: bool = False, write: Sequence[dict[str, Any]] = (), **changes: Any) -> list[Any]:
    """The records of a folder opened on a machine that differs from this one, after some were written."""
    with TimingFolder.open(folder, HERE | changes, overwrite) as timings:
        for one in write:
            timings.write(one)
        return timings.records()


def test_every_column_is_documented_in_its_order() -> None:
    text = (ROOT / "docs/throughput.md").read_text()
    documented: list[str] = []
    for line in re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", line):
            documented.append(documented[-1].rpartition("_")[0] + name if name.startswith("_") else name)
    assert tuple(documented) == COLUMNS


def test_a_folder_holds_one_machine(tmp_path: Path) -> None:
    assert len(opened(tmp_path, write=[record()])) == 1
    with pytest.raises(UsageError, match=r"another machine \(cpu was .*, is Z80; threads was"):
        opened(tmp_path, cpu="Z80", threads=64)
    # an accelerator of another kind is another machine only under the same name
    assert len(opened(tmp_path, write=[record(device="cuda", gpu="H100")], device="cuda", gpu="H100")) == 2
    with pytest.raises(UsageError, match="gpu was H100, is A100"):
        opened(tmp_path, device="cuda", gpu="A100")
    assert len(opened(tmp_path)) == 2
    assert opened(tmp_path, overwrite=True, cpu="Z80") == []


def test_what_is_no_record_is_told(tmp_path: Path) -> None:
    (tmp_path / "throughput").mkdir()
    for content, told in (("{", "can't be read as JSON"), ("[]", "is no record"), ('{"schema_version": 9}', "no rec")):
        (tmp_path / "throughput/x.json").write_text(content)
        with pytest.raises(UsageError, match=told):
            opened(tmp_path)


def test_one_process_writes_to_a_folder(tmp_path: Path) -> None:
    with (
        TimingFolder.open(tmp_path, HERE, False),
        pytest.raises(UsageError, match="another timing is writing"),
    ):
        opened(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="can't write to the folder"):
        opened(tmp_path / "file")
    left = tmp_path / "throughput/.x.json.1.tmp"
    left.touch()
    assert opened(tmp_path) == [] and not left.exists()


def test_record_names_are_files_and_differ() -> None:
    cells = [record(name)["cell"] for name in ("a", "timm:a/b", "timm:a_b", "a[size=3]")]
    names = [record_name(cell) for cell in cells]
    assert len(set(names)) == 4 and not any("/" in name for name in names)
    assert names[0] == "a--random--cpu--fp32--1.json"
