"""The comparison of test_rules can fail: it sees each fault that such rules are known for."""

import keras
import pytest
import tensorflow as tf
import test_compiled
import test_contexts
import test_fit
import test_sparse
from common import LECTURE
from test_rules import ETA, assert_follows

from keras_lecture_opt import AdaGrad, Adam, Momentum, Nesterov, RMSProp, SimplifiedAdam
from keras_lecture_opt._keras_private import UpdateHook

pytestmark = pytest.mark.usefixtures("compiled_updates")


def epsilon_inside_the_root(rule):
    class Faulty(rule):
        def effective_learning_rate(self, variable, learning_rate, t=None):
            squares = self.slots(variable)[-1]
            if rule is Adam:
                squares = squares / (1 - self.beta_2**t)
            return tf.cast(learning_rate, squares.dtype) / tf.sqrt(squares + self.epsilon)

    return Faulty


def t_off_by(shift):
    class Faulty(Adam):
        @property
        def iterations(self):
            return super().iterations + shift

    return Faulty


class EpsilonHat(Adam):
    """Keras's: epsilon beside the uncorrected root."""

    def effective_learning_rate(self, variable, learning_rate, t=None):
        _, v = self.slots(variable)
        return ETA * tf.sqrt(1 - self.beta_2**t) / (tf.sqrt(v) + self.epsilon)


class AccumulatorFromATenth(AdaGrad):
    def build(self, variables):
        super().build(variables)
        for G in self.sum_of_squares:
            G.assign(tf.fill(G.shape, tf.constant(0.1, G.dtype)))


class LateState(AdaGrad):
    """Takes the step first, with the state of the step before."""

    def update_step(self, gradient, variable, learning_rate):
        [G] = self.slots(variable)
        g = tf.cast(gradient, G.dtype)
        self.assign_sub(variable, self.effective_learning_rate(variable, learning_rate) * g)
        self.assign(G, G + tf.square(g))


class SquareOfTheAverage(RMSProp):
    def update_step(self, gradient, variable, learning_rate):
        [G] = self.slots(variable)
        g = tf.cast(gradient, G.dtype)
        self.assign(G, tf.square(self.rho * tf.sqrt(G) + (1 - self.rho) * g))
        self.assign_sub(variable, self.effective_learning_rate(variable, learning_rate) * g)


class VelocityWithoutRate(Momentum):
    """PyTorch's: the rate outside the velocity. Equal weights while the rate is constant."""

    def update_step(self, gradient, variable, learning_rate):
        [v] = self.slots(variable)
        g = tf.cast(gradient, v.dtype)
        self.assign(v, self.momentum * v - g)
        self.assign_add(variable, tf.cast(learning_rate, v.dtype) * v)


FAULTS = {
    "AdaGrad, epsilon inside the root": (epsilon_inside_the_root(AdaGrad), "AdaGrad"),
    "RMSProp, epsilon inside the root": (epsilon_inside_the_root(RMSProp), "RMSProp"),
    "SimplifiedAdam, epsilon inside": (epsilon_inside_the_root(SimplifiedAdam), "SimplifiedAdam"),
    "Adam, epsilon inside the root": (epsilon_inside_the_root(Adam), "Adam"),
    "Adam, epsilon hat": (EpsilonHat, "Adam"),
    "Adam without bias correction": (SimplifiedAdam, "Adam"),
    "Adam, t one too high": (t_off_by(1), "Adam"),
    "Adam, t one too low": (t_off_by(-1), "Adam"),
    "AdaGrad from 0.1": (AccumulatorFromATenth, "AdaGrad"),
    "AdaGrad, late state": (LateState, "AdaGrad"),
    "RMSProp, square of the average": (SquareOfTheAverage, "RMSProp"),
    "Momentum, velocity without rate": (VelocityWithoutRate, "Momentum"),
    "Nesterov without looking ahead": (Momentum, "Nesterov"),
    "Momentum that looks ahead": (Nesterov, "Momentum"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_seen(fault):
    faulty, name = FAULTS[fault]
    formula, arguments = LECTURE[name]
    arguments = {**arguments, "learning_rate": ETA}
    with pytest.raises(AssertionError):
        assert_follows(faulty(**arguments), formula, arguments)


# What surrounds the formula lives in the base: faults there must be seen by the matrix of
# test_contexts and test_fit, for a class that passes for the rule.


class RateOfTheTrace(AdaGrad):
    @AdaGrad.learning_rate.getter
    def learning_rate(self):
        with tf.init_scope():
            return float(self._learning_rate.numpy())


class LastOfTheRepeatedRows(AdaGrad):
    def apply(self, grads, trainable_variables=None):
        def last(g):
            if not isinstance(g, tf.IndexedSlices):
                return g
            rows = tf.expand_dims(g.indices, 1)
            return tf.tensor_scatter_nd_update(tf.zeros(g.dense_shape, g.dtype), rows, g.values)

        super().apply([last(g) for g in grads], trainable_variables)


class NeverCompiled(AdaGrad):
    def update_all(self, *arguments):
        UpdateHook.update_all(self, *arguments)


class ForgetsToClip(AdaGrad):
    def _update_cluster(self, variables, learning_rate, inputs):
        super()._update_cluster(variables, learning_rate, [(g,) for g, *_ in inputs])


class FirstVariableOnly(AdaGrad):
    def _update_compiled(self, variables, gradients, learning_rate):
        super()._update_compiled(variables[:1], gradients[:1], learning_rate)


class NoAverages(AdaGrad):
    def update_averages(self, variables):
        pass


class StateInHalfPrecision(AdaGrad):
    def add_variable(self, shape, initializer="zeros", dtype=None, **kwargs):
        return keras.optimizers.Optimizer.add_variable(self, shape, initializer, dtype, **kwargs)


def own_arguments(name):
    cases = [case for case in test_contexts.SETTINGS if [*case[0]] == name]
    return lambda rule: test_contexts.assert_keras_own_arguments(rule, cases)


def in_fit(name):
    return lambda rule: test_fit.assert_fit_with(name, rule, (rule,))


AROUND = {
    "forgets to clip": (ForgetsToClip, own_arguments(["clipnorm"])),
    "no averages": (NoAverages, own_arguments(["use_ema", "ema_momentum"])),
    "first variable only": (
        FirstVariableOnly,
        in_fit("train_on_batch"),
    ),
    "rate of the trace": (RateOfTheTrace, in_fit("scheduler")),
    "last of the repeated rows": (
        LastOfTheRepeatedRows,
        test_sparse.test_embedding_in_fit_follows_the_formula,
    ),
    "never compiled": (
        NeverCompiled,
        test_compiled.test_the_update_is_one_cluster_unless_told_otherwise,
    ),
    "state in half precision": (
        StateInHalfPrecision,
        test_contexts.test_float16_variables_survive_zero_gradients,
    ),
}


@pytest.mark.parametrize("fault", AROUND)
def test_fault_around_the_formula_is_seen(fault, float64):
    faulty, test = AROUND[fault]
    test(AdaGrad)
    with pytest.raises(AssertionError):
        test(type("AdaGrad", (faulty,), {}))
