"""The two sides of an audit: images that a backbone describes, or descriptors that were made before."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import images as decoding
from bench.audit.blank import why_blank, withheld
from bench.audit.regions import regions
from bench.data.readable import tried
from bench.data.unreadable import NOTHING, LeftOut, readable_files, require_none
from bench.descriptor import DescriptorKind
from bench.descriptors.usable import Usable
from bench.errors import DatasetError, DescriptorError, UsageError
from bench.files import sha256_bytes, sha256_text
from bench.interfaces import NATIVE, ImageFile, Preprocess
from bench.shards import WHOLE, Meta
from bench.similarity.prepare import Rows
from bench.sources import Source
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
    left_out: images of the set that are not among them. numbers: of the rows among all descriptors on disk, where some
    of these are left out.
    """

    descriptors: Rows
    names: Callable[[NDArray[np.int64]], list[str]]
    twins: NDArray[np.int64]
    places: Callable[[NDArray[np.int64], NDArray[np.int32]], NDArray[np.float32]] | None = None
    files: Sequence[ImageFile] | None = None
    made_by: str = ""
    left_out: LeftOut = NOTHING
    numbers: NDArray[np.int64] | None = None

    def numbered(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of rows as tables show them."""
        return rows if self.numbers is None else self.numbers[rows]

    def __len__(self) -> int:
        return len(self.descriptors)


@dataclass(frozen=True)
class Images:
    """Those that can be read and are not blank.

    sizes: int32 [N, 2], width and height. sha256: by id, of blank ones too. left_out: the others.
    """

    files: tuple[ImageFile, ...]
    sizes: NDArray[np.int32]
    sha256: Mapping[str, str]
    left_out: LeftOut

    def without(self, failed: Mapping[str, str]) -> "Images":
        """Those that have a descriptor. failed: images that have none, id -> reason."""
        if not failed:
            return self
        kept = [row for row, image in enumerate(self.files) if image.id not in failed]
        files = tuple(self.files[row] for row in kept)
        unreadable = {**self.left_out.unreadable, **failed}
        return replace(
            self, files=files, sizes=self.sizes[kept], left_out=replace(self.left_out, unreadable=unreadable)
        )

    def described(self, descriptors: Rows, kind: DescriptorKind, preprocess: Preprocess, maker: str) -> Side:
        """With their descriptors, in their order, made by `maker` of what `preprocess` makes of them."""
        twins = _numbered([self.sha256[image.id] for image in self.files])
        places = None
        if kind.local and (grid := _grid(kind, descriptors.shape[1])):

            def places(rows: NDArray[np.int64], cells: NDArray[np.int32]) -> NDArray[np.float32]:
                return regions(cells, grid, self.sizes[rows], preprocess)

        def names(rows: NDArray[np.int64]) -> list[str]:
            return [self.files[row].id for row in rows]

        return Side(descriptors, names, twins, places, self.files, maker, self.left_out)


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


@dataclass(frozen=True)
class Reading:
    """How an audit reads images.

    workers: threads. preprocess: how transparency and colour profiles are treated. strict: stop at the first image that
    cannot be read. keep_blank: compare blank images as well.
    """

    workers: int
    preprocess: Preprocess = NATIVE
    strict: bool = False
    keep_blank: bool = False


def read_images(source: Source, reading: Reading, on_progress: Callable[[int, int], Any]) -> Images:
    """Read the images of a source, each tried once.

    Raises:
        DatasetError: No image is left.
        ImageError: One cannot be read, and `reading.strict`.
    """
    files, sha256, unreadable = readable_files(source, reading.strict)
    looked = tried(files, partial(_look, reading=reading), reading.workers, reading.strict, on_progress)
    unreadable |= looked.unreadable
    by_checker = {} if reading.keep_blank else withheld(Path(source.identity))
    reasons = {image.id: by_checker.get(image.id) or why for image, (_, why) in looked.found}
    blank = {name: why for name, why in reasons.items() if why}
    kept = [(image, size) for image, (size, _) in looked.found if image.id not in blank]
    if not kept:
        why = next(iter({**unreadable, **blank}.values()))
        what = "is not blank" if blank else "can be read"
        raise DatasetError(f"none of {len(unreadable) + len(blank)} images {what}: {why}")
    images, sizes = zip(*kept, strict=True)
    return Images(images, np.array(sizes, np.int32), sha256, LeftOut(unreadable, blank, source.skipped))


def _look(image: ImageFile, reading: Reading) -> tuple[tuple[int, int], str | None]:
    """Width and height of an image, and why it is blank. Raises ImageError."""
    decoded = decoding.decode(image.path, image.box, reading.preprocess)
    return decoded.size, None if reading.keep_blank else why_blank(decoded)


def _grid(kind: DescriptorKind, tokens: int) -> tuple[int, int] | None:
    """Rows and columns of local descriptors; None where they are no square."""
    side = math.isqrt(tokens)
    return kind.grid or ((side, side) if side * side == tokens else None)


def opened(spec: str, strict: bool = False) -> Side:
    """Descriptors made before, without the rows that are zero or not finite.

    Raises:
        DescriptorError: As `open_vectors`, and where no row can be compared.
        ImageError: A row can't be compared, and `strict`.
    """
    usable = Usable.of(open_vectors(spec))
    require_none(usable.left_out.unreadable, strict)
    rows = usable.descriptors
    blocks = (rows[first : first + AT_ONCE] for first in range(0, len(rows), AT_ONCE))
    seen = [sha256_bytes(np.ascontiguousarray(row).tobytes()) for block in blocks for row in block]
    made = made_from(spec)
    maker = made_by(made) if made else ""

    def names(of: NDArray[np.int64]) -> list[str]:
        return usable.names(usable.rows[of])

    return Side(rows, names, _numbered(seen), made_by=maker, left_out=usable.left_out, numbers=usable.rows)


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
