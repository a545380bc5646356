"""How long exact search takes, beside one plain matrix product with top-k in the same run.

Run with `python -m pytest tests/benchmarks --benchmark-enable --benchmark-group-by=group`.
"""

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from bench.similarity import Similarity, top_k

N, M, D, K = 1000, 20_000, 512, 20


@pytest.fixture(scope="module")
def gaussian() -> tuple[torch.Tensor, torch.Tensor]:
    """Worst case: nothing of it can be pruned."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N, D, generator=generator), torch.randn(M, D, generator=generator)


@pytest.mark.benchmark(group=f"search N={N} M={M} D={D} k={K}")
def test_unit_torch_matrix_product(benchmark: BenchmarkFixture, gaussian: tuple[torch.Tensor, torch.Tensor]) -> None:
    q, x = (torch.nn.functional.normalize(v) for v in gaussian)
    scores, _ = benchmark(lambda: (q @ x.T).topk(K))
    assert scores.shape == (N, K)


@pytest.mark.benchmark(group=f"search N={N} M={M} D={D} k={K}")
@pytest.mark.parametrize("spec", ["global", "chunked@4", "chunked@16", "chunked@64"])
def test_top_k(spec: str, benchmark: BenchmarkFixture, gaussian: tuple[torch.Tensor, torch.Tensor]) -> None:
    q, x = (v.numpy() for v in gaussian)
    found = benchmark(top_k, q, x, K, Similarity.parse(spec))
    assert found.scores.shape == (N, K) and np.all(np.diff(found.scores, axis=1) <= 0)
