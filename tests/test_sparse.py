"""A sparse gradient with repeated rows does what the equal dense gradient does."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import COMPILE, LECTURE

pytestmark = pytest.mark.usefixtures("compiled_updates")

ROWS = [2, 0, 2, 2]  # of 4: one of them three times, two never
SETTINGS = [
    {},
    {"clipnorm": 0.5},
    {"clipvalue": 0.5},
    {"global_clipnorm": 0.5},
    {"weight_decay": 0.1},
    {"gradient_accumulation_steps": 2},
    {"loss_scale_factor": 2.0},
]


def sparse(rows):
    """Without the variable's shape, as clipping or averaging by hand leaves it."""
    return tf.IndexedSlices(rows, tf.constant(ROWS))


def dense(rows):
    return tf.tensor_scatter_nd_add(tf.zeros((4, 3)), [[row] for row in ROWS], rows)


@functools.cache
def trained(rule, mode, as_gradient):
    """Train an embedding beside a dense variable, once for each of SETTINGS, all in one graph.

    Returns for each of them the weights and all state.
    """
    rng = np.random.default_rng(0)
    start = rng.normal(size=(4, 3)).astype("float32")
    values = rng.normal(size=(4, 4, 3)).astype("float32")
    optimizers = [rule(learning_rate=0.125, **settings) for settings in SETTINGS]
    variables = [[keras.Variable(start), keras.Variable([0.0, 0.0, 0.0])] for _ in optimizers]
    for optimizer, own in zip(optimizers, variables, strict=True):
        optimizer.build(own)

    @COMPILE[mode]
    def step(rows):
        for optimizer, own in zip(optimizers, variables, strict=True):
            optimizer.apply([as_gradient(rows), tf.reduce_sum(rows, 0)], own)

    for rows in values:
        step(tf.constant(rows))
    return [
        [v.numpy() for v in (*own, *optimizer.variables)]
        for optimizer, own in zip(optimizers, variables, strict=True)
    ]


@pytest.mark.alike
def test_sparse_is_dense(rule, mode):
    """The dense step is eager in every mode: `test_contexts` compares the modes."""
    runs = zip(trained(rule, mode, sparse), trained(rule, "eager", dense), strict=True)
    for settings, pair in zip(SETTINGS, runs, strict=True):
        for a, b in zip(*pair, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7, err_msg=str(settings))


@pytest.mark.alike
def test_embedding_in_fit_follows_the_formula(rule):
    """The gradient of this model is known: sum over the batch of 2 (w[id] - y) / batch size."""
    ids = np.array([[1], [1], [3], [1]])
    y = np.arange(8, dtype="float32").reshape(4, 1, 2)
    model = keras.Sequential([keras.Input((1,), dtype="int32"), keras.layers.Embedding(5, 2)])
    model.compile(optimizer=rule(learning_rate=0.125), loss="mse")
    w = model.get_weights()[0].astype("float64")

    def gradients():
        for _ in range(6):
            g = np.zeros_like(w)
            np.add.at(g, ids[:, 0], 2 * (w[ids] - y)[:, 0] / y.size)
            yield g

    formula, arguments = LECTURE[rule.__name__]
    arguments = {**arguments, "learning_rate": 0.125}
    for weights, _ in formula(w, gradients(), **arguments):
        w = weights  # the generator above computes the next gradient here
        model.train_on_batch(ids, y)
        np.testing.assert_allclose(model.get_weights()[0], w, rtol=1e-4, atol=1e-5)
