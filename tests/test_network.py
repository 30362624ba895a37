"""The lecture's network on MNIST under each rule, step for step against plain NumPy."""

import functools

import keras
import numpy as np
import pytest
from common import LECTURE
from digits import digits
from linear import SideBySide

from keras_lecture_opt import mnist

BATCH, STEPS = 128, 4


def loss_and_gradients(weights, x, y):
    """784-1000-1000-10, ReLU, softmax and cross-entropy: forward and backward, by hand."""
    W1, b1, W2, b2, W3, b3 = weights
    z0 = x.reshape(len(x), 784) * float(np.float32(1 / 255))  # so Rescaling keeps its scale
    z1 = np.maximum(z0 @ W1 + b1, 0)
    z2 = np.maximum(z1 @ W2 + b2, 0)
    logits = z2 @ W3 + b3
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(len(y)), y]).mean()
    d3 = (p - np.eye(10)[y]) / len(y)  # the AVERAGE over the batch
    d2 = d3 @ W3.T * (z2 > 0)
    d1 = d2 @ W2.T * (z1 > 0)
    return loss, [z0.T @ d1, d1.sum(0), z1.T @ d2, d2.sum(0), z2.T @ d3, d3.sum(0)]


def arguments_for(rule):
    """The defaults, with a rate at which no image reaches the bound of Keras's loss.

    That is 16.1, of a probability of 1e-7. Images would reach it at 2^-7 where a first step is
    about eta for every weight, however small its gradient.
    """
    formula, arguments = LECTURE[rule.__name__]
    unit = {**arguments, "learning_rate": 1.0}
    first_step, _ = next(formula(np.zeros(1), [np.full(1, 1e-3)], **unit))
    return {**arguments, "learning_rate": 2.0**-7 if abs(first_step) < 0.1 else 2.0**-13}


@functools.cache
def trained(rules):
    """Train the network with each rule, in one `fit`.

    Returns the first weights, and by rule the losses as `fit` shows them and the last weights.
    """
    models = [mnist.mlp() for _ in rules]
    start = models[0].get_weights()
    for rule, model in zip(rules, models, strict=True):
        model.set_weights(start)
        model.compile(rule(**arguments_for(rule)), loss="sparse_categorical_crossentropy")
    losses = []

    def keep(batch, logs):
        losses.append([model.get_metrics_result()["loss"] for model in models])

    x, y = digits("train", BATCH * STEPS)
    callbacks = [keras.callbacks.LambdaCallback(on_train_batch_end=keep)]
    SideBySide(models).fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=callbacks)
    ends = [model.get_weights() for model in models]
    return start, dict(zip(rules, zip(np.transpose(losses), ends, strict=True), strict=True))


@pytest.mark.alike
@pytest.mark.usefixtures("float64")
def test_training_follows_numpy(rule, rules):
    """fit's losses and weights; in float64, so that little but the order of sums may differ."""
    formula, _ = LECTURE[rule.__name__]
    weights, by_rule = trained(rules)
    losses, trained_weights = by_rule[rule]
    x, y = digits("train", BATCH * STEPS)

    expected = []
    gradients = [[] for _ in weights]  # each grows by one before the formula takes the next
    paths = [formula(w, g, **arguments_for(rule)) for w, g in zip(weights, gradients, strict=True)]
    for i in range(STEPS):
        batch = slice(i * BATCH, (i + 1) * BATCH)
        loss, step = loss_and_gradients(weights, x[batch], y[batch])
        for g, path in zip(step, gradients, strict=True):
            path.append(g)
        weights = [next(path)[0] for path in paths]
        expected.append(loss)

    means = np.cumsum(expected) / np.arange(1, STEPS + 1)  # Keras reports the running mean
    np.testing.assert_allclose(losses, means, rtol=1e-7)
    for actual, w in zip(trained_weights, weights, strict=True):
        np.testing.assert_allclose(actual, w, rtol=0, atol=1e-11)


def test_variables_have_the_same_names_in_every_run():
    first, second = ([v.path for v in mnist.mlp(0.5).trainable_variables] for _ in range(2))
    assert first == [
        f"mlp/{layer}/{kind}"
        for layer in ("hidden_1", "hidden_2", "output")
        for kind in ("kernel", "bias")
    ]
    assert first == second


def test_network_is_the_lectures():
    model = mnist.mlp()
    assert [w.shape for w in model.get_weights()] == [
        (784, 1000), (1000,), (1000, 1000), (1000,), (1000, 10), (10,)
    ]  # fmt: skip
    assert model.count_params() == 1_796_010
    assert model.inputs[0].dtype == "uint8"
    dropped = [layer.rate for layer in mnist.mlp(dropout=0.5).layers if "dropout" in layer.name]
    assert dropped == [0.5, 0.5]
    small = mnist.mlp(hidden=(np.int64(12), 8), dropout=np.float32(0.25))
    assert [w.shape for w in small.get_weights()[::2]] == [(784, 12), (12, 8), (8, 10)]
    assert mnist.mlp(hidden=()).count_params() == 7850  # softmax regression


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dropout": 1}, ValueError, r"`dropout` must be a number in \[0, 1\), not 1"),
        ({"dropout": -0.5}, ValueError, "`dropout` must be .*not -0.5"),
        ({"dropout": "0.5"}, TypeError, "`dropout` must be .*not '0.5'"),
        ({"dropout": None}, TypeError, "`dropout` must be .*not None"),
        ({"hidden": (0,)}, ValueError, "`hidden` must be an integer >= 1, not 0"),
        ({"hidden": (10, -1)}, ValueError, "`hidden` must be an integer >= 1, not -1"),
        ({"hidden": 5}, TypeError, "`hidden` must be integers >= 1, one for each layer, not 5"),
        ({"hidden": (2.5,)}, TypeError, r"`hidden` must be integers >= 1, .*not \(2.5,\)"),
        ({"hidden": "12"}, TypeError, "`hidden` must be integers >= 1, .*not '12'"),
    ],
)
def test_network_that_cannot_be_built_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        mnist.mlp(**arguments)
