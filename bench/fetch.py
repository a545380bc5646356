"""Brings what runs would download, so that they need no network."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from bench import paths
from bench.archives import ArchiveError, Limits, unpack
from bench.download import DownloadError, download
from bench.errors import BenchError, DatasetError
from bench.files import sha256_file, sha256_text, write_json
from bench.interfaces import Backbone, Dataset, ImageFile
from bench.manifest import Manifest
from bench.published import Download, Published, counted, missing_images
from bench.weights import Network, WeightsStore

#: Told the name of what is being downloaded, the bytes that are there, and how many there will be.
Watch = Callable[[str, int, int | None], object]

#: In a dataset's folder: what was downloaded into it, by address.
DOWNLOADS = "downloads.json"
MOST_MEMBERS = 5_000_000
#: Bytes that an archive may unpack to: photographs hardly shrink, masks and tables of numbers much more.
MOST_BYTES = 1_000_000_000
MOST_GROWTH = 20


@dataclass(frozen=True)
class Fetched:
    """What became of one backbone's weights, or of one dataset. problem: why it is not here.

    path: the file or folder. sha256: of each file that was downloaded, n_bytes: of all of them.
    """

    name: str
    outcome: Literal["here", "fetched", "nothing to fetch", "by hand", "failed"]
    path: Path | None = None
    n_bytes: int = 0
    sha256: tuple[str, ...] = ()
    problem: str = ""


def backbones(chosen: Iterable[Backbone], store: WeightsStore, watch: Watch) -> Sequence[Fetched]:
    """Obtain the weights of every backbone, each failure alone."""
    wanted = list(chosen)
    store.probe(backbone.weights for backbone in wanted)
    return [_backbone(backbone, store, watch) for backbone in wanted]


def _backbone(backbone: Backbone, store: WeightsStore, watch: Watch) -> Fetched:
    here = store.find(backbone.weights) is not None
    try:
        obtained = store.obtain(backbone.weights, partial(watch, backbone.name))
    except (BenchError, OSError) as error:
        return Fetched(backbone.name, "failed", problem=str(error))
    if obtained is None:
        return Fetched(backbone.name, "nothing to fetch")
    n_bytes = obtained.path.stat().st_size
    return Fetched(backbone.name, "here" if here else "fetched", obtained.path, n_bytes, (obtained.sha256,))


def datasets(chosen: Iterable[Dataset], watch: Watch) -> Sequence[Fetched]:
    """Download and unpack every dataset, each failure alone."""
    network = Network(offline=False)
    return [_dataset(dataset, network, watch) for dataset in chosen]


def _dataset(dataset: Dataset, network: Network, watch: Watch) -> Fetched:
    if not isinstance(dataset, Published):
        return Fetched(dataset.name, "nothing to fetch")
    try:
        if not dataset.downloads:
            dataset.load()
            return Fetched(dataset.name, "here", dataset.folder)
        outcome: Literal["fetched", "here"] = "fetched" if _Fetch(dataset, network, watch).bring() else "here"
        _require_complete(dataset)
        known = recorded(dataset.folder).values()
    except (BenchError, OSError) as error:
        return Fetched(dataset.name, "failed" if dataset.downloads else "by hand", problem=str(error))
    n_bytes, hashes = sum(file["bytes"] for file in known), tuple(file["sha256"] for file in known)
    return Fetched(dataset.name, outcome, dataset.folder, n_bytes, hashes)


def _require_complete(dataset: Published) -> None:
    try:
        if others := other_counts(dataset, counted(dataset.load())):
            raise DatasetError(f"in {dataset.folder} {' and '.join(others)}")
    except DatasetError as error:
        raise DatasetError(
            f"all that can be downloaded of {dataset.name} was fetched, but {error}; bring what is missing from "
            f"{dataset.homepage}, or delete {dataset.folder / DOWNLOADS} to fetch all of it again"
        ) from error


def recorded(folder: Path) -> dict[str, dict[str, Any]]:
    """What was downloaded into a dataset's folder: address -> sha256, bytes.

    Raises DatasetError where the note of it is damaged.
    """
    try:
        return dict(json.loads((folder / DOWNLOADS).read_text()))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{folder / DOWNLOADS} is not as it was written ({error}): delete it") from error


def mismatch(file: Path, sha256: str, wanted: Download, known: Mapping[str, Mapping[str, Any]]) -> str:
    """How a file differs from the one that was published or, where no sha256 was, fetched before; "" if it does not.

    known: as `recorded` has it.
    """
    expected = wanted.sha256 or known.get(wanted.url, {}).get("sha256")
    if expected and not sha256.startswith(expected):
        return f"its sha256 is {sha256[:16]}..., expected {expected[:16]}..."
    if wanted.md5:
        with file.open("rb") as stream:
            md5 = hashlib.file_digest(stream, "md5").hexdigest()
        if md5 != wanted.md5:
            return f"its md5 is {md5}, expected {wanted.md5}"
    return ""


def other_counts(dataset: Published, found: Manifest) -> list[str]:
    """How many there are, where as many were not published; one sentence each."""
    counts = ((name, getattr(found, name), published) for name, published in dataset.counts.items())
    return [f"{name} is {here}, published are {published}" for name, here, published in counts if here != published]


class _Fetch:
    """One dataset's downloads on their way: into a folder beside the dataset's, from there into it, each when whole.

    What was fetched is noted in DOWNLOADS; then its archive is removed.
    """

    def __init__(self, dataset: Published, network: Network, watch: Watch) -> None:
        self._dataset = dataset
        self._network = network
        self._watch = watch
        self._folder = dataset.folder.resolve()  # it may be a link to another disk
        self._work = self._folder.with_name(f".{self._folder.name}.fetching")

    def bring(self) -> bool:
        """Whether anything had to be fetched.

        Raises DatasetError (no network, too little space, another file than the published one, an archive that is
        refused); what was fetched before stays, and what was received of the next.
        """
        if not (self._todo() or self._work.exists()):
            return False
        self._work.parent.mkdir(parents=True, exist_ok=True)
        # the lock's file stays, since another process may be waiting at it: not beside the datasets
        locks = paths.home() / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{self._folder.name}-{sha256_text(str(self._folder))[:8]}.lock"):
            todo = self._todo()  # another process may have fetched it meanwhile
            self._require_space(todo)
            self._work.mkdir(exist_ok=True)
            try:
                for wanted in todo:
                    self._bring(wanted)
            except BaseException:
                parts = [part for part in self._work.glob("*.part") if part.stat().st_size]
                if not parts and not self._has_received():
                    shutil.rmtree(self._work)
                raise
            shutil.rmtree(self._work)
        return bool(todo)

    def _todo(self) -> Sequence[Download]:
        known, wanted = recorded(self._folder), self._dataset.downloads
        missing, as_counted = self._compared()
        if as_counted and not missing and not known and not self._has_received():
            return ()  # it was brought by hand
        # the images of those that were never here are missing too
        new = [download for download in wanted if download.url not in known]
        gone = [download for download in wanted if self._is_gone(download, missing)]
        return new or gone or (wanted if as_counted is False else ())

    def _compared(self) -> tuple[Sequence[ImageFile], bool | None]:
        """Images that are missing, and whether as many are named as were published; None where that can't be told."""
        try:
            split = self._dataset.read()
            return missing_images(split), not other_counts(self._dataset, counted(split))
        except (DatasetError, OSError):
            return (), None

    def _has_received(self) -> bool:
        return any(self._received(download).is_file() for download in self._dataset.downloads)

    def _is_gone(self, fetched: Download, missing: Sequence[ImageFile]) -> bool:
        place = self._dataset.folder / fetched.path
        if fetched.unpack:
            return any(image.path.is_relative_to(place) for image in missing)
        return not place.is_file()

    def _received(self, wanted: Download) -> Path:
        # files of one name may come from different addresses
        return self._work / f"{sha256_text(wanted.url)[:8]}-{_filename(wanted)}"

    def _require_space(self, todo: Sequence[Download]) -> None:
        """All files unpacked, which photographs hardly are larger than, and the largest archive beside them."""
        archives = [download.megabytes or 0 for download in todo if download.unpack]
        needed = sum(download.megabytes or 0 for download in todo) + max(archives, default=0)
        free = shutil.disk_usage(self._work.parent).free / 1e6
        if needed > free:
            raise DatasetError(
                f"{self._dataset.name} needs about {needed:,.0f} MB in {self._work.parent}, where {free:,.0f} MB are "
                "free: make room, or name a folder on another disk by BENCH_DATASETS"
            )

    def _bring(self, wanted: Download) -> None:
        known, place, received = recorded(self._folder), self._folder / wanted.path, self._received(wanted)
        if not wanted.unpack and place.is_file():
            sha256 = sha256_file(place)
            if why := mismatch(place, sha256, wanted, known):
                raise DatasetError(f"{place} is not the file that is to be fetched ({why}): delete or move it")
        else:
            sha256 = self._download(wanted, received, known)
            if wanted.unpack:
                self._unpack(wanted, received, place)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                received.replace(place)
        n_bytes = (received if wanted.unpack else place).stat().st_size
        note = self._work / DOWNLOADS  # nothing half-made is ever in the dataset's own folder
        write_json(note, dict(sorted({**known, wanted.url: {"sha256": sha256, "bytes": n_bytes}}.items())))
        note.replace(self._folder / DOWNLOADS)
        received.unlink(missing_ok=True)

    def _download(self, wanted: Download, received: Path, known: Mapping[str, Mapping[str, Any]]) -> str:
        shown = partial(self._watch, f"{self._dataset.name} {_filename(wanted)}")
        try:
            if reason := self._network.why_not(wanted.url):
                raise DownloadError(f"{wanted.url} could not be downloaded ({reason})")
            sha256 = download(wanted.url, received, on_progress=shown)
        except DownloadError as error:
            raise DatasetError(f"{error}: fetch again later, or {self._dataset.how_to_bring}") from error
        if why := mismatch(received, sha256, wanted, known):
            received.unlink()
            accept = "" if wanted.sha256 or wanted.md5 else f"; to accept it delete {self._folder / DOWNLOADS}"
            raise DatasetError(f"{wanted.url} is not the file that it should be ({why}){accept}")
        return sha256

    def _unpack(self, wanted: Download, archive: Path, place: Path) -> None:
        limits = Limits(MOST_MEMBERS, max(MOST_BYTES, MOST_GROWTH * archive.stat().st_size))
        shown = partial(self._watch, f"{self._dataset.name} {_filename(wanted)}, unpacked")
        try:
            unpack(archive, place, limits, wanted.inner, shown)
        except ArchiveError:
            archive.unlink()
            raise


def _filename(wanted: Download) -> str:
    return unquote(PurePosixPath(urlsplit(wanted.url).path).name)
