"""`differences` is what its docstring says: compared with SciPy, textbooks, and simulated truth."""

import itertools

import numpy as np
import pytest
from scipy import optimize, stats

from keras_lecture_opt import comparison
from keras_lecture_opt.comparison import _differences

NAN, INF = np.nan, np.inf


def by_names(values, mode="min"):
    return {(d.first, d.second): d for d in comparison.differences(values, mode)}


def study(rng, optimizers=4, seeds=5, spreads=0.1, of_seed=0.0):
    """Results of equal optimizers."""
    logs = of_seed * rng.normal(size=seeds) + rng.normal(0, spreads, (seeds, optimizers)).T
    return dict(zip("abcdefghijklmn", np.exp(logs), strict=False))


def holm(p):
    """Holm's correction as in the paper: the i-th smallest of m is multiplied by m - i."""
    corrected, most = [0.0] * len(p), 0.0
    for i, k in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        most = max(most, p[k] * (len(p) - i))
        corrected[k] = min(1.0, most)
    return corrected


@pytest.mark.parametrize("best", ["min", "max"])
def test_two_optimizers_have_the_paired_t_test(best):
    values = study(np.random.default_rng(0), optimizers=2)
    [found] = comparison.differences(values, best)
    expected = stats.ttest_rel(*map(np.log, values.values()))
    np.testing.assert_allclose(found.p, expected.pvalue)
    np.testing.assert_allclose(found.interval, np.exp(expected.confidence_interval()))
    np.testing.assert_allclose(found.ratio, stats.gmean(values["a"]) / stats.gmean(values["b"]))
    lower = "a" if found.ratio < 1 else "b"
    assert found.better == (lower if best == "min" else {"a": "b", "b": "a"}[lower])
    shifted = {name: row - 2 for name, row in values.items()}  # none is positive
    [found] = comparison.differences(shifted, best)
    expected = stats.ttest_rel(*values.values())
    np.testing.assert_allclose(found.p, expected.pvalue)
    np.testing.assert_allclose(found.interval, expected.confidence_interval())
    assert found.ratio is None
    np.testing.assert_allclose(found.difference, values["a"].mean() - values["b"].mean())


def test_share_is_that_of_mann_and_whitney():
    rng = np.random.default_rng(0)
    one, other = rng.integers(1, 6, size=7) * 1.0, rng.integers(1, 6, size=7) * 1.0  # with ties
    u = stats.mannwhitneyu(one, other).statistic  # pairs in which `one` is larger, ties half
    assert by_names({"a": one, "b": other})["a", "b"].share == pytest.approx(1 - u / 49)
    assert by_names({"a": one, "b": other}, "max")["a", "b"].share == pytest.approx(u / 49)
    assert by_names({"a": [1.0, INF], "b": [INF, INF]})["a", "b"].share == 0.75
    assert by_names({"a": [1.0, INF], "b": [INF, INF]}, "max")["a", "b"].share == 0.75


def test_equal_spreads_are_pooled_over_blocks():
    """Residuals of optimizer + seed, typed from a textbook."""
    values = next(
        values
        for values in (study(np.random.default_rng(i), of_seed=1.0) for i in range(99))
        if bartlett(values) >= 0.5
    )
    logs = np.log([*values.values()])
    residuals = logs - logs.mean(axis=1)[:, None] - logs.mean(axis=0) + logs.mean()
    error = np.sqrt(2 * (residuals**2).sum() / (3 * 4) / 5)
    pairs = list(itertools.combinations(range(4), 2))
    t = [abs(logs[i].mean() - logs[j].mean()) / error for i, j in pairs]
    expected = holm([2 * stats.t.sf(x, 3 * 4) for x in t])
    np.testing.assert_allclose([d.p for d in comparison.differences(values)], expected)


def bartlett(values):
    """The smaller p-value of Bartlett's test of the optimizers and of the pairs' differences."""
    logs = [np.log(row) for row in values.values()]
    gaps = [one - other for one, other in itertools.combinations(logs, 2)]
    return min(stats.bartlett(*logs).pvalue, stats.bartlett(*gaps).pvalue)


@pytest.mark.parametrize("one", [0.3, 0.6, 3.0])
def test_the_more_spreads_differ_the_more_a_pairs_own_counts(one):
    """Greenhouse and Geisser's epsilon is that of orthonormal contrasts, as in their paper."""
    rng = np.random.default_rng(2)
    values = study(rng, spreads=[one, 0.1, 0.1, 0.1], of_seed=1.0)
    equal = min(1, bartlett(values) / 0.5)
    assert equal < 1
    logs = np.log([*values.values()])
    contrasts = np.linalg.qr(np.column_stack([np.ones(4), np.eye(4)[:, 1:]]))[0][:, 1:]
    covariance = contrasts.T @ np.cov(logs) @ contrasts
    epsilon = np.trace(covariance) ** 2 / (3 * np.trace(covariance @ covariance))
    freedom = 3 * 4 * (equal + (1 - equal) * epsilon)
    common = 2 * np.trace(covariance) / 3
    p = []
    for i, j in itertools.combinations(range(4), 2):
        own = np.var(logs[i] - logs[j], ddof=1)
        variance = equal * common + (1 - equal) * max(own, common)
        p.append(2 * stats.t.sf(abs((logs[i] - logs[j]).mean()) / np.sqrt(variance / 5), freedom))
    np.testing.assert_allclose([d.p for d in comparison.differences(values)], holm(p))


def test_two_seeds_say_nothing_about_unequal_spreads():
    """Greenhouse and Geisser's epsilon would be the least possible, whatever is true."""
    table = np.log([*study(np.random.default_rng(0), seeds=2).values()])
    assert _differences.blocks(table)[2] == 1
    table = np.log([*study(np.random.default_rng(0), seeds=3).values()])
    assert 1 / 3 < _differences.blocks(table)[2] < 1


@pytest.mark.parametrize(
    "rows", [[[1.0, 2, 4, 3], [3, 5, 9, 8]], [[1, 1, 1], [2, 2, 2], [1, 2, 3]]]
)
def test_bartletts_test_is_scipys(rows):
    with np.errstate(divide="ignore"):
        expected = stats.bartlett(*np.array(rows, float)).pvalue
    np.testing.assert_allclose(_differences._bartlett(np.array(rows, float)), expected)
    several = np.array([[1.0, 2, NAN, 5], [3, NAN, NAN, 9], [1, 7, 2, 2], [NAN, NAN, 1, NAN]])
    groups = [[1.0, 2, 5], [3.0, 9], [1.0, 7, 2, 2]]  # of one value no spread is known
    expected = stats.bartlett(*map(np.array, groups)).pvalue
    np.testing.assert_allclose(_differences._bartlett(several), expected)


def test_blocks_with_gaps_are_the_least_squares():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(3, 5))
    table[0, 1] = table[2, 3] = table[2, 4] = NAN
    variance, freedom, _ = _differences.blocks(table)
    assert freedom == 12 - (3 + 5 - 1)

    def squares(x):
        return np.nansum((table - x[:3, None] - x[3:]) ** 2)

    least = optimize.minimize(squares, np.zeros(8), options={"gtol": 1e-10}).fun
    np.testing.assert_allclose(variance * freedom, least)


def test_holm_corrects_all_pairs_and_the_interval_agrees():
    """It excludes 1 if and only if the difference carries."""
    rng, carried = np.random.default_rng(0), []
    for _ in range(200):
        values = study(rng, 5, 4, spreads=[0.1, 0.1, 0.2, 0.05, 0.1])
        values["a"] = values["a"] * 1.4
        for d in comparison.differences(values):
            low, high = d.interval
            assert low < d.ratio < high
            assert d.carries == (d.p < 0.05) == (not low < 1 < high)
            carried.append(d.carries)
    assert 0.1 < np.mean(carried) < 0.9
    near = {"a": [1.0, 1.01, 1.02], "b": [1.2, 1.23, 1.21], "c": [1.22, 1.2, 1.25]}
    alone, among = by_names({k: near[k] for k in "ab"})["a", "b"], by_names(near)["a", "b"]
    assert alone.carries
    assert among.carries


def test_what_a_seed_does_to_all_is_no_noise():
    rng = np.random.default_rng(0)
    values = study(rng, 4, 5)
    factors = np.exp(rng.normal(size=5))  # a seed that is bad for all optimizers
    changed = {name: 3 * row * factors for name, row in values.items()}
    for one, other in zip(*map(comparison.differences, (values, changed)), strict=True):
        np.testing.assert_allclose(one.ratio, other.ratio)
        np.testing.assert_allclose(one.interval, other.interval, rtol=1e-6)
        # Bartlett's test of the optimizers sees the seeds; without it p would be equal.
        assert other.p == pytest.approx(one.p, abs=0.2)
    shuffled = {name: rng.permutation(row) for name, row in changed.items()}
    p = [d.p for d in comparison.differences(shuffled)]
    assert p == [pytest.approx(1, abs=0.3)] * 6


def test_logarithms_are_decided_for_each_pair():
    values = {"zero": [0.0, 0.01, 0.02], "b": [0.1, 0.12, 0.11], "c": [0.2, 0.22, 0.25]}
    found = by_names(values)
    [alone] = comparison.differences({name: values[name] for name in "bc"})
    assert found["b", "c"].ratio == pytest.approx(alone.ratio)
    assert found["zero", "b"].ratio is None
    assert found["zero", "b"].difference == pytest.approx(-0.1)
    assert found["zero", "c"].better == "zero"


def test_counts_of_divergence_have_fishers_test_and_are_of_the_family():
    ended = [1.0, 1.1, 1.05, 1.2, 1.15, 1.02, 1.12, 1.08]
    values = {"a": ended, "b": [INF] * 7 + [1.3], "c": [1.01, *ended[1:]]}
    found = by_names(values)
    fisher = stats.fisher_exact([[0, 8], [7, 1]]).pvalue
    # With "a" and "c" there are three tests: two of counts, one of means. "b" has one seed.
    assert found["a", "b"].p == pytest.approx(3 * fisher)
    assert found["a", "b"].better == found["b", "c"].better[::-1].replace("c", "a") == "a"
    assert found["a", "b"].carries
    assert found["a", "b"].diverged == (0, 7)
    assert found["a", "b"].ratio == pytest.approx(1.08 / 1.3)
    assert not found["a", "c"].carries
    # Few runs that diverged are no verdict; 2 of 2 against 0 of 2 was one without a test.
    [two] = comparison.differences({"a": [1.0, 2.0], "b": [INF, INF]})
    assert (two.better, two.carries) == ("a", False)
    assert two.p == pytest.approx(1 / 3)
    [five] = comparison.differences({"a": [1.0, 2, 3, 4, 5], "b": [INF] * 5})
    assert (five.better, five.carries) == ("a", True)
    assert np.isnan(five.ratio)
    assert five.interval == (0, INF)
    [worse] = comparison.differences({"a": [0.5, *[INF] * 8], "b": [1.0] * 9})
    assert (worse.better, worse.carries) == ("b", True)  # though it is lower where it ends


@pytest.mark.parametrize(
    ("values", "better", "p", "interval"),
    [
        ({"a": [1, 1, 1], "b": [2, 2, 2]}, "a", 0, (0.5, 0.5)),  # no spread
        ({"a": [1, 1, 1], "b": [1, 1, 1]}, None, 1, (1, 1)),
        ({"a": [0, 0], "b": [0, 0]}, None, 1, (0, 0)),
        ({"a": [1, 2, 3], "b": [1, 2, 3]}, None, 1, (1, 1)),  # ties
        ({"a": [1.0], "b": [2.0]}, "a", 1, (0, INF)),  # one seed
        ({"a": [0.0], "b": [2.0]}, "a", 1, (-INF, INF)),
        ({"a": [INF, 1, 2], "b": [1.5, INF, 3]}, "a", 1, (0, INF)),  # one seed in common
        ({"a": [INF, 1], "b": [1, INF]}, None, 1, (0, INF)),
        ({"a": [INF] * 3, "b": [INF] * 3}, None, 1, (0, INF)),
    ],
)
def test_whatever_has_no_spread_has_an_answer(values, better, p, interval):
    [found] = comparison.differences(values)
    assert found.better == better
    assert found.p == pytest.approx(p, abs=1e-12)
    np.testing.assert_allclose(found.interval, interval)
    assert found.carries == (p == 0)


def test_one_optimizer_has_no_pairs():
    assert comparison.differences({"a": [1.0, 2.0]}) == []


@pytest.mark.parametrize(
    ("values", "best", "error", "message"),
    [
        ([[1, 2]], "min", TypeError, "`values` must be a dict from names to lists of numbers"),
        ({}, "min", TypeError, "`values` must be a dict"),
        ({"a": "12"}, "min", TypeError, "`values` must be a dict.* not {'a': '12'}"),
        ({"a": [[1.0]]}, "min", TypeError, "`values` must be a dict"),
        ({"a": [1.0], "b": [1, 2]}, "min", ValueError, "`values` must be lists of one length"),
        ({"a": []}, "min", ValueError, "`values` must be lists of one length >= 1"),
        ({"a": [1.0, NAN]}, "min", ValueError, "infinity for a run that diverged, not {'a'"),
        ({"a": [1.0]}, "least", ValueError, '`mode` must be "min" or "max", not \'least\''),
    ],
)
def test_wrong_values_are_refused(values, best, error, message):
    with pytest.raises(error, match=message):
        comparison.differences(values, best)


def alarms(make, studies=300):
    """In what share of studies of equal optimizers does any difference carry?"""
    rng = np.random.default_rng(0)
    return np.mean(
        [any(d.carries for d in comparison.differences(make(rng))) for _ in range(studies)]
    )


NOT_MORE = 0.05 + 2 * 0.0126  # two standard errors of 300 studies; docs/seeds.py has more of them
EQUALS = {
    "equal": lambda rng: study(rng, 8, 3),
    "any": lambda rng: study(rng, 8, 3, spreads=0.01 * 10 ** rng.uniform(size=8)),
    "one": lambda rng: study(rng, 8, 3, spreads=[1.0] + [0.1] * 7),
    "correlated": lambda rng: study(rng, 8, 5, of_seed=0.4),
}


@pytest.mark.parametrize("kind", EQUALS)
def test_equal_optimizers_seldom_differ(kind):
    assert alarms(EQUALS[kind]) <= NOT_MORE


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"_holm": lambda p: p}, "equal"),  # nothing is corrected
        ({"EQUAL": 1e-300}, "one"),  # all spreads are pooled
        ({"_cochran": lambda rows: 1.0, "_bartlett": lambda rows: 1.0}, "one"),
        ({"_fisher": lambda one, other, seeds: 0.0 if abs(one - other) > 1 else NAN}, "diverge"),
    ],
)
def test_a_wrong_test_has_false_alarms(monkeypatch, fault, kind):
    """Planted faults: the simulations can fail."""

    def diverge(rng):
        values = study(rng, 8, 3)
        return {k: np.where(rng.uniform(size=3) < 0.2, INF, row) for k, row in values.items()}

    make = {**EQUALS, "diverge": diverge}[kind]
    assert alarms(make, 200) <= NOT_MORE
    for name, wrong in fault.items():
        monkeypatch.setattr(_differences, name, wrong)
    assert alarms(make, 200) > 0.1


def share_beside_noise(seeds, studies=60):
    """How often a carries over b, 20% lower, beside c that spreads ten times as much."""
    rng, carried = np.random.default_rng(0), []
    for _ in range(studies):
        values = study(rng, 3, seeds, spreads=[0.05, 0.05, 0.5])
        values["a"] = values["a"] * 0.8
        carried.append(by_names(values)["a", "b"].carries)
    return np.mean(carried)


def test_a_noisy_optimizer_does_not_hide_what_others_show(monkeypatch):
    assert share_beside_noise(10) > 0.9
    monkeypatch.setattr(_differences, "POOLED", 1 - 1e-12)  # planted: no test of its own
    assert share_beside_noise(10) < 0.3


def test_equal_gaps_say_nothing_of_a_spread():
    """Rounded accuracies of few seeds often differ by the same step."""
    [pair, *_] = comparison.differences({"a": [1, 1, 1], "b": [2, 2, 2], "c": [1, 2, 3]})
    assert not pair.carries


@pytest.mark.parametrize("unit", [1e-300, 1.0, 1e300])
def test_units_do_not_matter(unit):
    values = {"a": [-0.1, 0.2, 0.15], "b": [0.1, 0.2, 0.12], "c": [0.6, 0.8, 0.7]}
    plain = comparison.differences(values)
    scaled = comparison.differences({name: np.multiply(v, unit) for name, v in values.items()})
    for one, other in zip(plain, scaled, strict=True):
        assert (one.better, one.carries) == (other.better, other.carries)
        np.testing.assert_allclose(other.p, one.p, rtol=1e-9)
        size = 1.0 if one.difference is None else unit  # a ratio has none
        np.testing.assert_allclose(np.divide(other.interval, size), one.interval, rtol=1e-9)


@pytest.mark.parametrize("row", [[None, 1.0], ["1", "2"], [[1.0], [2.0]], [[1.0], [2.0, 3.0]]])
def test_what_is_no_list_of_numbers_is_refused(row):
    with pytest.raises(TypeError, match="`values` must be a dict from names to lists of numbers"):
        comparison.differences({"a": row, "b": [1.0, 2.0]})


def test_power_is_what_visible_says_and_grows_with_seeds():
    """A true difference of the size that it returns carries in about 80% of the studies."""
    rng, shares = np.random.default_rng(0), {}
    variance, in_logs = _differences.spread(study(np.random.default_rng(1), 4, 50, of_seed=1.0))
    assert in_logs
    assert variance == pytest.approx(0.1**2, rel=0.2)
    for seeds in (4, 8, 16):
        size, carried = _differences.visible(variance, 4, seeds), []
        for _ in range(150):
            values = study(rng, 4, seeds, spreads=variance**0.5)
            values["a"] = values["a"] * np.exp(-size)
            carried += [d.carries for d in comparison.differences(values)[:3]]
        shares[seeds] = np.mean(carried)
    assert all(0.7 < share < 0.93 for share in shares.values()), shares
    sizes = [_differences.visible(variance, 4, seeds) for seeds in (2, 4, 8, 16, 100)]
    assert sizes == sorted(sizes, reverse=True)
    needed = _differences.seeds_for(variance, 4, 0.1)
    assert _differences.visible(variance, 4, needed) <= 0.1
    assert _differences.visible(variance, 4, needed - 1) > 0.1
    assert _differences.seeds_for(variance, 4, 1e-4) is None
    assert not _differences.spread({"a": [0.0, 1, 2], "b": [1.0, 2, 4]})[1]
    assert np.isnan(_differences.spread({"a": [1.0], "b": [2.0]})[0])
