"""Seconds for 1,000 synthetic queries of 512 px by OpenCV's painter, with two workers.

Run with `python -m pytest tests/benchmarks/test_synthetic.py --benchmark-enable`; the goal is a minute on two cores.
"""

from pathlib import Path

import pytest
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from bench import plugins
from bench.interfaces import ImageFile, Recipe
from bench.sources import Listing, Source
from datasets.demo._photos import PHOTOS, tiles

KINDS = ("cutmix", "segmix", "outpaint_diagonal", "outpaint_patch", "inpaint")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Tiles of the bundled photographs as JPEG files of 512 pixels."""
    folder = tmp_path_factory.mktemp("tiles")
    found = []
    for photo in PHOTOS:
        for name, tile in tiles(photo):
            path = folder / f"{name}.jpg"
            tile.resize((512, round(512 * tile.height / tile.width)), Image.Resampling.BICUBIC).save(path, quality=90)
            found.append(ImageFile(name, path))
    return Source("tiles", lambda: Listing(found))


@pytest.mark.benchmark(group="1,000 queries of 512 px and their database, 2 workers")
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_queries(benchmark: BenchmarkFixture, source: Source, tmp_path: Path, kind: str) -> None:
    generator = plugins.generators.select(kind)[0].item
    n_queries = 1000 if benchmark.enabled else 10
    recipe = Recipe(queries=n_queries, workers=2)
    rounds = iter(range(100))

    def make() -> Path:
        folder = tmp_path / str(next(rounds))
        folder.mkdir()
        generator.make(source, None, folder, recipe, lambda done, total: None)
        return folder

    folder = benchmark.pedantic(make, rounds=1)
    assert len(list((folder / "queries").iterdir())) == n_queries
