"""Images to descriptors on a Ray cluster: actors that hold a model each, fed by Ray Data."""

import json
import socket
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import cells, provenance
from bench import extract as extraction
from bench.describe import Loading
from bench.descriptor import DescriptorKind
from bench.engines.cluster import RETRIES, Cluster, told
from bench.errors import CheckpointError, ImageError
from bench.extract import DType, Throughput
from bench.interfaces import ImageFile

#: Batches that an actor takes at once: so many are decoded ahead of the model, and lost with a worker.
BATCHES = 16
#: What names of modules start with that `bench.plugins.load_file` made of single files.
PLUGIN_MODULE = "bench_plugin_"
NO_BOX = (np.nan,) * 4


@dataclass(frozen=True)
class Extracted:
    """How an extraction went. hardware: of the first worker, and how many there were."""

    throughput: Throughput
    n_parameters: int | None
    hardware: Mapping[str, Any]


def extract(
    cluster: Cluster,
    loading: Loading,
    images: Sequence[ImageFile],
    workers: int,
    keep: Callable[[NDArray[np.floating]], Any],
    kind: DescriptorKind,
    dtype: DType,
    on_progress: Callable[[int], Any] = lambda done: None,
) -> Extracted:
    """Hands the descriptors of `images` to `keep`, [B, D] or [B, T, d], in the images' order.

    Batches are made of the same images as on one machine. workers: decoding threads of each actor. Raises as
    `bench.extract.extract` does, and BenchError where workers die RETRIES times with the same batches.
    """
    import ray
    import ray.data

    batch_size, device = loading.config.batch_size, loading.config.device.partition(":")[0]
    n_batches = -(-len(images) // batch_size)
    n_actors = min(cluster.workers(device), n_batches)
    size = batch_size * min(BATCHES, -(-n_batches // n_actors))
    parts = [_row(images[first : first + size]) for first in range(0, len(images), size)]
    for name, module in list(sys.modules.items()):
        if name.startswith(PLUGIN_MODULE):
            ray.cloudpickle.register_pickle_by_value(module)  # a file that workers can't import
    # without the model, which an actor loads; Ray gives it one GPU, whose number is 0
    file = loading.file.absolute() if loading.file else None  # workers stand elsewhere
    portable = replace(loading, config=replace(loading.config, device=device), file=file)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars, context.execution_options.preserve_order = False, True
    context.raise_original_map_exception = True
    placed = {"num_cpus": 1, "num_gpus": 1 if device == "cuda" else None}
    retried = {"max_restarts": RETRIES, "max_task_retries": RETRIES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of `retried`, which has no successor yet
        described = ray.data.from_items(parts, override_num_blocks=len(parts)).map_batches(
            Describing,
            fn_constructor_args=(portable, workers, kind, dtype),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=n_actors),
            **placed,
            **retried,
        )
    done, counted, counted_from, made = 0, len(images), time.perf_counter(), ""
    try:
        for block in described.iter_batches(batch_size=None):
            rows = block["descriptors"]
            keep(rows)
            done += len(rows)
            on_progress(done)
            if not made:
                made = str(block["made"][0])
                if done < len(images):
                    counted, counted_from = len(images) - done, time.perf_counter()
    except (ray.exceptions.RayError, ray.data.exceptions.RayDataUserCodeException) as error:
        raise told(error) from None
    seconds = time.perf_counter() - counted_from
    n_parameters, hardware = json.loads(made)
    throughput = Throughput(counted / seconds, len(images), batch_size, workers)
    return Extracted(throughput, n_parameters, {**hardware, "ray_workers": n_actors})


class Describing:
    """An actor: loads the model once and describes images, some batches at a time."""

    def __init__(self, loading: Loading, workers: int, kind: DescriptorKind, dtype: DType) -> None:
        self.loading, self.workers, self.kind, self.dtype = loading, workers, kind, dtype

    def __call__(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """One row of `_row` as a row an image: descriptors, and as JSON what made them."""
        loading, config = self.loading, self.loading.config
        _require_seen(loading.file)
        images = _images(part)
        kept: list[NDArray[np.floating]] = []
        preprocess = cells.preprocessing(loading.chosen.item, config)
        how: dict[str, Any] = {"device": config.device, "kind": self.kind, "dtype": self.dtype}
        try:
            extraction.extract(loading.model, preprocess, images, config.batch_size, self.workers, kept.append, **how)
        except ImageError as error:
            if all(image.path.exists() for image in images):
                raise
            raise ImageError(
                f"{error}; the Ray worker on {socket.gethostname()} must see the images at the same path"
            ) from error
        made = json.dumps([loading.model.n_parameters, provenance.hardware(config.device)])
        return {"descriptors": np.concatenate(kept), "made": [made] * len(images)}


def _require_seen(file: Path | None) -> None:
    if file is not None and not file.exists():
        raise CheckpointError(
            f"the Ray worker on {socket.gethostname()} does not see the weights {file}: let BENCH_HOME be a folder "
            "that all nodes share"
        )


def _row(images: Sequence[ImageFile]) -> dict[str, Any]:
    """Images in columns that Arrow knows."""
    return {
        "id": [image.id for image in images],
        "path": [str(image.path.absolute()) for image in images],
        "box": [list(map(float, image.box or NO_BOX)) for image in images],
    }


def _images(part: Mapping[str, Any]) -> list[ImageFile]:
    (ids,), (paths,), (boxes,) = part["id"], part["path"], part["box"]
    read = []
    for name, path, box in zip(ids, paths, boxes, strict=True):
        left, top, right, bottom = map(float, box)
        read.append(ImageFile(str(name), Path(path), None if np.isnan(left) else (left, top, right, bottom)))
    return read
