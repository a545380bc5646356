"""Nearest others and the chunks that meet, against plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.audit.matches import of_others
from bench.similarity import Similarity, meeting_chunks, pairwise, rescore


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(1, 8), st.integers(1, 12))
def test_others_are_all_but_oneself_and_ones_twins(seed: int, n: int, n_kinds: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (n, 8)).astype(np.float32) + 0.5
    twins = rng.integers(0, n_kinds, n)
    rows = rng.permutation(n)[: max(1, n // 2)]
    k = min(k, n)
    found = of_others(rows, vectors, twins, k, Similarity.parse("chunked@2"))
    scores = pairwise(vectors, vectors, Similarity.parse("chunked@2"))
    for row, indices, of in zip(rows, found.indices, found.scores, strict=True):
        others = [other for other in range(n) if twins[other] != twins[row]]
        wanted = sorted(others, key=lambda other: (-scores[row, other], other))[:k]
        assert indices.tolist() == wanted + [-1] * (k - len(wanted))
        assert of[: len(wanted)].tolist() == scores[row, wanted].tolist() and np.isneginf(of[len(wanted) :]).all()


@pytest.mark.parametrize("spec", ["global", "chunked@4", "chunked@4[norm=chunk]", "chunked@4[norm=none]"])
def test_the_chunk_that_meets_gives_the_score(spec: str) -> None:
    rng = np.random.default_rng(1)
    similarity = Similarity.parse(spec)
    queries, database = rng.normal(size=(2, 7, 16)).astype(np.float32)
    candidates = np.array([[q, 3, -1] for q in range(7)])
    found = meeting_chunks(queries, database, candidates, similarity)
    scores = rescore(queries, database, candidates, similarity)
    n = similarity.chunks or 1
    for query, row in np.ndindex(7, 2):
        q, x = queries[query].astype(np.float64).reshape(n, -1), database[candidates[query, row]].reshape(n, -1)
        if similarity.norm == "vector":
            q, x = q / np.linalg.norm(q), x / np.linalg.norm(x)
        if similarity.norm == "chunk":
            q, x = (of / np.linalg.norm(of, axis=1, keepdims=True) for of in (q, x))
        products = (q * x).sum(axis=1)
        assert found[query, row].tolist() == [products.argmax()] * 2
        assert scores[query, row] == pytest.approx(products.max(), abs=1e-6)
    assert (found[:, 2] == -1).all() and found.dtype == np.int32


@pytest.mark.parametrize("spec", ["chunked@tokens", "cross@tokens", "cross@tokens/2x2"])
def test_tokens_that_meet(spec: str) -> None:
    rng = np.random.default_rng(2)
    similarity = Similarity.parse(spec)
    queries, database = rng.normal(size=(2, 5, 16, 6)).astype(np.float32)
    candidates = np.array([[q, (q + 1) % 5] for q in range(5)])
    found = meeting_chunks(queries, database, candidates, similarity)
    for query, row in np.ndindex(5, 2):
        q, x = (of.astype(np.float64) for of in (queries[query], database[candidates[query, row]]))
        if similarity.grid:
            q, x = (of.reshape(2, 2, 2, 2, 6).mean(axis=(1, 3)).reshape(4, 6) for of in (q, x))
        products = q / np.linalg.norm(q) @ (x / np.linalg.norm(x)).T
        if not similarity.cross:
            products = np.where(np.eye(len(products), dtype=bool), products, -np.inf)
        assert found[query, row].tolist() == list(np.unravel_index(products.argmax(), products.shape))
