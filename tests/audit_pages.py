"""Audits for tests of their page: copies of training images among others, one path of which is a script."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import Bench
from tests.report_page import SCRIPT

#: Of the generated images, the first of which are copies of training images.
N_GENERATED, N_COPIES = 8, 5
TOP_K = 4


def make_sides(folder: Path, photo: Path) -> Path:
    """generated/ and training/: 12 tiles of a photograph; copies of some of them, the first one's path a script; noise.

    The tiles are wide, so that what a backbone reads is not all of them.
    """
    image = Image.open(photo).convert("RGB")
    tiles = [image.crop((x, y, x + 150, y + 75)) for y in (0, 75, 150, 225) for x in (0, 150, 300)]
    (folder / "training").mkdir(parents=True)
    for number, tile in enumerate(tiles):
        tile.save(folder / f"training/t{number:02d}.png")
    rng = np.random.default_rng(0)
    for number in range(N_GENERATED):
        noise = Image.fromarray(rng.integers(0, 256, (75, 150, 3), np.uint8))
        path = folder / "generated" / (SCRIPT if number == 0 else f"g{number}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        (tiles[2 * number] if number < N_COPIES else noise).save(path)
    return folder


def audited(bench: Bench, folder: Path, *options: object, code: int = 0) -> Path:
    """The folder of an audit of the two sides in `folder`; options may replace some."""
    sides = ["--generated", folder / "generated", "--training", folder / "training"]
    fixed = ["--top-k", TOP_K, "--offline", "--output", folder / "out"]
    ran = bench("audit", *sides, *fixed, *options)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return folder / "out"
