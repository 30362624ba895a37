"""Which variables the monitor logs, and what it measures of each."""

import dataclasses
import math
import numbers
import re

import keras
import numpy as np
import tensorflow as tf

from keras_lecture_opt._arguments import check_integer, must_be
from keras_lecture_opt._keras_private import index_of, is_overwritten
from keras_lecture_opt.monitor._measure import QUANTILES, map_rates, median, summarize
from keras_lecture_opt.monitor._names import canonical_names
from keras_lecture_opt.monitor._sample import thin
from keras_lecture_opt.rates import (
    factor_after_step,
    formula_of,
    inner_optimizers,
    keeps_evidence,
    missing_rate,
    unknown_formula,
    updated_mask,
)


@dataclasses.dataclass(eq=False)
class MonitoredVariable:
    """A variable that the monitor logs."""

    name: str
    variable: keras.Variable
    optimizer: keras.optimizers.Optimizer | None = None  # that updates it, if it is known
    missing_rate: str | None = None  # why it has no effective learning rate
    is_frozen: bool = False  # an optimizer holds it, but it is not trainable
    # For details only: each costs memory while the model trains.
    ever_updated: tf.Tensor | None = None  # which weights have ever been updated
    start: tf.Tensor | None = None  # the weights before training, if the mask above needs them
    tracked: list = dataclasses.field(default_factory=list)  # indices of single weights
    map_shape: tuple | None = None

    def can_be_sampled(self, detail):
        """Whether an event needs a sample of the rates only, and a sample has all they need."""
        return not self.counts(detail) and formula_of(self.optimizer).elementwise

    def counts(self, detail):
        """Whether an event needs the rates of all weights."""
        return detail or self.tracked or self.map_shape

    def measure_rates(self, learning_rate, detail):
        """Return what an event logs of the variable's effective learning rates.

        Args:
            learning_rate: that of the latest step, a scalar.
            detail: whether to count all rates: for quantiles, histogram and `never_updated`.

        Returns:
            Dict of numbers and arrays: "median", NaN if no weight has been updated; with `detail`,
            and where rates are not finite, what `summarize` and `map_rates` return.
        """
        rate = factor_after_step(self.optimizer, self.variable, learning_rate)
        counts = self.counts(detail)
        if not counts and rate.shape.rank == 0 and math.isfinite(rate):
            return {"median": float(rate)}
        if rate.shape != self.variable.shape:
            rate = tf.broadcast_to(rate, self.variable.shape)
        updated = updated_mask(self.optimizer, self.variable)
        if self.start is not None:
            moved = tf.convert_to_tensor(self.variable) != self.start
            updated = moved if updated is None else updated | moved
        if updated is None:
            mask = tf.ones_like(rate, "bool")
        elif self.ever_updated is None:
            mask = updated
        else:
            mask = self.ever_updated = self.ever_updated | updated
        if not counts and math.isfinite(tf.reduce_sum(rate)):
            return {"median": median(thin(rate), thin(mask))}
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
        measured = {key: value.numpy() for key, value in measured.items()}
        found = measured["quantiles"][[*QUANTILES].index("median")]
        return {**measured, "median": float(found) if measured["updated"] else math.nan}


def find_optimizers(model):
    """Return the optimizers that may update the model's variables, the compiled one's first.

    A custom `train_step` often has others, as attributes of the model.
    """
    attributes = [getattr(model, "optimizer", None), *vars(model).values()]
    found = {}
    for value in attributes:
        if isinstance(value, keras.optimizers.Optimizer):
            found |= {id(inner): inner for inner in inner_optimizers(value)}
    return [*found.values()]


def choose(models, optimizers, monitor, known, at_start):
    """Decide which variables to log, and what of each.

    Args:
        models: what is trained.
        optimizers: those that may train it.
        monitor: the callback, for its arguments.
        known: list of what has been monitored so far: it remembers which weights were updated.
        at_start: whether training is about to start.

    Returns:
        A list of `MonitoredVariable`, and a list of sentences on what cannot be logged.
    """
    names = Names(models)
    trainable = {id(v) for model in models for v in model.trainable_variables}
    trained = {
        id(v): v
        for model in models
        for v in model.weights
        # A train step that Keras made before a layer was frozen goes on to train it.
        if id(v) in trainable or owners(optimizers, v)
    }
    overwritten = [names.of[key] for key, v in trained.items() if is_overwritten(v)]
    problems = []
    if overwritten:
        problems.append(
            f"Not logged: {', '.join(overwritten)}: they are overwritten with their gradient."
        )
    variables = {
        names.of[key]: v
        for key, v in trained.items()
        if math.prod(v.shape) and not is_overwritten(v)
    }
    chosen = select(monitor.variables, variables, names, problems)
    tracked = tracked_indices(monitor.tracked_weights, monitor.seed, chosen, names, problems)
    maps = map_shapes(variables.values(), models[0]) if monitor.write_images else {}
    known = {id(m.variable): m for m in known}
    monitored = []
    for name, variable in chosen.items():
        m = known.get(id(variable)) or MonitoredVariable(name, variable)
        m.is_frozen = id(variable) not in trainable
        m.optimizer, m.missing_rate = owner(optimizers, variable)
        m.tracked, m.map_shape = tracked[name], maps.get(id(variable))
        if monitor.detail and m.ever_updated is None:
            m.ever_updated = tf.zeros(variable.shape, "bool")
            m.start = tf.identity(variable) if at_start else None
        # Weight decay moves weights that have no gradient.
        if m.missing_rate is None and (m.optimizer.weight_decay or keeps_evidence(m.optimizer)):
            m.start = None
        monitored.append(m)
    return monitored, problems


def owners(optimizers, variable):
    """Return the optimizers that hold state for a variable."""
    return [o for o in optimizers if index_of(o, variable) is not None]


def owner(optimizers, variable):
    """Return the optimizer that updates a variable, and why it has no effective rate, or None."""
    found = owners(optimizers, variable)
    if not found:
        return None, "no optimizer that the monitor can see trains it"
    if len(found) > 1:
        return None, f"{' and '.join(o.name for o in found)} may train it"
    [optimizer] = found
    if formula_of(optimizer) is None:
        return optimizer, unknown_formula(optimizer)
    return optimizer, missing_rate(optimizer, variable)


class Names:
    """The names of variables: ours, which are the same in every run, and Keras's own.

    Args:
        models: the names of several models' variables begin with the model's.
    """

    def __init__(self, models):
        self.of = {}  # id of the variable -> our name
        self.from_keras = {}  # Keras's name, with and without the model's -> our name
        for model in models:
            prefix = f"{model.name}/" if len(models) > 1 else ""
            ours = canonical_names(model)
            for variable in model.weights:
                name = self.of.setdefault(id(variable), prefix + ours[id(variable)])
                for path in (variable.path, variable.path.removeprefix(f"{model.name}/")):
                    self.from_keras[path] = name

    def find(self, name, variables, argument, problems):
        """Return our name of what a user calls by our name or by Keras's, or None.

        If each means another variable, Keras's counts, which the user's own code shows.
        """
        ours = self.from_keras.get(name, name)
        if ours in variables:
            if ours != name and name in variables:
                mapping = ", ".join(f"{own} -> {our}" for own, our in self.from_keras.items())
                problems.append(
                    f"`{argument}`: {name!r} is taken for Keras's name, which the monitor logs as "
                    f"{ours!r}: names that look automatic are numbered anew. {mapping}."
                )
            return ours
        known = ", ".join(map(repr, variables))
        problems.append(f"`{argument}`: no variable {name!r} is trained; there are {known}.")


def select(selection, variables, names, problems):
    """Return those of the variables, by name, that a user wants."""
    if selection is None:
        return variables
    if isinstance(selection, re.Pattern):
        chosen = {name: v for name, v in variables.items() if selection.search(name)}
        if not chosen:
            problems.append(
                f"`variables`: {selection.pattern!r} matches none of {', '.join(variables)}."
            )
        return chosen
    found = {names.find(name, variables, "variables", problems) for name in selection}
    return {name: v for name, v in variables.items() if name in found}


def tracked_indices(tracked_weights, seed, variables, names, problems):
    """Return the indices of the weights to track, by the name of their variable."""
    shapes = {name: tuple(v.shape) for name, v in variables.items()}
    if not isinstance(tracked_weights, dict):
        rng = np.random.default_rng(seed)
        chosen = {}
        for name, shape in shapes.items():
            size = math.prod(shape)
            flat = rng.choice(size, min(tracked_weights, size), replace=False)
            chosen[name] = [tuple(map(int, np.unravel_index(i, shape))) for i in flat]
        return chosen
    chosen = {name: [] for name in shapes}
    for given, indices in tracked_weights.items():
        name = names.find(given, variables, "tracked_weights", problems)
        for index in indices if name else ():
            if len(index) == len(shapes[name]) and all(
                0 <= i < side for i, side in zip(index, shapes[name], strict=True)
            ):
                chosen[name].append(index)
            else:
                problems.append(
                    f"`tracked_weights`: {given!r}, of shape {shapes[name]}, has no weight {index}."
                )
    return chosen


def check_tracked_weights(tracked_weights):
    """Return a number, or a dict from names to lists of distinct tuples of integers."""
    if not isinstance(tracked_weights, dict):
        return check_integer("tracked_weights", tracked_weights, 0, otherwise="a dict or ")
    checked = {}
    for name, indices in tracked_weights.items():
        allowed = f"a list of indices for {name!r}"
        if not isinstance(name, str) or not isinstance(indices, (list, tuple, np.ndarray)):
            raise TypeError(must_be("tracked_weights", allowed, indices))
        indices = [tuple(np.ravel(index).tolist()) for index in indices]
        if not all(isinstance(i, numbers.Integral) and i >= 0 for index in indices for i in index):
            raise ValueError(must_be("tracked_weights", f"{allowed}, integers >= 0", indices))
        checked[name] = [*dict.fromkeys(indices)]
    return checked


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
