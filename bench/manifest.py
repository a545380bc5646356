"""What a dataset is made of, as one hash: descriptors and scores belong to it, whatever folder it lies in."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from bench.errors import DatasetError
from bench.files import sha256_file, sha256_text
from bench.interfaces import ImageFile, Levels, Split
from bench.names import printable

HASHED_AT_ONCE = 4096


class Name(NamedTuple):
    """An image: its id, and what decides its descriptor, as `contents` has it."""

    id: str
    content: str


@dataclass(frozen=True)
class Manifest:
    """sha256: of ids, image bytes, boxes, roles and ground truth. images_sha256: of the images to describe alone.

    query_crop: whether queries are cropped to a box.
    """

    sha256: str
    images_sha256: str
    n_queries: int
    n_database: int
    n_pairs: int
    n_queries_without_positive: int
    n_junk: int
    query_crop: bool


def unique_images(split: Split) -> list[ImageFile]:
    """Database and queries, an image of both once: what has to be described, in a fixed order.

    Raises DatasetError where one id stands for two files, or for two parts of one.
    """
    images: dict[str, ImageFile] = {}
    for image in (*split.database, *split.queries):
        known = images.setdefault(image.id, image)
        if (known.path, known.box) != (image.path, image.box):
            raise DatasetError(f"{known.path} and {image.path} have the same id '{image.id}': give each its own")
    return list(images.values())


def hashes(images: Sequence[ImageFile]) -> dict[str, str]:
    """Hash the files of images: image id -> sha256.

    Raises:
        DatasetError: A file cannot be read.
    """
    found, unreadable = hash_files(images)
    for why in unreadable.values():
        raise DatasetError(f"{why}, or remove it from the dataset")
    return found


def hash_files(images: Sequence[ImageFile]) -> tuple[dict[str, str], dict[str, str]]:
    """Hash the files of images.

    Returns:
        sha256 by image id; and of those whose file cannot be read, the reason by image id.
    """
    found: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(images), HASHED_AT_ONCE):
            some = images[start : start + HASHED_AT_ONCE]
            for image, (sha256, why) in zip(some, pool.map(_hash_or_why_not, some), strict=True):
                if sha256:
                    found[image.id] = sha256
                else:
                    unreadable[image.id] = why
    return found, unreadable


def _hash_or_why_not(image: ImageFile) -> tuple[str, str]:
    try:
        return sha256_file(image.path), ""
    except FileNotFoundError:
        return "", f"the image {printable(str(image.path))} is missing: restore it"
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        why = (error.strerror if isinstance(error, OSError) else None) or error
        return "", f"the image {printable(str(image.path))} can't be read ({why}): mend it"


def contents(images: Iterable[ImageFile], hashed: Mapping[str, str]) -> list[Name]:
    """Name images by their ids and by what decides their descriptor: the sha256 of the file, and the box."""
    return [Name(image.id, hashed[image.id] + (f" {image.box}" if image.box else "")) for image in images]


def images_sha256(images: Iterable[ImageFile], hashed: Mapping[str, str]) -> str:
    """One hash of the images to describe, in their order."""
    return sha256_text("\n".join(_line(image, hashed) for image in images))


def manifest(split: Split, hashed: Mapping[str, str] | None = None) -> Manifest:
    """The manifest of a split; `hashed`, where they are known already, are its images' hashes.

    Raises DatasetError where an image file is missing, or there are no queries or no database.
    """
    for role, images in (("query", split.queries), ("database image", split.database)):
        if not images:
            raise DatasetError(f"the dataset has no {role}: nothing can be measured, complete its ground truth")
    hashed = hashes(unique_images(split)) if hashed is None else hashed
    lines = [f"query\t{_line(image, hashed)}" for image in split.queries]
    lines += [f"database\t{_line(image, hashed)}" for image in split.database]
    truth = split.ground_truth
    for name, judged in (("truth", truth), *sorted(split.setups.items())):
        for query, positives, junk in zip(split.queries, judged.positives, judged.junk, strict=True):
            lines.append(f"{name}\t{query.id}\t{sorted(positives.tolist())}\t{sorted(junk.tolist())}")
    lines += [f"tags\t{list(tags)}" for tags in split.tags]
    if split.classes:
        lines.append(f"classes\t{split.classes.queries.tolist()}\t{split.classes.database.tolist()}")
    if split.levels:
        lines += [
            f"level\t{list(row)}" for row in zip(*(part.tolist() for part in _columns(split.levels)), strict=True)
        ]
    return Manifest(
        sha256=sha256_text("\n".join(lines)),
        images_sha256=images_sha256(unique_images(split), hashed),
        n_queries=len(split.queries),
        n_database=len(split.database),
        n_pairs=sum(len(p) for p in truth.positives),
        n_queries_without_positive=sum(not len(p) for p in truth.positives),
        n_junk=sum(len(j) for j in truth.junk),
        query_crop=any(image.box is not None for image in split.queries),
    )


def _line(image: ImageFile, hashed: Mapping[str, str]) -> str:
    return f"{image.id}\t{hashed[image.id]}" + (f"\t{image.box}" if image.box else "")


def _columns(levels: Levels) -> tuple[NDArray[Any], ...]:
    return levels.queries, levels.database, levels.level
