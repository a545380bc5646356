"""Intervals, tests and corrections against simulated truths and textbook values."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench import uncertainty
from bench.uncertainty import holm, interval, resamples, sign_flip_p


def test_a_resample_has_as_many_queries_as_there_are() -> None:
    weights = resamples(40, 300, (1, 2))
    assert weights.shape == (300, 40) and (weights.sum(axis=1) == 40).all() and (weights >= 0).all()
    # each count is binomial: mean 1, variance 1 - 1/40
    assert weights.mean(axis=0) == pytest.approx(np.ones(40), abs=0.3)
    assert weights.var() == pytest.approx(1 - 1 / 40, abs=0.05)
    assert np.array_equal(weights, resamples(40, 300, (1, 2))) and not np.array_equal(
        weights, resamples(40, 300, (1, 3))
    )


@pytest.mark.parametrize(("n", "draw"), [(25, "uniform"), (60, "uniform"), (60, "skewed")])
def test_an_interval_covers_the_true_mean(n: int, draw: str) -> None:
    """Of 600 samples from a known distribution 95 % should cover its mean: 92.3 to 97.7 at three standard errors."""
    rng = np.random.default_rng(0)
    truth = 0.5 if draw == "uniform" else 0.75
    covered = 0
    weights = resamples(n, 1000, (0,))
    for _ in range(600):
        sample = rng.random(n) if draw == "uniform" else rng.beta(3, 1, n)
        between = interval(weights @ sample / n, n)
        assert between is not None
        covered += between[0] <= truth <= between[1]
    assert 0.923 <= covered / 600 <= 0.977


def test_an_interval_needs_queries_and_resamples_in_which_the_score_exists() -> None:
    values = np.linspace(0, 1, 100)
    assert interval(values, 4) is None and interval(values, 5) is not None
    assert interval(values, 10, 2.0) == (pytest.approx(0, abs=0.02), 2.0)
    assert interval(np.where(np.arange(100) < 6, np.nan, values), 10) is None
    assert interval(np.where(np.arange(100) < 5, np.nan, values), 10) is not None


def test_an_interval_of_many_queries_has_the_plain_percentiles() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    assert interval(values, 10**6) == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))), abs=1e-3)
    few, many = interval(values, 5), interval(values, 50)
    assert few and many and few[0] < many[0] < many[1] < few[1]


def test_p_is_that_of_all_signs() -> None:
    """Against every one of 2**12 assignments of signs, of two datasets of 5 and 7 queries."""
    rng = np.random.default_rng(3)
    parts = [rng.normal(0.4, 1, 5), rng.normal(0.5, 1, 7)]
    flat = np.concatenate([part / (2 * len(part)) for part in parts])
    signs = np.array(list(itertools.product((1, -1), repeat=12)))
    exact = (np.abs(signs @ flat) >= abs(flat.sum()) - 1e-12).mean()
    found = sign_flip_p([part[None] for part in parts], seed=0)
    assert found == pytest.approx([exact], abs=4 * np.sqrt(exact / uncertainty.N_PERMUTATIONS))


def test_p_is_uniform_where_nothing_differs() -> None:
    """False separations at 5 %: 400 comparisons of two that are alike, in one call with the same signs."""
    rng = np.random.default_rng(0)
    same = [rng.normal(size=(400, 30)), rng.exponential(size=(400, 50)) - rng.exponential(size=(400, 50))]
    p = sign_flip_p(same, seed=1)
    assert (p < 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_equals_are_never_separable_and_a_clear_difference_always() -> None:
    differences = np.stack([np.zeros(50), np.full(50, 0.1)])
    p = sign_flip_p([differences], seed=0)
    assert p[0] == 1 and p[1] == pytest.approx(1 / (uncertainty.N_PERMUTATIONS + 1))


def test_holm_of_a_textbook_example() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([])).size == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_plain_p_and_bonferroni(p: list[float]) -> None:
    found = holm(np.array(p))
    assert (found >= p).all() and (found <= np.minimum(np.array(p) * len(p), 1) + 1e-12).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
