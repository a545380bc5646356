"""What a person sees in the terminal: progress, the leaderboard, lists."""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from bench.fetch import Fetched, Watch
from bench.files import csv_text, write_text
from bench.images import notices
from bench.names import printable
from bench.plan import Definition
from bench.report import Tables
from bench.report.text import missing, notes, shown, unranked
from bench.scored import Scored
from bench.verify import Verified

WARNINGS = "warnings.csv"
NAMED = 10  # files that are named of those that are missing

# no markup, no emoji: chunked@16[norm=chunk] and folder:cat: are text; in a file a path stays in one piece
out = Console(width=None if os.isatty(1) else 1000, markup=False, highlight=False, emoji=False)
progress_out = Console(stderr=True, emoji=False)


class Watching:
    """Shows the cells settled, and the cell whose images are being described with images per second."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._cells = progress.add_task("cells", total=None, speed="")
        self._images = progress.add_task("", total=None, speed="", visible=False)
        self._of: Definition | None = None
        self._started = 0.0

    def cells(self, done: int, total: int) -> None:
        self._progress.update(self._cells, completed=done, total=total)

    def images(self, cell: Definition, total: int, done: int) -> None:
        if cell != self._of:
            self._of, self._started = cell, time.perf_counter()
            self._progress.reset(self._images, description=str(cell), total=total, visible=True)
        speed = done / max(time.perf_counter() - self._started, 1e-9)
        self._progress.update(self._images, completed=done, speed=f"{speed:.0f} images/s" if done else "")


@contextmanager
def watching() -> Iterator[Watching]:
    """A progress display on stderr for the time of a run."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=progress_out) as progress:
        yield Watching(progress)


@contextmanager
def fetching() -> Iterator[Watch]:
    """A progress display on stderr for the time of downloads, one line each."""
    name = TextColumn("{task.description}", markup=False)
    columns = name, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=progress_out) as progress:

        def show(name: str, received: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name)
            progress.update(tasks[name], completed=received, total=total)

        yield show


@contextmanager
def counting(noun: str) -> Iterator[Callable[[int, int], None]]:
    """A progress display on stderr for the time of a count; it is told the number done and of all."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total}"),
        TimeRemainingColumn(),
    )
    # in a file a count that never began would be an empty line before what went wrong
    with Progress(*columns, console=progress_out, disable=not progress_out.is_terminal) as progress:
        task = progress.add_task(noun, total=None, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)


@contextmanager
def counting_each() -> Iterator[Callable[[str, int, int], None]]:
    """As `counting`, of several things by their names, a line each."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total}"),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=progress_out, disable=not progress_out.is_terminal) as progress:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what)
            progress.update(tasks[what], completed=done, total=total)

        yield show


@contextmanager
def counting_warnings(folder: Path, prefix: str = "", keeps: bool = False) -> Iterator[None]:
    """Count warnings of image decoders instead of printing them: warnings.csv in the folder, if the block made it.

    keeps: a command that need not decode every image again keeps the file of its last run where it has nothing to add.
    """
    with notices.counted() as counted:
        yield
    rows = counted.rows()
    path = folder / f"{prefix}{WARNINGS}"
    if not folder.is_dir():
        return
    if not rows:
        if not keeps:
            path.unlink(missing_ok=True)
        return
    write_text(path, csv_text([("kind", "file", "count"), *((kind, printable(file), n) for kind, file, n in rows)]))
    total, files = sum(n for _, _, n in rows), len({file for _, file, _ in rows})
    out.print(f"{total:,} warnings of image decoders about {files:,} files: {path}", soft_wrap=True)


def print_fetched(results: Sequence[Fetched]) -> None:
    """What was fetched and where it lies; below it why the others failed."""
    drawn = Table("name", "outcome", "MB", "sha256", "path", box=SIMPLE_HEAD, pad_edge=False)
    for column in drawn.columns:
        column.no_wrap, column.overflow = column.header != "path", "fold"
    for result in results:
        megabytes = f"{result.n_bytes / 1e6:.1f}" if result.sha256 else ""
        files = f"{len(result.sha256)} files" if len(result.sha256) > 1 else "".join(result.sha256)[:16]
        drawn.add_row(result.name, result.outcome, megabytes, files, str(result.path or ""))
    out.print(drawn)
    for result in results:
        if result.problem:
            out.print(f"{result.name}: {result.problem}", soft_wrap=True)


def print_verified(results: Sequence[Verified]) -> None:
    """How complete every dataset is; below it what is missing or not as published."""
    drawn = Table("name", "state", "counts", "manifest", box=SIMPLE_HEAD, pad_edge=False)
    drawn.columns[0].no_wrap = True
    for result in results:
        counts = ", ".join(
            f"{name} {count.found}" + (f" of {count.published}" if count.published is not None else "")
            for name, count in result.counts.items()
        )
        drawn.add_row(result.name, result.state, counts, (result.manifest_sha256 or "")[:16])
    out.print(drawn)
    for result in results:
        for problem in result.problems:
            out.print(f"{result.name}: {problem}", soft_wrap=True)
        for what, names in (("missing", result.missing), ("no readable image", result.unreadable)):
            if names:
                more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
                named = ", ".join(names[:NAMED]) + more
                out.print(f"{result.name}: {what} ({len(names):,}): {named}", soft_wrap=True)


def print_result(tables: Tables, files: Sequence[Path], scored: Scored, columns: Sequence[str] | None = None) -> None:
    """The leaderboard, what has no scores and why, and where the files are."""
    table, records = tables.leaderboard, scored.records
    headings, rows = shown(table, columns)
    drawn = Table(title="Leaderboard", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in headings:
        is_name = heading in ("backbone", "similarity", "weights")
        broken = re.sub(r"[._]", "\n", heading)  # columns of numbers stay narrow
        drawn.add_column(broken, justify="left" if is_name else "right", no_wrap=is_name, min_width=5, overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    out.print(drawn)
    for told in (*notes(table, records), *scored.problems, *unranked(scored)):
        out.print(told, soft_wrap=True)
    for reason, names in missing(records).items():
        out.print(f"{', '.join(names)}: {reason}", soft_wrap=True)
    n_ok = sum(record.status == "ok" for record in records)
    out.print(f"{n_ok} of {len(records)} cells have scores; written: {', '.join(map(str, files))}", soft_wrap=True)


def print_rows(rows: Sequence[dict[str, Any]], columns: Sequence[str] = ()) -> None:
    """Rows of one shape as a table, of the columns named or of all."""
    columns = columns or list(rows[0])
    drawn = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        drawn.add_column(column.replace("_", "\n"), overflow="fold", no_wrap=column == "name")
    for row in rows:
        drawn.add_row(*(_cell(row[column]) for column in columns))
    out.print(drawn)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
