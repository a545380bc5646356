"""The tables of the report page as columns, lines and cells of text; rounding happens here alone."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bench.plugins import natural
from bench.ranking import Ranking, Standing
from bench.records import Record
from bench.report.breakdown import SHOWN_METRIC
from bench.report.choose import p_text
from bench.scored import Scored

#: Metrics that are no share of anything, shown as they are.
PLAIN = ("ns_score", "threshold@p90", "pearson", "relative_deviation")
#: Shown beside the main metric of a dataset that has it.
POOLED = "micro_ap"
FALLING, RISING = "descending", "ascending"
_LESS_IS_BETTER = ("relative_deviation",)
#: Where more is neither better nor worse.
_NO_BEST = ("threshold@p90",)

Between = tuple[float, float] | None


@dataclass(frozen=True)
class Cell:
    """value: what it is sorted by, None for a missing one, whose text is empty. between: its interval as text."""

    text: str = ""
    value: float | None = None
    between: str = ""
    best: bool = False


@dataclass(frozen=True)
class Column:
    """over: a heading above its own, such as the dataset of a metric. first: how the first click sorts.

    has_best: whether the best of it is marked.
    """

    name: str
    over: str = ""
    first: str = FALLING
    has_best: bool = False


@dataclass(frozen=True)
class Bar:
    """A value with its interval, in percent of the width of the table's range."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class Line:
    """bracket: letters of the runs that it stands in. edges: of each of them "first", "last" or "", for drawing."""

    backbone: str
    similarity: str
    weights: str
    non_commercial: bool
    rank: Cell
    cells: tuple[Cell, ...]
    bar: Bar | None = None
    bracket: str = ""
    edges: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """columns: of the cells; rank, backbone and similarity stand before them. sorted_by: which of them, if any."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    sorted_by: int | None = None

    @property
    def has_rank(self) -> bool:
        """Whether any line has one; the lines are then sorted by it."""
        return any(line.rank.text for line in self.lines)


def verdict(ranking: Ranking, scored: Scored, table: pd.DataFrame) -> Grid:
    """One line a ranked backbone; of each dataset of the group the main metric, and micro-AP where it has it."""
    rows = {(row["backbone"], row["similarity"]): row for row in table.to_dict("records")}
    columns = _dataset_columns([r for r in scored.records if r.cell.dataset in ranking.datasets])
    found = _by_name(scored.records)
    non_commercial = {r.cell.backbone for r in scored.records if r.body["backbone"]["non_commercial"]}
    top = min(3, len(ranking.standings))
    lines = []
    for at, s in enumerate(ranking.standings):
        row = rows.get((s.backbone, s.similarity), {})
        of_datasets = [
            _score_of(found.get((s.backbone, dataset, s.similarity)), metric, scored) for dataset, metric in columns
        ]
        cells = [
            score(s.mean_map, "map", between(s.low, s.high)),
            *(plain(s.p_top[k - 1] if s.p_top else None, 2) for k in (1, top)),
            Cell(p_text(s.p_next), s.p_next),
            *of_datasets,
            *(plain(value, 2) for value in (s.mrr, s.borda, s.z)),
            *(plain(row.get(name), 1) for name in ("images_per_s", "params_m")),
        ]
        lines.append(_standing_line(ranking, at, s.backbone in non_commercial, tuple(cells)))
    headings = (
        Column("mean mAP %", has_best=True),
        *(Column(name) for name in ("P(first)", f"P(top {top})")),
        Column("p to next", first=RISING),
        *(_metric_column(dataset, metric) for dataset, metric in columns),
        *(Column(name) for name in ("mean 1/rank", "Borda", "z", "images/s")),
        Column("M parameters", first=RISING),
    )
    return Grid(headings, _with_best(lines, headings))


def every_row(scored: Scored, table: pd.DataFrame) -> Grid:
    """One line a backbone and similarity that has scores, as in leaderboard.csv."""
    columns = _dataset_columns(scored.records)
    found = _by_name(scored.records)
    lines = []
    # pandas' missing values as None
    for row in table.astype(object).where(table.notna(), None).to_dict("records"):
        if not row["n_datasets"]:
            continue
        scores = [
            _score_of(found.get((row["backbone"], dataset, row["similarity"])), metric, scored)
            for dataset, metric in columns
        ]
        interval = between(row["mean_map_low"], row["mean_map_high"])
        cells = (
            score(row["mean_map"], "map", interval),
            *scores,
            plain(row["images_per_s"], 1),
            plain(row["embed_dim"], 0),
            plain(row["params_m"], 1),
        )
        rank = Cell()
        if row["rank"] is not None:
            rank = Cell(str(row["rank"]), row["rank"], _range(row["rank_low"], row["rank_high"]) if interval else "")
        lines.append(Line(row["backbone"], row["similarity"], row["weights"], row["non_commercial"], rank, cells))
    headings = (
        Column("mean mAP %", has_best=True),
        *(_metric_column(dataset, metric) for dataset, metric in columns),
        Column("images/s"),
        *(Column(name, first=RISING) for name in ("dimension", "M parameters")),
    )
    return Grid(headings, _with_best(lines, headings))


def of_dataset(records: Sequence[Record], scored: Scored) -> Grid:
    """Every metric of one dataset's records with its interval, the best by the main one first."""
    metrics = records[0].body["dataset"]["metrics"]
    headings = tuple(_metric_column("", metric) for metric in metrics)
    lines = [_line(record, [_score_of(record, metric, scored) for metric in metrics]) for record in records]
    sign = 1 if headings[0].first == RISING else -1
    lines.sort(key=lambda line: math.inf if (value := line.cells[0].value) is None else sign * value)
    return Grid(headings, _with_best(lines, headings), sorted_by=0)


def by_tag(records: Sequence[Record]) -> Grid | None:
    """hit@1 of one dataset's records by tag; None where it has no tags."""
    tagged = [r for r in records if any(SHOWN_METRIC in scores for scores in r.body["by_tag"].values())]
    if not tagged:
        return None
    counts = {tag: scores[SHOWN_METRIC]["n_queries"] for tag, scores in tagged[0].body["by_tag"].items()}
    headings = tuple(Column(f"{n} queries", tag, has_best=True) for tag, n in counts.items())
    lines = [
        _line(record, [score(record.body["by_tag"][tag][SHOWN_METRIC]["value"], SHOWN_METRIC) for tag in counts])
        for record in tagged
    ]
    return Grid(headings, _with_best(lines, headings))


def score(value: float | None, metric: str, interval: Between = None) -> Cell:
    """In percent with one decimal, with three where it is no share; with its interval."""
    if value is None:
        return Cell()
    ends = _range(*(_text(end, metric) for end in interval)) if interval else ""
    return Cell(_text(value, metric), value, ends)


def plain(value: float | None, decimals: int) -> Cell:
    """A number as it is; empty where it is missing."""
    return Cell() if value is None or pd.isna(value) else Cell(f"{value:,.{decimals}f}", float(value))


def between(low: float | None, high: float | None) -> Between:
    """An interval, None where it is missing."""
    return None if low is None or high is None else (low, high)


def in_percent(metric: str) -> bool:
    """Whether a metric, with or without a setup, is a share."""
    return metric.partition("[")[0] not in PLAIN


def _text(value: float, metric: str) -> str:
    return f"{100 * value:.1f}" if in_percent(metric) else f"{value:.3f}"


def _range(low: object, high: object) -> str:
    return f"{low}\u2013{high}"


def _letter(number: int) -> str:
    return chr(ord("a") + number % 26) * (number // 26 + 1)


def _dataset_columns(records: Iterable[Record]) -> list[tuple[str, str]]:
    """Dataset and metric: the main one of each, and micro-AP; datasets by name."""
    metrics = {record.cell.dataset: record.body["dataset"]["metrics"] for record in records}
    names = sorted(metrics, key=natural)
    return [(name, m) for name in names for m in dict.fromkeys((metrics[name][0], POOLED)) if m in metrics[name]]


def _metric_column(dataset: str, metric: str) -> Column:
    first = RISING if metric in _LESS_IS_BETTER else FALLING
    return Column(f"{metric} %" if in_percent(metric) else metric, dataset, first, metric not in _NO_BEST)


def _by_name(records: Iterable[Record]) -> dict[tuple[str, str, str], Record]:
    return {(r.cell.backbone, r.cell.dataset, str(r.cell.similarity)): r for r in records}


def _score_of(record: Record | None, metric: str, scored: Scored) -> Cell:
    if record is None:
        return Cell()
    return score(record.body["metrics"].get(metric), metric, scored.intervals.get((record.cell, metric)))


def _line(record: Record, cells: Iterable[Cell]) -> Line:
    cell = record.cell
    non_commercial = record.body["backbone"]["non_commercial"]
    return Line(cell.backbone, str(cell.similarity), record.weights, non_commercial, Cell(), tuple(cells))


def _standing_line(ranking: Ranking, at: int, non_commercial: bool, cells: tuple[Cell, ...]) -> Line:
    """cells: behind rank, backbone and similarity."""
    s = ranking.standings[at]
    rank = Cell(str(s.rank), s.rank, _range(s.rank_low, s.rank_high) if s.p_top else "")
    within = [(n, run) for n, run in enumerate(ranking.brackets) if run[0] <= at <= run[1]]
    letters = " ".join(_letter(n) for n, _ in within)
    edges = tuple({run[0]: "first", run[1]: "last"}.get(at, "") for _, run in within)
    return Line(
        s.backbone, s.similarity, s.weights, non_commercial, rank, cells, _bar(s, ranking.standings), letters, edges
    )


def _bar(s: Standing, all_of_them: Iterable[Standing]) -> Bar:
    known = [end for one in all_of_them for end in (one.low, one.mean_map, one.high) if end is not None]
    low, width = min(known), max(known) - min(known) or 1.0
    ends = (s.mean_map if s.low is None else s.low, s.mean_map, s.mean_map if s.high is None else s.high)
    return Bar(*(round(100 * (end - low) / width, 2) for end in ends))


def _with_best(lines: Sequence[Line], columns: Sequence[Column]) -> tuple[Line, ...]:
    """The same lines, the best of every column of scores marked; random weights are never the best."""
    best = {}
    for at, column in enumerate(columns):
        values = [v for line in lines if line.weights != "random" and (v := line.cells[at].value) is not None]
        if column.has_best:
            best[at] = (min if column.first == RISING else max)(values, default=None)
    return tuple(
        line
        if line.weights == "random"
        else replace(
            line,
            cells=tuple(
                replace(cell, best=cell.value is not None and cell.value == best.get(at))
                for at, cell in enumerate(line.cells)
            ),
        )
        for line in lines
    )
