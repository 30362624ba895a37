"""Which step this is, how old the training is, and whether to measure: plain Python."""

from typing import NamedTuple

# Faults often show in the first steps only: these are measured whatever `update_freq` is.
EARLY = frozenset(digit * 10**zeros for zeros in range(12) for digit in (1, 2, 5))
MOST_STEPS = 100  # of an optimizer in one batch


class Event(NamedTuple):
    """A step, or several in one call, to be measured."""

    is_shown: bool  # whether `update_freq` asks for it, so that TensorBoard shows it
    is_early: bool  # whether it is one of the `EARLY` steps of its training
    steps: dict  # how many each optimizer took, by its key: 0 if it rests, None if it never stepped
    most: int  # of any optimizer: the safest number for one that nobody knows

    def steps_of(self, key):
        """Return how many steps an optimizer took, None if nobody can tell."""
        return self.steps.get(key, self.most)


class Clock:
    """Counts a run's steps from what each optimizer has counted.

    Optimizers' counts begin again when a model is compiled or `iterations` is assigned, and several
    optimizers count differently. So the run has a count of its own. An optimizer that steps three
    times in one batch, beside one that steps once, makes one step of the run.

    Args:
        update_freq: "epoch", or an integer N: every N batches.

    Attributes:
        step: the run step: how many steps the run has taken. It never goes back.
        start: the run step after which this training began.
        epoch: number of the epoch, None outside of `fit`.
    """

    def __init__(self, update_freq):
        self.update_freq = update_freq
        self.begin(0)

    def begin(self, step, length=None, epochs=None, counts=None):
        """Begin a training, a `fit` or a `watch`, after `step` steps of the run.

        An epoch has `length` batches, the last one is number `epochs`, from 1; None is unknown.
        `counts` has the steps that each optimizer has taken, by its key, as far as they are known.
        """
        self.step = self.start = self._batches = step
        self.epoch, self._length, self._epochs = None, length, epochs
        self._is_due = self._is_awaited = False
        self._shown_at = None  # after how many batches
        self._counts = counts or {}  # of each optimizer, when last looked at
        self._stepped = set()  # optimizers that have stepped in this training
        self._idle = 0  # batches since the last step
        self._call = None  # batches in the present call of TensorFlow
        self._before_epoch = step, step  # batches and steps

    @property
    def age(self):
        """The training step: how many steps this training has taken."""
        return self.step - self.start

    def begin_epoch(self, epoch):
        self.epoch = epoch
        self._before_epoch = self._batches, self.step

    def before(self, counts, batch=None, batches=1):
        """Return whether to measure the step to come.

        `batch` is the number of the batch in its epoch, None in a custom loop; `batches` is how
        many the call is compiled for: the last one of an epoch may have fewer.
        """
        ends_epoch = False
        if batch is None:
            self.step += self.missed(counts)
        elif self._length:
            batches = max(1, min(batches, self._length - batch))
            ends_epoch = batch + batches == self._length
        self._counts, self._call = counts, batches
        return self._plan(batches, ends_epoch)

    def after(self, counts, has_moved):
        """Count what was taken; return an `Event` if it is to be measured, else None.

        While gradients accumulate and after an overflow no step is taken: the next one is due.
        Where no known optimizer steps, `has_moved` is asked: whether weights have moved since a
        copy was made.
        """
        batches = self._call or 1
        if self._call is None:  # `before` was not called
            self._plan(batches, ends_epoch=False)
        taken = {key: self._taken(key, count, batches) for key, count in counts.items()}
        self._counts, self._call = counts, None
        self._batches += batches
        self._idle += batches
        steps = min(filter(None, taken.values()), default=0)
        self._stepped |= {key for key, count in taken.items() if count}
        if not self._stepped and has_moved():
            steps = self._idle
        if not steps:
            return None
        self.step += steps
        self._idle = 0
        if not (self._is_due or self._is_awaited):
            return None
        told = {key: count if key in self._stepped else None for key, count in taken.items()}
        event = Event(self._is_due, self._is_awaited, told, max([*taken.values(), batches]))
        if self._is_due:
            self._shown_at = self._batches
        self._is_due = self._is_awaited = False
        return event

    def missed(self, counts):
        """Return how many steps nobody told of, since the optimizers were last looked at."""
        last = self._counts
        missed = {count - last.get(key, count) for key, count in counts.items()}
        return min((steps for steps in missed if steps > 0), default=0)

    def end_epoch(self, counts, batches_per_step=1, batches_per_call=1):
        """Return whether to show the state now: nobody foresaw that the epoch would end here.

        One optimizer step takes `batches_per_step`, as gradients accumulate, and one call is
        compiled for `batches_per_call`. Keras counts a step more where data of unknown length end.
        """
        batches_before, steps_before = self._before_epoch
        length, steps = self._batches - batches_before, self.step - steps_before
        if not self._length and batches_per_call > 1 and steps:
            # The last call may have had fewer batches than it was compiled for.
            length = min(length, steps * batches_per_step)
            self._batches = batches_before + length
        self._counts, self._length = counts, length
        if self.update_freq != "epoch" or not self.age or self._shown_at == self._batches:
            return False
        self._shown_at = self._batches
        return True

    def end(self):
        """Return whether to show the state now: there were fewer batches than `update_freq`."""
        return self.age > 0 and self._shown_at is None

    def _taken(self, key, count, batches):
        """How many steps an optimizer took since it was last looked at."""
        before = self._counts.get(key)
        if before is None:  # it was not known then
            return min(count, batches)
        # Who assigned to `iterations` in between left no other trace than an odd count.
        if before <= count <= before + MOST_STEPS * batches:
            return count - before
        return max(1, min(count, batches))

    def _plan(self, batches, ends_epoch):
        """Decide whether to measure; once decided, it stays until a step is taken."""
        self._is_due = self._is_due or self._will_be_due(batches, ends_epoch)
        ahead = self.age + 1 + (0 if self._stepped else self._idle)
        self._is_awaited = self._is_awaited or (batches == 1 and ahead in EARLY)
        return self._is_due or self._is_awaited

    def _will_be_due(self, batches, ends_epoch):
        if self.update_freq == "epoch":
            return ends_epoch
        ends_training = ends_epoch and self.epoch is not None and self.epoch + 1 == self._epochs
        done, n = self._batches, self.update_freq
        return (done + batches) // n > done // n or (ends_training and self._shown_at is None)
