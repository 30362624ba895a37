"""Every rule outside `fit`, and with all of Keras's arguments, against the NumPy reference."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from common import COMPILE, LECTURE
from linear import (
    EMA,
    ETA,
    START,
    Halving,
    assert_follows,
    by_python,
    expected,
    gradients_at,
    halved,
    train_together,
)

from keras_lecture_opt import SteepestDescent

pytestmark = [pytest.mark.usefixtures("float64", "compiled_updates"), pytest.mark.alike]


# Custom loops: name -> what applies the gradients of the constants below, three times.
def loop_over(apply, times):
    for _ in range(times):
        apply()


LOOPS = {
    "eager": lambda apply: loop_over(apply, 3),
    "graph": lambda apply: loop_over(tf.function(apply, autograph=False), 3),
    "Python loop in a graph": lambda apply: tf.function(lambda: loop_over(apply, 3))(),
    "graph loop": lambda apply: in_graph_loop(apply),
    "XLA around": lambda apply: loop_over(tf.function(apply, jit_compile=True), 3),
    "graph loop, XLA around": lambda apply: in_graph_loop(apply, jit_compile=True),
    "inside a tape": lambda apply: loop_over(tf.function(lambda: under_tape(apply)), 3),
}


def in_graph_loop(apply, **arguments):
    @tf.function(**arguments)
    def loop():
        for _ in tf.range(3):
            apply()

    loop()


def under_tape(apply):
    with tf.GradientTape():
        apply()


@pytest.mark.parametrize("loop", LOOPS)
def test_custom_loop(rule, loop):
    """With variables given and built by the first step, and left out."""
    gradients = gradients_at(START, 0)
    given, left_out = ([keras.Variable(w) for w in START] for _ in range(2))
    optimizers = {rule(learning_rate=ETA): [given], rule(learning_rate=ETA): []}
    first, second = optimizers
    second.build(left_out)
    if "XLA around" in loop:  # where TensorFlow cannot create variables
        first.build(given)

    def apply():
        for optimizer, variables in optimizers.items():
            optimizer.apply([tf.constant(g) for g in gradients], *variables)

    LOOPS[loop](apply)
    true = expected(rule, 3, gradients=lambda w, i: gradients)
    assert_follows(first, given, *true)
    assert_follows(second, left_out, *true)


def applying(optimizer, variables, **arguments):
    """A step in a graph that takes the gradients."""
    return tf.function(lambda *g: optimizer.apply(g, variables), **arguments)


def by_norm(limit):
    return lambda gs: [g * min(1, limit / np.linalg.norm(g)) for g in gs]


def by_global_norm(limit):
    def clip(gs):
        norm = np.sqrt(sum((g**2).sum() for g in gs))
        return [g * min(1, limit / norm) for g in gs]

    return clip


def by_value(limit):
    return lambda gs: [np.clip(g, -limit, limit) for g in gs]


# Keras's arguments -> the reference's. Limits that cut most, but not all, of the gradients.
ACCUMULATION = {"gradient_accumulation_steps": 2}
SETTINGS = [
    ({"clipnorm": 0.5}, {"clip": by_norm(0.5)}),
    ({"clipvalue": 0.25}, {"clip": by_value(0.25)}),
    ({"global_clipnorm": 0.5}, {"clip": by_global_norm(0.5)}),
    ({"weight_decay": 0.125}, {"weight_decay": (0.125, 0.125)}),
    ({"use_ema": True, "ema_momentum": 0.75}, {"ema_momentum": 0.75}),
    ({"use_ema": True, **EMA}, EMA),
    ({"loss_scale_factor": 8.0}, {}),
    (ACCUMULATION, ACCUMULATION),
    ({**ACCUMULATION, "clipnorm": 0.5}, {**ACCUMULATION, "clip": by_norm(0.5)}),
    ({**ACCUMULATION, "weight_decay": 0.125}, {**ACCUMULATION, "weight_decay": (0.125, 0.125)}),
    ({**ACCUMULATION, "use_ema": True, **EMA}, {**ACCUMULATION, **EMA}),
]


def test_keras_own_arguments(rule):
    assert_keras_own_arguments(rule, SETTINGS)


def assert_keras_own_arguments(rule, settings):
    optimizers = [rule(ETA, **given) for given, _ in settings]
    trained = train_together(optimizers)
    for optimizer, variables, (_, around) in zip(optimizers, trained, settings, strict=True):
        assert_follows(optimizer, variables, *expected(rule, **around))


def test_excluded_from_weight_decay(rule):
    optimizer = rule(ETA, weight_decay=0.125)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    [variables] = train_together([optimizer])
    assert_follows(optimizer, variables, *expected(rule, weight_decay=(0.125, 0)))


def looked_up(epoch):
    with tf.init_scope():
        keys = tf.range(10, dtype="int64")
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, keys), 0)
    looked_up.tables.append(table)
    return tf.cast(table.lookup(epoch), "float64")


looked_up.tables = []  # a table lives as long as its Python object


def printed(epoch):
    tf.print("epoch", epoch, output_stream="file:///dev/null")
    return tf.cast(epoch, "float64")


RATES = {
    "schedule": lambda: Halving(lambda epoch: tf.cast(epoch, "float64")),
    "py_function": lambda: Halving(by_python),
    "print": lambda: Halving(printed),
    "lookup table": lambda: Halving(looked_up),
    "Keras's schedule": lambda: keras.optimizers.schedules.ExponentialDecay(
        ETA, 4, 0.5, staircase=True
    ),
}


def test_schedules(rule):
    optimizers = {name: rule(make()) for name, make in RATES.items()}
    trained = train_together(list(optimizers.values()))
    true = expected(rule, rate_at=halved)
    for (name, optimizer), variables in zip(optimizers.items(), trained, strict=True):
        tolerance = 1e-7 if name == "Keras's schedule" else 1e-12  # Keras's computes in float32
        assert_follows(optimizer, variables, *true, tolerance)


def test_no_gradient_for_an_unused_variable(rule, mode):
    used, unused = keras.Variable(START[0]), keras.Variable(START[1])
    optimizer = rule(ETA)
    optimizer.build([used, unused])
    g = gradients_at(START, 0)[0]
    step = COMPILE[mode](lambda: optimizer.apply([tf.constant(g), None], [used, unused]))
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        loop_over(step, 3)
    weights, states = expected(rule, 3, [START[0]], lambda w, i: [g])
    assert_follows(optimizer, [used], weights, states)
    np.testing.assert_array_equal(unused.numpy(), START[1])


def test_other_variables_are_refused(rule):
    optimizer, known, other = rule(), keras.Variable([1.0]), keras.Variable([1.0])
    optimizer.build([known])
    # In a graph Keras 3.12 fails to print the variable while it says so.
    refusal = pytest.raises((ValueError, NotImplementedError), match="Unknown variable")
    for step in (lambda g: optimizer.apply([g], [other]), applying(optimizer, [other])):
        with refusal:
            step(tf.constant([1.0], "float64"))
    np.testing.assert_array_equal(other.numpy(), [1.0])


def test_loss_scale_optimizer_skips_an_overflow(rule, mode):
    inner = rule(ETA)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0)
    variables = [keras.Variable(w) for w in START]
    optimizer.build(variables)
    step = COMPILE[mode](lambda *g: optimizer.apply(list(g), variables))
    gradients = gradients_at(START, 0)
    for scale in (8.0, np.inf, 4.0, 4.0):  # an overflow halves the scale
        step(*(tf.constant(g * scale) for g in gradients))
    assert_follows(inner, variables, *expected(rule, 3, gradients=lambda w, i: gradients))
    assert int(optimizer.iterations) == 3
    assert float(optimizer.dynamic_scale) == 4.0


def test_float16_variables_survive_zero_gradients(rule):
    """float16 holds neither an epsilon of 1e-8 nor the square of 1e-5."""
    variable = keras.Variable(np.ones(3), dtype="float16")
    optimizer = rule(2.0**-6)
    gradients = [np.array([0, 1e-5, 2.0]).astype("float16")] * 5
    step = tf.function(lambda g: optimizer.apply([g], [variable]))
    for g in gradients:
        step(tf.constant(g))
    formula, arguments = LECTURE[rule.__name__]
    weights, states = reference.training(
        formula,
        {**arguments, "learning_rate": 2.0**-6},
        [np.ones(3)],
        lambda w, i: [gradients[i].astype("float64")],
        5,
    )
    np.testing.assert_allclose(variable.numpy(), weights[0], rtol=0, atol=5 * 2.0**-10)
    for slot, s in zip(optimizer.slots(variable), states[0], strict=True):
        assert slot.dtype == tf.float32
        np.testing.assert_allclose(slot, s, rtol=1e-5)


NON_FINITE = np.array([np.nan, np.inf, -np.inf, 1.0, -3.0, 0.0])
CLIPPED = {  # arguments of the optimizer -> what they make of that gradient
    (): NON_FINITE,
    (("clipvalue", 0.5),): np.clip(NON_FINITE, -0.5, 0.5),
    (("clipnorm", 0.5),): np.full(6, np.nan),
}


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's Inf / Inf
def test_nan_and_inf_pass_through(rule, mode):
    optimizers = [rule(ETA, **dict(settings)) for settings in CLIPPED]
    variables = [keras.Variable(np.ones(6)) for _ in optimizers]
    for optimizer, variable in zip(optimizers, variables, strict=True):
        optimizer.build([variable])

    @COMPILE[mode]
    def step():
        for optimizer, variable in zip(optimizers, variables, strict=True):
            optimizer.apply([tf.constant(NON_FINITE)], [variable])

    loop_over(step, 2)
    formula, arguments = LECTURE[rule.__name__]
    for clipped, optimizer, variable in zip(CLIPPED.values(), optimizers, variables, strict=True):
        path = formula(np.ones(6), [clipped] * 2, **{**arguments, "learning_rate": ETA})
        *_, (w, state) = path
        np.testing.assert_allclose(variable.numpy(), w, rtol=1e-12)
        for slot, s in zip(optimizer.slots(variable), state, strict=True):
            np.testing.assert_allclose(slot, s, rtol=1e-12)


def test_an_optimizer_inside_another_keeps_its_rate(rule):
    class Outer(rule):
        def build(self, variables):
            if not self.built:
                super().build(variables)
                self.inner = rule(ETA)
                self.inner.build(variables)
                self.count = self.add_variable(shape=(), name="count")

        def update_step(self, gradient, variable, learning_rate):
            self.inner.update_step(gradient, variable, self.inner.learning_rate)
            self.assign_add(self.count, 1)

    variable = keras.Variable(START[0])
    optimizer = Outer(learning_rate=1.0)
    g = gradients_at(START, 0)[0]
    applying(optimizer, [variable])(tf.constant(g))
    assert float(optimizer.count) == 1
    assert_follows(optimizer.inner, [variable], *expected(rule, 1, START[:1], lambda w, i: [g]))


def test_apply_of_a_class_beside_the_rule_is_called():
    called = []

    class Told(keras.optimizers.Optimizer):
        def apply(self, grads, trainable_variables=None):
            called.append(grads)
            super().apply(grads, trainable_variables)

    class Both(SteepestDescent, Told):
        pass

    Both(0.5).apply([[2.0]], [keras.Variable([1.0])])
    assert called == [[[2.0]]]
