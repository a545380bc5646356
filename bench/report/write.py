"""The files of a report: scores.csv, leaderboard.csv, leaderboard.md, and breakdown.csv where datasets have tags."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.files import write_text
from bench.records import Record
from bench.report.breakdown import breakdown, sections
from bench.report.tables import leaderboard, scores
from bench.report.text import markdown


def write_tables(folder: Path, records: Sequence[Record], n_datasets: int) -> tuple[pd.DataFrame, list[Path]]:
    """Write every table of a run over `n_datasets` datasets into `folder`; the leaderboard and the files' paths.

    Tables that hold random weights say so in their names.
    """
    mark = ".random" if any(record.weights == "random" for record in records) else ""
    table = leaderboard(records, n_datasets)
    texts = {
        f"leaderboard{mark}.csv": table.to_csv(index=False, lineterminator="\n"),
        f"leaderboard{mark}.md": markdown(table, records) + sections(records),
        f"scores{mark}.csv": scores(records).to_csv(index=False, lineterminator="\n"),
    }
    by_tag = breakdown(records)
    if not by_tag.empty:
        texts[f"breakdown{mark}.csv"] = by_tag.to_csv(index=False, lineterminator="\n")
    for name, text in texts.items():
        write_text(folder / name, text)
    return table, [folder / name for name in texts]
