"""`cache verify` and `cache prune`: what is lost is named, and what a running process writes is left alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.store import DescriptorStore
from tests import store_entries
from tests.conftest import ROOT

ROWS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
HOLDS = """
import sys
from pathlib import Path
from bench.store import DescriptorStore

with DescriptorStore(Path(sys.argv[1])).lock(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DescriptorStore:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    return DescriptorStore(tmp_path / "descriptors")


def kept(store: DescriptorStore, name: str) -> Path:
    return store_entries.keep(store, {"backbone": name}, ROWS, len(ROWS))


def test_a_lost_list_of_shards_is_named_and_made_again(store: DescriptorStore) -> None:
    folder = kept(store, "a")
    (folder / "meta.json").unlink()
    told = CliRunner().invoke(app, ["cache", "verify"])
    assert told.exit_code == 3
    assert told.output == f"{folder / 'meta.json'} is lost: the next run that needs it makes it again\n"
    assert store.find({"backbone": "a"}) is None
    kept(store, "a")
    found = store.find({"backbone": "a"})
    assert found is not None and np.array_equal(found.descriptors, ROWS)
    assert CliRunner().invoke(app, ["cache", "verify"]).exit_code == 0


def test_a_writer_killed_before_its_first_shard_is_no_loss(store: DescriptorStore) -> None:
    (store.root / "0").mkdir(parents=True)
    (store.root / "0/.partial.json.x.tmp").write_bytes(b"{")
    assert CliRunner().invoke(app, ["cache", "verify"]).exit_code == 0


def test_an_entry_that_a_running_process_holds_is_left_alone_and_told(store: DescriptorStore) -> None:
    held, free = kept(store, "held"), kept(store, "free")
    command = [sys.executable, "-c", HOLDS, str(store.root), held.name]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        ran = CliRunner().invoke(app, ["cache", "prune", "--max-size", "0B"])
        process.communicate("")
    assert ran.exit_code == 0 and "left: the rest is being written by other processes" in ran.output
    assert held.is_dir() and not free.exists()
    assert CliRunner().invoke(app, ["cache", "prune", "--max-size", "0B"]).exit_code == 0 and not held.exists()
