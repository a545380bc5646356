"""Scores by tag: where a descriptor breaks, such as under which edit."""

from collections.abc import Sequence
from itertools import groupby

import pandas as pd

from bench.plugins import natural
from bench.records import Record, order
from bench.report.text import markdown_table

COLUMNS = ("backbone", "weights", "dataset", "similarity", "tag", "metric", "value", "n_queries")
SHOWN_METRIC = "hit@1"


def breakdown(records: Sequence[Record]) -> pd.DataFrame:
    """One row per cell, tag and metric, tags in the order of the dataset's queries; empty where nothing has tags."""
    rows = [
        (
            record.cell.backbone,
            record.weights,
            record.cell.dataset,
            str(record.cell.similarity),
            tag,
            metric,
            score["value"],
            score["n_queries"],
        )
        for record in sorted(records, key=order)
        for tag, scores in record.body["by_tag"].items()
        for metric, score in scores.items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": "float64", "n_queries": "Int64"})


def sections(records: Sequence[Record]) -> str:
    """In Markdown, for each dataset with tags, hit@1 by tag of each backbone; empty where no dataset has any."""
    tagged = [record for record in records if any(SHOWN_METRIC in scores for scores in record.body["by_tag"].values())]
    by_dataset = groupby(sorted(tagged, key=_dataset_first), key=lambda record: record.cell.dataset)
    return "".join(_section(dataset, _best(list(of_dataset))) for dataset, of_dataset in by_dataset)


def _dataset_first(record: Record) -> tuple[object, ...]:
    return natural(record.cell.dataset), *order(record)


def _best(records: Sequence[Record]) -> list[Record]:
    """Of each backbone the record of the similarity with the highest main metric, the first of equal ones."""
    by_backbone = groupby(records, key=lambda record: record.cell.backbone)
    return [max(of_backbone, key=_main_value) for _, of_backbone in by_backbone]


def _main_value(record: Record) -> float:
    value: float | None = record.body["metrics"][record.body["dataset"]["metrics"][0]]
    return -1.0 if value is None else value


def _section(dataset: str, records: Sequence[Record]) -> str:
    tags = records[0].body["by_tag"]
    rows = [
        [record.cell.backbone, str(record.cell.similarity), *(_percent(record, tag) for tag in tags)]
        for record in records
    ]
    counts = ["queries", "", *(str(scores[SHOWN_METRIC]["n_queries"]) for scores in tags.values())]
    table = markdown_table(["backbone", "similarity", *tags], [*rows, counts])
    main = records[0].body["dataset"]["metrics"][0]
    return (
        f"\n## {dataset} by tag\n\n{SHOWN_METRIC} in percent; of each backbone the similarity with the best {main}.\n\n"
        f"{table}\n"
    )


def _percent(record: Record, tag: str) -> str:
    value = record.body["by_tag"][tag][SHOWN_METRIC]["value"]
    return "" if value is None else f"{100 * value:.1f}"
