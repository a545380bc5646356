"""The five kinds made of the bundled photographs: built once into the cache folder."""

import tempfile
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from bench import paths
from bench.files import sha256_file, sha256_text
from bench.interfaces import Dataset, Generator, ImageFile, Recipe, Split
from bench.plugins import register_dataset
from bench.sources import Listing, Source
from datasets import _pairs
from datasets._built import built
from datasets.demo._photos import PHOTOS, tiles
from datasets.synthetic import generators
from datasets.synthetic._make import PACKAGES

GROUPS = ("synthetic", "paper")
RECIPE = Recipe(queries=75, unmatched=0.2, size=192, workers=2)


@dataclass(frozen=True)
class OfPhotographs(Dataset):
    """Copies by one generator of tiles of the bundled photographs, kept in a folder named after its recipe."""

    generator: Generator

    def load(self) -> Split:
        folder = paths.datasets() / self.name / _recipe()
        return built(folder, partial(_build, self.generator), _pairs.read)


@register_dataset(groups=GROUPS)
def cutmix() -> Dataset:
    """Boxes of tiles in other tiles."""
    return _dataset(generators.cutmix())


@register_dataset(groups=GROUPS)
def segmix() -> Dataset:
    """Smooth regions of tiles in other tiles: the photographs come without masks of objects."""
    told = "a seeded smooth region of an original, for want of masks, in another image, of bundled photographs"
    return replace(_dataset(generators.segmix()), description=told)


@register_dataset(groups=GROUPS)
def outpaint_diagonal() -> Dataset:
    """Halves of tiles above a diagonal, the rest painted by OpenCV."""
    return _dataset(generators.outpaint_diagonal())


@register_dataset(groups=GROUPS)
def outpaint_patch() -> Dataset:
    """Patches of tiles, the rest painted by OpenCV."""
    return _dataset(generators.outpaint_patch())


@register_dataset(groups=GROUPS)
def inpaint() -> Dataset:
    """Tiles with a region painted by OpenCV."""
    return _dataset(generators.inpaint())


def _dataset(generator: Generator) -> Dataset:
    return OfPhotographs(generator.name, "copy", f"{generator.description}, of bundled photographs", generator)


def _build(generator: Generator, folder: Path) -> None:
    # of the stereo pair only one photograph: a tile and its twin would be an unlabelled copy
    photos = [photo for photo in PHOTOS if photo.name != "motorcycle_right"]
    with tempfile.TemporaryDirectory() as place:
        images = []
        for photo in photos:
            for name, tile in tiles(photo):
                path = Path(place) / f"{name}.ppm"
                tile.save(path)
                images.append(ImageFile(name, path))
        generator.make(Source("tiles of bundled photographs", lambda: Listing(images)), None, folder, RECIPE, _quiet)


def _quiet(done: int, total: int) -> None:
    """These few images are made in seconds."""


def _recipe() -> str:
    """Changes with the code that builds the images, and with the packages that compute and encode them."""
    here = Path(__file__).parent
    code = "".join(sha256_file(path) for path in (*sorted(here.glob("*.py")), *sorted(here.parent.glob("demo/_*.py"))))
    return sha256_text(code + "".join(f"{name} {version(name)}" for name in PACKAGES))[:16]
