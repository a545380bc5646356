"""Which records stand for a backbone where a figure has room for one similarity."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from bench.ranking import METRIC
from bench.records import Record


@dataclass(frozen=True)
class Choice:
    """A backbone with its similarity and the cells that have scores; mean_map: over them, None without one."""

    backbone: str
    similarity: str
    cells: tuple[Record, ...]
    mean_map: float | None

    @property
    def goodness(self) -> tuple[int, float]:
        """More datasets first, then the mean."""
        return len(self.cells), -1.0 if self.mean_map is None else self.mean_map


def choices(records: Sequence[Record]) -> list[Choice]:
    """Of each backbone with scores the similarity with the highest mean mAP, of those with most datasets; best first.

    records: in the order of every table, as `Scored` has them.
    """
    found = []
    for _, of_backbone in groupby(records, key=lambda record: record.cell.backbone):
        lines = [_choice(list(cells)) for _, cells in groupby(of_backbone, key=lambda record: record.cell.similarity)]
        best = max(lines, key=lambda line: line.goodness)
        found += [best] if best.cells else []
    return sorted(found, key=lambda choice: choice.goodness, reverse=True)


def _choice(records: Sequence[Record]) -> Choice:
    cells = tuple(record for record in records if record.status == "ok")
    maps = [value for cell in cells if (value := cell.body["metrics"].get(METRIC)) is not None]
    first = records[0].cell
    return Choice(first.backbone, str(first.similarity), cells, float(np.mean(maps)) if maps else None)
