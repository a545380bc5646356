"""Sentences and exit codes of data that can't be used, and of a system that refuses."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.cli import main
from bench.errors import told
from tests.conftest import ROOT

#: Under a limit on the size of files, as on a full disk, once compiled code is kept.
LIMITED = """
import resource, signal, sys
from bench.cli import app, main

*call, before, after = sys.argv[1:]
app([*call, before], standalone_mode=False)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
sys.argv[1:] = *call, after
main()
"""


def shard_cut_short(folder: Path, photo: Path) -> Path:
    (folder / "x.tar").write_bytes(b"cut short")
    return folder / "x.tar"


def photograph_cut_short(folder: Path, photo: Path) -> Path:
    for number in range(4):
        shutil.copyfile(photo, folder / f"{number}.jpg")
        with (folder / f"{number}.jpg").open("r+b") as stream:
            stream.truncate(5000 + number)
    return folder


@pytest.mark.parametrize("made", [shard_cut_short, photograph_cut_short])
def test_data_that_cannot_be_used_is_a_wrong_call(
    made: Callable[[Path, Path], Path],
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "source").mkdir()
    source = made(tmp_path / "source", photo)
    call = ["make", "synthetic", "--source", source, "--kind", "cutmix", "--output", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", ["bench", *map(str, call)])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2 and told.startswith("error: ") and "can't be read" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_search_that_cannot_write_says_what_is_true(suffix: str, tmp_path: Path) -> None:
    """It keeps nothing, so it promises nothing."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(200, 8)))
    vectors, before, after = (tmp_path / name for name in ("x.npy", f"before.{suffix}", f"after.{suffix}"))
    call = ["search", "--queries", vectors, "--database", vectors, "--output", before, after]
    # without the measuring of coverage, whose file is limited too
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, call)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == f"error: File too large: {after}; mend this and run the same command again\n"
    assert ran.returncode == 1 and before.stat().st_size > 4000
    assert sorted(tmp_path.iterdir()) == sorted([vectors, before, before.with_suffix(".json")])


def test_what_the_system_refused_without_a_place() -> None:
    assert told(OSError(28, "No space left on device")) == (
        "No space left on device; mend this and run the same command again"
    )
