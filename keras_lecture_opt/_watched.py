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
from keras_lecture_opt.rates import has_had_gradient, rate_after_step, responsible


@dataclasses.dataclass(eq=False)
class Watched:
    """A variable that the monitor logs."""

    name: str
    variable: keras.Variable
    seen: tf.Tensor | None = None  # which weights have ever been updated
    needs_start: bool = False  # the optimizer's state does not tell that; this does:
    start: tf.Tensor | None = None  # the weights before training
    optimizer: keras.optimizers.Optimizer | None = None  # that updates it
    tracked: list = dataclasses.field(default_factory=list)  # indices of single weights
    map_shape: tuple | None = None

    def measure(self, learning_rate, seen):
        """What an event logs of this variable, as a dict of tensors, to be called in a graph."""
        rate = rate_after_step(self.optimizer, self.variable, learning_rate)
        updated = has_had_gradient(self.optimizer, self.variable)
        if updated is None and self.start is not None:
            updated = tf.convert_to_tensor(self.variable) != self.start
        seen = tf.ones_like(seen) if updated is None else seen | updated
        measured = {"seen": seen, **summarized(rate, seen)}
        if updated is None:  # a model that its first batch has built: who knows how it began
            del measured["never_updated"]
        if self.tracked:
            measured["tracked"] = tf.gather_nd(rate, self.tracked)
            measured["tracked_seen"] = tf.gather_nd(seen, self.tracked)
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
    watched, refused = [], []

    @tf.function(autograph=False)
    def decide():  # is only traced: nothing is computed
        for variable in variables:
            optimizer, name = responsible(model.optimizer, variable), names[id(variable)]
            try:
                rate_after_step(optimizer, variable, 1.0)
            except ValueError as error:
                refused.append(str(error))
                continue
            w = known.get(id(variable)) or Watched(name, variable)
            w.optimizer, w.tracked, w.map_shape = optimizer, tracked[name], maps.get(id(variable))
            w.needs_start = has_had_gradient(optimizer, variable) is None
            watched.append(w)

    decide.get_concrete_function()
    for w in watched:
        if w.seen is None:
            w.seen = tf.zeros(w.variable.shape, "bool")
        if at_start and w.needs_start and w.start is None:
            w.start = tf.identity(w.variable)
    return watched, refused


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
    for name, indices in tracked_weights.items():
        if name not in shapes:
            raise ValueError(
                f"`tracked_weights`: no variable {name!r} is trained; there are "
                f"{', '.join(map(repr, shapes))}."
            )
        for index in map(as_tuple, indices):
            if len(index) != len(shapes[name]) or not all(
                isinstance(i, numbers.Integral) and 0 <= i < side
                for i, side in zip(index, shapes[name], strict=True)
            ):
                raise ValueError(
                    f"`tracked_weights`: {name!r}, of shape {shapes[name]}, has no weight {index}."
                )
    return {name: [*map(as_tuple, tracked_weights.get(name, []))] for name in shapes}


def as_tuple(index):
    return tuple(index) if isinstance(index, (tuple, list)) else (index,)


def map_shapes(variables, model):
    """The shapes of the maps of the matrices: the first as the image it takes, if it takes one."""
    matrices = [v for v in variables if len(v.shape) == 2]
    shapes = {id(v): tuple(v.shape) for v in matrices}
    pixels = tuple(getattr(model, "input_shape", None) or ())[1:]
    if matrices and len(pixels) in (2, 3) and math.prod(pixels) == matrices[0].shape[0]:
        shapes[id(matrices[0])] = pixels[:2]
    return shapes
