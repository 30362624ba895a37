"""What few seeds tell about a search is computed as the page says; compared with enumerations."""

import itertools

import numpy as np
import pytest

from keras_lecture_opt.comparison import _statistics


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
    chosen = [order(last[1, list(d)]) < order(last[0, list(d)]) for d in draws]  # else the first
    assert 0.5 < np.mean(chosen) < 1
    assert _statistics.same_choice([last], [1], [1]) == np.mean(chosen)
    # In an earlier rung it would not have gone on.
    first = np.array([[1.0, np.inf], [5.0, 5.0]])
    assert _statistics.same_choice([first, first], [0, 0], [2, 1]) == 1 / 4


def test_same_choice_breaks_ties_as_the_search_does():
    """The search takes the first of equal rates, so that one is chosen in each repetition."""
    tied = np.array([[2.0, 2.0], [2.0, 2.0], [3.0, 3.0]])
    assert _statistics.same_choice([tied], [0], [1]) == 1
    assert _statistics.same_choice([tied], [1], [1]) == 0
    assert _statistics.same_choice([tied, tied[:2]], [1, 1], [2, 1]) == 0
    assert _statistics.same_choice([tied], [1], [2]) == 1
