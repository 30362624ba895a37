"""The effective learning rate of any optimizer, without repeating its formula.

While the gradient stays as it is, its averages are the gradient: the step, divided by minus the
gradient, is the rate. In float64.
"""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import COMPILE, MUON_WORKS
from keras import optimizers

import keras_lecture_opt
from keras_lecture_opt import effective_learning_rate, has_formula
from keras_lecture_opt.rates import inner_optimizers, keeps_evidence, updated_mask

pytestmark = pytest.mark.usefixtures("float64")

ETA = 2.0**-6
G = np.array([[1e-3, -0.5], [20.0, 2.0], [-3.0, 0.1]])
SIGNS = np.sign(G)
# Then the direction is g itself: elsewhere Keras's bias corrections, of a beta in float32, are not
# quite those of its averages.
WITHOUT_MOMENTUM = {"beta_1": 0.0}


def constant_steps(optimizer, gradient, count, start=1.0):
    """Yields the variable and the step that a constant gradient makes, each time."""
    variable = keras.Variable(np.full(gradient.shape, start))
    optimizer.build([variable])
    for _ in range(count):
        before = variable.numpy()
        optimizer.apply([tf.constant(gradient)], [variable])
        yield variable, variable.numpy() - before


# The latest step is -rate * g: (optimizer, gradient).
LATEST = {
    "SteepestDescent": (lambda: keras_lecture_opt.SteepestDescent(ETA), G),
    "AdaGrad": (lambda: keras_lecture_opt.AdaGrad(ETA), G),
    "RMSProp": (lambda: keras_lecture_opt.RMSProp(ETA), G),
    "SimplifiedAdam": (lambda: keras_lecture_opt.SimplifiedAdam(ETA, **WITHOUT_MOMENTUM), G),
    "Adam (ours)": (lambda: keras_lecture_opt.Adam(ETA), G),
    "SGD": (lambda: optimizers.SGD(ETA), G),
    "Adagrad": (lambda: optimizers.Adagrad(ETA), G),
    "RMSprop": (lambda: optimizers.RMSprop(ETA), G),
    "RMSprop, centered": (lambda: optimizers.RMSprop(ETA, centered=True), G),
    "Adam": (lambda: optimizers.Adam(ETA, **WITHOUT_MOMENTUM), G),
    "Adam, amsgrad": (lambda: optimizers.Adam(ETA, amsgrad=True, **WITHOUT_MOMENTUM), G),
    "AdamW": (lambda: optimizers.AdamW(ETA, weight_decay=0.0, **WITHOUT_MOMENTUM), G),
    "Nadam": (lambda: optimizers.Nadam(ETA, **WITHOUT_MOMENTUM), G),
    "Adamax": (lambda: optimizers.Adamax(ETA, **WITHOUT_MOMENTUM), G),
    "Lion": (lambda: optimizers.Lion(ETA), SIGNS),  # steps by signs
    "SGD in a LossScaleOptimizer": (
        lambda: optimizers.LossScaleOptimizer(optimizers.SGD(ETA), initial_scale=1.0),
        G,
    ),
}

if MUON_WORKS:
    LATEST["Muon, vector"] = (
        lambda: optimizers.Muon(ETA, adam_beta_1=0.0, adam_weight_decay=None),
        G[:, 0],
    )


@pytest.mark.parametrize("name", LATEST)
def test_latest_step_is_rate_times_gradient(name):
    make, gradient = LATEST[name]
    optimizer = make()
    for variable, step in constant_steps(optimizer, gradient, 5):
        rate = effective_learning_rate(optimizer, variable)
        assert rate.shape == gradient.shape
        assert rate.dtype == tf.float64
        np.testing.assert_allclose(rate, -step / gradient, rtol=1e-10)


# A step is mu times the one before, minus rate * g.
MOMENTUM = {
    "Momentum": lambda: keras_lecture_opt.Momentum(ETA, momentum=0.75),
    "Nesterov": lambda: keras_lecture_opt.Nesterov(ETA, momentum=0.75),
    "SGD": lambda: optimizers.SGD(ETA, momentum=0.75),
    "SGD, Nesterov": lambda: optimizers.SGD(ETA, momentum=0.75, nesterov=True),
    "RMSprop": lambda: optimizers.RMSprop(ETA, momentum=0.75),
}


@pytest.mark.parametrize("name", MOMENTUM)
def test_momentum_is_not_part_of_the_rate(name):
    optimizer, previous = MOMENTUM[name](), None
    for variable, step in constant_steps(optimizer, G, 5):
        if previous is not None:
            new = step - 0.75 * previous
            np.testing.assert_allclose(
                effective_learning_rate(optimizer, variable), -new / G, rtol=1e-10
            )
        previous = step


# Their own state has moved on since the latest step: theirs is the rate of the next one, once the
# averages have settled, and without what is not element by element.
NEXT = {
    "Adadelta": lambda: optimizers.Adadelta(ETA, rho=0.25),
    "Lamb": lambda: optimizers.Lamb(ETA, **WITHOUT_MOMENTUM),
    "Adafactor": lambda: optimizers.Adafactor(ETA, clip_threshold=1e9),
}


@pytest.mark.parametrize("gradient", [G, G[:, 0]], ids=["matrix", "vector"])
@pytest.mark.parametrize("name", NEXT)
def test_next_step_is_rate_times_gradient(name, gradient):
    optimizer = NEXT[name]()
    for i, (variable, step) in enumerate(constant_steps(optimizer, gradient, 43)):
        if i > 40:
            np.testing.assert_allclose(rate, -step / gradient, rtol=1e-8)  # noqa: F821
        rate = effective_learning_rate(optimizer, variable)  # noqa: F841


def test_adafactor_follows_its_own_schedule():
    optimizer = optimizers.Adafactor(1.0, clip_threshold=1e9)  # above 1 / sqrt(t)
    *_, (variable, _) = constant_steps(optimizer, G, 4)
    rate = effective_learning_rate(optimizer, variable)
    before = variable.numpy()
    optimizer.apply([tf.constant(G)], [variable])
    step = variable.numpy() - before
    np.testing.assert_allclose(rate * np.sqrt(4 / 5), -step / G, rtol=1e-8)


def test_ftrl_steps_by_rate_times_gradient_from_its_second_step_on():
    optimizer = optimizers.Ftrl(ETA, l2_regularization_strength=0.1, beta=0.5)
    for i, (variable, step) in enumerate(constant_steps(optimizer, G, 5)):
        if i > 0:
            rate = effective_learning_rate(optimizer, variable)
            np.testing.assert_allclose(rate, -step / G, rtol=1e-8)


def test_lamb_takes_one_where_a_norm_is_zero():
    optimizer = optimizers.Lamb(ETA, epsilon=0.5)
    [(variable, _)] = constant_steps(optimizer, np.zeros(2), 1)
    np.testing.assert_allclose(effective_learning_rate(optimizer, variable), 2 * ETA)


@pytest.mark.parametrize("accumulation", [None, 2])
def test_schedule_is_followed_to_the_latest_step(accumulation):
    schedule = optimizers.schedules.PiecewiseConstantDecay(
        [0, 1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    )
    optimizer = optimizers.SGD(schedule, gradient_accumulation_steps=accumulation)
    taken = 0
    for variable, step in constant_steps(optimizer, np.ones(2), 6):
        if step.any():
            taken += 1
            np.testing.assert_allclose(effective_learning_rate(optimizer, variable), -step)
    assert taken == 6 // (accumulation or 1)


def test_rate_that_was_set_or_is_called_is_followed():
    optimizer = keras_lecture_opt.SteepestDescent(0.5)
    [(variable, _)] = constant_steps(optimizer, G, 1)
    optimizer.learning_rate = 0.25
    np.testing.assert_array_equal(effective_learning_rate(optimizer, variable), 0.25)
    optimizer = keras_lecture_opt.SteepestDescent(lambda: 0.125)
    [(variable, _)] = constant_steps(optimizer, G, 1)
    np.testing.assert_array_equal(effective_learning_rate(optimizer, variable), 0.125)


@pytest.mark.skipif(not hasattr(optimizers, "MultiOptimizer"), reason="this Keras has none")
def test_multi_optimizer_is_looked_through():
    parts = [optimizers.SGD(0.5), keras_lecture_opt.AdaGrad(0.25, epsilon=0.0)]
    variables = [keras.Variable([1.0]), keras.Variable([1.0])]
    which = dict(zip(map(id, variables), parts, strict=True))
    optimizer = optimizers.MultiOptimizer(lambda variable: which[id(variable)])
    optimizer.apply([tf.constant([2.0])] * 2, variables)
    rates = [float(effective_learning_rate(optimizer, v)[0]) for v in variables]
    assert rates == [0.5, 0.125]


def test_in_a_graph(mode):
    optimizer = optimizers.Adam(ETA, **WITHOUT_MOMENTUM)
    *_, (variable, step) = constant_steps(optimizer, G, 2)
    rate = COMPILE[mode](lambda: effective_learning_rate(optimizer, variable))()
    np.testing.assert_allclose(rate, -step / G, rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    variable, optimizer = keras.Variable([1.0, 1.0], dtype=dtype), optimizers.RMSprop(0.5)
    optimizer.apply([tf.constant([2.0, 0.0], dtype)], [variable])
    rate = effective_learning_rate(optimizer, variable)
    assert rate.dtype == tf.float32
    np.testing.assert_allclose(rate, [0.5 / np.sqrt(0.4), 0.5 / np.sqrt(1e-7)], rtol=0.01)


def test_every_optimizer_of_keras_has_a_formula_or_is_refused():
    wrappers = {"Optimizer", "LossScaleOptimizer", "MultiOptimizer"}
    known = {name.partition(",")[0] for name in [*LATEST, *NEXT, "Ftrl", "Muon"]}
    for name, cls in vars(optimizers).items():
        if isinstance(cls, type) and issubclass(cls, optimizers.Optimizer) and name not in wrappers:
            optimizer = cls()
            assert has_formula(optimizer) == (name in known), name
            if name not in known:
                [(variable, _)] = constant_steps(optimizer, G, 1)
                with pytest.raises(TypeError, match=f"{name} is not known"):
                    effective_learning_rate(optimizer, variable)


def test_every_rule_has_a_formula(rule):
    assert has_formula(rule())
    assert has_formula(type("Renamed", (rule,), {})())
    assert has_formula(optimizers.LossScaleOptimizer(rule()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: effective_learning_rate("adam", keras.Variable(G)), "`optimizer` must be a keras"),
        (lambda: effective_learning_rate(optimizers.SGD(), None), "`variable` must be a keras"),
        (lambda: has_formula("adam"), "`optimizer` must be a keras.optimizers.Optimizer, not 'ad"),
        (lambda: effective_learning_rate.register("adam"), "`cls` must be a class of keras.optim"),
    ],
)
def test_what_is_no_optimizer_or_variable_is_named(call, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        call()


def test_what_has_no_rate_is_refused():
    variable, other = keras.Variable(G), keras.Variable(G)
    optimizer = optimizers.SGD()
    with pytest.raises(ValueError, match="has not been built with this"):
        effective_learning_rate(optimizer, variable)
    optimizer.build([variable])
    with pytest.raises(ValueError, match="has not taken a step"):
        effective_learning_rate(optimizer, variable)
    with pytest.raises(ValueError, match="has not been built with this"):
        effective_learning_rate(optimizer, other)
    refused = [(optimizers.Ftrl(l1_regularization_strength=0.1), "l1_regularization_strength 0.1")]
    if MUON_WORKS:
        refused.append((optimizers.Muon(), "orthogonalizes this step"))
    for optimizer, message in refused:
        [(variable, _)] = constant_steps(optimizer, G, 1)
        with pytest.raises(ValueError, match=message):
            effective_learning_rate(optimizer, variable)


EVIDENCE = {**LATEST, **{name: (make, G) for name, make in {**MOMENTUM, **NEXT}.items()}}
# "SteepestDescent" and the like have no state; Adafactor's is the sum of a row or of a column.
WITHOUT_EVIDENCE = ("SteepestDescent", "SGD", "SGD in a LossScaleOptimizer", "Adafactor")


@pytest.mark.parametrize("name", EVIDENCE)
def test_which_weights_received_a_gradient(name):
    optimizer, gradient = EVIDENCE[name][0](), np.array([0.0, 1e-3])
    *_, (variable, _) = constant_steps(optimizer, gradient, 3)
    [optimizer] = inner_optimizers(optimizer)
    updated = updated_mask(optimizer, variable)
    if name in WITHOUT_EVIDENCE and name not in MOMENTUM:
        assert updated is None
    else:
        np.testing.assert_array_equal(updated, [False, True])


@pytest.mark.alike
def test_which_weights_received_a_gradient_under_every_rule(rule):
    optimizer = rule()
    *_, (variable, _) = constant_steps(optimizer, np.array([0.0, 1e-3]), 3)
    updated = updated_mask(optimizer, variable)
    if rule.evidence:
        np.testing.assert_array_equal(updated, [False, True])
    else:
        assert updated is None


KEEPS = {  # (optimizer, whether its state shows an update 10,000 steps later)
    "Adam": (lambda: keras_lecture_opt.Adam(), True),
    "Adam, beta_2 0.9": (lambda: keras_lecture_opt.Adam(beta_2=0.9), False),
    "SimplifiedAdam, beta_2 0.99": (lambda: keras_lecture_opt.SimplifiedAdam(beta_2=0.99), False),
    "RMSProp": (lambda: keras_lecture_opt.RMSProp(), False),
    "RMSProp, rho 0.9999": (lambda: keras_lecture_opt.RMSProp(rho=0.9999), True),
    "RMSProp, rho 0.999": (lambda: keras_lecture_opt.RMSProp(rho=0.999), True),
    "AdaGrad": (lambda: keras_lecture_opt.AdaGrad(), True),
    "Momentum": (lambda: keras_lecture_opt.Momentum(), False),
    "Momentum, mu 1": (lambda: keras_lecture_opt.Momentum(momentum=1.0), True),
    "SteepestDescent": (lambda: keras_lecture_opt.SteepestDescent(), False),
    "Keras's Adam": (lambda: optimizers.Adam(), True),
    "Keras's Adam, beta_2 0.9": (lambda: optimizers.Adam(beta_2=0.9), False),
    "RMSprop, rho 0.9999": (lambda: optimizers.RMSprop(rho=0.9999), True),
    "Adagrad": (lambda: optimizers.Adagrad(), False),  # 1e-5 squared is lost beside 0.1
    "Adagrad from 0": (lambda: optimizers.Adagrad(initial_accumulator_value=0.0), True),
    "Adafactor": (lambda: optimizers.Adafactor(), False),
}


def still_shows(optimizer, steps):
    """Whether the state shows the gradient of the first step after so many with gradient 0."""
    variable = keras.Variable([1.0], dtype="float32")  # as most networks have
    optimizer.build([variable])
    gradient = tf.Variable([1e-3])  # visible beside Adagrad's first 0.1

    @tf.function
    def loop():
        for _ in tf.range(steps):
            optimizer.apply([gradient], [variable])
            gradient.assign([0.0])

    loop()
    return bool(updated_mask(optimizer, variable))


@pytest.mark.parametrize("name", KEEPS)
def test_whether_the_state_keeps_the_evidence_depends_on_its_decay(name):
    make, keeps = KEEPS[name]
    assert keeps_evidence(make()) is keeps
    if keeps:
        assert still_shows(make(), 10_000)


def test_small_beta_2_forgets_a_gradient_within_915_steps():
    assert not still_shows(keras_lecture_opt.Adam(beta_2=0.9), 915)
