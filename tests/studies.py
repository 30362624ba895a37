"""A small workload with all kinds of state, in a module that workers can import."""

import pickle

import keras
import numpy as np

from keras_lecture_opt import comparison
from keras_lecture_opt.comparison import _run


class Signed(keras.optimizers.Optimizer):
    """An optimizer that is neither Keras's nor ours."""

    def update_step(self, gradient, variable, learning_rate):
        step = keras.ops.cast(learning_rate, variable.dtype) * keras.ops.sign(gradient)
        self.assign_sub(variable, step)


class Noise(keras.Layer):
    """Draws from Keras's global generator, as many tutorials do."""

    def call(self, inputs, training=None):
        noise = keras.random.normal(keras.ops.shape(inputs), stddev=0.1)
        return inputs + noise if training else inputs


def killed_in_epoch(number, calls):
    """Return a `_run.train_epoch` that is interrupted in its call of this number.

    It appends the arguments of each call to `calls`.
    """
    train_epoch = _run.train_epoch

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise KeyboardInterrupt
        return train_epoch(*arguments)

    return killed


def decayed(learning_rate):
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, 100))


OPTIMIZERS = {"decayed": decayed, "signed": Signed}
RATES = [0.001, 0.01, 1000.0]
PROTOCOL = {"learning_rates": RATES, "rungs": [(2, 3), (4, 1)], "seeds": 2}


def build():
    """A CNN whose layers keep averages and draw random numbers."""
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(3, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            Noise(),
            keras.layers.Dense(4, activation="softmax"),
        ]
    )


def small():
    """A network that trains in no time, with dropout."""
    layers = [keras.layers.Dense(4, "relu"), keras.layers.Dropout(0.2), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((3,)), *layers])


def images():
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=50)
    return rng.normal(size=(4, 6, 6, 1))[y] + rng.normal(size=(50, 6, 6, 1)), y


def workload(**changed):
    x, y = images()
    arguments = {
        "build": build,
        "data": (x, y),
        "validation": (x[:20], y[:20]),
        "loss": "sparse_categorical_crossentropy",
        "metrics": ["accuracy"],
        "batch_size": 25,
        "target": ("val_accuracy", 0.5),
    }
    return comparison.Workload(**{**arguments, **changed})


def ordered(order):
    """Return values of the loss and the metric that a process was sent."""
    workload, _ = pickle.loads(order)
    loss, [metric] = workload.loss, workload.metrics
    metric.update_state([1.0], [3.0])
    return float(loss(np.array([[1.0]]), np.array([[3.0]]))), float(metric.result())


def numbers(study):
    """Return all results but the times."""
    return {
        key: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
        for key, rows in study.results.items()
    }
