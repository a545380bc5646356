"""The files of a report: what they are called, and writing them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.files import write_text
from bench.ranking import Ranking
from bench.report.breakdown import breakdown, sections
from bench.report.tables import leaderboard, ranking_table, rankings, scores
from bench.report.text import markdown
from bench.scored import Scored


@dataclass(frozen=True)
class Tables:
    """What a run comes to. texts: by file name; those that hold random weights say so in their names."""

    leaderboard: pd.DataFrame
    verdicts: list[Ranking]
    texts: Mapping[str, str]


def tables_of(scored: Scored) -> Tables:
    """Every table of a run."""
    mark = ".random" if any(record.weights == "random" for record in scored.records) else ""
    table = leaderboard(scored)
    verdicts = rankings(scored)
    frames = {"leaderboard": table, "ranking": ranking_table(verdicts), "scores": scores(scored)}
    by_tag = breakdown(scored.records)
    frames |= {} if by_tag.empty else {"breakdown": by_tag}
    texts = {f"{name}{mark}.csv": _csv(frame) for name, frame in frames.items()}
    texts[f"leaderboard{mark}.md"] = markdown(table, scored, verdicts) + sections(scored.records)
    return Tables(table, verdicts, texts)


def write_tables(folder: Path, scored: Scored) -> tuple[Tables, list[Path]]:
    """Write every table of a run into `folder`; they, and the files' paths."""
    tables = tables_of(scored)
    for name, text in tables.texts.items():
        write_text(folder / name, text)
    return tables, [folder / name for name in tables.texts]


def _csv(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, lineterminator="\n"))
