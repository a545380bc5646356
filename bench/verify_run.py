"""Whether a run folder still says what it was measured to say: scores from evidence, tables from records."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.evaluate import scores_of
from bench.evidence import Evidence, precisions
from bench.records import EVIDENCE, TABLES, Record, RunFolder, record_name
from bench.report import tables_of
from bench.scored import Scored

#: Differences of one table that are named; the others are counted.
NAMED = 5
#: Columns that name a row of a table, where it has them.
KEYS = ("group", "rule", "backbone", "weights", "dataset", "similarity", "tag", "metric")
#: What comes of numbers that no run has written.
_BROKEN = (BenchError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def problems(folder: Path, scored: Scored) -> Iterator[str]:
    """A sentence for each thing in the folder that does not follow from what it was made of.

    Scores, numbers of queries and scores by tag of every record are computed again from its evidence and must be equal
    to the last bit; every table is made again from the records and must be on disk byte for byte.
    """
    yield from scored.problems
    yield from _stray(RunFolder(folder))
    for record in scored.records:
        if evidence := scored.evidence.get(record.cell):
            try:
                yield from (f"the record of {record.cell}: {told}" for told in _of_record(record, evidence))
            except _BROKEN as error:
                why = f"{type(error).__name__}: {error}"
                yield f"the record of {record.cell} can't be held against its evidence ({why})"
    try:
        texts = tables_of(scored).texts
    except _BROKEN as error:
        yield f"the tables can't be made from the records ({type(error).__name__}: {error})"
        return
    for name in dict.fromkeys([*texts, *TABLES]):
        yield from of_table(folder / name, texts.get(name))


def _stray(folder: RunFolder) -> Iterator[str]:
    """What lies among the records and is neither the one record of a cell nor its evidence."""
    files = folder.files()
    for path in files:
        try:
            record = folder.record_at(path)
        except BenchError:
            continue  # told when it was read
        if (name := record_name(record.cell, record.weights)) != path.name:
            yield f"the file {path} is a second record of {record.cell}, which stands in {name}: delete it"
    for path in folder.records_path.glob(f"*{EVIDENCE}"):
        if path.with_suffix(".json") not in files:
            yield f"the evidence {path} is of no record: delete it"


def _of_record(record: Record, packed: Evidence) -> Iterator[str]:
    body = record.body
    evidence = replace(packed, judged=dict(packed.judged))  # unpacked once
    n_queries = len(evidence.query_ids)
    if n_queries != body["dataset"]["n_queries"]:
        yield f"dataset.n_queries is {body['dataset']['n_queries']}, but its evidence has {n_queries} queries"
        return
    if not np.array_equal(evidence.ap, precisions(next(iter(evidence.judged.values()))), equal_nan=True):
        yield "the average precisions in its evidence do not follow from the ranks in it"
    scores, by_tag = scores_of(evidence, body["dataset"]["metrics"])
    follows = {
        "metrics": {name: score.value for name, score in scores.items()},
        "n_used": {name: score.n_queries for name, score in scores.items()},
        "by_tag": {tag: {name: asdict(score) for name, score in of.items()} for tag, of in by_tag.items()},
    }
    there, wanted = (dict(_leaves({name: of[name] for name in follows})) for of in (body, follows))
    for name in dict.fromkeys([*there, *wanted]):
        if there.get(name) != wanted.get(name) or (name in there) != (name in wanted):
            yield f"{name} is {there.get(name, 'missing')}, but {wanted.get(name, 'nothing')} follows from its evidence"


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings by their dotted names."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def of_table(path: Path, follows: str | None) -> Iterator[str]:
    """Where a table on disk is not `follows`, the text that it should have; None where there should be no table."""
    if not path.is_file():
        if follows is not None:
            yield f"the table {path} is not there: `report` makes it"
        return
    if follows is None:
        yield f"the table {path} follows from no record: delete it"
        return
    content = path.read_bytes()
    if content == follows.encode():
        return
    text = content.decode(errors="replace")
    found = _cells(text, follows) if path.suffix == ".csv" else _lines(text, follows)
    named = [f"{path.name}, {told}" for told in islice(found, NAMED)]
    yield from named or [f"{path.name} has other bytes, such as line ends, than follow from the records"]
    if more := sum(1 for _ in found):
        yield f"{path.name}: {more:,} more differences; `report` makes it again"


def _cells(text: str, follows: str) -> Iterator[str]:
    """Where two tables in CSV differ; the header and the number of rows are told before any cell."""
    try:
        header, *rows = [*csv.reader(io.StringIO(text, newline=""))] or [[]]
    except csv.Error:  # a lost quotation mark makes one cell of all that follows
        yield from _lines(text, follows)
        return
    wanted_header, *wanted = csv.reader(io.StringIO(follows, newline=""))
    if header != wanted_header:
        yield f"the columns are {','.join(header)}, but {','.join(wanted_header)} follow from the records"
        return
    if len(rows) != len(wanted):
        yield f"it has {len(rows):,} rows, but {len(wanted):,} follow from the records"
    for line, (row, wanted_row) in enumerate(zip(rows, wanted, strict=False), 2):
        key = ", ".join(cell for column, cell in zip(header, wanted_row, strict=False) if column in KEYS)
        for column, cell, wanted_cell in zip_longest(header, row, wanted_row, fillvalue=""):
            if cell != wanted_cell:
                yield f"line {line} ({key}), {column}: is {_told(cell)}, but {_told(wanted_cell)} follows"


def _lines(text: str, follows: str) -> Iterator[str]:
    for line, (there, wanted) in enumerate(zip_longest(text.splitlines(), follows.splitlines()), 1):
        if there != wanted:
            yield f"line {line}: is {_told(there)}, but {_told(wanted)} follows"


def _told(text: str | None) -> str:
    if not text:
        return "empty" if text == "" else "missing"
    return text if len(text) <= 60 else f"{text[:60]}..."
