"""Files of the Hugging Face hub, through its own client and cache. A source is hub:OWNER/REPO/FILE."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bench.download import DownloadError, OnProgress, nobody

PAGES = "https://huggingface.co"


def split(source: str) -> tuple[str, str]:
    """OWNER/REPO and FILE."""
    owner, repo, file = source.removeprefix("hub:").split("/", 2)
    return f"{owner}/{repo}", file


def address(source: str) -> str:
    """Where the file is downloaded from: $HF_ENDPOINT or the hub itself."""
    repo, file = split(source)
    return f"{_endpoint()}/{repo}/resolve/main/{file}"


def cached(source: str) -> Path | None:
    """The file in the cache of this machine, at the newest commit that was ever asked for."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(*split(source))
    return Path(found) if isinstance(found, str) else None


def download(source: str, on_progress: OnProgress) -> Path:
    """The file in the cache, downloaded and resumed by the hub's client. Raises DownloadError."""
    repo, file = split(source)
    return _download(repo, file, None, on_progress)


def missing(source: str, main: Path, companions: Sequence[str]) -> list[str]:
    """Which files beside `main`, the cached file of a source, are neither cached nor known not to exist."""
    from huggingface_hub import try_to_load_from_cache

    repo, commit = split(source)[0], _commit(source, main)
    names = [_beside(source, name) for name in companions]
    return [name for name in names if try_to_load_from_cache(repo, name, revision=commit) is None]


def bring(source: str, main: Path, names: Sequence[str]) -> None:
    """Bring files of the commit that `main` is of; one that the hub lacks is left out. Raises DownloadError."""
    for name in names:
        try:
            _download(split(source)[0], name, _commit(source, main), nobody)
        except DownloadError as error:
            if _status(error) != 404:
                raise


def _download(repo: str, file: str, commit: str | None, on_progress: OnProgress) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        bar = _reporting(on_progress)
        return Path(hf_hub_download(repo, file, revision=commit, endpoint=_endpoint(), tqdm_class=bar))
    except Exception as error:  # the client raises kinds of several libraries
        url = f"{_endpoint()}/{repo}/resolve/{commit or 'main'}/{file}"
        raise DownloadError(f"{url} could not be downloaded ({_why(repo, error)})") from error


def _why(repo: str, error: Exception) -> str:
    status = _status(error)
    if status in (401, 403):
        return f"the hub answers {status}: accept the licence at {PAGES}/{repo} and set HF_TOKEN"
    return f"the hub answers {status}" if status else " ".join(str(error).split())[:200]


def _status(error: BaseException | None) -> int | None:
    """The HTTP status of an answer that led to an error: the client wraps some of its errors into others."""
    while error is not None:
        if status := getattr(getattr(error, "response", None), "status_code", None):
            return int(status)
        error = error.__cause__
    return None


def _commit(source: str, main: Path) -> str:
    # CACHE/models--OWNER--REPO/snapshots/COMMIT/FILE
    depth = len(PurePosixPath(split(source)[1]).parts)
    return main.parents[depth - 1].name


def _beside(source: str, name: str) -> str:
    return str(PurePosixPath(split(source)[1]).parent / name)


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", PAGES).rstrip("/")


def _reporting(on_progress: OnProgress) -> Any:
    """The client only tells a class of progress bars how far it is: one that draws nothing and tells `on_progress`."""
    from tqdm.std import tqdm  # type: ignore[import-untyped]

    furthest = 0

    class Reporting(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, n: float = 1) -> None:
            nonlocal furthest
            self.n += n
            # of the two bars that one transfer may have, the one that is ahead
            furthest = max(furthest, int(self.n))
            on_progress(furthest, self.total)

    return Reporting
