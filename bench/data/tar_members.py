"""The members of a tar: compressed or not, one archive or several behind each other, as far as they are whole."""

import bz2
import gzip
import io
import itertools
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from bench.archives import BLOCK_BYTES, MOST_HEADER_BYTES

#: How the names of tars end, in lower case.
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
#: The most that a compressed tar may hold: members, and bytes, or times its own size where that is more.
MOST_MEMBERS = 5_000_000
MOST_BYTES = 1_000_000_000
MOST_GROWTH = 20

_OPENERS: tuple[tuple[bytes, Callable[[Any], Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
)
_MAGIC, _MAGIC_AT = b"ustar", 257
#: What the readers raise for bytes that make no sense.
_SENSELESS = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, OverflowError, IndexError, KeyError)


def is_tar(path: Path) -> bool:
    """Whether a file is named as a tar is, compressed or not."""
    return path.name.lower().endswith(TARS)


@dataclass(frozen=True)
class Member:
    """A member of a tar. read: the next bytes of its content, at most as many as asked for; none at its end."""

    info: tarfile.TarInfo
    read: Callable[[int], bytes]


class BrokenTar(Exception):
    """Why a tar can't be read any further."""


def members(shard: IO[bytes], size: int, damaged: Callable[[str], object]) -> Iterator[Member]:
    """Give the members in their order, each to be read before the next is asked for.

    Args:
        shard: the tar, plain or compressed by gzip, bzip2 or xz.
        size: how many bytes it has.
        damaged: called with the reason wherever it is damaged; what is whole behind that place is given nevertheless.

    Raises:
        BrokenTar: no more of it can be read; also while a member is read.
        OSError: the system can't read it.
    """
    opener = _opener(shard)
    stream = _Stream(opener(shard) if opener else shard, max(MOST_BYTES, MOST_GROWTH * size) if opener else None)
    start: int | None = 0
    count = itertools.count(1)
    while start is not None:
        stream.seek(start)
        try:
            for info in _of_archive(stream):
                if next(count) > MOST_MEMBERS:
                    raise BrokenTar(f"it has more than {MOST_MEMBERS:,} members")
                yield Member(info, _reader(stream, info))
            start = None
        except _Damage as error:
            stream.seek(error.offset)
            if len(rest := stream.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:
                if stream.has_ended and not rest.strip(b"\0"):
                    return
                raise BrokenTar("it is cut short") from error
            start = _next_header(stream, error.offset + 1)
            damaged(_told(error.offset, start))
    if not stream.has_ended:
        raise BrokenTar("it is cut short")


def _told(offset: int, following: int | None) -> str:
    if following is None:
        return f"its bytes from {offset:,} on are no tar" if offset else "it is no tar archive"
    return f"its bytes {offset:,} to {following - 1:,} are no tar"


class _Damage(Exception):
    """There is no header where one has to be."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class _Header(tarfile.TarInfo):
    """A header that makes no sense is an error, where tarfile would take it for the end or pass over it."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> "_Header":
        stream, offset = cast(_Stream, tar.fileobj), tar.offset
        try:
            info = super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            stream.has_ended = True
            raise
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise
        except _SENSELESS as error:
            raise _Damage(offset) from error
        if info.size < 0 or tar.offset <= offset:  # it would never end
            raise _Damage(offset)
        stream.has_ended = False
        return info


def _of_archive(stream: "_Stream") -> Iterator[tarfile.TarInfo]:
    """The members from where the stream stands."""
    try:
        tar = tarfile.TarFile(
            fileobj=cast(IO[bytes], stream),
            tarinfo=_Header,
            ignore_zeros=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
        while info := tar.next():
            cast(Any, tar).members = []  # they would take much memory
            yield info
    except tarfile.TarError as error:
        raise BrokenTar("it is cut short") from error


def _reader(stream: "_Stream", info: tarfile.TarInfo) -> Callable[[int], bytes]:
    at = info.offset_data

    def read(size: int) -> bytes:
        nonlocal at
        wanted = min(size, BLOCK_BYTES, info.offset_data + info.size - at)
        if wanted <= 0:
            return b""
        stream.seek(at)
        block = stream.read(wanted)
        if not block:
            raise BrokenTar("it is cut short")
        at += len(block)
        return block

    return read


def _next_header(stream: "_Stream", start: int) -> int | None:
    """Where the next header begins, wherever it stands: what is between may be of any length."""
    window, at = b"", start
    stream.seek(start)
    while block := stream.read(BLOCK_BYTES):
        window += block
        place = window.find(_MAGIC)
        while place >= 0:
            header = window[place - _MAGIC_AT : place - _MAGIC_AT + tarfile.BLOCKSIZE] if place >= _MAGIC_AT else b""
            if len(header) == tarfile.BLOCKSIZE and _is_header(header):
                found = at + place - _MAGIC_AT
                stream.push_back(window[place - _MAGIC_AT :], found)
                return found
            place = window.find(_MAGIC, place + 1)
        kept = min(len(window), 2 * tarfile.BLOCKSIZE)
        at, window = at + len(window) - kept, window[-kept:]
    return None


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except _SENSELESS:
        return False
    return True


def _opener(shard: IO[bytes]) -> Callable[[Any], Any] | None:
    begins = shard.read(8)
    shard.seek(0)
    return next((opener for magic, opener in _OPENERS if begins.startswith(magic)), None)


class _Stream:
    """What tarfile reads: no huge headers, nothing beyond a limit, and what was searched need not be read again.

    has_ended: whether the latest header was that of the end.
    """

    def __init__(self, stream: IO[bytes], limit: int | None) -> None:
        self._stream, self._limit = stream, limit
        self._ahead, self._at = b"", 0
        self.has_ended = False

    def tell(self) -> int:
        return self._at

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        assert whence == io.SEEK_SET
        step = place - self._at
        if 0 <= step <= len(self._ahead):
            self._ahead = self._ahead[step:]
        else:
            self._ahead = b""
            self._require_within(place)
            self._sensible(partial(self._stream.seek, place))
        self._at = place
        return place

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        block, self._ahead = self._ahead[:size], self._ahead[size:]
        while len(block) < size and (more := self._sensible(partial(self._stream.read, size - len(block)))):
            block += more
        self._at += len(block)
        self._require_within(self._at)
        return block

    def push_back(self, ahead: bytes, place: int) -> None:
        """Have these bytes read again, which were read last and begin at `place`."""
        self._ahead, self._at = ahead, place

    def _require_within(self, place: int) -> None:
        if self._limit is not None and place > self._limit:
            raise BrokenTar(f"it unpacks to more than {self._limit:,} bytes")

    def _sensible(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except _SENSELESS as error:
            raise BrokenTar(f"its compressed data is damaged, {error}") from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise BrokenTar(f"its compressed data is damaged, {error}") from error  # by gzip and bz2
