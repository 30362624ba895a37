"""Which optimizer ends better, by how much, and whether the seeds carry it."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from keras_lecture_opt._arguments import must_be

SIGNIFICANT = 0.05  # how likely any difference may carry between optimizers that are equal
# Spreads are pooled in full where the tests of equal spreads have at least this p. docs/seeds.py
# shows that it keeps false alarms below 5%.
EQUAL = 0.6
POOLED = 0.95  # of a pair's 5%, for its test with the spread of all; the rest is for its own spread
POWER = 0.8  # how often a difference carries that a study "can see"
DOUBT = 0.36  # by how much more, with three seeds: see `visible`
MOST_SEEDS = 1000  # more are not recommended


@dataclasses.dataclass(frozen=True)
class Difference:
    """What the seeds tell about two optimizers: see `differences`.

    Attributes:
        first, second: their names.
        better: name of the one that ends better; None if neither does.
        ratio: first over second, of the geometric means; None where a value is not positive.
        difference: first minus second, of the means, where `ratio` is None; else None.
        interval: `(low, high)`, the 95% interval of the ratio or of the difference.
        p: the p-value, corrected for the number of tests.
        carries: whether p is below 5%.
        share: share of all pairs of runs in which that of the first is better. Equal runs count
            one half.
        diverged: `(first, second)`, how many runs of each diverged.
    """

    first: str
    second: str
    better: str | None
    ratio: float | None
    difference: float | None
    interval: tuple[float, float]
    p: float
    carries: bool
    share: float
    diverged: tuple[int, int]


def differences(
    values: Mapping[str, Sequence[float] | np.ndarray], mode: str = "min"
) -> list[Difference]:
    """Compare each pair of optimizers: which is better, by how much, and does it carry?

    Runs of one seed are compared with each other, so what a seed does to all optimizers is not
    noise, and in logarithms where all values of the pair are positive. The means of a pair, of the
    seeds with which both runs ended, have a t-test with the spread of all pairs, as far as spreads
    seem equal, and one with its own spread. Where runs diverged, Fisher's exact test compares how
    many; if it carries, it decides. Holm's method corrects the p-values of all these tests.

    Of comparisons of up to eight equal optimizers, at most 5% have any difference that carries, if
    there are three seeds or more. docs/seeds.md in the clone has the method in full, how it was
    tried, and what two seeds do.

    Args:
        values: dict from names to one list of results per optimizer. Position i in every list is
            of the same seed; infinity, of either sign, is a run that diverged.
        mode: "min" or "max", which values are better. Defaults to "min".

    Returns:
        List of `Difference`, one for each pair of names. An interval excludes 1 (of a difference:
        0) if the means differ significantly. Each misses the truth in less than 5% of studies, one
        of many more often. Where nothing can be tested, as with one seed, p is 1 and the interval
        has no bounds.

    Raises:
        TypeError: `values` is not a dict from names to lists of numbers.
        ValueError: the lists are empty or differ in length, a value is NaN, or `mode` is unknown.

    Example:

    >>> losses = {"Adam": [0.10, 0.11, 0.12], "SGD": [0.15, 0.17, 0.18]}
    >>> [pair] = differences(losses)
    >>> pair.better, pair.carries
    ('Adam', True)
    >>> low, high = pair.interval
    >>> print(f"{pair.ratio:.2f} [{low:.2f}, {high:.2f}], p {pair.p:.3f}")
    0.66 [0.63, 0.69], p 0.001
    """
    names, table = _check(values, mode)
    seeds, ended = table.shape[1], np.isfinite(table)
    out = seeds - ended.sum(axis=1)
    first, second = np.triu_indices(len(names), 1)
    positive = np.all((table > 0) | ~ended, axis=1)
    is_ratio = positive[first] & positive[second]
    logs = np.log(np.where(positive[:, None] & ended, table, np.nan))
    means = _means(logs, first, second)
    if not is_ratio.all():
        plain = np.where(ended, table, np.nan)
        scale = np.nanmax(np.abs(plain), initial=0) or 1.0  # squares stay finite, and above 0
        of_plain = _means(plain / scale, first, second) * [[scale], [scale], [1], [1]]
        means = np.where(is_ratio, means, of_plain)
    gap, error, freedom, weight = means
    p_of_means = _student(gap, error, freedom) / weight
    pairs = [*zip(first, second, strict=True)]
    p_of_counts = [_fisher(int(out[i]), int(out[j]), seeds) for i, j in pairs]
    of_means, of_counts = _holm(np.array([p_of_means, p_of_counts]))
    # The share of the 5% that Holm's method gives to the pair.
    least = np.full(len(gap), 1 / max(1, len(gap)))
    level = SIGNIFICANT * np.divide(p_of_means, of_means, where=of_means > 0, out=least)
    half = error * stats.t.isf(level * weight / 2, freedom)
    by_counts = (of_counts < SIGNIFICANT) | np.isnan(of_means)
    p = np.fmin(1, np.nan_to_num(np.where(by_counts, of_counts, of_means), nan=1))
    # 1: the first is better, -1: the second.
    lead, fewer = np.sign(-gap if mode == "min" else gap), np.sign(out[second] - out[first])
    lead = np.where(by_counts & (fewer != 0), fewer, lead)
    worst_last = np.where(ended, table if mode == "min" else -table, np.inf)
    result = []
    for k, (i, j) in enumerate(pairs):
        sizes = gap[k] + np.array([0, -half[k], half[k]])
        sizes = np.where(np.isnan(sizes), [gap[k], -np.inf, np.inf], sizes)
        with np.errstate(over="ignore"):  # of a spread that is far too large
            size, low, high = map(float, np.exp(sizes) if is_ratio[k] else sizes)
        result.append(
            Difference(
                first=names[i],
                second=names[j],
                better={1: names[i], -1: names[j]}.get(lead[k]),
                ratio=size if is_ratio[k] else None,
                difference=None if is_ratio[k] else size,
                interval=(low, high),
                p=float(p[k]),
                carries=bool(p[k] < SIGNIFICANT),
                share=probability(worst_last[i], worst_last[j]),
                diverged=(int(out[i]), int(out[j])),
            )
        )
    return result


def _check(values, mode):
    """Return the names, and the values as an array (names, seeds)."""
    if mode not in ("min", "max"):
        raise ValueError(must_be("mode", '"min" or "max"', mode))
    allowed = "a dict from names to lists of numbers, one for each seed"
    if not isinstance(values, dict) or not values:
        raise TypeError(must_be("values", allowed, values))
    rows = {}
    for name, row in values.items():
        try:
            rows[name] = np.asarray(row)
        except ValueError as error:  # it is ragged
            raise TypeError(must_be("values", allowed, {name: row})) from error
        if rows[name].ndim != 1 or rows[name].dtype.kind not in "biuf":
            raise TypeError(must_be("values", allowed, {name: row}))
        rows[name] = rows[name].astype("float64")
    lengths = {name: len(row) for name, row in rows.items()}
    if len({*lengths.values()}) > 1 or 0 in lengths.values():
        raise ValueError(must_be("values", "lists of one length >= 1", f"lengths {lengths}"))
    for name, row in rows.items():
        if np.isnan(row).any():
            allowed = "numbers, with infinity for a run that diverged"
            raise ValueError(must_be("values", allowed, {name: row.tolist()}))
    return list(rows), np.array([*rows.values()])


def probability(one, other):
    """Return the probability that a value of one is less than a value of the other.

    Equal values, such as two runs that diverged, count one half.
    """
    one, other = np.sort(one), np.sort(other)
    below = np.searchsorted(one, other, side="left").mean() / len(one)
    equal = np.searchsorted(one, other, side="right").mean() / len(one)
    return float(below + equal) / 2


def _means(table, first, second):
    """Compare rows, of which NaN are left out.

    Returns for each pair the mean of the differences, its standard error, the degrees of freedom of
    that, and the share of the 5% that this test has: the test of the two whose p is less for its
    share. Error and degrees are NaN where nothing says how far the mean spreads.
    """
    gaps = table[first] - table[second]
    count, mean, own = _moments(gaps)
    common, freedom, sphericity = blocks(table)
    # 1: spreads seem equal, 0: they differ for sure. Between, nothing flips by a little noise.
    equal = min(1.0, min(_bartlett(table), _bartlett(gaps), _cochran(table)) / EQUAL)
    variance = 2 * common + (1 - equal) * np.fmax(own - 2 * common, 0)
    freedom = np.full(len(gaps), freedom * (equal + (1 - equal) * sphericity))
    tested = (count > 1) & (freedom > 0)

    def error_of(variance):
        return np.sqrt(np.divide(variance, count, where=tested, out=np.full(len(gaps), np.nan)))

    error = error_of(variance)
    freedom, weight = np.where(tested, freedom, np.nan), np.ones(len(gaps))
    if len(table) > 2:  # of two, both tests are the same
        weight *= POOLED
        alone = error_of(own)
        # Gaps that are all equal are rounded results, or of one grid: they say nothing of a spread.
        alone = np.where(alone > 1e-9 * np.abs(mean), alone, np.inf)
        p_alone = _student(mean, alone, count - 1.0) / (1 - POOLED)
        is_alone = p_alone < _student(mean, error, freedom) / POOLED
        error, freedom = np.where(is_alone, (alone, count - 1.0), (error, freedom))
        weight[is_alone] = 1 - POOLED
    return np.array([mean, error, freedom, weight])


def _moments(rows):
    """Return of each row how many values are not NaN, their mean, and their variance."""
    count = np.isfinite(rows).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # NaN where there are too few
        mean = np.nansum(rows, axis=1) / count
        return count, mean, np.nansum((rows - mean[:, None]) ** 2, axis=1) / (count - 1.0)


def blocks(table):
    """Fit row + column to the values that are not NaN.

    Returns the variance of the residuals, its degrees of freedom, and Greenhouse and Geisser's
    epsilon: 1 if all differences of rows spread equally, less if a few rows spread most. Two
    columns always give the least epsilon, whatever is true: then it is 1.
    """
    row, column = np.nonzero(np.isfinite(table))
    design = np.zeros((len(row), sum(table.shape)))
    design[np.arange(len(row)), row] = 1
    design[np.arange(len(row)), len(table) + column] = 1
    values = table[row, column]
    fitted, _, rank, _ = np.linalg.lstsq(design, values)
    freedom = len(values) - int(rank)
    residuals = np.zeros(table.shape)
    residuals[row, column] = values - design @ fitted
    products = residuals @ residuals.T
    total, squares = np.trace(products), (products**2).sum()
    known = squares and len({*column}) > 2
    sphericity = total**2 / squares / max(1, len({*row}) - 1) if known else 1.0
    return total / freedom if freedom else math.nan, freedom, sphericity


def _spreads(rows):
    """Return the variances of the rows that have one, and their degrees of freedom."""
    count, _, variance = _moments(rows)
    return variance[count > 1], count[count > 1] - 1


def _bartlett(rows):
    """Return the p-value of Bartlett's test that rows spread equally; 1 if nothing can be tested.

    `scipy.stats.bartlett` returns the same, but would take most of the time of a comparison.
    """
    variance, freedom = _spreads(rows)
    total, groups = freedom.sum(), len(freedom)
    if groups < 2 or not variance.any():
        return 1.0
    with np.errstate(divide="ignore"):  # a row without any spread: p is 0
        logs = freedom @ np.log(variance)
    scale = 1 + ((1 / freedom).sum() - 1 / total) / (3 * (groups - 1))
    square = (total * np.log(freedom @ variance / total) - logs) / scale
    return float(stats.chi2.sf(square, groups - 1))


def _cochran(rows):
    """Return the p-value of Cochran's test that no row spreads more than the others.

    It finds the one noisy row among many that Bartlett's test overlooks. It is 1 if nothing can be
    tested.
    """
    variance, freedom = _spreads(rows)
    if len(variance) < 2 or not variance.any():
        return 1.0
    others = freedom.sum() - freedom
    of_others = np.fmax(freedom @ variance - freedom * variance, 0)  # rounded
    with np.errstate(divide="ignore"):  # the others have no spread: p is 0
        ratio = variance * others / of_others
    return min(1.0, len(variance) * float(stats.f.sf(ratio, freedom, others).min()))


def _student(gap, error, freedom):
    """Return the p-values of the means; that of equal values is 1, even if nothing varies."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(gap == 0, 0 * error, np.abs(gap) / error)
    return 2 * stats.t.sf(t, freedom)


@functools.cache
def _fisher(one, other, seeds):
    """Return Fisher's p-value of how many runs diverged; NaN if none did: that is no test."""
    if not one and not other:
        return math.nan
    return float(stats.fisher_exact([[one, seeds - one], [other, seeds - other]]).pvalue)


def _holm(p):
    """Return p-values corrected by Holm's method, without its limit of 1; NaN are no tests."""
    corrected, tests = np.full(p.shape, np.nan), np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p.flat[tests], kind="stable")]
    corrected.flat[order] = np.maximum.accumulate(p.flat[order] * np.arange(len(order), 0, -1))
    return corrected


def spread(values):
    """Return how far runs spread, as `differences` pools it, and whether it is of logarithms.

    It is the variance without what a seed does to all optimizers; NaN where too few runs ended.
    """
    _, table = _check(values, "min")
    table = np.where(np.isfinite(table), table, np.nan)
    in_logs = not np.any(table <= 0)
    variance, *_ = blocks(np.log(table) if in_logs else table)
    return variance, in_logs


def visible(variance, optimizers, seeds):
    """Return the true difference that carries in most studies of so many optimizers and seeds.

    It is what a t-test with one spread for all would see, and some more: a few seeds of more than
    two optimizers often look as if spreads differed. docs/seeds.py tries the result.
    """
    freedom = (optimizers - 1) * (seeds - 1)
    level = SIGNIFICANT / math.comb(optimizers, 2)
    reach = stats.t.isf(level / 2, freedom) + stats.t.isf(1 - POWER, freedom)
    doubt = (1 + DOUBT / (seeds - 2) if seeds > 2 else 1.2) if optimizers > 2 else 1
    return float(doubt * reach * math.sqrt(2 * variance / seeds))


def seeds_for(variance, optimizers, difference):
    """Return how many seeds see such a difference; None if more than `MOST_SEEDS`."""
    wanted = (n for n in range(2, MOST_SEEDS) if visible(variance, optimizers, n) <= difference)
    return next(wanted, None)
