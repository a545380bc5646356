"""The search against brute force in float64, and the properties that define the similarities."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from bench.errors import DescriptorError, UsageError
from bench.similarity import (
    Similarity,
    device,
    histogram,
    merge,
    pairs,
    pairwise,
    range_search,
    rescore,
    scan,
    search,
    top_k,
)
from bench.similarity.prepare import normalised
from bench.similarity.spec import parse_all

SPECS = [
    "global",
    "global[norm=none]",
    "chunked@1",
    "chunked@2",
    "chunked@4",
    "chunked@8[norm=chunk]",
    "chunked@4[norm=chunk]",
    "chunked@4[norm=none]",
]
TOKENS = [
    "chunked@tokens",
    "chunked@tokens[norm=chunk]",
    "chunked@tokens/2x1",
    "cross@tokens",
    "cross@tokens[norm=chunk]",
    "cross@tokens/2x2[norm=none]",
]


def brute_force(q: NDArray[np.floating], x: NDArray[np.floating], similarity: Similarity) -> NDArray[np.float64]:
    """Every score by the definition, one pair and one chunk at a time."""

    def unit(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return v / max(np.sqrt((v * v).sum()), 1e-300)

    def chunks(v: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        if similarity.grid is not None:
            side = round(len(v) ** 0.5)
            cells = torch.from_numpy(v.reshape(side, side, -1)).permute(2, 0, 1)
            v = torch.nn.functional.adaptive_avg_pool2d(cells, similarity.grid).flatten(1).T.numpy()
        if similarity.norm == "vector":
            v = unit(v)
        cut = list(v) if similarity.tokens else np.split(v, similarity.chunks or 1)
        return [unit(c) for c in cut] if similarity.norm == "chunk" else cut

    cut_q, cut_x = ([chunks(v) for v in vectors.astype(np.float64)] for vectors in (q, x))
    scores = np.empty((len(q), len(x)))
    for i, a in enumerate(cut_q):
        for j, b in enumerate(cut_x):
            pairs = [(c, d) for c in a for d in b] if similarity.cross else zip(a, b, strict=True)
            scores[i, j] = max((c * d).sum() for c, d in pairs)
    return scores


def by_definition(scores: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Indices by falling score, ties by lower index."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def descriptors(spec: str, n: int, seed: int) -> NDArray[np.float32]:
    shape = (n, 9, 5) if "tokens" in spec else (n, 16)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("spec", [*SPECS, *TOKENS])
@pytest.mark.parametrize("k", [1, 7, 60])
def test_equals_brute_force(spec: str, k: int) -> None:
    q, x = descriptors(spec, 43, 1), descriptors(spec, 60, 2)
    similarity = Similarity.parse(spec)
    expected = brute_force(q, x, similarity)
    found = top_k(q, x, k, similarity)
    assert found.scores.dtype == np.float32 and found.indices.dtype == np.int64
    assert np.array_equal(found.indices, by_definition(expected, k))
    assert np.allclose(found.scores, np.take_along_axis(expected, found.indices, 1), rtol=1e-6, atol=1e-6)
    assert np.allclose(pairwise(q, x, similarity), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["positive", "of both signs", "heavy-tailed"])
def test_long_sums_stay_close_to_float64(kind: str) -> None:
    x = np.random.default_rng(12).normal(size=(60, 2048))
    if kind != "of both signs":
        x = np.abs(x) ** (3 if kind == "heavy-tailed" else 1)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert np.abs(pairwise(x, x, Similarity()) - unit @ unit.T).max() < 1e-5


@pytest.mark.parametrize("spec", ["global", "chunked@8", "chunked@7[norm=chunk]", "chunked@tokens", "cross@tokens/2x2"])
def test_blocks_threads_and_company_do_not_change_a_bit(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (16, 35) if "tokens" in spec else (560,)
    rng = np.random.default_rng(5)
    q, x = (rng.normal(size=(n, *shape)).astype(np.float32) for n in (130, 101))
    similarity = Similarity.parse(spec)
    scores, found = pairwise(q, x, similarity), top_k(q, x, 9, similarity)
    for rows, n_bytes, query_bytes, n_threads in [(6, 2**24, 2**27, 1), (504, 1, 1, 3), (36, 2**14, 2**16, 7)]:
        monkeypatch.setattr(scan, "BLOCK_ROWS", rows)
        monkeypatch.setattr(scan, "BLOCK_BYTES", n_bytes)
        monkeypatch.setattr(scan, "QUERY_BYTES", query_bytes)
        monkeypatch.setattr(scan, "threads", lambda n=n_threads: n)
        assert np.array_equal(pairwise(q, x, similarity), scores)
        again = top_k(q, x, 9, similarity)
        assert np.array_equal(again.indices, found.indices) and np.array_equal(again.scores, found.scores)
    assert np.array_equal(pairwise(q[50:51], x[::-1], similarity)[0], scores[50, ::-1])
    candidates = np.stack([rng.permutation(101)[:8] for _ in q])
    assert np.array_equal(rescore(q, x, candidates, similarity), np.take_along_axis(scores, candidates, 1))
    ready = [normalised(v, similarity) for v in (q, x)]
    assert np.array_equal(pairwise(*ready, replace(similarity, norm="none")), scores)


@pytest.mark.parametrize("spec", ["global", "chunked@8", "cross@tokens"])
def test_named_pairs_score_as_in_a_search_of_all(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    similarity = Similarity.parse(spec)
    q, x = descriptors(spec, 41, 20), descriptors(spec, 90, 21)
    if spec == "cross@tokens":
        q = q[:, 1:]  # not as many tokens as in the database
    candidates = np.random.default_rng(22).integers(-1, 90, size=(41, 70))
    expected = np.take_along_axis(pairwise(q, x, similarity), np.maximum(candidates, 0), 1)
    expected[candidates < 0] = -np.inf
    for n_bytes in (1, 2**16, 2**25):
        monkeypatch.setattr(pairs, "CANDIDATE_BYTES", n_bytes)
        assert np.array_equal(rescore(q, x, candidates, similarity), expected)


@pytest.mark.parametrize("n_bytes", [1, 2**25])
def test_a_bad_candidate_is_named_by_its_row_in_the_database(n_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "CANDIDATE_BYTES", n_bytes)
    q, x = (np.random.default_rng(seed).normal(size=(n, 8)) for seed, n in ((0, 4), (1, 90)))
    x[77], x[5] = np.nan, 0
    candidates = np.array([[-1, 40, 3], [9, 77, 77], [-1, 2, 80], [-1, 1, 4]])
    with pytest.raises(DescriptorError, match="row 77 of the database is not finite"):
        rescore(q, x, candidates, Similarity())
    with pytest.raises(DescriptorError, match="row 5 of the database is zero"):
        rescore(q[:1], x, np.array([[88, 77, 89, -1, 5]]), Similarity())


@pytest.mark.parametrize("n_threads", [1, 2, 7])
def test_the_first_bad_row_is_named_whichever_thread_meets_it(n_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "BLOCK_ROWS", 6)
    monkeypatch.setattr(scan, "threads", lambda: n_threads)
    q, x = (np.random.default_rng(0).normal(size=(n, 8)) for n in (40, 600))
    x[[101, 107, 113, 599]] = np.nan
    for _ in range(20):
        with pytest.raises(DescriptorError, match="row 101 of the database is not finite"):
            top_k(q, x, 3, Similarity())


@pytest.mark.parametrize("spec", ["global", "chunked@8[norm=chunk]"])
def test_parts_of_a_database_merge_into_the_whole(spec: str) -> None:
    rng = np.random.default_rng(6)
    q, x = rng.integers(-2, 3, size=(30, 16)) + 0.5, rng.integers(-1, 2, size=(90, 16)) + 0.5
    similarity = Similarity.parse(spec)
    whole = top_k(q, x, 12, similarity)
    parts = []
    for first, last in [(60, 90), (0, 7), (7, 60)]:
        part = top_k(q, x[first:last], min(12, last - first), similarity)
        parts.append(search.TopK(part.scores, part.indices + first))
    merged = merge(parts, 12)
    assert np.array_equal(merged.indices, whole.indices) and np.array_equal(merged.scores, whole.scores)
    assert (whole.scores[:, 1:] == whole.scores[:, :-1]).any()  # there are ties to be kept in order


@pytest.mark.parametrize("spec", ["global", "chunked@4", "cross@tokens"])
@pytest.mark.parametrize("threshold", [-2.0, -0.1, 0.3, 0.999])
def test_range_search_finds_all_at_or_over_the_threshold(
    spec: str, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "ROOM", 10)
    monkeypatch.setattr(scan, "BLOCK_ROWS", 12)
    q = descriptors(spec, 37, 7)
    x = np.concatenate([q[:20], descriptors(spec, 40, 8)])
    similarity = Similarity.parse(spec)
    scores = pairwise(q, x, similarity)
    found = range_search(q, x, threshold, similarity)
    expected = [
        (i, j) for i, row in enumerate(scores) for j in np.lexsort((np.arange(60), -row)) if row[j] >= threshold
    ]
    assert list(zip(found.queries.tolist(), found.indices.tolist(), strict=True)) == expected
    assert np.array_equal(found.scores, scores[found.queries, found.indices])
    exactly = range_search(q, x, float(scores[3, 30]), similarity)
    assert (3, 30) in set(zip(exactly.queries.tolist(), exactly.indices.tolist(), strict=True))


@pytest.mark.filterwarnings("error")
def test_a_threshold_may_be_beyond_float32_but_not_nan() -> None:
    x = np.eye(3)
    for threshold in (1e300, float(np.finfo(np.float32).max), np.inf):
        assert not len(range_search(x, x, threshold, Similarity()).scores)
    for threshold in (-1e300, -float(np.finfo(np.float32).max), -np.inf):
        assert len(range_search(x, x, threshold, Similarity()).scores) == 9
    with pytest.raises(UsageError, match="the threshold is not a number"):
        range_search(x, x, np.nan, Similarity())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("bins", "low", "high"),
    [(0, -1, 1), (-3, -1, 1), (2.5, -1, 1), (4, 1, 1), (4, 1, -1), (4, np.nan, 1), (4, 0, np.nan), (4, -np.inf, 1)],
)
def test_bins_that_there_cannot_be_are_told(bins: int, low: float, high: float) -> None:
    with pytest.raises(UsageError, match=f"there are no {bins} bins from {low} to {high}: choose at least one"):
        histogram(np.eye(3), np.eye(3), Similarity(), bins, low, high)


@pytest.mark.parametrize("spec", ["global", "chunked@8", "cross@tokens"])
@pytest.mark.parametrize(("bins", "low", "high"), [(200, -1.0, 1.0), (7, -1.0, 1.0), (10, 0.0, 0.3)])
def test_the_histogram_counts_every_pair(spec: str, bins: int, low: float, high: float) -> None:
    q, x = descriptors(spec, 70, 9), descriptors(spec, 55, 10)
    similarity = Similarity.parse(spec)
    found = histogram(q, x, similarity, bins, low, high)
    inside = np.clip(pairwise(q, x, similarity).astype(np.float64), low, np.nextafter(high, low))
    assert np.array_equal(found.edges, np.linspace(low, high, bins + 1))
    assert found.counts.tolist() == np.histogram(inside, bins, (low, high))[0].tolist()
    assert found.counts.sum() == 70 * 55


def test_a_score_on_an_edge_belongs_to_the_bin_above() -> None:
    x = np.array([[1.0, 0.0]])
    q = np.array([[3.0, 4.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]])  # cosines 0.6 (in float32 over it), 0, -1, 1
    assert histogram(q, x, Similarity(), 4).counts.tolist() == [1, 0, 1, 2]


vectors = arrays(np.float32, (9, 8), elements=st.integers(-2, 2).map(float)).filter(lambda a: a.any(axis=1).all())


@settings(max_examples=150, deadline=None)
@given(q=vectors, x=vectors, spec=st.sampled_from(SPECS), k=st.integers(1, 9))
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
    x = np.array([[0.0, -1.0], [-0.0, 1.0], [0.0, 1.0]])
    assert top_k(np.array([[1.0, 0.0]]), x, 3, Similarity()).indices.tolist() == [[0, 1, 2]]
    assert top_k(np.array([[-1.0, 0.0]]), x, 3, Similarity()).indices.tolist() == [[0, 1, 2]]


def test_chunk_products_add_up_to_the_cosine() -> None:
    rng = np.random.default_rng(3)
    q, x = rng.normal(size=(5, 24)), rng.normal(size=(6, 24))
    a, b = (normalised(v, Similarity(4)).reshape(len(v), 4, 6) for v in (q, x))
    cosine = brute_force(q, x, Similarity())
    assert np.allclose(np.einsum("ncd,mcd->nm", a, b), cosine, atol=1e-6)


def test_an_exact_copy_can_lose_with_vector_norm_and_never_with_chunk_norm() -> None:
    q = np.array([[0.5, 0.5, 0.5, 0.5]])
    x = np.array([[0.5, 0.5, 0.5, 0.5], [1.0, 0.0, 0.0, 0.0]])
    assert top_k(q, x, 2, Similarity.parse("chunked@4")).scores.tolist() == [[0.5, 0.25]]
    assert top_k(q, x, 2, Similarity.parse("chunked@4[norm=chunk]")).scores.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("spec", [spec for spec in SPECS if "none" not in spec])
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
    assert np.allclose(found.scores, np.take_along_axis(expected, by_definition(expected, 3), 1), atol=1e-6)


def test_memory_does_not_grow_with_the_database() -> None:
    """400 MB of rows, of which none stays: peak of the process over what it needed for a small search."""
    script = """
import resource, numpy as np
from bench.similarity import Similarity, top_k

class Made:
    shape, dtype = (200_000, 512), np.dtype(np.float32)
    some = np.random.default_rng(0).normal(size=(5000, 512)).astype(np.float32)
    def __len__(self): return self.shape[0]
    def __getitem__(self, rows): return self.some[np.arange(rows.start, rows.stop) % 5000]

q = np.random.default_rng(1).normal(size=(1000, 512)).astype(np.float32)
for spec in ("global", "chunked@16[norm=chunk]"):
    top_k(q[:50], q, 20, Similarity.parse(spec))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = top_k(q, Made(), 20, Similarity.parse(spec))
    assert found.indices.max() < 200_000
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    grown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert len(grown) == 2 and all(int(kib) < 64 * 1024 for kib in grown)


@pytest.mark.parametrize("spec", [*SPECS, *TOKENS, "chunked@128"])
def test_a_spec_prints_as_it_is_written(spec: str) -> None:
    assert str(Similarity.parse(spec)) == spec


def test_default_norm_is_vector() -> None:
    assert Similarity.parse("chunked@16[norm=vector]") == Similarity.parse("chunked@16") == Similarity(16, "vector")
    assert Similarity.parse("chunked[norm=chunk]") == Similarity(16, "chunk")
    assert parse_all("global,chunked,chunked@16") == [Similarity(), Similarity(16)]
    assert parse_all("global, chunked@4,global") == [Similarity(), Similarity(4)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gobal",
        "chunked@",
        "chunked@0",
        "chunked@-2",
        "chunked@4[norm=row]",
        "chunked@4x",
        "cross@4",
        "global[norm=chunk]",
        "global@4",
        "cross",
        "chunked@tokens/0x7",
        "chunked@tokens/7",
    ],
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
        (np.ones((1, 4)), np.ones((3, 4)), 2.0, "k is 2.0, but the database has 3 descriptors: choose k from 1 to 3"),
        (np.ones((1, 4)), np.ones((3, 4)), "2", "k is 2"),
        (np.ones((0, 4)), np.ones((3, 4)), 1, r"shape of the queries is \(0, 4\), but .*, dimension\], not empty$"),
        (np.ones(4), np.ones((3, 4)), 1, r"shape of the queries is \(4,\), but .*, dimension\]$"),
        (np.ones((1, 4), int), np.ones((3, 4)), 1, "the type of the queries is int64"),
        (np.ones((1, 4)), bad(1, -np.inf).astype(np.float32), 1, "row 1 of the database is not finite"),
    ],
)
def test_what_cannot_be_compared_is_told(q: NDArray[np.float64], x: NDArray[np.float64], k: int, told: str) -> None:
    with pytest.raises(DescriptorError, match=told):
        top_k(q, x, k, Similarity())


def test_k_may_be_any_integer() -> None:
    x = np.eye(3)
    assert top_k(x, x, np.int64(2), Similarity()).indices.shape == (3, 2)


TOO_LONG = r"row 1 of the {} is too long to be normalised \(its norm is 2e\+155, at most 1e\+140\): scale it"
TOO_SHORT = r"row 1 of the {} is too short to be normalised \(the norm of it or of a chunk is under 1e-140\): scale it"
OVERFLOWS = (
    r"row 1 of the {} is too long for inner products in float32 \(its norm is 2e\+19, at most 1e\+18\): scale it"
)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("role", ["queries", "database"])
@pytest.mark.parametrize(
    ("value", "spec", "told"),
    [
        (1e155, "global", TOO_LONG),
        (1e155, "chunked@2[norm=chunk]", TOO_LONG),
        (1e-160, "global", TOO_SHORT),
        (1e-155, "chunked@2", TOO_SHORT),
        (1e-320, "chunked@2[norm=chunk]", TOO_SHORT),
        (1e19, "global[norm=none]", OVERFLOWS),
        (1e19, "chunked@2[norm=none]", OVERFLOWS),
    ],
)
def test_norms_that_floats_cannot_work_with_are_told(value: float, spec: str, told: str, role: str) -> None:
    fine, similarity = np.ones((400, 4)), Similarity.parse(spec)
    q, x = (bad(1, value), fine) if role == "queries" else (fine, bad(1, value))
    with pytest.raises(DescriptorError, match=told.format(role)):
        top_k(q, x, 1, similarity)
    with pytest.raises(DescriptorError, match=told.format(role)):
        search.index(x, similarity).search(q, 1)  # which sorts chunks by their norms


def test_one_chunk_may_be_zero_but_not_too_short_to_be_normalised() -> None:
    x = np.random.default_rng(14).normal(size=(6, 8))
    x[4, 2:4] = 0
    similarity = Similarity.parse("chunked@4[norm=chunk]")
    assert np.allclose(pairwise(x, x, similarity), brute_force(x, x, similarity), atol=1e-6)
    x[4, 2:4] = 1e-150
    with pytest.raises(DescriptorError, match=TOO_SHORT.format("queries").replace("row 1", "row 4")):
        pairwise(x, x, similarity)
    assert np.isfinite(pairwise(x, x, Similarity(4))).all()  # of the whole descriptor that chunk is as good as zero


@pytest.mark.parametrize("spec", ["global", "chunked@4", "chunked@4[norm=chunk]", "chunked@4[norm=none]"])
@pytest.mark.parametrize("exponent", [-138, -100, -30, 8, 17, 37, 100, 139])
def test_norms_within_the_limits_are_exact(spec: str, exponent: int) -> None:
    similarity = Similarity.parse(spec)
    if similarity.norm == "none" and abs(exponent) > 17:
        pytest.skip("float32 holds no such products")
    q, x = (np.random.default_rng(seed).normal(size=(9, 16)) for seed in (15, 16))
    scale = 0.1 * 10.0**exponent if similarity.norm == "none" else 1
    found = pairwise(q * 10.0**exponent * 0.1, x * 10.0**exponent * 0.1, similarity)
    assert np.allclose(found / scale / scale, brute_force(q, x, similarity), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_accelerator_leaves_short_chunks_to_the_host(dtype: torch.dtype) -> None:
    """What its squares do not hold is not taken for zero."""
    x = torch.from_numpy(np.random.default_rng(17).normal(size=(5, 8))).to(dtype)
    x[1, 2:4], x[2, 4:6] = 1e-30, 0
    similarity = Similarity.parse("chunked@4[norm=chunk]")
    ready = device._ready(x, similarity, "database", 0).numpy()
    assert np.allclose(ready.reshape(5, 8), normalised(x, similarity), atol=1e-6)
    assert np.allclose(np.linalg.norm(ready[1], axis=1), 1) and not ready[2, 2].any()


@pytest.mark.parametrize(
    ("q", "x", "spec", "told"),
    [
        ((2, 9, 5), (3, 9, 4), "cross@tokens", "queries have 9 x 5 dimensions and the database 9 x 4"),
        ((2, 9, 5), (3, 4, 5), "chunked@tokens", "queries have 9 x 5 dimensions and the database 4 x 5"),
        ((2, 9), (3, 9), "chunked@tokens", r"is \(3, 9\), but chunked@tokens compares \[number, tokens, dimension"),
        ((2, 9, 5), (3, 9, 5), "global", r"is \(3, 9, 5\), but global compares \[number, dimension"),
        ((2, 8, 5), (3, 8, 5), "chunked@tokens/2x2", "8 tokens have no grid that can be averaged to 2x2"),
        ((2, 9, 5), (3, 9, 5), "chunked@tokens/4x4", "9 tokens have no grid that can be averaged to 4x4"),
    ],
)
def test_tokens_that_cannot_be_compared_are_told(q: tuple[int, ...], x: tuple[int, ...], spec: str, told: str) -> None:
    with pytest.raises((DescriptorError, UsageError), match=told):
        top_k(np.ones(q), np.ones(x), 1, Similarity.parse(spec))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("side", [3, 5, 10])
def test_a_cell_whose_tokens_cancel_out_is_zero(side: int, dtype: type[np.floating]) -> None:
    """Not what rounding leaves of it, which norm=chunk would make as long as any other."""
    x = np.random.default_rng(18).integers(1, 9, size=(4, side, side, 6)).astype(dtype)
    x[2] = 0
    x[2, 0, :3, 1] = 4, 3, -7
    x[2, :3, 0, 4] = 1, -6, 5
    similarity = Similarity.parse("cross@tokens/1x1[norm=chunk]")
    with pytest.raises(DescriptorError, match="row 2 of the database is zero"):
        normalised(x.reshape(4, side * side, 6), similarity)
    x[2, -1, -1] = 3
    expected = np.array([3.0] * 6) / np.sqrt(54)
    assert np.allclose(normalised(x.reshape(4, side * side, 6), similarity)[2, 0], expected, atol=1e-7)


@pytest.mark.parametrize("tokens", [9, 25, 100, 196])
@pytest.mark.parametrize("grid", ["1x1", "2x3", "3x2"])
def test_grids_are_averaged_as_torch_does(tokens: int, grid: str) -> None:
    x = np.random.default_rng(19).normal(size=(3, tokens, 4))
    x[1] *= 1e-30
    x[2] = np.abs(x[2]) * 5e37  # sums of many are beyond float32, their means are not
    similarity = Similarity.parse(f"cross@tokens/{grid}")
    side = round(tokens**0.5)
    cells = torch.from_numpy(x.reshape(3, side, side, 4)).permute(0, 3, 1, 2)
    means = torch.nn.functional.adaptive_avg_pool2d(cells, similarity.grid).flatten(2).permute(0, 2, 1).numpy()
    expected = means / np.linalg.norm(means, axis=(1, 2), keepdims=True)
    for dtype in (np.float32, np.float64):
        assert np.allclose(normalised(x.astype(dtype), similarity), expected, atol=1e-5)


def test_crossed_tokens_may_be_of_different_number() -> None:
    rng = np.random.default_rng(11)
    q, x = rng.normal(size=(40, 9, 5)), rng.normal(size=(20, 4, 5))
    similarity = Similarity.parse("cross@tokens")
    assert np.allclose(pairwise(q, x, similarity), brute_force(q, x, similarity), atol=1e-6)


def test_inner_products_of_zero_vectors_are_zero() -> None:
    found = top_k(np.zeros((1, 4)), np.array([[1.0, 2, 3, 4], [0, 0, 0, 0]]), 2, Similarity(norm="none"))
    assert found.scores.tolist() == [[0, 0]] and found.indices.tolist() == [[0, 1]]
