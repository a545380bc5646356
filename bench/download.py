"""One file over HTTP: resumed where it was cut, verified, and then there as a whole or not at all."""

import json
import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from filelock import FileLock

from bench.errors import BenchError
from bench.files import sha256_file, write_json

#: Seconds before each new attempt; they start anew whenever the file got further than ever before.
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
#: Without a single byte; a server that is only slow may take as long as it likes.
STALLED_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 120.0
BLOCK_BYTES = 1 << 20

#: Told the bytes that are there, and how many there will be where the server says so.
OnProgress = Callable[[int, int | None], object]

_PASSING = {408, 416, 425, 429}


class DownloadError(BenchError):
    """A file that could not be downloaded; the sentence says which and why."""


class _Passing(Exception):
    """Why an attempt failed that is worth repeating, and how long the server asks to wait."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


def nobody(received: int, total: int | None) -> None:
    """Shows no progress."""


def download(
    url: str,
    destination: Path,
    sha256: str | None = None,
    on_progress: OnProgress = nobody,
    waits: Sequence[float] = WAITS,
    stalled_s: float = STALLED_SECONDS,
) -> str:
    """The sha256 of `destination`, downloaded from `url` if it is not there yet.

    sha256: what it must be, or the first digits of it. What was received stays in `destination.part` over failures and
    processes, and is resumed if the server still has the same version. Of two processes one waits for the other.
    Raises DownloadError; `destination` is then not there.
    """
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(destination.with_name(f".{destination.name}.lock")):
            part = _Part(destination.with_name(destination.name + ".part"))
            here = destination.is_file()
            if not here:
                _receive(url, part, on_progress, waits, stalled_s)
            found = sha256_file(destination if here else part.path)
            if sha256 is not None and not found.startswith(sha256):
                part.drop()
                raise _failed(url, f"its sha256 is {found[:16]}..., expected {sha256[:16]}...")
            if not here:
                part.become(destination)
            return found
    except OSError as error:
        raise _failed(url, f"can't write {destination}: {error.strerror or error}") from error


def sentence(error: Exception) -> str:
    """What a network error says, on one line."""
    return " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__


@dataclass(frozen=True)
class _Version:
    """Which version of a file a part belongs to. validator: for If-Range. total: in bytes."""

    url: str
    validator: str | None
    total: int | None


@dataclass(frozen=True)
class _Part:
    """What has come of a file so far, and a note beside it of its version."""

    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def _note(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def version(self, url: str) -> _Version | None:
        """The version of what has come from `url`, where there is such a part."""
        try:
            version = _Version(**json.loads(self._note.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return version if version.url == url and self.path.is_file() else None

    def begin(self, version: _Version) -> None:
        """Empty it, for a version; the old note goes first, so that none ever lies beside another version's bytes."""
        self.drop()
        self.path.touch()
        write_json(self._note, asdict(version))

    def drop(self) -> None:
        self._note.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def become(self, destination: Path) -> None:
        with self.path.open("rb") as stream:
            os.fsync(stream.fileno())
        self.path.replace(destination)
        self._note.unlink(missing_ok=True)


def _receive(url: str, part: _Part, on_progress: OnProgress, waits: Sequence[float], stalled_s: float) -> None:
    furthest, left = part.size, list(waits)
    while True:
        try:
            return _attempt(url, part, on_progress, stalled_s)
        except _Passing as error:
            if part.size > furthest:
                furthest, left = part.size, list(waits)
            if not left:
                raise _failed(url, f"{error}; tried {len(waits) + 1} times") from error
            time.sleep(max(left.pop(0), error.wait_s))


def _attempt(url: str, part: _Part, on_progress: OnProgress, stalled_s: float) -> None:
    """Fill the part from where it ends, or from the start where it can't be resumed."""
    version, have = part.version(url), part.size
    if version and have and have == version.total:
        return  # a process was killed just before it could verify the file
    resumed = version if version and version.validator and have else None
    asked = {"Range": f"bytes={have}-", "If-Range": str(resumed.validator)} if resumed else {}
    with _open(url, part, asked, stalled_s) as response:
        if response.headers.get_content_type() == "text/html":
            raise _failed(url, "a web page came instead of the file")
        if response.status == 206 and resumed:
            version = resumed
            _require_same(response.headers, version, have, part)
        else:
            version, have = _begun(url, part, response), 0
        with part.path.open("ab") as stream:
            on_progress(have, version.total)
            for block in _blocks(response):
                stream.write(block)
                have += len(block)
                on_progress(have, version.total)
    if not have or version.total not in (None, have):
        if version.total is not None and have > version.total:
            part.drop()
        raise _Passing(f"{have} of {'?' if version.total is None else version.total} bytes came")


def _begun(url: str, part: _Part, response: Any) -> _Version:
    """The version of a whole answer, for which the part is emptied."""
    if response.status != 200:
        raise _failed(url, f"the server answered {response.status} {response.reason}")
    version = _Version(url, _validator(response.headers), _number(response.headers.get("Content-Length")))
    part.begin(version)
    return version


def _open(url: str, part: _Part, headers: Mapping[str, str], stalled_s: float) -> Any:
    # some hosts refuse urllib's own name
    request = urllib.request.Request(url, headers={"User-Agent": "descriptor-bench", **headers})
    try:
        # an opener of its own sees the proxies that the environment names now
        return urllib.request.build_opener().open(request, timeout=stalled_s)
    except HTTPError as error:
        with error:
            if error.code == 416:
                part.drop()
            if error.code in _PASSING or error.code >= 500:
                raise _Passing(str(error), _retry_after(error.headers)) from error
            raise _failed(url, str(error)) from error
    except (OSError, HTTPException) as error:
        raise _Passing(sentence(error)) from error


def _blocks(response: Any) -> Iterator[bytes]:
    """The body as it comes. It is read to its end, not to the length that was told: the two are compared later."""
    response.length = None
    try:
        while block := response.read1(BLOCK_BYTES):
            yield block
    except (OSError, HTTPException) as error:
        raise _Passing(sentence(error)) from error


def _require_same(headers: "Message[str, str]", version: _Version, have: int, part: _Part) -> None:
    """Drops the part where a server that does not know If-Range goes on with another version, or elsewhere."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    same_place = match is not None and int(match[1]) == have
    same_total = match is not None and (match[2] == "*" or int(match[2]) == version.total)
    if not (same_place and same_total and _validator(headers) in (None, version.validator)):
        part.drop()
        raise _Passing("the file changed meanwhile")


def _validator(headers: "Message[str, str]") -> str | None:
    """What If-Range may name: a strong ETag, else the date."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _retry_after(headers: "Message[str, str]") -> float:
    """Seconds of a Retry-After, which is a number or a date."""
    told = headers.get("Retry-After", "")
    seconds = float(_number(told) or 0)
    with suppress(ValueError, TypeError):
        seconds = seconds or (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _failed(url: str, why: str) -> DownloadError:
    return DownloadError(f"{url} could not be downloaded ({why})")
