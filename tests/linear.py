"""A linear model that rules train, in `fit` or in one graph, and the NumPy reference beside it."""

import functools

import keras
import numpy as np
import reference
import tensorflow as tf
from common import LECTURE

ETA = 2.0**-4


def normal(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in shapes]


X, Y, *START = normal((50, 4), (50, 2), (4, 2), (2,))
BATCH = 16  # the last batch of an epoch has only 2 rows
EPOCHS = 3
STEPS = EPOCHS * 4


def batch(i):
    rows = slice(i % 4 * BATCH, (i % 4 + 1) * BATCH)
    return X[rows], Y[rows]


def gradients_at(weights, i):
    """Of the mean squared error of x W + b on batch i, by hand."""
    W, b = weights
    x, y = batch(i)
    error = x @ W + b - y
    return [2 * x.T @ error / error.size, 2 * error.sum(axis=0) / error.size]


def linear_model(optimizer, constraint=None, **arguments):
    dense = keras.layers.Dense(2, name="dense", kernel_constraint=constraint)
    model = keras.Sequential([keras.Input((4,)), dense])
    model.set_weights(START)
    model.compile(optimizer, "mse", **arguments)
    return model


def fit(model, epochs=EPOCHS, **arguments):
    model.fit(X, Y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, **arguments)
    return model


class SideBySide(keras.Model):
    """One `fit` for several compiled models, each in Keras's own train step."""

    def __init__(self, models, **arguments):
        super().__init__()
        self.models = models
        # Keras traces a step twice if the first one builds the optimizer.
        for model in models:
            model.optimizer.build(model.trainable_variables)
        self.built = True
        self.compile(optimizer=None, **arguments)

    def train_step(self, data):
        for model in self.models:
            model.train_step(data)
        return {"trained": len(self.models)}


BATCHES = [tf.TensorSpec([None, n], "float64") for n in (4, 2)]


def train_together(optimizers, steps=STEPS):
    """Train a linear model with each optimizer, all in one graph; return their variables."""
    variables = [
        [keras.Variable(w, name=name) for w, name in zip(START, ("kernel", "bias"), strict=True)]
        for _ in optimizers
    ]
    for optimizer, own in zip(optimizers, variables, strict=True):
        optimizer.build(own)

    @tf.function(autograph=False, input_signature=BATCHES)
    def step(x, y):
        for optimizer, (W, b) in zip(optimizers, variables, strict=True):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((x @ W + b - y) ** 2)
                loss = optimizer.scale_loss(loss)
            optimizer.apply(tape.gradient(loss, [W.value, b.value]), [W, b])

    for i in range(steps):
        step(*map(tf.constant, batch(i)))
    for optimizer, own in zip(optimizers, variables, strict=True):
        optimizer.finalize_variable_values(own)
    return variables


@functools.cache  # TensorFlow mixes up several strategies of one process
def mirrored():
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def expected(rule, steps=STEPS, start=START, gradients=gradients_at, **around):
    formula, arguments = LECTURE[rule.__name__]
    arguments = {**arguments, "learning_rate": ETA}
    return reference.training(formula, arguments, start, gradients, steps, **around)


def assert_follows(optimizer, variables, weights, states, tolerance=1e-12):
    for variable, w, state in zip(variables, weights, states, strict=True):
        np.testing.assert_allclose(variable.numpy(), w, rtol=0, atol=tolerance)
        for slot, s in zip(optimizer.slots(variable), state, strict=True):
            np.testing.assert_allclose(slot, s, rtol=0, atol=tolerance * max(1, np.abs(s).max()))


def assert_trained(model, rule, steps=STEPS, optimizer=None, tolerance=1e-12, **around):
    weights, states = expected(rule, steps, **around)
    optimizer = optimizer or model.optimizer
    assert_follows(optimizer, model.trainable_variables, weights, states, tolerance)


# Keras's arguments of an optimizer that set averages of the weights.
EMA = {"ema_momentum": 0.75, "ema_overwrite_frequency": 3}


class Halving(keras.optimizers.schedules.LearningRateSchedule):
    """Halves the rate every four steps, and does what XLA cannot compile on the way."""

    def __init__(self, operation):
        self.operation = operation

    def __call__(self, step):
        return ETA * tf.constant(0.5, "float64") ** self.operation(tf.cast(step, "int64") // 4)

    def get_config(self):
        return {}


def by_python(epoch):
    return tf.py_function(lambda e: float(e), [epoch], "float64")


def halved(i):
    """What every rate above is in step i."""
    return ETA / 2 ** (i // 4)
