"""Whether a dataset is complete and the published one: its counts and hashes, and what is missing."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from bench.errors import BenchError, DatasetError, ImageError
from bench.fetch import mismatch, other_counts, recorded
from bench.files import sha256_file
from bench.images import decode
from bench.interfaces import Dataset, ImageFile, Split
from bench.manifest import HASHED_AT_ONCE, Manifest, manifest, unique_images
from bench.metrics.judge import require_consistent
from bench.published import Published, counted, missing_images, within

MOST_DECODED = 8


@dataclass(frozen=True)
class Count:
    """How many there are, and how many were published, where that is known."""

    found: int
    published: int | None


@dataclass(frozen=True)
class Verified:
    """What a dataset was found to be.

    counts: by attribute of the manifest. manifest_sha256: of all images and the ground truth, where all images are
    there. missing, unreadable (no image, cut short, too large): image files, in the dataset's folder. problems: of the
    rest, one sentence each.
    """

    name: str
    state: Literal["complete", "not here", "incomplete", "different"]
    counts: dict[str, Count] = field(default_factory=dict)
    manifest_sha256: str | None = None
    missing: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def verify(dataset: Dataset) -> Verified:
    """Compare a dataset with what was published of it, decoding every image; one that is made here is made first."""
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
    found = counted(split)
    unreadable = _unreadable(list(there.values()))
    problems = [*_inconsistent(split)]
    if published:
        problems += [*other_counts(published, found), *_changed_files(published)]
    return Verified(
        dataset.name,
        "incomplete" if missing else "different" if unreadable or problems else "complete",
        _counts(found, published),
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
    """Those that no run could decode; a few at once, since one may have half a gigabyte when decoded."""
    found: list[ImageFile] = []
    with ThreadPoolExecutor(min(MOST_DECODED, os.cpu_count() or 1)) as pool:
        for start in range(0, len(images), HASHED_AT_ONCE):
            some = images[start : start + HASHED_AT_ONCE]
            found += [image for image, good in zip(some, pool.map(_can_be_read, some), strict=True) if not good]
    return found


def _can_be_read(image: ImageFile) -> bool:
    try:
        decode(image.path, image.box)
    except ImageError:
        return False
    return True
