"""What a compiled model is asked for: its outputs, their activations, and the losses on them."""

import dataclasses
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_lecture_opt._keras_private import is_masked
from keras_lecture_opt._resolve import snake_case

# What a loss is called, and its classes in Keras; its functions have the same names in snake case.
KINDS = {
    "binary": ("binary cross-entropy", "BinaryCrossentropy", "BinaryFocalCrossentropy"),
    "categorical": (
        "categorical cross-entropy",
        "CategoricalCrossentropy",
        "CategoricalFocalCrossentropy",
    ),
    "sparse": ("sparse categorical cross-entropy", "SparseCategoricalCrossentropy"),
    "squared": ("the squared error", "MeanSquaredError"),
    "absolute": ("the absolute error", "MeanAbsoluteError"),
    "robust": ("this loss", "Huber", "LogCosh"),
    "divergence": ("the Kullback-Leibler divergence", "KLDivergence"),
    "counts": ("the Poisson loss", "Poisson"),
    "margin": ("the hinge loss", "Hinge", "SquaredHinge"),
    None: ("the loss",),
}
REGRESSIONS = ("squared", "absolute", "robust")
CROSS_ENTROPIES = ("binary", "categorical", "sparse")
# The values that an activation can take.
RANGES = {
    "softmax": (0.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0),
    "softplus": (0.0, np.inf),
    "exponential": (0.0, np.inf),
    "elu": (-1.0, np.inf),
    "linear": (-np.inf, np.inf),
}
PASSING = (keras.layers.Flatten, keras.layers.Reshape, keras.layers.Dropout)
NORMALIZING = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
)
# Those after which values are as large as before.
RESIZING = (
    *(keras.layers.Permute, keras.layers.RandomFlip, keras.layers.RandomRotation),
    *(keras.layers.RandomTranslation, keras.layers.RandomZoom, keras.layers.GaussianNoise),
    *(keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.Cropping2D),
    *(keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.AveragePooling2D),
)
WEIGHTED = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Conv1D, keras.layers.Conv2D)


@dataclasses.dataclass
class Output:
    """One output of a model, the loss on it, and what is known of its labels and values."""

    model: keras.Model
    index: int  # which of the model's outputs it is
    name: str  # of the layer that ends in it; "" where nobody can see it
    activation: str | None  # a key of `RANGES`, or None if unknown
    shape: tuple  # () if unknown; the first axis is that of the examples
    kind: str | None  # of its loss, a key of `KINDS`, or None for any other
    from_logits: bool  # whether the loss takes logits
    ignored: int | None  # the class that the loss leaves out
    is_seen_through: bool  # Keras knows its logits: nothing follows the activation
    is_masked: bool  # the loss leaves out some of its steps
    y: Any = None  # its labels, an array
    values: Any = None  # what the model puts out, an array

    @property
    def units(self):
        """Length of the last axis, None if unknown."""
        return self.shape[-1] if self.shape else None

    @property
    def words(self):
        """What the loss is called."""
        return KINDS[self.kind][0]

    @property
    def where(self):
        return (self.name,) if self.name else ()

    @property
    def title(self):
        return self.name or "the output"

    @property
    def are_classes(self):
        """Whether the labels are 0 and 1 alone."""
        return self.y is not None and bool(np.isin(self.y, (0, 1)).all())

    def counted(self, y):
        """Return those of the labels that count."""
        return y if self.ignored is None else y[y != self.ignored]


def objectives(model):
    """Return an `Output` for each output of a compiled model that has a loss."""
    outputs = getattr(model, "outputs", None) or [None]
    losses = getattr(model, "loss", None)
    if isinstance(losses, dict):
        losses = [losses.get(name) for name in names_of(model) or []]  # Sequential has none
    elif not isinstance(losses, (list, tuple)):
        losses = [losses] * len(outputs)
    found = []
    for i, (output, loss) in enumerate(zip(outputs, losses, strict=False)):
        if loss:
            shape = () if output is None else tuple(output.shape)
            name, activation = ending(model, output)
            last = layer_before(model, output)
            is_seen_through = activation is not None and activation_of(last) == activation
            ignored = getattr(loss, "ignore_class", None)
            masked = output is not None and is_masked(output)
            facts = name, activation, shape, *kind_of(loss), ignored, is_seen_through, masked
            found.append(Output(model, i, *facts))
    return found


def names_of(model):
    """Return the names of a model's outputs, or None: the keys that `fit` takes."""
    given = getattr(model, "output", None) if getattr(model, "outputs", None) else None
    if isinstance(given, dict):
        return [key for one in model.outputs for key, output in given.items() if output is one]
    return getattr(model, "output_names", None)


def is_ordinary(model):
    """Whether a model trains as Keras trains it: else its loss may be used in other ways."""
    cls, usual = type(model), keras.Model
    return cls.train_step is usual.train_step and cls.compute_loss is usual.compute_loss


def kind_of(loss):
    """Return which kind of loss it is, or None, and whether it takes logits."""
    try:
        loss = keras.losses.get(loss)
    except (TypeError, ValueError):
        return None, False
    if getattr(loss, "axis", -1) != -1:  # not over the units
        return None, False
    for kind, (_, *classes) in KINDS.items():
        for cls in (getattr(keras.losses, name) for name in classes):
            if type(loss) is cls or loss is keras.losses.get(snake_case(cls)):
                return kind, bool(getattr(loss, "from_logits", False))
    return None, False


def ending(model, output):
    """Return the name of the layer that ends in an output, or "", and its activation, or None."""
    name = ""
    while (layer := layer_before(model, output)) is not None:
        name = name or layer.name
        if isinstance(layer, keras.Model):
            return name, ending(layer, layer.outputs[0])[1] if len(layer.outputs) == 1 else None
        if not passes(layer):
            return name, activation_of(layer)
        output = layer.input
    return name, None


def layer_before(model, tensor):
    """Return the layer or operation of a model that a symbolic tensor comes from, or None."""
    if tensor is None:
        return None
    layers = layers_of(model)
    if tensor is model.outputs[-1] and layers and isinstance(layers[-1], keras.Model):
        return layers[-1]  # its `output` is what it puts out alone
    return next((layer for layer in layers if seen(layer)[1] is tensor), None)


def layers_after(model, tensor):
    """Return the layers and operations of a model that take a symbolic tensor."""
    return [layer for layer in layers_of(model) if any(t is tensor for t in seen(layer)[0])]


def layers_of(model):
    layers = getattr(model, "operations", model.layers)  # Sequential has layers only
    return [layer for layer in layers if not isinstance(layer, keras.layers.InputLayer)]


def seen(layer):
    """Return the symbolic inputs of a layer, and its output; none if it was called twice."""
    try:
        return keras.tree.flatten(layer.input), layer.output
    except (AttributeError, ValueError):
        return [], None


def linear_pairs(model):
    """Return pairs of names of layers with weights that nothing nonlinear separates."""
    return [
        (layer.name, following.name)
        for layer in layers_of(model)
        if isinstance(layer, WEIGHTED) and activation_of(layer) == "linear"
        if isinstance(following := only_layer_after(model, layer), WEIGHTED)
    ]


def is_linear(model):
    """Whether a model is several layers with weights, and all but the last are linear."""
    layers = [layer for layer in layers_of(model) if not passes(layer)]
    return len(layers) > 1 and len(linear_pairs(model)) == len(layers) - 1


def only_layer_after(model, layer):
    """Return the one layer that takes what a layer puts out, if there is one."""
    following = layers_after(model, seen(layer)[1])
    if len(following) == 1 and passes(following[0]):
        return only_layer_after(model, following[0])
    return following[0] if len(following) == 1 else None


def inner_softmaxes(model):
    """Return the layers of a softmax over several units that another layer with weights takes."""
    return [
        layer
        for layer in layers_of(model)
        if activation_of(layer) == "softmax"
        and isinstance(only_layer_after(model, layer), WEIGHTED)
        and seen(layer)[1].shape[-1] > 2
        and not is_an_output(model, layer)
    ]


def activated_twice(model, first, activations):
    """Return pairs of names: a layer with an activation, and the next activation, that takes it."""
    return [
        (layer.name, following.name)
        for layer in layers_of(model)
        if activation_of(layer) == first
        and (following := only_layer_after(model, layer)) is not None
        and not isinstance(following, (*WEIGHTED, keras.layers.SimpleRNN))
        and activation_of(following) in activations
        and is_an_output(model, following)
    ]


def is_an_output(model, layer):
    """Whether the model puts out what a layer puts out, at once or passed on."""
    following = layers_after(model, seen(layer)[1])
    if len(following) == 1 and passes(following[0]):
        return is_an_output(model, following[0])
    return any(seen(layer)[1] is output for output in model.outputs)


def saturating(model):
    """Return the hidden layers of sigmoids or of tanh."""
    return [
        layer
        for layer in layers_of(model)
        if activation_of(layer) in ("sigmoid", "tanh") and layers_after(model, seen(layer)[1])
    ]


def passes(layer):
    """Whether a layer only passes on what it gets."""
    is_linear = isinstance(layer, keras.layers.Activation) and activation_of(layer) == "linear"
    return is_linear or isinstance(layer, PASSING)


def takes_any_scale(model, tensor):
    """Whether a model scales one of its inputs, or nobody can see what it does with it."""
    takers = layers_after(model, tensor)
    while len(takers) == 1 and (passes(takers[0]) or isinstance(takers[0], RESIZING)):
        tensor = seen(takers[0])[1]
        takers = layers_after(model, tensor)
    if len(takers) == 1 and isinstance(takers[0], keras.Model) and takers[0].inputs:
        return takes_any_scale(takers[0], takers[0].inputs[0])
    following = [layer for taker in takers for layer in layers_after(model, seen(taker)[1])]
    return (
        not takers
        or not all(isinstance(taker, (*WEIGHTED, keras.layers.RNN)) for taker in takers)
        or any(isinstance(layer, NORMALIZING) for layer in following)
    )


def activation_of(layer):
    """Return the name of a layer's activation, a key of `RANGES`, or None if it is unknown."""
    if isinstance(layer, keras.layers.Softmax):
        return "softmax" if layer.axis == -1 else None
    if isinstance(layer, keras.layers.ReLU):
        return None if layer.negative_slope else "relu"
    if isinstance(layer, (*WEIGHTED, keras.layers.SimpleRNN, keras.layers.Activation)):
        name = getattr(layer.activation, "__name__", None)
    else:  # an operation such as keras.ops.softmax
        name = None if isinstance(layer, keras.Layer) else snake_case(type(layer))
    return name if name in RANGES else None


def best_constant(model, output, y):
    """Return the constant output with the least mean loss, for each label, or None if unknown."""
    if output.kind == "sparse":
        labels = output.counted(y).astype(int).ravel()
        if labels.min(initial=0) < 0 or labels.max(initial=0) >= (output.units or 0):
            return None
        constants = [np.bincount(labels, minlength=output.units) / max(labels.size, 1)]
        steps = y.shape[:-1] if y.ndim > 1 and y.shape[-1] == 1 else y.shape
        shape = (*steps, output.units)
    elif output.kind in (None, "margin"):  # Keras reads labels of 0 as −1
        return None
    else:
        constants, shape = [y.mean(axis=0), np.median(y, axis=0)], y.shape
        constants = constants[:1] if output.kind in CROSS_ENTROPIES else constants
    constants = [as_output(output, np.broadcast_to(c, shape)) for c in constants]
    losses = [loss_of(model, y, constant) for constant in constants]
    known = [i for i, loss in enumerate(losses) if loss is not None]
    return constants[min(known, key=losses.__getitem__)] if known else None


def least_loss(model, output, y):
    """Return the loss of outputs that equal the labels: soft labels cost something all the same."""
    if output.kind not in ("binary", "categorical"):
        return 0.0
    return loss_of(model, y, as_output(output, y)) or 0.0


def as_output(output, values):
    """Return probabilities as the loss takes them; other values as they are."""
    if output.kind in CROSS_ENTROPIES:
        values = np.clip(values, 1e-7, 1 - 1e-7)
        if output.from_logits:
            values = np.log(values / (1 - values if output.kind == "binary" else 1))
    return values.astype("float32")


def is_mean_alone(model):
    """Whether the loss that is shown is the mean of one loss, without penalties or weights."""
    try:
        if sum(float(loss) for loss in model.losses):
            return False
        with warnings.catch_warnings(action="ignore"):
            config = model.get_compile_config()
        loss = keras.losses.get(model.loss)
    except Exception:  # a loss that cannot be written down, or a penalty within a graph
        return False
    # Not compiled, or `model.loss` is an earlier one; or a loss that weights the examples.
    if not config.get("loss") or config.get("loss_weights") or "Focal" in type(loss).__name__:
        return False
    return str(getattr(loss, "reduction", "mean")).startswith(("sum_over_batch_size", "mean"))


def loss_of(model, y, outputs):
    """Return the mean loss of outputs for labels, or None if they do not fit."""
    if y.shape != outputs.shape and y.size == outputs.size:
        y = y.reshape(outputs.shape)
    try:
        losses = keras.losses.get(model.loss)(y.astype("float32"), outputs)
        return float(np.mean(keras.ops.convert_to_numpy(losses)))
    except (TypeError, ValueError, tf.errors.OpError):
        return None
