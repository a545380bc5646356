"""`copyedits`, made of the bundled photographs, and `copyedits:SOURCE`, made of any images; each built once."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import PIL
from PIL import Image

from bench import images, paths
from bench.data.readable import decodes, tried
from bench.errors import DatasetError
from bench.files import sha256_file, sha256_text, write_json
from bench.interfaces import Dataset, ImageFile, Split
from bench.manifest import hash_files, images_sha256
from bench.names import escaped
from bench.plugins import register_dataset
from bench.sources import Source, images_of
from datasets import _pairs
from datasets._built import built
from datasets.copyedits._parts import Original
from datasets.copyedits._suite import LEAST_IMAGES, plan, write
from datasets.demo._drawn import drawn
from datasets.demo._photos import PHOTOS, tiles
from datasets.demo._rng import Rng

N_DRAWN = 60  # procedural distractors beside the photographs' tiles
MOST_IMAGES = 2000  # of a source; a larger one is sampled
LONG_SIDE = 512  # larger images of a source are scaled down to it


@dataclass(frozen=True)
class Material:
    """What a suite is made of. content: hash of what decides it beside the code.

    unreadable, skipped: what of the source is not used, as `bench.sources.Source` has them.
    """

    originals: Sequence[Original]
    distractors: Sequence[Original]
    content: str
    unreadable: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CopyEdits(Dataset):
    """A suite kept in pairs form in a folder named after its recipe and material. source: its images' identity."""

    source: str
    material: Callable[[], Material]

    @property
    def identity(self) -> str:
        return f"copyedits:{self.source}" if self.source else self.name

    def load(self) -> Split:
        """Raises DatasetError where the source has too few different images that can be read."""
        material = self.material()
        build = partial(_build, material)
        split = built(paths.datasets() / "copyedits" / _recipe(material.content), build, _pairs.read)
        return replace(split, unreadable=material.unreadable, skipped=material.skipped)


@register_dataset(groups=("robustness",), argument="SOURCE")
def copyedits(source: str | None = None) -> Dataset:
    """Copies by each edit alone and by two; of the images of SOURCE (a folder, dataset or shards) if it is given."""
    if source is None:
        return CopyEdits("copyedits", "copy", "each practical edit alone, and two stacked", "", _bundled)
    found = images_of(source)
    name = escaped(Path(source).resolve().name if Path(source).exists() else source)
    return CopyEdits(
        f"copyedits:{name}",
        "copy",
        f"each practical edit alone, and two stacked, of {escaped(source)}",
        found.identity,
        lambda: _of_source(source, found),
    )


def _bundled() -> Material:
    """Tiles of the photographs that ship inside Python packages."""
    # of the stereo pair only one photograph: a tile and its twin would be an unlabelled copy
    photos = [photo for photo in PHOTOS if photo.name != "motorcycle_right"]
    originals = [Original(name, tile.copy) for photo in photos for name, tile in tiles(photo)]
    distractors = [Original(f"drawn_{number:02d}", partial(_drawn, number)) for number in range(N_DRAWN)]
    return Material(originals, distractors, "".join(photo.sha256 for photo in photos))


def _drawn(number: int) -> Image.Image:
    return drawn(Rng(f"drawn/{number}"))


def _of_source(spec: str, source: Source) -> Material:
    """Different images of a source, in the order of their ids, however their files are dated or placed."""
    sampled = Rng("copyedits/sample").shuffled(sorted(source.images, key=lambda image: image.id))[:MOST_IMAGES]
    hashed, unreadable = hash_files(sampled)
    there = [image for image in sampled if image.id in hashed]
    unreadable = {**source.unreadable, **unreadable, **_undecodable(there, hashed)}
    different = {(hashed[image.id], image.box): image for image in reversed(there) if image.id not in unreadable}
    chosen = sorted(different.values(), key=lambda image: image.id)
    if len(chosen) < LEAST_IMAGES:
        raise DatasetError(
            f"{spec} has {len(chosen)} different images: edited copies are made of {LEAST_IMAGES} or more, add some"
        )
    originals = [Original(image.id, partial(_opened, image)) for image in chosen]
    return Material(originals, (), images_sha256(chosen, hashed), unreadable, source.skipped)


def _undecodable(found: Sequence[ImageFile], hashed: Mapping[str, str]) -> Mapping[str, str]:
    """Images that do not decode, id -> reason; each set of images is decoded once, and the outcome kept."""
    path = paths.datasets() / "copyedits" / f"unreadable-{images_sha256(found, hashed)[:16]}.json"
    try:
        kept: dict[str, str] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        kept = tried(found, decodes, os.cpu_count() or 1, strict=False).unreadable
        write_json(path, kept)
    return kept


def _opened(image: ImageFile) -> Image.Image:
    opened = images.decode(image.path, image.box)
    opened.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.BICUBIC)
    return opened


def _build(material: Material, folder: Path) -> None:
    write(folder, plan(material.originals, material.distractors))


def _recipe(content: str) -> str:
    """Changes with the images, with the code that edits them and with the library that encodes them."""
    here = Path(__file__).parent
    code = "".join(sha256_file(path) for path in (*sorted(here.glob("*.py")), *sorted(here.parent.glob("demo/_*.py"))))
    return sha256_text(f"{content} {code} pillow {PIL.__version__}")[:16]
