"""Exit codes of data that can't be used."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli import main


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
    assert ended.value.code == 2 and told.startswith("error: the ") and "can't be read" in told
    assert not (tmp_path / "out").exists()
