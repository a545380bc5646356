"""The store when things go wrong: writers killed, two at once, shards lost, and what looks after it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from bench.cache import entries, n_bytes, prune
from bench.cli import app
from bench.descriptors import shard_writer
from bench.descriptors.shard_writer import Writer
from bench.errors import DescriptorError, UsageError
from bench.shards import Meta, open_shards
from bench.store import DescriptorStore
from tests import store_entries
from tests.conftest import ROOT

#: 256 kB a row: few rows make several shards.
WIDE = 1 << 16
NAMES = store_entries.names(3)
PLUGIN = f"""
import os, time
import torch

from bench.interfaces import NATIVE, Backbone, Descriptors, TRAINING_FREE, Weights
from bench.plugins import register_backbone


class Wide:
    n_parameters = None

    def describe(self, batch):
        time.sleep(float(os.environ.get("SECONDS_A_BATCH", 0)))
        with open(os.environ["DESCRIBED"], "a") as stream:
            stream.write("x" * len(batch))
        return Descriptors(batch.float().flatten(1).repeat(1, {WIDE} // 48) + 1)


class WideBackbone(Backbone):
    def load(self, device, weights_file):
        return Wide()


@register_backbone()
def wide() -> Backbone:
    return WideBackbone("wide", "pixels, again and again", {WIDE} // 48 * 48, NATIVE, Weights(TRAINING_FREE, "", ""))
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DESCRIBED", str(tmp_path / "described"))
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return tmp_path / "home"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty images of 16 pixels in a folder of two classes."""
    for number in range(20):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(1, 256, (4, 4, 3), np.uint8)).save(path)
    return tmp_path / "photos"


def arguments(photos: Path, out: Path) -> list[str]:
    options = ["--datasets", f"folder:{photos}", "--plugin", photos.parent / "plugin.py", "--batch-size", 2]
    return ["run", "--backbones", "wide", *map(str, options), "--similarities", "global", "--output", str(out)]


def described(folder: Path) -> int:
    """Number of images that were given to the model since the last call."""
    path = folder / "described"
    n = path.stat().st_size if path.exists() else 0
    path.unlink(missing_ok=True)
    return n


def started(photos: Path, out: Path, home: Path, seconds: float) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "BENCH_HOME": str(home), "SECONDS_A_BATCH": str(seconds)}
    return subprocess.Popen([sys.executable, "-m", "bench", *arguments(photos, out)], cwd=ROOT, env=environment)


def shard_files(home: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.glob("descriptors/*/*/*")
        if path.suffix in (".npy", ".parquet")
    }


def test_a_killed_run_goes_on_with_the_images_that_are_missing(
    photos: Path, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = started(photos, tmp_path / "out", own_home, 0.3)
    listed: list[Path] = []
    while killed.poll() is None and not (listed and Meta.read(listed[0]).rows):
        time.sleep(0.01)
        listed = list(own_home.glob("descriptors/*/partial.json"))
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    (entry,) = own_home.glob("descriptors/*/partial.json")
    kept = Meta.read(entry).rows
    assert 0 < kept < 20 and not entry.with_name("meta.json").exists()
    described(tmp_path)
    ran = CliRunner().invoke(app, arguments(photos, tmp_path / "out"))
    assert ran.exit_code == 0, ran.output
    assert described(tmp_path) == 20 - kept
    resumed = shard_files(own_home)
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "other"))
    assert CliRunner().invoke(app, arguments(photos, tmp_path / "again")).exit_code == 0
    assert described(tmp_path) == 20 and len(resumed) > 4 and resumed == shard_files(tmp_path / "other")
    assert (tmp_path / "again/scores.csv").read_bytes() == (tmp_path / "out/scores.csv").read_bytes()
    assert not list(own_home.glob("descriptors/*/.*")) and not list(own_home.glob("descriptors/*/*/.*"))


def test_two_processes_describe_once(photos: Path, tmp_path: Path, own_home: Path) -> None:
    both = [started(photos, tmp_path / name, own_home, 0.1) for name in ("one", "two")]
    assert [process.wait() for process in both] == [0, 0]
    assert described(tmp_path) == 20
    assert (tmp_path / "one/scores.csv").read_bytes() == (tmp_path / "two/scores.csv").read_bytes()
    (entry,) = entries(DescriptorStore(own_home / "descriptors"))
    assert entry.whole and entry.meta and entry.meta.rows == 20


@pytest.mark.parametrize("lost", ["img_emb/img_emb_0001.npy", "metadata/metadata_0001.parquet"])
@pytest.mark.parametrize("damage", [lambda b: b[:-1] + bytes([b[-1] ^ 1]), None])
def test_a_lost_shard_is_made_again_and_the_others_are_kept(
    lost: str, damage: Any, photos: Path, tmp_path: Path, own_home: Path
) -> None:
    run = CliRunner().invoke(app, arguments(photos, tmp_path / "out"))
    assert run.exit_code == 0 and described(tmp_path) == 20
    before = shard_files(own_home)
    (path,) = own_home.glob(f"descriptors/*/{lost}")
    path.unlink() if damage is None else path.write_bytes(damage(path.read_bytes()))
    told = CliRunner().invoke(app, ["cache", "verify"])
    assert told.exit_code == 3 and f"{path} is {'damaged' if damage else 'lost'}" in told.output
    first = len(np.load(path.parents[1] / "img_emb/img_emb_0000.npy"))
    assert CliRunner().invoke(app, [*arguments(photos, tmp_path / "out"), "--overwrite"]).exit_code == 0
    second = len(np.load(path.parents[1] / "img_emb/img_emb_0001.npy"))
    assert described(tmp_path) == second < 20 - first and shard_files(own_home) == before
    assert CliRunner().invoke(app, ["cache", "verify"]).exit_code == 0


def kept(store: DescriptorStore, name: str, rows: NDArray[np.floating]) -> Path:
    return store_entries.keep(store, {"backbone": name, "descriptor": "global"}, rows)


@pytest.fixture
def store(own_home: Path) -> DescriptorStore:
    return DescriptorStore(own_home / "descriptors")


def cache(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["cache", *arguments])


@pytest.mark.parametrize("shape", [(21, WIDE), (21, 4, WIDE // 4)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_several_shards_are_read_as_one_array(shape: tuple[int, ...], dtype: str, store: DescriptorStore) -> None:
    rows = np.random.default_rng(0).normal(size=shape).astype(dtype)
    folder = kept(store, "a", rows)
    assert len(list((folder / "img_emb").iterdir())) > 2
    found = store.find({"backbone": "a", "descriptor": "global"})
    assert found is not None
    assert (found.descriptors.shape, found.descriptors.dtype, len(found.descriptors)) == (shape, dtype, 21)
    asked = np.array([20, 0, 4, 4, 7, 11])
    for wanted in (slice(None), slice(1, 3), slice(2, 19), slice(3, 3), asked):
        assert np.array_equal(found.descriptors[wanted], rows[wanted])
    assert b"".join(np.load(path).tobytes() for path in sorted(folder.glob("img_emb/*"))) == rows.tobytes()


def test_shards_grow(store: DescriptorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_writer, "FIRST_BYTES", 64)
    monkeypatch.setattr(shard_writer, "LARGEST_BYTES", 256)
    folder = kept(store, "a", np.ones((110, 16), np.float32))
    sizes = [shard.rows for shard in Meta.read(folder / "meta.json").shards]
    assert sizes == [1] * 8 + [2] * 8 + [4] * 21 + [2]


def test_rows_of_another_shape_or_type_are_refused(tmp_path: Path) -> None:
    with Writer(tmp_path / "out", {"a": 1}, NAMES) as writer:
        writer.append(np.ones((2, 4), np.float32), NAMES[:2])
        for rows in (np.ones((1, 5), np.float32), np.ones((1, 4), np.float16)):
            with pytest.raises(DescriptorError, match=r"of 'image2' is float.*those before it float32 \[4\]"):
                writer.append(rows, NAMES[2:])
    assert not (tmp_path / "out").exists()
    with (
        pytest.raises(DescriptorError, match="there are no descriptors for"),
        Writer(tmp_path / "out", {}, []) as writer,
    ):
        writer.finish()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and holds no descriptors"):
        Writer(tmp_path / "mine", {"a": 1}, NAMES)
    with Writer(tmp_path / "out", {"a": 1}, NAMES) as writer:
        writer.append(np.ones((2, 4), np.float32), NAMES[:2])
        writer.finish()
    with pytest.raises(UsageError, match=r"made from something else \(other a, b\)"):
        Writer(tmp_path / "out", {"a": 2, "b": 1}, NAMES)
    assert (tmp_path / "mine/thesis.tex").read_text() == "mine"
    assert np.array_equal(open_shards(tmp_path / "out").rows[:], np.ones((2, 4)))


def test_a_newer_version_is_told_in_a_sentence_and_left_alone(photos: Path, tmp_path: Path, own_home: Path) -> None:
    CliRunner().invoke(app, arguments(photos, tmp_path / "out"))
    (meta,) = own_home.glob("descriptors/*/meta.json")
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"format": 3}))
    described(tmp_path)
    ran = CliRunner().invoke(app, [*arguments(photos, tmp_path / "out"), "--overwrite"])
    told = f"{meta} was written by a newer version of the benchmark: update this one, or delete {meta.parent}"
    assert ran.exit_code == 3 and told in ran.output and described(tmp_path) == 0
    verified = cache("verify")
    assert verified.exit_code == 3 and told in verified.output and meta.exists()


def test_list_shows_the_least_recently_used_first(store: DescriptorStore) -> None:
    for number, name in enumerate("abc"):
        folder = kept(store, name, np.ones((3, 4), np.float32))
        os.utime(folder / "meta.json", (number, number))
    assert store.find({"backbone": "a", "descriptor": "global"}) is not None
    with pytest.raises(RuntimeError), store.filling({"backbone": "cut"}, store_entries.names(9)) as writer:
        for name in store_entries.names(8):
            writer.append(np.ones((1, WIDE), np.float32), [name])
        raise RuntimeError
    lines = [line.split() for line in cache("list").output.splitlines()]
    listed = [line for line in lines if line and line[-1] in ("whole", "unfinished")]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert [line[1:4] for line in listed[:3]] == [[name, "global", "3"] for name in "bca"]
    assert listed[0][4] == str(size) and listed[0][5] == "1970-01-01"
    assert listed[3][1:3] == ["cut", "4"] and listed[3][-1] == "unfinished"


def test_prune_deletes_the_least_recently_used_but_nothing_locked(store: DescriptorStore) -> None:
    folders = [kept(store, name, np.ones((3, 4), np.float32)) for name in "abcd"]
    for number, folder in enumerate(folders):
        os.utime(folder / "meta.json", (number, number))
    each = entries(store)[0].n_bytes
    with store.lock(folders[1].name):
        gone, left = prune(store, 2 * each)
        assert [entry.folder for entry in gone] == [folders[0], folders[2]] and left == 2 * each
    assert [folder.exists() for folder in folders] == [False, True, False, True]
    ran = cache("prune", "--max-size", "1GB")
    assert "0 entries deleted" in ran.output and folders[1].exists()
    assert cache("prune", "--max-size", "0B").exit_code == 0 and not entries(store)


def test_what_killed_writers_and_older_versions_left_is_pruned_and_told(store: DescriptorStore) -> None:
    (store.root / ".making-x").mkdir(parents=True)
    (store.root / ".making-x/descriptors.npy").write_bytes(b"x" * 100)
    (store.root / "old").mkdir()
    (store.root / "old/meta.json").write_text('{"sha256": "0", "made_from": {}}')
    ran = cache("verify")
    assert ran.exit_code == 3 and f"{store.root / 'old/meta.json'} was written by an older version" in ran.output
    assert "unreadable" in cache("list").output
    assert cache("prune", "--max-size", "10B").exit_code == 0 and not entries(store)


def test_an_empty_store_is_whole() -> None:
    assert cache("list").output.startswith("0 entries, 0 bytes in ")
    assert cache("verify").exit_code == 0 and cache("prune", "--max-size", "1kB").exit_code == 0


@pytest.mark.parametrize(
    ("text", "size"), [("10GB", 10**10), ("1.5 TB", 15 * 10**11), ("500mb", 5 * 10**8), ("1kB", 1000), ("0B", 0)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert n_bytes(text) == size


@pytest.mark.parametrize("text", ["10", "GB", "-1GB", "10GiB", "1e3GB", ""])
def test_what_is_no_size_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="is no size: write a number and one of B, kB"):
        n_bytes(text)


def test_changed_code_and_images_are_never_served(photos: Path, tmp_path: Path) -> None:
    """The whole way from the command line: changed code describes all images again, a changed image this alone."""

    def run() -> int:
        ran = CliRunner().invoke(app, [*arguments(photos, tmp_path / "out"), "--overwrite"])
        assert ran.exit_code == 0, ran.output
        return described(tmp_path)

    assert (run(), run()) == (20, 0)
    Image.new("RGB", (4, 4), (1, 2, 3)).save(photos / "a/00.png")
    assert (run(), run()) == (1, 0)
    (tmp_path / "plugin.py").write_text(PLUGIN.replace("+ 1)", "+ 2)"))
    assert (run(), run()) == (20, 0)


def test_other_preprocessing_and_weights_are_never_served(photos: Path, tmp_path: Path) -> None:
    """The same with random weights of another seed, which have another sha256, and with another resizing."""

    def run(*options: str) -> dict[str, bytes]:
        asked = ["run", "--backbones", "timm:resnet10t", "--weights", "random", "--datasets", f"folder:{photos}"]
        asked += ["--similarities", "global", "--overwrite", "--output", str(tmp_path / "out"), *options]
        ran = CliRunner().invoke(app, asked)
        assert ran.exit_code == 0, ran.output
        return shard_files(tmp_path / "home")

    entries_of = [set(run(*options)) for options in ([], [], ["--seed", "1"], ["--preprocess", "squash:32"])]
    assert entries_of[0] == entries_of[1] < entries_of[2] < entries_of[3]
    rows = [np.load(tmp_path / "home" / file) for file in sorted(entries_of[3]) if file.endswith(".npy")]
    assert len(rows) == 3
    assert not any(np.allclose(one, other) for one, other in [(rows[0], rows[1]), (rows[1], rows[2])])


def test_a_full_disk_is_told_with_its_file_and_leaves_nothing_half_written(photos: Path, tmp_path: Path) -> None:
    """A real limit of the system on the size of files: shards here are larger."""
    import resource

    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    ran = subprocess.run(
        [sys.executable, "-m", "bench", *arguments(photos, tmp_path / "out")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert ran.returncode == 3
    (record,) = (tmp_path / "out/records").glob("*.json")
    told = json.loads(record.read_text())["error"]["message"]
    assert told.startswith("File too large: ") and told.endswith("mend this and run the same command again")
    assert "img_emb_0000.npy" in told
    assert not [
        path for path in (tmp_path / "home/descriptors").rglob("*") if path.is_file() and path.suffix != ".lock"
    ]
    assert CliRunner().invoke(app, arguments(photos, tmp_path / "out")).exit_code == 0
