"""What the monitor logs of each variable."""

import dataclasses
import math
import numbers

import keras
import numpy as np
import tensorflow as tf

from keras_lecture_opt import _cards
from keras_lecture_opt._measure import QUANTILES, map_of, summarized
from keras_lecture_opt._names import canonical_names
from keras_lecture_opt.rates import (
    has_had_gradient,
    rate_after_step,
    remembers,
    responsible,
)


@dataclasses.dataclass(eq=False)
class Watched:
    """A variable that the monitor logs."""

    name: str
    variable: keras.Variable
    seen: tf.Tensor  # which weights have ever been updated
    start: tf.Tensor | None = None  # the weights before training, if they are needed to tell that
    optimizer: keras.optimizers.Optimizer | None = None  # that updates it
    tracked: list = dataclasses.field(default_factory=list)  # indices of single weights
    map_shape: tuple | None = None

    def measure(self, learning_rate, seen):
        """What an event logs of this variable, as a dict of tensors, to be called in a graph."""
        rate = rate_after_step(self.optimizer, self.variable, learning_rate)
        updated = has_had_gradient(self.optimizer, self.variable)
        if self.start is not None:
            moved = tf.convert_to_tensor(self.variable) != self.start
            updated = moved if updated is None else updated | moved
        seen = tf.ones_like(seen) if updated is None else seen | updated
        measured = {"seen": seen, **summarized(rate, seen)}
        if updated is None:  # nobody knows
            del measured["never_updated"]
        if self.tracked:
            flat = [int(np.ravel_multi_index(i, rate.shape)) if i else 0 for i in self.tracked]
            measured["tracked"] = tf.gather(tf.reshape(rate, [-1]), flat)
            measured["tracked_seen"] = tf.gather(tf.reshape(seen, [-1]), flat)
        if self.map_shape:
            measured["map"] = map_of(rate, seen, self.map_shape)
        return measured

    def cards(self, measured):
        """The summaries of what was measured."""
        name = self.name
        quantiles = dict(zip(QUANTILES, measured["quantiles"], strict=True))
        if not math.isnan(quantiles["median"]):
            yield _cards.scalar("effective_lr", name, quantiles["median"])
            for quantile, value in quantiles.items():
                yield _cards.scalar("effective_lr_quantiles", f"{name}/{quantile}", value)
        if measured["not_finite"]:
            yield _cards.scalar("effective_lr_not_finite", name, measured["not_finite"])
        if "never_updated" in measured:
            yield _cards.scalar("never_updated", name, measured["never_updated"])
        yield _cards.histogram(name, measured["bars"])
        for i, index in enumerate(self.tracked):
            if measured["tracked_seen"][i]:
                tag = f"{name}[{','.join(map(str, index))}]"
                yield _cards.scalar("tracked_weights", tag, measured["tracked"][i])
        if self.map_shape:
            yield _cards.image(name, measured["map"])


def watch(model, known, at_start, tracked_weights, seed, write_images):
    """Decides what to log of which variable of a model.

    Args:
        model: a built model, whose optimizer is built.
        known: list of what has been watched so far: it remembers which weights were updated.
        at_start: whether training begins just now.
        tracked_weights, seed, write_images: the monitor's arguments.

    Returns:
        A list of `Watched`, and a list of the errors of the variables that have no rate.
    """
    variables, names = model.trainable_variables, canonical_names(model)
    shapes = {names[id(v)]: tuple(v.shape) for v in variables}
    tracked = chosen_weights(tracked_weights, seed, shapes)
    maps = map_shapes(variables, model) if write_images else {}
    known = {id(w.variable): w for w in known}
    refused = {}

    @tf.function(autograph=False)
    def try_all():  # is only traced: nothing is computed
        for variable in variables:
            try:
                rate_after_step(responsible(model.optimizer, variable), variable, 1.0)
            except ValueError as error:
                refused[id(variable)] = str(error)

    try_all.get_concrete_function()
    watched = []
    for variable in variables:
        name = names[id(variable)]
        if id(variable) in refused or not math.prod(shapes[name]):
            continue
        w = known.get(id(variable)) or Watched(name, variable, tf.zeros(variable.shape, "bool"))
        w.optimizer = responsible(model.optimizer, variable)
        w.tracked, w.map_shape = tracked[name], maps.get(id(variable))
        # Weight decay moves what no gradient has moved.
        needs_start = not (w.optimizer.weight_decay or remembers(w.optimizer))
        if at_start and needs_start and w.start is None:
            w.start = tf.identity(variable)
        watched.append(w)
    return watched, [*refused.values()]


def measurement(watched):
    """A function that measures the rates of all watched variables.

    It takes, for each, the scalar learning rate and which weights had been updated before.
    """

    @tf.function(autograph=False)
    def measure(rates, seen):
        results = []
        for w, rate, seen_before in zip(watched, rates, seen, strict=True):
            # One after the other: only one variable's rates are in memory.
            with tf.control_dependencies(tf.nest.flatten(results[-1:])):
                results.append(w.measure(rate, seen_before))
        return results

    # Traced at once: TensorFlow would warn of frequent tracing when a notebook trains many models.
    return measure.get_concrete_function(
        [tf.TensorSpec([], tf.float64)] * len(watched),
        [tf.TensorSpec(w.variable.shape, tf.bool) for w in watched],
    )


def chosen_weights(tracked_weights, seed, shapes):
    """The indices of the weights to track, by the name of their variable."""
    if not isinstance(tracked_weights, dict):
        rng = np.random.default_rng(seed)
        chosen = {}
        for name, shape in shapes.items():
            size = math.prod(shape)
            flat = rng.choice(size, min(tracked_weights, size), replace=False)
            chosen[name] = [tuple(map(int, np.unravel_index(i, shape))) for i in flat]
        return chosen
    chosen = {name: [] for name in shapes}
    for name, indices in tracked_weights.items():
        if name not in shapes:
            raise ValueError(
                f"`tracked_weights`: no variable {name!r} is trained; there are "
                f"{', '.join(map(repr, shapes))}."
            )
        if not isinstance(indices, (list, tuple, np.ndarray)):
            raise TypeError(
                f"`tracked_weights`: {name!r} needs a list of indices, not {indices!r}."
            )
        for index in indices:
            index = tuple(np.ravel(index).tolist())
            if len(index) != len(shapes[name]) or not all(
                isinstance(i, numbers.Integral) and 0 <= i < side
                for i, side in zip(index, shapes[name], strict=True)
            ):
                raise ValueError(
                    f"`tracked_weights`: {name!r}, of shape {shapes[name]}, has no weight {index}."
                )
            if index not in chosen[name]:
                chosen[name].append(index)
    return chosen


def map_shapes(variables, model):
    """The shapes of the maps of the matrices: the first as the image it takes, if it takes one."""
    matrices = [v for v in variables if len(v.shape) == 2]
    shapes = {id(v): tuple(v.shape) for v in matrices}
    _, *pixels = getattr(model, "input_shape", None) or [None]
    known = all(isinstance(side, int) for side in pixels)  # there may be several inputs
    if matrices and len(pixels) in (2, 3) and known and math.prod(pixels) == matrices[0].shape[0]:
        shapes[id(matrices[0])] = tuple(pixels[:2])
    return shapes
