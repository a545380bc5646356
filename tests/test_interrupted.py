"""A polite kill: one sentence, and nothing half-made is left."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from tests.conftest import ROOT

MAKE = ("make", "synthetic", "--source", "demo_copies", "--kind", "inpaint", "--size", "512")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_set_that_is_being_made_is_gone(how: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", *MAKE, "--output", str(tmp_path / "in" / "set")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while process.poll() is None and not list(tmp_path.glob("in/.making-*/*/*.jpg")):
        time.sleep(0.01)
    process.send_signal(how)
    _, told = process.communicate()
    assert process.returncode == 130 and "interrupted; nothing was kept" in told and "Traceback" not in told
    assert not list((tmp_path / "in").iterdir())


def test_an_output_below_a_file_is_a_wrong_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    ran = CliRunner().invoke(app, [*MAKE, "--output", str(tmp_path / "file" / "deep" / "set")])
    assert f"{tmp_path / 'file'} is a file; name another --output" in str(ran.exception)
