"""Intervals, tests and corrections against simulated truths and textbook values."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench import uncertainty
from bench.uncertainty import bootstrap_p, holm, interval, resamples, sign_flip_p


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
    # the share of all signs is 2 of 2**50, and Hoeffding's bound 2 exp(-25)
    assert p[0] == 1 and p[1] == pytest.approx(2 * np.exp(-25))


@given(st.lists(st.integers(-9, 9), min_size=3, max_size=9))
def test_the_bound_is_never_below_the_share_of_all_signs(values: list[int]) -> None:
    differences = np.array(values, np.float64)
    signs = np.array(list(itertools.product((1, -1), repeat=len(values))))
    exact = (np.abs(signs @ differences) >= abs(differences.sum()) * (1 - 1e-9) - 1e-12).mean()
    p = sign_flip_p([differences[None]], seed=0)[0]
    assert p >= exact - 4 * np.sqrt(exact / uncertainty.N_PERMUTATIONS)


def test_clear_differences_stay_clear_among_many_comparisons() -> None:
    rng = np.random.default_rng(0)
    p = sign_flip_p([rng.normal(0.3, 0.3, (2000, 100))], seed=0)
    assert (holm(p) < 0.05).mean() > 0.99
    drawn = rng.normal(0.5, 0.05, (2000, 1000))
    assert (holm(np.array([bootstrap_p(of, 0.5, 100) for of in drawn])) < 0.05).all()


def test_p_of_resamples_is_below_5_percent_where_the_interval_leaves_0_out() -> None:
    rng = np.random.default_rng(2)
    n_out = 0
    for centre in np.linspace(0, 4, 80):
        drawn = rng.normal(centre, 1, 2000)
        for n in (6, 40, 1000):
            low, high = interval(drawn, n) or (0.0, 0.0)
            p = bootstrap_p(drawn, float(centre), n)
            assert p == bootstrap_p(-drawn, -float(centre), n)
            if not 0.045 < p < 0.055:  # where they differ by a resample
                assert (p < 0.05) == (low > 0 or high < 0)
            n_out += p < 0.05
    assert 60 < n_out < 180


def test_p_goes_on_where_no_resample_is_on_the_other_side() -> None:
    clear = np.random.default_rng(0).normal(0.5, 0.05, 1000)
    expected = 2 * stats.t.sf(0.5 / clear.std() * np.sqrt(99 / 100), 99)
    assert bootstrap_p(clear, 0.5, 100) == pytest.approx(expected) and expected < 1e-12
    equal = bootstrap_p(np.full(1000, 0.5), 0.5, 100)
    assert equal == pytest.approx(2 * stats.t.sf(stats.norm.isf(1 / 1001) * np.sqrt(99 / 100), 99))
    assert bootstrap_p(np.array([np.nan, -1, 0, 1, 2]), 0.5, 50) == pytest.approx(
        2 * stats.t.sf(stats.norm.isf(min(0.5, 3 / 5)) * np.sqrt(49 / 50), 49)
    )


def test_p_of_resamples_is_rarely_small_where_nothing_differs() -> None:
    rng = np.random.default_rng(1)
    p = []
    for own in rng.exponential(size=(400, 40)) - rng.exponential(size=(400, 40)):
        drawn = own[rng.integers(0, 40, (1000, 40))].mean(axis=1)
        p.append(bootstrap_p(drawn, float(own.mean()), 40))
    for level in (0.05, 0.005):
        assert np.mean(np.array(p) < level) <= level + 3 * np.sqrt(level * (1 - level) / 400)


def test_holm_of_a_textbook_example() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([])).size == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_plain_p_and_bonferroni(p: list[float]) -> None:
    found = holm(np.array(p))
    assert (found >= p).all() and (found <= np.minimum(np.array(p) * len(p), 1) + 1e-12).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
