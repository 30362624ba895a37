"""What can be seen before training: in the configuration, the labels, the inputs."""

import math
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_lecture_opt._arguments import must_be
from keras_lecture_opt.verdicts._inside import outputs_of
from keras_lecture_opt.verdicts._objective import (
    CROSS_ENTROPIES,
    RANGES,
    REGRESSIONS,
    activated_twice,
    inner_softmaxes,
    is_ordinary,
    linear_pairs,
    names_of,
    objectives,
    takes_any_scale,
)
from keras_lecture_opt.verdicts._verdict import Checks, Verdict, and_others, in_order

LARGE_INPUTS = 30.0  # root mean square; healthy programs: at most 13
SMALL_INPUTS = 0.02  # the largest
BRIGHTEST = 255
LARGE_TARGETS = 100.0
STRONG_DROPOUT = 0.8
FAR_APART = 1e5  # the largest spread of a column over the smallest
ROUNDING = 1e-6  # the spread of a constant, over the mean
FAR_FROM_0 = 30.0  # the mean over the spread
MANY = 100  # labels
NEAR = 1e-3  # a label that rounding has moved
MOST = 1000  # examples that are looked at inside the model
PROBABLE = ("softmax", "sigmoid", "hard_sigmoid")
# The activations that fit other losses, the usual one first, and why.
FITTING = {
    "divergence": (PROBABLE, "that are probabilities"),
    "counts": (("exponential", "softplus", "relu", "relu6", *PROBABLE), "above 0"),
    "margin": (("tanh", "softsign", "linear"), "that reach −1 and 1"),
}
OUTPUTS, INPUTS = Checks(), Checks()


def check(model: keras.Model, x: Any = None, y: Any = None) -> list[Verdict]:
    """Say what is wrong with a compiled model and its data, before any training.

    Most faults need no training to be seen: an activation that does not fit the loss, labels that
    no output can reach, inputs that are not scaled. Nothing is trained, built or changed.

    Args:
        model: a compiled `keras.Model`.
        x: some hundred inputs, arrays or tensors as for the model. Defaults to None: the
            configuration alone is judged.
        y: their labels, as for `fit`. Defaults to None.

    Returns:
        A list of `Verdict`, which may be printed; what is certain comes first, hints come last. It
        is empty if nothing was found.

    Raises:
        TypeError: `model` is not a `keras.Model`, or `x` and `y` are not arrays.
        ValueError: the model is not compiled or not built; or `x` and `y` do not belong to it, or
            not to one another.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "softmax")])
    >>> model.compile("adam", "binary_crossentropy")
    >>> [verdict.fault for verdict in keras_lecture_opt.check(model)]
    ['softmax over one unit']
    """
    check_model(model, "compiled")
    return in_order(look(outputs(model, x, y), inputs(model, x))[0])


def check_model(model, compiled):
    """Raise if this is not a model that is compiled, as `compiled` says, and built."""
    if not isinstance(model, keras.Model):
        raise TypeError(must_be("model", "a keras.Model", model))
    if not model.compiled:
        raise ValueError(must_be("model", compiled, model))
    if not model.built:
        allowed = "built: let it begin with a `keras.Input`, or call it once"
        raise ValueError(must_be("model", allowed, model))


def look(found_outputs, found_inputs):
    """Return the verdicts on outputs and inputs of a model, and the faults looked for."""
    verdicts, made = OUTPUTS.run(*found_outputs)
    more, names = INPUTS.run(*found_inputs)
    return verdicts + more, made + names


@OUTPUTS.enter(lambda o: o.activation, "certain")
def softmax_over_one_unit(output):
    if (output.activation, output.units) == ("softmax", 1):
        falls = "(Within this loss Keras trains it as a sigmoid: the loss falls all the same.) "
        text = (
            f"The softmax of {output.title} is over one unit, so the model predicts 1 for every "
            f"input. {falls * (output.kind == 'binary')}Use `sigmoid` and binary cross-entropy for "
            "two classes, and no activation for a quantity."
        )
        yield output.where, 0, 1.0, text


@OUTPUTS.enter(lambda o: o.kind in (*REGRESSIONS, "binary"), "certain")
def softmax_with_another_loss(output):
    if output.activation != "softmax" or output.units == 1:
        return
    if output.y is None or (output.y.size != len(output.y) and sums_to_1(output.y)):
        advice = (
            "If one of the classes is right, use categorical cross-entropy; if several may be, "
            "`sigmoid` and binary cross-entropy."
        )
    elif output.y.size == len(output.y):
        advice = "The labels are numbers of classes: use sparse categorical cross-entropy."
    elif output.are_classes:
        advice = "Several of the labels may be 1: use `sigmoid` and binary cross-entropy."
    else:
        advice = "The labels are quantities: use no activation."
    text = (
        f"{output.title} ends in a softmax, whose outputs sum to 1, and {output.words} "
        f"judges each output by itself. {advice}"
    )
    yield output.where, 0, math.nan, text


@OUTPUTS.enter(lambda o: o.kind in CROSS_ENTROPIES, "certain")
def loss_takes_logits_or_not(output):
    """What the loss takes and what the model puts out, by its activation, or else by its values."""
    activation, values = output.activation, output.values
    right = "sigmoid" if output.kind == "binary" else "softmax"
    takes = "logits" if output.from_logits else "probabilities"
    if output.from_logits and activation in PROBABLE:
        if output.is_seen_through:
            return
        advice = f"Leave out `from_logits=True`, or the {activation}."
    elif output.from_logits and activation not in (None, "linear"):
        advice = f"Use no activation: {activation} gives no values below {RANGES[activation][0]}."
    elif not output.from_logits and activation == "linear":
        advice = f"Use `from_logits=True`, or `{right}` as the activation."
    elif not output.from_logits and activation not in (None, *PROBABLE):
        advice = f"Use `{right}` instead of {activation}."
    elif activation is None and values is not None and are_wrong(output):
        advice = "Look at `from_logits` and at the last activation."
    else:
        return
    gives = "puts out" if activation is None else f"ends in {with_article(activation)}, which gives"
    low, high = RANGES[activation] if activation else (values.min(), values.max())
    text = (
        f"{capitalized(output.words)} takes {takes} here, and {output.title} {gives} values "
        f"from {low:.3g} to {high:.3g}. {advice}"
    )
    yield output.where, 0, math.nan, text


@OUTPUTS.enter(lambda o: o.kind in FITTING and o.activation, "certain")
def activation_does_not_fit(output):
    fitting, needs = FITTING[output.kind]
    low, high = RANGES[output.activation]
    if output.activation not in fitting:
        text = (
            f"{capitalized(output.words)} needs outputs {needs}, and {output.title} ends in "
            f"{with_article(output.activation)}, which gives values from {low:g} to {high:g}. "
            f"Use `{fitting[0]}`."
        )
        yield output.where, 0, math.nan, text


def are_wrong(output):
    """Whether outputs can only be logits where probabilities are wanted."""
    are_probabilities = output.values.min() >= 0 and output.values.max() <= 1
    return not are_probabilities and not output.from_logits  # Keras sees through a softmax


@OUTPUTS.enter(lambda o: o.kind in ("categorical", "sparse"), "certain")
def one_unit_for_all_classes(output):
    if output.units == 1:
        text = (
            f"{output.title} has one unit, and {output.words} needs one for each class: over a "
            "single class it is 0, whatever is predicted. Use binary cross-entropy for two "
            "classes, or as many units as there are classes."
        )
        yield output.where, 0, 0.0, text


@OUTPUTS.enter(lambda o: o.kind in ("categorical", "sparse") and not o.from_logits, "hint")
def sigmoid_with_categorical_loss(output):
    if "sigmoid" in (output.activation or "") and output.units != 1:
        text = (
            f"{output.title} ends in a sigmoid, and {output.words} is meant for a softmax: the "
            "outputs are no probabilities that sum to 1. Use `softmax`, or binary cross-entropy if "
            "several classes may be right."
        )
        yield output.where, 0, math.nan, text


@OUTPUTS.enter(lambda o: o.kind in CROSS_ENTROPIES and o.from_logits, "hint")
def logits_twice(output):
    """On TensorFlow, Keras takes what goes into a last activation for the logits."""
    if output.activation in PROBABLE and output.is_seen_through:
        text = (
            f"{output.title} ends in a {output.activation}, and the loss has `from_logits=True`. "
            "On TensorFlow Keras takes what goes into the activation, so it does no harm here. "
            "Leave out one of the two."
        )
        yield output.where, 0, math.nan, text


@OUTPUTS.enter(certainty="certain")
def softmax_applied_twice(output):
    for first, second in activated_twice(output.model, "softmax", ("softmax",)):
        text = (
            f"{first} is a softmax, and {second} applies another one: no probability gets near 0 "
            "or 1. Leave out one of the two."
        )
        yield (first, second), 0, math.nan, text


@OUTPUTS.enter()
def softmax_inside(output):
    if found := inner_softmaxes(output.model):
        units = found[0].output.shape[-1]
        text = (
            f"The softmax of {found[0].name}{and_others(found)} stands inside: its {units} outputs "
            "sum to 1, and little of the gradient passes. Use `relu`: a softmax belongs at the end."
        )
        yield tuple(layer.name for layer in found), 0, float(units), text


@OUTPUTS.enter(lambda o: o.kind in CROSS_ENTROPIES)
def relu_before_the_activation(output):
    for relu, last in activated_twice(output.model, "relu", PROBABLE):
        text = (
            f"{relu} is a ReLU, and {last} takes what it puts out: a class whose logit falls below "
            "0 gets no gradient. Use no activation there."
        )
        yield (relu,), 0, 0.0, text


@OUTPUTS.enter()
def dropout_too_strong(output):
    layers = [
        layer
        for layer in output.model.layers
        if isinstance(layer, keras.layers.Dropout) and layer.rate >= STRONG_DROPOUT
    ]
    if layers:
        rate = max(layer.rate for layer in layers)
        text = (
            f"{layers[0].name} drops {rate:.0%} of the units{and_others(layers)}, and multiplies "
            "the others. Try 0.2."
        )
        yield tuple(layer.name for layer in layers), 0, rate, text


@OUTPUTS.enter(certainty="hint")
def nothing_nonlinear_between(output):
    for first, second in linear_pairs(output.model):
        text = (
            f"Nothing nonlinear stands between {first} and {second}: together they are one linear "
            "layer. Give the first an activation, such as `relu`, or leave it out."
        )
        yield (first, second), 0, math.nan, text


@OUTPUTS.enter(lambda o: o.y is not None and o.kind, "certain")
def labels_not_finite(output):
    """A loss of one's own may leave missing labels out."""
    if not np.isfinite(output.y).all():
        yield output.where, 0, math.nan, not_finite(output.y, f"labels of {output.title}")


@OUTPUTS.enter(lambda o: o.y is not None and o.kind, "certain")
def labels_do_not_fit(output):
    """Labels that no output can reach, or that the loss takes for something else."""
    loss, units, rank = output.words, output.units, len(output.shape)
    given = output.y
    if given.ndim == rank + 1 > 1 and given.shape[-1] == 1:  # an axis that Keras drops
        given = given[..., 0]
    y = output.counted(given)
    if not y.size or not np.isfinite(y).all():
        return
    low, high = float(y.min()), float(y.max())
    columns = y.shape[-1] if y.ndim > 1 else 1
    is_masked = {*np.unique(y)} == {-1, 0, 1}  # sample weights may leave out −1
    if rank > 2 and lacks_axes(output):
        problem = f"one for each example, and outputs are of shape {output.shape[1:]}"
        if any(getattr(layer, "return_sequences", False) for layer in output.model.layers):
            advice = "leave out the last `return_sequences=True`, or give each step a label"
        else:
            advice = "put a `Flatten` or a pooling layer before the last one"
    elif 0 < rank < given.ndim:
        problem = f"of shape {given.shape[1:]}, and outputs are of shape {output.shape[1:]}"
        advice = "give each example labels of the shape of its outputs"
    elif rank == 2 and output.kind != "sparse" and units not in (None, columns):
        problem = f"in rows of {columns}, and outputs are in rows of {units}"
        if columns == 1 and np.isin(y, range(units or 0)).all():
            advice = "they are numbers of classes: use sparse categorical cross-entropy and softmax"
        elif units == 1 and output.kind in CROSS_ENTROPIES:
            advice = f"give the number of the class, or {columns} outputs"
        else:
            advice = "give each output a column"
    elif rank == 2 and output.kind == "sparse" and columns > 1:
        problem = f"in rows of {columns}, and {loss} takes one number for each example"
        advice = "give the number of the class; for one-hot labels, use categorical cross-entropy"
    elif output.kind == "sparse" and np.any(y != np.round(y)):
        problem, advice = "and are not whole numbers", f"{loss} takes the number of the class"
    elif output.kind == "sparse" and units != 1 and (low < 0 or (units or math.inf) <= high):
        problem = f"and do not fit the {output.units} outputs"
        advice = "number the classes from 0, and give each an output"
    elif output.kind == "binary" and not is_masked and (low < -NEAR or high > 1 + NEAR):
        problem = f"and {loss} takes 0 to 1"
        advice = "use 0 and 1 for two classes, and categorical cross-entropy for more"
    elif output.kind == "categorical" and units != 1 and (low < 0 or not sums_to_1(filled(y))):
        problem = "and their rows do not sum to 1"
        advice = f"{loss} takes one 1 in each row; if several may be 1, use `sigmoid` and binary "
        advice += "cross-entropy"
    elif output.kind in REGRESSIONS and output.activation in RANGES:
        least, most = RANGES[output.activation]
        if low >= least - NEAR and high <= most + NEAR:
            return
        problem = f"and {output.activation} gives values from {least:g} to {most:g}"
        advice = "use no activation at the end, or scale the labels into that range"
    else:
        return
    text = f"The labels of {output.title} reach from {low:.4g} to {high:.4g}, {problem}: {advice}."
    yield output.where, 0, high, text


@OUTPUTS.enter(lambda o: o.y is not None and len(o.y) >= MANY and o.kind in CROSS_ENTROPIES)
def one_class_only(output):
    y = output.y.reshape(len(output.y), -1)
    if np.isfinite(y).all() and (y == y[0]).all():
        text = (
            f"All {len(y)} labels of {output.title} are the same. Shuffle the data, or look where "
            "the labels come from."
        )
        yield output.where, 0, float(y[0].max()), text


@OUTPUTS.enter(lambda o: o.kind == "absolute" and o.y is not None)
def absolute_error_of_classes(output):
    if output.are_classes:
        text = (
            f"The labels of {output.title} are 0 and 1, and {output.words} is least where the "
            "answer is always the more frequent one. Use binary cross-entropy."
        )
        yield output.where, 0, math.nan, text


@OUTPUTS.enter(lambda o: o.y is not None and o.kind in REGRESSIONS and o.activation == "linear")
def targets_not_scaled(output):
    size = rms(output.y)
    if size > LARGE_TARGETS:
        squared = ": the first gradients are as large" * (output.kind == "squared")
        text = (
            f"The targets of {output.title} have a root mean square of {size:.3g}, where the first "
            f"outputs are near 1{squared}. Train on inputs and targets of mean 0 and standard "
            "deviation 1."
        )
        yield output.where, 0, size, text


class Input(NamedTuple):
    """An input of a model, and whether that scales it or nobody can see what it does with it."""

    values: np.ndarray
    is_scaled: bool


@INPUTS.enter(certainty="certain")
def inputs_not_finite(given):
    if not np.isfinite(given.values).all():
        yield (), 0, math.nan, not_finite(given.values, "inputs")


@INPUTS.enter(lambda i: not i.is_scaled and np.isfinite(i.values).all())
def inputs_not_scaled(given):
    values = given.values
    size, mean, spread = rms(values), float(values.mean()), float(values.std())
    low, largest = float(values.min()), float(np.abs(values).max())
    pixels = "; pixels: `Rescaling(1 / 255)`" * (0 <= low < largest <= BRIGHTEST)
    advice = (
        "Standardize each column to mean 0 and standard deviation 1, or begin with a "
        f"`keras.layers.Normalization` that is adapted to the data{pixels}."
    )
    spreads = []
    if values.ndim == 2:
        spreads, means = values.std(axis=0), np.abs(values.mean(axis=0))
        spreads = spreads[spreads > ROUNDING * means].tolist()
    if 0 < largest < SMALL_INPUTS:
        text = f"The largest input is {largest:.3g}: were they divided twice? Divide them once."
        yield (), 0, largest, text
    elif size > LARGE_INPUTS:
        text = f"The inputs have a root mean square of {size:.3g}; healthy ones are near 1."
        yield (), 0, size, f"{text} {advice}"
    elif spreads and max(spreads) > FAR_APART * min(spreads):
        ratio = max(spreads) / min(spreads)
        text = f"The largest spread of a column is {ratio:.2g} times the smallest."
        yield (), 0, ratio, f"{text} {advice}"
    elif spread > ROUNDING * abs(mean) > 0 and abs(mean) > FAR_FROM_0 * spread:
        ratio = abs(mean) / spread
        text = f"The mean of the inputs, {mean:.3g}, is {ratio:.0f} times their spread."
        yield (), 0, ratio, f"{text} {advice}"


# What the checks have in common.


def outputs(model, x, y):
    """Return an `Output` for each loss of the model."""
    found = objectives(model) if is_ordinary(model) else []
    number = len(getattr(model, "outputs", None) or [None])
    if found and y is not None:
        for output, labels in zip(found, labels_of(model, y, found, number), strict=True):
            output.y = labels
    lengths = [length("y", output.y) for output in found if output.y is not None]
    if x is None:
        return found
    examples = length("x", keras.tree.flatten(x)[0])
    for other in lengths:
        if other != examples:
            raise ValueError(f"`x` and `y` must be equally long, not {examples} and {other}.")
    if examples < 2:
        raise ValueError(f"`x` must have at least 2 examples, not {examples}.")
    if not model.built:
        return found
    try:
        values = outputs_of(model, first(x))
    except Exception as error:  # of any layer
        text = f"`x` must be a batch of inputs, as the model takes it: {error}"
        raise ValueError(text) from error
    if len(values) == number:
        for output in found:
            output.shape = output.shape or values[output.index].shape
            if not output.is_masked:  # of a padded sequence, the loss leaves out a part
                output.values = values[output.index]
    return found


def length(argument, array):
    try:
        return len(array)
    except TypeError as error:
        allowed = "arrays or tensors, as for `fit`, with an axis of examples"
        raise TypeError(must_be(argument, allowed, array)) from error


def first(x):
    """Return the first examples, which are enough."""
    return keras.tree.map_structure(lambda part: part[:MOST], x)


def labels_of(model, y, found, number):
    """Return the labels of the outputs that are found, of a number of all outputs, as arrays."""
    if isinstance(y, dict):
        names = names_of(model) or [*y]
        if unknown := {*y} - {*names}:
            allowed = f"a dict with keys among {', '.join(names)}"
            raise ValueError(must_be("y", allowed, unknown))
        y = [y.get(name) for name in names]
    arrays = y if isinstance(y, (list, tuple)) else [y]
    if len(arrays) == number:
        arrays = [arrays[output.index] for output in found]
    elif len(arrays) != len(found):
        if len(found) > 1:
            wanted = f"labels for {len(found)} outputs"
            raise ValueError(f"`y` must have {wanted}, not for {len(arrays)}.")
        are_of_outputs = any(hasattr(own, "shape") and np.ndim(own) for own in arrays)
        if are_of_outputs and getattr(model, "outputs", None):
            raise ValueError(f"`y` must have labels for one output, not for {len(arrays)}.")
        # A list of numbers; or those of several outputs, whose order nobody can see.
        arrays = [None if are_of_outputs else y]
    try:
        return [None if own is None else np.asarray(own).astype("float64") for own in arrays]
    except (TypeError, ValueError) as error:
        raise ValueError(f"`y` must be numbers: {error}") from error


def inputs(model, x):
    """Return an `Input` for each array that the model takes as numbers."""
    if x is None:
        return []
    given = keras.tree.flatten(getattr(model, "inputs", None) or [])
    if isinstance(x, dict) and {*x} >= {tensor.name for tensor in given}:
        x = [x[tensor.name] for tensor in given]
    arrays = [np.asarray(part) for part in keras.tree.flatten(x)]
    if len(given) != len(arrays):
        given = [None] * len(arrays)
    return [
        Input(array.astype("float64"), tensor is None or takes_any_scale(model, tensor))
        for tensor, array in zip(given, arrays, strict=True)
        if array.dtype.kind in "fiu"
    ]


def filled(y):
    """Return the rows that are not all zeros: those of a sequence's end are."""
    rows = y.reshape(-1, y.shape[-1]) if y.ndim > 2 else y
    return rows[rows.any(axis=-1)] if y.ndim > 2 else rows


def capitalized(words):
    return words[0].upper() + words[1:]


def with_article(activation):
    known = {"relu": "a ReLU", "linear": "no activation", "tanh": "tanh"}
    return known.get(activation, f"a {activation}")


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def lacks_axes(output):
    """Whether outputs have an axis of steps or pixels, and labels have none."""
    wanted, given = output.shape[1:], output.y.shape[1:]
    if output.kind == "sparse" or output.units == 1:
        wanted = wanted[:-1]
        given = given[:-1] if given[-1:] == (1,) and len(given) > len(wanted) else given
    lengths = [(n, m) for n, m in zip(wanted, given, strict=False) if n is not None]
    return len(given) < len(wanted) or any(n != m for n, m in lengths)


def sums_to_1(y):
    return y.ndim > 1 and bool(np.allclose(y.sum(axis=-1), 1, atol=1e-3))


def not_finite(values, what):
    bad = ~np.isfinite(values)
    row = int(np.flatnonzero(bad.reshape(len(values), -1).any(axis=1))[0])
    return (
        f"{int(bad.sum())} of the {what} are NaN or infinite, first in row {row}. One of them "
        "makes all weights NaN. Remove or replace these rows."
    )
