"""What a few seeds can tell: chosen rates, probabilities, verdicts.

Values are arrays of results whose last axis is the seeds, and one before it the rates. Less is
better; infinity is a run that diverged.
"""

import dataclasses
import itertools
import math

import numpy as np
from scipy import stats

MOST = 10_000  # repetitions of a search that are looked at
PROBABLE = 0.95  # how often one optimizer must end before the other, for a verdict
SIGNIFICANT = 0.05  # and how likely such a difference of the means may be by chance


def repeated_searches(values, trials, seed=0):
    """Repeat the search for a rate with other rates and seeds.

    A search tries `trials` of the rates, and resamples the seeds: as many as there are, drawn with
    replacement. It chooses the rate with which the fewest of these diverged, and of those the one
    with the best mean of the others. Its result is what this rate reaches with one of the seeds.
    Returns the results of all such searches, or of `MOST` that are drawn by chance if there are
    more.
    """
    rates, seeds = values.shape
    if math.comb(rates, trials) * seeds ** (seeds + 1) <= MOST:
        subsets = itertools.combinations(range(rates), trials)
        searches = itertools.product(subsets, every_resample(seeds), range(seeds))
        tried, drawn, last = map(np.array, zip(*searches, strict=True))
    else:
        rng = np.random.default_rng(seed)
        tried = rng.random((MOST, rates)).argsort(axis=1)[:, :trials]
        drawn, last = rng.integers(seeds, size=(MOST, seeds)), rng.integers(seeds, size=MOST)
    lost, means = rank(values[tried[:, :, None], drawn[:, None, :]])
    best = np.lexsort((means, lost), axis=1)[:, 0]
    return values[tried[np.arange(len(tried)), best], last]


def rank(values):
    """Return what sorts results of several seeds: how many diverged, and the mean of the others."""
    finite = np.isfinite(values)
    ended = finite.sum(axis=-1)
    total = np.where(finite, values, 0).sum(axis=-1)
    return values.shape[-1] - ended, total / np.maximum(ended, 1)


def every_resample(seeds):
    """Return all ways to draw as many seeds as there are with replacement."""
    return itertools.product(range(seeds), repeat=seeds)


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
    """Two optimizers at their chosen rates, at the end of the last rung: see `Study.pairs`."""

    first: str
    second: str
    probability: float
    p_value: float
    verdict: str | None


def pairs(ends):
    """Compare all pairs of optimizers.

    The t-test is of logarithms where all values are positive, because seeds change a loss by a
    factor. Few seeds know the spread of one optimizer badly, and the smallest of many such spreads
    is small by chance. So none counts as less than the spread over all optimizers together.
    """
    finite = {name: values for name, values in ends.items() if np.isfinite(values).all()}
    if all(np.min(values) > 0 for values in finite.values()):
        finite = {name: np.log(values) for name, values in finite.items()}
    variances = {name: np.var(v, ddof=1) for name, v in finite.items() if len(v) > 1}
    pooled = np.mean([*variances.values()]) if variances else 0.0
    freedom = sum(len(finite[name]) - 1 for name in variances)
    combinations = list(itertools.combinations(ends, 2))
    result = []
    for first, second in combinations:
        likely, p_value = probability(ends[first], ends[second]), np.nan
        if pooled and {first, second} <= {*variances}:
            errors = [max(variances[name], pooled) / len(finite[name]) for name in (first, second)]
            t = abs(finite[first].mean() - finite[second].mean()) / math.sqrt(sum(errors))
            p_value = min(1.0, len(combinations) * 2 * stats.t.sf(t, freedom))
        verdict = None
        for name, other, share in ((first, second, likely), (second, first, 1 - likely)):
            hopeless = np.isinf(ends[other]).all() and np.isfinite(ends[name]).all()
            if hopeless or (p_value < SIGNIFICANT and share >= PROBABLE):
                verdict = name
        result.append(Pair(first, second, likely, float(p_value), verdict))
    return result


def same_choice(rungs, index, counts, seed=0):
    """Return how often a rate is chosen again when the search is repeated with resampled seeds.

    Only the rates that really took part in a rung take part in its repetition.

    Args:
        rungs: for each rung its values.
        index: for each rung the row of the rate that was chosen in the end.
        counts: for each rung how many rates go on.
        seed: of the random draws, where there are more than `MOST` ways to draw seeds.
    """
    seeds = rungs[0].shape[1]
    if seeds**seeds <= MOST:
        drawn = np.array([*every_resample(seeds)])
    else:
        drawn = np.random.default_rng(seed).integers(seeds, size=(MOST, seeds))
    kept = np.ones(len(drawn), bool)
    for i, (values, own, count) in enumerate(zip(rungs, index, counts, strict=True)):
        lost, means = rank(values[:, drawn])
        better = (lost < lost[own]) | (lost == lost[own]) & (means < means[own])
        if i < len(rungs) - 1:  # only rates that diverged with no seed go on
            better &= lost == 0
            kept &= lost[own] == 0
        kept &= better.sum(axis=0) < count
    return kept.mean()
