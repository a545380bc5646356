"""Weights files: found on this machine or downloaded, and never used unless their hash is the pinned one.

The hash is pinned by the backbone or by the file's name where it was published; else by the first use, in a note in the
cache folder.
"""

import importlib.util
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from bench import hub, paths
from bench.download import DownloadError, OnProgress, download, nobody, sentence
from bench.errors import CheckpointError, UsageError, WeightsUnavailable
from bench.files import sha256_file, write_text
from bench.interfaces import TRAINING_FREE, Weights

PROBE_SECONDS = 4.0
#: resnet50-0676ba61.pth begins its sha256, as torch.hub has it; -20240131.pth is a date.
_NAMED_HASH = re.compile(r"-(?!(?:19|20)\d{6}\.)([0-9a-f]{8,64})\.")


class Network:
    """Which hosts answer, found out for all of them at once and only once."""

    def __init__(self, offline: bool) -> None:
        self.offline = offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
        self._problems: dict[str, str] = {}  # of a host that answers: ""

    def probe(self, addresses: Iterable[str]) -> None:
        """Ask the hosts of several addresses in parallel; takes PROBE_SECONDS at most."""
        hosts = {_host(address) for address in addresses} - self._problems.keys()
        if self.offline or not hosts:
            return
        pool = ThreadPoolExecutor(len(hosts))
        asked = {pool.submit(_problem, host): host for host in hosts}
        done, _ = wait(asked, timeout=PROBE_SECONDS)
        self._problems |= {host: future.result() if future in done else "timed out" for future, host in asked.items()}
        pool.shutdown(wait=False, cancel_futures=True)

    def why_not(self, address: str) -> str | None:
        """Why `address` can't be asked, or None if its host answers."""
        if self.offline:
            return "downloads are switched off (--offline or HF_HUB_OFFLINE)"
        self.probe([address])
        problem = self._problems[_host(address)]
        return f"no network ({_host(address)} does not answer: {problem})" if problem else None


@dataclass(frozen=True)
class Found:
    """A weights file on this machine, and which of its sources it is the file of."""

    path: Path
    source: str


@dataclass(frozen=True)
class Obtained:
    """A weights file whose hash was verified, and which of its sources it is the file of."""

    path: Path
    sha256: str
    source: str


class WeightsStore:
    """The weights files that this machine has or can get.

    by_hand: a folder of files under their published names, looked at first. allow_code: load programs that nobody
    published a hash of. Raises UsageError where `by_hand` is no folder.
    """

    def __init__(self, network: Network, by_hand: Path | None = None, allow_code: bool = False) -> None:
        if by_hand is not None and not by_hand.is_dir():
            raise UsageError(f"there is no folder {by_hand}: give --weights-dir the folder that holds the weights")
        self.network = network
        self.by_hand = by_hand
        self.allow_code = allow_code
        self._hashes: dict[tuple[Path, int, int], str] = {}

    def find(self, weights: Weights) -> Found | None:
        """The weights file if it is on this machine, else None. Its hash is not looked at."""
        for place in (_as_named, self._brought, _kept):
            for source in _sources(weights):
                if path := place(source):
                    return Found(path, source)
        return None

    def probe(self, wanted: Iterable[Weights]) -> None:
        """Ask at once all the hosts that weights would have to be downloaded from."""
        missing = [weights for weights in wanted if self.find(weights) is None]
        self.network.probe(url for weights in missing for source in _sources(weights) if (url := address(source)))

    def obtain(self, weights: Weights, on_progress: OnProgress = nobody) -> Obtained | None:
        """The weights file, downloaded if need be; None for a training-free descriptor.

        Raises WeightsUnavailable (no network, no such file, code that is not allowed), CheckpointError (wrong hash, a
        missing file: source).
        """
        if weights.source == TRAINING_FREE:
            return None
        if weights.carries_code and not self.allow_code:
            weights = _only_pinned(weights)
        found = self.find(weights) or self._download(weights, on_progress)
        sha256 = self._verified(weights, found)
        self._bring_companions(weights, found)
        return Obtained(found.path, sha256, found.source)

    def _brought(self, source: str) -> Path | None:
        return _first_file(self.by_hand / name for name in _names(source)) if self.by_hand else None

    def _download(self, weights: Weights, on_progress: OnProgress) -> Found:
        if weights.source.startswith("file:"):
            raise CheckpointError(f"there is no file {weights.source.removeprefix('file:')}")
        reasons = []
        for source in _sources(weights):
            try:
                return Found(self._downloaded(weights, source, on_progress), source)
            except (DownloadError, WeightsUnavailable) as error:
                reasons.append(str(error))
        raise WeightsUnavailable("; ".join(dict.fromkeys(reasons)) + _bring_by_hand(weights))

    def _downloaded(self, weights: Weights, source: str, on_progress: OnProgress) -> Path:
        url = address(source)
        if url is None:
            package = source.partition(":")[2].partition("/")[0]
            raise WeightsUnavailable(f"the weights {source} are not installed: pip install {package}")
        if reason := self.network.why_not(url):
            raise WeightsUnavailable(reason)
        if source.startswith("hub:"):
            return hub.download(source, on_progress)
        path = stored_at(source)
        sha256 = download(url, path, published_sha256(weights, source), on_progress)
        self._hashes[_state(path)] = sha256
        return path

    def _bring_companions(self, weights: Weights, found: Found) -> None:
        """The files that the hub has beside its file; the loader tells if it needs one that can't be had now."""
        if not weights.companions or not found.source.startswith("hub:") or hub.cached(found.source) != found.path:
            return
        missing = hub.missing(found.source, found.path, weights.companions)
        if missing and self.network.why_not(hub.address(found.source)) is None:
            try:
                hub.bring(found.source, found.path, missing)
            except DownloadError as error:
                raise WeightsUnavailable(f"{error}: run again, or bring it by hand beside {found.path}") from error

    def _verified(self, weights: Weights, found: Found) -> str:
        sha256 = self._sha256(found.path)
        published = published_sha256(weights, found.source)
        stored = stored_at(found.source)
        note = stored.with_name(stored.name + ".sha256")
        expected = published or (note.read_text().strip() if note.is_file() else None)
        if expected is not None and not sha256.startswith(expected):
            accept = "" if published else f"; or delete {note} to accept it"
            raise CheckpointError(
                f"the weights file {found.path} has sha256 {sha256[:16]}..., expected {expected[:16]}...: it is "
                f"damaged or another file; delete it to download it again{accept}"
            )
        # a file of the user's own may change
        if expected is None and not found.source.startswith("file:"):
            self._require_unused(found, note, sha256)
            write_text(note, sha256 + "\n")
        return sha256

    def _require_unused(self, found: Found, note: Path, sha256: str) -> None:
        """Of a file by hand: its name alone may be that of several sources (vicreg/resnet50.pth, swav/resnet50.pth)."""
        if found.path.parent != self.by_hand:
            return
        for other in note.parent.parent.glob(f"*/{note.name}"):
            if other.read_text().strip() == sha256:
                raise CheckpointError(
                    f"the weights file {found.path} was used before as the one of {other.parent.name}: if it is the "
                    f"one of {found.source}, call it {self.by_hand / _names(found.source)[0]}"
                )

    def _sha256(self, path: Path) -> str:
        """Of a file that does not change meanwhile, computed once."""
        state = _state(path)
        if state not in self._hashes:
            self._hashes[state] = sha256_file(path)
        return self._hashes[state]


def address(source: str) -> str | None:
    """The HTTP address that a source is downloaded from, or None if it needs no download."""
    if source.startswith("hub:"):
        return hub.address(source)
    return source if source.startswith(("http://", "https://")) else None


def stored_at(source: str) -> Path:
    """Where the file of a source is kept in the cache folder, and may be brought by hand."""
    # the folder names the source, since different sources publish files of one name (model.safetensors)
    place, _, name = source.partition(":")[2].strip("/").rpartition("/")
    return paths.home() / "weights" / place.replace("/", "__") / name


def published_sha256(weights: Weights, source: str) -> str | None:
    """The published sha256 of a source's file, or the first digits of it."""
    if source == weights.source and weights.sha256:
        return weights.sha256
    match = None if source.startswith("file:") else _NAMED_HASH.search(source.rpartition("/")[2])
    return match[1] if match else None


def _sources(weights: Weights) -> tuple[str, ...]:
    return (weights.source, *weights.mirrors)


def _only_pinned(weights: Weights) -> Weights:
    """Weights that are a program, from the one source that its authors published a hash of."""
    if weights.sha256 is None:
        raise WeightsUnavailable(
            f"the weights {weights.source} are a program, and no hash of it was published: "
            "if you trust its authors and the way it came, give --allow-code"
        )
    return replace(weights, mirrors=())


def _as_named(source: str) -> Path | None:
    """The file of a source that names a place on this machine."""
    scheme, _, rest = source.partition(":")
    if scheme == "package":
        module, file = rest.split("/", 1)
        spec = importlib.util.find_spec(module)
        return _first_file(Path(place) / file for place in (spec.submodule_search_locations or [])) if spec else None
    return _first_file([Path(rest)]) if scheme == "file" else None


def _kept(source: str) -> Path | None:
    """The file of a published source in the cache folder, or in the hub's."""
    if address(source) is None:
        return None
    kept = _first_file([stored_at(source)])
    return kept or (hub.cached(source) if source.startswith("hub:") else None)


def _names(source: str) -> tuple[str, ...]:
    """What the file of a published source may be called in a folder of files brought by hand."""
    if address(source) is None:
        return ()
    *_, parent, name = source.split("/")
    if not source.startswith("hub:"):
        return f"{parent}/{name}", name
    repo, file = hub.split(source)
    own = repo.rpartition("/")[2]
    # the file's own name says nothing (model.safetensors)
    return f"{repo}/{file}", f"{own}/{file}", f"{repo.replace('/', '__')}/{file}", f"{own}{Path(name).suffix}"


def _bring_by_hand(weights: Weights) -> str:
    published = [source for source in _sources(weights) if address(source)]
    if not published:
        return ""
    told = [_names(source)[0 if source.startswith("hub:") else -1 :] for source in published]
    names = dict.fromkeys(name for names in told for name in (names[0], names[-1]))
    beside = f" with {', '.join(weights.companions)} beside it" if weights.companions else ""
    return (
        f": go online, or bring {address(published[0])} by hand{beside}, as {' or '.join(names)} in a "
        f"folder that --weights-dir names, or as {stored_at(published[0])}"
    )


def _first_file(candidates: Iterable[Path]) -> Path | None:
    return next((path for path in candidates if path.is_file()), None)


def _state(path: Path) -> tuple[Path, int, int]:
    state = path.stat()
    return path, state.st_size, state.st_mtime_ns


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _problem(host: str) -> str:
    try:
        request = urllib.request.Request(host, method="HEAD")
        urllib.request.build_opener().open(request, timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return ""  # it answered, if only with an error
    except (OSError, ValueError, HTTPException) as error:
        return sentence(error)
    return ""
