"""How long the verdict takes: 20 backbones x 10 datasets x 1,000 queries, 1,000 resamples.

Run with `python -m pytest tests/benchmarks/test_ranking.py --benchmark-enable`. Half of the datasets are of copies,
with micro-AP, 800 matches and what is left of 1,000 x 1,000 pooled pairs.
"""

import resource
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.evidence import Evidence
from bench.metrics import Judged, Pool, Ranks
from bench.plan import Definition
from bench.ranking import rank
from bench.records import Record, order
from bench.report import tables_of
from bench.scored import Scored
from bench.similarity import Similarity

RETRIEVAL = ("map", "map_rop", "hit@1", "recall@10", "mrr")
COPY = (*RETRIEVAL, "micro_ap", "recall@p90", "threshold@p90")


def evidence(rng: np.random.Generator, n_queries: int, is_copy: bool, quality: float) -> Evidence:
    n_positives = np.where(np.arange(n_queries) < 0.8 * n_queries, 1, 0) if is_copy else np.full(n_queries, 10)
    query = np.repeat(np.arange(n_queries), n_positives)
    ranks = rng.geometric(quality, n_positives.sum()) - 1
    ranks = np.concatenate([np.cumsum(ranks[query == q]) + np.arange(n) for q, n in enumerate(n_positives)])
    pool = None
    if is_copy:
        scores = rng.normal(size=(n_queries, 1000)).astype(np.float32)
        is_match = np.zeros(scores.shape, bool)
        is_match[np.flatnonzero(n_positives), 0] = True
        scores[is_match] += 4 * quality
        pool = Pool(scores.ravel(), is_match.ravel(), np.full(n_queries, 1000)).reduced()
    judged = Judged(Ranks(ranks, query, n_queries), ranks, n_positives, pool)
    ids = tuple(f"q{i}" for i in range(n_queries))
    return Evidence.of(
        {"": judged}, ids, (), np.zeros((n_queries, 10), np.int64), np.zeros((n_queries, 10), np.float32)
    )


def run_of(n_backbones: int, n_datasets: int, n_queries: int) -> Scored:
    rng = np.random.default_rng(0)
    hardware = {"device": "cpu", "cpu": "", "gpu": None, "cores": 2, "threads": 2, "ram_gb": 1, "os": "", "python": ""}
    records, of = [], {}
    for backbone in range(n_backbones):
        for dataset in range(n_datasets):
            is_copy = dataset % 2 == 1
            made = evidence(rng, n_queries, is_copy, 0.3 + 0.02 * backbone)
            metrics = COPY if is_copy else RETRIEVAL
            body: dict[str, Any] = {
                "status": "ok",
                "error": None,
                "run_id": "0" * 32,
                "backbone": {"name": f"b{backbone}", "weights": "pretrained", "embed_dim": 8, "params_m": 1.0}
                | {"licence": "", "non_commercial": False},
                "preprocess": {"mode": "official"},
                "postprocess": {"spec": "", "fit_set": None},
                "dataset": {"name": f"d{dataset}", "kind": "copy" if is_copy else "retrieval", "limit": None}
                | {"metrics": list(metrics)},
                "similarity": {"spec": "global", "kind": "global"},
                "metrics": {name: made.score(name).value for name in metrics},
                "n_used": {name: made.score(name).n_queries for name in metrics},
                "by_tag": {},
                "throughput": None,
                "hardware": hardware,
                "packages": {"torch": "", "timm": "", "pillow": ""},
                "git": {"sha": None, "dirty": None},
                "seed": 0,
            }
            records.append(Record(body))
            of[Definition(f"b{backbone}", f"d{dataset}", Similarity())] = made
    return Scored(tuple(sorted(records, key=order)), of, n_datasets)


@pytest.mark.parametrize("what", ["rank", "tables"])
def test_verdict(benchmark: BenchmarkFixture, what: str) -> None:
    size = (3, 2, 50) if benchmark.disabled else (20, 10, 1000)
    run = run_of(*size)
    rounds = 1 if benchmark.disabled else 3

    def fresh() -> tuple[tuple[Scored], dict[str, Any]]:
        return (Scored(run.records, run.evidence, run.n_datasets),), {}  # nothing of an earlier round is kept

    found = benchmark.pedantic(rank if what == "rank" else tables_of, setup=fresh, rounds=rounds)
    benchmark.extra_info["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ranking = found if what == "rank" else found.verdicts[0]
    assert len(ranking.standings) == size[0] and all(s.low is not None for s in ranking.standings)
