"""What the layers of a model put out for a batch."""

import warnings

import keras
import numpy as np

from keras_lecture_opt.verdicts._objective import RANGES, activation_of, seen

BATCH = 32  # examples that are in memory at once
ROWS = 100, 1000  # different ones that tell something about labels, and all that suffice
SHUFFLES = 50


def outputs_of(model, x):
    """Return the model's outputs as a list, without a change of any of its variables."""
    variables = model.trainable_variables, model.non_trainable_variables
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    fixed = inputs[0].shape[0] if inputs and inputs[0].shape else None  # of a stateful layer
    batch, found = fixed or BATCH, []
    examples = len(keras.tree.flatten(x)[0])
    for start in range(0, examples // batch * batch if fixed else examples, batch):
        some = keras.tree.map_structure(lambda part, at=start: part[at : at + batch], x)
        with warnings.catch_warnings(action="ignore"):  # Keras's, of a softmax over one unit
            try:
                outputs, _ = model.stateless_call(*variables, some, training=False)
            except TypeError:  # its `call` takes no such argument
                outputs, _ = model.stateless_call(*variables, some)
        outputs = keras.tree.flatten(outputs)
        found.append([np.asarray(keras.ops.cast(y, "float32")) for y in outputs])
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def idle_units(model, x):
    """Return the share of idle units of each hidden layer of ReLUs, of sigmoids or of tanh.

    A unit is idle if it is the same for all of a batch: a ReLU at 0, another at one of its bounds.
    Layers that nobody can see are left out.
    """
    if not getattr(model, "inputs", None):
        return {}
    outputs = {
        layer: output
        for layer in model.layers
        if activation_of(layer) in ("relu", "sigmoid", "tanh")
        if (output := seen(layer)[1]) is not None and not any(output is o for o in model.outputs)
    }
    if not outputs:
        return {}
    try:
        # A sequential model hides its input. A name of its own leaves Keras's numbering alone.
        given = getattr(model, "input", model.inputs[0])
        values = outputs_of(keras.Model(given, [*outputs.values()], name="probe"), x)
    except (ValueError, KeyError):  # layers from another model: Keras 3.12 sees it in the call
        return {}
    return {
        layer: float(np.mean(is_idle(value.reshape(-1, value.shape[-1]), activation_of(layer))))
        for layer, value in zip(outputs, values, strict=True)
    }


def is_idle(values, activation):
    if activation == "relu":
        return ~np.any(values != 0, axis=0)
    low, high = RANGES[activation]
    margin = (high - low) / 100
    return np.all(values < low + margin, axis=0) | np.all(values > high - margin, axis=0)


def are_unrelated(x, y, are_classes):
    """Whether labels go with their inputs no more than with any others.

    Two numbers tell how they go together: how much the labels of each row and of the nearest one
    that is not equal to it differ, and the mean square of the correlations of their columns. They
    are repeated with shuffled labels: one of them tells if it is off by three standard deviations.
    Of inputs that are no array of floats, and of few different ones, nothing is known.
    """
    least, most = ROWS
    are_arrays = isinstance(x, np.ndarray) and isinstance(y, np.ndarray)
    if not are_arrays or x.dtype.kind != "f" or len(x) != len(y):
        return False
    x, y = (values[:most].reshape(len(values[:most]), -1) for values in (x, y))
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or len(np.unique(x, axis=0)) < least:
        return False
    if are_classes:
        y = np.eye(int(y.max()) + 1)[y[:, 0].astype(int)]
    x, y = (((v - v.mean(axis=0)) / np.maximum(v.std(axis=0), 1e-7)) for v in (x, y))
    squares = np.square(x).sum(axis=1)
    distances = squares + squares[:, np.newaxis] - 2 * x @ x.T
    distances[distances <= 1e-5 * squares.mean()] = np.inf
    nearest = distances.argmin(axis=1)

    def together(y):
        return -np.mean(np.square(y - y[nearest])), np.mean(np.square(x.T @ y))

    random = np.random.default_rng(0)
    by_chance = np.array([together(random.permutation(y)) for _ in range(SHUFFLES)])
    limits = by_chance.mean(axis=0) + 3 * by_chance.std(axis=0)
    return not bool(np.any(together(y) > limits))
