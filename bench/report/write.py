"""The files of a report: what they are called, and writing them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench import published_figures as published
from bench.data.unreadable import UNREADABLE
from bench.files import write_text
from bench.ranking import Ranking, rank
from bench.records import RunFolder
from bench.report import omitted
from bench.report.breakdown import breakdown, sections
from bench.report.latex import latex
from bench.report.tables import leaderboard, ranking_table, rankings, scores
from bench.report.text import markdown
from bench.scored import Scored
from bench.sweep import gains
from bench.sweep import table as gains_table

if TYPE_CHECKING:
    from bench.report.figures import Drawn


@dataclass(frozen=True)
class Tables:
    """What a run comes to. texts: by file name; those that hold random weights say so in their names."""

    leaderboard: pd.DataFrame
    verdicts: list[Ranking]
    texts: Mapping[str, str]


def tables_of(scored: Scored) -> Tables:
    """Every table of a run."""
    mark = _mark(scored)
    table = leaderboard(scored)
    verdicts = rankings(scored)
    frames = {"leaderboard": table, "ranking": ranking_table(verdicts), "scores": scores(scored)}
    by_tag = breakdown(scored.records)
    frames |= {} if by_tag.empty else {"breakdown": by_tag}
    gained = gains(scored)
    frames |= {"gains": gains_table(gained)} if gained else {}
    texts = {f"{name}{mark}.csv": _csv(frame) for name, frame in frames.items()}
    beside = published.sections(scored.records)
    texts[f"leaderboard{mark}.md"] = markdown(table, scored, verdicts) + sections(scored.records) + beside
    texts[f"leaderboard{mark}.tex"] = latex(table, scored)
    if listed := omitted.table(omitted.omitted(scored.records)):
        texts[UNREADABLE] = listed
    return Tables(table, verdicts, texts)


def write_tables(folder: Path, scored: Scored) -> tuple[Tables, list[Path]]:
    """Write every table of a run into `folder`; they, and the files' paths."""
    tables = tables_of(scored)
    for name, text in tables.texts.items():
        write_text(folder / name, text)
    if UNREADABLE not in tables.texts:
        (folder / UNREADABLE).unlink(missing_ok=True)
    return tables, [folder / name for name in tables.texts]


def write_page(folder: RunFolder, scored: Scored, tables: Tables, drawn: Iterable["Drawn"]) -> Path:
    """Write the report as one HTML page, with the figures drawn and pictures inside; its path.

    Raises UsageError where the published figures can't be read.
    """
    # matplotlib and jinja2 take a second to import, and a run needs neither
    from bench.report.gallery import galleries
    from bench.report.html import Figure
    from bench.report.page import page

    figures = [Figure(one.title, one.caption, one.svg.decode(), one.marks) for one in drawn]
    pictures = galleries(scored, best(scored, tables.verdicts), folder.config())
    path = folder.path / f"report{_mark(scored)}.html"
    beside = published.pairs_of(scored.records)
    write_text(path, page(scored, tables.leaderboard, tables.verdicts, figures, pictures, beside))
    return path


def best(scored: Scored, verdicts: Sequence[Ranking]) -> Ranking:
    """The verdict over all datasets, each backbone at its best similarity; without standings where none is ranked."""
    return next((r for r in verdicts if (r.group, r.rule) == ("all", "best")), None) or rank(scored)


def _mark(scored: Scored) -> str:
    return ".random" if any(record.weights == "random" for record in scored.records) else ""


def _csv(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, lineterminator="\n"))
