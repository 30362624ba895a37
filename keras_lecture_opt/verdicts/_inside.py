"""What the layers of a model put out for a batch."""

import warnings

import keras
import numpy as np


def outputs_of(model, x):
    """Return the model's outputs as a list, without a change of any of its variables."""
    trainable, others = (
        [v.value for v in w] for w in (model.trainable_variables, model.non_trainable_variables)
    )
    with warnings.catch_warnings(action="ignore"):  # such as Keras's, of a softmax over one unit
        try:
            outputs, _ = model.stateless_call(trainable, others, x, training=False)
        except TypeError:  # its `call` takes no such argument
            outputs, _ = model.stateless_call(trainable, others, x)
    return [np.asarray(keras.ops.cast(y, "float32")) for y in keras.tree.flatten(outputs)]


def dead_relus(model, x):
    """Return the share of the units of each layer of ReLUs that are 0 for all of a batch.

    The last layer is left out, and so are layers that nobody can see.
    """
    if not getattr(model, "inputs", None):
        return {}
    outputs = [(layer, output_of_relu(layer)) for layer in model.layers]
    last = keras.tree.flatten(model.outputs)
    rectifiers = {
        layer: output
        for layer, output in outputs
        if output is not None and not any(output is one for one in last)
    }
    if not rectifiers:
        return {}
    try:
        # A sequential model hides its input. A name of its own leaves Keras's numbering alone.
        given = getattr(model, "input", model.inputs[0])
        probe = keras.Model(given, [*rectifiers.values()], name="probe")
        rectified = outputs_of(probe, x)
    except (ValueError, KeyError):  # layers from another model: Keras 3.12 sees it in the call
        return {}
    units = [output.reshape(-1, output.shape[-1]) for output in rectified]
    shares = [float(np.mean(~np.any(output != 0, axis=0))) for output in units]
    return dict(zip(rectifiers, shares, strict=True))


def output_of_relu(layer):
    """Return what a layer of ReLUs puts out, a symbolic tensor, or None."""
    is_relu = getattr(layer, "activation", None) is keras.activations.relu
    if is_relu or (isinstance(layer, keras.layers.ReLU) and not layer.negative_slope):
        try:
            return layer.output
        except (AttributeError, ValueError):  # a layer that is used twice has several
            pass
    return None
