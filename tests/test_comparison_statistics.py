"""What few seeds can tell is computed as the page says; compared with enumerations and SciPy's."""

import itertools

import numpy as np
import pytest
from scipy import stats

from keras_lecture_opt.comparison import _statistics


def test_probability_is_that_of_mann_and_whitney():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 6, size=7) * 1.0, rng.integers(0, 6, size=5) * 1.0  # with ties
    u = stats.mannwhitneyu(one, other).statistic  # pairs in which `one` is larger, ties half
    np.testing.assert_allclose(_statistics.probability(one, other), 1 - u / 35)
    assert _statistics.probability([1.0, np.inf], [np.inf, np.inf]) == 0.75


@pytest.mark.parametrize("trials", [1, 2, 3])
def test_repeated_searches_have_the_distribution_of_all_searches(trials):
    """Every draw of rates and seeds, enumerated."""
    values = np.array([[1.0, 5.0], [3.0, 2.0], [np.inf, 4.0]])
    expected = dict.fromkeys([*values[np.isfinite(values)], np.inf], 0.0)
    subsets = list(itertools.combinations(range(3), trials))
    draws = list(itertools.product(range(2), repeat=2))
    for subset, drawn, last in itertools.product(subsets, draws, range(2)):
        best = min(subset, key=lambda rate: values[rate, list(drawn)].mean())
        expected[values[best, last]] += 1 / (len(subsets) * len(draws) * 2)
    if trials == 1:
        assert expected[np.inf] == pytest.approx(1 / 6)
    found = _statistics.repeated_searches(values, trials)
    for value, share in expected.items():
        assert np.mean(found == value) == pytest.approx(share, abs=0.02), value


def test_same_choice_is_the_share_of_draws_that_choose_it():
    first = np.array([[1.0, 4.0], [2.0, 2.5], [9.0, 9.0]])  # two go on
    last = np.array([[1.0, 3.5], [2.0, 2.25]])
    # Draws (0, 0), (0, 1), (1, 0), (1, 1): row 1 survives each, and wins in all but (0, 0).
    share = _statistics.same_choice([first, last], [1, 1], [2, 1])
    assert share == pytest.approx(3 / 4, abs=0.02)
    assert _statistics.same_choice([first], [2], [1]) == 0


def test_verdict_needs_probability_and_significance():
    clear = {"a": np.array([1.0, 1.1, 1.05]), "b": np.array([2.0, 2.1, 1.9])}
    [pair] = _statistics.pairs(clear)
    expected = stats.ttest_ind(clear["a"], clear["b"], equal_var=False).pvalue
    assert (pair.probability, pair.verdict) == (1.0, "a")
    np.testing.assert_allclose(pair.p_value, expected)
    [pair] = _statistics.pairs({"b": clear["b"], "a": clear["a"]})
    assert (pair.probability, pair.verdict) == (0.0, "a")
    # Wide apart, but each seed for itself: two seeds cannot tell.
    [pair] = _statistics.pairs({"a": np.array([1.0, 2.0]), "b": np.array([3.0, 9.0])})
    assert (pair.probability, pair.verdict) == (1.0, None)
    # The p-value is that of one pair times their number.
    three = _statistics.pairs({**clear, "c": np.array([1.9, 2.2, 2.05])})
    np.testing.assert_allclose(three[0].p_value, 3 * expected)
    # A run that diverged makes every mean infinite.
    [pair] = _statistics.pairs({"a": np.array([1.0, 1.0]), "b": np.array([np.inf, 2.0])})
    assert (pair.probability, pair.verdict) == (1.0, None)
    assert np.isnan(pair.p_value)
    for lonely in (1, 2):  # one seed, or no spread: nothing to compare the difference with
        [pair] = _statistics.pairs({"a": np.array([1.0] * lonely), "b": np.array([2.0] * lonely)})
        assert pair.verdict is None
    [pair] = _statistics.pairs({"a": np.array([np.inf, np.inf]), "b": np.array([2.0, 3.0])})
    assert pair.verdict == "b"
