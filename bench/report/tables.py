"""The two tables as data frames: scores (long) and leaderboard (wide), values in full precision."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from bench.plugins import natural
from bench.ranking import rankable, ranks_within
from bench.records import Record
from bench.similarity import Similarity

SCORES_COLUMNS = ("backbone", "weights", "dataset", "similarity", "metric", "value", "n_queries", "status")
LEADING = ("rank", "backbone", "similarity", "weights", "status")
TRAILING = (
    "mean_map",
    "n_datasets",
    "complete",
    "limit",
    "embed_dim",
    "params_m",
    "images_per_s",
    "device",
    "licence",
    "non_commercial",
)


def scores(records: Sequence[Record]) -> pd.DataFrame:
    """One row per cell and metric of its dataset; a value that does not exist is missing."""
    rows = [
        (
            record.cell.backbone,
            record.weights,
            record.cell.dataset,
            str(record.cell.similarity),
            name,
            record.body["metrics"].get(name),
            record.body["n_used"].get(name),
            record.status,
        )
        for record in sorted(records, key=order)
        for name in record.body["dataset"]["metrics"]
    ]
    table = pd.DataFrame(rows, columns=list(SCORES_COLUMNS))
    return table.astype({"value": "float64", "n_queries": "Int64"})


def leaderboard(records: Sequence[Record], n_datasets: int) -> pd.DataFrame:
    """One row per backbone and similarity, ranked by mean_map; incomplete and random rows stand below, unranked.

    Rows measured on a sample (`limit`) are ranked among themselves alone.

    n_datasets: of the run, whether they have records yet or not.
    """
    ordered = sorted(records, key=order)
    columns = score_columns(ordered)
    rows = [_row(list(cells), columns, n_datasets) for _, cells in groupby(ordered, key=_line)]
    ranks = ranks_within(
        [r["mean_map"] if rankable(r["status"], r["complete"], r["weights"]) else None for r in rows],
        [r["limit"] for r in rows],
    )
    table = pd.DataFrame(
        [row | {"rank": rank} for row, rank in zip(rows, ranks, strict=True)],
        columns=[*LEADING, *columns, *TRAILING],
    )
    table = table.astype(
        {
            "rank": "Int64",
            "limit": "Int64",
            **dict.fromkeys([*columns, "mean_map", "params_m", "images_per_s"], "float64"),
        }
    )
    return table.sort_values("rank", kind="stable", na_position="last", ignore_index=True)


def score_columns(records: Iterable[Record]) -> list[str]:
    """`<dataset>.<metric>` of all datasets and metrics, in their order."""
    measured = {record.cell.dataset: record.body["dataset"]["metrics"] for record in records}
    return [f"{name}.{metric}" for name in sorted(measured, key=natural) for metric in measured[name]]


def _row(cells: list[Record], columns: Sequence[str], n_datasets: int) -> dict[str, Any]:
    first = cells[0]
    values = {f"{c.cell.dataset}.{name}": value for c in cells for name, value in c.body["metrics"].items()}
    n_scored = sum(c.status == "ok" for c in cells)
    complete = n_scored == n_datasets
    maps = [value for c in cells if (value := c.body["metrics"].get("map")) is not None]
    statuses = {c.status for c in cells}
    return {
        "backbone": first.cell.backbone,
        "similarity": str(first.cell.similarity),
        "weights": first.weights,
        "status": next(status for status in ("failed", "unavailable", "ok") if status in statuses),
        **{column: values.get(column) for column in columns},
        "mean_map": sum(maps) / len(maps) if complete and maps else None,
        "n_datasets": n_scored,
        "complete": complete,
        "limit": first.body["dataset"]["limit"],
        "embed_dim": first.body["backbone"]["embed_dim"],
        "params_m": next((p for c in cells if (p := c.body["backbone"]["params_m"]) is not None), None),
        "images_per_s": _images_per_s(cells),
        "device": first.body["hardware"]["device"],
        "licence": first.body["backbone"]["licence"],
        "non_commercial": first.body["backbone"]["non_commercial"],
    }


def _images_per_s(cells: Iterable[Record]) -> float | None:
    """Over all images of the row's datasets: their number by their time."""
    speeds = [speed for cell in cells if (speed := cell.body["throughput"])]
    if not speeds:
        return None
    return float(sum(s["n_images"] for s in speeds) / sum(s["n_images"] / s["images_per_s"] for s in speeds))


def _line(record: Record) -> tuple[Any, ...]:
    return natural(record.cell.backbone), _similarity_order(record.cell.similarity), record.weights


def order(record: Record) -> tuple[Any, ...]:
    """Sort key of every table: backbone, similarity, weights, dataset."""
    return *_line(record), natural(record.cell.dataset)


def _similarity_order(similarity: Similarity) -> tuple[int, str]:
    return similarity.chunks or 0, similarity.norm
