"""Search of descriptors on disk: exact and by indexes of faiss, larger than memory, written whole."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from numpy.typing import NDArray
from typer.testing import CliRunner

from bench.cli import app
from bench.descriptors.usable import Usable
from bench.errors import BenchError, DescriptorError, UsageError
from bench.search import exact, recall, write
from bench.similarity import Similarity, top_k
from bench.similarity.approximate import Approximate, Factory, build
from bench.similarity.scan import threads
from bench.vectors import open_vectors
from tests.conftest import ROOT
from tests.test_vectors import layout, lists, save, table

M, N, D, K = 600, 40, 24, 5


def numbers(n: int, *tail: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, *tail)).astype(np.float32)


X, Q = numbers(M, D), numbers(N, D, seed=1)


def brute_force(queries: NDArray[Any], database: NDArray[Any], chunks: int, norm: str) -> NDArray[np.float64]:
    """The definition, in float64."""
    q, x = (v.astype(np.float64).reshape(len(v), chunks, -1) for v in (queries, database))
    if norm != "none":
        axes = (1, 2) if norm == "vector" else (2,)
        q, x = (v / np.sqrt((v**2).sum(axis=axes, keepdims=True)) for v in (q, x))
    return np.einsum("ncd,mcd->nmc", q, x).max(axis=2)


def indexed(similarity: str, factory: str, database: NDArray[Any] = X) -> Approximate:
    return build(database, Similarity.parse(similarity), Factory.parse(factory))


@pytest.mark.parametrize("norm", ["vector", "chunk", "none"])
@pytest.mark.parametrize("chunks", [1, 4, 12])
def test_flat_indexes_find_what_the_exact_search_finds(chunks: int, norm: str) -> None:
    if chunks == 1 and norm == "chunk":
        pytest.skip("global has no norm=chunk")
    name = ("global" if chunks == 1 else f"chunked@{chunks}") + (f"[norm={norm}]" if norm != "vector" else "")
    found = indexed(name, "Flat").search(Q, K)
    exact = top_k(Q, X, K, Similarity.parse(name))
    assert np.array_equal(found.indices, exact.indices) and np.array_equal(found.scores, exact.scores)
    scores = brute_force(Q, X, chunks, norm)
    assert np.abs(found.scores - -np.sort(-scores, axis=1)[:, :K]).max() < 1e-5
    assert np.abs(found.scores - np.take_along_axis(scores, found.indices, 1)).max() < 1e-5


@pytest.mark.parametrize("name", ["chunked@tokens", "chunked@tokens/2x2", "chunked@tokens/2x2[norm=chunk]"])
def test_tokens_have_an_index_a_place(name: str) -> None:
    x, q = numbers(200, 16, 6), numbers(9, 16, 6, seed=1)
    index = indexed(name, "Flat", x)
    exact = top_k(q, x, K, Similarity.parse(name))
    found = index.search(q, K)
    assert len(index.indexes) == (4 if "/" in name else 16)
    assert np.array_equal(found.indices, exact.indices) and np.array_equal(found.scores, exact.scores)


@pytest.mark.parametrize("factory", ["IVF8,Flat:nprobe=8", "HNSW16:efSearch=64", "IVF4,PQ6x4:nprobe=4", "SQ8"])
def test_scores_are_exact_whatever_the_index(factory: str) -> None:
    found = indexed("chunked@4", factory).search(Q, K)
    scores = brute_force(Q, X, 4, "vector")
    assert np.abs(found.scores - np.take_along_axis(scores, found.indices, 1)).max() < 1e-6
    assert (np.diff(found.scores, axis=1) <= 0).all()
    exact = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    assert recall(found.indices, exact) > (0.5 if "PQ" in factory else 0.98)


def test_more_lists_are_looked_at_where_asked() -> None:
    exact = top_k(Q, X, K, Similarity.parse("global")).indices
    one, all_ = (indexed("global", f"IVF16,Flat:nprobe={n}").search(Q, K).indices for n in (1, 16))
    assert recall(one, exact) < 0.9 and recall(all_, exact) == 1


def test_a_database_in_blocks_is_indexed_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.similarity import approximate

    monkeypatch.setattr(approximate, "ADDED_ROWS", 7)
    monkeypatch.setattr(approximate, "CANDIDATE_BYTES", 1)
    monkeypatch.setattr(approximate, "TRAINING_ROWS", 50)
    exact = top_k(Q, X, K, Similarity.parse("chunked@4"))
    for factory in ("Flat", "IVF2,Flat:nprobe=2"):
        assert np.array_equal(indexed("chunked@4", factory).search(Q, K).indices, exact.indices)


def test_the_seed_draws_what_is_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.similarity import approximate

    monkeypatch.setattr(approximate, "TRAINING_ROWS", 64)
    monkeypatch.setattr(approximate, "TRAINING_ROWS_A_LIST", 4)
    found = [
        build(X, Similarity.parse("global"), Factory.parse("IVF16,Flat"), seed).search(Q, K).indices
        for seed in (3, 3, 4)
    ]
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


@pytest.mark.parametrize(
    ("similarity", "factory", "sentence"),
    [
        ("cross@tokens", "Flat", "cross@tokens has no approximate index"),
        ("global", "Nonsense", "can't make an index 'Nonsense' of 24 dimensions .could not parse index string"),
        ("global", "PQ7", "can't make an index 'PQ7' .*should be a multiple of the number of subquantizers"),
        ("global", "IVF601,Flat", "can't train an index 'IVF601,Flat' on 600 descriptors .Number of training points"),
        ("global", "IDMap,Flat", "can't fill an index 'IDMap,Flat'"),
        ("global", "Flat:depth=3", "can't make an index 'Flat:depth=3' .*could not set parameter depth"),
        ("global", "", "the index has no description"),
        ("chunked@7", "Flat", "can't cut 24 dimensions"),
    ],
)
def test_an_index_that_cannot_be_is_told(similarity: str, factory: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as told:
        indexed(similarity, factory)
    assert "\n" not in str(told.value) and ".cpp" not in str(told.value)


def test_queries_that_do_not_fit_are_told() -> None:
    index = indexed("global", "Flat")
    with pytest.raises(DescriptorError, match="queries have 23 dimensions and the database 24"):
        index.search(Q[:, 1:], K)
    with pytest.raises(DescriptorError, match="k is 601"):
        index.search(Q, M + 1)
    bad = Q.copy()
    bad[33, 2] = np.nan
    with pytest.raises(DescriptorError, match="row 33 of the queries is not finite"):
        index.search(bad, K)
    x = X.copy()
    x[599] = 0
    with pytest.raises(DescriptorError, match="row 599 of the database is zero"):
        indexed("global", "Flat", x)


def test_without_faiss_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UsageError, match=r"needs faiss: .*\[faiss\]"):
        indexed("global", "Flat")


def search(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["search", *map(str, arguments)])


def refused(*arguments: object) -> str:
    result = search(*arguments)
    assert isinstance(result.exception, BenchError), result.exception
    return str(result.exception)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    layout(tmp_path / "database", [X[:250], X[250:]])
    table(tmp_path / "queries.parquet", 16, id=[f"q{n}" for n in range(N)], v=lists(Q.astype(np.float16)))
    save(tmp_path / "queries.npy", Q)
    return tmp_path


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_exact_search_is_written_with_the_names(suffix: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.search.QUERIES_AT_ONCE", 7)
    file = data / "new" / f"out.{suffix}"
    result = search("--queries", data / "queries.parquet", "--database", data / "database", "--output", file,
                    "--similarity", "chunked@4", "--top-k", K)  # fmt: skip
    assert result.exception is None, result.exception
    if suffix == "csv":
        with file.open(newline="") as stream:
            rows: list[dict[str, Any]] = list(csv.DictReader(stream))
    else:
        rows = pq.read_table(file).to_pylist()
    exact = top_k(Q.astype(np.float16), X, K, Similarity.parse("chunked@4"))
    expected = [(n, r + 1, int(exact.indices[n, r]), float(exact.scores[n, r])) for n in range(N) for r in range(K)]
    assert [(int(r["query"]), int(r["rank"]), int(r["database"]), np.float32(r["score"])) for r in rows] == expected
    names = [f"0/{row}.jpg" for row in range(250)] + [f"1/{row}.jpg" for row in range(350)]
    assert all(r["query_id"] == f"q{r['query']}" and r["database_id"] == names[int(r["database"])] for r in rows)
    told = json.loads((file.parent / "out.json").read_text())
    assert (told["index"], told["similarity"], told["top_k"]) == ("flat", "chunked@4", K)
    assert told["queries_shape"] == [N, D] and told["database_shape"] == [M, D]
    assert "approximate" not in told and told["search"]["queries"] == N
    assert sorted(p.name for p in file.parent.iterdir()) == sorted(["out.json", file.name])


def test_an_approximate_search_is_judged(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.search.JUDGED", 30)
    file = data / "out.parquet"
    result = search("--queries", data / "queries.npy", "--database", data / "database", "--output", file,
                    "--index", "faiss:IVF16,Flat", "--top-k", 50, "--seed", 3)  # fmt: skip
    assert result.exception is None, result.exception
    rows = pq.read_table(file).to_pylist()
    assert all(r["query_id"] is None and r["database_id"] for r in rows)
    told = json.loads((data / "out.json").read_text())
    chosen = np.sort(np.random.default_rng(3).choice(N, 30, replace=False)).tolist()
    best = np.argsort(-brute_force(Q, X, 1, "vector"), axis=1, kind="stable")[:, :50]
    found = [{r["database"] for r in rows if r["query"] == n} for n in range(N)]
    expected = np.mean([len(found[n] & set(best[n].tolist())) / 50 for n in chosen])
    judged = told["approximate"]
    assert 0.1 < expected < 0.95 and judged["recall"] == pytest.approx(expected)
    assert judged["exact"]["queries"] == 30 and told["search"]["queries"] == N and judged["build_s"] > 0
    assert judged["short"] == sum(len(of) < 50 for of in found) > 0
    assert told["packages"]["faiss-cpu"] and told["hardware"]["cpu"] and told["seed"] == 3
    assert told["index"] == "faiss:IVF16,Flat"
    assert f"recall@50: {expected:.4f} (30 of 40 queries, seed 3)" in result.stdout
    assert f"fewer than 50 were found for {judged['short']} queries" in result.stdout
    assert result.stdout.count("queries/s") == 2


def test_what_cannot_be_searched_leaves_nothing(data: Path) -> None:
    before = sorted(data.iterdir())
    common = "--queries", data / "queries.npy", "--database", data / "database"
    assert "neither .parquet nor .csv" in refused(*common, "--output", data / "out.txt")
    assert "there is already" in refused(*common, "--output", data / "queries.parquet")
    assert "there is no index 'ivf'" in refused(*common, "--output", data / "o.csv", "--index", "ivf")
    assert "k is 601" in refused(*common, "--output", data / "o.csv", "--top-k", 601)
    assert "is empty" in refused("--queries", "", *common[2:], "--output", data / "o.csv")
    assert "is empty" in refused(*common[:2], "--database", "", "--output", data / "o.csv")
    assert "there is no similarity" in refused(*common, "--output", data / "o.csv", "--similarity", "chunk")
    tokens = "--output", data / "o.csv", "--similarity", "cross@tokens", "--index", "faiss:Flat"
    assert "no approximate index" in refused(*common, *tokens)
    save(data / "other.npy", Q[:, :8])
    assert "queries have 8 dimensions" in refused(
        "--queries", data / "other.npy", *common[2:], "--output", data / "o.csv"
    )
    (data / "other.npy").unlink()
    assert sorted(data.iterdir()) == before


def test_an_exact_search_never_imports_torch(data: Path) -> None:
    """Which takes more address space than many a limit leaves for a search."""
    script = "import sys; from bench.cli import app; app(sys.argv[1:], standalone_mode=False); print(*sys.modules)"
    asked = "--queries", data / "queries.npy", "--database", data / "database", "--output", data / "o.parquet"
    done = subprocess.run([sys.executable, "-c", script, "search", *map(str, asked)], cwd=ROOT, capture_output=True,
                          text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    modules = done.stdout.splitlines()[-1].split()
    assert "torch" not in modules and "bench.similarity.kernels" in modules
    told = json.loads((data / "o.json").read_text())
    assert told["hardware"]["threads"] == threads() and told["hardware"]["gpu"] is None
    assert len(pq.read_table(data / "o.parquet")) == N * 20


def test_a_search_whose_account_cannot_be_written_leaves_nothing(data: Path) -> None:
    before = sorted(data.iterdir())
    database = Usable.of(open_vectors(str(data / "database")))
    outcome = exact(database, database, Similarity(), K)
    with pytest.raises(ValueError, match="JSON"):  # which has no NaN
        write(data / "o.csv", outcome, database, database, {"seed": np.nan})
    assert sorted(data.iterdir()) == before
    write(data / "o.csv", outcome, database, database, {"seed": 0})
    assert sorted(data.iterdir()) == sorted([*before, data / "o.csv", data / "o.json"])


LIMITED = """
import resource, sys
import numpy as np
from bench.similarity import Similarity, top_k
from bench.vectors import open_vectors
from pathlib import Path

folder = Path(sys.argv[1])
queries = np.load(folder / "queries.npy")
similarity = Similarity.parse("chunked@4")
top_k(queries, queries, 1, similarity)  # compiled code, threads and libraries are there before the limit
open_vectors(str(folder / "queries.parquet"))[:]
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 96 * 2**20,) * 2)
try:
    np.load(folder / "large.npy", mmap_mode="r")
    sys.exit("the limit limits nothing")
except (OSError, MemoryError):
    pass
for name in ("large.npy", "large.parquet"):
    database = open_vectors(str(folder / name))
    found = top_k(queries, database, 3, similarity)
    print(len(database), *found.indices[:, 0].tolist())
"""


def test_a_database_larger_than_the_allowed_memory(tmp_path: Path) -> None:
    """192 MiB under a limit of 96 MiB beyond what the process has already, where it can't be mapped as a whole."""
    dimension, rows, repeats = 512, 16384, 6
    part = numbers(rows, dimension)
    queries = numbers(3, dimension, seed=1)
    with (tmp_path / "large.npy").open("wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows * repeats, dimension)}
        np.lib.format.write_array_header_1_0(stream, header)
        for _ in range(repeats):
            part.tofile(stream)
    places = [rows * repeats - 1, 5, rows * 3]
    offset = (tmp_path / "large.npy").stat().st_size - rows * repeats * dimension * 4
    changed = np.memmap(tmp_path / "large.npy", np.float32, "r+", offset, (rows * repeats, dimension))
    changed[places] = queries
    changed.flush()
    save(tmp_path / "queries.npy", queries)
    table(tmp_path / "queries.parquet", v=lists(queries))
    with pq.ParquetWriter(tmp_path / "large.parquet", table_of(queries).schema, compression="none") as writer:
        for first in range(0, rows * repeats, rows):
            writer.write_table(table_of(changed[first : first + rows]), row_group_size=4096)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment |= {"MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], cwd=ROOT, env=environment,
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [" ".join(map(str, [rows * repeats, *places]))] * 2


def table_of(rows: NDArray[np.float32]) -> Any:
    import pyarrow as pa

    return pa.table({"v": lists(np.ascontiguousarray(rows), "fixed")})


@pytest.mark.parametrize("side", ["queries", "database"])
@pytest.mark.parametrize(
    ("spoil", "row", "why"),
    [
        (lambda x: x.__setitem__((3, 1), np.nan), 3, "not finite"),
        (lambda x: x.__setitem__(5, 0), 5, "zero"),
    ],
)
def test_rows_that_cannot_be_compared_are_listed_and_left_out(
    spoil: Callable[[NDArray[np.float32]], None], row: int, why: str, side: str, tmp_path: Path
) -> None:
    sides = {"queries": X[:8].copy(), "database": X.copy()}
    spoil(sides[side])
    for name, rows in sides.items():
        np.save(tmp_path / f"{name}.npy", rows)
    command = [sys.executable, "-m", "bench", "search", "--queries", "queries.npy", "--database", "database.npy"]
    command += ["--similarity", "global", "--output", "found.csv", "--top-k", "3"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(*more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, *more], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    strict = run("--strict")
    assert strict.returncode == 2 and strict.stderr == f"error: row {row} is {why} in the {side}\n"
    assert not list(tmp_path.glob("found*"))
    ran = run()
    assert ran.returncode == 0 and f"{side}: 1 image can't be read or described" in ran.stdout, ran.stderr
    assert (tmp_path / "found.unreadable.csv").read_text() == f"side,id,reason\n{side},{row},row {row} is {why}\n"
    found = pd.read_csv(tmp_path / "found.csv")
    kept = {name: [n for n in range(len(rows)) if (name, n) != (side, row)] for name, rows in sides.items()}
    wanted = top_k(sides["queries"][kept["queries"]], sides["database"][kept["database"]], 3, Similarity())
    assert found["query"].tolist() == np.repeat(kept["queries"], 3).tolist()
    assert found["database"].tolist() == np.array(kept["database"])[wanted.indices].ravel().tolist()
    np.testing.assert_allclose(found["score"], wanted.scores.ravel(), rtol=1e-6)
