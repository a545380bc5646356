"""What changed between two runs, cell by cell, and whether chance would do as much."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.evidence import Evidence
from bench.metrics import parse
from bench.plan import Definition
from bench.ranking import LEVEL
from bench.records import Record
from bench.report.choose import as_text, better, p_text
from bench.scored import SEED, Scored
from bench.uncertainty import bootstrap_p, holm, interval, rounded, sign_flip_p

Statement = Literal["better", "worse", "same", "not separable", "not comparable", "only in A", "only in B"]

COLUMNS = (
    "backbone",
    "dataset",
    "similarity",
    "metric",
    "a",
    "b",
    "difference",
    "ci_low",
    "ci_high",
    "p",
    "test",
    "statement",
    "why",
)
#: Of a dataset its main metric, which is its first, and this one.
POOLED = "micro_ap"
#: Units of metrics that are the mean of a number each query has.
_MEANS = ("queries with a positive", "queries with a class")
#: Weights of a block of single queries that are in memory at once.
_WEIGHTS = 2**24
#: Cells that are compared at once: with 1,000 queries each takes about 200 MB.
_CELLS = 4


@dataclass(frozen=True)
class Change:
    """A cell's score by a metric in run A and in run B.

    low, high: 95 % interval of b - a, by bootstrap over the queries, the same ones drawn in both. p: Holm-corrected
    over all changes, by the test named: `sign flip` (of the queries' own scores), `bootstrap` where a metric pools
    queries. statement: of B beside A, better or worse where p is below 5 %. why: what it could not be compared for.
    """

    cell: Definition
    metric: str
    a: float | None
    b: float | None
    statement: Statement
    low: float | None = None
    high: float | None = None
    p: float | None = None
    test: str = ""
    why: str = ""

    @property
    def difference(self) -> float | None:
        return None if self.a is None or self.b is None else self.b - self.a


@dataclass(frozen=True)
class Difference:
    """Something else that is not the same in two runs, and its values there."""

    what: str
    a: str
    b: str


def compare(a: Scored, b: Scored) -> list[Change]:
    """Every cell of either run by its main metric and micro-AP, in the order of every table, run A's cells first."""
    of_a, of_b = ({record.cell: record for record in run.records} for run in (a, b))
    cells = dict.fromkeys([*of_a, *of_b])
    # products of several threads wait for one another where each has threads of its own
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(min(_CELLS, os.cpu_count() or 1), "compare") as pool:
        found = pool.map(lambda cell: _changes(cell, of_a.get(cell), of_b.get(cell), a, b), cells)
        return _corrected([change for of_cell in found for change in of_cell])


def table(changes: Iterable[Change]) -> pd.DataFrame:
    """One row per change, with COLUMNS; a value that does not exist is missing."""
    rows = [
        (
            c.cell.backbone,
            c.cell.dataset,
            str(c.cell.similarity),
            c.metric,
            c.a,
            c.b,
            c.difference,
            c.low,
            c.high,
            c.p,
            c.test,
            c.statement,
            c.why,
        )
        for c in changes
    ]
    numbers = dict.fromkeys(("a", "b", "difference", "ci_low", "ci_high", "p"), "float64")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(numbers)


def rows(changes: Iterable[Change]) -> list[dict[str, str]]:
    """The changes for people, scores as in the leaderboard."""
    return [
        {
            "name": str(c.cell),
            "metric": c.metric,
            **{side: as_text(value, f"{c.cell.dataset}.{c.metric}") for side, value in (("A", c.a), ("B", c.b))},
            "B - A": _signed(c, c.difference),
            "95 %": " to ".join(_signed(c, end) for end in (c.low, c.high) if end is not None),
            "p": p_text(c.p),
            "B is": c.statement + (f": {c.why}" if c.why else ""),
        }
        for c in changes
    ]


def counted(changes: Iterable[Change]) -> dict[str, int]:
    """How many changes have each statement, in the order of statements."""
    found = Counter(change.statement for change in changes)
    return {statement: found[statement] for statement in get_args(Statement) if found[statement]}


def differences(a: Scored, b: Scored) -> list[Difference]:
    """What else differs: settings, weights and data of the cells that both have, versions, commits, machines."""
    of_a, of_b = (_told(run.records) for run in (a, b))
    both = [what for what in dict.fromkeys([*of_a, *of_b]) if of_a.get(what) != of_b.get(what)]
    # a backbone or dataset of one run alone is told by its cells
    own = [what for what in both if what in of_a and what in of_b]
    return [Difference(what, *(", ".join(sorted(of[what])) for of in (of_a, of_b))) for what in own]


def _signed(change: Change, value: float | None) -> str:
    text = as_text(value, f"{change.cell.dataset}.{change.metric}")
    return f"+{text}" if value is not None and value > 0 else text


def _metrics(*records: Record) -> list[str]:
    measured = [name for record in records for name in record.body["dataset"]["metrics"]]
    return list(dict.fromkeys([measured[0], *([POOLED] if POOLED in measured else [])]))


def _changes(cell: Definition, in_a: Record | None, in_b: Record | None, a: Scored, b: Scored) -> list[Change]:
    """Of one cell by each metric."""
    metrics = _metrics(*(record for record in (in_a, in_b) if record is not None))
    evidence = [_unpacked(run.evidence.get(cell)) for run in (a, b)]
    return [_change(cell, metric, in_a, in_b, evidence, a) for metric in metrics]


def _unpacked(evidence: Evidence | None) -> Evidence | None:
    """With all judged results in memory: they are asked for metric by metric."""
    return evidence and replace(evidence, judged=dict(evidence.judged))


def _change(
    cell: Definition,
    metric: str,
    in_a: Record | None,
    in_b: Record | None,
    evidence: Sequence[Evidence | None],
    a: Scored,
) -> Change:
    values = [record.body["metrics"].get(metric) if record else None for record in (in_a, in_b)]
    if values[0] is None or values[1] is None:
        return _of_one(cell, metric, in_a, in_b, *values)
    assert in_a is not None and in_b is not None  # they have values
    found = Change(cell, metric, values[0], values[1], "not comparable")
    if why := _apart(in_a, in_b, metric):
        return replace(found, why=why)
    if evidence[0] is None or evidence[1] is None:
        lost = " and ".join(name for name, of in zip("AB", evidence, strict=True) if of is None)
        return replace(found, why=f"the evidence in {lost} can't be used")
    if evidence[0].query_ids != evidence[1].query_ids:
        return replace(found, why="the queries are others")
    return _tested(found, evidence[0], evidence[1], a.weights(cell.dataset, len(evidence[0].query_ids)), in_a)


def _of_one(
    cell: Definition, metric: str, in_a: Record | None, in_b: Record | None, a: float | None, b: float | None
) -> Change:
    """The change of a cell that has no score in one run, or in neither."""
    reasons = [f"{name}: {told}" for name, of, value in (("A", in_a, a), ("B", in_b, b)) if (told := _why(of, value))]
    statement: Statement = "only in A" if a is not None else "only in B" if b is not None else "not comparable"
    return Change(cell, metric, a, b, statement, why="; ".join(reasons))


def _why(record: Record | None, value: float | None) -> str:
    if record is None or value is not None:
        return ""
    if record.status != "ok":
        return f"{record.status}: {record.body['error']['message']}"
    return "the metric has no value"


def _apart(a: Record, b: Record, metric: str) -> str:
    """Why two records of one cell can't be compared by a metric; empty where they can."""
    if "random" in (a.weights, b.weights):
        return "random weights say nothing of a backbone"
    manifests = [record.body["dataset"]["manifest_sha256"] for record in (a, b)]
    if manifests[0] != manifests[1]:
        return f"the data are others (manifest {manifests[0][:12]} in A, {manifests[1][:12]} in B)"
    versions = [record.body["metric_versions"].get(metric) for record in (a, b)]
    if versions[0] != versions[1]:
        return f"the metric is another (version {versions[0]} in A, {versions[1]} in B)"
    return ""


def _tested(change: Change, a: Evidence, b: Evidence, weights: NDArray[np.float32], record: Record) -> Change:
    """The change with its interval and the p of its own test."""
    drawn = b.resampled([change.metric], weights)[change.metric] - a.resampled([change.metric], weights)[change.metric]
    between = interval(drawn, record.body["n_used"][change.metric]) or (None, None)
    found = replace(change, low=between[0], high=between[1], statement="not separable")
    if change.difference == 0 and not np.any(drawn[~np.isnan(drawn)]):
        # no test could ever tell them apart, so that none counts among those to correct for (Tarone 1990)
        return replace(found, statement="same")
    if parse(change.metric)[0].unit in _MEANS:
        own = _own(b, change.metric) - _own(a, change.metric)
        return replace(found, test="sign flip", p=float(sign_flip_p([own[None, ~np.isnan(own)]], SEED)[0]))
    assert change.difference is not None  # both have a value
    return replace(
        found, test="bootstrap", p=bootstrap_p(drawn, change.difference, record.body["n_used"][change.metric])
    )


def _own(evidence: Evidence, metric: str) -> NDArray[np.float64]:
    """The score of each query alone [Q], nan where it has none."""
    n_queries = len(evidence.query_ids)
    size = max(1, _WEIGHTS // n_queries)
    blocks = [np.arange(first, min(first + size, n_queries)) for first in range(0, n_queries, size)]
    alone = [(rows[:, None] == np.arange(n_queries)).astype(np.float32) for rows in blocks]
    return np.concatenate([evidence.resampled([metric], weights)[metric] for weights in alone])


def _corrected(changes: list[Change]) -> list[Change]:
    """The changes with p corrected over all of them, and the statement that follows."""
    tested = [at for at, change in enumerate(changes) if change.p is not None]
    corrected = holm(np.array([changes[at].p for at in tested], np.float64))
    found = list(changes)
    for at, p in zip(tested, corrected.tolist(), strict=True):
        found[at] = replace(changes[at], p=rounded(p), statement=_statement(changes[at], p))
    return found


def _statement(change: Change, p: float) -> Statement:
    difference = change.difference
    direction = better(f"{change.cell.dataset}.{change.metric}")
    if p >= LEVEL or not difference or direction is None:
        return change.statement
    return "better" if (difference > 0) == (direction == "high") else "worse"


def _told(records: Iterable[Record]) -> dict[str, set[str]]:
    """What a run's records say of settings, data and machines, and the values they have."""
    found: dict[str, set[str]] = {}
    for what, value in (pair for record in records for pair in _of_record(record)):
        found.setdefault(what, set()).add("none" if value in (None, "") else str(value))
    return found


def _of_record(record: Record) -> Iterator[tuple[str, Any]]:
    body = record.body
    backbone, dataset = record.cell.backbone, record.cell.dataset
    yield "preprocess", body["preprocess"]["mode"]
    yield "postprocess", body["postprocess"]["spec"]
    yield "background", body["postprocess"]["fit_set"]
    yield "limit", body["dataset"]["limit"]
    yield "seed", body["seed"]
    yield f"weights of {backbone}", record.weights
    if (sha256 := body["backbone"]["weights_sha256"]) is not None:  # unknown where they could not be had
        yield f"weights sha256 of {backbone}", sha256
    for name in ("resize", "size", "crop", "interpolation", "mean", "std"):
        yield f"preprocess {name} of {backbone}", body["preprocess"][name]
    yield f"precision of {backbone}", body["precision"]
    if (manifest := body["dataset"].get("manifest_sha256")) is not None:
        yield f"manifest of {dataset}", manifest
    yield f"metrics of {dataset}", ",".join(body["dataset"]["metrics"])
    yield "commit", (body["git"]["sha"] or "unknown") + (" with local changes" if body["git"]["dirty"] else "")
    yield from body["packages"].items()
    yield from body["hardware"].items()
