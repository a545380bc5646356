"""Which columns of the leaderboard a person sees, in which order its rows stand, and how a cell is written."""

import re
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Literal

import pandas as pd

from bench.errors import UsageError
from bench.plugins import natural

#: The columns a person reads first: of each dataset its main metric, which is its first, and these.
SHOWN_METRICS = ("map", "micro_ap", "recall@p90")
#: Metrics that are no share of anything.
NO_PERCENT = ("ns_score",)
#: Of no use for a verdict: a score from which on something holds.
NO_VERDICT = ("threshold@p90",)
LESS_IS_BETTER = ("relative_deviation",)
MEANS = ("mean_map", "mean_map_low", "mean_map_high")
#: No score, but of these too the most stand first.
MOST_FIRST = ("n_datasets", "complete", "images_per_s")


def usual(table: pd.DataFrame) -> list[str]:
    """The columns that are shown where none are named."""
    shown: dict[str, list[str]] = {}
    for column in filter(is_score, table.columns):
        of_dataset = shown.setdefault(dataset_of(column), [])
        if not of_dataset or metric_of(column) in SHOWN_METRICS:
            of_dataset.append(column)
    scores = [column for columns in shown.values() for column in columns]
    return ["rank", "backbone", "similarity", "weights", "mean_map", *scores, "images_per_s"]


def columns(table: pd.DataFrame, wanted: str) -> list[str]:
    """Those that a comma-separated list of names and globs (*, ?) means, each once, in the order of the list.

    Raises UsageError with near names for what no column has.
    """
    found: dict[str, None] = {}
    for part in filter(None, map(str.strip, re.split(r",(?![^\[\]]*\])", wanted))):
        glob = part.replace("[", "[[]")  # map[E] is a name
        matching = [column for column in table.columns if column == part or fnmatchcase(column, glob)]
        if not matching:
            raise UsageError(_unknown(table, part))
        found |= dict.fromkeys(matching)
    if not found:
        raise UsageError(f"no column was chosen: name some of {', '.join(table.columns)}")
    return list(found)


def in_order(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """The rows by a column, missing values last, equal ones as before.

    `-name` puts the largest first, `+name` the smallest; a name alone the best score, else the smallest.
    Raises UsageError with near names for a column that there is not.
    """
    name = by[1:] if by[:1] in ("-", "+") else by
    if name not in table.columns:
        raise UsageError(_unknown(table, name))
    falling = by[0] == "-" if name != by else better(name) == "high" or name in MOST_FIRST
    as_key = pd.api.types.is_string_dtype(table[name]) or table[name].dtype == object
    keys = table[name].map(lambda value: natural(str(value)), na_action="ignore") if as_key else table[name]
    there = [row for row, missing in enumerate(keys.isna()) if not missing]
    # sorted is stable in reverse too
    order = sorted(there, key=lambda row: keys.iloc[row], reverse=falling)
    return table.iloc[[*order, *sorted(set(range(len(table))) - set(there))]].reset_index(drop=True)


def is_score(column: str) -> bool:
    """Whether it is the `<dataset>.<metric>` of a dataset."""
    return "." in column


def dataset_of(column: str) -> str:
    return column.rpartition(".")[0]


def metric_of(column: str) -> str:
    return column.rpartition(".")[2]


def is_share(column: str) -> bool:
    """Whether its values are fractions, shown in percent."""
    return column in MEANS or (is_score(column) and _plain_metric(column) not in NO_PERCENT)


def better(column: str) -> Literal["high", "low"] | None:
    """Which values of a column of scores are the better ones; None where it has no verdict."""
    if _plain_metric(column) in LESS_IS_BETTER:
        return "low"
    judged = column in MEANS or (is_score(column) and _plain_metric(column) not in NO_VERDICT)
    return "high" if judged else None


def as_text(value: object, column: str) -> str:
    """A cell for people: shares in percent, one decimal; a missing value is an empty cell."""
    if value is None or value is pd.NA or (isinstance(value, float) and pd.isna(value)):
        return ""
    if isinstance(value, float):
        return f"{100 * value:.1f}" if is_share(column) else f"{value:.1f}"
    return str(value)


def p_text(p: float | None) -> str:
    """A p for people: four decimals, or that it is less than they can tell; empty where there is none."""
    if p is None:
        return ""
    return f"{p:.4f}" if p >= 0.00005 else "<0.0001"


def _plain_metric(column: str) -> str:
    return metric_of(column).partition("[")[0]


def _unknown(table: pd.DataFrame, name: str) -> str:
    near = get_close_matches(name, table.columns, n=3, cutoff=0.5)
    told = f"did you mean {' or '.join(near)}?" if near else f"name some of {', '.join(table.columns)}"
    return f"the leaderboard has no column '{name}': {told}"
