"""What is wrong with a training, in words.

Each threshold separates planted faults from healthy trainings: `docs/verdicts.py` repeats that, and
`docs/monitor.md` shows its table. Kernels are judged: the variables of two or more dimensions that
do not start at zero.
"""

import functools
import math
import statistics
import warnings
from typing import NamedTuple

import keras
import numpy as np

from keras_lecture_opt.monitor._pictures import layer_of

STARTED = 10  # steps
TOO_FAST = 0.3  # step_to_weight; healthy: 0.08, and 0.23 with a rate 3 times too high
FAST, GROWN = 0.05, 5.0  # step_to_weight, and size over the first size: both together
TOO_SLOW = 1e-4  # step_to_weight of the fastest kernel; healthy: at least 1.8e-4
TINY = 0.1  # of the median kernel's first size
FEW = 64  # weights
LAGGING = 0.02  # a kernel's fastest step_to_weight over the median kernel's
SHRUNK = 0.7  # size over the first size; healthy: at least 0.98
BAD_START = 5.0  # the first loss over that of guessing; healthy: at most 2.9
GUESSING = 0.9  # a loss over that of guessing
LEARNED = 0.5  # the same
FALLEN = 0.5  # a loss over the first loss
ENOUGH = 150  # steps after which a loss must have fallen
ACCURATE = 0.85
ACCURACIES = ("accuracy", "acc", "sparse_categorical_accuracy", "categorical_accuracy")
DEAD = 0.75  # share of a layer's ReLUs; healthy: at most 0.59
ALIKE = 0.1  # spread of outputs over their size; healthy: at least 0.5


class Verdict(NamedTuple):
    """Something that is wrong with a training. `str(verdict)` is its text.

    Attributes:
        fault: what is wrong, always in the same words: "steps too large", "no learning", ….
        where: names of the variables or layers that show it; empty for the whole model.
        step: the number of the step at which it shows.
        value: the number that shows it.
        text: sentences: what is wrong, the number, where; a likely cause; one experiment.
    """

    fault: str
    where: tuple[str, ...]
    step: int
    value: float
    text: str

    def __str__(self):
        return self.text


CHECKS: list[tuple] = []  # functions that yield what they find; first what may cause the rest


def check(needs):
    """Register a check: a generator function that bears its fault's name.

    Args:
        needs: function of `Evidence` that returns whether the check can be made.
    """

    def enter(function):
        CHECKS.append((function.__name__.replace("_", " "), needs, function))
        return function

    return enter


def judge(evidence):
    """Return the list of verdicts on a training, and the list of the checks that were made."""
    verdicts, made = [], []
    for fault, needs, function in CHECKS:
        found = {verdict.fault for verdict in verdicts}
        if "not finite" in found:
            break  # nothing else can be told
        if fault in ("steps too small", "layer lags") and "no gradient" in found:
            continue
        if needs(evidence):
            made.append(fault)
            verdicts += [Verdict(fault, *facts) for facts in function(evidence)]
    return verdicts, made


def summarize(verdicts, made, age):
    """Return the sentences that say what was found in a training of `age` steps."""
    if verdicts:
        return [*map(str, verdicts)]
    if age < STARTED:
        return [f"A training of fewer than {STARTED} steps cannot be judged."]
    return [f"No fault found: {len(made)} checks ({', '.join(made)})."]


class Evidence:
    """What was measured, sorted by kernel and quantity.

    Args:
        history: a list of `Row`.
        models: what is trained.
        optimizers: what trains it.
        names: dict from the ids of the models' variables to their names in the history.
        start: the run step after which the training began.
        x: a batch of inputs, or None.

    Raises:
        ValueError: the models cannot be called with `x`, or their layers cannot be seen.
    """

    def __init__(self, history, models, optimizers, names, start=0, x=None):
        self.models, self.names, self.start = models, names, start
        self.decays = any(o.weight_decay for o in optimizers) or any(m.losses for m in models)
        series = {}
        for row in history:
            series.setdefault((row.variable, row.quantity), {})[row.step] = row.value
        self._series = series
        self.last_step = history[-1].step if history else start
        self.loss = series.get(("", "loss"), {})
        self.accuracy = next(filter(None, (series.get(("", name)) for name in ACCURACIES)), {})
        self.matrices = [
            names[id(variable)]
            for model in models
            for variable in model.trainable_variables
            # A few weights may all pass through zero.
            if len(variable.shape) > 1 and math.prod(variable.shape) >= FEW
        ]
        sizes = {name: self._first_size(name) for name in self.matrices}
        self.kernels = {name: size for name, size in sizes.items() if size}  # the first sizes
        [model] = models if len(models) == 1 else [None]
        self.classes = classes_of(model)
        self.guessing = self.classes and math.log(self.classes)
        self.outputs, self.dead = (None, {}) if x is None else look_inside(self, x)

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

    def size(self, name):
        """The latest RMS of a variable, over the first one."""
        [*_, latest] = self.of(name, "weight").values()
        return latest / self.kernels[name]

    @property
    def saw_the_start(self):
        """Whether one of the first steps of a kernel was measured."""
        return any(
            self.age(min(self.of(name, "step"), default=math.inf)) <= STARTED
            for name in self.fastest
        )

    @functools.cached_property
    def fastest(self):
        """The step and the largest step_to_weight of each kernel that has one.

        Embeddings, and heads that start with tiny weights, are left out: healthy ones grow to many
        times their first size.
        """
        usual = statistics.median_low(self.kernels.values()) if self.kernels else 0
        found = {}
        for name, first_size in self.kernels.items():
            # The first steps are the rush of an adaptive rule.
            paces = {
                s: v for s, v in self.of(name, "step_to_weight").items() if self.age(s) >= STARTED
            }
            if paces and not name.endswith("embeddings") and first_size > TINY * usual:
                found[name] = max(paces.items(), key=lambda pace: pace[1])
        return found


def classes_of(model):
    """Return the number of classes if the loss is the mean cross-entropy of a classifier, or None.

    None, too, if anything else may be in the loss: a penalty, a weight, a method of the user's own.
    """
    if model is None or model.losses:
        return None
    own, keras_own = type(model), keras.Model
    if own.train_step is not keras_own.train_step or own.compute_loss is not keras_own.compute_loss:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            config = model.get_compile_config()
        loss = keras.losses.get(model.loss)
    except Exception:  # a loss that cannot be written down
        return None
    # Not compiled, or `model.loss` is an earlier one.
    if not config.get("loss") or config.get("loss_weights"):
        return None
    shape = getattr(model, "output_shape", None)
    if not isinstance(shape, tuple) or not isinstance(shape[-1], int):
        return None
    if type(loss) in (
        keras.losses.CategoricalCrossentropy,
        keras.losses.SparseCategoricalCrossentropy,
    ):
        is_mean = str(loss.reduction).startswith(("sum_over_batch_size", "mean"))
    else:
        functions = ("categorical_crossentropy", "sparse_categorical_crossentropy")
        is_mean = loss in [getattr(keras.losses, name) for name in functions]
    return shape[-1] if is_mean and shape[-1] > 1 else None


@check(lambda e: e.fastest)
def steps_too_large(evidence):
    fastest = evidence.fastest
    fast = {name: pace for name, (_, pace) in fastest.items()}
    guilty = [
        name
        for name, pace in fast.items()
        if pace > TOO_FAST or (pace > FAST and evidence.size(name) > GROWN)
    ]
    if guilty:
        worst = max(guilty, key=fast.get)
        step, pace = fastest[worst]
        grown = evidence.size(worst)
        if grown > GROWN:
            more = f"It has grown to {grown:.3g} times its first size."
        else:
            more = "Healthy steps change a kernel by less than 8%."
        text = (
            f"Step {step} changed {worst} by {pace:.0%} of its size{and_others(guilty)}. {more} "
            "Likely cause: the learning rate is too high, or all layers start with tiny weights. "
            "Try a tenth of the learning rate."
        )
        yield tuple(guilty), step, pace, text


@check(lambda e: e.guessing and e.start + 1 in e.loss)
def bad_start(evidence):
    step = evidence.start + 1
    first = evidence.loss[step]
    if first > BAD_START * evidence.guessing:
        times = first / evidence.guessing
        text = (
            f"The first loss is {first:.3g}, {times:.0f} times that of guessing "
            f"({evidence.guessing:.2f}). Likely cause: inputs that are not scaled, or a layer that "
            "starts with large weights. Try inputs of mean 0 and standard deviation 1."
        )
        yield (), step, times, text


@check(lambda e: e.kernels or e.loss)
def not_finite(evidence):
    bad = {}
    for name in evidence.kernels:
        if steps := not_finite_at(evidence.of(name, "weight")):
            bad[name] = steps[0]
    losses = not_finite_at(evidence.loss)
    if bad or losses:
        what = next(iter(bad), "The loss")
        step = min([*bad.values(), *losses])
        text = (
            f"{what} is NaN or infinite{and_others(bad)}, first seen at step {step}. Likely cause: "
            "a NaN in the data, or a learning rate that is too high. Look for NaN in the data, "
            "then try a tenth of the learning rate."
        )
        yield tuple(bad), step, math.nan, text


def not_finite_at(values):
    """Return at which steps values are NaN or infinite."""
    return [step for step, value in values.items() if not math.isfinite(value)]


@check(lambda e: e.matrices and e.age(e.last_step) >= STARTED)
def no_gradient(evidence):
    still = []
    for name in evidence.matrices:
        moved = evidence.of(name, "step") | evidence.of(name, "execution")
        # Between two measured steps it may have moved, too.
        sizes = set(evidence.of(name, "weight").values())
        if len(moved) > 1 and len(sizes) == 1 and not any(moved.values()):
            still.append(name)
    if still:
        text = (
            f"{still[0]} has not moved by a single bit in {evidence.age(evidence.last_step)} "
            f"steps{and_others(still)}. Likely cause: no gradient arrives, because of dead units "
            "(ReLUs at 0, weights of 0) or `stop_gradient` on the way to the loss; or a learning "
            "rate of 0, or steps that rounding loses (bfloat16, float16). Look at each layer's "
            "outputs for one batch: `diagnose(x)`."
        )
        yield tuple(still), evidence.last_step, 0.0, text


@check(lambda e: e.models)
def frozen(evidence):
    names = []
    for model in evidence.models:
        for layer in all_layers(model):
            if not layer.trainable:
                names += [
                    evidence.names[id(weight)]
                    for weight in layer.weights
                    if id(weight) in evidence.names and is_initial(layer, weight)
                ]
    if names := [*dict.fromkeys(names)]:
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
@check(lambda e: e.decays and e.kernels)
def decay_too_strong(evidence):
    sizes = {name: evidence.size(name) for name in evidence.kernels}
    shrunk = [name for name, size in sizes.items() if size < SHRUNK]
    if shrunk:
        worst = min(shrunk, key=sizes.get)
        text = (
            f"{worst} has shrunk to {sizes[worst]:.2g} of its first size{and_others(shrunk)}. "
            "Likely cause: a weight decay or a penalty that is too strong. Try a tenth of it."
        )
        yield tuple(shrunk), evidence.last_step, sizes[worst], text


@check(lambda e: e.dead)
def dead_units(evidence):
    guilty = [name for name, share in evidence.dead.items() if share > DEAD]
    if guilty:
        worst = max(guilty, key=evidence.dead.get)
        share = evidence.dead[worst]
        text = (
            f"{share:.0%} of the ReLUs of {worst} are 0 for all {len(evidence.outputs)} examples"
            f"{and_others(guilty)}. Likely cause: a learning rate that is, or was, too high, or "
            "biases far below 0. Try a tenth of the learning rate from the start."
        )
        yield tuple(guilty), evidence.last_step, share, text


# A sequence model first learns how often each class occurs, the same for all examples.
@check(
    lambda e: (
        e.classes and e.outputs is not None and e.outputs.ndim == 2 and e.age(e.last_step) >= ENOUGH
    )
)
def outputs_alike(evidence):
    last = evidence.outputs
    spread = float(np.mean(np.std(last, axis=0)) / np.mean(np.abs(last)))
    if spread < ALIKE:
        text = (
            f"The outputs are nearly the same for all {len(last)} examples: they vary by "
            f"{spread:.1g} of their size. Likely cause: a layer passes nothing on, or nothing "
            "has been learned. Try to learn ten examples by heart."
        )
        yield (), evidence.last_step, spread, text


# The last steps alone would be those of a learning rate that has decayed.
@check(lambda e: e.saw_the_start)
def steps_too_small(evidence):
    fastest = evidence.fastest
    [*_, loss] = evidence.loss.values() or [math.inf]
    has_learned = evidence.guessing and loss < LEARNED * evidence.guessing
    name = max(fastest, key=lambda name: fastest[name][1])
    step, pace = fastest[name]
    if pace < TOO_SLOW and not has_learned:
        text = (
            f"No step has changed a kernel by more than {pace:.1g} of its size ({name}, step "
            f"{step}); healthy steps reach 1e-3. Likely cause: the learning rate is too low, "
            "or gradients are clipped to a tiny norm. Try ten times the learning rate."
        )
        yield tuple(fastest), step, pace, text


@check(lambda e: len(e.fastest) > 2)
def layer_lags(evidence):
    fastest = {name: pace for name, (_, pace) in evidence.fastest.items()}
    usual = statistics.median(fastest.values())
    slow = [name for name, pace in fastest.items() if pace < LAGGING * usual]
    if slow:
        worst = min(slow, key=fastest.get)
        text = (
            f"No step has changed {worst} by more than {fastest[worst]:.1g} of its size"
            f"{and_others(slow)}, while the median kernel's steps reach {usual:.1g}. Likely "
            "cause: the layer starts with weights that are too large, its gradient vanishes on "
            "the way, or its part of the loss is small. Try its initializer's default, or a "
            "normalization layer."
        )
        yield tuple(slow), evidence.last_step, fastest[worst] / usual if usual else math.nan, text


# The loss of a softmax over probabilities that are all right. With fewer classes, a network that
# is unsure reaches it, too.
@check(lambda e: (e.classes or 0) >= 10 and e.accuracy and e.age(max(e.accuracy)) >= ENOUGH)
def probabilities_squashed(evidence):
    step, accuracy = max(evidence.accuracy.items())
    loss = evidence.loss.get(step, 0)
    floor = math.log(1 + (evidence.classes - 1) / math.e)
    if accuracy > ACCURATE and loss > 0.96 * floor:
        text = (
            f"The loss is still {loss:.3g} at an accuracy of {accuracy:.0%} (step {step}). Likely "
            f"cause: softmax is applied twice, which keeps the loss above {floor:.3g}. Look for "
            "`from_logits=True` with a model that ends with a softmax, or for a second softmax."
        )
        yield (), step, loss, text


@check(lambda e: e.classes and e.loss and e.age(max(e.loss)) >= ENOUGH)
def no_learning(evidence):
    step, loss = max(evidence.loss.items())
    # The loss is Keras's mean since the epoch began: a bad first batch stays in it.
    has_fallen = loss < FALLEN * evidence.loss.get(evidence.start + 1, 0)
    chance = 1 / evidence.classes
    is_better = evidence.accuracy.get(step, 0) > chance + (1 - chance) / 10
    if loss >= GUESSING * evidence.guessing and not has_fallen | is_better:
        text = (
            f"After {evidence.age(step)} steps the mean loss of the epoch is {loss:.3g}, and "
            f"guessing costs {evidence.guessing:.3g}: nothing has been learned. Likely cause: what "
            "is said above, or else labels that do not belong to the inputs. Try to learn ten "
            "examples by heart."
        )
        yield (), step, loss / evidence.guessing, text


def look_inside(evidence, x):
    """Return the model's outputs for a batch, and the share of dead ReLUs of each layer."""
    if len(evidence.models) != 1 or not getattr(evidence.models[0], "inputs", None):
        kinds = ", ".join(type(model).__name__ for model in evidence.models)
        raise ValueError(
            "`x` needs one sequential or functional model: the outputs of the layers of "
            f"{kinds} cannot be seen."
        )
    [model] = evidence.models
    try:
        last = outputs_of(model, x)[0]
    except Exception as error:  # of any layer
        raise ValueError(
            f"`x` must be a batch of inputs, as the model takes it: {error}"
        ) from error
    if len(last) < 2:
        raise ValueError(f"`x` must have at least 2 examples, not {len(last)}.")
    outputs = [(layer, output_of_relu(layer)) for layer in model.layers]
    rectifiers = {layer: output for layer, output in outputs if output is not None}
    rectified, dead = {}, {}
    try:
        # A sequential model hides its input. A name of its own leaves Keras's numbering alone.
        given = getattr(model, "input", model.inputs[0])
        if rectifiers:
            probe = keras.Model(given, [*rectifiers.values()], name="probe")
            rectified = dict(zip(rectifiers, outputs_of(probe, x), strict=True))
    except (ValueError, KeyError):  # layers from another model: Keras 3.12 sees it in the call
        pass
    for layer, output in rectified.items():
        units = output.reshape(-1, output.shape[-1])
        dead[name_of(layer, evidence)] = float(np.mean(~np.any(units != 0, axis=0)))
    return last, dead


def outputs_of(model, x):
    """Return the model's outputs as a list, without a change of any of its variables."""
    trainable, others = (
        [v.value for v in w] for w in (model.trainable_variables, model.non_trainable_variables)
    )
    outputs, _ = model.stateless_call(trainable, others, x, training=False)
    return [np.asarray(keras.ops.cast(y, "float32")) for y in keras.tree.flatten(outputs)]


def output_of_relu(layer):
    """Return what a layer of ReLUs puts out, a symbolic tensor, or None."""
    is_relu = getattr(layer, "activation", None) is keras.activations.relu
    if is_relu or (isinstance(layer, keras.layers.ReLU) and not layer.negative_slope):
        try:
            return layer.output
        except (AttributeError, ValueError):  # a layer that is used twice has several
            pass
    return None


def name_of(layer, evidence):
    """Return a layer's name as the monitor writes it."""
    names = [evidence.names[id(w)] for w in layer.weights if id(w) in evidence.names]
    return layer_of(names[0]) if names else layer.name


def and_others(names):
    others = len(names) - 1
    return f" (and {others} more)" if others > 0 else ""
