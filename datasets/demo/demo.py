"""`demo_copies` and `demo_retrieval`: built once into the cache folder, the same bytes on every machine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import PIL
from PIL import Image

from bench import paths
from bench.files import sha256_file, sha256_text
from bench.interfaces import Dataset, Split
from bench.plugins import register_dataset
from datasets import _csv, _disc
from datasets._built import built
from datasets.demo._drawn import drawn
from datasets.demo._edits import EDITS, JPEG_QUALITY, Edit, edited
from datasets.demo._photos import PHOTOS, Photo, tiles
from datasets.demo._rng import Rng

N_DRAWN = 60  # procedural distractors in each database
N_COPIES = 180  # queries with a match in demo_copies
UNMATCHED_EVERY = 6  # each sixth tile is kept out of the database, for queries without a match
N_VIEWS = 8  # database views of a scene in demo_retrieval, beside QUERY_VIEWS
QUERY_VIEWS = 4


@dataclass(frozen=True)
class Item:
    """An image to be written: into which folder, under which id, and what it answers."""

    folder: str
    id: str
    image: Image.Image
    matches: tuple[str, ...] = ()
    edits: str = ""


@dataclass(frozen=True)
class Demo(Dataset):
    """A dataset that `items` yields; kept in DISC form in a folder named after its recipe."""

    items: Callable[[], Iterator[Item]]

    def load(self) -> Split:
        folder = paths.datasets() / self.name / _recipe()
        return built(folder, lambda making: _build(making, self.items()), _disc.read)


@register_dataset(groups=("demo",))
def demo_copies() -> Dataset:
    """Edited copies of tiles of photographs; a sixth of the queries has no match."""
    return Demo("demo_copies", "copy", "edited copies of tiles of bundled photographs", _copies)


@register_dataset(groups=("demo",))
def demo_retrieval() -> Dataset:
    """Views of bundled photographs; the other views of the same scene are positives."""
    return Demo("demo_retrieval", "retrieval", "views of the same bundled photograph or scene", _views)


def _copies() -> Iterator[Item]:
    # of the stereo pair only one photograph: a tile and its twin would be an unlabelled copy
    photos = [photo for photo in PHOTOS if photo.name != "motorcycle_right"]
    cut = [tile for photo in photos for tile in tiles(photo)]
    unmatched, kept = cut[::UNMATCHED_EVERY], [tile for i, tile in enumerate(cut) if i % UNMATCHED_EVERY]
    backgrounds = [image for _, image in unmatched]
    for name, image in kept:
        yield Item("references", name, image)
    yield from _drawn_references()
    copied = Rng("demo_copies").shuffled(kept)[:N_COPIES]
    sources = [(name, image, (name,)) for name, image in copied] + [(name, image, ()) for name, image in unmatched]
    for position, (name, image, matches) in enumerate(sources):
        rng = Rng(f"demo_copies/{name}")
        edits = _some_edits(position, rng)
        others = [other for other in backgrounds if other is not image]
        query = edited(image, edits, rng, others)
        yield Item("queries", f"q{position:03d}", query, matches, "+".join(edit.name for edit in edits))


def _some_edits(position: int, rng: Rng) -> list[Edit]:
    """The edits take turns; every second query gets another one on top."""
    first = EDITS[position % len(EDITS)]
    if position // len(EDITS) % 2 == 0:
        return [first]
    return [first, rng.choice([edit for edit in EDITS if edit is not first])]


def _views() -> Iterator[Item]:
    scenes: dict[str, list[Photo]] = {}
    for photo in PHOTOS:
        scenes.setdefault(photo.scene or photo.name, []).append(photo)
    for scene, photos in scenes.items():
        opened = [photo.open() for photo in photos]
        views = [f"{scene}_{view}" for view in range(N_VIEWS)]
        for view, name in enumerate(views):
            yield Item("references", name, _view(opened[view % len(opened)], Rng(f"demo_retrieval/{name}")))
        for view in range(QUERY_VIEWS):
            name = f"{scene}_q{view}"
            image = _view(opened[view % len(opened)], Rng(f"demo_retrieval/{name}"))
            yield Item("queries", name, image, tuple(views))
    yield from _drawn_references()


def _view(photo: Image.Image, rng: Rng) -> Image.Image:
    """A window of 15 to 50 % of a photograph, in other light, now and then mirrored."""
    share, stretch = rng.real(0.15, 0.5) ** 0.5, rng.real(0.85, 1.18)
    width = min(photo.width, int(photo.width * share * stretch))
    height = min(photo.height, int(photo.height * share / stretch))
    left, top = rng.integer(0, photo.width - width), rng.integer(0, photo.height - height)
    view = photo.crop((left, top, left + width, top + height))
    view.thumbnail((320, 320), Image.Resampling.BICUBIC)
    wanted = {"colour"} | ({"flip"} if rng.integer(0, 3) == 0 else set())
    return edited(view, [edit for edit in EDITS if edit.name in wanted], rng, ())


def _drawn_references() -> Iterator[Item]:
    for number in range(N_DRAWN):
        yield Item("references", f"drawn_{number:02d}", drawn(Rng(f"drawn/{number}")))


def _build(folder: Path, items: Iterator[Item]) -> None:
    """Write the images and their ground truth."""
    rows: list[dict[str, str]] = []
    for name in ("queries", "references"):
        (folder / name).mkdir()
    for item in items:
        item.image.save(folder / item.folder / f"{item.id}.jpg", quality=JPEG_QUALITY)
        if item.folder == "queries":
            rows += [
                {"query_id": item.id, "reference_id": match, "edits": item.edits} for match in item.matches or ("",)
            ]
    _csv.write(folder / _disc.GROUND_TRUTH, rows, ("query_id", "reference_id", "edits"))


def _recipe() -> str:
    """Changes with the code that builds the images and with the library that encodes them."""
    here = Path(__file__).parent
    sources = "".join(sha256_file(path) for path in sorted(here.glob("*.py")))
    return sha256_text(f"{sources} pillow {PIL.__version__}")[:16]
