"""Images packed in webdataset shards and parquet files, as ordinary files in the cache folder."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from bench import paths
from bench.data import parquet_shards, tar_shards, unpacked_folder
from bench.data.tar_members import is_tar
from bench.files import sha256_text, whole_folder
from bench.images.formats import FORMATS
from bench.listing import Listing

#: Of the unpacked folders.
VERSION = 2


def unpacked(shards: Sequence[Path], column: str) -> Listing:
    """List the images of shards as SHARD/KEY.jpg, unpacked when first asked for, whole or not at all.

    A shard is a webdataset tar, of which each key is an image, or a parquet file, of which each row of a column is one.
    What can't be read, a shard, key or row, is unreadable, and everything else is unpacked nevertheless. A shard that
    has its name, size, times and inode since it was unpacked is trusted to be the same.

    Args:
        shards: files, which need not be there.
        column: of the images in parquet files, "" for the first usual one that they have.

    Raises:
        OSError: the system can't read the shards or write the images.
    """
    files = list(dict.fromkeys(absolute(shard) for shard in shards))
    top = Path(os.path.commonpath([file.parent for file in files]))
    folder = paths.home() / "sources" / _hash(files, column)
    if not folder.is_dir():
        with whole_folder(folder) as making:
            unpacking = unpacked_folder.Unpacking(making)
            for file in files:
                _unpack(file, file.relative_to(top).as_posix(), column, unpacking)
            unpacking.finish()
    return unpacked_folder.read(folder)


def absolute(path: Path) -> Path:
    """Without `..`, but under its own last name: a hub's cache links that to a file named by its hash."""
    return path.parent.resolve() / path.name


def _hash(files: Sequence[Path], column: str) -> str:
    """Changes with the files as far as the system tells: reading them all would take its time."""
    told = [f"{file}\t{_state(file)}" for file in files]
    return sha256_text("\n".join([str(VERSION), " ".join(FORMATS), column, *told]))[:16]


def _state(file: Path) -> str:
    try:
        found = file.stat()
    except OSError as error:
        return str(error.strerror)
    times = f"{found.st_mtime_ns}\t{found.st_ctime_ns}"
    return f"{found.st_size}\t{times}\t{found.st_dev}\t{found.st_ino}\t{os.access(file, os.R_OK)}"


def _unpack(shard: Path, name: str, column: str, folder: unpacked_folder.Unpacking) -> None:
    if why := _refused(shard):
        folder.fail(name, f"the shard {shard} can't be read ({why}): get it again or leave it out")
    elif is_tar(shard):
        tar_shards.unpack(shard, name, folder)
    else:
        parquet_shards.unpack(shard, name, column, folder)


def _refused(shard: Path) -> str:
    """Why a shard can't be opened, "" where it can."""
    try:
        if not stat.S_ISREG(shard.stat().st_mode):
            return "it is no regular file"
        with shard.open("rb"):
            return ""
    except OSError as error:
        return str(error.strerror)
