"""Archives that others published: unpacked as a whole or not at all, and into one folder only."""

import bz2
import gzip
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from bench.download import OnProgress, nobody
from bench.errors import DatasetError

BLOCK_BYTES = 1 << 20
#: tarfile reads the header of a member in one piece; a real one is a few kilobytes long.
MOST_HEADER_BYTES = 1 << 20

#: By how a tar begins; the last is of one that is not compressed.
_OPENERS: Sequence[tuple[bytes, Callable[[Path], Any]]] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
    (b"", partial(open, mode="rb")),
)
_KINDS = {stat.S_IFLNK: "is a symbolic link", stat.S_IFREG: "", stat.S_IFDIR: "", 0: ""}
#: What the readers raise for bytes that make no sense; RuntimeError is an unknown compression's.
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
    OverflowError,
)


class ArchiveError(DatasetError):
    """An archive that is damaged or that must not be unpacked; the sentence names it and its member."""


@dataclass(frozen=True)
class Limits:
    """The most that an archive may hold: files and folders, and bytes when unpacked."""

    members: int
    n_bytes: int


@dataclass(frozen=True)
class Member:
    """A file or folder of an archive. refused: why nothing of its kind is unpacked."""

    name: str
    is_folder: bool
    refused: str
    open: Callable[[], IO[bytes]]


class _Refused(Exception):
    """Why a member is not unpacked."""


def unpack(
    archive: Path, into: Path, limits: Limits, inner: Sequence[str] = (), on_progress: OnProgress = nobody
) -> None:
    """Unpack a zip or tar (plain, gz, bz2, xz; told by content) into a folder, which may be there and have files.

    Everything is written beside the archive first, and moved into place only when all of it is good; to do it again
    after a kill gives the same. `into` must be on the archive's file system, and no other process may do it at once.
    inner: names of archives inside it, which are unpacked where they lie and removed.
    on_progress: told the bytes written. Files get the modes of new files.
    Raises ArchiveError for a damaged archive, one over the limits, and one with a member that is neither file nor
    folder, is encrypted, stands there twice, or whose name leads out of the folder; nothing is then left.
    """
    staging = archive.with_name(archive.name + ".unpacking")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _write(archive, staging, limits, on_progress)
        for name in inner:
            if not (nested := staging / name).is_file():
                raise ArchiveError(f"the archive {archive} lacks {name}: its publisher changed it")
            unpack(nested, nested.parent, limits, (), on_progress)
            nested.unlink()
        into.parent.mkdir(parents=True, exist_ok=True)
        _merge(staging, into)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _merge(source: Path, target: Path) -> None:
    """Move a file or folder to where it belongs; a folder that is there keeps what else it has."""
    if source.is_dir() and target.is_dir():
        for entry in list(source.iterdir()):
            _merge(entry, target / entry.name)
    else:
        source.replace(target)


def _write(archive: Path, folder: Path, limits: Limits, on_progress: OnProgress) -> None:
    folder.mkdir()
    name, written = "", 0
    try:
        for number, member in enumerate(_members(archive), start=1):
            name = member.name
            if number > limits.members:
                raise _Refused(f"is one more than the {limits.members:,} that are allowed")
            if member.refused:
                raise _Refused(member.refused)
            path = folder / _inside(name)
            try:
                if member.is_folder:
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                target = path.open("xb")
            except (FileExistsError, NotADirectoryError) as error:
                raise _Refused("stands in it twice") from error
            with target, member.open() as source:
                # what comes is counted: a header may say anything
                while block := source.read(BLOCK_BYTES):
                    written += len(block)
                    if written > limits.n_bytes:
                        raise _Refused(f"makes it more than the {limits.n_bytes:,} bytes that are allowed")
                    target.write(block)
                    on_progress(written, None)
    except _Refused as error:
        raise ArchiveError(
            f"the archive {archive} was not unpacked, since its member {name!r} {error}: "
            "if you trust its publisher, unpack it by hand"
        ) from error
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk; those of a decompressor have no number
        where = f" after {name!r}" if name else ""
        raise ArchiveError(
            f"the archive {archive} is damaged, or no zip or tar archive ({error or type(error).__name__}{where}): "
            "get it again"
        ) from error


def _inside(name: str) -> PurePosixPath:
    """The member's name as a path in the folder."""
    if re.search(r"[\\\x00-\x1f]", name):
        raise _Refused("has a backslash or a control character in its name")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name):
        raise _Refused("would lie outside the folder")
    return path


def _members(archive: Path) -> Iterator[Member]:
    """The members in their order, each to be read before the next is asked for."""
    with archive.open("rb") as stream:
        begins = stream.read(8)
    if begins.startswith(b"PK"):
        yield from _of_zip(archive)
    else:
        with next(opener for magic, opener in _OPENERS if begins.startswith(magic))(archive) as stream:
            yield from _of_tar(stream)


def _of_zip(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if info.header_offset < 0:
                raise zipfile.BadZipFile("a member would lie before its begin")  # zipfile would seek there
            kind = _KINDS.get(stat.S_IFMT(info.external_attr >> 16), "is neither file nor folder")
            refused = "is encrypted" if info.flag_bits & 1 else kind
            # not `filename`, in which zipfile may have changed separators and ended at a null
            yield Member(info.orig_filename, info.is_dir(), refused, partial(opened.open, info))


def _of_tar(stream: IO[bytes]) -> Iterator[Member]:
    guarded = _Guarded(stream)
    with tarfile.open(fileobj=cast(IO[bytes], guarded), mode="r:") as tar:
        for info in tar:
            refused = "" if info.isreg() or info.isdir() else "is neither file nor folder"
            if info.issym() or info.islnk():
                refused = f"is a {'symbolic' if info.issym() else 'hard'} link"
            yield Member(info.name, info.isdir(), refused, partial(cast(Any, tar.extractfile), info))
    if guarded.latest.strip(b"\0"):
        # tarfile takes a header that makes no sense for the end
        raise tarfile.ReadError("a header is wrong or cut short")
    while stream.read(BLOCK_BYTES):
        pass  # the checksum of a compressed file is behind its end


class _Guarded:
    """A stream for tarfile that refuses huge headers and remembers what was read last."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell
        self.latest = b""

    def read(self, size: int) -> bytes:
        if size > MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        self.latest = self._stream.read(size)
        return self.latest
