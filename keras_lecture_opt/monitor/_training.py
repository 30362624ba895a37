"""What is trained: models, optimizers, and the variables that the monitor logs."""

import dataclasses
import math
import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_lecture_opt._keras_private import index_of, is_overwritten
from keras_lecture_opt.monitor._names import Names, own_name, unique
from keras_lecture_opt.rates import (
    formula_of,
    inner_optimizers,
    keeps_evidence,
    missing_rate,
    steps_taken,
    unknown_formula,
)

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
    # For details only: each costs memory while the model trains.
    ever_updated: Any = None  # which weights have ever been updated
    start: tf.Tensor | None = None  # the weights before training, if the mask above needs them
    tracked: list = dataclasses.field(default_factory=list)  # indices of single weights
    map_shape: tuple | None = None


class Training:
    """What is trained. It is looked at again before each step that is measured.

    Args:
        monitor: the callback, for its arguments.
    """

    def __init__(self, monitor):
        self._monitor = monitor
        self.models, self._given, self.monitored = [], [], []
        self.optimizers = {}
        self._seen = None

    def watch(self, models, optimizers=()):
        self.models, self._given, self._seen = models, optimizers, None

    def find_optimizers(self):
        """Find those that may update variables: a dict from labels to optimizers.

        A label is the attribute of the model that holds the optimizer, or the optimizer's name.
        """
        held = [("", optimizer) for optimizer in self._given]
        for model in self.models:
            held += optimizers_of(model)
        found = {}  # id -> (label, optimizer)
        taken = set()
        for label, optimizer in held:
            inner = inner_optimizers(optimizer)
            for one in inner:
                if id(one) not in found:
                    name = label if label and len(inner) == 1 else own_name(one)
                    found[id(one)] = unique(name, taken), one
        self.optimizers = dict(found.values())

    def counts(self, find=True):
        """Return how many steps each optimizer has taken, by its id; find new ones before that."""
        if find:
            self.find_optimizers()
        return {id(optimizer): steps_taken(optimizer) for optimizer in self.optimizers.values()}

    def batches_per_step(self):
        """Return how many batches one optimizer step takes, as gradients accumulate."""
        numbers = [o.gradient_accumulation_steps or 1 for o in self.optimizers.values()]
        return max(numbers, default=1)

    def look(self, at_start=False, for_variables=True):
        """Decide again what to log, if what is trained has changed.

        Args:
            at_start: whether no step has been taken yet.
            for_variables: whether to look for new variables, too, which takes time.

        Returns:
            A list of sentences on what cannot be logged.
        """
        optimizers = [*self.optimizers.values()]
        # Of several optimizers that hold a variable, one that has never stepped trains nothing.
        several = len(optimizers) > 1
        known = [(id(o), o.built, several and steps_taken(o) > 0) for o in optimizers]
        if not for_variables and self._seen and known == self._seen[0]:
            return []
        seen = known, [id(v) for model in self.models for v in model.trainable_variables]
        if seen == self._seen:
            return []
        self._seen = seen
        self.monitored, problems = choose(
            self.models, optimizers, self._monitor, self.monitored, at_start
        )
        return problems

    def oddities(self, monitored):
        """Return sentences on variables that were trained in a way that nobody expects."""
        said = []
        if frozen := [m.name for m in monitored if m.is_frozen]:
            said.append(
                f"Not trainable, but trained all the same: {', '.join(frozen)}. Keras notices that "
                "`trainable` was set when the model is compiled anew."
            )
        reasons = {}
        for m in monitored:
            if m.missing_rate:
                reasons.setdefault(m.missing_rate, []).append(m.name)
        for reason, names in reasons.items():
            end = "" if reason.endswith(".") else "."
            said.append(f"Not logged in effective_lr: {', '.join(names)}: {reason}{end}")
        return said


def optimizers_of(model):
    """Return pairs of a label and an optimizer that an attribute of the model holds.

    A custom `train_step` often has others than the compiled one, also in lists and dicts.
    """
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
        m.name, m.is_frozen = name, id(variable) not in trainable
        m.optimizer, m.missing_rate = owner(optimizers, variable)
        m.tracked, m.map_shape = tracked[name], maps.get(id(variable))
        if monitor.detail and m.ever_updated is None:
            m.ever_updated = False
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
    if len(found) > 1:
        found = [o for o in found if steps_taken(o)] or found
    if not found:
        return None, "no optimizer that the monitor can see trains it"
    if len(found) > 1:
        return None, f"{' and '.join(own_name(o) for o in found)} may train it"
    [optimizer] = found
    if formula_of(optimizer) is None:
        return optimizer, unknown_formula(optimizer)
    return optimizer, missing_rate(optimizer, variable)


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
