"""What a few seeds can tell: chosen rates, probabilities, verdicts."""

import dataclasses
import itertools

import numpy as np
from scipy import stats

REPEATS = 10_000  # of a search, in the bootstrap
PROBABLE = 0.95  # how often one optimizer must end before the other, for a verdict
SIGNIFICANT = 0.05  # and how likely such a difference of the means may be by chance


def repeated_searches(values, trials, seed=0):
    """Repeat the search for a rate with rates and seeds drawn by chance.

    In each repetition, `trials` of the rates are drawn without replacement and as many seeds as
    there are with replacement. The rate with the best mean over these seeds is chosen, and what
    it reaches with one seed, drawn anew, is the result.

    Args:
        values: array (rates, seeds), less is better, infinity for a run that diverged.
        trials: number of rates that a search tries.
        seed: of the random draws.

    Returns:
        Array of `REPEATS` results, infinity where every rate that was tried diverged.
    """
    rng = np.random.default_rng(seed)
    rates, seeds = values.shape
    order = rng.random((REPEATS, rates)).argsort(axis=1)[:, :trials]
    drawn = rng.integers(seeds, size=(REPEATS, seeds))
    means = values[order[:, :, None], drawn[:, None, :]].mean(axis=2)
    found = order[np.arange(REPEATS), means.argmin(axis=1)]
    return values[found, rng.integers(seeds, size=REPEATS)]


def probability(one, other):
    """Return the probability that a value of one is less than a value of the other.

    Equal values, such as two runs that diverged, count one half.
    """
    one, other = np.sort(one), np.sort(other)
    below = np.searchsorted(one, other, side="left").mean() / len(one)
    equal = np.searchsorted(one, other, side="right").mean() / len(one)
    return float(below + equal) / 2


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two optimizers at their chosen rates, at the end of the last rung.

    `probability`: that a run of the first ends better than a run of the second. `p_value`: of
    Welch's t-test, times the number of pairs; NaN where it says nothing: with one seed, without
    any spread, or where a run diverged. `verdict`: the name of the better one, or None if the data
    do not tell. If all runs of one diverged and none of the other, the other is the better one.
    """

    first: str
    second: str
    probability: float
    p_value: float
    verdict: str | None


def pairs(ends):
    """Compare all pairs of optimizers.

    Args:
        ends: dict from names to arrays of the last values, one for each seed; less is better.

    Returns:
        List of `Pair`.
    """
    combinations = list(itertools.combinations(ends, 2))
    result = []
    for first, second in combinations:
        likely = probability(ends[first], ends[second])
        p_value = np.minimum(1.0, len(combinations) * welch(ends[first], ends[second]))
        verdict = None
        for name, other, share in ((first, second, likely), (second, first, 1 - likely)):
            hopeless = np.isinf(ends[other]).all() and np.isfinite(ends[name]).all()
            if hopeless or (p_value < SIGNIFICANT and share >= PROBABLE):
                verdict = name
        result.append(Pair(first, second, likely, float(p_value), verdict))
    return result


def welch(one, other):
    """Return the p-value of Welch's t-test, which does not ask for equal spreads."""
    if min(len(one), len(other)) < 2 or not np.isfinite([*one, *other]).all():
        return np.nan
    if np.ptp(one) == np.ptp(other) == 0:  # no spread to compare the difference with
        return np.nan
    return float(stats.ttest_ind(one, other, equal_var=False).pvalue)


def same_choice(rungs, index, counts, seed=0):
    """Return how often a rate is chosen again when the search is repeated with seeds drawn anew.

    Only the rates that really took part in a rung take part in its repetition.

    Args:
        rungs: for each rung an array (rates, seeds), less is better.
        index: for each rung the row of the rate that was chosen in the end.
        counts: for each rung how many rates go on.
        seed: of the random draws.

    Returns:
        The share of the repetitions.
    """
    seeds = rungs[0].shape[1]
    drawn = np.random.default_rng(seed).integers(seeds, size=(REPEATS, seeds))
    kept = np.ones(REPEATS, bool)
    for values, own, count in zip(rungs, index, counts, strict=True):
        means = values[:, drawn].mean(axis=2)
        kept &= (means < means[own]).sum(axis=0) < count
    return kept.mean()
