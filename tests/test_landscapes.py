"""Descents over surfaces: against NumPy, with any Keras optimizer, and where they end."""

import copy
import dataclasses
import functools
import inspect
import operator
import pickle
import re

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from common import LECTURE, MUON_WORKS
from own_rules import SignDescent

from keras_lecture_opt import (
    Adam,
    Momentum,
    Nesterov,
    RMSProp,
    SteepestDescent,
    effective_learning_rate,
    landscapes,
)
from keras_lecture_opt.landscapes import Surface, descend, quadratic, rosenbrock, saddle

# Typed from the formulas of the issue and of the literature, with their gradients by hand.
BY_HAND = {
    "quadratic": (
        lambda x, y: x**2 + 25 * y**2,
        lambda x, y: (2 * x, 50 * y),
    ),
    "saddle": (
        lambda x, y: x**3 + y**2,
        lambda x, y: (3 * x**2, 2 * y),
    ),
    "Rosenbrock": (
        lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
        lambda x, y: (-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)),
    ),
    "Beale": (
        lambda x, y: (
            (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2
        ),
        lambda x, y: (
            2 * (1.5 - x + x * y) * (y - 1)
            + 2 * (2.25 - x + x * y**2) * (y**2 - 1)
            + 2 * (2.625 - x + x * y**3) * (y**3 - 1),
            2 * (1.5 - x + x * y) * x
            + 2 * (2.25 - x + x * y**2) * 2 * x * y
            + 2 * (2.625 - x + x * y**3) * 3 * x * y**2,
        ),
    ),
    "Himmelblau": (
        lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2,
        lambda x, y: (
            4 * x * (x**2 + y - 11) + 2 * (x + y**2 - 7),
            2 * (x**2 + y - 11) + 4 * y * (x + y**2 - 7),
        ),
    ),
}
ETA = 2.0**-10  # exact in the float32 in which Keras keeps it


def each_surface(test):
    return pytest.mark.parametrize("surface", landscapes.SURFACES, ids=lambda s: s.name)(test)


def two_surfaces(test):
    """For what rules do. The other surfaces, which are tested for themselves, are for test-full."""
    surfaces = [
        pytest.param(s, marks=() if s in (quadratic, rosenbrock) else pytest.mark.full)
        for s in landscapes.SURFACES
    ]
    return pytest.mark.parametrize("surface", surfaces, ids=lambda s: s.name)(test)


@each_surface
def test_surface_is_its_formula(surface):
    loss, gradient = BY_HAND[surface.name]
    (left, right), (bottom, top) = surface.domain
    rng = np.random.default_rng(0)
    w1, w2 = rng.uniform(left, right, 50), rng.uniform(bottom, top, 50)
    np.testing.assert_allclose(surface(w1, w2), loss(w1, w2), rtol=1e-12)
    for x, y in zip(w1, w2, strict=True):
        found = gradient_of(surface, (x, y))
        np.testing.assert_allclose(found, gradient(x, y), rtol=1e-11, atol=1e-11)
    # A user's surface is checked when it is made, which these are not.
    dataclasses.replace(surface, function=lambda w1, w2: surface.function(w1, w2))

    @functools.wraps(surface.function)  # looks like a function of the module
    def loss_of_a_batch(w1, w2):
        return surface.function(w1, w2) + tf.reduce_sum(w1)

    with pytest.raises(TypeError, match="depends on other points"):
        dataclasses.replace(surface, function=loss_of_a_batch)


def gradient_of(surface, point):
    w = tf.constant(point, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(w)
        loss = surface(*tf.unstack(w))
    return tape.gradient(loss, w)


@each_surface
def test_shown_formula_is_the_formula(surface):
    if surface.name == "Beale":
        assert surface.formula == r"\sum_{n=1}^3 (c_n - w_1 (1 - w_2^n))^2"
        return
    python = re.sub(r"(\d|\)) (?=[w(])", r"\1*", surface.formula).replace("^", "**")
    w = {"w_1": 0.3, "w_2": -0.7}
    assert eval(python, w) == pytest.approx(BY_HAND[surface.name][0](0.3, -0.7))


@each_surface
def test_minima_are_minima(surface):
    _, gradient = BY_HAND[surface.name]
    around = 1e-3 * np.array([(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 32)])
    for minimum in surface.minima:
        np.testing.assert_allclose(gradient(*minimum), 0, atol=1e-12)
        assert np.all(surface(*(minimum + around).T) > surface(*minimum))
    assert surface.minima or surface is saddle


def referenced(rule, surface, steps, **own):
    """What NumPy makes of the same descent: weights, gradients, and state after each step."""
    formula, arguments = LECTURE[rule.__name__]
    _, gradient = BY_HAND[surface.name]
    step = reference.step_by_step(formula, (2,), {**arguments, **own})
    w = np.array(surface.start, "float64")
    path, gradients, states = [w], [], []
    for _ in range(steps):
        g = np.array(gradient(*w))
        taken, state = step(g)
        w = w + taken
        path.append(w)
        gradients.append(g)
        states.append(state)
    return np.array(path), np.array(gradients), np.array(states)


@functools.cache
def descended(rule, surface):
    """The descent that `referenced` describes, compiled once for several tests."""
    return descend(surface, rule(learning_rate=ETA), steps=60)


@two_surfaces
def test_descent_is_numpys(rule, surface):
    descent = descended(rule, surface)
    path, gradients, states = referenced(rule, surface, 60, learning_rate=ETA)
    assert descent.stopped is None
    assert descent.steps == 60
    tolerance = {"rtol": 1e-10, "atol": 1e-12}
    if rule is Nesterov:  # NumPy's is in the coordinate that Keras takes gradients at
        np.testing.assert_allclose(descent.lookahead, path, **tolerance)
        velocities = np.concatenate([np.zeros((1, 2)), states[:, 0]])
        path = path - 0.9 * velocities
    else:
        assert descent.lookahead is None
    np.testing.assert_allclose(descent.path, path, **tolerance)
    np.testing.assert_allclose(descent.losses, BY_HAND[surface.name][0](*path.T), **tolerance)
    np.testing.assert_allclose(descent.gradients, gradients, rtol=1e-9, atol=1e-12)
    # The rates are those of an eager call; what these are, test_rates says.
    optimizer, w = rule(learning_rate=ETA), keras.Variable(surface.start, dtype="float64")
    for g, rate in zip(gradients[:3], descent.rates[:3], strict=True):
        optimizer.apply([tf.constant(g)], [w])
        np.testing.assert_allclose(effective_learning_rate(optimizer, w), rate, rtol=1e-9)


def test_rates_are_numpys(rule):
    descent = descended(rule, quadratic)
    states = referenced(rule, quadratic, 60, learning_rate=ETA)[2]
    known = reference.RULES[rule.__name__]
    arguments = {**known.arguments, "learning_rate": ETA}
    expected = [known.rate(state, t, **arguments) for t, state in enumerate(states, start=1)]
    expected = [np.broadcast_to(rate, 2) for rate in expected]  # some are a number for all weights
    np.testing.assert_allclose(descent.rates, expected, rtol=1e-9)


# Second derivatives by hand: 11, 12 and 22.
HESSIANS = {
    "quadratic": lambda x, y: (2, 0, 50),
    "saddle": lambda x, y: (6 * x, 0, 2),
    "Rosenbrock": lambda x, y: (2 - 400 * (y - 3 * x**2), -400 * x, 200),
    "Beale": lambda x, y: (
        2 * ((y - 1) ** 2 + (y**2 - 1) ** 2 + (y**3 - 1) ** 2),
        sum(
            2 * n * y ** (n - 1) * (c + 2 * x * (y**n - 1))
            for n, c in ((1, 1.5), (2, 2.25), (3, 2.625))
        ),
        sum(
            2 * n * x * ((n - 1) * y ** max(n - 2, 0) * (c - x + x * y**n))
            + 2 * (n * x * y ** (n - 1)) ** 2
            for n, c in ((1, 1.5), (2, 2.25), (3, 2.625))
        ),
    ),
    "Himmelblau": lambda x, y: (
        12 * x**2 + 4 * y - 42,
        4 * x + 4 * y,
        4 * x + 12 * y**2 - 26,
    ),
}
# The limit of a rule, typed from its analysis on a quadratic loss.
LIMIT_OF = {
    "SteepestDescent": 2,
    "Momentum": 2 * 1.9,
    "Nesterov": 2 * 1.9 / 2.8,
    "AdaGrad": 2,
    "RMSProp": 2,
    "SimplifiedAdam": 2 * 1.9 / 0.1,
    "Adam": 2 * 1.9 / 0.1,
}


@two_surfaces
def test_stability_is_numpys(rule, surface):
    descent = descended(rule, surface)
    if rule.__name__ not in LIMIT_OF:  # nobody has said the limit of a new rule
        assert descent.stability is None
        return
    points = descent.path if descent.lookahead is None else descent.lookahead
    expected = []
    for rate, point in zip(descent.rates, points[:-1], strict=True):
        h11, h12, h22 = HESSIANS[surface.name](*point)
        eigenvalues = np.linalg.eigvals(np.diag(rate) @ [[h11, h12], [h12, h22]])
        expected.append(max(eigenvalues.real) / LIMIT_OF[rule.__name__])
    np.testing.assert_allclose(descent.stability, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("cls", "own"),
    [
        (SteepestDescent, {}),
        (Momentum, {"momentum": 0.5}),
        (Nesterov, {"momentum": 0.9}),
    ],
)
def test_stability_of_1_separates_convergence_from_divergence(cls, own):
    """Exactly, on a quadratic loss whose axes are not those of the weights."""
    bowl = Surface(
        "bowl", lambda x, y: (x + y) ** 2 + 4 * (x - y) ** 2, ((-1e9, 1e9), (-1e9, 1e9)), (1, 0.5)
    )
    at_1 = 1 / descend(bowl, cls(1.0, **own), steps=1).stability[0]
    for share, converges in ((0.99, True), (1.01, False)):
        descent = descend(bowl, cls(at_1 * share, **own), steps=1000)
        np.testing.assert_allclose(descent.stability, share, rtol=1e-6)  # η is in float32
        assert (descent.losses[-1] < 1e-3 * descent.losses[0]) == converges


def test_stability_where_nothing_is_known():
    for optimizer in (keras.optimizers.SGD(ETA), SignDescent(ETA)):
        assert descend(quadratic, optimizer, steps=2).stability is None
    accumulating = SteepestDescent(ETA, gradient_accumulation_steps=2)
    stability = descend(quadratic, accumulating, steps=3).stability
    np.testing.assert_allclose(stability, [np.nan, 25 * ETA, 25 * ETA])


def test_nesterov_is_the_slides_from_any_velocity():
    descent = descend(quadratic, Nesterov(ETA, momentum=0.75), start=(0.5, 0.25), steps=40)
    moving = descend(
        quadratic, Nesterov(ETA, momentum=0.75), start=(0.5, 0.25), velocity=(0.3, -0.1), steps=40
    )
    for result, v in ((descent, (0, 0)), (moving, (0.3, -0.1))):
        w, v = np.array([0.5, 0.25]), np.array(v)
        for i in range(40):
            ahead = w + 0.75 * v
            np.testing.assert_allclose(result.lookahead[i], ahead, rtol=1e-12)
            v = 0.75 * v - ETA * np.array([2, 50]) * ahead
            w = w + v
            np.testing.assert_allclose(result.path[i + 1], w, rtol=1e-11, atol=1e-15)
    np.testing.assert_array_equal(descent.velocity, (0, 0))
    np.testing.assert_array_equal(moving.velocity, (0.3, -0.1))
    assert descend(quadratic, keras.optimizers.SGD(ETA, momentum=0.5), steps=1).velocity is None


def test_momentum_starts_with_the_velocity():
    descent = descend(quadratic, Momentum(ETA, momentum=0.5), velocity=(0.25, 0.5), steps=3)
    w, v = np.array([-1.0, -1.0]), np.array([0.25, 0.5])
    for i in range(3):
        v = 0.5 * v - ETA * np.array([2, 50]) * w
        w = w + v
        np.testing.assert_allclose(descent.path[i + 1], w, rtol=1e-12)


KERAS = sorted(
    name
    for name, cls in vars(keras.optimizers).items()
    if inspect.isclass(cls) and issubclass(cls, keras.optimizers.Optimizer)
    # A MultiOptimizer divides a model's layers, of which there are none.
    if name not in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
)


@pytest.mark.parametrize("name", KERAS)
def test_any_keras_optimizer_takes_the_path_of_its_own_apply(name):
    if name == "Muon" and not MUON_WORKS:
        pytest.skip("this Keras's Muon fails on TensorFlow")
    make = getattr(keras.optimizers, name)
    descent = descend(quadratic, make(learning_rate=0.01), steps=10)
    optimizer, w = make(learning_rate=0.01), keras.Variable([-1.0, -1.0], dtype="float64")
    optimizer.build([w])
    for i in range(10):
        np.testing.assert_allclose(descent.path[i], w.numpy(), rtol=1e-9)
        optimizer.apply([w.numpy() * [2, 50]], [w])
        if name == "ScheduleFreeAdamW":  # no formula is known
            assert descent.rates is None
        else:
            rate = effective_learning_rate(optimizer, w)
            np.testing.assert_allclose(descent.rates[i], rate, rtol=1e-6)


def test_schedules_scaled_losses_and_accumulation():
    halved = keras.optimizers.schedules.ExponentialDecay(0.25, 1, 0.5)
    descent = descend(saddle, SteepestDescent(halved), start=(0, 1), steps=3)
    np.testing.assert_allclose(descent.rates, [[0.25] * 2, [0.125] * 2, [0.0625] * 2])
    np.testing.assert_allclose(descent.path[:, 1], [1, 0.5, 0.375, 0.328125])

    plain = descend(quadratic, Adam(ETA), steps=20)
    for optimizer in (
        keras.optimizers.LossScaleOptimizer(Adam(ETA)),
        Adam(ETA, loss_scale_factor=1024.0),
    ):
        scaled = descend(quadratic, optimizer, steps=20)
        assert scaled.rule == "Adam"
        np.testing.assert_allclose(scaled.path, plain.path, rtol=1e-12)
        np.testing.assert_allclose(scaled.gradients, plain.gradients, rtol=1e-11)
        np.testing.assert_allclose(scaled.rates, plain.rates, rtol=1e-12)

    waiting = descend(quadratic, SteepestDescent(ETA, gradient_accumulation_steps=2), steps=4)
    np.testing.assert_array_equal(waiting.path[[0, 2]], waiting.path[[1, 3]])
    assert np.isnan(waiting.rates[0]).all()
    assert (waiting.rates[1:] == ETA).all()


def test_hyperparameters_are_those_of_the_start():
    optimizer = RMSProp(0.5, rho=0.75)
    descent = descend(quadratic, optimizer, steps=1)
    optimizer.learning_rate = 0.25
    assert descent.hyperparameters == {"learning_rate": 0.5, "rho": 0.75, "epsilon": 1e-7}
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    descent = descend(quadratic, keras.optimizers.SGD(decay, momentum=0.5), steps=1)
    assert descent.hyperparameters == {"learning_rate": None, "momentum": 0.5}


def test_unknown_rule_has_a_path_but_no_rates():
    class Doubled(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, 2 * learning_rate)

    descent = descend(quadratic, Doubled(0.0078125), steps=2)
    assert descent.rates is None
    assert descent.rule == "Doubled"
    np.testing.assert_allclose(descent.path[1], [-1 + 2 * 2 / 128, -1 + 50 * 2 / 128], rtol=1e-12)


def test_descent_ends_with_the_point_that_left_the_domain():
    descent = descend(quadratic, SteepestDescent(2**-4), steps=100)  # w2 <- -2.125 w2
    assert descent.stopped == "left the domain in step 1"
    np.testing.assert_allclose(descent.path, [[-1, -1], [-0.875, 2.125]])
    assert descent.losses.shape == (2,)
    assert descent.gradients.shape == descent.rates.shape == (1, 2)
    assert repr(descent).endswith("1 steps, loss 26 to 113.7; left the domain in step 1>")


def test_descent_ends_before_what_is_not_finite():
    pole = Surface("pole", lambda w1, w2: tf.sqrt(w1) + w2**2, ((-9, 9), (-9, 9)), (0.25, 0))
    descent = descend(pole, SteepestDescent(0.5), steps=100)  # w1 <- 0.25 - 0.5 / (2 * 0.5)
    assert descent.stopped == "step 1 is not finite"
    assert descent.path.tolist() == [[0.25, 0]]
    assert descent.losses.tolist() == [0.5]
    assert descent.gradients.shape == descent.rates.shape == (0, 2)

    overflow = descend(quadratic, SteepestDescent(3e38), steps=100)
    assert overflow.stopped == "left the domain in step 1"
    wide = Surface("wide", quadratic.function, ((-1e300, 1e300),) * 2, (-1, -1))
    overflow = descend(wide, SteepestDescent(3e38), steps=100)  # 25 w2^2 is infinite
    assert overflow.stopped.endswith("is not finite")
    assert np.all(np.isfinite(overflow.path))
    assert np.all(np.isfinite(overflow.losses))


DOMAIN = ((-2, 2), (-2, 2))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda w: w[0] ** 2, "TypeError: .* takes 1 positional argument but 2 were"),
        (lambda w1, w2, w3: w1 + w2 + w3, "TypeError: .*missing 1 required"),
        (lambda w1, w2: np.sin(w1) + w2, "NotImplementedError"),
        (lambda w1, w2: w1 if w1 > 0 else w2, "Using a symbolic"),
        (lambda w1, w2: tf.cond(w1 > 0, lambda: w1**2, lambda: w2**2), "Error"),
        (lambda w1, w2: tf.reduce_sum(w1 + w2), r"of type float64 and shape \(\)"),
        (lambda w1, w2: w1 * tf.reduce_sum(w2), "at a point depends on other points"),
        (lambda w1, w2: tf.cast(w1 + w2, tf.float32), "of type float32"),
        (lambda w1, w2: tf.round(w1), "no gradient"),
        (lambda w1, w2: None, "ValueError"),
    ],
)
def test_wrong_function_is_refused_at_once(function, message):
    with pytest.raises(TypeError, match=f"Surface 'odd': `function` must compute .*{message}"):
        Surface("odd", function, DOMAIN, (0, 0))


def test_surface_may_use_data_and_variables():
    x, slope = tf.constant([1.0, 2.0], tf.float64), tf.Variable(2.0, dtype="float64")
    line = Surface(
        "line",
        lambda w1, w2: sum((w1 + w2 * x[i] - slope * x[i]) ** 2 for i in range(2)),
        DOMAIN,
        (0, 0),
        minima=(point for point in [(0, 2)]),
    )
    assert line.minima == ((0, 2),)
    path = descend(line, SteepestDescent(2**-4), steps=1).path
    assert path[1].tolist() == [2 * (2 + 4) / 16, 2 * (2 + 8) / 16]


def test_surface_may_ignore_a_weight():
    flat = Surface("flat", lambda w1, w2: w1**2, DOMAIN, (1, 1))
    assert descend(flat, SteepestDescent(0.25), steps=1).path[1].tolist() == [0.5, 1]


@pytest.mark.parametrize(
    ("domain", "error"),
    [
        (None, TypeError),
        ("ab", TypeError),
        ((("0", "1"), ("0", "1")), TypeError),
        ((0, 1), ValueError),
        (((0, 1), (0, 1, 2)), ValueError),
        (((0, 1), (1, 0)), ValueError),
        (((0, np.nan), (0, 1)), ValueError),
        (((-1e308, 1e308), (0, 1)), ValueError),  # as wide as no float64
        (((-8e307, 8e307), (0, 1)), ValueError),  # nor is that with a picture's margins
    ],
)
def test_wrong_domain_is_refused(domain, error):
    with pytest.raises(error, match=r"Surface 'odd': `domain` must be two finite ranges, .*not "):
        Surface("odd", quadratic.function, domain, (0.5, 0.5))


@pytest.mark.parametrize(
    ("point", "error"),
    [
        (None, TypeError),
        ("ab", TypeError),
        (("1", "1"), TypeError),
        (1, ValueError),
        ((1,), ValueError),
        ((1, 2, 3), ValueError),
        ((np.nan, 0), ValueError),
        ((0, np.inf), ValueError),
        ((9, 0), ValueError),
    ],
)
def test_wrong_point_is_refused(point, error):
    with pytest.raises(error, match="`start` must be"):
        Surface("odd", quadratic.function, DOMAIN, point)
    with pytest.raises(error, match=r"`minima`.* must be"):
        Surface("odd", quadratic.function, DOMAIN, (0, 0), minima=[point])
    if point is not None:  # which is the surface's own
        with pytest.raises(error, match="`start` must be"):
            descend(quadratic, Adam(), start=point)


@pytest.mark.parametrize("name", [None, ""])
def test_wrong_name_is_refused(name):
    with pytest.raises(TypeError, match="`name` must be a string that is not empty, not "):
        Surface(name, quadratic.function, DOMAIN, (0, 0))


def test_name_that_no_picture_can_show_is_refused():
    with pytest.raises(ValueError, match="`name` must be text that matplotlib can draw, not "):
        Surface("$x_{$", quadratic.function, DOMAIN, (0, 0))
    for name in ("US$ 5\nUS$ 6", "price $5", r"$\eta$"):
        assert Surface(name, quadratic.function, DOMAIN, (0, 0)).name == name


def test_surfaces_and_descents_can_be_sent_to_another_process():
    for surface in landscapes.SURFACES:
        assert pickle.loads(pickle.dumps(surface)) is copy.deepcopy(surface) is surface
    plane = Surface("plane", operator.add, DOMAIN, (0, 0))
    assert pickle.loads(pickle.dumps(plane))(1, 2) == 3
    descent = descend(quadratic, Adam(0.1), steps=3)
    for other in (pickle.loads(pickle.dumps(descent)), copy.deepcopy(descent)):
        assert other.surface is quadratic
        np.testing.assert_array_equal(other.path, descent.path)
        pairs = zip(other.optimizer.variables, descent.optimizer.variables, strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_minima_must_be_several_points():
    with pytest.raises(TypeError, match="Surface 'odd': `minima` must be points, not 3"):
        Surface("odd", quadratic.function, DOMAIN, (0, 0), minima=3)


@pytest.mark.parametrize(
    "formula", [r"\frac{w_1}", "w_1^", r"\nothing w_1", "$w_1$", "w_1$ + $w_2"]
)
def test_formula_that_no_picture_can_show_is_refused_at_once(formula):
    message = r"Surface 'odd': `formula` must be TeX .*, without dollar signs, not "
    with pytest.raises(ValueError, match=message):
        Surface("odd", quadratic.function, DOMAIN, (0, 0), formula=formula)


def test_formula_may_be_left_out_but_is_text():
    assert Surface("odd", quadratic.function, DOMAIN, (0, 0)).formula == ""
    with pytest.raises(TypeError, match=r"`formula` must be TeX .*, not 3"):
        Surface("odd", quadratic.function, DOMAIN, (0, 0), formula=3)


def test_the_edge_is_inside_the_domain():
    assert descend(quadratic, SteepestDescent(0.0), start=(-2, 1.5), steps=2).stopped is None
    past = np.nextafter(2, 3)
    with pytest.raises(ValueError, match="`start` must be inside the domain"):
        descend(quadratic, SteepestDescent(), start=(past, 0))


def test_start_without_a_finite_loss_is_refused():
    log = Surface("log", lambda w1, w2: tf.math.log(w1) + w2, DOMAIN, (1, 1))
    with pytest.raises(ValueError, match=r"`start` must have a finite loss, not \[0.0, 1.0\]"):
        descend(log, Adam(), start=(0, 1))


STEPS = "`steps` must be an integer >= 1 and <= 2147483647"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"surface": lambda w1, w2: w1}, TypeError, "`surface` must be a Surface, not <function"),
        ({"optimizer": "adam"}, TypeError, "`optimizer` must be a .*Optimizer, not 'adam'"),
        ({"optimizer": Adam}, TypeError, "`optimizer` must be a .*Optimizer, not <class"),
        ({"steps": 0}, ValueError, f"{STEPS}, not 0"),
        ({"steps": 2**31}, ValueError, f"{STEPS}, not 2147483648"),
        ({"steps": 2.5}, TypeError, f"{STEPS}, not 2.5"),
        ({"steps": True}, TypeError, f"{STEPS}, not True"),
        ({"steps": "10"}, TypeError, f"{STEPS}, not '10'"),
        ({"velocity": (1, 1)}, ValueError, "`velocity` must be left out: RMSProp has none"),
        (
            {"velocity": (1, np.inf), "optimizer": Momentum()},
            ValueError,
            "`velocity` must be two finite numbers",
        ),
        (
            {"velocity": "11", "optimizer": Momentum()},
            TypeError,
            "`velocity` must be two finite numbers, not '11'",
        ),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        descend(**{"surface": quadratic, "optimizer": RMSProp(), **arguments})


def test_numpy_numbers_are_numbers():
    one = np.float32(1)
    surface = Surface(
        "bowl", quadratic.function, np.array(DOMAIN), (one, one), minima=np.zeros((1, 2))
    )
    descent = descend(surface, Momentum(np.float32(ETA)), (one, -one), np.int64(3), np.zeros(2))
    assert descent.steps == 3
    np.testing.assert_array_equal(descent.path[0], [1, -1])


def test_rule_of_a_user_has_a_path_and_rates():
    descent = descend(quadratic, SignDescent(0.125, scale=2.0), steps=3)
    assert descent.rule == "SignDescent"
    np.testing.assert_allclose(descent.path[:, 0], [-1, -0.75, -0.5, -0.25])
    np.testing.assert_allclose(descent.rates, np.full((3, 2), 0.25))


def test_refused_arguments_leave_the_optimizer_unused():
    optimizer = Momentum()
    for wrong in ({"velocity": (1, np.nan)}, {"steps": 0}, {"start": (9, 9)}):
        with pytest.raises(ValueError, match="must be"):
            descend(quadratic, optimizer, **wrong)
    assert descend(quadratic, optimizer, steps=1).steps == 1


def test_xla_is_off_only_while_the_descent_runs():
    seen, refuses = [], False

    def bowl(x, y):
        if not tf.executing_eagerly():
            seen.append(optimizer.jit_compile)
            if refuses:
                raise KeyError("refused")
        return x * x + y * y

    optimizer = Adam()
    surface = Surface("bowl", bowl, DOMAIN, (1.0, 1.0))
    assert all(seen)  # it was tried out
    seen.clear()
    for given in (True, False):
        optimizer = Adam(jit_compile=given)
        descend(surface, optimizer, steps=1)
        assert optimizer.jit_compile is given
    optimizer = Adam()
    descend(surface, keras.optimizers.LossScaleOptimizer(optimizer), steps=1)
    refuses = True
    with pytest.raises(KeyError, match="refused"):
        descend(surface, optimizer := Adam(), steps=1)
    assert optimizer.jit_compile is True
    assert not any(seen)
    assert len(seen) > 3


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras 3.12 has none")
def test_multi_optimizer_takes_the_path_of_its_optimizer():
    multi = keras.optimizers.MultiOptimizer(lambda variables: Momentum(2.0**-8))
    with pytest.raises(ValueError, match="`velocity` must be left out: MultiOptimizer has none"):
        descend(quadratic, multi, velocity=(1, 1))
    path = descend(quadratic, multi, steps=9).path
    np.testing.assert_array_equal(path, descend(quadratic, Momentum(2.0**-8), steps=9).path)


def test_graphs_and_strategies_are_refused():
    message = "`descend` must be called outside of a tf.function and of a distribution strategy"
    with (
        tf.distribute.OneDeviceStrategy("CPU:0").scope(),
        pytest.raises(RuntimeError, match=message),
    ):
        descend(quadratic, Adam())
    with tf.Graph().as_default(), pytest.raises(RuntimeError, match=message):
        descend(quadratic, Adam())


def test_used_optimizer_is_refused():
    optimizer = Adam()
    descend(quadratic, optimizer, steps=1)
    with pytest.raises(ValueError, match="`optimizer` must be new, but this Adam has been built"):
        descend(quadratic, optimizer)


def test_many_descents_do_not_warn_of_retracing(caplog, capfd):
    for _ in range(8):
        descend(saddle, SteepestDescent(), steps=2)
    assert "retracing" not in caplog.text + capfd.readouterr().err
