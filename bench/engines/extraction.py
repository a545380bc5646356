"""Images to descriptors on a Ray cluster: actors that hold a model each, fed by Ray Data."""

import json
import os
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

from bench import extract as extraction
from bench import provenance
from bench.describe import Loading
from bench.engines.cluster import RETRIES, Cluster, told
from bench.errors import BenchError, CheckpointError, ImageError
from bench.extract import Extraction, OnFailure, Throughput, raise_failure
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
    how: Extraction,
    keep: Callable[[NDArray[np.floating]], Any],
    on_progress: Callable[[int], Any] = lambda done: None,
    on_failure: OnFailure = raise_failure,
) -> Extracted:
    """Describe images as `bench.extract.extract` does, by the workers of a cluster.

    Batches are made of the same images as on one machine; `how.workers` are the decoding threads of each actor.

    Raises:
        BenchError: As `bench.extract.extract`, and where workers die RETRIES times with the same batches.
    """
    import ray
    import ray.data

    batch_size, device = how.batch_size, how.device.partition(":")[0]
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
            fn_constructor_args=(portable, replace(how, device=device)),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=n_actors),
            **placed,
            **retried,
        )
    done, counted, counted_from, made = 0, len(images), time.perf_counter(), ""
    try:
        for block in described.iter_batches(batch_size=None):
            for part in map(json.loads, block["account"]):
                for place, why in part["failed"]:
                    on_failure(images[done + place], ImageError(why))
                done += part["n_images"]
                made = made or json.dumps(part["made"])
            rows = [_rows(*of) for of in zip(block["rows"], map(json.loads, block["account"]), strict=True)]
            for of_part in rows:
                if len(of_part):
                    keep(of_part)
            on_progress(done)
            if counted == len(images) and done < len(images):
                counted, counted_from = len(images) - done, time.perf_counter()
    except (ray.exceptions.RayError, ray.data.exceptions.RayDataUserCodeException) as error:
        raise told(error) from None
    seconds = time.perf_counter() - counted_from
    n_parameters, hardware = json.loads(made)
    throughput = Throughput(counted / seconds, len(images), batch_size, how.workers)
    return Extracted(throughput, n_parameters, {**hardware, "ray_workers": n_actors})


def _rows(content: bytes, account: Mapping[str, Any]) -> NDArray[np.floating]:
    return np.frombuffer(content, account["dtype"]).reshape(account["shape"])


class Describing:
    """An actor: loads the model once and describes images, some batches at a time."""

    def __init__(self, loading: Loading, how: Extraction) -> None:
        self.loading, self.how = loading, how

    def __call__(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """Describe the images in a row of `_row`: the bytes of their descriptors, and as JSON what they are."""
        _require_seen(self.loading.file)
        images = _images(part)
        kept: list[NDArray[np.floating]] = []
        failed: list[tuple[int, str]] = []
        place = {image.id: number for number, image in enumerate(images)}

        def fail(image: ImageFile, error: BenchError) -> None:
            if not image.path.exists():
                raise ImageError(
                    f"{error}; the Ray worker on {socket.gethostname()} must see the images at the same path"
                ) from error
            failed.append((place[image.id], str(error)))

        extraction.extract(self.loading.model, images, self.how, kept.append, on_failure=fail)
        rows = np.concatenate(kept) if kept else np.empty(0, np.float32)
        account = {
            "n_images": len(images),
            "failed": failed,
            "dtype": str(rows.dtype),
            "shape": rows.shape,
            "made": [self.loading.model.n_parameters, provenance.hardware(self.how.device)],
        }
        return {"rows": [rows.tobytes()], "account": [json.dumps(account)]}


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
        "path": [os.fsencode(image.path.absolute()) for image in images],  # not every name is UTF-8
        "box": [list(map(float, image.box or NO_BOX)) for image in images],
    }


def _images(part: Mapping[str, Any]) -> list[ImageFile]:
    (ids,), (paths,), (boxes,) = part["id"], part["path"], part["box"]
    read = []
    for name, path, box in zip(ids, paths, boxes, strict=True):
        left, top, right, bottom = map(float, box)
        read.append(
            ImageFile(str(name), Path(os.fsdecode(path)), None if np.isnan(left) else (left, top, right, bottom))
        )
    return read
