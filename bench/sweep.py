"""What a sweep over similarities shows: the mean over datasets of each, and what chunks gain over the whole vector."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd

from bench.ranking import METRIC
from bench.records import Record
from bench.scored import Scored
from bench.similarity import Similarity
from bench.uncertainty import N_RESAMPLES, interval

GLOBAL = Similarity()
COLUMNS = (
    "backbone",
    "weights",
    "similarity",
    "chunks",
    "norm",
    "n_datasets",
    "mean_map",
    "global_mean_map",
    "gain",
    "gain_low",
    "gain_high",
)


@dataclass(frozen=True)
class Line:
    """Records of a backbone with one similarity, one each of all datasets that have `map`, in their order."""

    backbone: str
    weights: str
    similarity: Similarity
    cells: tuple[Record, ...]

    @property
    def mean_map(self) -> float:
        """Mean over the datasets."""
        return float(np.mean([cell.body["metrics"][METRIC] for cell in self.cells]))


@dataclass(frozen=True)
class Gain:
    """What a similarity gains over `global`, in mean mAP over the same datasets.

    low, high: 95 %, of resamples of the queries that are the same for both; None where there is no evidence.
    """

    line: Line
    over: Line
    low: float | None
    high: float | None

    @property
    def value(self) -> float:
        return self.line.mean_map - self.over.mean_map


def lines(scored: Scored) -> list[Line]:
    """Every backbone and similarity with a score on all datasets of the records that have `map`, in their order."""
    with_map = [record for record in scored.records if METRIC in record.body["dataset"]["metrics"]]
    datasets = {record.cell.dataset for record in with_map}
    found = []
    for (backbone, similarity, weights), cells in groupby(with_map, key=_line):
        scores = tuple(cell for cell in cells if cell.status == "ok" and cell.body["metrics"][METRIC] is not None)
        if len(scores) == len(datasets):
            found.append(Line(backbone, weights, similarity, scores))
    return found


def gains(scored: Scored) -> list[Gain]:
    """What each number of chunks gains, of every backbone that has `global`; in the order of the records."""
    found = []
    for _, of_backbone in groupby(lines(scored), key=lambda line: (line.backbone, line.weights)):
        several = list(of_backbone)
        over = next((line for line in several if line.similarity == GLOBAL), None)
        chunked = [line for line in several if line.similarity.chunks is not None]
        if over is not None and chunked:
            between = _intervals(scored, chunked, over)
            found += [Gain(line, over, *(of or (None, None))) for line, of in zip(chunked, between, strict=True)]
    return found


def table(found: Sequence[Gain]) -> pd.DataFrame:
    """gains.csv: one row a gain, in full precision."""
    rows = [
        (
            gain.line.backbone,
            gain.line.weights,
            str(gain.line.similarity),
            gain.line.similarity.chunks,
            gain.line.similarity.norm,
            len(gain.line.cells),
            gain.line.mean_map,
            gain.over.mean_map,
            gain.value,
            gain.low,
            gain.high,
        )
        for gain in found
    ]
    numbers = ("mean_map", "global_mean_map", "gain", "gain_low", "gain_high")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(numbers, "float64"))


def left_out(scored: Scored, similarities: Iterable[Similarity]) -> list[str]:
    """A sentence for each backbone on those of a sweep's similarities that have no cells, since K does not divide."""
    measured = {(record.cell.backbone, record.cell.similarity) for record in scored.records}
    dimensions = {record.cell.backbone: _dimension(record) for record in scored.records if record.status == "ok"}
    found = []
    for backbone, dimension in dimensions.items():
        missing = [s for s in similarities if s.chunks and dimension % s.chunks and (backbone, s) not in measured]
        if missing:
            names = ", ".join(map(str, missing))
            found.append(f"{backbone}: {names} left out, K has to divide its {dimension} dimensions")
    return found


def _dimension(record: Record) -> int:
    """Of the descriptors that were compared."""
    return int(record.body["postprocess"]["pca_dim"] or record.body["backbone"]["embed_dim"])


def _line(record: Record) -> tuple[str, Similarity, str]:
    return record.cell.backbone, record.cell.similarity, record.weights


def _intervals(scored: Scored, chunked: Sequence[Line], over: Line) -> list[tuple[float, float] | None]:
    """Of each difference of means: both are drawn with the same queries, so what is hard for both cancels."""
    total = np.zeros((N_RESAMPLES, len(chunked)))
    for cells in zip(*(line.cells for line in (over, *chunked)), strict=True):
        precisions = scored.precisions([cell.cell for cell in cells])
        total += scored.resampled_mean(cells[0].cell.dataset, precisions[1:] - precisions[0]) / len(over.cells)
    n_queries = min(cell.body["n_used"][METRIC] for cell in over.cells)
    return [interval(total[:, at], n_queries) for at in range(len(chunked))]
