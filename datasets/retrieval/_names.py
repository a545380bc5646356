"""Images and their classes, as the names of files and folders tell them."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from bench.errors import DatasetError
from bench.interfaces import ImageFile, Split
from bench.listing import Listing, entries, listed_in, together
from bench.names import escaped
from bench.published import Published


def first_folder(dataset: Published, *names: str) -> Path:
    """The first of these that the dataset's folder has; the folder itself where it has none of them."""
    folders = (dataset.folder / name for name in names)
    return next((folder for folder in folders if folder.is_dir()), dataset.folder)


def images_in(dataset: Published, folder: Path) -> list[ImageFile]:
    """The images that lie directly in a folder, in the order of their names, which are their ids with its own.

    Raises DatasetError where the folder is missing or holds none.
    """
    return list(_listed(dataset, folder).images)


def by_folder(dataset: Published, folder: Path, left_out: Collection[str] = ()) -> Split:
    """A sub-folder a class: every image is query and database, the others of its class are its positives.

    Raises DatasetError where there is no sub-folder, one holds no image, or no two images are of one class.
    """
    folders = [path for path in entries(folder) if path.is_dir() and path.name not in left_out]
    listings = [_listed(dataset, path) for path in folders]
    classes = [listing.images for listing in listings]
    if all(len(images) < 2 for images in classes):
        raise DatasetError(f"no sub-folder of {folder} holds two images, one to find the other: {dataset.how_to_get}")
    labels = [label for label, images in enumerate(classes) for _ in images]
    split = Split.of_classes([image for images in classes for image in images], labels)
    return replace(split, skipped=together(*(listing.skipped for listing in listings)))


def _listed(dataset: Published, folder: Path) -> Listing:
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}: {dataset.how_to_get}")
    listing = listed_in(folder)
    if not listing.images:
        raise DatasetError(f"the folder {folder} holds no image: {dataset.how_to_get}")
    return replace(
        listing, images=[ImageFile(f"{escaped(folder.name)}/{image.id}", image.path) for image in listing.images]
    )
