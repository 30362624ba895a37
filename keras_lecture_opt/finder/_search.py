"""Which rates are tried, and for how many steps: plain numbers, no TensorFlow."""

import math

import numpy as np

FIRST = 0.024  # of all steps each rate gets in the first round
# Of all steps each rate has had after a later round, and how many half decades around the best one
# go on. After the last round the rest is used up.
ROUNDS = (0.08, 2), (0.16, 1), (1, 1)
DIAGNOSIS = 0.2  # of all steps are left for a diagnosis, where the loss hardly falls
BELOW = 4  # half decades below the lowest rate that is too high, in the first round
LOWEST, HIGHEST = -20, 8  # half decades
TOLERANCE = 0.05  # of the fall of the loss: so much hardly matters
NEAR_THE_EDGE = 0.25  # of it: so much is safety worth, where the next higher rate learns little
LITTLE = 0.1  # of it
RISE = 0.05  # of the loss without training
HOPELESS = 10  # times the loss without training
SAME = 0.01  # of the loss without training, while no loss has fallen
SURE = 3  # standard errors
ROUNDING = 1e-6  # of the loss without training


def rate_of(k):
    """Return the k-th rate of the grid of half decades, rounded to two digits."""
    return float(f"{10 ** (k / 2):.2g}")


def index_of(rate):
    """Return the index of the nearest rate of the grid."""
    return min(max(round(2 * math.log10(rate)), LOWEST + 1), HIGHEST) if rate > 0 else 0


def end(losses):
    """Return the last third of some losses."""
    return np.asarray(losses[-max(4, len(losses) // 3) :])


class Search:
    """Rounds of short trainings at rates of the grid: fewer and fewer rates, longer and longer.

    `trials` are `Trials`, or what has their `losses`, `train` and `keep`. `guessing` is the loss of
    the best constant output, or None if it is unknown.
    """

    def __init__(self, trials, steps, guessing=None):
        self._trials, self._curves, self._steps = trials, trials.losses, steps
        self._few = max(4, round(steps * FIRST))
        self._guessing, self._tried, self._risen = guessing, [], set()
        self.best = None  # index of the rate that is proposed, None if each rate is too high
        self.finals = {}  # mean losses at the end of the last round, by index

    def run(self, begin):
        """Try the rates around that of an index."""
        self._trials.train(rate_of(LOWEST), self._few)
        # The losses of the first steps, if nothing is trained.
        self.without = np.asarray(self._curves[rate_of(LOWEST)])
        self.start = float(self.without.mean())
        # The loss to fall below: that of guessing, if it is known and lower than the first one.
        self._level = self.start if self._guessing is None else min(self.start, self._guessing)
        if not np.isfinite(self.without).all():
            return
        self._find_the_edge(begin)
        self.best = self._choose(self._tried)
        going_on = []
        for share, width in ROUNDS:
            if self.best is not None:
                going_on = self._next_round(share, width)
        if self.best is None:
            return
        self.finals = {k: self._loss(k) for k in going_on}
        # A longer training wants lower rates. Below one that learns nothing, the best may not last.
        above = self.finals.get(self.best + 1, math.inf)
        fall = self.start - self.finals[self.best]
        near = TOLERANCE if above < self.start - LITTLE * fall else NEAR_THE_EDGE
        below = self.finals.get(self.best - 1, math.inf)
        if self.is_sure and below <= self._within(near, self._level):
            self.best -= 1

    @property
    def too_high(self):
        """The index of the lowest rate above the close ones whose loss rose, or None."""
        good = [LOWEST if self.best is None else self.best, *(self.close if self.finals else ())]
        return min((k for k in self._risen if k > max(good)), default=None)

    @property
    def is_sure(self):
        """Whether the best rate learns: its loss has clearly fallen, and below that of guessing.

        Where even the highest rate does not diverge, the loss does not tell what the rate is.
        """
        if self.best is None or self.was_short or self._loss(self.best) == math.inf:
            return False
        last = end(self._curves[rate_of(self.best)])
        margin = SURE * last.std(ddof=1) / math.sqrt(len(last))
        is_better = bool(last.mean() + margin < self._level)
        return self._has_fallen(self.best) and is_better and self.too_high is not None

    @property
    def was_short(self):
        """Whether higher rates diverged so late that few steps are left for the best."""
        return self.longest < round(self._steps * ROUNDS[0][0])

    @property
    def used(self):
        """How many steps all rates have taken together."""
        return sum(map(len, self._curves.values()))

    @property
    def longest(self):
        """How many steps the best rate has taken."""
        return self._had(self.best)

    @property
    def close(self):
        """The indices of the last round whose losses are close to the lowest, without a gap."""
        limit = self._within(TOLERANCE, self.start)
        low = high = min(self.finals, key=self.finals.get)
        while self.finals.get(low - 1, math.inf) <= limit:
            low -= 1
        while self.finals.get(high + 1, math.inf) <= limit:
            high += 1
        return [*range(low, high + 1)]

    def _within(self, share, level):
        """Return the lowest loss of the last round, plus a share of its fall from a level."""
        lowest = min(self.finals.values())
        return lowest + share * max(level - lowest, 0)

    def _find_the_edge(self, begin):
        """Try rates up to one with which the loss rises in the first steps, and those below."""
        k = begin
        if self._train(k, self._few):
            while k > LOWEST + 2 and self._train(k - 2, self._few):
                k -= 2
        else:
            while k < HIGHEST:
                k = min(k + 2, HIGHEST)
                if self._train(k, self._few):
                    break
        self._train(k - 1, self._few)
        edge = HIGHEST + 1 if self.too_high is None else self.too_high
        k = edge - 1
        while k > LOWEST + 1 and (k >= edge - BELOW or self._choose(self._tried) == k + 1):
            self._train(k, self._few)
            k -= 1

    def _next_round(self, share, width):
        """Go on with the rates around the best one; set the best of them, and return them."""
        while self.best > LOWEST:
            # Rates that go on may fall after all: one above them has to be too high.
            top = self.best + width
            k = max(top, *self._tried)
            while k < HIGHEST and not any(i > top and self._is_too_high(i) for i in self._tried):
                k = min(k + 2, HIGHEST)
                self._train(k, self._few)
            going_on = self._around(self.best, width)
            had = [self._had(k) for k in going_on]
            left = self._steps * (1 if self.is_sure else 1 - DIAGNOSIS) - self.used
            each = range(round(self._steps * share) + 1)
            each = max(n for n in each if sum(max(n - m, 0) for m in had) <= max(left, 0))
            for k in going_on:
                self._train(k, each)
            best = self._choose(going_on)
            if best is not None and not self._is_too_high(best):
                self.best = best
                return going_on
            self.best -= width + 1  # the loss rises with all of them after a while
        # No steps are left for lower ones.
        self.best = self._choose([k for k in self._tried if not self._is_too_high(k)])
        return [] if self.best is None else [self.best]

    def _around(self, k, width):
        """Return the indices around one that are not hopeless after a few steps."""
        indices = range(max(k - width, LOWEST + 1), min(k + width, HIGHEST) + 1)
        for i in reversed(indices):
            self._train(i, self._few)
        self._trials.keep([rate_of(i) for i in self._tried if not self._is_hopeless(i)])
        return [i for i in indices if not self._is_hopeless(i)]

    def _train(self, k, steps):
        """Go on with a rate until it has had so many steps; return whether it is too high."""
        had = self._had(k)
        steps = min(steps - had, self._steps - self.used)
        if steps > 0 and (not had or self._loss(k) < math.inf):
            self._trials.train(rate_of(k), steps)
            if k not in self._tried:
                self._tried.append(k)
            if self._is_too_high(k):
                self._risen.add(k)
        return self._is_too_high(k)

    def _had(self, k):
        return len(self._curves.get(rate_of(k), []))

    def _loss(self, k):
        """Return the mean of the last losses of a rate, infinity if one is not finite."""
        losses = self._curves.get(rate_of(k), [math.inf])
        loss = float(end(losses).mean())
        return loss if math.isfinite(loss) else math.inf

    def _bound(self, k):
        """Return the loss above which a rate is too high.

        The first steps see the same batches as those without training. Later ones may be harder.
        """
        same, spread = self._had(k) == len(self.without), float(self.without.std())
        without = float(end(self.without).mean()) if same else self.start
        return without + max(RISE * abs(self.start), (2 if same else 6) * spread)

    def _is_too_high(self, k):
        return not self._loss(k) <= self._bound(k)

    def _is_hopeless(self, k):
        is_short = self._had(k) < self._few  # it ended, or no steps were left
        return is_short or not self._loss(k) <= self._bound(k) + HOPELESS * abs(self.start)

    def _choose(self, indices):
        """Return the index to go on around: that of the lowest loss, None if all are hopeless.

        While no loss has fallen, the rates that change least look best. Higher ones leave such a
        plateau sooner: the highest goes on whose loss is the same.
        """
        left = [k for k in indices if not self._is_hopeless(k)]
        best = min(left, key=self._loss, default=None)
        if best is not None and not self._has_fallen(best):
            limit = self._loss(best) + SAME * abs(self.start)
            while best + 1 in indices and self._loss(best + 1) <= limit:
                best += 1
        return best

    def fall(self, k):
        """Return by how much the loss has fallen with a rate, and the standard error of that."""
        last = end(self._curves[rate_of(k)])
        errors = [v.std(ddof=1) / math.sqrt(len(v)) for v in (self.without, last)]
        return self.start - float(last.mean()), float(np.hypot(*errors))

    def _has_fallen(self, k):
        fall, error = self.fall(k)
        return fall > max(SURE * error, ROUNDING * abs(self.start))
