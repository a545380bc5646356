"""One cell, timed in this process, which should be a fresh one: what ran before would change memory and speed."""

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import images, plugins
from bench.describe import Loading
from bench.descriptors.batches import BATCHES_AHEAD, stacked
from bench.extract import Extraction, extract
from bench.interfaces import ImageFile, Model, Preprocess
from bench.memory import keep_freed_memory
from bench.similarity import Similarity, top_k
from bench.throughput.plan import Request, config_of, in_precision

if TYPE_CHECKING:
    from torch import Tensor

#: A round of decode + forward is whole batches with so many images a thread at least, so that no thread idles.
IMAGES_A_THREAD = 4
#: The database that is searched: a million rows, or as many as fit in so many bytes.
SEARCHED, SEARCH_BYTES, K = 1_000_000, 512_000_000, 20
_KIB = 1024


@dataclass(frozen=True)
class Timed:
    """Seconds of every round, those of the warm-up apart. items: images (or queries) a round."""

    items: int
    warmup_s: list[float]
    seconds: list[float]


def measure(request: Request) -> dict[str, Any]:
    """What docs/throughput.md calls `measured`: facts, raw durations in seconds, memory in 1e6 bytes.

    Raises what loading and describing raise, out of memory among it.
    """
    import torch

    keep_freed_memory()
    cell, settings = request.cell, request.settings
    loading = _loading(request)
    backbone = loading.chosen.item
    files = [Path(file) for file in request.photographs]
    batch = _batch(files, backbone.preprocess, cell.batch_size).to(cell.device)
    memory = {"start_mb": _peak_mb()}  # with the libraries that decode
    model = loading.model
    memory["loaded_mb"] = _peak_mb()
    rounds = settings.warmup, settings.rounds
    with torch.inference_mode():
        forward = _forward(model, batch, cell.device, *rounds)
        latency = forward if cell.batch_size == 1 else _forward(model, batch[:1], cell.device, *rounds)
        decoding = _decode_forward(model, backbone.preprocess, files, request)
        memory["peak_mb"] = _peak_mb()
        gpu_peak_mb = torch.cuda.max_memory_allocated(cell.device) / 1e6 if cell.device.startswith("cuda") else None
        dimension = model.describe(batch[:1]).global_.shape[1]
        macs = multiply_accumulates(lambda: model.describe(batch[:1]))
        rows = min(SEARCHED, SEARCH_BYTES // (4 * dimension))
        search = _search(cell.batch_size, rows, dimension, cell.device, *rounds)
    return {
        "image_shape": list(batch.shape[1:]),
        "embed_dim": dimension,
        "n_parameters": model.n_parameters,
        "macs": macs,
        "forward": asdict(forward),
        "latency": asdict(latency),
        "decode_forward": asdict(decoding),
        "search": {"rows": rows, "k": K, **asdict(search)},
        "memory": {**memory, "gpu_peak_mb": gpu_peak_mb},
        "settings": _settings(),
    }


def timed(step: Callable[[], object], items: int, warmup: int, rounds: int) -> Timed:
    """Each call of `step`, which handles `items` and returns when they are done."""
    seconds = []
    for _ in range(warmup + rounds):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return Timed(items, seconds[:warmup], seconds[warmup:])


def multiply_accumulates(step: Callable[[], object]) -> int | None:
    """Of the matrix products, convolutions and attention that torch computes in `step`; None where there are none.

    Half of what FlopCounterMode counts. Attention is computed by its plain formula meanwhile, since the counter does
    not know the CPU's fused one, and compiled modules are run as they are written.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with (
        torch.compiler.set_stance("force_eager"),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        step()
    return counter.get_total_flops() // 2 or None


def _loading(request: Request) -> Loading:
    for file in request.plugins:
        plugins.load_file(Path(file))
    cell = request.cell
    chosen = next(c for c in plugins.backbones.select(request.selection) if c.item.name == cell.backbone)
    weights = None if request.weights_file is None else Path(request.weights_file)
    settled = in_precision(chosen.item, cell.precision).settled(weights)
    return Loading(replace(chosen, item=settled), config_of(cell, request.settings), weights)


def _batch(files: Sequence[Path], preprocess: Preprocess, size: int) -> "Tensor":
    """Decoded images [size, 3, H, W]: all files have one shape."""
    decoded = [images.load(file, preprocess) for file in files[:size]]
    ((_, pixels),) = stacked(list(islice(cycle(decoded), size)))
    return pixels


def _forward(model: Model, batch: "Tensor", device: str, warmup: int, rounds: int) -> Timed:
    """From pixels on the device to descriptors on it."""

    def step() -> None:
        model.describe(batch)
        _wait_for(device)

    return timed(step, len(batch), warmup, rounds)


def _decode_forward(model: Model, preprocess: Preprocess, files: Sequence[Path], request: Request) -> Timed:
    """From files to descriptors on the host, by the pipeline that runs use, while it is full.

    The rounds of one extraction follow each other without a pause, and the batches behind the last round, for which
    nothing is decoded ahead any more, are left out.
    """
    cell, settings = request.cell, request.settings
    batches = -(-IMAGES_A_THREAD * settings.workers // cell.batch_size)
    last = (settings.warmup + settings.rounds) * batches
    n_images = (last + BATCHES_AHEAD + 1) * cell.batch_size
    taken = [ImageFile(file.name, file) for file in islice(cycle(files), n_images)]
    arrived = [time.perf_counter()]
    extract(
        model,
        taken,
        Extraction(preprocess, cell.batch_size, settings.workers, cell.device),
        keep=lambda rows: None,
        on_progress=lambda done: arrived.append(time.perf_counter()),
    )
    seconds = [end - start for start, end in pairwise(arrived[: last + 1 : batches])]
    return Timed(batches * cell.batch_size, seconds[: settings.warmup], seconds[settings.warmup :])


def _search(queries: int, rows: int, dimension: int, device: str, warmup: int, rounds: int) -> Timed:
    """The exact K best by `global` of float32 [rows, dimension] on the device, for one batch of queries."""
    import torch

    generator = torch.Generator().manual_seed(0)
    database = torch.randn(rows, dimension, generator=generator).to(device)
    asking = torch.randn(queries, dimension, generator=generator).to(device)
    return timed(lambda: top_k(asking, database, K, Similarity()), queries, warmup, rounds)


def _wait_for(device: str) -> None:
    """Until an accelerator has done what it was told."""
    import torch

    if device != "cpu":
        torch.accelerator.synchronize(device)


def _peak_mb() -> float:
    """The largest memory that this process has had so far, in 1e6 bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss would begin with the peak of the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * _KIB / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else _KIB) / 1e6


def _settings() -> dict[str, Any]:
    """What of torch's own settings changes speed."""
    import torch

    return {
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
        "matmul_allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }
