"""The two sides of an audit: images that a backbone describes, or descriptors that were made before."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import images
from bench.audit.regions import regions
from bench.descriptor import DescriptorKind
from bench.errors import DatasetError, DescriptorError, ImageError, UsageError
from bench.files import sha256_bytes, sha256_text
from bench.interfaces import ImageFile, Preprocess
from bench.manifest import hashes
from bench.shards import WHOLE, Meta
from bench.similarity.prepare import Rows
from bench.vector_files import parquet
from bench.vectors import EMBEDDINGS, NPY, PARQUET, open_vectors

#: Images, or rows of descriptors, that are looked at together.
AT_ONCE = 4096


@dataclass(frozen=True)
class Side:
    """Descriptors [N, D] of N images. names: of some rows. twins: int64 [N], one number for images that are the same.

    The same byte by byte; where there are only descriptors, the same number by number. places: of cells int32 [n] of
    local descriptors in some rows [n], as `regions` tells them; None where there are no images or no local descriptors.
    files: the images, None where there are only descriptors. made_by: as the function of that name has it.
    """

    descriptors: Rows
    names: Callable[[NDArray[np.int64]], list[str]]
    twins: NDArray[np.int64]
    places: Callable[[NDArray[np.int64], NDArray[np.int32]], NDArray[np.float32]] | None = None
    files: Sequence[ImageFile] | None = None
    made_by: str = ""

    def __len__(self) -> int:
        return len(self.descriptors)


@dataclass(frozen=True)
class Images:
    """Those that can be read. sizes: int32 [N, 2], width and height. sha256: by id. unreadable: by id, why."""

    files: tuple[ImageFile, ...]
    sizes: NDArray[np.int32]
    sha256: Mapping[str, str]
    unreadable: Mapping[str, str]

    def described(self, descriptors: Rows, kind: DescriptorKind, preprocess: Preprocess, maker: str) -> Side:
        """With their descriptors, in their order, made by `maker` of what `preprocess` makes of them."""
        twins = _numbered([self.sha256[image.id] for image in self.files])
        places = None
        if kind.local and (grid := _grid(kind, descriptors.shape[1])):

            def places(rows: NDArray[np.int64], cells: NDArray[np.int32]) -> NDArray[np.float32]:
                return regions(cells, grid, self.sizes[rows], preprocess)

        return Side(descriptors, lambda rows: [self.files[row].id for row in rows], twins, places, self.files, maker)


def holds_descriptors(spec: str) -> bool:
    """Whether a spec names descriptors as `bench.vectors.open_vectors` reads them, and not images."""
    path = Path(spec.partition("#")[0] if not Path(spec).exists() else spec)
    if (path / EMBEDDINGS).is_dir():
        return True
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    if any(file.suffix.lower() == NPY for file in files):
        return True
    tables = [file for file in files if file.suffix.lower() == PARQUET and file.is_file()]
    return bool(tables) and _has_lists(tables[0], spec.rpartition("#")[2] if "#" in spec else "")


def _has_lists(table: Path, column: str) -> bool:
    """Whether a parquet file has the column, or any, of descriptors; images stand in columns of bytes."""
    try:
        parquet(table, column)
    except DescriptorError:
        return False
    return True


def readable(files: Sequence[ImageFile], workers: int, on_progress: Callable[[int, int], Any]) -> Images:
    """Those of the images that decode, after each was tried. Raises DatasetError where none does."""
    unreadable: dict[str, str] = {}
    kept: list[ImageFile] = []
    sizes: list[tuple[int, int]] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="images") as pool:
        for first in range(0, len(files), AT_ONCE):
            some = files[first : first + AT_ONCE]
            for image, found in zip(some, pool.map(_size_or_why_not, some), strict=True):
                if isinstance(found, str):
                    unreadable[image.id] = found
                else:
                    kept.append(image)
                    sizes.append(found)
            on_progress(first + len(some), len(files))
    if not kept:
        raise DatasetError(f"none of {len(files)} images can be read: {next(iter(unreadable.values()))}")
    return Images(tuple(kept), np.array(sizes, np.int32), hashes(kept), unreadable)


def _size_or_why_not(image: ImageFile) -> tuple[int, int] | str:
    try:
        return images.decode(image.path, image.box).size
    except ImageError as error:
        return str(error)


def _grid(kind: DescriptorKind, tokens: int) -> tuple[int, int] | None:
    """Rows and columns of local descriptors; None where they are no square."""
    side = math.isqrt(tokens)
    return kind.grid or ((side, side) if side * side == tokens else None)


def opened(spec: str) -> Side:
    """Descriptors made before. Raises as `open_vectors` does."""
    vectors = open_vectors(spec)
    blocks = (vectors[first : first + AT_ONCE] for first in range(0, len(vectors), AT_ONCE))
    seen = [sha256_bytes(np.ascontiguousarray(row).tobytes()) for block in blocks for row in block]

    def names(rows: NDArray[np.int64]) -> list[str]:
        return [str(row) for row in rows] if vectors.ids is None else [str(name) for name in vectors.ids[rows]]

    made = made_from(spec)
    return Side(vectors, names, _numbered(seen), made_by=made_by(made) if made else "")


def _numbered(values: Sequence[str]) -> NDArray[np.int64]:
    """One number for equal values."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def made_from(spec: str) -> Mapping[str, Any]:
    """What `embed` says that descriptors were made from, images left out; nothing where something else made them."""
    told = Path(spec) / WHOLE
    return {name: of for name, of in Meta.read(told).made_from.items() if name != "images"} if told.is_file() else {}


def made_by(key: Mapping[str, Any]) -> str:
    """One short hash of the backbone, weights and preprocessing of a descriptor key."""
    told = {name: key.get(name) for name in ("backbone", "arch", "weights", "preprocess", "precision")}
    return sha256_text(json.dumps(told, sort_keys=True))[:16]


def require_alike(generated: str, training: str) -> None:
    """Raises UsageError where both sides tell how they were made, and it was not the same."""
    a, b = made_from(generated), made_from(training)
    other = [name for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)] if a and b else []
    if other:
        told = "; ".join(f"{name} is {a.get(name)} there and {b.get(name)} here" for name in other[:3])
        raise UsageError(
            f"{generated} and {training} were not described alike ({told}): describe both by the same `embed`"
        )
