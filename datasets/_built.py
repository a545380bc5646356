"""Datasets that are built once into the cache folder, and refused where someone changed them since."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.errors import DatasetError
from bench.files import whole_folder
from bench.interfaces import Split
from bench.manifest import manifest

BUILT = "manifest.sha256"  # of the dataset as it was built


def built(folder: Path, build: Callable[[Path], object], read: Callable[[Path], Split]) -> Split:
    """What `read` finds in the folder, which `build` fills where it is not there yet, whole or not at all.

    Raises DatasetError where the folder is not as it was built.
    """
    if not folder.is_dir():
        with whole_folder(folder) as making:
            build(making)
            (making / BUILT).write_text(manifest(read(making)).sha256)
    split = read(folder)
    if manifest(split).sha256 != (folder / BUILT).read_text():
        raise DatasetError(f"the dataset {folder} was changed since it was built: delete it, it is then built again")
    return replace(split, skipped={})  # what lies there beside the images is the dataset's own
