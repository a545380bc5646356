"""`embed`: the layout it writes, what it goes on with after a kill, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import Result
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

from bench.cli import app
from tests.conftest import ROOT

PLUGIN = """
import os, time
import torch

from bench.interfaces import Backbone, Descriptors, Preprocess, TRAINING_FREE, Weights
from bench.plugins import register_backbone


class Cells:
    n_parameters = None

    def __init__(self, times):
        self.times = times

    def describe(self, batch):
        time.sleep(float(os.environ.get("SECONDS_A_BATCH", 0)))
        if noted := os.environ.get("DESCRIBED"):
            with open(noted, "a") as stream:
                stream.write("x" * len(batch))
        cells = torch.nn.functional.avg_pool2d(batch.float(), 2).flatten(2).transpose(1, 2)
        return Descriptors(cells.flatten(1).repeat(1, self.times), cells)


class CellsBackbone(Backbone):
    def load(self, device, weights_file):
        return Cells(self.embed_dim // 48)


SQUASHED = Preprocess("squash", 8, None, "bilinear", None, None)


@register_backbone()
def cells() -> Backbone:
    return CellsBackbone("cells", "means of squares", 48, SQUASHED, Weights(TRAINING_FREE, "", "none"))


@register_backbone()
def wide() -> Backbone:
    return CellsBackbone("wide", "the same 400 times", 19200, SQUASHED, Weights(TRAINING_FREE, "", "none"))
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Forty images in two folders."""
    for number in range(40):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(1, 256, (16, 16, 3), np.uint8)).save(path)
    return tmp_path / "photos"


def arguments(images: Path | str, output: Path, *more: object) -> list[str]:
    plugin = output.parent / "plugin.py"
    plugin.write_text(PLUGIN)
    options = ["--images", images, "--output", output, "--plugin", plugin, "--backbone", "cells", *more]
    return ["embed", *map(str, options)]


def embed(images: Path | str, output: Path, *more: object) -> Result:
    return CliRunner().invoke(app, arguments(images, output, *more))


def rows(folder: Path) -> NDArray[np.floating]:
    return np.concatenate([np.load(path, allow_pickle=False) for path in sorted((folder / "img_emb").glob("*.npy"))])


def names(folder: Path) -> list[str]:
    shards = sorted((folder / "metadata").glob("*.parquet"))
    return [name for path in shards for name in parquet.read_table(path)["image_path"].to_pylist()]


def expected(path: Path) -> NDArray[np.float64]:
    """Cells [16, 3] of an image by pillow and numpy alone."""
    pixels = np.asarray(Image.open(path).convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)).astype(np.float64)
    return pixels.reshape(4, 2, 4, 2, 3).mean((1, 3)).reshape(16, 3)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("options", "take"),
    [
        ((), lambda cells: cells.ravel()),
        (("--dtype", "float16"), lambda cells: cells.ravel()),
        (("--descriptor", "local"), lambda cells: cells),
        (
            ("--descriptor", "local/2x1", "--dtype", "float16"),
            lambda cells: cells.reshape(2, 2, 4, 3).mean((1, 2)),
        ),
    ],
)
def test_rows_and_names_are_those_of_the_images(
    options: tuple[str, ...], take: Callable[[NDArray[np.float64]], NDArray[np.float64]], photos: Path, tmp_path: Path
) -> None:
    ran = embed(photos, tmp_path / "out", *options)
    assert ran.exit_code == 0 and "descriptors of 40 images" in ran.output, ran.output
    found, named = rows(tmp_path / "out"), names(tmp_path / "out")
    assert named == sorted(str(path.relative_to(photos)) for path in photos.rglob("*.png"))
    assert found.dtype == ("float16" if "float16" in options else "float32")
    wanted = np.stack([take(expected(photos / name)) for name in named])
    assert found.shape == wanted.shape and np.allclose(found, wanted, rtol=1e-3)


def test_shards_and_parquet_files_are_read(photos: Path, tmp_path: Path) -> None:
    paths = sorted(photos.rglob("*.png"))[:5]
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for path in paths:
            tar.add(path, path.name)
    table = pa.table({"image": [{"bytes": path.read_bytes(), "path": path.name} for path in paths]})
    parquet.write_table(table, tmp_path / "x.parquet")
    wanted = np.stack([expected(path).ravel() for path in paths])
    for source in ("x.tar", "x.parquet"):
        assert embed(tmp_path / source, tmp_path / f"of-{source}").exit_code == 0
        assert np.allclose(rows(tmp_path / f"of-{source}"), wanted, rtol=1e-3)
    assert names(tmp_path / "of-x.tar") == [f"x.tar/{path.name}" for path in paths]


def test_a_killed_process_goes_on_to_the_same_files(photos: Path, tmp_path: Path) -> None:
    """Killed when the second shard is there, and the first is listed for sure."""
    options = "--batch-size", "4", "--backbone", "wide"
    whole = embed(photos, tmp_path / "whole", *options)
    assert whole.exit_code == 0
    assert len(list((tmp_path / "whole" / "img_emb").iterdir())) >= 3
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "bench", *arguments(photos, killed, *options)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "SECONDS_A_BATCH": "0.2"})
    while process.poll() is None and len(list(killed.glob("metadata/*.parquet"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (killed / "meta.json").exists()
    first = killed / "img_emb" / "img_emb_0000.npy"
    written = first.stat().st_mtime_ns
    assert embed(photos, killed, *options).exit_code == 0
    for part in ("img_emb", "metadata"):
        assert files(tmp_path / "whole" / part) == files(killed / part)
    assert sorted(path.name for path in killed.iterdir()) == ["img_emb", "meta.json", "metadata"]
    assert first.stat().st_mtime_ns == written


def test_what_is_there_is_not_made_again(photos: Path, tmp_path: Path) -> None:
    embed(photos, tmp_path / "out")
    before = files(tmp_path / "out")
    ran = embed(photos, tmp_path / "out")
    assert ran.exit_code == 0 and files(tmp_path / "out") == before
    assert json.loads(before["meta.json"])


def test_another_batch_size_goes_on_in_the_same_folder(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert embed(photos, out, "--backbone", "wide", "--batch-size", "4").exit_code == 0
    whole, named = rows(out), names(out)
    first, second = out / "img_emb" / "img_emb_0000.npy", out / "img_emb" / "img_emb_0001.npy"
    written, n_rows = first.stat().st_mtime_ns, len(np.load(second))
    second.unlink()
    assert embed(photos, out, "--backbone", "wide", "--batch-size", "7").exit_code == 0
    assert np.array_equal(rows(out), whole) and names(out) == named
    assert first.stat().st_mtime_ns == written and len(np.load(second)) != n_rows


def test_a_search_refuses_what_was_damaged_until_it_is_made_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    embed(photos, out)
    whole = files(out)
    path = out / "img_emb" / "img_emb_0000.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    asked = ["search", "--queries", str(out), "--database", str(out), "--output", str(tmp_path / "found.csv")]
    refused = CliRunner().invoke(app, asked)
    assert str(refused.exception).startswith(f"{path} is not what {out / 'meta.json'} says was written")
    assert not (tmp_path / "found.csv").exists()
    assert embed(photos, out).exit_code == 0
    mended = files(out)
    assert all(mended[name] == whole[name] for name in whole if name != "meta.json")
    assert CliRunner().invoke(app, asked).exit_code == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--descriptor", "local"),
        ("--dtype", "float16"),
        ("--preprocess", "squash:6"),
        ("--preprocess", "official+draft"),
    ],
)
def test_other_settings_are_refused_and_change_nothing(options: tuple[str, ...], photos: Path, tmp_path: Path) -> None:
    embed(photos, tmp_path / "out")
    before = files(tmp_path / "out")
    ran = embed(photos, tmp_path / "out", *options)
    assert f"{tmp_path / 'out'} holds descriptors made from something else" in str(ran.exception)
    assert files(tmp_path / "out") == before


def described(home: Path) -> int:
    """Number of images given to the model since the last call."""
    path = home.parent / "described"
    n = path.stat().st_size if path.exists() else 0
    path.unlink(missing_ok=True)
    return n


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the plugin's models note every image that they describe."""
    monkeypatch.setenv("DESCRIBED", str(tmp_path / "described"))
    return tmp_path


def changed(photos: Path) -> tuple[set[str], int]:
    """Remove, replace and add images: the names that are left, and how many are new."""
    (photos / "a/00.png").unlink()
    Image.new("RGB", (16, 16), (9, 8, 7)).save(photos / "b/01.png")
    Image.new("RGB", (16, 16), (1, 2, 3)).save(photos / "a/05new.png")
    (photos / "b/39.png").rename(photos / "b/40.png")  # of the same content
    return {str(path.relative_to(photos)) for path in photos.rglob("*.png")}, 2


@pytest.mark.parametrize("backbone", ["cells", "wide"])
def test_after_a_change_only_new_images_are_described_and_the_folder_has_the_rows_of_a_new_one(
    backbone: str, photos: Path, tmp_path: Path, counted: Path
) -> None:
    options = "--backbone", backbone, "--batch-size", "4"
    embed(photos, tmp_path / "out", *options)
    assert described(counted / "home") == 40
    left, new = changed(photos)
    assert embed(photos, tmp_path / "out", *options).exit_code == 0
    assert described(counted / "home") == new
    assert set(names(tmp_path / "out")) == left and len(names(tmp_path / "out")) == len(left) == 40
    assert embed(photos, tmp_path / "fresh", *options).exit_code == 0
    assert names(tmp_path / "out") == names(tmp_path / "fresh")
    assert np.array_equal(rows(tmp_path / "out"), rows(tmp_path / "fresh"))
    assert not (tmp_path / "out/.before").exists()


@pytest.mark.parametrize("kill_after", [1, 3])
def test_a_kill_after_a_change_loses_no_row(kill_after: int, photos: Path, tmp_path: Path, counted: Path) -> None:
    options = "--backbone", "wide", "--batch-size", "4"
    embed(photos, tmp_path / "out", *options)
    left, _ = changed(photos)
    described(counted / "home")
    for number in range(20, 30):  # new images among the first, so that the kill comes while they are described
        Image.fromarray(np.random.default_rng(100 + number).integers(1, 256, (16, 16, 3), np.uint8)).save(
            photos / f"a/0{number}.png"
        )
    command = [sys.executable, "-m", "bench", *arguments(photos, tmp_path / "out", *options)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "SECONDS_A_BATCH": "0.3"})
    noted = counted / "described"
    while process.poll() is None and not (noted.exists() and noted.stat().st_size >= 4 * kill_after):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    described(counted / "home")
    assert embed(photos, tmp_path / "out", *options).exit_code == 0
    assert described(counted / "home") <= 12
    assert embed(photos, tmp_path / "fresh", *options).exit_code == 0
    assert dict(zip(names(tmp_path / "out"), rows(tmp_path / "out").tolist(), strict=True)) == dict(
        zip(names(tmp_path / "fresh"), rows(tmp_path / "fresh").tolist(), strict=True)
    )
    assert left < set(names(tmp_path / "out"))


def test_a_folder_of_something_else_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    assert f"{tmp_path / 'mine'} is not empty" in str(embed(photos, tmp_path / "mine").exception)
    assert files(tmp_path / "mine") == {"file": b"mine"}
    told = f"{tmp_path / 'mine' / 'file'} is a file; choose another --output"
    assert told in str(embed(photos, tmp_path / "mine" / "file").exception)


def test_a_broken_image_is_listed_and_the_others_are_described(photos: Path, tmp_path: Path, counted: Path) -> None:
    out = tmp_path / "out"
    whole = (photos / "b/39.png").read_bytes()
    (photos / "b/39.png").write_bytes(whole[:100])
    ran = embed(photos, out, "--batch-size", "4")
    assert ran.exit_code == 0 and "1 image can't be read or described and is left out" in ran.output
    assert "descriptors of 39 images" in ran.output and len(names(out)) == 39 and "b/39.png" not in names(out)
    (header, line) = (out / "unreadable.csv").read_text().splitlines()
    assert header == "side,id,reason" and line.startswith("images,b/39.png,") and "can't be read" in line
    described(counted / "home")
    assert "1 image can't be read" in embed(photos, out, "--batch-size", "4").output
    assert described(counted / "home") == 0
    (photos / "b/39.png").write_bytes(whole)
    assert embed(photos, out, "--batch-size", "4").exit_code == 0
    assert described(counted / "home") == 1 and len(names(out)) == 40 and not (out / "unreadable.csv").exists()


def test_strict_stops_at_a_broken_image_and_leaves_nothing(photos: Path, tmp_path: Path) -> None:
    (photos / "b" / "39.png").write_bytes((photos / "b" / "39.png").read_bytes()[:100])
    ran = embed(photos, tmp_path / "out", "--batch-size", "4", "--strict")
    told = str(ran.exception)
    assert f"the image {photos / 'b' / '39.png'} can't be read" in told and "\n" not in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--backbone", "color,pdq"), "'color,pdq' is 2 backbones: name one"),
        (("--descriptor", "local/7"), "there is no descriptor 'local/7': write global, local, local/HxW"),
        (("--preprocess", "draft"), "there is no preprocessing 'draft'"),
        (("--backbone", "color", "--descriptor", "local"), "the backbone has no local descriptors"),
    ],
)
def test_a_wrong_call_is_told(options: tuple[str, ...], told: str, photos: Path, tmp_path: Path) -> None:
    ran = embed(photos, tmp_path / "out", *options)
    assert told in str(ran.exception) and not (tmp_path / "out").exists()


def test_two_processes_do_not_write_to_one_folder(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", *arguments(photos, tmp_path / "out", "--batch-size", "1")]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "SECONDS_A_BATCH": "5"})
    try:
        while process.poll() is None and not (tmp_path / "out").exists():
            time.sleep(0.02)
        told = str(embed(photos, tmp_path / "out").exception)
    finally:
        process.kill()
        process.wait()
    assert told == f"another process is writing to {tmp_path / 'out'}: wait for it, or choose another --output"
