"""`report`, `compare`, `merge`, `verify`: arguments and printing of what is made from run folders."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UsageError


class Uncertainty(StrEnum):
    """What stands beside a score in LaTeX."""

    none = "none"
    pm = "pm"
    interval = "interval"


FIGURES, HTML = "figures", "html"
FORMATS = ("csv", "md", "tex", FIGURES, HTML)

Folder = Annotated[Path, typer.Argument(help="A run folder.")]


def report(
    folder: Folder,
    formats: Annotated[str, typer.Option("--format", help=f"Which files to write, of {','.join(FORMATS)}.")] = ",".join(
        FORMATS
    ),
    columns: Annotated[
        str | None, typer.Option(help="Columns of the leaderboard to show: names and globs, such as 'backbone,*.map'.")
    ] = None,
    sort: Annotated[
        str | None, typer.Option(help="Column to sort the rows shown by; -NAME: largest first, +NAME: smallest first.")
    ] = None,
    uncertainty: Annotated[
        Uncertainty, typer.Option(help="Beside each score in LaTeX: its 95 % interval, or half its width.")
    ] = Uncertainty.none,
) -> None:
    """Rebuild what a run folder shows from its records: tables, figures, the report as one page.

    --columns, --sort and --uncertainty make leaderboard.view.md and .tex; the tables of record stay as documented.
    """
    from bench import console
    from bench.files import write_text
    from bench.records import RunFolder
    from bench.report import best, tables_of, write_page
    from bench.report.figures import draw, speeds, write_figures
    from bench.report.view import View
    from bench.scored import read

    wanted = _formats(formats)
    existing = RunFolder.existing(folder)
    scored = read(existing)
    tables, view = tables_of(scored), View(columns, sort, uncertainty.value)
    texts = {**tables.texts, **view.texts(tables, scored)}
    written = [folder / name for name in texts if name.rpartition(".")[2] in wanted]
    for path in written:
        write_text(path, texts[path.name])
    for before in folder.glob("leaderboard*.view.*"):  # of an earlier call
        if before.name not in texts:
            before.unlink()
    drawn = []
    if {FIGURES, HTML} & set(wanted):
        drawn = draw(scored, best(scored, tables.verdicts), speeds(folder, scored.records))
    if FIGURES in wanted:
        written += write_figures(folder, drawn)
    if HTML in wanted:
        written.append(write_page(existing, scored, tables, drawn))
    console.print_result(view.ordered(tables), written, scored, view.chosen(tables))


def compare(
    a: Annotated[Path, typer.Argument(help="A run folder.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    output: Annotated[Path | None, typer.Option(help="CSV file for the changes of all cells.")] = None,
) -> None:
    """Tell what changed from run A to run B, cell by cell, and whether chance would do as much."""
    from bench import compare as comparing
    from bench import console
    from bench.files import write_text
    from bench.records import RunFolder
    from bench.scored import read

    if output is not None and output.suffix != ".csv":
        raise UsageError(f"can't write {output}: the name of a table of changes ends in .csv")
    of_a, of_b = (read(RunFolder.existing(folder)) for folder in (a, b))
    changes = comparing.compare(of_a, of_b)
    if output is not None:
        write_text(output, comparing.table(changes).to_csv(index=False, lineterminator="\n"))
    console.print_rows(comparing.rows(changes))
    for name, problem in (*(("A", told) for told in of_a.problems), *(("B", told) for told in of_b.problems)):
        console.out.print(f"{name}: {problem}", soft_wrap=True)
    for of in comparing.differences(of_a, of_b):
        console.out.print(f"{of.what}: {of.a} in A, {of.b} in B", soft_wrap=True)
    told = ", ".join(f"{n} {statement}" for statement, n in comparing.counted(changes).items())
    console.out.print(f"A: {a}; B: {b}; of {len(changes)} scores in B: {told}", soft_wrap=True)
    if output is not None:
        console.out.print(f"written: {output}", soft_wrap=True)


def merge(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, at least two.")],
    output: Annotated[Path, typer.Option(help="New run folder for all of them.")],
) -> None:
    """Make one run folder of several, such as of different machines; refuse what does not fit together."""
    from bench import console
    from bench import merge as merging
    from bench.report import write_tables
    from bench.scored import read

    scored = read(merging.merge(folders, output))
    console.print_result(*write_tables(output, scored), scored)


def verify(folder: Folder) -> None:
    """Compute every score again from its evidence and every table from the records, and name what differs."""
    from bench import console, verify_run
    from bench.records import RunFolder
    from bench.scored import read

    scored = read(RunFolder.existing(folder))
    problems = list(verify_run.problems(folder, scored))
    for problem in problems:
        console.out.print(problem, soft_wrap=True)
    checked = f"{len(scored.evidence)} of {len(scored.records)} cells have evidence"
    if problems:
        console.out.print(f"{checked}: {len(problems)} problems", soft_wrap=True)
        raise typer.Exit(3)
    console.out.print(f"{checked}: all scores follow from the evidence, all tables from the records", soft_wrap=True)


def _formats(text: str) -> list[str]:
    found = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [name for name in found if name not in FORMATS]
    if unknown or not found:
        raise UsageError(f"there is no format '{','.join(unknown)}': write some of {','.join(FORMATS)}")
    return found
