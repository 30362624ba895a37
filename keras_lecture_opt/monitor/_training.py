"""What is trained: models, optimizers, and the variables that the monitor logs."""

import dataclasses
import math
import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_lecture_opt import rates
from keras_lecture_opt._keras_private import index_of, is_overwritten
from keras_lecture_opt.monitor._measure import copy, read
from keras_lecture_opt.monitor._names import Names, own_name, unique

# Entries of a container that is looked through: Keras's own have all layers, which takes time.
MOST_ENTRIES = 16
MOST_NESTED = 4  # the model, an attribute, a list in it, a pair: a container may hold itself


@dataclasses.dataclass(eq=False)
class MonitoredVariable:
    """A variable that the monitor logs, and what of it."""

    name: str
    variable: keras.Variable
    optimizer: keras.optimizers.Optimizer | None = None  # that updates it, if it is known
    missing_rate: str | None = None  # why it has no effective learning rate
    is_frozen: bool = False  # an optimizer holds it, but it is not trainable
    before: Any = None  # a copy of the weights before the step that is measured
    # Only what was asked for: each costs memory while the model trains.
    ever_updated: Any = None  # which weights have ever been updated
    start: tf.Tensor | None = None  # the weights before training, if the mask above needs them
    tracked: list = dataclasses.field(default_factory=list)  # indices of single weights
    map_shape: tuple | None = None


class Training:
    """What is trained. It is looked at again before each step that is measured.

    `monitor` is the callback, for its arguments. `warn` is called with sentences on what cannot be
    logged, or is trained in an odd way.
    """

    def __init__(self, monitor, warn):
        self._monitor, self._warn = monitor, warn
        self.models, self._given, self.monitored = [], [], []
        self.optimizers, self.learning_rates = {}, {}
        self._seen = None

    def watch(self, models, optimizers=()):
        self.models, self._given, self._seen = models, optimizers, None

    def _find_optimizers(self):
        """Find those that may update variables, by the attribute that holds each, or its name."""
        held = [("", optimizer) for optimizer in self._given]
        for model in self.models:
            held += optimizers_of(model)
        found, taken = {}, set()  # id -> (label, optimizer); labels
        for label, optimizer in held:
            inner = rates.inner_optimizers(optimizer)
            for one in inner:
                if id(one) not in found:
                    name = label if label and len(inner) == 1 else own_name(one)
                    found[id(one)] = unique(name, taken), one
        self.optimizers = dict(found.values())

    def counts(self, find=True):
        """Return how many steps each optimizer has taken, by its id; find new ones before that."""
        if find:
            self._find_optimizers()
        return {id(o): rates.steps_taken(o) for o in self.optimizers.values()}

    def remember(self):
        """Keep what the step to come changes: learning rates and weights."""
        self.learning_rates = {id(o): rates.next_learning_rate(o) for o in self.optimizers.values()}
        for m in self.monitored:
            m.before = copy(m.variable)

    def has_moved(self):
        """Return whether any of the variables has moved since."""
        kept = [m for m in self.monitored if m.before is not None]
        return any(tf.reduce_any(m.before != read(m.variable)) for m in kept)

    def forget(self):
        self.learning_rates = {}
        for m in self.monitored:
            m.before = None

    def look(self, at_start=False):
        """Decide again what to log, if what is trained has changed.

        `at_start` is whether no step has been taken yet.
        """
        optimizers = [*self.optimizers.values()]
        # Of several optimizers that hold a variable, one that has never stepped trains nothing.
        several = len(optimizers) > 1
        known = [(id(o), o.built, several and rates.steps_taken(o) > 0) for o in optimizers]
        # To look for new variables takes time, and was done before they were copied.
        was_done = any(m.before is not None for m in self.monitored)
        if was_done and self._seen and known == self._seen[0]:
            return
        seen = known, [id(v) for model in self.models for v in model.trainable_variables]
        if seen != self._seen:
            self._seen = seen
            self.monitored = self._choose(optimizers, at_start)

    def _choose(self, optimizers, at_start):
        """Return what to log: what has been monitored so far remembers its updated weights."""
        names, monitor = Names(self.models), self._monitor
        trainable = {id(v) for model in self.models for v in model.trainable_variables}
        trained = {
            names.of[id(v)]: v
            for model in self.models
            for v in model.weights
            # A train step that Keras made before a layer was frozen goes on to train it.
            if id(v) in trainable or owners(optimizers, v)
        }
        if overwritten := [name for name, v in trained.items() if is_overwritten(v)]:
            self._warn(
                f"Not logged: {', '.join(overwritten)}: they are overwritten with their gradient."
            )
        variables = {
            name: v for name, v in trained.items() if math.prod(v.shape) and name not in overwritten
        }
        chosen = self._select(variables, names)
        tracked = self._track(chosen, names)
        maps = map_shapes(variables.values(), self.models[0]) if monitor.write_images else {}
        known = {id(m.variable): m for m in self.monitored}
        monitored = []
        for name, variable in chosen.items():
            m = known.get(id(variable)) or MonitoredVariable(name, variable)
            m.name, m.is_frozen = name, id(variable) not in trainable
            m.optimizer, m.missing_rate = owner(optimizers, variable)
            m.tracked, m.map_shape = tracked[name], maps.get(id(variable))
            if monitor.detail and m.ever_updated is None:
                m.ever_updated = False
                m.start = tf.identity(variable) if at_start else None
            has_rate = m.missing_rate is None
            # Weight decay moves weights that have no gradient.
            if has_rate and (m.optimizer.weight_decay or rates.keeps_evidence(m.optimizer)):
                m.start = None
            monitored.append(m)
        return monitored

    def _select(self, variables, names):
        """Return those of the variables, by name, that a user wants."""
        selection = self._monitor.variables
        if selection is None:
            return variables
        if isinstance(selection, re.Pattern):
            chosen = {name: v for name, v in variables.items() if selection.search(name)}
            if not chosen:
                known = ", ".join(variables)
                self._warn(f"`variables`: {selection.pattern!r} matches none of {known}.")
            return chosen
        found = {names.find(name, variables, "variables", self._warn) for name in selection}
        return {name: v for name, v in variables.items() if name in found}

    def _track(self, variables, names):
        """Return the indices of the weights to track, by the name of their variable."""
        given = self._monitor.tracked_weights
        chosen = {name: [] for name in variables}
        if not isinstance(given, dict):
            rng = np.random.default_rng(self._monitor.seed)
            for name, variable in variables.items():
                size = math.prod(variable.shape)
                flat = rng.choice(size, min(given, size), replace=False)
                chosen[name] = [tuple(map(int, np.unravel_index(i, variable.shape))) for i in flat]
            return chosen
        for called, indices in given.items():
            if name := names.find(called, variables, "tracked_weights", self._warn):
                shape = tuple(variables[name].shape)
                for index in indices:
                    if len(index) == len(shape) and np.all(np.less(index, shape)):
                        chosen[name].append(index)
                    else:
                        there_is = f"{called!r}, of shape {shape}"
                        self._warn(f"`tracked_weights`: {there_is}, has no weight {index}.")
        return chosen

    def tell_oddities(self, monitored):
        """Warn of variables that were trained in a way that nobody expects."""
        if frozen := [m.name for m in monitored if m.is_frozen]:
            self._warn(
                f"Not trainable, but trained all the same: {', '.join(frozen)}. Keras notices that "
                "`trainable` was set when the model is compiled anew."
            )
        reasons = {}
        for m in monitored:
            if m.missing_rate:
                reasons.setdefault(m.missing_rate, []).append(m.name)
        for reason, names in reasons.items():
            reason = reason.removesuffix(".")
            self._warn(f"Not logged in effective_lr: {', '.join(names)}: {reason}.")


def optimizers_of(model):
    """Return pairs of a label and an optimizer that the model holds, also in lists and dicts."""
    held = []
    containers = [("", {"optimizer": getattr(model, "optimizer", None), **vars(model)})]
    for _ in range(MOST_NESTED):
        inner = []
        for prefix, container in containers:
            pairs = container.items() if isinstance(container, dict) else enumerate(container)
            for key, value in pairs:
                if isinstance(value, keras.optimizers.Optimizer):
                    held.append((f"{prefix}{key}".lstrip("_"), value))
                elif isinstance(value, (dict, list, tuple)) and len(value) <= MOST_ENTRIES:
                    inner.append((f"{prefix}{key}/", value))
        containers = inner
    return held


def owners(optimizers, variable):
    """Return the optimizers that hold state for a variable."""
    return [o for o in optimizers if index_of(o, variable) is not None]


def owner(optimizers, variable):
    """Return the optimizer that updates a variable, and why it has no effective rate, or None."""
    found = owners(optimizers, variable)
    if len(found) > 1:
        found = [o for o in found if rates.steps_taken(o)] or found
    if not found:
        return None, "no optimizer that the monitor can see trains it"
    if len(found) > 1:
        return None, f"{' and '.join(own_name(o) for o in found)} may train it"
    [optimizer] = found
    if rates.formula_of(optimizer) is None:
        return optimizer, rates.unknown_formula(optimizer)
    return optimizer, rates.missing_rate(optimizer, variable)


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
