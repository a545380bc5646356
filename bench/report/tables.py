"""The tables as data frames, values in full precision: scores (long), leaderboard (wide), ranking (the verdict)."""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from bench.plugins import natural
from bench.ranking import GROUPS, METRIC, RULES, Ranking, rank
from bench.records import Record, row_key
from bench.scored import Scored

SCORES_COLUMNS = (
    "backbone",
    "weights",
    "dataset",
    "similarity",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n_queries",
    "status",
)
LEADING = ("rank", "rank_low", "rank_high", "backbone", "similarity", "weights", "status")
TRAILING = (
    "mean_map",
    "mean_map_low",
    "mean_map_high",
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


#: Places of which ranking.csv tells the probability to be among so many first.
TOPS = (1, 2, 3, 5)
RANKING_COLUMNS = (
    "group",
    "rule",
    "rank",
    "rank_low",
    "rank_high",
    "backbone",
    "similarity",
    "weights",
    "mean_map",
    "mean_map_low",
    "mean_map_high",
    "mrr",
    "borda",
    "z",
    *(f"p_top{k}" for k in TOPS),
    "p_next",
    "bracket",
)


def scores(scored: Scored) -> pd.DataFrame:
    """One row per cell and metric of its dataset; a value that does not exist is missing."""
    rows = [
        (
            record.cell.backbone,
            record.weights,
            record.cell.dataset,
            str(record.cell.similarity),
            name,
            record.body["metrics"].get(name),
            *scored.intervals.get((record.cell, name), (None, None)),
            record.body["n_used"].get(name),
            record.status,
        )
        for record in scored.records
        for name in record.body["dataset"]["metrics"]
    ]
    table = pd.DataFrame(rows, columns=list(SCORES_COLUMNS))
    return table.astype({"value": "float64", "ci_low": "float64", "ci_high": "float64", "n_queries": "Int64"})


def leaderboard(scored: Scored) -> pd.DataFrame:
    """One row per backbone and similarity, ranked by mean_map; incomplete and random rows stand below, unranked."""
    columns = score_columns(scored.records)
    places = {(s.backbone, s.similarity): s for s in rank(scored, rule="each").standings}
    rows = []
    for _, cells in groupby(scored.records, key=row_key):
        row = _row(list(cells), columns, scored.n_datasets)
        # no place where a dataset without `map` is missing: a rank is for complete rows alone
        if row["complete"] and (place := places.get((row["backbone"], row["similarity"]))):
            row |= {"rank": place.rank, "rank_low": place.rank_low, "rank_high": place.rank_high}
            row |= {"mean_map_low": place.low, "mean_map_high": place.high}
        rows.append(row)
    table = pd.DataFrame(rows, columns=[*LEADING, *columns, *TRAILING])
    numbers = [*columns, "mean_map", "mean_map_low", "mean_map_high", "params_m", "images_per_s"]
    whole = ["rank", "rank_low", "rank_high", "limit"]
    table = table.astype({**dict.fromkeys(whole, "Int64"), **dict.fromkeys(numbers, "float64")})
    return table.sort_values("rank", kind="stable", na_position="last", ignore_index=True)


def rankings(scored: Scored) -> list[Ranking]:
    """The verdict by every group that has datasets and every rule by which a backbone has one place."""
    found = [rank(scored, group, rule) for group in GROUPS for rule in RULES]
    return [ranking for ranking in found if ranking.standings]


def ranking_table(verdicts: Iterable[Ranking]) -> pd.DataFrame:
    """One row per group, rule and backbone; bracket: number of the run of places that are not separable."""
    rows = [
        (
            ranking.group,
            ranking.rule,
            s.rank,
            s.rank_low,
            s.rank_high,
            s.backbone,
            s.similarity,
            s.weights,
            s.mean_map,
            s.low,
            s.high,
            s.mrr,
            s.borda,
            s.z,
            *(s.p_top[k - 1] if k <= len(s.p_top) else None for k in TOPS),
            s.p_next,
            next((n for n, (first, last) in enumerate(ranking.brackets, 1) if first <= at <= last), None),
        )
        for ranking in verdicts
        for at, s in enumerate(ranking.standings)
    ]
    table = pd.DataFrame(rows, columns=list(RANKING_COLUMNS))
    whole = ("rank", "rank_low", "rank_high", "bracket")
    numbers = [c for c in RANKING_COLUMNS[8:] if c != "bracket"]
    return table.astype({**dict.fromkeys(whole, "Int64"), **dict.fromkeys(numbers, "float64")})


def score_columns(records: Iterable[Record]) -> list[str]:
    """`<dataset>.<metric>` of all datasets and metrics, in their order."""
    measured = {record.cell.dataset: record.body["dataset"]["metrics"] for record in records}
    return [f"{name}.{metric}" for name in sorted(measured, key=natural) for metric in measured[name]]


def _row(cells: list[Record], columns: Sequence[str], n_datasets: int) -> dict[str, Any]:
    first = cells[0]
    values = {f"{c.cell.dataset}.{name}": value for c in cells for name, value in c.body["metrics"].items()}
    maps = [c.body["metrics"].get(METRIC) for c in cells if METRIC in c.body["dataset"]["metrics"]]
    n_scored = sum(c.status == "ok" for c in cells)
    complete = n_scored == n_datasets
    statuses = {c.status for c in cells}
    return {
        "backbone": first.cell.backbone,
        "similarity": str(first.cell.similarity),
        "weights": first.weights,
        "status": next(status for status in ("failed", "unavailable", "ok") if status in statuses),
        **{column: values.get(column) for column in columns},
        "mean_map": sum(maps) / len(maps) if complete and maps and None not in maps else None,
        "n_datasets": n_scored,
        "complete": complete,
        "limit": first.body["dataset"]["limit"],
        "embed_dim": first.body["backbone"]["embed_dim"],
        "params_m": next((p for c in cells if (p := c.body["backbone"]["params_m"]) is not None), None),
        "images_per_s": images_per_s(cells),
        "device": ", ".join(dict.fromkeys(c.body["hardware"]["device"] for c in cells)),
        "licence": first.body["backbone"]["licence"],
        "non_commercial": first.body["backbone"]["non_commercial"],
    }


def images_per_s(cells: Iterable[Record]) -> float | None:
    """Over all images of the row's datasets: their number by their time; None where machines are mixed."""
    cells = list(cells)
    if len({json.dumps(cell.body["hardware"], sort_keys=True) for cell in cells}) > 1:
        return None
    speeds = [speed for cell in cells if (speed := cell.body["throughput"])]
    if not speeds:
        return None
    return float(sum(s["n_images"] for s in speeds) / sum(s["n_images"] / s["images_per_s"] for s in speeds))
