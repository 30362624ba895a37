"""Which variables the monitor logs, and what it measures of each."""

import dataclasses
import math
import numbers

import keras
import numpy as np
import tensorflow as tf

from keras_lecture_opt.monitor import _summaries
from keras_lecture_opt.monitor._measure import QUANTILES, map_rates, summarize
from keras_lecture_opt.monitor._names import canonical_names
from keras_lecture_opt.rates import (
    keeps_evidence,
    missing_rate,
    optimizer_of,
    rate_after_step,
    updated_mask,
)


@dataclasses.dataclass(eq=False)
class MonitoredVariable:
    """A variable that the monitor logs."""

    name: str
    variable: keras.Variable
    ever_updated: tf.Tensor  # which weights have ever been updated
    start: tf.Tensor | None = None  # the weights before training, if the mask above needs them
    optimizer: keras.optimizers.Optimizer | None = None  # that updates it
    tracked: list = dataclasses.field(default_factory=list)  # indices of single weights
    map_shape: tuple | None = None

    def measure(self, learning_rate):
        """Return what an event logs of this variable, as a dict of arrays.

        Args:
            learning_rate: that of the latest step, a scalar.
        """
        rate = rate_after_step(self.optimizer, self.variable, learning_rate)
        updated = updated_mask(self.optimizer, self.variable)
        if self.start is not None:
            moved = tf.convert_to_tensor(self.variable) != self.start
            updated = moved if updated is None else updated | moved
        mask = tf.ones_like(self.ever_updated) if updated is None else self.ever_updated | updated
        self.ever_updated = mask
        flat, flat_mask = tf.reshape(tf.cast(rate, tf.float32), [-1]), tf.reshape(mask, [-1])
        measured = dict(summarize(flat, flat_mask))
        if updated is None:  # nothing shows it
            del measured["never_updated"]
        if self.tracked:
            indices = [int(np.ravel_multi_index(i, rate.shape)) if i else 0 for i in self.tracked]
            measured["tracked"] = tf.gather(flat, indices)
            measured["tracked_updated"] = tf.gather(flat_mask, indices)
        if self.map_shape:
            measured["logs"], measured["mapped"] = map_rates(rate, mask, self.map_shape)
        return {key: value.numpy() for key, value in measured.items()}

    def summaries(self, measured):
        """Yield the summaries of what was measured."""
        name = self.name
        quantiles = dict(zip(QUANTILES, measured["quantiles"], strict=True))
        if measured["updated"]:
            yield _summaries.scalar("effective_lr", name, quantiles["median"])
            for quantile, value in quantiles.items():
                yield _summaries.scalar("effective_lr_quantiles", f"{name}/{quantile}", value)
        if measured["not_finite"]:
            yield _summaries.scalar("effective_lr_not_finite", name, measured["not_finite"])
        if "never_updated" in measured:
            yield _summaries.scalar("never_updated", name, measured["never_updated"])
        yield _summaries.histogram(name, measured["bars"])
        for i, index in enumerate(self.tracked):
            if measured["tracked_updated"][i]:
                tag = f"{name}[{','.join(map(str, index))}]"
                yield _summaries.scalar("tracked_weights", tag, measured["tracked"][i])
        if self.map_shape:
            with np.errstate(invalid="ignore"):  # 0 / 0 where no weight has been updated
                yield _summaries.image(name, measured["logs"] / measured["mapped"])


def monitored_variables(model, known, at_start, tracked_weights, seed, write_images):
    """Decide which variables of a model to log, and what of each.

    Args:
        model: a built model, whose optimizer is built.
        known: list of what has been monitored so far: it remembers which weights were updated.
        at_start: whether training is about to start.
        tracked_weights, seed, write_images: the monitor's arguments.

    Returns:
        A list of `MonitoredVariable`, and a dict from the reason why variables have no rate to the
        list of their names.
    """
    variables, names = model.trainable_variables, canonical_names(model)
    shapes = {names[id(v)]: tuple(v.shape) for v in variables}
    tracked = tracked_indices(tracked_weights, seed, shapes)
    maps = map_shapes(variables, model) if write_images else {}
    known = {id(m.variable): m for m in known}
    monitored, left_out = [], {}
    for variable in variables:
        name = names[id(variable)]
        if reason := missing_rate(model.optimizer, variable):
            left_out.setdefault(reason, []).append(name)
            continue
        if not math.prod(shapes[name]):
            continue
        nothing = tf.zeros(variable.shape, "bool")
        m = known.get(id(variable)) or MonitoredVariable(name, variable, nothing)
        m.optimizer = optimizer_of(model.optimizer, variable)
        m.tracked, m.map_shape = tracked[name], maps.get(id(variable))
        # Weight decay moves weights that have no gradient.
        needs_start = not (m.optimizer.weight_decay or keeps_evidence(m.optimizer))
        if at_start and needs_start and m.start is None:
            m.start = tf.identity(variable)
        monitored.append(m)
    return monitored, left_out


def tracked_indices(tracked_weights, seed, shapes):
    """Return the indices of the weights to track, by the name of their variable."""
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
    """Return the shapes of the maps of the matrices, by the variable's id.

    The first matrix is shown as the image that it takes, if it takes one.
    """
    matrices = [v for v in variables if len(v.shape) == 2]
    shapes = {id(v): tuple(v.shape) for v in matrices}
    _, *pixels = getattr(model, "input_shape", None) or [None]
    known = all(isinstance(side, int) for side in pixels)  # there may be several inputs
    if matrices and len(pixels) in (2, 3) and known and math.prod(pixels) == matrices[0].shape[0]:
        shapes[id(matrices[0])] = tuple(pixels[:2])
    return shapes
