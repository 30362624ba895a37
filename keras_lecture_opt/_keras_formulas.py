"""The formulas of Keras's own optimizers: each the factor in that optimizer's `update_step`."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf
from keras import optimizers

from keras_lecture_opt._keras_private import state_of
from keras_lecture_opt.rules import compute_dtype


@dataclass(frozen=True)
class Formula:
    """What is known of an optimizer class.

    `factor` takes optimizer, variable, learning rate and t, the number of the latest step from 1;
    the last two are in the variable's compute dtype.
    """

    factor: Callable
    evidence: str | None = None  # the state that shows which weights have received a gradient
    decay: str | None = None  # the hyperparameter by which that state forgets, if it does
    # Takes optimizer and variable; returns a clause on why this one has no factor, or None.
    exception: Callable = lambda optimizer, variable: None
    elementwise: bool = False  # whether each weight's factor depends on its state alone: no norms


FORMULAS: dict[type, Formula] = {}


def formula(cls, elementwise=True, **facts):
    """Enter the decorated factor for a class."""

    def enter(factor):
        FORMULAS[cls] = Formula(factor, elementwise=elementwise, **facts)
        return factor

    return enter


def slot(optimizer, name, variable):
    """The optimizer's state in the precision in which we compute."""
    return tf.cast(state_of(optimizer, name, variable), compute_dtype(variable))


def power(beta, t):
    """beta^t as Keras computes it: from a beta of float32, even for float64 weights."""
    return keras.ops.power(keras.ops.cast(beta, t.dtype.name), t)


@formula(optimizers.SGD, evidence="momentums", decay="momentum")
@formula(optimizers.Lion, evidence="momentums", decay="beta_2")
def same_for_all_weights(optimizer, variable, learning_rate, t):
    return learning_rate


@formula(optimizers.Adagrad, evidence="accumulators")
def adagrad(optimizer, variable, learning_rate, t):
    return learning_rate / tf.sqrt(slot(optimizer, "accumulators", variable) + optimizer.epsilon)


@formula(optimizers.RMSprop, evidence="velocities", decay="rho")
def rmsprop(optimizer, variable, learning_rate, t):
    variance = slot(optimizer, "velocities", variable)
    if optimizer.centered:
        variance -= tf.square(slot(optimizer, "average_gradients", variable))
    return learning_rate / tf.sqrt(variance + optimizer.epsilon)


@formula(optimizers.Adadelta, evidence="accumulated_grads", decay="rho")
def adadelta(optimizer, variable, learning_rate, t):
    steps = slot(optimizer, "accumulated_delta_vars", variable)
    gradients = slot(optimizer, "accumulated_grads", variable)
    rms_ratio = tf.sqrt(steps + optimizer.epsilon) / tf.sqrt(gradients + optimizer.epsilon)
    return learning_rate * rms_ratio


@formula(optimizers.Adam, evidence="velocities", decay="beta_2")
def adam(optimizer, variable, learning_rate, t):
    v = slot(optimizer, "velocity_hats" if optimizer.amsgrad else "velocities", variable)
    eta = learning_rate * tf.sqrt(1 - power(optimizer.beta_2, t))
    return eta / (tf.sqrt(v) + optimizer.epsilon)


@formula(optimizers.Nadam, evidence="velocities", decay="beta_2")
def nadam(optimizer, variable, learning_rate, t):
    v_hat = slot(optimizer, "velocities", variable) / (1 - power(optimizer.beta_2, t))
    return learning_rate / (tf.sqrt(v_hat) + optimizer.epsilon)


@formula(optimizers.Adamax, evidence="u", decay="beta_2")
def adamax(optimizer, variable, learning_rate, t):
    return learning_rate / (slot(optimizer, "u", variable) + optimizer.epsilon)


@formula(optimizers.Lamb, evidence="velocities", decay="beta_2", elementwise=False)
def lamb(optimizer, variable, learning_rate, t):
    m_hat = slot(optimizer, "momentums", variable) / (1 - power(optimizer.beta_1, t))
    v_hat = slot(optimizer, "velocities", variable) / (1 - power(optimizer.beta_2, t))
    factor = 1 / (tf.sqrt(v_hat) + optimizer.epsilon)
    w_norm = tf.norm(tf.cast(variable, v_hat.dtype))
    trust = w_norm / tf.norm(factor * m_hat)
    usable = tf.math.is_finite(trust) & (trust > 0)  # Keras takes 1 where a norm is 0
    return learning_rate * factor * tf.where(usable, trust, 1)


def l1_regularization(optimizer, variable):
    if strength := optimizer.l1_regularization_strength:
        return (
            f"with l1_regularization_strength {strength} the step of {optimizer.name} is not a "
            "multiple of the gradient"
        )


@formula(optimizers.Ftrl, evidence="accumulators", exception=l1_regularization)
def ftrl(optimizer, variable, learning_rate, t):
    accumulator = slot(optimizer, "accumulators", variable)
    quadratic = accumulator**-optimizer.learning_rate_power / learning_rate
    l2 = optimizer.l2_regularization_strength + optimizer.beta / (2 * learning_rate)
    return 1 / (quadratic + 2 * l2)


@formula(optimizers.Adafactor, elementwise=False)
def adafactor(optimizer, variable, learning_rate, t):
    v = slot(optimizer, "v", variable)
    rms = tf.sqrt(tf.reduce_mean(tf.square(tf.cast(variable, v.dtype))))
    rho = tf.minimum(learning_rate, 1 / tf.sqrt(t))
    return tf.maximum(rms, optimizer.epsilon_2) * rho / tf.sqrt(v)


def orthogonalization(optimizer, variable):
    if state_of(optimizer, "adam_velocities", variable) is None:
        return (
            f"{optimizer.name} orthogonalizes this step, each element of which depends on the "
            "whole gradient"
        )


@formula(
    optimizers.Muon, evidence="adam_velocities", decay="adam_beta_2", exception=orthogonalization
)
def muon(optimizer, variable, learning_rate, t):
    v = slot(optimizer, "adam_velocities", variable)
    eta = optimizer.adam_lr_ratio * learning_rate * tf.sqrt(1 - power(optimizer.adam_beta_2, t))
    return eta / (tf.sqrt(v) + optimizer.epsilon)
