"""The embedded dataset: what it holds, and that it is the same everywhere."""

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bench import plugins
from bench.errors import DatasetError
from bench.interfaces import Split
from bench.manifest import manifest
from datasets.demo._photos import PHOTOS, tiles
from datasets.demo._rng import Rng
from tests.conftest import ROOT

MANIFESTS = {
    "demo_copies": "0e6def94ab059c9f305981ebb9defdda0f019ce15d60ed4634a62cd089b1a392",
    "demo_retrieval": "bdf869cf28bbc89dcf2f1bdf23c11c167047b77ce23be4ae8e4eeb21d97dadf1",
}


def split(name: str) -> Split:
    return plugins.datasets.select(name)[0].item.load()


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_manifest_is_the_pinned_one(name: str) -> None:
    """With the locked packages; another pillow may encode other bytes, and the manifest then says so."""
    assert manifest(split(name)).sha256 == MANIFESTS[name]


def test_demo_copies_has_copies_and_queries_without_a_match() -> None:
    found = manifest(split("demo_copies"))
    assert found.n_database >= 200 and found.n_pairs == 180
    assert (found.n_queries, found.n_queries_without_positive) == (218, 38)


def test_demo_copies_has_every_edit_alone_and_stacked() -> None:
    folder = split("demo_copies").queries[0].path.parent.parent
    with (folder / "ground_truth.csv").open() as stream:
        edits = [row["edits"].split("+") for row in csv.DictReader(stream)]
    alone = Counter(e[0] for e in edits if len(e) == 1)
    assert set(alone) == {"crop", "rotate", "flip", "jpeg", "blur", "colour", "overlay", "text", "paste"}
    assert min(alone.values()) >= 10 and sum(len(e) == 2 for e in edits) >= 80


def test_demo_retrieval_has_views_of_every_scene() -> None:
    found = split("demo_retrieval")
    assert len(found.database) >= 200 and len(found.queries) == 80
    for query, positives in zip(found.queries, found.ground_truth.positives, strict=True):
        scene = query.path.stem.rsplit("_", 1)[0]
        assert len(positives) == 8 and all(found.database[i].path.stem.startswith(scene) for i in positives)


def test_no_query_is_a_database_image() -> None:
    for name in MANIFESTS:
        found = split(name)
        pixels = {image.path.read_bytes() for image in found.database}
        assert len(pixels) == len(found.database)
        assert not pixels & {image.path.read_bytes() for image in found.queries}


def test_tiles_are_disjoint() -> None:
    photo = PHOTOS[0]
    whole = np.asarray(photo.open())
    covered = np.zeros(whole.shape[:2], int)
    for name, tile in tiles(photo):
        row, column = int(name[-2]), int(name[-1])
        box = np.s_[row * tile.height : (row + 1) * tile.height, column * tile.width : (column + 1) * tile.width]
        assert np.array_equal(np.asarray(tile), whole[box])
        covered[box] += 1
    assert covered.max() == 1


def test_two_processes_may_build_it_at_once(tmp_path: Path) -> None:
    code = "from bench.plugins import datasets; print(len(datasets.select('demo_copies')[0].item.load().database))"
    environment = {"BENCH_HOME": str(tmp_path), "PATH": ""}
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert len({process.communicate()[0] for process in started}) == 1
    assert [process.returncode for process in started] == [0, 0]
    assert len(list((tmp_path / "datasets/demo_copies").iterdir())) == 1


def test_a_demo_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    found = split("demo_retrieval")
    path = found.database[3].path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetError, match="was changed since it was built: delete it"):
        split("demo_retrieval")


def test_the_generator_is_uniform_and_stays_in_range() -> None:
    rng = Rng("test")
    drawn = [rng.integer(2, 5) for _ in range(4000)]
    assert set(drawn) == {2, 3, 4, 5} and min(Counter(drawn).values()) > 850
    assert sorted(rng.shuffled(list(range(50)))) == list(range(50)) != rng.shuffled(list(range(50)))
    assert all(1.5 <= rng.real(1.5, 2) < 2 for _ in range(100))
    assert Rng("test").integer(0, 10**9) == Rng("test").integer(0, 10**9) != Rng("other").integer(0, 10**9)
    assert all(0 <= value <= 255 for value in rng.colour())
