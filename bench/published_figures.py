"""Figures that papers and repositories published (results/published.csv, docs/published.md), beside a run's own."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from bench.errors import UsageError
from bench.postprocess import Pipeline
from bench.preprocess import Mode
from bench.records import Record
from bench.report.text import markdown_table, plain

#: In the repository; an installed copy has none, and then nothing stands beside its scores.
FIGURES = Path(__file__).resolve().parents[1] / "results" / "published.csv"
COMPARABLE = {"true": True, "false": False}
TITLE = "Beside published figures"
ABOUT = (
    "In percent, by the backbone, similarity, preprocessing and post-processing of the source; hold the number of "
    "queries, and what post-processing was fitted on, against its protocol."
)
#: Headings of cells that are numbers.
NUMBERS = ("ours", "theirs", "difference", "our queries")


@dataclass(frozen=True)
class Figure:
    """One published score; the fields are the columns of the file, in their order.

    backbone, dataset, metric: in this project's names where it has the same thing, else as the source has them.
    weights: as the source names them. value: a fraction. protocol: how it was measured, in a phrase.
    comparable: whether `run` with this similarity, preprocess and postprocess measures the same thing.
    similarity: empty where nothing is compared, as by a classifier. preprocess, postprocess: as for `run`, empty for
    its default. source: title and table. url: where it was read, or the paper. retrieved: the day, ISO 8601.
    """

    backbone: str
    weights: str
    dataset: str
    metric: str
    value: float
    protocol: str
    comparable: bool
    similarity: str
    preprocess: str
    postprocess: str
    source: str
    url: str
    retrieved: str

    @property
    def link(self) -> str:
        """The address that a page may lead to; empty for one that is not of the web."""
        return self.url if self.url.startswith(("https://", "http://")) else ""


COLUMNS = tuple(field.name for field in fields(Figure))


@dataclass(frozen=True)
class Beside:
    """A published figure and the record that measured the same."""

    figure: Figure
    record: Record

    @property
    def ours(self) -> float:
        """The record's score."""
        return float(self.record.body["metrics"][self.figure.metric])

    @property
    def theirs(self) -> float:
        """The published score."""
        return self.figure.value

    @property
    def difference(self) -> float:
        """Ours minus theirs."""
        return self.ours - self.theirs

    @property
    def cells(self) -> dict[str, str]:
        """What is shown of it, as text by heading; the source stands behind them."""
        figure, body = self.figure, self.record.body
        return {
            "backbone": figure.backbone,
            "dataset": figure.dataset,
            "metric": figure.metric,
            "ours": f"{100 * self.ours:.1f}",
            "theirs": f"{100 * self.theirs:.1f}",
            "difference": f"{100 * self.difference:+.1f}",
            "our queries": str(body["dataset"]["n_queries"]),
            "post-processing": figure.postprocess,
            "fitted on": body["postprocess"]["fit_set"] or "",
            "their protocol": figure.protocol,
        }


def read(path: Path) -> list[Figure]:
    """The figures of a file, in its order.

    Raises UsageError for a file that can't be read, columns other than those of `Figure`, a row of another length, a
    value that is not from 0 to 1, and a comparable that is neither true nor false.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            lines = csv.reader(stream, strict=True)
            _require_columns(next(lines, []), path)
            return [_figure(row, f"{path}, line {lines.line_num}") for row in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"the file {path} can't be read as published figures ({error}): correct it") from error


def beside(records: Sequence[Record], published: Sequence[Figure]) -> list[Beside]:
    """Each comparable figure with the records of its own protocol, in the order of the figures.

    Records of random weights, of a sample (`--limit`) and without the metric's value have none.
    """
    measured = [record for record in records if _whole(record)]
    return [
        Beside(figure, record)
        for figure in published
        for record in measured
        if figure.comparable
        and _protocol(figure) == _protocol_of(record)
        and record.body["metrics"].get(figure.metric) is not None
    ]


def pairs_of(records: Sequence[Record], path: Path = FIGURES) -> list[Beside]:
    """Ours beside theirs; none where no file is there. Raises UsageError as `read`."""
    return beside(records, read(path)) if path.is_file() else []


def sections(records: Sequence[Record], path: Path = FIGURES) -> str:
    """The pairs in Markdown; empty where there are none. Raises UsageError as `read`."""
    pairs = pairs_of(records, path)
    if not pairs:
        return ""
    rows = [_shown(pair) for pair in pairs]
    table = markdown_table(list(rows[0]), [list(row.values()) for row in rows], as_they_are=["source"])
    return f"\n## {TITLE}\n\n{ABOUT}\n\n{table}\n"


def _require_columns(found: Sequence[str], path: Path) -> None:
    """Raises UsageError where they are not those of a figure, in their order."""
    if tuple(found) == COLUMNS:
        return
    unknown = [name for name in found if name not in COLUMNS]
    missing = [name for name in COLUMNS if name not in found]
    told = [f"unknown column '{name}'" for name in unknown] + [f"no column '{name}'" for name in missing]
    raise UsageError(f"{path}: {', '.join(told) or 'columns out of order'}: the columns are {','.join(COLUMNS)}")


def _figure(row: Sequence[str], where: str) -> Figure:
    if len(row) != len(COLUMNS):
        raise UsageError(f"{where}: {len(row)} cells where there are {len(COLUMNS)} columns: quote cells with commas")
    cells = dict(zip(COLUMNS, row, strict=True))
    value, comparable = _fraction(cells.pop("value"), where), cells.pop("comparable")
    if comparable not in COMPARABLE:
        raise UsageError(f"{where}: comparable is '{comparable}': write true or false")
    return Figure(**cells, value=value, comparable=COMPARABLE[comparable])


def _fraction(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise UsageError(f"{where}: the value '{text}' is not a fraction from 0 to 1: write 0.835 for 83.5 %")
    return value


def _whole(record: Record) -> bool:
    """Whether its scores are of trained weights, on all queries."""
    return record.status == "ok" and record.weights != "random" and record.body["dataset"]["limit"] is None


def _protocol(figure: Figure) -> tuple[str, ...]:
    mode, steps = Mode.parse(figure.preprocess or str(Mode())), Pipeline.parse(figure.postprocess)
    return figure.backbone, figure.dataset, figure.similarity, str(mode), str(steps)


def _protocol_of(record: Record) -> tuple[str, ...]:
    mode, steps = record.body["preprocess"]["mode"], record.body["postprocess"]["spec"]
    return record.cell.backbone, record.cell.dataset, str(record.cell.similarity), mode, steps


def _shown(pair: Beside) -> dict[str, str]:
    figure = pair.figure
    source = plain(figure.source)
    return pair.cells | {"source": f"[{source}]({figure.link})" if figure.link else source}
