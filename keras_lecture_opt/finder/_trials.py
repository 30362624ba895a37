"""Short trainings of a model from one start, of which nothing is left."""

import contextlib
import math

import keras
import tensorflow as tf

from keras_lecture_opt._arguments import must_be
from keras_lecture_opt._interrupts import deaf_to_ctrl_c
from keras_lecture_opt._keras_private import (
    borrowed,
    learning_rate_or_schedule,
    random_numbers_kept,
    share_exclusions,
)
from keras_lecture_opt.monitor._verdicts import all_layers
from keras_lecture_opt.rates import inner_optimizers


class Trials(contextlib.ExitStack):
    """The trainings of a model at several constant learning rates, each from the same start.

    Within the context the model has a copy of its optimizer; after it, all is as it was. Each rate
    is trained on the same list of batches, again and again, so that their losses can be compared. A
    step takes `each` of them, and then calls `progress`.
    """

    def __init__(self, model, batches, each, progress):
        super().__init__()
        self._trained, self._batches, self._each = model, batches, each
        self._progress, self._states = progress, {}
        self.losses = {}  # of each step, by learning rate

    def __enter__(self):
        model = self._trained
        with contextlib.ExitStack() as stack:  # what fails here is undone, too
            stack.enter_context(random_numbers_kept())
            own = model.optimizer
            optimizer = copy_of(own)
            optimizer.build(model.trainable_variables)
            variables = [*model.variables, *_states_of_layers(model)]
            kept = [*variables, *model.metrics_variables]
            stack.callback(_assign, kept, _values(kept))
            if own.built:
                _copy_state(own, optimizer)
            stack.enter_context(borrowed(model, optimizer))
            (self._inner,) = inner_optimizers(optimizer)
            self._changing = [*variables, *optimizer.variables]
            self._begin = _values(self._changing)
            self._step = self._train_on
            if not model.run_eagerly:
                self._step = tf.function(self._train_on, reduce_retracing=True)
            self.push(stack.pop_all())
        return self

    def __exit__(self, *error):
        with deaf_to_ctrl_c():  # a second Ctrl-C would leave the model half restored
            return super().__exit__(*error)

    def train(self, rate, steps, around=contextlib.nullcontext):
        """Go on with a rate for some steps, each within `around()`, until a loss is not finite."""
        losses = self.losses.setdefault(rate, [])
        _assign(self._changing, self._states.pop(rate) if losses else self._begin)
        self._inner.learning_rate = rate
        for _ in range(steps):
            at = len(losses) * self._each
            batches = [self._batches[i % len(self._batches)] for i in range(at, at + self._each)]
            with around():
                losses.append(sum(float(self._step(b)) for b in batches) / self._each)
            self._progress()
            if not math.isfinite(losses[-1]):
                return
        self._states[rate] = _values(self._changing)

    def keep(self, rates):
        """Free the memory of all learning rates but these."""
        self._states = {rate: state for rate, state in self._states.items() if rate in rates}

    def _train_on(self, data):
        self._trained.reset_metrics()  # or the loss would be a mean over all steps
        logs = self._trained.train_step(data)
        if "loss" not in logs:
            allowed = "one whose `train_step` returns its loss, under the name loss"
            raise ValueError(must_be("model", allowed, [*logs]))
        return logs["loss"]


def copy_of(optimizer):
    """Return a new optimizer of the same arguments, but with a constant learning rate."""
    config = optimizer.get_config()
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return type(optimizer)(**config | {"inner_optimizer": copy_of(optimizer.inner_optimizer)})
    try:
        copy = type(optimizer).from_config(config | {"learning_rate": 1.0})
    except TypeError as error:
        allowed = "one that its `from_config` makes of its `get_config`"
        message = must_be("model.optimizer", allowed, type(optimizer).__name__)
        raise TypeError(f"{message} {error}") from error
    share_exclusions(optimizer, copy)
    return copy


def _copy_state(optimizer, copy):
    """Give a copy the state of an optimizer that has trained: all but the learning rate."""
    states = []
    for one in (optimizer, copy):
        (inner,) = inner_optimizers(one)
        rate = learning_rate_or_schedule(inner)  # of a schedule there is no variable
        states.append([variable for variable in one.variables if variable is not rate])
    state, twin = states
    if [variable.shape for variable in state] != [variable.shape for variable in twin]:
        allowed = "compiled again after layers were frozen: the optimizer has other variables"
        raise ValueError(must_be("model", allowed, optimizer.name))
    _assign(twin, state)


def _states_of_layers(model):
    """Return the states that recurrent layers keep from batch to batch: no variables of a model."""
    states = keras.tree.flatten([getattr(layer, "states", None) for layer in all_layers(model)])
    return [state for state in states if isinstance(state, keras.Variable)]


def _values(variables):
    """Return copies of values; the memory of a GPU could not hold that many."""
    return [variable.numpy() for variable in variables]


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
