"""The index that leaves out by bounds, against the search that looks at everything: equal bit for bit."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.errors import DescriptorError
from bench.files import sha256_file
from bench.similarity import Similarity, bounds, index, kernels, pruned, scan, search, top_k


def uneven(n: int, d: int, seed: int) -> NDArray[np.float32]:
    """Like real descriptors: the energy of each stands in few dimensions."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) * rng.exponential(size=(n, d)) ** 2).astype(np.float32)


def require_equal(q: NDArray[np.floating], x: NDArray[np.floating], k: int, similarity: Similarity) -> bool:
    """Asserts equal results; whether the index left anything out by its bounds."""
    built = index(x, similarity)
    expected = plain(q, x, k, similarity)
    for found in (built.search(q, k), top_k(q, x, k, similarity)):
        assert np.array_equal(found.indices, expected.indices) and np.array_equal(found.scores, expected.scores)
    if built.chunks is None:
        return False
    shape, best = scan.Scan(q, x, similarity).shape, search._none_yet(len(q), k)
    return pruned.Pruned(q, 0, len(q), similarity, shape, best.scores, best.indices).search(built.chunks, most=1)


def plain(q: NDArray[np.floating], x: NDArray[np.floating], k: int, similarity: Similarity) -> search.TopK:
    """The search that looks at everything."""
    best = search._none_yet(len(q), k)
    best = search._look_at_all(scan.Scan(q, x, similarity), k)
    return search.ordered(best.scores, best.indices)


@pytest.fixture(params=[True, False], ids=["whatever survives", "if worth it"])
def _always(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds are used also where the plain search would be faster."""
    if request.param:
        monkeypatch.setattr(pruned, "OVERHEAD", -(10**9))
        monkeypatch.setattr(search, "SORTING_COSTS_QUERIES", 0)


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("spec", ["chunked@2", "chunked@16", "chunked@64", "chunked@16[norm=none]"])
@pytest.mark.parametrize("data", ["uneven", "gaussian", "duplicated", "one chunk dominant", "negative", "constant"])
def test_equals_the_plain_search(spec: str, data: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2003, 128)) if data in ("gaussian", "negative") else uneven(2003, 128, 2)
    q = np.concatenate([x[:40] + 0.05 * rng.normal(size=(40, 128)), uneven(37, 128, 3)])
    if data == "duplicated":
        x[500:1000], x[1500:2000] = x[:500], x[499::-1]
    if data == "one chunk dominant":
        x[:, 3] *= 1000
    if data == "negative":
        x, q = np.abs(x), -np.abs(q)
    if data == "constant":
        x[:] = x[0]
    require_equal(q.astype(np.float32), x.astype(np.float32), 20, Similarity.parse(spec))


def test_the_bounds_are_used_where_they_leave_out_much_and_only_there() -> None:
    q, x = uneven(64, 128, 4), uneven(4000, 128, 5)
    assert require_equal(q, x, 20, Similarity(64))
    rng = np.random.default_rng(6)
    assert not require_equal(rng.normal(size=(64, 128)), rng.normal(size=(4000, 128)), 20, Similarity(4))
    for spec in ("global", "chunked@64[norm=chunk]"):
        assert not require_equal(q, x, 20, Similarity.parse(spec))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 260),
    st.integers(1, 40),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 20),
)
def test_ties_and_zeros_of_small_sets(seed: int, n: int, n_queries: int, chunks: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    q, x = (rng.integers(-1, 2, size=(size, 8)) * rng.integers(0, 3, size=(size, 1)) for size in (n_queries, n))
    q[~q.any(axis=1)], x[~x.any(axis=1)] = 1, -1
    require_equal(q.astype(float), x.astype(float), min(k, n), Similarity(chunks))


def test_all_of_a_database_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruned, "OVERHEAD", -(10**9))
    assert require_equal(uneven(5, 64, 7), uneven(150, 64, 8), 150, Similarity(16))


def test_threads_and_blocks_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    q, x = uneven(130, 128, 9), uneven(3000, 128, 10)
    found = index(x, Similarity(64)).search(q, 20)
    monkeypatch.setattr(pruned, "threads", lambda: 5)
    monkeypatch.setattr(search, "SORTING_COSTS_QUERIES", 0)
    monkeypatch.setattr(search, "TRIED_ROWS", 66)
    monkeypatch.setattr(scan, "QUERY_BYTES", 4 * 128 * 50)
    monkeypatch.setattr(search, "SORTED_BYTES", 2**17)
    monkeypatch.setattr(pruned, "BLOCK_ROWS", 101)
    monkeypatch.setattr(pruned, "STAGES", (6,))
    for again in (index(x, Similarity(64)).search(q, 20), top_k(q, x, 20, Similarity(64))):
        assert np.array_equal(found.scores, again.scores) and np.array_equal(found.indices, again.indices)


def test_tokens_are_chunks_of_it() -> None:
    rng = np.random.default_rng(11)
    q, x = (np.exp(3 * rng.normal(size=(n, 49, 1))) * rng.normal(size=(n, 49, 6)) for n in (33, 900))
    assert require_equal(q, x, 5, Similarity.parse("chunked@tokens"))
    assert not require_equal(q, x, 5, Similarity.parse("cross@tokens"))


def test_compiled_code_is_renewed_with_the_kernels() -> None:
    assert sha256_file(Path(kernels.__file__)) == bounds.KERNELS_SHA256, "write the new hash into bounds.py"


def test_what_cannot_be_searched_is_told() -> None:
    x = uneven(10, 8, 12)
    built = index(x, Similarity(4))
    with pytest.raises(DescriptorError, match="k is 11, but the database has 10"):
        built.search(x, 11)
    with pytest.raises(DescriptorError, match="queries have 4 dimensions and the database 8"):
        built.search(x[:, :4], 1)
    x[7, 3] = np.nan
    with pytest.raises(DescriptorError, match="row 7 of the database is not finite"):
        index(x, Similarity(4))
    with pytest.raises(DescriptorError, match="row 7 of the queries is not finite"):
        built.search(x, 1)
