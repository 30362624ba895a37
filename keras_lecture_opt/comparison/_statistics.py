"""What a few seeds can tell about a search: chosen rates, results of shorter searches.

Values are arrays of results whose last axis is the seeds, and one before it the rates. Less is
better; infinity is a run that diverged.
"""

import itertools
import math

import numpy as np

MOST = 10_000  # repetitions of a search that are looked at


def repeated_searches(values, trials, seed=0):
    """Return the results of searches with other rates and seeds.

    A search tries `trials` of the rates, and resamples the seeds: as many as there are, drawn with
    replacement. It chooses the rate with which the fewest of these diverged, and of those the one
    with the best mean of the others. Its result is what this rate reaches with one of the seeds.
    These are all such searches, or `MOST` that are drawn by chance if there are more.
    """
    rates, seeds = values.shape
    if math.comb(rates, trials) * seeds ** (seeds + 1) <= MOST:
        subsets = itertools.combinations(range(rates), trials)
        resamples = itertools.product(range(seeds), repeat=seeds)
        searches = itertools.product(subsets, resamples, range(seeds))
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


def same_choice(rungs, index, counts, seed=0):
    """Return how often a rate is chosen again when the search is repeated with resampled seeds.

    Only the rates that really took part in a rung take part in its repetition. For each rung
    `rungs` has its values, `index` the row of the rate that was chosen in the end, and `counts` how
    many rates go on.
    """
    seeds = rungs[0].shape[1]
    if seeds**seeds <= MOST:
        drawn = np.array([*itertools.product(range(seeds), repeat=seeds)])
    else:
        drawn = np.random.default_rng(seed).integers(seeds, size=(MOST, seeds))
    kept = np.ones(len(drawn), bool)
    for i, (values, own, count) in enumerate(zip(rungs, index, counts, strict=True)):
        lost, means = rank(values[:, drawn])
        before = (np.arange(len(values)) < own)[:, None]  # of equal rates the first one is chosen
        as_good = (means < means[own]) | (means == means[own]) & before
        better = (lost < lost[own]) | (lost == lost[own]) & as_good
        if i < len(rungs) - 1:  # only rates that diverged with no seed go on
            better &= lost == 0
            kept &= lost[own] == 0
        kept &= better.sum(axis=0) < count
    return kept.mean()
