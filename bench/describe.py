"""A backbone's descriptors of a set of images: found in the store, or made and kept there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import cells, provenance
from bench.errors import DescriptorError
from bench.extract import extract
from bench.interfaces import Backbone, ImageFile, Model
from bench.plugins import Selected
from bench.records import Config
from bench.store import DescriptorStore, Stored


@dataclass
class Loading:
    """A backbone whose weights are here, loaded when the first descriptor is missing.

    file, sha256, source: of its weights, None where it has none or they are random.
    """

    chosen: Selected[Backbone]
    config: Config
    file: Path | None = None
    sha256: str | None = None
    source: str | None = None

    @cached_property
    def model(self) -> Model:
        import torch

        torch.backends.cudnn.allow_tf32 = False  # fp32 is what the record says
        torch.manual_seed(self.config.seed)
        return self.chosen.item.load(self.config.device, self.file)

    def key(self, images_sha256: str) -> dict[str, Any]:
        """The descriptor key of a set of images."""
        return cells.descriptor_key(self.chosen, self.config, self.sha256, images_sha256)


def describe(
    loading: Loading,
    images: Sequence[ImageFile],
    key: Mapping[str, Any],
    store: DescriptorStore,
    workers: int,
    on_progress: Callable[[int], Any],
) -> Stored:
    """The descriptors of `images` under `key`, made batch by batch and kept in the store.

    Raises ImageError, DescriptorError (not comparable, another dimension than declared), OSError (full disk).
    """
    backbone, config = loading.chosen.item, loading.config

    def keep(rows: NDArray[np.float32]) -> None:
        if backbone.embed_dim not in (None, rows.shape[1]):
            raise DescriptorError(f"{backbone.name} declares {backbone.embed_dim} dimensions, it gave {rows.shape[1]}")
        filling.append(rows)

    on_progress(0)
    preprocess = cells.preprocessing(backbone, config)
    with store.filling(key, len(images)) as filling:
        speed = extract(loading.model, preprocess, images, config.batch_size, workers, keep, on_progress, config.device)
        hardware = provenance.hardware(config.device)
        filling.finish(loading.model.n_parameters, speed, hardware, provenance.now())
    stored = store.find(key)
    assert stored is not None
    return stored
