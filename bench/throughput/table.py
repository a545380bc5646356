"""throughput.csv: every figure is computed from the raw durations here, and only here."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.plugins import natural
from bench.throughput.plan import PRECISIONS

#: In this order; docs/throughput.md tells what they mean.
COLUMNS = (
    "backbone",
    "weights",
    "device",
    "precision",
    "batch_size",
    "status",
    "image_size",
    "embed_dim",
    "descriptor_bytes",
    "params_m",
    "gmacs",
    "forward_images_per_s_median",
    "forward_images_per_s_iqr",
    "forward_step_ms_median",
    "forward_step_ms_iqr",
    "decode_forward_images_per_s_median",
    "decode_forward_images_per_s_iqr",
    "latency_ms_median",
    "latency_ms_p95",
    "peak_rss_mb",
    "rss_growth_mb",
    "gpu_peak_mb",
    "search_1m_s",
    "search_measured_rows",
    "search_queries",
    "n_warmup",
    "n_rounds",
    "workers",
    "threads",
    "cpu",
    "gpu",
    "governor",
    "cores_busy_elsewhere",
    "torch",
    "git_sha",
    "measured_utc",
    "error",
)

MILLION = 1_000_000


def rows(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row a record, by device, precision, batch size and name: in no order of speed. What is missing is None."""
    made = [row(record) for record in records]
    return sorted(
        made,
        key=lambda r: (
            r["device"],
            PRECISIONS.index(r["precision"]),
            r["batch_size"],
            natural(r["backbone"]),
            r["weights"],
        ),
    )


def row(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record's row, with every column."""
    measured = record["measured"]
    settings, hardware, error = record["settings"], record["hardware"], record["error"]
    told = {
        **record["cell"],
        "status": record["status"],
        "n_warmup": settings["warmup"],
        "n_rounds": settings["rounds"],
        "workers": settings["workers"],
        "threads": hardware["threads"],
        "cpu": hardware["cpu"],
        "gpu": hardware["gpu"],
        "governor": record["governor"],
        "torch": record["packages"]["torch"],
        "git_sha": record["git"]["sha"],
        "measured_utc": record["created_utc"],
        "error": f"{error['type']}: {error['message']}" if error else None,
        **(_figures(measured) if measured else {}),
    }
    return {column: told.get(column) for column in COLUMNS}


def csv_text(records: Iterable[Mapping[str, Any]]) -> str:
    """The table as CSV: figures in full precision, an empty cell for what is missing."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(records))
    return text.getvalue()


def _figures(measured: Mapping[str, Any]) -> dict[str, Any]:
    forward, decoding, search = measured["forward"], measured["decode_forward"], measured["search"]
    steps, latency = _milliseconds(forward), _milliseconds(measured["latency"])
    memory, parameters, macs = measured["memory"], measured["n_parameters"], measured["macs"]
    _, height, width = measured["image_shape"]
    return {
        "image_size": f"{width}x{height}",
        "embed_dim": measured["embed_dim"],
        "descriptor_bytes": 4 * measured["embed_dim"],
        "params_m": None if parameters is None else parameters / 1e6,
        "gmacs": None if macs is None else macs / 1e9,
        "forward_images_per_s_median": float(np.median(_per_second(forward))),
        "forward_images_per_s_iqr": interquartile_range(_per_second(forward)),
        "forward_step_ms_median": float(np.median(steps)),
        "forward_step_ms_iqr": interquartile_range(steps),
        "decode_forward_images_per_s_median": float(np.median(_per_second(decoding))),
        "decode_forward_images_per_s_iqr": interquartile_range(_per_second(decoding)),
        "latency_ms_median": float(np.median(latency)),
        "latency_ms_p95": float(np.quantile(latency, 0.95)),
        "peak_rss_mb": memory["peak_mb"],
        "rss_growth_mb": memory["peak_mb"] - memory["start_mb"],
        "gpu_peak_mb": memory["gpu_peak_mb"],
        "search_1m_s": float(np.median(search["seconds"])) * MILLION / search["rows"],
        "search_measured_rows": search["rows"],
        "search_queries": search["items"],
        "cores_busy_elsewhere": measured["cores_busy_elsewhere"],
    }


def interquartile_range(values: NDArray[np.float64]) -> float:
    """The third quartile less the first, both interpolated linearly."""
    first, third = np.quantile(values, [0.25, 0.75])
    return float(third - first)


def _per_second(timed: Mapping[str, Any]) -> NDArray[np.float64]:
    rates: NDArray[np.float64] = timed["items"] / np.array(timed["seconds"])
    return rates


def _milliseconds(timed: Mapping[str, Any]) -> NDArray[np.float64]:
    return 1000 * np.array(timed["seconds"])
