"""A subclass has a formula unless it changes the step without stating its factor."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import optimizers
from own_rules import SignDescent

import keras_lecture_opt
from keras_lecture_opt import LectureOptimizer, effective_learning_rate, has_formula
from keras_lecture_opt.landscapes import descend, quadratic

pytestmark = pytest.mark.usefixtures("compiled_updates")

BASES = [
    keras_lecture_opt.SteepestDescent,
    keras_lecture_opt.Adam,
    optimizers.SGD,
    optimizers.Adam,
]


class Halving:
    """A mixin that changes the step of the class after it."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, 0.5 * learning_rate)


def halve(base):
    class Halved(base):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, 0.5 * learning_rate)

    return Halved


def one_step(optimizer):
    """Return the variable, the gradient and the step."""
    variable, gradient = keras.Variable([1.0, 1.0]), np.array([0.5, -4.0], "float32")
    optimizer.apply([gradient], [variable])
    return variable, gradient, variable.numpy() - 1


def assert_rate_is_the_steps(optimizer):
    variable, gradient, step = one_step(optimizer)
    assert has_formula(optimizer)
    rate = effective_learning_rate(optimizer, variable)
    np.testing.assert_allclose(rate, -step / gradient, rtol=1e-5)


def assert_has_none(optimizer):
    assert not has_formula(optimizer)
    variable, _, _ = one_step(optimizer)
    with pytest.raises(TypeError, match=f"rate of {type(optimizer).__name__} is not known"):
        effective_learning_rate(optimizer, variable)


@pytest.mark.parametrize("base", BASES, ids=lambda base: f"{base.__module__}.{base.__name__}")
def test_class_that_changes_the_step_has_no_formula(base):
    assert_has_none(halve(base)())
    assert_has_none(type("Mixed", (Halving, base), {})())
    assert_has_none(type("Below", (halve(base),), {})())  # nor has what inherits from it
    wrapped = optimizers.LossScaleOptimizer(halve(base)())
    assert not has_formula(wrapped)
    assert descend(quadratic, halve(base)(), steps=1).rates is None


def test_every_rule_that_changes_its_step_has_no_formula(rule):
    assert_has_none(halve(rule)())


@pytest.mark.parametrize("base", BASES[::2], ids=["ours", "Keras's"])
def test_class_that_leaves_the_step_alone_keeps_the_formula(base):
    assert_rate_is_the_steps(type("Renamed", (base,), {})(0.25))


def test_class_of_ours_that_states_its_own():
    class Stated(keras_lecture_opt.SteepestDescent):
        def update_step(self, gradient, variable, learning_rate):
            factor = self.effective_learning_rate(variable, learning_rate)
            self.assign_sub(variable, factor * gradient)

        def effective_learning_rate(self, variable, learning_rate, t=None):
            return 0.5 * super().effective_learning_rate(variable, learning_rate, t)

    assert_rate_is_the_steps(Stated(0.25))
    assert_rate_is_the_steps(type("Renamed", (Stated,), {})(0.25))
    assert_has_none(halve(Stated)(0.25))  # its factor is that of the class above


def test_formula_that_the_update_uses_may_be_changed_alone():
    class InsideTheRoot(keras_lecture_opt.AdaGrad):
        def effective_learning_rate(self, variable, learning_rate, t=None):
            [G] = self.slots(variable)
            return learning_rate / tf.sqrt(G + self.epsilon)

    assert_rate_is_the_steps(InsideTheRoot(0.25))


@pytest.mark.parametrize("base", BASES[::2], ids=["ours", "Keras's"])
def test_registered_class(base):
    registered = halve(base)
    assert not has_formula(registered())

    @effective_learning_rate.register(registered)
    def _(optimizer, variable, learning_rate, t):
        return 0.5 * learning_rate

    assert_rate_is_the_steps(registered(0.25))
    assert_rate_is_the_steps(type("Renamed", (registered,), {})(0.25))
    assert_has_none(halve(registered)())


class Harmonic(optimizers.SGD):
    def update_step(self, gradient, variable, learning_rate):
        t = tf.cast(self.iterations + 1, "float32")
        super().update_step(gradient, variable, learning_rate / t)


def test_message_says_how_to_register_and_t_counts_the_steps():
    optimizer = Harmonic(0.25)
    variable, gradient, _ = one_step(optimizer)
    message = r"of Harmonic is not known.*\n.*register\(Harmonic\)"
    with pytest.raises(TypeError, match=message):
        effective_learning_rate(optimizer, variable)

    @effective_learning_rate.register(Harmonic)
    def _(optimizer, variable, learning_rate, t):
        return learning_rate / t

    for _ in range(3):
        before = variable.numpy()
        optimizer.apply([gradient], [variable])
        rate = effective_learning_rate(optimizer, variable)
        np.testing.assert_allclose(rate, (before - variable.numpy()) / gradient, rtol=1e-5)


class Silent(LectureOptimizer):
    """A rule of a user that states no factor."""

    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, learning_rate * gradient)


def test_rule_of_a_user():
    optimizer = SignDescent(0.25)
    assert has_formula(optimizer)
    variable, _, _ = one_step(optimizer)
    np.testing.assert_array_equal(effective_learning_rate(optimizer, variable), [0.25, 0.25])
    assert_has_none(Silent(0.25, "silent"))
