"""Whether a dataset is complete and the published one: its counts and hashes, and what is missing."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from PIL import Image

from bench.errors import BenchError, DatasetError
from bench.fetch import mismatch, recorded
from bench.files import sha256_file
from bench.interfaces import Dataset, ImageFile, Split
from bench.manifest import Manifest, manifest, unique_images
from bench.metrics.judge import require_consistent
from bench.published import Published, counted, missing_images, within


@dataclass(frozen=True)
class Count:
    """How many there are, and how many were published, where that is known."""

    found: int
    published: int | None


@dataclass(frozen=True)
class Verified:
    """What a dataset was found to be.

    counts: by attribute of the manifest. manifest_sha256: of all images and the ground truth, where all images are
    there. missing, unreadable: image files, in the dataset's folder. problems: of the rest, one sentence each.
    """

    name: str
    state: Literal["complete", "not here", "incomplete", "different"]
    counts: dict[str, Count] = field(default_factory=dict)
    manifest_sha256: str | None = None
    missing: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def verify(dataset: Dataset) -> Verified:
    """Compare a dataset with what was published of it, reading every image; one that is made here is made first."""
    published = dataset if isinstance(dataset, Published) else None
    if published and not published.folder.is_dir():
        return Verified(dataset.name, "not here", problems=(f"it is not here: {published.how_to_get}",))
    try:
        split = published.read() if published else dataset.load()
        return _verified(dataset, split)
    except (BenchError, OSError) as error:
        return Verified(dataset.name, "different", problems=(str(error),))


def _verified(dataset: Dataset, split: Split) -> Verified:
    published = dataset if isinstance(dataset, Published) else None
    missing = missing_images(split)
    absent = {image.path for image in missing}
    there = {image.path: image for image in unique_images(split) if image.path not in absent}
    counts = _counts(counted(split), published)
    unreadable = _unreadable(list(there.values()))
    problems = [*_inconsistent(split), *_other_counts(counts), *(_changed_files(published) if published else ())]
    return Verified(
        dataset.name,
        "incomplete" if missing else "different" if unreadable or problems else "complete",
        counts,
        None if missing else manifest(split).sha256,
        _named(published, missing),
        _named(published, unreadable),
        tuple(problems),
    )


def _named(published: Published | None, images: Iterable[ImageFile]) -> tuple[str, ...]:
    return tuple(within(published.folder, image.path) if published else str(image.path) for image in images)


def _counts(found: Manifest, published: Published | None) -> dict[str, Count]:
    expected = published.counts if published else {}
    shown = dict.fromkeys(("n_queries", "n_database", "n_pairs", *expected))
    return {name: Count(getattr(found, name), expected.get(name)) for name in shown}


def _other_counts(counts: dict[str, Count]) -> Iterator[str]:
    for name, count in counts.items():
        if count.published not in (None, count.found):
            yield f"{name} is {count.found}, published are {count.published}"


def _inconsistent(split: Split) -> Iterator[str]:
    """What no ranking could be judged by."""
    for name, truth in {"": split.ground_truth, **split.setups}.items():
        try:
            require_consistent(truth, len(split.database))
        except DatasetError as error:
            yield f"{f'setup {name}: ' if name else ''}{error}"


def _changed_files(published: Published) -> Iterator[str]:
    """Files that are not the published ones or, where nobody published a hash, not those that were fetched."""
    known = recorded(published.folder)
    for download in published.downloads:
        file = published.folder / download.path
        if download.unpack or not file.is_file():  # a copy brought by hand may do without some
            continue
        if why := mismatch(file, sha256_file(file), download, known):
            yield f"the file {download.path} is another one ({why})"


def _unreadable(images: Sequence[ImageFile]) -> list[ImageFile]:
    with ThreadPoolExecutor() as pool:
        readable = pool.map(_begins_as_image, (image.path for image in images))
        return [image for image, good in zip(images, readable, strict=True) if not good]


def _begins_as_image(path: Path) -> bool:
    try:
        with Image.open(path):
            return True
    except (OSError, SyntaxError, ValueError):
        return False
