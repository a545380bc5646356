"""The search against brute force in float64, and the properties that define the similarities."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from bench.errors import DescriptorError, UsageError
from bench.similarity import Similarity, search, top_k
from bench.similarity.spec import parse_all

SPECS = ["global", "chunked@1", "chunked@2", "chunked@4", "chunked@8[norm=chunk]", "chunked@4[norm=chunk]"]


def brute_force(q: NDArray[np.floating], x: NDArray[np.floating], similarity: Similarity) -> NDArray[np.float64]:
    """Every score by the definition, one pair and one chunk at a time."""

    def unit(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return v / max(np.sqrt((v * v).sum()), 1e-300)

    scores = np.empty((len(q), len(x)))
    for i, a in enumerate(q.astype(np.float64)):
        for j, b in enumerate(x.astype(np.float64)):
            if similarity.norm == "vector":
                a, b = unit(a), unit(b)
            chunks = [np.split(v, similarity.chunks or 1) for v in (a, b)]
            if similarity.norm == "chunk":
                chunks = [[unit(c) for c in of] for of in chunks]
            scores[i, j] = max((c * d).sum() for c, d in zip(*chunks, strict=True))
    return scores


def by_definition(scores: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Indices by falling float32 score, ties by lower index."""
    return np.argsort(-scores.astype(np.float32), axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("k", [1, 7, 60])
def test_equals_brute_force(spec: str, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    q, x = rng.normal(size=(23, 16)).astype(np.float32), rng.normal(size=(60, 16)).astype(np.float32)
    similarity = Similarity.parse(spec)
    expected = brute_force(q, x, similarity)
    for query_block, database_block in [(256, 4096), (5, 7), (1, 1)]:
        monkeypatch.setattr(search, "QUERY_BLOCK", query_block)
        monkeypatch.setattr(search, "DATABASE_BLOCK", database_block)
        found = top_k(q, x, k, similarity)
        assert found.scores.dtype == np.float32 and found.indices.dtype == np.int64
        assert np.array_equal(found.indices, by_definition(expected, k))
        assert np.allclose(found.scores, np.take_along_axis(expected, found.indices, 1), atol=1e-6)


vectors = arrays(np.float32, (9, 8), elements=st.integers(-2, 2).map(float)).filter(lambda a: a.any(axis=1).all())


@settings(max_examples=150, deadline=None)
@given(q=vectors, x=vectors, spec=st.sampled_from([*SPECS[:4], "chunked@8[norm=chunk]"]), k=st.integers(1, 9))
def test_ties_go_to_the_lower_index(q: NDArray[np.float32], x: NDArray[np.float32], spec: str, k: int) -> None:
    similarity = Similarity.parse(spec)
    found = top_k(q, x, k, similarity)
    expected = brute_force(q, x, similarity)
    assert np.allclose(found.scores, -np.sort(-expected, axis=1)[:, :k], atol=1e-6)
    same = found.scores[:, 1:] == found.scores[:, :-1]
    assert (np.diff(found.indices, axis=1)[same] > 0).all()
    assert all(len(set(row)) == k for row in found.indices.tolist())


@pytest.mark.parametrize("spec", SPECS)
def test_duplicated_rows_tie_wherever_they_stand(spec: str) -> None:
    rng = np.random.default_rng(2)
    base = rng.normal(size=(50, 128)).astype(np.float32)
    x = np.concatenate([base, base[::-1], base])
    found = top_k(rng.normal(size=(300, 128)).astype(np.float32), x, 150, Similarity.parse(spec))
    for scores, indices in zip(found.scores.reshape(300, 50, 3), found.indices.reshape(300, 50, 3), strict=True):
        assert (scores == scores[:, :1]).all()
        assert (np.diff(indices, axis=1) > 0).all()


def test_negative_zero_ties_with_zero() -> None:
    keys = search._sort_keys(np.array([[-0.0, 0.0, -0.0]], np.float32), 0)
    assert search._indices_of(np.sort(keys)[:, ::-1]).tolist() == [[0, 1, 2]]


def test_chunk_products_add_up_to_the_cosine() -> None:
    rng = np.random.default_rng(3)
    q, x = rng.normal(size=(5, 24)), rng.normal(size=(6, 24))
    a, b = (search._chunks(v, Similarity(4)) for v in (q, x))
    cosine = brute_force(q, x, Similarity())
    assert np.allclose(sum(c @ d.T for c, d in zip(a, b, strict=True)), cosine)


def test_an_exact_copy_can_lose_with_vector_norm_and_never_with_chunk_norm() -> None:
    q = np.array([[0.5, 0.5, 0.5, 0.5]])
    x = np.array([[0.5, 0.5, 0.5, 0.5], [1.0, 0.0, 0.0, 0.0]])
    assert top_k(q, x, 2, Similarity.parse("chunked@4")).scores.tolist() == [[0.5, 0.25]]
    assert top_k(q, x, 2, Similarity.parse("chunked@4[norm=chunk]")).scores.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("spec", SPECS)
def test_scale_does_not_matter_and_self_similarity_is_one(spec: str) -> None:
    similarity = Similarity.parse(spec)
    x = np.abs(np.random.default_rng(4).normal(size=(20, 16))) + 0.1
    scale = np.linspace(1e-3, 1e4, 20)[:, None]
    one, other = top_k(x, x, 20, similarity), top_k(x * scale, x * scale[::-1], 20, similarity)
    assert np.allclose(one.scores, other.scores, atol=1e-6)
    if spec == "global" or "chunk]" in spec:
        assert np.allclose(one.scores[:, 0], 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_takes_tensors(dtype: torch.dtype) -> None:
    q, x = torch.randn(4, 16, dtype=dtype), torch.randn(9, 16, dtype=dtype, requires_grad=True)
    similarity = Similarity.parse("chunked@4")
    found = top_k(q, x, 3, similarity)
    expected = brute_force(q.double().numpy(), x.detach().double().numpy(), similarity)
    assert np.array_equal(found.indices, by_definition(expected, 3))


def test_memory_never_holds_all_chunk_products() -> None:
    import tracemalloc

    x = np.random.default_rng(5).normal(size=(20_000, 64)).astype(np.float32)
    tracemalloc.start()
    top_k(x[:512], x, 20, Similarity(64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # 512 x 20,000 x 64 products would be 2.6 GB, one 512 x 20,000 matrix of keys 82 MB


@pytest.mark.parametrize("spec", [*SPECS, "chunked@128"])
def test_a_spec_prints_as_it_is_written(spec: str) -> None:
    assert str(Similarity.parse(spec)) == spec


def test_default_norm_is_vector() -> None:
    assert Similarity.parse("chunked@16[norm=vector]") == Similarity.parse("chunked@16") == Similarity(16, "vector")
    assert parse_all("global, chunked@4,global") == [Similarity(), Similarity(4)]


@pytest.mark.parametrize(
    "text", ["", "gobal", "chunked", "chunked@0", "chunked@-2", "chunked@4[norm=row]", "chunked@4x"]
)
def test_unknown_specs_are_told_the_forms(text: str) -> None:
    with pytest.raises(UsageError, match="chunked@K"):
        Similarity.parse(text)


def test_chunks_that_do_not_divide_list_the_divisors() -> None:
    x = np.ones((2, 12))
    with pytest.raises(UsageError, match="K may be 2, 3, 4, 6, 12"):
        top_k(x, x, 1, Similarity(5))


def bad(row: int, value: float) -> NDArray[np.float64]:
    x = np.ones((3, 4))
    x[row] = value
    return x


@pytest.mark.parametrize(
    ("q", "x", "k", "told"),
    [
        (np.ones((1, 4)), bad(1, np.nan), 1, "row 1 of the database is not finite"),
        (bad(2, np.inf), np.ones((1, 4)), 1, "row 2 of the queries is not finite"),
        (np.ones((1, 4)), bad(0, 0), 1, "row 0 of the database is zero"),
        (np.ones((1, 4)), np.ones((3, 5)), 1, "queries have 4 dimensions and the database 5"),
        (np.ones((1, 4)), np.ones((3, 4)), 4, "k is 4, but the database has 3"),
        (np.ones((1, 4)), np.ones((3, 4)), 0, "k is 0"),
        (np.ones((0, 4)), np.ones((3, 4)), 1, r"queries have shape \(0, 4\)"),
        (np.ones(4), np.ones((3, 4)), 1, r"queries have shape \(4,\)"),
        (np.ones((1, 4), int), np.ones((3, 4)), 1, "type int64"),
    ],
)
def test_what_cannot_be_compared_is_told(q: NDArray[np.float64], x: NDArray[np.float64], k: int, told: str) -> None:
    with pytest.raises(DescriptorError, match=told):
        top_k(q, x, k, Similarity())
