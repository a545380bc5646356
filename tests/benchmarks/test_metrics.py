"""How long the metrics take: rankings of the revisited benchmarks, many queries, pools of copy detection.

Run with `python -m pytest tests/benchmarks/test_metrics.py --benchmark-enable`. The loop over queries stands for how
the public reference code computes the same number.
"""

import resource
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from bench.metrics import micro_average_precision, recall_at_precision, revisited

N_PAIRS = 5_000_000

MANY = "mAP and mP@1,5,10 of three difficulties, 5,000 queries x 6,000 images"
Truth = list[dict[str, NDArray[np.int64]]]


def rankings(n_queries: int, n_images: int) -> tuple[NDArray[np.int64], Truth]:
    """Random full rankings; of each query 20 images are easy, 20 hard and 20 junk."""
    rng = np.random.default_rng(0)
    ranking = np.empty((n_queries, n_images), np.int64)
    for row in ranking:
        row[:] = rng.permutation(n_images)
    truth = []
    for _ in range(n_queries):
        chosen = rng.choice(n_images, 60, replace=False)
        truth.append(dict(zip(("easy", "hard", "junk"), np.split(chosen, 3), strict=True)))
    return ranking, truth


@pytest.fixture(scope="module")
def many() -> tuple[NDArray[np.int64], Truth]:
    return rankings(5_000, 6_000)


@pytest.fixture(scope="module")
def pool() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    is_match = rng.random(N_PAIRS) < 0.001
    return (rng.normal(size=N_PAIRS) + 4 * is_match).astype(np.float32), is_match


def loop(ranking: NDArray[np.int64], truth: Truth, positives: list[str], junk: list[str]) -> list[float]:
    """Mean trapezoid AP and P@1, 5, 10: query after query, positive after positive, a step at a time."""
    rows = []
    places = np.arange(ranking.shape[1])
    for order, of in zip(ranking, truth, strict=True):
        good, ignored = (np.concatenate([of[label] for label in labels]) for labels in (positives, junk))
        ranks, skipped = (places[np.isin(order, wanted)] for wanted in (good, ignored))
        passed = 0
        for number in range(len(ranks)):
            while passed < len(skipped) and ranks[number] > skipped[passed]:
                passed += 1
            ranks[number] -= passed
        ap = 0.0
        for number, rank in enumerate(ranks):
            before = 1.0 if rank == 0 else float(number) / rank
            ap += (before + float(number + 1) / (rank + 1)) / 2 / len(good)
        row = [ap]
        for k in (1, 5, 10):
            cut = min(max(ranks) + 1, k)
            row.append((ranks < cut).sum() / cut)
        rows.append(row)
    return np.mean(rows, axis=0).tolist()


def three_loops(ranking: NDArray[np.int64], truth: Truth) -> dict[str, list[float]]:
    setups = {"E": (["easy"], ["junk", "hard"]), "M": (["easy", "hard"], ["junk"]), "H": (["hard"], ["junk", "easy"])}
    return {name: loop(ranking, truth, *setup) for name, setup in setups.items()}


def require_equal(found: dict[str, dict[str, float]], expected: dict[str, list[float]]) -> None:
    for name, values in expected.items():
        assert list(found[name].values()) == pytest.approx(values)


@pytest.mark.benchmark(group="revisited, 70 queries x 1,006,322 images")
def test_revisited_with_a_million_distractors(benchmark: BenchmarkFixture) -> None:
    ranking, truth = rankings(70, 1_006_322)
    found = benchmark.pedantic(revisited, (ranking, truth), rounds=3)
    benchmark.extra_info["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    assert 0 < found["H"]["map_rop"] < found["M"]["map_rop"] < 0.001


@pytest.mark.benchmark(group=MANY)
def test_loops_over_queries(benchmark: BenchmarkFixture, many: tuple[Any, Truth]) -> None:
    benchmark.pedantic(three_loops, many, rounds=2)


@pytest.mark.benchmark(group=MANY)
def test_revisited_of_many_queries(benchmark: BenchmarkFixture, many: tuple[Any, Truth]) -> None:
    benchmark(revisited, *many)
    some = many[0][:300], many[1][:300]
    require_equal(revisited(*some), three_loops(*some))


@pytest.mark.benchmark(group="micro-AP and recall@p90 of 5 million predictions")
def test_micro_average_precision(benchmark: BenchmarkFixture, pool: tuple[Any, Any]) -> None:
    n_positives = int(pool[1].sum())
    assert 0 < benchmark(micro_average_precision, *pool, n_positives) < 1


@pytest.mark.benchmark(group="micro-AP and recall@p90 of 5 million predictions")
def test_recall_at_precision(benchmark: BenchmarkFixture, pool: tuple[Any, Any]) -> None:
    assert benchmark(recall_at_precision, *pool, int(pool[1].sum()))
