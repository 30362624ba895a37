"""What is wrong with a training, in words: by its rows, and by a batch.

Each threshold separates planted faults from healthy trainings: `docs/verdicts.py` repeats that, and
`docs/verdicts.md` shows its tables. Kernels are judged: the variables of two or more dimensions
that do not start at zero.
"""

import collections
import functools
import math
from operator import itemgetter
from statistics import median_low

import keras
import numpy as np
import tensorflow as tf

from keras_lecture_opt.monitor._pictures import layer_of
from keras_lecture_opt.verdicts._check import first, inputs, look, outputs, sums_to_1
from keras_lecture_opt.verdicts._inside import are_unrelated, idle_units
from keras_lecture_opt.verdicts._objective import (
    CROSS_ENTROPIES,
    activation_of,
    best_constant,
    is_linear,
    is_mean_alone,
    least_loss,
    loss_of,
    saturating,
)
from keras_lecture_opt.verdicts._verdict import Checks, and_others, in_order

STARTED = 10  # steps
TOO_FAST = 0.3  # a step over the kernel's size; healthy: 0.08, and 0.23 at a rate 3 times too high
SOARED = 10.0  # the highest loss over the first one
EXPLODED = 10.0  # the same, of any step
FAST, GROWN = 0.05, 5.0  # the same, and size over the first size: both together
HEALTHY, SLOW = 0.05, 5e-3  # the same: advice aims at the first from above, the other from below
TOO_SLOW = 1e-4  # step_to_weight of the fastest kernel; healthy: at least 1.8e-4
FEW = 64  # weights
LAGGING = 0.02  # a kernel's fastest step_to_weight over the median kernel's
SHRUNK = 0.7  # size over the first size; healthy: at least 0.98
BAD_START = 5.0  # the first loss over that of guessing; healthy: at most 2.9
LARGE, LARGE_RECURRENT = 10.0, 2.5  # first size over the usual one; healthy: at most 2
GUESSING = 0.9  # a loss over that of guessing
LEARNED, SOLVED = 0.5, 0.15  # the same
UNSKILLED, SKILLED = 0.1, 0.5  # share of the wrong answers of guessing that are right
FALLEN = 0.5  # a loss over the first loss
LAG, FORGOTTEN = 0.8, 5.0  # a loss in training over that after it; times an average forgets
PROGRESS = 0.8  # the same, or over that of guessing, of a training that learns something
SLOW_WAY = 0.1  # of the way from the first loss to that of the labels
FALLING = 0.99  # the last loss over that in the middle of the training
FAR_ABOVE = 2.0  # the same: a training that is not stable
BLOCKS = 20  # of a batch, whose losses are compared
ENOUGH = 150  # steps after which a loss must have fallen
ACCURATE = 0.85
ACCURACIES = (
    *("accuracy", "acc", "sparse_categorical_accuracy", "categorical_accuracy"),
    "binary_accuracy",
)
DEAD = 0.95  # share of a layer's ReLUs; healthy: at most 0.88
ALIKE = 0.1  # spread of the outputs of a softmax over their size; healthy: at least 0.5
SAME = 0.01  # the same of any outputs, or over the spread of the labels

# What nothing that can be seen before training explains; what an earlier verdict explains.
INDEPENDENT = ("frozen", "decay too strong", "too few steps")
LATE = ("bad start", "steps too large", "no gradient", "dead units")
WITH_NAN = (
    *("negative loss", "bad start", "weights start too large", "steps too large"),
    *("linear network", "not finite"),
)

OTHER_ROWS = (
    "labels that do not belong to the inputs: shuffled, they fit as well. Look at a few examples "
    "with their labels, and where one of the two is shuffled, sorted or filtered."
)
FADING = "the gradient fades on its way through {} layers of sigmoids or tanh. Try `relu` in them."
FINDER = "`find_learning_rate` finds one."

CHECKS = Checks()  # first what may cause the rest


def judge(evidence):
    """Return the list of verdicts on a training, and the list of faults that were looked for."""
    verdicts, made = [], []
    for model, found_outputs in zip(evidence.models, evidence.outputs, strict=True):
        if model.compiled:
            found, names = look(found_outputs, inputs(model, evidence.x))
            verdicts, made = verdicts + found, made + names
    causes = [v for v in verdicts if v.certainty in ("certain", "likely")]
    if evidence.has_learned:  # what is odd has done no harm
        verdicts = [v for v in verdicts if v.certainty == "certain"]
    shown, names = CHECKS.run(evidence)
    faults = {v.fault for v in shown}
    if "linear network" in faults:  # which says more than the hint
        verdicts = [v for v in verdicts if v.fault != "nothing nonlinear between"]
    if "not finite" in faults:  # nothing else can be told
        shown = [v for v in shown if v.fault in WITH_NAN]
    if "no gradient" in faults:
        shown = [v for v in shown if v.fault not in ("steps too small", "layer lags")]
    for i, verdict in enumerate(shown):
        # Without a gradient from the start, or where it should be clipped, there is more to say.
        is_late = verdict.fault in LATE and verdict.value and "clipnorm" not in verdict.text
        is_late = is_late or verdict.certainty == "symptom"
        if (causes and verdict.fault not in INDEPENDENT) or (i and is_late):
            what = verdict.text.partition(" Likely cause: ")[0]
            text = f"{what} This follows from what is said above."
            shown[i] = verdict._replace(text=text, certainty="symptom")
    return in_order(verdicts + shown), [*dict.fromkeys(made + names)]


def summarize(verdicts, made, age):
    """Return the sentences that say what was found in a training of `age` steps."""
    if verdicts:
        several = sum(v.certainty in ("certain", "likely") for v in verdicts) > 1
        return [*map(str, verdicts), *["Mend all of these, then train again."] * several]
    if age < STARTED:
        return [f"A training of fewer than {STARTED} steps cannot be judged."]
    return [f"No fault found: {len(made)} checks ({', '.join(made)})."]


class Evidence:
    """What was measured, sorted by kernel and quantity.

    Args:
        history: a list of `Row`.
        models, optimizers: what is trained, and what trains it.
        names: dict from the ids of the models' variables to their names in the history.
        start: the run step after which the training began.
        x, y: a batch of inputs, and its labels; each may be None.

    Raises:
        ValueError: there are several models and `x`, or the model cannot be called with it.
    """

    def __init__(self, history, models, optimizers, names, start=0, x=None, y=None):
        if x is not None and len(models) > 1:
            raise ValueError(f"`x` needs one model: {len(models)} are trained.")
        self.models, self.names, self.start, self.x = models, names, start, x
        self.clips = any(o.clipnorm or o.clipvalue or o.global_clipnorm for o in optimizers)
        self.decays = any(o.weight_decay for o in optimizers) or any(m.losses for m in models)
        self._series = series = collections.defaultdict(dict)
        for row in history:
            series[row.variable, row.quantity][row.step] = row.value
        self.variables = [name for name, quantity in series if quantity == "weight"]
        self.last_step = history[-1].step if history else start
        self.steps = self.age(self.last_step)
        self.loss = series.get(("", "loss"), {})
        self.accuracy = next(filter(None, (series.get(("", name)) for name in ACCURACIES)), {})
        shapes = {
            names[id(variable)]: tuple(variable.shape)
            for model in models
            for variable in model.trainable_variables
            # A few weights may all pass through zero.
            if len(variable.shape) > 1 and math.prod(variable.shape) >= FEW
        }
        self.matrices = [*shapes]
        sizes = {name: self._first_size(name) for name in shapes}
        self.kernels = {name: size for name, size in sizes.items() if size}  # the first sizes
        self.usual = {name: usual_size(shapes[name]) for name in self.kernels}
        # Healthy embeddings grow to many times their first size.
        self.judged = [name for name in self.kernels if not name.endswith("embeddings")]
        self.layers = [layer for model in models for layer in all_layers(model)]
        # The hidden layers of sigmoids or of tanh.
        self.saturating = [layer for model in models for layer in saturating(model)]
        # A call clears what a model knows of its penalties.
        is_alone = len(models) == 1 and models[0].compiled and is_mean_alone(models[0])
        if len(models) > 1:  # nobody can tell whose labels they are
            y = None
        self.outputs = [outputs(model, x, y) for model in models]
        # Nor, of several losses, the parts.
        found = self.outputs[0] if len(models) == 1 else []
        self.output = found[0] if len(found) == 1 else None
        self.y, self.values = (self.output.y, self.output.values) if self.output else (None, None)
        self.kind = self.output and self.output.kind
        has_one_answer = self.kind in ("categorical", "sparse")
        self.classes = (has_one_answer and self.output.units) or 0
        self.guessing, self.untrained, self.least = self._costs() if is_alone else (None, None, 0)
        self._compare_losses()
        self.dead, self.saturated = ({}, {}) if x is None else self._idle(x)

    def age(self, step):
        """Return the training step of a run step."""
        return step - self.start

    def of(self, name, quantity):
        """Return what was measured of a variable, by step."""
        return self._series.get((name, quantity), {})

    def _first_size(self, name):
        """The RMS of a variable before the first measured step; 0 for zeros, None if unknown."""
        for kind in ("step", "execution"):
            for step, moved in self.of(name, kind).items():
                ratio = self.of(name, f"{kind}_to_weight").get(step)
                if ratio is None:
                    return 0.0
                return moved / ratio if ratio else self.of(name, "weight")[step]
        return None

    def _costs(self):
        """The mean losses of the best constant output, of a first one, and of the labels.

        The first two are None where they are not known.
        """
        if self.output is None:
            return None, None, 0
        model, output, y = self.models[0], self.output, self.y
        first = math.log(2) if self.kind == "binary" else None
        first = math.log(self.classes) if self.classes > 1 else first
        if y is None or not np.isfinite(y).all():
            return first, first, 0
        constant = best_constant(model, output, y)
        if constant is None:
            return None, None, 0
        guessing = loss_of(model, y, constant)
        first = first or loss_of(model, y, np.zeros(y.shape, "float32")) or guessing
        return guessing, max(first, guessing), least_loss(model, output, y)

    def _compare_losses(self):
        """Compare the latest loss with the first one, that of guessing, and that of the labels."""
        self.error = None  # the loss of what the model puts out for `x`, without dropout
        if self.guessing is not None and self.y is not None and self.values is not None:
            self.error = loss_of(self.models[0], self.y[: len(self.values)], self.values)
        self.shown_loss = next(reversed(self.loss.values()), math.inf)  # the mean of an epoch
        self.latest_loss = self.shown_loss if self.error is None else self.error
        self.part_of_guessing = math.inf  # from the loss of the labels, 0, to that of guessing, 1
        if self.guessing is not None:
            whole = max(self.guessing - self.least, 1e-12)
            self.part_of_guessing = (self.latest_loss - self.least) / whole
        self.has_learned = self.part_of_guessing < LEARNED
        start = min(next(iter(self.loss.values()), 0), self.guessing or math.inf)
        self.makes_progress = self.has_learned or self.latest_loss < PROGRESS * start
        is_old = self.steps >= ENOUGH and self.guessing is not None
        self.has_failed = is_old and not self.makes_progress

    @property
    def averages_lag(self):
        """Whether the model learns in training, and does not show it without its batches."""
        layers = [e for e in self.layers if isinstance(e, keras.layers.BatchNormalization)]
        forgotten = self.steps * (1 - max((layer.momentum for layer in layers), default=0))
        if not layers or forgotten > FORGOTTEN or self.error is None:
            return False
        return self.shown_loss < min(LAG * self.error, PROGRESS * self.guessing)

    def _idle(self, x):
        """The share of dead ReLUs of each layer, and of units of other layers that saturate."""
        dead, saturated = {}, {}
        for layer, share in idle_units(self.models[0], first(x)).items():
            kind = dead if activation_of(layer) == "relu" else saturated
            names = [self.names[id(w)] for w in layer.weights if id(w) in self.names]
            kind[layer_of(names[0]) if names else layer.name] = share
        return dead, saturated

    @functools.cached_property
    def is_better_than_guessing(self):
        """Whether the loss of the batch is below that of guessing by 1.5 standard errors."""
        if self.error is None:
            return False
        model, values, y = self.models[0], self.values, self.y[: len(self.values)]
        constant = best_constant(model, self.output, y)
        if constant is None or len(values) < 5 * BLOCKS:
            return False
        gains = [
            loss_of(model, y[rows], constant[rows]) - loss_of(model, y[rows], values[rows])
            for rows in np.array_split(np.arange(len(values)), BLOCKS)
        ]
        return bool(np.mean(gains) > 1.5 * np.std(gains, ddof=1) / math.sqrt(BLOCKS))

    @functools.cached_property
    def labels_are_of_other_rows(self):
        """Whether similar inputs have labels that differ as much as any two."""
        if self.y is None or not isinstance(self.x, (np.ndarray, tf.Tensor)):
            return False
        return are_unrelated(np.asarray(self.x), self.y, self.kind == "sparse")

    @functools.cached_property
    def skill(self):
        """The share of the wrong answers of the best constant that are right; 0 if unknown."""
        if self.kind not in CROSS_ENTROPIES:
            return 0.0
        if self.error is None:
            step = max(self.accuracy, default=0)
            chance, accuracy = 1 / (self.classes or 2), self.accuracy.get(step, 0)
        else:
            chance, accuracy = accuracies(self.output)
        skill = float((accuracy - chance) / max(1 - chance, 1e-12))
        # With class weights, or of a rare class, the order tells what no answer does. That of
        # untrained outputs may be right by chance, but not as right as that.
        order = self._order()
        return max(skill, order if order > SKILLED else 0)

    def _order(self):
        """Twice the area under the ROC curve of a binary output, minus 1; 0 if unknown."""
        if self.error is None or self.output.units != 1:
            return 0.0
        values = self.values.ravel()
        right = self.y[: len(values)].ravel() > 0.5
        if right.all() or not right.any():
            return 0.0
        return float(np.mean(np.sign(values[right][:, np.newaxis] - values[~right])))

    def size(self, name):
        """The latest RMS of a variable, over the first one."""
        [*_, latest] = self.of(name, "weight").values()
        return latest / self.kernels[name]

    def growth(self, name):
        """The latest RMS of a variable, over the first or over the usual one if that is larger."""
        return self.size(name) * min(1, self.kernels[name] / self.usual[name])

    @functools.cached_property
    def fastest(self):
        """The step and the largest step_to_weight of each kernel that has one."""
        found = {}
        for name in self.judged:
            ratios = self.of(name, "step_to_weight").items()
            # The first steps are the rush of an adaptive rule.
            if ratios := [(step, ratio) for step, ratio in ratios if self.age(step) >= STARTED]:
                found[name] = max(ratios, key=itemgetter(1))
        return found

    @functools.cached_property
    def paces(self):
        """The step and the size of the largest step of each kernel, in units of the kernel's size.

        Kernels that start with tiny weights grow to their usual size in healthy trainings: that is
        the unit for them.
        """
        found = {}
        for name in self.judged:
            paces = []
            for step, moved in self.of(name, "step").items():
                ratio = self.of(name, "step_to_weight").get(step) or math.inf
                pace = moved / max(moved / ratio, self.usual[name])
                if self.age(step) >= STARTED or pace > EXPLODED:
                    paces.append((step, pace))
            if paces:
                found[name] = max(paces, key=itemgetter(1))
        return found


def accuracies(output):
    """Return the share of right answers of the best constant, and of a classifier."""
    values, y = output.values, output.y[: len(output.values)]
    if output.kind == "sparse" or sums_to_1(y):
        right = (y if output.kind == "sparse" else y.argmax(axis=-1)).ravel()
        _, counts = np.unique(right, return_counts=True)
        return counts.max() / counts.sum(), np.mean(values.argmax(axis=-1).ravel() == right)
    answers = values.reshape(y.shape) > (0 if output.from_logits else 0.5)
    right = y > 0.5
    ones = right.mean(axis=0)
    return np.mean(np.maximum(ones, 1 - ones)), np.mean(answers == right)


def usual_size(shape):
    """Return the standard deviation of Glorot and Bengio's initial weights (2010, eq. 16)."""
    *field, fan_in, fan_out = shape
    return math.sqrt(2 / ((fan_in + fan_out) * math.prod(field)))


@CHECKS.enter(lambda e: e.loss and e.kind in CROSS_ENTROPIES, "certain")
def negative_loss(evidence):
    step, loss = min(evidence.loss.items(), key=itemgetter(1))
    if loss < 0:
        text = (
            f"The loss is {loss:.3g} at step {step}, and no cross-entropy of labels from 0 to 1 is "
            "negative. Look at the labels: binary cross-entropy takes 0 and 1, not −1 or 2."
        )
        yield (), step, loss, text


@CHECKS.enter(lambda e: e.kernels)
def weights_start_too_large(evidence):
    starts = {name: evidence.kernels[name] / evidence.usual[name] for name in evidence.judged}
    guilty = [
        name
        for name, start in starts.items()
        if start > (LARGE_RECURRENT if name.endswith("recurrent_kernel") else LARGE)
    ]
    if guilty and not evidence.has_learned:
        worst = max(guilty, key=starts.get)
        text = (
            f"{worst} starts {starts[worst]:.3g} times as large as usual{and_others(guilty)}. "
            "Likely cause: its initializer. Try its initializer's default."
        )
        yield tuple(guilty), evidence.start, starts[worst], text


@CHECKS.enter(lambda e: e.guessing and e.start + 1 in e.loss)
def bad_start(evidence):
    step = evidence.start + 1
    first = evidence.loss[step]
    if first > BAD_START * evidence.untrained and not evidence.has_learned:
        times = first / evidence.untrained
        inputs = "inputs that are not scaled, or " * (evidence.x is None)  # else they are judged
        try_inputs = "inputs of mean 0 and standard deviation 1, and " * (evidence.x is None)
        text = (
            f"The first loss is {first:.3g}, {times:.3g} times that of guessing "
            f"({evidence.untrained:.3g}). Likely cause: {inputs}a layer that starts with "
            f"large weights. Try {try_inputs}its initializers' defaults. (Large class or sample "
            "weights multiply the loss, too.)"
        )
        yield (), step, times, text


@CHECKS.enter(lambda e: e.paces or e.loss)
def steps_too_large(evidence):
    paces = {name: pace for name, (_, pace) in evidence.paces.items()}
    guilty = [
        name
        for name, pace in paces.items()
        if pace > TOO_FAST
        # A new head on many features grows much when it is healthy.
        or (pace > FAST and evidence.growth(name) > GROWN and not evidence.has_learned)
    ]
    if guilty:
        worst = max(guilty, key=paces.get)
        step, pace = evidence.paces[worst]
        grown = evidence.growth(worst)
        more = "Healthy steps change a kernel by less than 8%."
        if GROWN < grown < math.inf:
            more = f"It has grown to {grown:.3g} times its usual size."
        recurrent = any(isinstance(layer, keras.layers.RNN) for layer in evidence.layers)
        first = "`clipnorm=1`, as the gradients of recurrent layers explode, then " * recurrent
        times = f"{pace:.0%} of" if pace < EXPLODED else f"{pace:.3g} times"
        text = (
            f"Step {step} changed {worst} by {times} its size{and_others(guilty)}. "
            f"{more} Likely cause: the learning rate is too high. Try {first}"
            f"{parts(pace / HEALTHY)} of the learning rate. {FINDER}"
        )
        yield tuple(guilty), step, pace, text
    elif evidence.guessing and not evidence.has_learned:
        start = max(next(iter(evidence.loss.values()), math.inf), evidence.guessing)
        step, highest = max(evidence.loss.items(), key=itemgetter(1), default=(0, 0))
        if SOARED * start < highest < math.inf:
            text = (
                f"The loss rose to {highest:.3g} at step {step}, {highest / start:.3g} times the "
                "first one or that of guessing. Likely cause: the learning rate is too high. Try a "
                f"tenth of the learning rate. {FINDER}"
            )
            yield (), step, highest / start, text


def parts(excess):
    """Return a power of ten that is at most an excess, in words."""
    words = ("a tenth", "a hundredth", "a thousandth")
    return words[min(max(math.ceil(math.log10(max(excess, 1))), 1), 3) - 1]


@CHECKS.enter(lambda e: e.variables or e.loss, "symptom")
def not_finite(evidence):
    for names in (evidence.kernels, evidence.variables):
        steps = {name: not_finite_at(evidence.of(name, "weight")) for name in names}
        if bad := {name: found[0] for name, found in steps.items() if found}:
            break
    losses = not_finite_at(evidence.loss)
    if bad or losses:
        what = next(iter(bad), "The loss")
        step = min([*bad.values(), *losses])
        where = "the data" if evidence.x is None else "data that are not in `x`"
        text = (
            f"{what} is NaN or infinite{and_others(bad)}, first seen at step {step}. Likely cause: "
            f"a NaN in {where}, or a learning rate that is too high. Look for NaN in the data, "
            "then try a tenth of the learning rate."
        )
        yield tuple(bad), step, math.nan, text


def not_finite_at(values):
    """Return at which steps values are NaN or infinite."""
    return [step for step, value in values.items() if not math.isfinite(value)]


@CHECKS.enter(lambda e: e.matrices and e.steps >= STARTED)
def no_gradient(evidence):
    still = {}  # name -> the last step that moved it
    for name in evidence.matrices:
        moved = evidence.of(name, "step") | evidence.of(name, "execution")
        steps = [step for step, size in moved.items() if size]
        since = [step for step in moved if step > max(steps, default=0)]
        # Between two measured steps it may have moved, too.
        sizes = {evidence.of(name, "weight")[step] for step in since}
        rates = [evidence.of(name, "effective_lr").get(step, 1) for step in since]
        if len(since) > 1 and len(sizes) == 1 and any(rates) and math.isfinite(sum(sizes)):
            still[name] = max(steps, default=evidence.start)
    # Of a loss of 0, too, there is no gradient.
    is_solved = evidence.has_learned or not evidence.latest_loss
    if still and (evidence.start in still.values() or not is_solved):
        name = min(still, key=still.get)
        since = evidence.age(still[name])
        dead, _, _ = idle(evidence.dead)
        zeros = [name for name in still if not any(evidence.of(name, "weight").values())]
        if since:
            cause = (
                "a step that was too large has left units dead or saturated. Try a tenth of the "
                "learning rate, and inputs of standard deviation 1."
            )
        elif zeros:
            cause = f"{zeros[0]} is all zeros, which stay alike. Try its initializer's default."
        elif dead:
            cause = (
                f"the ReLUs of {dead[0]} are 0 for all examples from the start. Try its "
                "initializers' defaults."
            )
        else:
            cause = (
                "dead units, weights of 0 or `stop_gradient` on the way to the loss; or a "
                "learning rate of 0, or steps that rounding loses (bfloat16, float16). Try its "
                "initializers' defaults, or leave out what stops the gradient."
            )
        text = (
            f"{name} has not moved by a single bit since step {since}{and_others(still)}. Likely "
            f"cause: {cause}"
        )
        yield tuple(still), evidence.last_step, float(since), text


@CHECKS.enter(lambda e: e.models)
def frozen(evidence):
    names = []
    for layer in evidence.layers:
        if not layer.trainable:
            known = [weight for weight in layer.weights if id(weight) in evidence.names]
            names += [evidence.names[id(weight)] for weight in known if is_initial(layer, weight)]
    solved = evidence.has_learned and evidence.part_of_guessing < SOLVED  # by random features
    if (names := [*dict.fromkeys(names)]) and not solved:
        text = (
            f"{names[0]} is not trained and has its random initial values"
            f"{and_others(names)}. Likely cause: a layer was frozen by accident, or its trained "
            "weights were not loaded. Try `layer.trainable = True` before `compile`."
        )
        yield tuple(names), evidence.last_step, 0.0, text


def all_layers(model):
    """Return the model's layers and those of the models in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)


def is_initial(layer, weight):
    """Whether a weight has the values that its random initializer gave it."""
    initializer = getattr(layer, "_".join((weight.name, "initializer")), None)
    if not isinstance(getattr(initializer, "seed", None), int):
        return False  # constant, or a call would advance a generator
    initial = initializer(weight.shape, dtype=weight.dtype)
    return bool(keras.ops.all(keras.ops.equal(initial, weight)))


# Without decay, trained weights may be smaller than the first ones all the same.
@CHECKS.enter(lambda e: e.decays and e.kernels)
def decay_too_strong(evidence):
    sizes = {name: evidence.size(name) for name in evidence.kernels}
    shrunk = [name for name, size in sizes.items() if size < SHRUNK]
    if shrunk:
        worst = min(shrunk, key=sizes.get)
        text = (
            f"{worst} has shrunk to {sizes[worst]:.2g} of its first size{and_others(shrunk)}. "
            "Likely cause: a weight decay or a penalty that is too strong. Try "
            f"{parts(SHRUNK / sizes[worst] / 5)} of it."
        )
        yield tuple(shrunk), evidence.last_step, sizes[worst], text


def idle(shares):
    """Return the layers of which too many units are idle, the worst layer, and its share."""
    worst = max(shares, key=shares.get, default=None)
    return [name for name, share in shares.items() if share > DEAD], worst, shares.get(worst)


@CHECKS.enter(lambda e: e.saturated)
def saturated_units(evidence):
    guilty, worst, share = idle(evidence.saturated)
    if guilty and not evidence.has_learned:
        text = (
            f"{share:.0%} of the units of {worst} are at their bounds for all examples"
            f"{and_others(guilty)}. Likely cause: inputs that are not scaled, or initial weights "
            "that are too large. Try inputs of standard deviation 1, and its initializers' "
            "defaults."
        )
        yield tuple(guilty), evidence.last_step, share, text


@CHECKS.enter(lambda e: e.dead)
def dead_units(evidence):
    guilty, worst, share = idle(evidence.dead)
    if guilty and not evidence.has_learned:
        examples = len(keras.tree.flatten(first(evidence.x))[0])
        text = (
            f"{share:.0%} of the ReLUs of {worst} are 0 for all {examples} "
            f"examples{and_others(guilty)}. Likely cause: a learning rate that is, or was, too "
            "high, inputs that are not scaled, or biases far below 0. Try a tenth of the learning "
            "rate from the start."
        )
        yield tuple(guilty), evidence.last_step, share, text


# A sequence model first learns how often each class occurs, the same for all examples.
@CHECKS.enter(
    lambda e: (
        e.values is not None
        and e.values.ndim == 2
        and e.steps >= ENOUGH
        and (e.kind in CROSS_ENTROPIES or (e.kind and e.y is not None))
        and not e.averages_lag
    ),
    "symptom",
)
def outputs_alike(evidence):
    last = evidence.values
    spread, size = float(np.mean(np.std(last, axis=0))), float(np.mean(np.abs(last)))
    limit = ALIKE if evidence.classes else SAME
    if evidence.kind not in CROSS_ENTROPIES:
        size = float(np.mean(np.std(evidence.y, axis=0)))
    share = spread / size if size else 0.0
    if share < limit and (size or not evidence.has_learned):
        if evidence.labels_are_of_other_rows:
            cause = OTHER_ROWS
        elif len(evidence.saturating) > 3:
            cause = FADING.format(len(evidence.saturating))
        else:
            cause = (
                "a layer passes nothing on, or nothing has been learned. Try to learn ten examples "
                "by heart."
            )
        alike = f"exactly {'the same' if np.any(last) else 0} for all {len(last)} examples"
        if share:
            of = "their size" if evidence.kind in CROSS_ENTROPIES else "the labels' spread"
            alike = f"nearly the same for all examples: they vary by {share:.1g} of {of}"
        text = f"The outputs are {alike}. Likely cause: {cause}"
        yield (), evidence.last_step, share, text


# The last steps alone would be those of a learning rate that has decayed.
@CHECKS.enter(
    lambda e: any(e.age(min(e.of(name, "step"), default=math.inf)) <= STARTED for name in e.fastest)
)
def steps_too_small(evidence):
    fastest = evidence.fastest
    name = max(fastest, key=lambda name: fastest[name][1])
    step, pace = fastest[name]
    clipping = "gradients are clipped too much, or " * evidence.clips
    without = "without clipping, or " * evidence.clips
    if 0 < pace < TOO_SLOW and not evidence.makes_progress:
        factor = 10 ** min(max(math.ceil(math.log10(SLOW / pace)), 1), 3)
        text = (
            f"No step has changed a kernel by more than {pace:.1g} of its size ({name}, step "
            f"{step}); healthy steps reach 1e-3. Likely cause: {clipping}the learning rate is "
            f"too low. Try {without}{factor} times the learning rate. {FINDER}"
        )
        yield tuple(fastest), step, pace, text


@CHECKS.enter(lambda e: len(e.fastest) > 2)
def layer_lags(evidence):
    fastest = {name: pace for name, (_, pace) in evidence.fastest.items()}
    usual = median_low(fastest.values())
    if len(evidence.saturating) > 1 and evidence.steps >= ENOUGH:
        usual = min(max(fastest.values()), TOO_SLOW / LAGGING)  # the gradient fades layer by layer
    slow = [
        name
        for name, pace in fastest.items()
        # Attention may stay uniform in a healthy network.
        if pace < LAGGING * usual and not name.endswith(("query/kernel", "key/kernel"))
    ]
    if slow and not evidence.has_learned:
        worst = min(slow, key=fastest.get)
        cause = (
            "the layer starts with weights that are too large, its gradient vanishes on the way, "
            "or its part of the loss is small. Try its initializer's default, or a normalization "
            "layer."
        )
        if len(evidence.saturating) > 1:
            cause = FADING.format(len(evidence.saturating))
        text = (
            f"No step has changed {worst} by more than {fastest[worst]:.1g} of its size"
            f"{and_others(slow)}, while other kernels' steps reach {usual:.1g}. Likely cause: "
            f"{cause}"
        )
        yield tuple(slow), evidence.last_step, fastest[worst] / usual if usual else math.nan, text


# Steps that are too large are another fault.
@CHECKS.enter(lambda e: e.has_failed and not FAR_ABOVE * e.guessing < e.latest_loss < math.inf)
def linear_network(evidence):
    for model in evidence.models:
        if is_linear(model):
            text = (
                "Nothing nonlinear stands between any two layers: together they are one linear "
                "layer, however many there are. Give each but the last an activation, such as "
                "`relu`."
            )
            yield (), evidence.last_step, math.nan, text


# The loss of a softmax over probabilities that are all right. With fewer classes, a network that
# is unsure reaches it, too.
@CHECKS.enter(
    lambda e: e.guessing and e.classes >= 10 and e.accuracy and e.age(max(e.accuracy)) >= ENOUGH
)
def probabilities_squashed(evidence):
    step, accuracy = max(evidence.accuracy.items())
    loss = evidence.loss.get(step, 0)
    if evidence.error is not None:  # without the weights of classes
        loss = min(loss, evidence.error)
    floor = math.log(1 + (evidence.classes - 1) / math.e)
    if accuracy > ACCURATE and loss > 0.96 * floor:
        text = (
            f"The loss is still {loss:.3g} at an accuracy of {accuracy:.0%} (step {step}). Likely "
            f"cause: softmax is applied twice, which keeps the loss above {floor:.3g}. Look for "
            "`from_logits=True` with a model that ends with a softmax, or for a second softmax."
        )
        yield (), step, loss, text


@CHECKS.enter(
    lambda e: (
        e.guessing
        and e.accuracy
        and (e.loss or e.error is not None)
        # Of other labels than 0 and 1, and of several, Keras's accuracy says nothing.
        and (e.classes or (e.output.units == 1 and e.output.are_classes))
    )
)
def accuracy_contradicts_the_loss(evidence):
    step = max(evidence.accuracy)
    loss, accuracy = evidence.latest_loss, evidence.accuracy[step]
    chance = 1 / (evidence.classes or 2)
    if 0 <= loss < LEARNED * evidence.guessing and accuracy <= chance + (1 - chance) / 10:
        text = (
            f"The loss, {loss:.3g}, is far below that of guessing ({evidence.guessing:.3g}), and "
            f"the accuracy is {accuracy:.0%}, that of guessing. What is predicted is not what is "
            "trained. Look at the last activation, at the metric, and at the form of the labels."
        )
        yield (), step, accuracy, text


@CHECKS.enter(lambda e: e.guessing and e.error is not None and e.steps < ENOUGH)
def too_few_steps(evidence):
    makes_progress = evidence.makes_progress or evidence.skill > SKILLED
    # Right after the start, BatchNormalization is better in training than here.
    makes_progress = makes_progress or evidence.shown_loss < LEARNED * evidence.guessing
    if evidence.has_learned or (makes_progress and evidence.steps >= 2 * STARTED):
        return
    # A loss that has hardly moved needs more than longer; large steps bear no more.
    largest = max((pace for _, pace in evidence.paces.values()), default=0)
    start = next(iter(evidence.loss.values()), evidence.untrained)
    fallen = (start - evidence.latest_loss) / max(start - evidence.least, 1e-12)
    is_slow = fallen < SLOW_WAY and 10 * largest < HEALTHY
    rate = ", with ten times the learning rate" * is_slow
    text = (
        f"After {evidence.steps} steps the loss is {evidence.error:.3g}, and that of guessing is "
        f"{evidence.guessing:.3g}. Likely cause: the training was too short. Try to train ten "
        f"times as long{rate}: more epochs, or smaller batches."
    )
    yield (), evidence.last_step, float(evidence.steps), text


@CHECKS.enter(
    lambda e: (
        e.guessing
        and (e.loss or e.error is not None)
        and e.age(max(e.loss, default=e.last_step)) >= ENOUGH
    ),
    "symptom",
)
def no_learning(evidence):
    step = max(evidence.loss, default=evidence.last_step)
    loss, shown = evidence.latest_loss, evidence.shown_loss
    # A mean of the epoch so far, which has a bad first batch in it.
    has_fallen = evidence.error is None and loss < FALLEN * evidence.loss.get(evidence.start + 1, 0)
    if evidence.part_of_guessing < GUESSING or has_fallen:
        return
    # There may be no more to learn. What is learned of other rows' labels is learned by heart.
    may_have_learned = evidence.skill > UNSKILLED or evidence.is_better_than_guessing
    if may_have_learned and not evidence.labels_are_of_other_rows:
        return
    # The rows may be few: the one in the middle of the steps.
    middle = next(
        (v for s, v in evidence.loss.items() if 2 * evidence.age(s) >= evidence.age(step)), 0
    )
    if evidence.averages_lag and not evidence.labels_are_of_other_rows:
        cause = (
            "the moving averages of BatchNormalization lag behind, as the loss in training is "
            f"{shown:.3g}. Try to train longer, or a smaller `momentum` of these layers."
        )
    elif shown < LEARNED * loss:
        cause = (
            "the rows are in an order, so that the last batches are not like these; or layers act "
            "differently in training. Try to shuffle the rows (`fit` takes the last ones for "
            "validation as they are)."
        )
    elif evidence.labels_are_of_other_rows:
        cause = OTHER_ROWS
    elif loss > FAR_ABOVE * evidence.guessing:
        cause = (
            "steps that are too large, as the loss is far above that of guessing. Try a tenth of "
            "the learning rate."
        )
    elif shown < FALLING * middle:
        cause = (
            "the training is too short, or the learning rate too low, as the loss still falls. Try "
            "to train ten times as long, or with ten times the learning rate."
        )
    else:
        cause = (
            "labels that do not belong to the inputs, or what no number shows. Try to learn ten "
            "examples by heart."
        )
    text = (
        f"After {evidence.age(step)} steps the loss is {loss:.3g}, and guessing costs "
        f"{evidence.guessing:.3g}: nothing has been learned. Likely cause: {cause}"
    )
    yield (), step, loss / evidence.guessing, text
