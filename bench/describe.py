"""A backbone's descriptors of a set of images: found in the store, or made and kept there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench import cells
from bench.data.unreadable import require_none
from bench.descriptor import DescriptorKind
from bench.descriptors.fill import How, fill
from bench.extract import GLOBAL, DType
from bench.interfaces import Backbone, ImageFile, Model, Split
from bench.manifest import Name
from bench.plugins import Selected
from bench.records import Config
from bench.similarity.prepare import Rows
from bench.store import DescriptorStore, Stored
from bench.weights import WeightsStore

if TYPE_CHECKING:
    from bench.engines import Cluster


@dataclass
class Loading:
    """A backbone whose weights are here, loaded when the first descriptor is missing.

    file, sha256, source: of its weights, None where it has none or they are random. cluster: whose workers describe
    images, None for this process.
    """

    chosen: Selected[Backbone]
    config: Config
    file: Path | None = None
    sha256: str | None = None
    source: str | None = None
    cluster: "Cluster | None" = None

    @cached_property
    def model(self) -> Model:
        import torch

        torch.backends.cudnn.allow_tf32 = False  # fp32 is what the record says
        torch.manual_seed(self.config.seed)
        return self.chosen.item.load(self.config.device, self.file)

    def key(self, images_sha256: str, kind: DescriptorKind = GLOBAL, dtype: DType = "float32") -> dict[str, Any]:
        """The descriptor key of a set of images."""
        return cells.descriptor_key(self.chosen, self.config, self.sha256, images_sha256, kind, dtype)


def obtain(
    chosen: Selected[Backbone], config: Config, weights: WeightsStore, cluster: "Cluster | None" = None
) -> Loading:
    """The backbone with its weights found or downloaded, and settled by them.

    Raises WeightsUnavailable, CheckpointError.
    """
    obtained = None if config.weights == "random" else weights.obtain(chosen.item.weights)
    settled = replace(chosen, item=chosen.item.settled(obtained.path if obtained else None))
    if obtained is None:
        return Loading(settled, config, cluster=cluster)
    return Loading(settled, config, obtained.path, obtained.sha256, obtained.source, cluster)


def describe(
    loading: Loading,
    images: Sequence[ImageFile],
    contents: Sequence[Name],
    key: Mapping[str, Any],
    store: DescriptorStore,
    how: How,
) -> Stored:
    """Find the descriptors of images in the store, or make them and keep them there.

    Args:
        contents: Of the images, as `bench.manifest.contents` names them.

    Raises:
        ImageError, DescriptorError: No image could be described, or, if `how.strict`, one could not; or the
            dimension is another than declared.
        OSError: Full disk.
    """
    stored = store.find(key)
    if stored is None:
        with store.filling(key, contents) as writer:
            if not writer.whole:  # another process may have made it meanwhile
                fill(writer, loading, images, contents, key, how)
        stored = store.find(key, retry=False)
    assert stored is not None
    require_none(stored.failed, how.strict)
    return stored


def described_images(images: Sequence[ImageFile], stored: Stored) -> list[ImageFile]:
    """The images that have a row, in the order of the rows."""
    return [image for image in images if image.id not in stored.failed]


def of_split(
    descriptors: Rows, images: Sequence[ImageFile], split: Split
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Split the descriptors of images into rows of queries [Q, ...] and of the database [M, ...], in their order."""
    row_of = {image.id: row for row, image in enumerate(images)}
    queries, database = ([row_of[image.id] for image in images] for images in (split.queries, split.database))
    return _rows(descriptors, queries), _rows(descriptors, database)


def _rows(descriptors: Rows, wanted: Sequence[int]) -> NDArray[np.float32]:
    """The wanted rows; those of a database follow each other, so in one shard they stay on disk, however large."""
    first, last = wanted[0], wanted[-1] + 1
    in_order = list(wanted) == list(range(first, last))
    return np.asarray(descriptors[first:last] if in_order else descriptors[np.array(wanted)], np.float32)
