"""Search of one set of descriptors in another, with what it found and how fast and how exact that was."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from bench import provenance
from bench.descriptors.usable import Usable
from bench.errors import UsageError
from bench.files import write_atomic, write_json
from bench.similarity import Similarity, TopK, rescore, top_k
from bench.similarity.prepare import Rows
from bench.similarity.scan import threads
from bench.vectors import Column

if TYPE_CHECKING:
    import pyarrow as pa

    from bench.engines import Cluster
    from bench.similarity.approximate import Factory

PACKAGES = ("faiss-cpu", "numba", "numpy", "pyarrow")
#: Queries, drawn at random where there are more, by which an approximate search is compared with the exact one.
JUDGED = 256
QUERIES_AT_ONCE = 4096


@dataclass(frozen=True)
class Speed:
    """Seconds that the search of so many queries took."""

    queries: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.queries / self.seconds


@dataclass(frozen=True)
class Judged:
    """An approximate search against the exact one.

    recall: the mean share of a query's exact top k that was found. exact: of the queries judged, which `seed` draws.
    short: queries for which the index found fewer than k.
    """

    build_s: float
    recall: float
    exact: Speed
    short: int


@dataclass(frozen=True)
class Outcome:
    """What was found; judged: None for an exact search."""

    found: TopK
    speed: Speed
    judged: Judged | None = None


def exact(queries: Usable, database: Usable, similarity: Similarity, k: int) -> Outcome:
    """The k best of each query. Raises as `top_k` does."""
    _warm_up(queries.descriptors, database.descriptors, similarity)
    found, speed = _timed(queries.descriptors, database.descriptors, similarity, k)
    return Outcome(found, speed)


def exact_on(
    cluster: "Cluster",
    queries: Usable,
    opening: Callable[[], Rows],
    similarity: Similarity,
    k: int,
    on_progress: Callable[[int, int], Any],
) -> Outcome:
    """As `exact`, by the workers of a Ray cluster; raises as `bench.engines.search.top_k` does."""
    from bench.engines import search as sharded

    started = time.perf_counter()
    found = sharded.top_k(cluster, queries.descriptors[0 : len(queries.rows)], opening, k, similarity, on_progress)
    return Outcome(found, Speed(len(queries.rows), time.perf_counter() - started))


def approximate(
    asking: Usable, among: Usable, similarity: Similarity, k: int, factory: "Factory", seed: int
) -> Outcome:
    """The k best that indexes of faiss find, judged by an exact search. Raises as `top_k` and `build` do."""
    from bench.similarity.approximate import build

    queries, database = asking.descriptors, among.descriptors
    index = build(database, similarity, factory, seed)
    _warm_up(queries, database, similarity)
    started = time.perf_counter()
    found = index.search(queries, k)
    speed = Speed(len(queries), time.perf_counter() - started)
    chosen = np.arange(len(queries))
    if len(queries) > JUDGED:
        chosen = np.sort(np.random.default_rng(seed).choice(len(queries), JUDGED, replace=False))
    wanted, exact_speed = _timed(queries[chosen], database, similarity, k)
    short = int((found.indices[:, -1] < 0).sum())
    judged = Judged(index.build_s, recall(found.indices[chosen], wanted.indices), exact_speed, short)
    return Outcome(found, speed, judged)


def recall(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
    """The mean share of `wanted` [N, k] that is in the same row of `found` [N, k]."""
    hits = [np.isin(of_wanted, of_found).mean() for of_found, of_wanted in zip(found, wanted, strict=True)]
    return float(np.mean(hits))


def _warm_up(queries: Rows, database: Rows, similarity: Similarity) -> None:
    """Load the compiled code, which is none of the time of a search."""
    top_k(queries[:1], database[:1], 1, similarity)
    rescore(queries[:1], database, np.zeros((1, 1), np.int64), similarity)


def _timed(queries: Any, database: Rows, similarity: Similarity, k: int) -> tuple[TopK, Speed]:
    started = time.perf_counter()
    found = top_k(queries, database, k, similarity)
    return found, Speed(len(queries), time.perf_counter() - started)


def write(path: Path, outcome: Outcome, queries: Usable, database: Usable, what: dict[str, Any]) -> None:
    """Write the pairs found as .parquet or .csv, and beside it the account of the search; both whole, or none.

    Columns: query (row), query_id, rank (from 1), database (row), database_id, score; ids are null where there are
    none. A query for which fewer were found has fewer rows. The account tells `what` was searched how, how fast and how
    exact, by which packages on which machine. Raises UsageError as `require_writable`, OSError.
    """
    require_writable(path)
    account = _account(outcome, what)
    tables = _tables(outcome.found, queries, database)
    write_atomic(path, lambda stream: write_tables(stream, path.suffix.lower(), tables))
    try:
        write_json(report_file(path), account)
    except BaseException:
        path.unlink()
        raise


def require_writable(path: Path) -> None:
    """Raises UsageError where `path` is there already, or has another suffix."""
    if path.suffix.lower() not in (".parquet", ".csv"):
        raise UsageError(f"the output {path} is neither .parquet nor .csv: give it one of these suffixes")
    if there := next((file for file in (path, report_file(path)) if file.exists()), None):
        raise UsageError(f"there is already {there}: name a new file, or delete it")


def report_file(path: Path) -> Path:
    """Where the account of a search is, beside what it found."""
    return path.with_suffix(".json")


def _account(outcome: Outcome, what: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"search": asdict(outcome.speed) | {"queries_per_s": outcome.speed.per_second}}
    if judged := outcome.judged:
        told["approximate"] = asdict(judged)
        told["approximate"]["exact"]["queries_per_s"] = judged.exact.per_second
    hardware = provenance.hardware("cpu", threads())
    where = {"packages": provenance.versions(PACKAGES), "hardware": hardware, "git": provenance.git()}
    return {**what, **told, **where, "finished": provenance.now()}


def _tables(found: TopK, queries: Usable, database: Usable) -> Iterator["pa.Table"]:
    import pyarrow as pa

    k = found.indices.shape[1]
    for first in range(0, len(found.indices), QUERIES_AT_ONCE):
        indices, scores = (a[first : first + QUERIES_AT_ONCE].ravel() for a in (found.indices, found.scores))
        there = indices >= 0
        rows = np.arange(first, first + len(indices) // k).repeat(k)[there]
        rows, matched = queries.rows[rows], database.rows[indices[there]]
        ranks = np.tile(np.arange(1, k + 1, dtype=np.int32), len(indices) // k)[there]
        columns = {
            "query": pa.array(rows, pa.int64()),
            "query_id": _ids(queries.vectors.ids, rows),
            "rank": pa.array(ranks),
            "database": pa.array(matched),
            "database_id": _ids(database.vectors.ids, matched),
            "score": pa.array(scores[there]),
        }
        yield pa.table(columns)


def _ids(names: Column | None, rows: np.ndarray[Any, Any]) -> "pa.Array":
    import pyarrow as pa

    return pa.nulls(len(rows), pa.string()) if names is None else pa.array(names[rows], pa.string())


def write_tables(stream: IO[bytes], suffix: str, tables: Iterator["pa.Table"]) -> None:
    """Tables of one schema, at least one, as one .parquet or .csv file."""
    import pyarrow.csv
    import pyarrow.parquet as pq

    first = next(tables)
    make = pq.ParquetWriter if suffix == ".parquet" else pyarrow.csv.CSVWriter
    with make(stream, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
