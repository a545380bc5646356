"""Weights files: found on this machine or downloaded, and never used unless their hash is the pinned one.

The hash is pinned by the backbone where it was published; else by the first use, in a note in the cache folder.
"""

import hashlib
import importlib.util
import os
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from bench import paths
from bench.errors import CheckpointError, WeightsUnavailable
from bench.files import sha256_file, write_atomic, write_text
from bench.interfaces import TRAINING_FREE, Weights

PROBE_SECONDS = 4.0
READ_SECONDS = 30.0
BLOCK_BYTES = 1 << 20


class Network:
    """Which hosts answer, found out for all of them at once and only once."""

    def __init__(self, offline: bool) -> None:
        self.offline = offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
        self._answers: dict[str, bool] = {}

    def probe(self, addresses: Iterable[str]) -> None:
        """Ask the hosts of several addresses in parallel; takes PROBE_SECONDS at most."""
        hosts = {_host(address) for address in addresses} - self._answers.keys()
        if self.offline or not hosts:
            return
        pool = ThreadPoolExecutor(len(hosts))
        asked = {pool.submit(_responds, host): host for host in hosts}
        done, _ = wait(asked, timeout=PROBE_SECONDS)
        self._answers |= {host: future in done and future.result() for future, host in asked.items()}
        pool.shutdown(wait=False, cancel_futures=True)

    def why_not(self, address: str) -> str | None:
        """Why `address` can't be asked, or None if its host answers."""
        if self.offline:
            return "downloads are switched off (--offline or HF_HUB_OFFLINE)"
        self.probe([address])
        return None if self._answers[_host(address)] else f"no network ({_host(address)} does not answer)"


def address(weights: Weights) -> str | None:
    """The HTTP address that weights are downloaded from, or None if they need no download."""
    scheme, _, rest = weights.source.partition(":")
    if scheme == "hub":
        owner, repo, file = rest.split("/", 2)
        return f"{_hub()}/{owner}/{repo}/resolve/main/{file}"
    return weights.source if scheme in {"http", "https"} else None


def find(weights: Weights) -> Path | None:
    """The weights file if it is on this machine, else None. Its hash is not looked at."""
    scheme, _, rest = weights.source.partition(":")
    if scheme == "package":
        module, file = rest.split("/", 1)
        spec = importlib.util.find_spec(module)
        folders = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
        return next((folder / file for folder in folders if (folder / file).is_file()), None)
    by_hand = _store(weights)
    if by_hand.is_file():
        return by_hand
    if scheme == "hub":
        from huggingface_hub import try_to_load_from_cache

        owner, repo, file = rest.split("/", 2)
        cached = try_to_load_from_cache(f"{owner}/{repo}", file)
        return Path(cached) if isinstance(cached, str) else None
    return None


@dataclass(frozen=True)
class Obtained:
    """A weights file whose hash was verified."""

    path: Path
    sha256: str


def obtain(weights: Weights, network: Network) -> Obtained | None:
    """The weights file, downloaded if need be; None for a training-free descriptor.

    Raises WeightsUnavailable (no network, no such file), CheckpointError (wrong hash).
    """
    if weights.source == TRAINING_FREE:
        return None
    path = find(weights) or _download(weights, network)
    return Obtained(path, _verified_sha256(weights, path))


def _verified_sha256(weights: Weights, path: Path) -> str:
    found = sha256_file(path)
    note = _store(weights).with_name(weights.filename + ".sha256")
    pinned = weights.sha256 or (note.read_text().strip() if note.is_file() else None)
    if pinned is None:
        write_text(note, found + "\n")
    elif found != pinned:
        accept = "" if weights.sha256 else f"; or delete {note} to accept it"
        raise CheckpointError(
            f"the weights file {path} has sha256 {found[:16]}..., expected {pinned[:16]}...: it is damaged or "
            f"another file; delete it to download it again{accept}"
        )
    return found


def _download(weights: Weights, network: Network) -> Path:
    url = address(weights)
    if url is None:
        raise WeightsUnavailable(
            f"the weights {weights.source} are not installed: pip install {weights.source.split(':')[1].split('/')[0]}"
        )
    by_hand = f"go online, or bring {url} by hand to {_store(weights)}"
    if reason := network.why_not(url):
        raise WeightsUnavailable(f"{reason}: {by_hand}")
    try:
        if weights.source.startswith("hub:"):
            from huggingface_hub import hf_hub_download

            owner, repo, file = weights.source.removeprefix("hub:").split("/", 2)
            return Path(hf_hub_download(f"{owner}/{repo}", file, endpoint=_hub()))
        _fetch(url, _store(weights), weights.sha256)
        return _store(weights)
    except Exception as error:  # each HTTP client raises its own kinds
        sentence = " ".join(str(error).split())[:200]
        raise WeightsUnavailable(f"{url} could not be downloaded ({sentence}): {by_hand}") from error


def _fetch(url: str, destination: Path, sha256: str | None) -> None:
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=READ_SECONDS) as response:
        expected = response.headers.get("Content-Length")

        def copy(stream: IO[bytes]) -> None:
            received = 0
            while block := response.read(BLOCK_BYTES):
                stream.write(block)
                digest.update(block)
                received += len(block)
            if expected is not None and received != int(expected):
                raise OSError(f"{received} of {expected} bytes came")
            if sha256 is not None and digest.hexdigest() != sha256:
                raise OSError(f"its sha256 is {digest.hexdigest()[:16]}..., expected {sha256[:16]}...")

        write_atomic(destination, copy)


def _store(weights: Weights) -> Path:
    # the folder names the source, since different sources publish files of one name (model.safetensors)
    folder = weights.source.partition(":")[2].strip("/").rsplit("/", 1)[0].replace("/", "__")
    return paths.home() / "weights" / folder / weights.filename


def _hub() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _responds(host: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(host, method="HEAD"), timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return True  # it answered, if only with an error
    except (OSError, ValueError, HTTPException):
        return False
    return True
