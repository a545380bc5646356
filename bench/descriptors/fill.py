"""Fills a folder of descriptors: rows described before are taken over, the other images are described."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench import cells, provenance
from bench.descriptor import DescriptorKind
from bench.descriptors.shard_writer import Writer
from bench.errors import BenchError, DescriptorError
from bench.extract import Extraction, Throughput, extract
from bench.interfaces import ImageFile
from bench.manifest import Name

if TYPE_CHECKING:
    from bench.describe import Loading


@dataclass(frozen=True)
class How:
    """How a command describes images.

    workers: threads that decode. on_progress: receives the number of images done. strict: stop at the first image that
    cannot be described.
    """

    workers: int
    on_progress: Callable[[int], Any] = lambda done: None
    strict: bool = False


def fill(
    writer: Writer,
    loading: "Loading",
    images: Sequence[ImageFile],
    contents: Sequence[Name],
    key: Mapping[str, Any],
    how: How,
) -> None:
    """Write the rows of all images that the folder lacks.

    Args:
        images: All of the folder's, in the order of their rows.
        contents: Of the images, as `bench.manifest.contents` names them.
        key: What the descriptors are made from.

    Raises:
        ImageError, DescriptorError: No image could be described, or, if `how.strict`, one could not; or the
            dimension is another than declared.
        OSError: Full disk.
    """
    rows = _InOrder(writer, contents, how, loading.config.batch_size)
    missing = [
        image
        for image, name in zip(images[writer.done :], rows.left, strict=True)
        if name.content not in writer.reusable
    ]
    details = dict(writer.reusable.details)
    if missing:
        made = _describe(loading, missing, key, rows, how)
        if made["throughput"]["n_images"] > ((details.get("throughput") or {}).get("n_images") or 0):
            details = made
    rows.finish()
    unknown: dict[str, Any] = {
        "n_parameters": None,
        "throughput": None,
        "hardware": {},
        "measured_utc": provenance.now(),
    }
    writer.finish(**(details or unknown))


class _InOrder:
    """Writes rows in the order of the images: those taken over, and those described now as they come."""

    def __init__(self, writer: Writer, contents: Sequence[Name], how: How, at_once: int) -> None:
        """at_once: rows taken over together: shards end where they would if all images were described."""
        self._writer, self._how, self._at_once = writer, how, at_once
        self._contents = contents
        self._by_id = {name.id: name for name in contents}
        self._at = writer.done
        how.on_progress(self._at)

    @property
    def left(self) -> Sequence[Name]:
        """The images that have no row yet."""
        return self._contents[self._at :]

    def keep(self, rows: NDArray[np.floating]) -> None:
        """Write the rows [B, D] or [B, T, d] of the next images that are described now."""
        taken = 0
        while taken < len(rows):
            self._take_over()
            names: list[Name] = []
            while taken + len(names) < len(rows) and self._at < len(self._contents) and not self._is_old(self._at):
                name = self._contents[self._at]
                if name.id not in self._writer.failed:
                    names.append(name)
                self._at += 1
            if names:
                self._writer.append(rows[taken : taken + len(names)], names)
                taken += len(names)

    def fail(self, image: ImageFile, error: BenchError) -> None:
        """Note that an image has no descriptor. Raises the error where one is enough to stop."""
        if self._how.strict:
            raise error
        self._writer.fail(self._by_id[image.id], str(error), _is_transient(error))

    def progress(self, done: int) -> None:
        """Report how many of all images are done."""
        self._how.on_progress(self._at)

    def finish(self) -> None:
        """Take over the rows behind the last image that was described now."""
        while self._at < len(self._contents):
            self._take_over()
            while self._at < len(self._contents) and not self._is_old(self._at):
                self._at += 1  # it failed
        self._how.on_progress(self._at)

    def _is_old(self, place: int) -> bool:
        return self._contents[place].content in self._writer.reusable

    def _take_over(self) -> None:
        while self._at < len(self._contents) and self._is_old(self._at):
            end = self._at
            while end < min(len(self._contents), self._at + self._at_once) and self._is_old(end):
                end += 1
            names = self._contents[self._at : end]
            self._writer.append(self._writer.reusable.rows([name.content for name in names]), names)
            self._at = end
            self._how.on_progress(end)


def _describe(
    loading: "Loading", images: Sequence[ImageFile], key: Mapping[str, Any], rows: _InOrder, how: How
) -> dict[str, Any]:
    """Describe images; returns the account of it that meta.json keeps."""
    backbone, config = loading.chosen.item, loading.config
    kind = DescriptorKind.parse(key["descriptor"])

    def keep(described: NDArray[np.floating]) -> None:
        if not kind.local and backbone.embed_dim not in (None, described.shape[1]):
            raise DescriptorError(
                f"{backbone.name} declares {backbone.embed_dim} dimensions, it gave {described.shape[1]}"
            )
        rows.keep(described)

    preprocess = cells.preprocessing(backbone, config)
    extraction = Extraction(preprocess, config.batch_size, how.workers, config.device, kind, key["dtype"])
    receivers = keep, rows.progress, rows.fail
    if loading.cluster is not None:
        from bench.engines.extraction import extract as extract_on

        made = extract_on(loading.cluster, loading, images, extraction, *receivers)
        return _account(made.n_parameters, made.throughput, made.hardware)
    speed = extract(loading.model, images, extraction, *receivers)
    return _account(loading.model.n_parameters, speed, provenance.hardware(config.device))


def _account(n_parameters: int | None, speed: Throughput, hardware: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "n_parameters": n_parameters,
        "throughput": asdict(speed),
        "hardware": dict(hardware),
        "measured_utc": provenance.now(),
    }


def _is_transient(error: BenchError) -> bool:
    """Whether trying again may help: memory or files were short, not the image wrong."""
    cause = error.__cause__
    return isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno is not None)
