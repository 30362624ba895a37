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


def order(values):
    """How a rate is chosen at last: the fewest seeds that diverged, then the mean of the others."""
    ended = [value for value in values if value < np.inf]
    return len(values) - len(ended), sum(ended) / max(len(ended), 1)


@pytest.mark.parametrize("trials", [1, 2, 3])
def test_repeated_searches_have_the_distribution_of_all_searches(trials):
    """Every draw of rates and seeds, enumerated."""
    values = np.array([[1.0, 5.0], [3.0, 2.0], [np.inf, 4.0]])
    expected = dict.fromkeys([*values[np.isfinite(values)], np.inf], 0.0)
    subsets = list(itertools.combinations(range(3), trials))
    draws = list(itertools.product(range(2), repeat=2))
    for subset, drawn, last in itertools.product(subsets, draws, range(2)):
        best = min(subset, key=lambda rate: order(values[rate, list(drawn)]))
        expected[values[best, last]] += 1 / (len(subsets) * len(draws) * 2)
    if trials == 1:
        assert expected[np.inf] == pytest.approx(1 / 6)
    found = _statistics.repeated_searches(values, trials)
    for value, share in expected.items():
        assert np.mean(found == value) == pytest.approx(share, rel=1e-12), value


def test_some_searches_are_drawn_where_there_are_too_many(monkeypatch):
    values = np.random.default_rng(0).normal(size=(4, 3))
    whole = _statistics.repeated_searches(values, 2)
    assert len(whole) == 6 * 3**3 * 3
    every = _statistics.same_choice([values], [1], [1])
    monkeypatch.setattr(_statistics, "MOST", len(whole) - 1)
    drawn = np.concatenate([_statistics.repeated_searches(values, 2, seed) for seed in range(40)])
    assert len(drawn) == 40 * (len(whole) - 1)
    for value in values.ravel():
        assert np.mean(drawn == value) == pytest.approx(np.mean(whole == value), abs=0.02)
    monkeypatch.setattr(_statistics, "MOST", 3**3 - 1)
    some = [_statistics.same_choice([values], [1], [1], seed) for seed in range(400)]
    assert np.mean(some) == pytest.approx(every, abs=0.02)


def test_same_choice_is_the_share_of_draws_that_choose_it():
    first = np.array([[1.0, 4.0], [2.0, 2.5], [9.0, 9.0]])  # two go on
    last = np.array([[1.0, 3.5], [2.0, 2.25]])
    # Draws (0, 0), (0, 1), (1, 0), (1, 1): row 1 survives each, and wins in all but (0, 0).
    assert _statistics.same_choice([first, last], [1, 1], [2, 1]) == 3 / 4
    assert _statistics.same_choice([first], [2], [1]) == 0


def test_choice_among_rates_that_diverged_is_repeated_as_it_was_made():
    last = np.array([[1.0, np.inf, np.inf], [5.0, np.inf, 5.0]])
    draws = [*itertools.product(range(3), repeat=3)]
    chosen = [order(last[1, list(d)]) <= order(last[0, list(d)]) for d in draws]
    assert 0.5 < np.mean(chosen) < 1
    assert _statistics.same_choice([last], [1], [1]) == np.mean(chosen)
    # In an earlier rung it would not have gone on.
    first = np.array([[1.0, np.inf], [5.0, 5.0]])
    assert _statistics.same_choice([first, first], [0, 0], [2, 1]) == 1 / 4


def p_value(first, second, pooled, freedom):
    """Of Student's t-test, typed from a textbook; no spread counts as less than the pooled one."""
    errors = [max(np.var(values, ddof=1), pooled) / len(values) for values in (first, second)]
    t = (np.mean(first) - np.mean(second)) / np.sqrt(sum(errors))
    return 2 * stats.t.cdf(-abs(t), freedom)


def test_verdict_needs_probability_and_significance():
    clear = {"a": np.array([1.0, 1.1, 1.05]), "b": np.array([2.0, 2.1, 1.9])}
    logs = {name: np.log(values) for name, values in clear.items()}
    [pair] = _statistics.pairs(clear)
    pooled = np.mean([np.var(values, ddof=1) for values in logs.values()])
    expected = p_value(logs["a"], logs["b"], pooled, 4)
    assert (pair.probability, pair.verdict) == (1.0, "a")
    np.testing.assert_allclose(pair.p_value, expected)
    [pair] = _statistics.pairs({"b": clear["b"], "a": clear["a"]})
    assert (pair.probability, pair.verdict) == (0.0, "a")
    # Wide apart, but so is each from itself: two seeds cannot tell.
    [pair] = _statistics.pairs({"a": np.array([1.0, 2.0]), "b": np.array([3.0, 9.0])})
    assert (pair.probability, pair.verdict) == (1.0, None)
    # The p-value is that of one pair times their number; the spread is that of all three.
    three = _statistics.pairs({**clear, "c": np.array([1.9, 2.4, 2.05])})
    logs["c"] = np.log([1.9, 2.4, 2.05])
    pooled = np.mean([np.var(values, ddof=1) for values in logs.values()])
    assert np.var(logs["a"], ddof=1) < pooled < np.var(logs["c"], ddof=1)
    np.testing.assert_allclose(three[0].p_value, 3 * p_value(logs["a"], logs["b"], pooled, 6))
    np.testing.assert_allclose(three[1].p_value, 3 * p_value(logs["a"], logs["c"], pooled, 6))


def test_test_is_students_where_the_spreads_are_equal():
    """Values that are not positive, such as accuracies with the other sign, have no logarithm."""
    ends = {"a": np.array([-0.9, -0.8, -0.85]), "b": np.array([-0.7, -0.6, -0.65])}
    [pair] = _statistics.pairs(ends)
    np.testing.assert_allclose(pair.p_value, stats.ttest_ind(ends["a"], ends["b"]).pvalue)


def test_verdict_where_runs_diverged_or_nothing_can_be_said():
    # A run that diverged makes every mean infinite.
    [pair] = _statistics.pairs({"a": np.array([1.0, 1.0]), "b": np.array([np.inf, 2.0])})
    assert (pair.probability, pair.verdict) == (1.0, None)
    assert np.isnan(pair.p_value)
    for lonely in (1, 2):  # one seed, or no spread: nothing to compare the difference with
        [pair] = _statistics.pairs({"a": np.array([1.0] * lonely), "b": np.array([2.0] * lonely)})
        assert pair.verdict is None
    [pair] = _statistics.pairs({"a": np.array([np.inf, np.inf]), "b": np.array([2.0, 3.0])})
    assert pair.verdict == "b"
    # It says nothing about the spread of the others.
    with_it = _statistics.pairs({"a": np.array([1.0, 2.0]), "b": np.array([3.0, 9.0])})
    beside = {"a": np.array([1.0, 2.0]), "b": np.array([3.0, 9.0]), "c": np.array([1.0, np.inf])}
    np.testing.assert_allclose(_statistics.pairs(beside)[0].p_value, 3 * with_it[0].p_value)


@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize("ratio", [1, 10])
def test_optimizers_that_are_equal_seldom_get_a_verdict(seeds, ratio):
    """Eight, whose spreads differ up to that ratio: in at most 5% of the studies, and in some."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(400):
        spreads = 0.01 * ratio ** rng.uniform(size=8)
        ends = {i: np.exp(rng.normal(0, spread, seeds)) for i, spread in enumerate(spreads)}
        wrong += any(pair.verdict is not None for pair in _statistics.pairs(ends))
    assert 0 < wrong / 400 <= 0.05 + 2 * 0.011  # two standard errors of 400 studies
