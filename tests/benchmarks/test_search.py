"""How long exact search takes, beside one plain matrix product with top-k and beside peers, in the same run.

Run with `python -m pytest tests/benchmarks/test_search.py --benchmark-enable --benchmark-group-by=group`. What needs
real descriptors, float32 [21000, D] in an .npy file that DESCRIPTORS names, is skipped without them.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from bench.similarity import Similarity, histogram, index, pairwise, top_k

N, K = 1000, 20
SIZES = [(20_000, 512), (20_000, 1280), (20_000, 2048), (100_000, 512), (100_000, 1280), (100_000, 2048)]
Gaussian = Callable[[int, int], tuple[NDArray[np.float32], NDArray[np.float32]]]


def sizes(*chosen: tuple[int, int]) -> Any:
    return pytest.mark.parametrize(
        ("m", "d"),
        [
            pytest.param(m, d, marks=pytest.mark.benchmark(group=f"Gaussian, N={N} M={m} D={d} k={K}"))
            for m, d in chosen
        ],
    )


@pytest.fixture(scope="module")
def gaussian() -> Gaussian:
    """Worst case: nothing of it can be pruned. Unit vectors."""
    made: dict[tuple[int, int], tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def make(m: int, d: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if (m, d) not in made:
            made.clear()
            generator = torch.Generator().manual_seed(0)
            q, x = (torch.nn.functional.normalize(torch.randn(n, d, generator=generator)) for n in (N, m))
            made[m, d] = q.numpy(), x.numpy()
        return made[m, d]

    return make


def measured(benchmark: BenchmarkFixture, work: Callable[..., Any], *arguments: Any) -> Any:
    return benchmark.pedantic(work, arguments, rounds=7, warmup_rounds=1)


# the last decorator varies slowest: what is compared is timed one after the other
@pytest.mark.parametrize("spec", ["unit", "global", "chunked@4", "chunked@16", "chunked@64"])
@sizes(*SIZES)
def test_gaussian(benchmark: BenchmarkFixture, m: int, d: int, spec: str, gaussian: Gaussian) -> None:
    if benchmark.disabled and (m, d) != SIZES[0]:
        pytest.skip("large, and nothing is timed")
    q, x = gaussian(m, d)
    if spec == "unit":
        tq, tx = torch.from_numpy(q), torch.from_numpy(x)
        scores, _ = measured(benchmark, lambda: (tq @ tx.T).topk(K))
        assert scores.shape == (N, K)
    else:
        found = measured(benchmark, top_k, q, x, K, Similarity.parse(spec))
        assert np.all(np.diff(found.scores, axis=1) <= 0)


@pytest.mark.benchmark(group="roofline: torch's product of two square matrices of 4,096")
def test_peak(benchmark: BenchmarkFixture) -> None:
    """What the machine's matrix product reaches, 2 * 4096**3 operations: what a search can be compared with."""
    n = 64 if benchmark.disabled else 4096
    a, b = torch.randn(2, n, n)
    assert measured(benchmark, torch.mm, a, b).shape == (n, n)


@sizes(SIZES[0])
@pytest.mark.parametrize("chunks", [4, 16, 64])
def test_einsum_in_30_pieces(benchmark: BenchmarkFixture, m: int, d: int, chunks: int, gaussian: Gaussian) -> None:
    """All products of all chunks, then their maximum: the formulation of the method's authors, piece by piece."""
    q, x = (torch.from_numpy(v).reshape(len(v), chunks, -1) for v in gaussian(m, d))

    def search() -> torch.Tensor:
        pieces = [torch.einsum("ncp,mcp->nmc", q, piece).amax(2) for piece in x.chunk(30)]
        return torch.cat(pieces, 1).topk(K).values

    found = measured(benchmark, search).numpy()
    ours = top_k(q.flatten(1), x.flatten(1), K, Similarity(chunks)).scores
    assert np.abs(found - ours).max() < 1e-6


@sizes(SIZES[0])
def test_faiss_flat(benchmark: BenchmarkFixture, m: int, d: int, gaussian: Gaussian) -> None:
    faiss = pytest.importorskip("faiss")
    q, x = gaussian(m, d)
    flat = faiss.IndexFlatIP(d)
    flat.add(x)
    scores, _ = measured(benchmark, flat.search, q, K)
    assert np.abs(scores - top_k(q, x, K, Similarity()).scores).max() < 1e-6


@sizes(SIZES[0])
@pytest.mark.parametrize("what", ["pairwise", "histogram"])
def test_all_pairs(benchmark: BenchmarkFixture, m: int, d: int, what: str, gaussian: Gaussian) -> None:
    q, x = gaussian(m, d)
    measured(benchmark, {"pairwise": pairwise, "histogram": histogram}[what], q, x, Similarity(16))


@pytest.fixture(scope="module")
def real() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if not os.environ.get("DESCRIPTORS"):
        pytest.skip("DESCRIPTORS names no file of real descriptors")
    shuffled = np.random.default_rng(0).permutation(np.load(os.environ["DESCRIPTORS"]))
    return shuffled[:N], shuffled[N:]


@pytest.mark.benchmark(group="real descriptors")
@pytest.mark.parametrize("spec", ["unit", "global", "chunked@4", "chunked@16", "chunked@64", "chunked@128"])
@pytest.mark.parametrize("how", ["build", "search", "top_k"])
def test_real(
    benchmark: BenchmarkFixture, how: str, spec: str, real: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> None:
    q, x = real
    if spec == "unit":
        tq, tx = (torch.nn.functional.normalize(torch.from_numpy(v)) for v in real)
        measured(benchmark, lambda: (tq @ tx.T).topk(K))
        return
    similarity = Similarity.parse(spec)
    if how == "build":
        measured(benchmark, index, x, similarity)
    else:
        work = index(x, similarity).search if how == "search" else lambda q, k: top_k(q, x, k, similarity)
        measured(benchmark, work, q, K)


def tokens_of(benchmark: BenchmarkFixture) -> tuple[int, int]:
    """Queries and database; few where nothing is timed."""
    return (40, 60) if benchmark.disabled else (128, 2000)


@pytest.mark.benchmark(group="tokens")
@pytest.mark.parametrize("spec", ["product", "chunked@tokens"])
def test_aligned_tokens(benchmark: BenchmarkFixture, spec: str) -> None:
    """196 x 768: as many products as of vectors of 150,528 dimensions."""
    generator = torch.Generator().manual_seed(0)
    q, x = (torch.randn(n, 196, 768, generator=generator) for n in tokens_of(benchmark))
    if spec == "product":
        measured(benchmark, lambda: q.flatten(1) @ x.flatten(1).T)
    else:
        measured(benchmark, top_k, q.numpy(), x.numpy(), K, Similarity.parse(spec))


@pytest.mark.benchmark(group="crossed tokens")
@pytest.mark.parametrize("spec", ["product", "cross@tokens"])
def test_crossed_tokens(benchmark: BenchmarkFixture, spec: str) -> None:
    """7 x 7 cells of 768: as many products as of all tokens with all."""
    generator = torch.Generator().manual_seed(0)
    q, x = (torch.randn(n, 49, 768, generator=generator) for n in tokens_of(benchmark))
    if spec == "product":
        measured(benchmark, lambda: q.flatten(0, 1) @ x.flatten(0, 1).T)
    else:
        measured(benchmark, top_k, q.numpy(), x.numpy(), K, Similarity.parse(spec))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.benchmark(group="on a GPU, N=1000 M=100000 D=1280 k=20")
@pytest.mark.parametrize("spec", ["unit", "global", "chunked@4", "chunked@16", "chunked@64"])
@pytest.mark.parametrize("on", ["cuda", "cpu"])
def test_gpu(benchmark: BenchmarkFixture, on: str, spec: str, gaussian: Gaussian) -> None:
    """Tensors on the device, and on the host of the same machine: the results are the same."""
    q, x = (torch.from_numpy(v).to(on) for v in gaussian(100_000, 1280))
    if spec == "unit":
        measured(benchmark, lambda: (q @ x.T).topk(K).values.cpu())
        return
    similarity = Similarity.parse(spec)
    found = measured(benchmark, top_k, q, x, K, similarity)
    few = top_k(q[:8].cpu(), x.cpu(), K, similarity)
    assert np.array_equal(found.indices[:8], few.indices) and np.array_equal(found.scores[:8], few.scores)
