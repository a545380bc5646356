"""Descriptors on disk as shards, in the layout of clip-retrieval, written so that a killed writer loses no whole shard.

    img_emb/img_emb_0000.npy            rows [N, D], or [N, T, d] of local descriptors
    metadata/metadata_0000.parquet      their images: id (column `image_path`) and content (column `content`)
    meta.json                           what they are made from, every shard's rows and checksums, failed images

`partial.json` takes the place of `meta.json` until the last row is there. A folder is written by
`bench.descriptors.shard_writer`.
"""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import vector_files
from bench.errors import DescriptorError
from bench.files import sha256_file, write_json
from bench.manifest import Name
from bench.similarity.prepare import Rows
from bench.vectors import Vectors

FORMAT = 2
WHOLE, PARTIAL = "meta.json", "partial.json"
ROWS, NAMES = "img_emb", "metadata"
#: Columns of the files of names.
IDS, CONTENT = "image_path", "content"


class Damaged(DescriptorError):
    """Shards, or the list of them, that are not what was written."""


@dataclass(frozen=True)
class Failed:
    """An image without a descriptor. transient: trying again may help (memory, a broken connection)."""

    content: str
    reason: str
    transient: bool = False


@dataclass(frozen=True)
class Shard:
    """Number of rows, and sha256 of the file of rows and of the file of names."""

    rows: int
    sha256: str
    metadata_sha256: str


@dataclass(frozen=True)
class Meta:
    """What meta.json says.

    made_from: what decides the values. row: shape of one. failed: images without a row, by id. details: how the rows
    were made.
    """

    made_from: Mapping[str, Any]
    row: tuple[int, ...] = ()
    dtype: str = "float32"
    shards: tuple[Shard, ...] = ()
    failed: Mapping[str, Failed] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """In all shards."""
        return sum(shard.rows for shard in self.shards)

    def write(self, path: Path) -> None:
        """Atomically. Raises OSError."""
        own = asdict(self)
        write_json(path, {"format": FORMAT, **own.pop("details"), **own, "row": list(self.row)})

    @classmethod
    def read(cls, path: Path) -> "Meta":
        """Raises FileNotFoundError, Damaged, and DescriptorError where a newer version has written it."""
        try:
            found = json.loads(path.read_bytes())
            version = int(found.pop("format", 1))
            if version == FORMAT:
                made_from, row, dtype = (
                    found.pop("made_from"),
                    tuple(found.pop("row")),
                    str(np.dtype(found.pop("dtype"))),
                )
                shards = tuple(Shard(**shard) for shard in found.pop("shards"))
                failed = {name: Failed(**of) for name, of in found.pop("failed", {}).items()}
                return cls(made_from, row, dtype, shards, failed, found)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Damaged(f"{path} is damaged: delete {path.parent}, it has to be made again") from None
        if version < FORMAT:
            raise Damaged(f"{path} was written by an older version of the benchmark: delete {path.parent}")
        raise DescriptorError(
            f"{path} was written by a newer version of the benchmark: update this one, or delete {path.parent}"
        )


@dataclass(frozen=True)
class Opened:
    """Descriptors [N, D] or [N, T, d] mapped from disk, and how they were made."""

    rows: Rows
    meta: Meta


def listing(folder: Path) -> Path | None:
    """The list of a folder's shards: meta.json where they are all there, partial.json where rows are to come."""
    return next((folder / name for name in (WHOLE, PARTIAL) if (folder / name).is_file()), None)


def open_shards(folder: Path) -> Opened:
    """The descriptors of a folder that is whole, once every checksum is right.

    Raises FileNotFoundError where it is not finished, Damaged naming the file, and DescriptorError as `Meta.read`.
    """
    meta = Meta.read(folder / WHOLE)
    for _, path in damaged(folder, meta):
        raise Damaged(f"{folder / path} is lost or damaged: delete {folder}, or make it again")
    maps = [np.load(folder / rows_file(n), mmap_mode="r", allow_pickle=False) for n in range(len(meta.shards))]
    return Opened(maps[0] if len(maps) == 1 else Vectors([_mapped(folder, rows) for rows in maps]), meta)


def _mapped(folder: Path, rows: NDArray[Any]) -> vector_files.Shard:
    block = vector_files.Block(len(rows), lambda: rows)
    return vector_files.Shard(folder, (block,), rows.shape[1:], rows.dtype)


def damaged(folder: Path, meta: Meta) -> list[tuple[int, str]]:
    """The files that are lost or not what was written, with the numbers of their shards, in order."""
    files = [
        (number, path, sha256)
        for number, shard in enumerate(meta.shards)
        for path, sha256 in ((rows_file(number), shard.sha256), (names_file(number), shard.metadata_sha256))
    ]
    with ThreadPoolExecutor() as pool:
        whole = pool.map(lambda file: is_whole(folder / file[1], file[2]), files)
        return [(number, path) for (number, path, _), is_whole in zip(files, whole, strict=True) if not is_whole]


def is_whole(path: Path, sha256: str) -> bool:
    """Whether a file is there and has this sha256."""
    try:
        return sha256_file(path) == sha256
    except OSError:
        return False


def rows_file(number: int) -> str:
    """The rows of a shard, as a path in its folder."""
    return f"{ROWS}/img_emb_{number:04d}.npy"


def names_file(number: int) -> str:
    """The images of a shard, as a path in its folder."""
    return f"{NAMES}/metadata_{number:04d}.parquet"


def names_in(path: Path) -> list[Name]:
    """The images of a shard; none where the file is damaged, or of an older version, which left their content out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.read_table(path, columns=[IDS, CONTENT])
        return [Name(*pair) for pair in zip(*(columns[of].to_pylist() for of in (IDS, CONTENT)), strict=True)]
    except (pa.ArrowException, KeyError, OSError):
        return []
