"""Shared parts of the tests: a cache folder of their own, small real datasets, the command line as a process."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent

Bench = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder for the whole session, so that nothing of the user's is read or written."""
    folder = tmp_path_factory.mktemp("home")
    changed = {"BENCH_HOME": str(folder / "bench"), "HF_HOME": str(folder / "hf")}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    yield folder / "bench"
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="session")
def photo() -> Path:
    """A real photograph, 451 x 300."""
    import skimage

    return Path(skimage.__file__).parent / "data" / "chelsea.png"


@pytest.fixture(scope="session")
def bench() -> Bench:
    """Runs `python -m bench ARGUMENTS` as a process from the checkout."""

    def call(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "bench", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=600,
        )

    return call


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, photo: Path) -> Path:
    """A copy-detection set in DISC form: 12 tiles of a photograph, 6 copies and 2 queries without a match."""
    return make_disc(tmp_path_factory.mktemp("data") / "small", photo)


def make_disc(folder: Path, photo: Path) -> Path:
    """Write the set that `small` describes."""
    image = Image.open(photo).convert("RGB")
    tiles = [image.crop((x, y, x + 100, y + 100)) for y in (0, 100, 200) for x in (0, 100, 200, 300)]
    for name in ("queries", "references"):
        (folder / name).mkdir(parents=True)
    for number, tile in enumerate(tiles):
        tile.save(folder / "references" / f"r{number:02d}.png")
    rows = []
    for number in range(8):
        tile = tiles[number] if number < 6 else image.crop((350, 50 + 80 * (number - 6), 450, 150 + 80 * (number - 6)))
        tile.crop((5, 5, 95, 95)).save(folder / "queries" / f"q{number}.jpg", quality=60)
        rows.append({"query_id": f"q{number}", "reference_id": f"r{number:02d}" if number < 6 else ""})
    with (folder / "ground_truth.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["query_id", "reference_id"])
        writer.writeheader()
        writer.writerows(rows)
    return folder
