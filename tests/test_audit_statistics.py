"""Figures of an audit: golden values, and brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.audit.statistics import BIN, N_PERMUTATIONS, compare, edges, percentiles, share_above


def test_the_share_of_the_paper_with_its_interval() -> None:
    scores = np.concatenate([np.full(188, 0.51), np.full(9812, 0.5)]).astype(np.float32)
    found = share_above(scores, 0.5)
    assert (found.k, found.n, found.value) == (188, 10_000, 0.0188)
    # Wilson's formula by hand
    z, p, n = stats.norm.ppf(0.975), 0.0188, 10_000
    middle, half = (
        (p + z**2 / (2 * n)) / (1 + z**2 / n),
        z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / n**2 / 4),
    )
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half))
    none = share_above(np.zeros(20, np.float32), 0.5)
    assert (none.value, none.low) == (0, 0) and none.high == pytest.approx(z**2 / (20 + z**2))


def test_percentiles_by_hand() -> None:
    found = percentiles(np.arange(101, dtype=np.float32) / 100)
    assert found == pytest.approx(
        {"p1": 0.01, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20))
def test_edges_hold_every_score(scores: list[float]) -> None:
    values = np.array(scores, np.float32)
    found = edges(values)
    assert len(found) >= 2 and found[0] <= values.min() and values.max() <= found[-1]
    assert np.histogram(values, found)[0].sum() == len(values)
    assert np.diff(found) == pytest.approx(BIN)


def test_equal_samples_overlap_wholly_and_far_ones_not_at_all() -> None:
    rng = np.random.default_rng(0)
    a = rng.uniform(0, 0.4, 200).astype(np.float32)
    same = compare(a, a, 0)
    assert (same.overlap, same.ks, same.difference, same.p) == pytest.approx((1, 0, 0, 1))
    far = compare(a + np.float32(0.5), a, 0)
    assert (far.overlap, far.ks) == (0, 1) and far.difference == pytest.approx(0.5, abs=1e-6)
    assert far.p == 1 / (N_PERMUTATIONS + 1) and far.ks_p < 1e-10


def test_p_is_the_share_of_divisions() -> None:
    a, b = np.array([0.9, 0.4, 0.7], np.float32), np.array([0.1, 0.5, 0.6, 0.2], np.float32)
    joined = np.concatenate([a, b]).astype(np.float64)
    observed = a.mean(dtype=np.float64) - b.mean(dtype=np.float64)
    divisions = [np.isin(np.arange(7), chosen) for chosen in itertools.combinations(range(7), 3)]
    differences = np.array([joined[first].mean() - joined[~first].mean() for first in divisions])
    exact = (np.abs(differences) >= abs(observed) - 1e-12).mean()
    for found in (compare(a, b, 1), compare(b, a, 1)):
        assert abs(found.difference) == pytest.approx(abs(observed))
        assert found.p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / N_PERMUTATIONS))


def test_false_alarms_are_as_rare_as_they_say() -> None:
    rng = np.random.default_rng(5)
    p = [compare(*rng.normal(0.3, 0.1, (2, 30)).astype(np.float32), seed).p for seed in range(300)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 300))
