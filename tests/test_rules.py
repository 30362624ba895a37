"""Every rule against its formula: weights and state, after every step, in every mode and type."""

import functools
import inspect
import itertools

import keras
import ml_dtypes
import numpy as np
import pytest
import reference
import tensorflow as tf
from common import COMPILE, LECTURE, RULES

import keras_lecture_opt

pytestmark = pytest.mark.usefixtures("compiled_updates")

SHAPES = [(), (3,), (4, 3), (2, 3, 1, 2)]
STEPS = 60
ETA = 2.0**-6  # a power of two: exact in the float32 variable in which Keras keeps the rate

# Largest error of (state, weights), each against the largest magnitude that its array had.
# float64: the goal. float32: STEPS roundings, of 2^-24 each, of some terms. bfloat16: the state is
# kept in float32, and each step rounds the weights and what is added to them, to 2^-9 each.
TOLERANCE = {
    "float64": (1e-12, 1e-12),
    "float32": (STEPS * 2.0**-22, STEPS * 2.0**-22),
    "bfloat16": (STEPS * 2.0**-22, STEPS * 2.0**-8),
}
NUMPY_TYPE = {"float64": np.float64, "float32": np.float32, "bfloat16": ml_dtypes.bfloat16}


@functools.cache
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
    """Step the optimizer and the reference side by side; compare everything, every step."""
    starts, gradients = zip(*(start_and_gradients(s, dtype) for s in SHAPES), strict=True)
    variables = [keras.Variable(w, dtype=dtype) for w in starts]
    optimizer.build(variables)
    followed = [(v, *optimizer.slots(v)) for v in variables]

    @COMPILE[mode]
    def step(*grads):
        optimizer.apply(grads, variables)
        return [[tf.convert_to_tensor(x) for x in arrays] for arrays in followed]

    paths = [formula(w, g, **arguments) for w, g in zip(starts, gradients, strict=True)]
    largest = np.zeros([len(paths), len(followed[0])])
    for i in range(STEPS):
        after = step(*(tf.constant(g[i], dtype=dtype) for g in gradients))
        for k, (shape, arrays, path) in enumerate(zip(SHAPES, after, paths, strict=True)):
            w, state = next(path)
            for j, (x, true) in enumerate(zip(arrays, (w, *state), strict=True)):
                largest[k, j] = max(largest[k, j], np.abs(true).max())
                error = np.abs(x.numpy().astype("float64") - true)
                limit = TOLERANCE[dtype][0 if j else 1] * largest[k, j]
                what = "state" if j else "weights"
                assert np.all(error <= limit), f"shape {shape}, step {i}, {what}"


# A graph has each type; the others have the same operations.
OFTEN = {*(("graph", dtype) for dtype in TOLERANCE), ("eager", "float64"), ("xla", "float64")}


@pytest.mark.parametrize(
    ("how", "dtype"),
    [
        pytest.param(*pair, marks=() if pair in OFTEN else pytest.mark.full)
        for pair in itertools.product(COMPILE, TOLERANCE)
    ],
)
def test_rule_follows_its_formula(rule, how, dtype):
    formula, arguments = LECTURE[rule.__name__]
    arguments = {**arguments, "learning_rate": ETA}
    assert_follows(rule(**arguments), formula, arguments, how, dtype)


def test_rule_follows_its_formula_with_other_hyperparameters(rule):
    formula, arguments = LECTURE[rule.__name__]
    other = {"momentum": 0.5, "rho": 0.75, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-2}
    arguments = {"learning_rate": ETA} | {k: other[k] for k in arguments if k in other}
    assert_follows(rule(**arguments), formula, arguments)


def test_defaults_are_the_lectures(rule):
    signature = inspect.signature(rule).parameters
    defaults = {k: p.default for k, p in signature.items() if p.default is not p.empty}
    assert defaults == {"name": defaults["name"]} | LECTURE[rule.__name__][1]


def test_the_rules_are_the_lectures():
    """A rule without a reference, or a reference without a rule, fails here."""
    assert [rule.__name__ for rule in RULES] == list(reference.RULES)
    others = {"LectureOptimizer", "EffectiveLearningRateMonitor", "mnist", "several_machines"}
    others |= {"check", "effective_learning_rate", "find_learning_rate", "finder", "has_formula"}
    assert set(keras_lecture_opt.__all__) == reference.RULES.keys() | others
    assert all(getattr(keras_lecture_opt, rule.__name__) is rule for rule in RULES)


def test_effective_learning_rate_is_the_formulas_factor(rule):
    known = reference.RULES[rule.__name__]
    arguments = {**known.arguments, "learning_rate": ETA}
    gradients = [np.array([3.0, -0.5, 1e-3]), np.array([-1.0, 2.0, 1e-6])]
    variable, optimizer = keras.Variable(np.ones(3), dtype="float64"), rule(**arguments)
    path = known.formula(np.ones(3), gradients, **arguments)
    for t, (g, (_, state)) in enumerate(zip(gradients, path, strict=True), start=1):
        optimizer.apply([g], [variable])
        rate = optimizer.effective_learning_rate(
            variable, optimizer.learning_rate, optimizer.iterations
        )
        expected = np.broadcast_to(known.rate(state, t, **arguments), rate.shape)
        np.testing.assert_allclose(rate, expected, rtol=1e-12)
