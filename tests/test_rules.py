"""Every rule against its formula: weights and state, after every step, in every mode and type."""

import inspect

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from conftest import COMPILE, LECTURE, RULES

import keras_lecture_opt

SHAPES = [(), (3,), (4, 3), (2, 3, 1, 2)]
STEPS = 60
ETA = 2.0**-6  # a power of two: exact in the float32 variable in which Keras keeps the rate

# Largest error of (state, weights), each against the largest magnitude that its array has had.
# float64: the goal. float32: STEPS roundings, of 2^-24 each, of some terms. bfloat16: the state is
# kept in float32, and each step rounds the weights and what is added to them, to 2^-9 each.
TOLERANCE = {
    "float64": (1e-12, 1e-12),
    "float32": (STEPS * 2.0**-22, STEPS * 2.0**-22),
    "bfloat16": (STEPS * 2.0**-22, STEPS * 2.0**-8),
}
NUMPY_TYPE = {"float64": np.float64, "float32": np.float32, "bfloat16": ml_dtypes.bfloat16}


def start_and_gradients(shape, dtype):
    """Numbers that the type holds exactly; sizes from 1e-9 to 1e2, some gradients always 0."""
    rng = np.random.default_rng(len(shape))
    scale = 10.0 ** rng.uniform(-9, 2, size=shape)
    gradients = scale * rng.normal(size=(STEPS, *shape))
    if shape:
        gradients[:, 0] = 0
    exact = [rng.normal(size=shape), *gradients]
    exact = [np.asarray(x).astype(NUMPY_TYPE[dtype]).astype(np.float64) for x in exact]
    return exact[0], exact[1:]


def assert_follows(optimizer, formula, arguments, mode="eager", dtype="float64"):
    """Steps the optimizer and the reference side by side; compares all they know, every step."""
    starts, gradients = zip(*(start_and_gradients(s, dtype) for s in SHAPES), strict=True)
    variables = [keras.Variable(w, dtype=dtype) for w in starts]
    optimizer.build(variables)
    step = COMPILE[mode](lambda *grads: optimizer.apply(grads, variables))
    expected = [list(formula(*data, **arguments)) for data in zip(starts, gradients, strict=True)]
    for i in range(STEPS):
        step(*(tf.constant(g[i], dtype=dtype) for g in gradients))
        for variable, path in zip(variables, expected, strict=True):
            for j, slot in enumerate(optimizer.slots(variable)):
                assert_close(slot, [state[j] for _, state in path[: i + 1]], TOLERANCE[dtype][0])
            assert_close(variable, [weights for weights, _ in path[: i + 1]], TOLERANCE[dtype][1])
            assert len(path[i][1]) == len(optimizer.slots(variable))


def assert_close(tensor, history, tolerance):
    """Compares with the last entry of the reference's history."""
    actual = tf.cast(tensor, tf.float64).numpy()
    largest = np.abs(history).max()
    np.testing.assert_allclose(actual, history[-1], rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_rule_follows_its_formula(rule, mode, dtype):
    formula, arguments = LECTURE[rule.__name__]
    arguments = {**arguments, "learning_rate": ETA}
    assert_follows(rule(**arguments), formula, arguments, mode, dtype)


def test_rule_follows_its_formula_with_other_hyperparameters(rule):
    formula, arguments = LECTURE[rule.__name__]
    other = {"momentum": 0.5, "rho": 0.75, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-2}
    arguments = {"learning_rate": ETA} | {k: other[k] for k in arguments if k in other}
    assert_follows(rule(**arguments), formula, arguments)


def test_defaults_are_the_lectures(rule):
    signature = inspect.signature(rule).parameters
    defaults = {k: p.default for k, p in signature.items() if p.default is not p.empty}
    assert defaults == {"name": defaults["name"]} | LECTURE[rule.__name__][1]


def test_the_seven_rules_are_exported():
    assert {rule.__name__ for rule in RULES} == LECTURE.keys()
    others = {"effective_learning_rate", "EffectiveLearningRateMonitor", "mnist"}
    assert set(keras_lecture_opt.__all__) == LECTURE.keys() | others
    assert all(getattr(keras_lecture_opt, rule.__name__) is rule for rule in RULES)


def test_effective_learning_rate_is_the_step_over_the_direction(rule):
    """The direction: g, or the average m (m^ with bias correction) of the gradients."""
    gradients = [np.array([3.0, -0.5, 1e-3]), np.array([-1.0, 2.0, 1e-6])]
    variable = keras.Variable(np.ones(3), dtype="float64")
    optimizer = rule(learning_rate=ETA)
    for t, g in enumerate(gradients, start=1):
        before = variable.numpy()
        optimizer.apply([g], [variable])
        rate = optimizer.effective_learning_rate(
            variable, optimizer.learning_rate, optimizer.iterations
        )
        direction = g
        if "velocity" in rule.slot_names:
            assert rate.numpy() == ETA
            continue
        if "first_moment" in rule.slot_names:
            direction = optimizer.slots(variable)[0].numpy()
        if rule is keras_lecture_opt.Adam:
            direction = direction / (1 - 0.9**t)
        np.testing.assert_allclose(
            rate * direction, before - variable.numpy(), rtol=1e-12, atol=1e-15
        )
