"""Which rates are tried, and for how many steps: plain numbers, no TensorFlow."""

import math

import numpy as np

# Shares of all steps that a rate gets in the first round, and up to the end of the second.
FIRST, SECOND = 0.024, 0.08
AFTER_FIRST, AFTER_SECOND = 5, 3  # so many rates go on
DIAGNOSIS = 0.2  # of all steps are left for a diagnosis, where the loss hardly falls
BELOW = 6  # half decades below the lowest rate that is too high
LOWEST, HIGHEST = -20, 8  # half decades
TOLERANCE = 0.05  # of the fall of the loss
RISE = 0.05  # of the loss without training
SURE = 3  # standard errors


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
    """Three rounds of short trainings at rates of the grid.

    Args:
        trials: `Trials`, or what has their `losses`, `train` and `keep`.
        steps: how many steps there are.
        guessing: the loss of the best constant output, or None if it is unknown.

    Attributes:
        best: index of the rate that is proposed, or None if each rate is too high.
        too_high: index of the lowest rate that diverges, or None.
        finals: dict from the indices of the last round to their mean loss at its end.
        without: the losses of the first steps, if nothing is trained.
    """

    def __init__(self, trials, steps, guessing=None):
        self._trials, self._curves, self._steps = trials, trials.losses, steps
        self._guessing, self._tried = guessing, {}
        self.best = self.too_high = None

    def run(self, begin):
        """Try the rates around that of an index; set what the attributes say."""
        few = max(4, round(self._steps * FIRST))
        self._trials.train(rate_of(LOWEST), few)  # which changes nothing
        self.without = np.asarray(self._curves[rate_of(LOWEST)])
        if not np.isfinite(self.without).all():
            return
        self._find_the_edge(begin, few)
        losses = self._next_round(self._tried, AFTER_FIRST, round(self._steps * SECOND) - few)
        left = self._steps * (1 if self.is_sure else 1 - DIAGNOSIS) - self.used
        self.finals = self._next_round(losses, AFTER_SECOND, int(left) // AFTER_SECOND)
        # A longer training wants lower rates, and the highest good ones may diverge later.
        if self.finals and self.best - 1 in self.close:
            self.best -= 1

    @property
    def is_sure(self):
        """Whether the best rate learns: its loss has clearly fallen, and below that of guessing.

        Where even the highest rate does not diverge, the loss does not tell what the rate is.
        """
        if self.best is None:
            return False
        last = end(self._curves[rate_of(self.best)])
        margin = SURE * last.std(ddof=1) / math.sqrt(len(last))
        is_better = self._guessing is None or last.mean() + margin < self._guessing
        return self._has_fallen and bool(is_better) and self.too_high is not None

    @property
    def _has_fallen(self):
        fall, error = self.fall
        return fall > SURE * error

    @property
    def start(self):
        return float(self.without.mean())

    @property
    def used(self):
        """How many steps all rates have taken together."""
        return sum(map(len, self._curves.values()))

    @property
    def longest(self):
        """How many steps the rates of the last round have taken."""
        return len(self._curves[rate_of(self.best)])

    @property
    def fall(self):
        """By how much the loss has fallen with the best rate, and the standard error of that."""
        last = end(self._curves[rate_of(self.best)])
        errors = [v.std(ddof=1) / math.sqrt(len(v)) for v in (self.without, last)]
        return self.start - float(last.mean()), float(np.hypot(*errors))

    @property
    def close(self):
        """The indices of the last round whose losses are close to the lowest, without a gap."""
        lowest = min(self.finals, key=self.finals.get)
        limit = self.finals[lowest] + TOLERANCE * max(self.start - self.finals[lowest], 0)
        found = [lowest]
        for step in (-1, 1):
            k = lowest + step
            while self.finals.get(k, math.inf) <= limit:
                found.append(k)
                k += step
        return sorted(found)

    def _find_the_edge(self, begin, few):
        """Try rates up to the lowest that is too high, and those below."""

        def is_too_high(k):
            self._tried |= self._go_on([k], few)
            return self._tried[k] == math.inf

        k = begin
        if is_too_high(k):
            while k > LOWEST + 2 and is_too_high(k - 2):
                k -= 2
        else:
            while k < HIGHEST and not is_too_high(k + 2):
                k += 2
            k += 2
        if k - 1 not in self._tried:
            is_too_high(k - 1)
        edge = self.too_high if self.too_high is not None else HIGHEST + 1
        k = edge - 1
        while k > LOWEST + 1 and (k >= edge - BELOW or self._best(self._tried, 1)[0] == k + 1):
            if k not in self._tried:
                is_too_high(k)
            k -= 1

    def _next_round(self, losses, number, steps):
        """Train the best of some rates for more steps; return their losses.

        Where no loss has fallen yet, those that change least look best: the highest rates go on.
        In the last round those below the best go on, as longer trainings want lower rates.
        """
        going_on = self._best(losses, len(losses))
        self.best = next(iter(going_on), None)
        if going_on and not self._has_fallen:
            going_on = sorted(going_on, reverse=True)
        elif number == AFTER_SECOND:
            going_on = sorted(going_on, key=lambda k: not 0 <= self.best - k < number)
        steps = max(0, min(steps, (self._steps - self.used) // number))
        self._trials.keep([rate_of(k) for k in going_on[:number]])
        found = self._go_on(going_on[:number], steps)
        if not self._best(found, 1):  # all of them diverge after a while
            found = {k: self._tried[k] for k in sorted(self._best(self._tried, 99))[-1:]}
        self.best = next(iter(self._best(found, 1)), None)
        return found

    def _go_on(self, indices, steps):
        """Train some rates for more steps; return a dict of their losses, infinity if too high."""
        found = {}
        for k in indices:
            self._trials.train(rate_of(k), steps)
            losses = self._curves[rate_of(k)]
            found[k] = float(end(losses).mean())
            # The first steps see the same batches as those without training. Later ones may be
            # harder.
            same, spread = len(losses) == len(self.without), float(self.without.std())
            without = float(end(self.without).mean()) if same else self.start
            if not found[k] <= without + max(RISE * abs(self.start), (2 if same else 6) * spread):
                found[k] = math.inf
                if self.too_high is None or k < self.too_high:
                    self.too_high = k
        return found

    def _best(self, losses, number):
        """Return at most so many indices below that which is too high, the best first."""
        top = math.inf if self.too_high is None else self.too_high
        return sorted((k for k in losses if k < top), key=losses.get)[:number]
