"""A backbone's descriptors of a set of images: found in the store, or made and kept there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench import cells, provenance
from bench.descriptor import DescriptorKind
from bench.errors import DescriptorError
from bench.extract import GLOBAL, DType, Throughput, extract
from bench.interfaces import Backbone, ImageFile, Model, Split
from bench.manifest import unique_images
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
    key: Mapping[str, Any],
    store: DescriptorStore,
    workers: int,
    on_progress: Callable[[int], Any],
) -> Stored:
    """The descriptors of `images` that `key` tells, made batch by batch and kept in the store.

    Raises ImageError, DescriptorError (not comparable, another dimension than declared), OSError (full disk).
    """
    with store.filling(key, [image.id for image in images]) as filling:
        if not filling.whole:  # another process may have made it meanwhile

            def count(done: int) -> None:
                on_progress(filling.done + done)

            filling.finish(*make(loading, images[filling.done :], key, filling.append, workers, count))
    stored = store.find(key)
    assert stored is not None
    return stored


def of_split(descriptors: Rows, split: Split) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of the queries and of the database, in their order, out of those of all images as `unique_images` has them."""
    row_of = {image.id: row for row, image in enumerate(unique_images(split))}
    queries, database = ([row_of[image.id] for image in images] for images in (split.queries, split.database))
    return _rows(descriptors, queries), _rows(descriptors, database)


def _rows(descriptors: Rows, wanted: Sequence[int]) -> NDArray[np.float32]:
    """The wanted rows; those of a database follow each other, so in one shard they stay on disk, however large."""
    first, last = wanted[0], wanted[-1] + 1
    in_order = list(wanted) == list(range(first, last))
    return np.asarray(descriptors[first:last] if in_order else descriptors[np.array(wanted)], np.float32)


def make(
    loading: Loading,
    images: Sequence[ImageFile],
    key: Mapping[str, Any],
    keep: Callable[[NDArray[np.floating]], Any],
    workers: int,
    on_progress: Callable[[int], Any],
) -> tuple[int | None, Throughput, dict[str, Any], str]:
    """Hands the descriptors of `images` that `key` tells to `keep`, batch by batch.

    Returns how they were made: the number of parameters, the throughput, the hardware and the time (UTC).
    Raises ImageError, DescriptorError.
    """
    backbone, config = loading.chosen.item, loading.config
    kind = DescriptorKind.parse(key["descriptor"])

    def checked(rows: NDArray[np.floating]) -> None:
        if not kind.local and backbone.embed_dim not in (None, rows.shape[1]):
            raise DescriptorError(f"{backbone.name} declares {backbone.embed_dim} dimensions, it gave {rows.shape[1]}")
        keep(rows)

    on_progress(0)
    if loading.cluster is not None:
        from bench.engines import extraction

        made = extraction.extract(loading.cluster, loading, images, workers, checked, kind, key["dtype"], on_progress)
        return made.n_parameters, made.throughput, dict(made.hardware), provenance.now()
    how = config.batch_size, workers, checked, on_progress, config.device, kind, key["dtype"]
    speed = extract(loading.model, cells.preprocessing(backbone, config), images, *how)
    return loading.model.n_parameters, speed, provenance.hardware(config.device), provenance.now()
