"""What must hold between rules, and between ours and Keras's where the formulas coincide."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from common import COMPILE

from keras_lecture_opt import (
    AdaGrad,
    Adam,
    Momentum,
    Nesterov,
    RMSProp,
    SimplifiedAdam,
    SteepestDescent,
)

pytestmark = pytest.mark.usefixtures("compiled_updates")

BIT_FOR_BIT = ["eager", "graph without XLA"]
HOW = [*BIT_FOR_BIT, "graph", "xla"]


def assert_same(a, b, how):
    """XLA may contract a * b + c into one rounding where its fusions differ."""
    rtol, atol = (0, 0) if how in BIT_FOR_BIT else (2e-6, 1e-6)
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def trained(optimizer, how="eager", steps=30):
    optimizer.jit_compile = how != "graph without XLA"
    rng = np.random.default_rng(0)
    variable = keras.Variable(rng.normal(size=(20, 10)), dtype="float32")
    optimizer.build([variable])
    step = COMPILE[how.split()[0]](lambda g: optimizer.apply([g], [variable]))
    for _ in range(steps):
        step(tf.constant(rng.normal(size=(20, 10)), "float32"))
    return variable.numpy()


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("pair", [Momentum, Nesterov])
def test_without_momentum_it_is_steepest_descent(pair, how):
    assert_same(trained(pair(0.1, momentum=0.0), how), trained(SteepestDescent(0.1), how), how)


KERAS_SGD = {
    "plain": (SteepestDescent(0.1), {}),
    "momentum": (Momentum(0.1, 0.9), {"momentum": 0.9}),
    "nesterov": (Nesterov(0.1, 0.9), {"momentum": 0.9, "nesterov": True}),
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", KERAS_SGD)
def test_equals_keras_where_the_formulas_coincide(kind, how):
    ours, arguments = KERAS_SGD[kind]
    ours = type(ours).from_config(ours.get_config())
    theirs = keras.optimizers.SGD(0.1, **arguments)
    assert_same(trained(ours, how), trained(theirs, how), how)


@pytest.mark.parametrize(
    ("ours", "keras_class"),
    [
        (AdaGrad, keras.optimizers.Adagrad),
        (RMSProp, keras.optimizers.RMSprop),
        (Adam, keras.optimizers.Adam),
    ],
)
def test_differs_from_keras_where_the_formulas_differ(ours, keras_class):
    """Were one wrapped and called the other's, this would say so."""
    arguments = {"learning_rate": 0.125, "epsilon": 1e-2}
    difference = trained(ours(**arguments), steps=1) - trained(keras_class(**arguments), steps=1)
    assert np.abs(difference).max() > 1e-4


def test_adam_starts_with_eta_times_the_sign():
    g = np.array([3.0, -1e-3, 250.0])
    w = keras.Variable(np.zeros(3), dtype="float64")
    Adam(learning_rate=0.125).apply([g], [w])
    np.testing.assert_allclose(w.numpy(), -0.125 * np.sign(g), rtol=1e-4)  # epsilon / |g|


def test_adagrad_starts_on_the_diagonal():
    """The slide: from (-1, -1) on w1^2 + 25 w2^2 to about (-1 + eta, -1 + eta)."""
    w = keras.Variable([-1.0, -1.0], dtype="float64")
    AdaGrad(learning_rate=0.25).apply([[-2.0, -50.0]], [w])
    np.testing.assert_allclose(w.numpy(), [-0.75, -0.75], rtol=1e-7)


def test_adagrads_rates_never_rise():
    rng = np.random.default_rng(0)
    w = keras.Variable(np.zeros(50))
    optimizer = AdaGrad()
    before = np.full(50, np.inf)
    for t in range(1, 31):
        optimizer.apply([rng.normal(size=50) * (rng.random(50) < 0.5)], [w])
        rates = optimizer.effective_learning_rate(w, optimizer.learning_rate, t).numpy()
        assert (rates <= before).all()
        before = rates


def test_simplified_adam_without_memory_of_m_is_rmsprop():
    adam = SimplifiedAdam(0.1, beta_1=0.0, beta_2=0.75, epsilon=1e-3)
    rmsprop = RMSProp(0.1, rho=0.75, epsilon=1e-3)
    np.testing.assert_array_equal(trained(adam), trained(rmsprop))


def test_nesterov_takes_the_slides_path():
    """Against the gradient evaluated at w + mu v, on w1^2 + 25 w2^2."""

    def gradient_at(w):
        return np.array([2.0, 50.0]) * w

    start = np.array([-1.0, -1.0])
    path = reference.nesterov_on_the_slide(start, gradient_at, 60, 2.0**-6, 0.9)
    optimizer = Nesterov(learning_rate=2.0**-6, momentum=0.9)
    theta = keras.Variable(start, dtype="float64")
    for w, v in path:
        optimizer.apply([gradient_at(theta.numpy())], [theta])
        np.testing.assert_allclose(optimizer.w(theta), w, rtol=0, atol=1e-12)
        np.testing.assert_allclose(optimizer.slots(theta)[0], v, rtol=0, atol=1e-12)
        np.testing.assert_allclose(theta, w + 0.9 * v, rtol=0, atol=1e-12)


def test_nesterovs_w_needs_a_built_optimizer():
    with pytest.raises(ValueError, match="has not been built with this variable"):
        Nesterov().w(keras.Variable([1.0]))
