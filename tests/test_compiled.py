"""Which updates XLA compiles, and that the others run all the same; in float64 against NumPy."""

import contextlib
import functools
import math
import platform

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import RULES, keras_compiles
from linear import (
    ETA,
    START,
    SideBySide,
    assert_follows,
    assert_trained,
    expected,
    fit,
    gradients_at,
    linear_model,
    mirrored,
    train_together,
)
from test_contexts import applying, by_norm, loop_over

from keras_lecture_opt.landscapes import descend, quadratic
from keras_lecture_opt.rules import _compiled

pytestmark = [pytest.mark.usefixtures("float64", "compiled_updates"), pytest.mark.alike]


def graph_of(step):
    return step.get_concrete_function(*map(tf.constant, START)).graph


def clusters(graph):
    """The functions in a graph that XLA must compile."""
    library = graph.as_graph_def().library.function
    return [f for f in library if f.attr["_XlaMustCompile"].b]


def clusters_of(optimizer):
    variables = [keras.Variable(w) for w in START]
    return len(clusters(graph_of(applying(optimizer, variables))))


def test_the_update_is_one_cluster_unless_told_otherwise(rule):
    assert clusters_of(rule()) == 1
    assert clusters_of(rule(clipnorm=0.5)) == 1
    assert clusters_of(rule(use_ema=True)) == 2  # one for the averages
    assert clusters_of(rule(jit_compile=False, use_ema=True)) == 0


def test_small_networks_are_not_compiled_on_a_cpu(rule, monkeypatch):
    """A cluster would cost more than it gains. All that is clipped is clipped once."""
    few = sum(w.size for w in START) + 1
    for fewest, count in ((few - 1, 1), (few, 0)):
        monkeypatch.setattr(_compiled, "FEWEST_ON_CPU", fewest)
        assert clusters_of(rule(clipnorm=0.5)) == count
    optimizer = rule(ETA, clipnorm=0.5)
    [variables] = train_together([optimizer])
    assert_follows(optimizer, variables, *expected(rule, clip=by_norm(0.5)))
    monkeypatch.setattr(_compiled.tf.config, "list_logical_devices", lambda kind: [kind])
    assert clusters_of(rule()) == 1  # on a GPU


def test_many_variables_are_several_clusters(rule, monkeypatch):
    monkeypatch.setattr(_compiled, "VARIABLES_PER_CLUSTER", 1)
    assert clusters_of(rule(clipnorm=0.5)) == 2
    optimizer = rule(ETA, clipnorm=0.5)
    [variables] = train_together([optimizer])
    assert_follows(optimizer, variables, *expected(rule, clip=by_norm(0.5)))


@pytest.mark.parametrize(
    ("weights", "count"),
    [
        ([99], 1),
        ([500], 1),
        ([150, 40], 1),
        ([150, 50], 2),
        ([100, 1, 90, 2, 80, 3, 70], 3),
        ([1] * 50, 1),
    ],
)
def test_large_variables_are_spread_over_clusters_in_their_order(weights, count, monkeypatch):
    order = []

    class Recording(RULES[0]):
        def update_step(self, gradient, variable, learning_rate):
            order.append(math.prod(variable.shape))
            super().update_step(gradient, variable, learning_rate)

    monkeypatch.setattr(_compiled, "WEIGHTS_PER_CLUSTER", 100)
    with tf.device("CPU:0"):
        variables = [keras.Variable(np.ones(n)) for n in weights]
        gradients = [tf.ones(v.shape, v.dtype) for v in variables]
        graph = applying(Recording(), variables).get_concrete_function(*gradients).graph
    assert (len(clusters(graph)), order) == (count, weights)


def test_variables_of_one_shape_share_a_cluster(monkeypatch):
    """XLA then compiles them once; the gradients stay with their variables."""
    monkeypatch.setattr(_compiled, "VARIABLES_PER_CLUSTER", 2)
    starts = [np.full(shape, 8.0) for shape in [(3,), (2, 2), (3,), (2, 2), (4,)]]
    gradients = [tf.fill(w.shape, tf.constant(2.0**i, w.dtype)) for i, w in enumerate(starts)]
    variables = [keras.Variable(w) for w in starts]
    step = applying(RULES[0](1.0), variables)
    graph = step.get_concrete_function(*gradients).graph
    shapes = [
        {str(a.attr["_output_shapes"].list.shape) for a in f.arg_attr.values()} - {"[]"}
        for f in clusters(graph)
    ]
    assert [len(found) for found in shapes] == [1, 1, 1]  # the last one is not full
    step(*gradients)
    for i, variable in enumerate(variables):
        np.testing.assert_array_equal(variable, starts[i] - 2.0**i)


def test_subclass_that_xla_cannot_compile_runs_without(rule):
    class Printing(rule):
        def update_step(self, gradient, variable, learning_rate):
            tf.print(tf.norm(gradient), output_stream="file:///dev/null")
            super().update_step(gradient, variable, learning_rate)

    with pytest.warns(UserWarning, match="XLA cannot compile this update.*`jit_compile=False`"):
        model = fit(linear_model(Printing(ETA)))
    assert_trained(model, rule)
    assert_trained(fit(linear_model(Printing(ETA, jit_compile=False))), rule)


def test_subclass_that_xla_can_compile_is_compiled(rule):
    class Own(rule):
        pass

    assert clusters_of(Own()) == 1


def test_subclass_with_operations_of_its_own_is_compiled(rule):
    """XLA is asked, also while TensorFlow traces the step that creates the variables."""

    class Squashing(rule):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(tf.atan(gradient), variable, learning_rate)

    optimizer, variables = Squashing(ETA), [keras.Variable(w) for w in START]
    step = applying(optimizer, variables)
    gradients = gradients_at(START, 0)
    loop_over(lambda: step(*map(tf.constant, gradients)), 3)
    assert len(clusters(graph_of(step))) == 1
    squashed = [np.arctan(g) for g in gradients]
    assert_follows(optimizer, variables, *expected(rule, 3, gradients=lambda w, i: squashed))


def test_operation_inside_another_function_that_xla_cannot_compile(rule):
    class Nested(rule):
        def update_step(self, gradient, variable, learning_rate):
            @tf.function
            def printed(g):
                tf.print(tf.norm(g), output_stream="file:///dev/null")
                return g + 0

            super().update_step(printed(gradient), variable, learning_rate)

    optimizer = Nested(ETA)
    with pytest.warns(UserWarning, match="XLA cannot compile this update"):
        [variables] = train_together([optimizer], steps=2)
    assert_follows(optimizer, variables, *expected(rule, 2))


def test_random_numbers_follow_the_seed():
    class Noisy(RULES[0]):
        def update_step(self, gradient, variable, learning_rate):
            noise = tf.random.normal(gradient.shape, dtype=gradient.dtype)
            super().update_step(gradient + noise, variable, learning_rate)

    found = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        refused = pytest.warns(UserWarning, match="would ignore the seed of RandomStandardNormal")
        with refused if jit_compile else contextlib.nullcontext():
            [(W, _)] = train_together([Noisy(ETA, jit_compile=jit_compile)], steps=2)
        found.append(W.numpy())
    np.testing.assert_array_equal(*found)


def test_rule_that_writes_no_variable():
    class Still(RULES[0]):
        def update_step(self, gradient, variable, learning_rate):
            pass

    [(W, _)] = train_together([Still(ETA)], steps=1)
    np.testing.assert_array_equal(W, START[0])


@pytest.fixture(params=["numerics", "dump"])
def callbacks_on_operations(request, tmp_path):
    """TensorFlow's debugging puts operations into every graph that XLA cannot compile."""
    if request.param == "numerics":
        tf.debugging.enable_check_numerics()
        yield
        tf.debugging.disable_check_numerics()
    else:
        tf.debugging.experimental.enable_dump_debug_info(str(tmp_path))
        yield
        tf.debugging.experimental.disable_dump_debug_info()


def test_under_tensorflows_debugging(callbacks_on_operations, rule):
    optimizer = rule(ETA)
    with pytest.warns(UserWarning, match="XLA cannot compile this update"):
        [variables] = train_together([optimizer], steps=3)
    assert_follows(optimizer, variables, *expected(rule, 3))


def test_descent_under_tensorflows_debugging(callbacks_on_operations):
    path = descend(quadratic, RULES[0](2.0**-8), steps=1).path  # runs without XLA anyway
    np.testing.assert_array_equal(path[1], [-1 + 2 / 256, -1 + 50 / 256])


def test_on_a_macs_gpu_nothing_is_compiled(rule, monkeypatch):
    """As Keras itself decides there."""
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert clusters_of(rule()) == 1
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert clusters_of(rule(clipnorm=0.5, use_ema=True)) == 0


def replicated_step(rule):
    """A step on two replicas, each of which gives half of the gradient; Keras sums them."""
    strategy, gradients = mirrored(), gradients_at(START, 0)
    with strategy.scope():
        variables, optimizer = [keras.Variable(w) for w in START], rule(ETA)
        optimizer.build(variables)

    @tf.function
    def step():
        strategy.run(lambda: optimizer.apply([tf.constant(g / 2) for g in gradients], variables))

    def copies():
        of_variables = (strategy.experimental_local_results(v.value) for v in variables)
        return [[copy.numpy() for copy in copies] for copies in of_variables]

    return step, copies


def assert_replicas_follow(copies, rule, steps):
    weights, _ = expected(rule, steps, gradients=lambda w, i: gradients_at(START, 0))
    for of_variable, w in zip(copies(), weights, strict=True):
        assert len(of_variable) == 2
        for copy in of_variable:
            np.testing.assert_allclose(copy, w, rtol=0, atol=1e-12)


def test_one_cluster_for_each_replica(rule):
    step, copies = replicated_step(rule)
    loop_over(step, 3)
    assert len(clusters(step.get_concrete_function().graph)) == 2
    assert_replicas_follow(copies, rule, 3)


def test_rule_that_xla_cannot_compile_on_replicas(rule):
    class Printing(rule):
        def update_step(self, gradient, variable, learning_rate):
            tf.print(tf.norm(gradient), output_stream="file:///dev/null")
            super().update_step(gradient, variable, learning_rate)

    step, copies = replicated_step(Printing)
    with pytest.warns(UserWarning, match="XLA cannot compile this update"):
        step()
    assert_replicas_follow(copies, rule, 1)


def test_variables_on_two_devices(rule):
    variables = []
    for w, device in zip(START, ("CPU:0", "CPU:1"), strict=True):
        with tf.device(device):
            variables.append(keras.Variable(w))
    optimizer = rule(ETA)
    step = applying(optimizer, variables)
    gradients = gradients_at(START, 0)
    for _ in range(3):
        step(*map(tf.constant, gradients))
    assert_follows(optimizer, variables, *expected(rule, 3, gradients=lambda w, i: gradients))


def test_variables_on_the_second_device(rule):
    with tf.device("CPU:1"):
        variables = [keras.Variable(w) for w in START]
        optimizer = rule(ETA)
        optimizer.build(variables)
    step = applying(optimizer, variables)
    gradients = gradients_at(START, 0)
    for _ in range(3):
        step(*map(tf.constant, gradients))
    assert_follows(optimizer, variables, *expected(rule, 3, gradients=lambda w, i: gradients))


def test_no_retrace(rule, monkeypatch):
    traced, update_step = [], rule.update_step

    def counting(self, gradient, variable, learning_rate):
        traced.append(1)
        update_step(self, gradient, variable, learning_rate)

    monkeypatch.setattr(rule, "update_step", counting)
    model = fit(linear_model(rule(ETA)), epochs=1)
    first = len(traced)
    assert first > 0
    fit(model, epochs=1)
    fit(model, epochs=1)
    assert len(traced) == first
    assert_trained(model, rule)


def test_in_forward_mode(rule):
    variable = keras.Variable(START[0])
    optimizer = rule(ETA)
    g = gradients_at(START, 0)[0]

    @tf.function
    def step():
        with tf.autodiff.ForwardAccumulator(variable.value, tf.ones_like(variable)):
            optimizer.apply([tf.constant(g)], [variable])

    step()
    assert_follows(optimizer, [variable], *expected(rule, 1, START[:1], lambda w, i: [g]))


@functools.cache
def trained_with_xla(rules):
    models = [linear_model(rule(ETA)) for rule in rules]
    with keras_compiles():
        together = SideBySide(models, jit_compile=True)
        assert together.jit_compile
        fit(together)
    return dict(zip(rules, models, strict=True))


def test_fit_with_jit_compile(rule, rules):
    assert_trained(trained_with_xla(rules)[rule], rule)
