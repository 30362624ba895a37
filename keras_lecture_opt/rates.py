"""The effective learning rate of every weight, whichever optimizer trains it.

The lecture's rules know theirs. Here stand the formulas of Keras's own optimizers, each the factor
in that optimizer's `update_step`.
"""

import functools

import keras
import tensorflow as tf
from keras import optimizers

from keras_lecture_opt._base import LectureOptimizer, precision
from keras_lecture_opt.adagrad import AdaGrad
from keras_lecture_opt.adam import Adam
from keras_lecture_opt.simplified_adam import SimplifiedAdam


def effective_learning_rate(optimizer, variable):
    """The factor by which each weight's latest step multiplied its direction.

    A rule that is adaptive per element gives each weight a learning rate of its own; the slides
    call this "element-wise adaptive learning rate". The definition, for any optimizer: the
    factor that its rule multiplies its direction by, element by element, as it stands after the
    latest step.

    | optimizer | effective learning rate | direction |
    | --- | --- | --- |
    | the lecture's rules | `optimizer.effective_learning_rate` | see each rule |
    | `SGD` | learning_rate | the gradient g, with momentum too |
    | `Adagrad` | learning_rate / sqrt(accumulator + epsilon) | g |
    | `RMSprop` | learning_rate / sqrt(velocity + epsilon); centered: of the variance | g |
    | `Adadelta` | learning_rate RMS(steps) / RMS(gradients) | g |
    | `Adam`, `AdamW` | learning_rate sqrt(1 - beta_2^t) / (sqrt(v) + epsilon); amsgrad: of the largest v | m / (1 - beta_1^t) |
    | `Nadam` | learning_rate / (sqrt(v / (1 - beta_2^t)) + epsilon) | Nesterov's average of g |
    | `Adamax` | learning_rate / (u + epsilon) | m / (1 - beta_1^t) |
    | `Lamb` | as `Nadam`, times norm(w) / norm(its update) | m / (1 - beta_1^t) |
    | `Lion` | learning_rate | sign of an average of g |
    | `Ftrl` | 1 / (accumulator^-learning_rate_power / learning_rate + beta / learning_rate + 2 l2) | g, from the second step on |
    | `Adafactor` | max(epsilon_2, RMS(w)) min(learning_rate, 1 / sqrt(t)) / sqrt(v) | g, after its own clipping |
    | `Muon` | as `Adam`, where it uses Adam | m / (1 - beta_1^t) |

    Adadelta, Lamb and Adafactor overwrite something that their latest step used: Adadelta the
    average of its steps, the others the weights, whose norm they take. For these it is the factor
    with the new values, which is that of the next step while the gradients stay as they are.

    There is no such factor, and so an error, for the matrices that `Muon` orthogonalizes (every
    element of the step depends on every element of the gradient) and for `Ftrl` with
    `l1_regularization_strength` (it sets weights to zero instead of stepping).

    Clipping and weight decay are not part of it: a gradient is clipped before the rule sees it,
    and decay is a step of its own.

    Learning-rate schedules are followed: what counts is the rate of the step just taken. After
    `optimizer.learning_rate` has been set, it is the new rate.

    Args:
        optimizer: a rule of this package, one of Keras's optimizers, one registered by
            `effective_learning_rate.register`, or a `LossScaleOptimizer` or `MultiOptimizer`
            around them.
        variable: a model variable that the optimizer updates.

    Returns:
        Tensor of the variable's shape and type (float32 for half precision), in units of weight
        per unit of the direction.

    Raises:
        TypeError: no formula is known for this optimizer.
        ValueError: the optimizer was not built with this variable, has not taken a step, or has
            no such factor for it.

    Example:

    >>> w = keras.Variable([-1.0, -1.0])
    >>> optimizer = keras.optimizers.Adagrad(learning_rate=0.25, initial_accumulator_value=0.0)
    >>> optimizer.apply([[-2.0, -50.0]], [w])
    >>> print(effective_learning_rate(optimizer, w).numpy())
    [0.125 0.005]

    An optimizer of your own, whose rule is w <- w - learning_rate * scale * g:

    >>> class Scaled(keras.optimizers.SGD):
    ...     def update_step(self, gradient, variable, learning_rate):
    ...         super().update_step(gradient, variable, 4.0 * learning_rate)
    >>> @effective_learning_rate.register(Scaled)
    ... def _(optimizer, variable, learning_rate, t):
    ...     return 4.0 * learning_rate  # t: number of the latest step, from 1
    >>> optimizer = Scaled(0.25)
    >>> optimizer.apply([[1.0, 1.0]], [w])
    >>> print(effective_learning_rate(optimizer, w).numpy())
    [1. 1.]
    """  # noqa: E501
    optimizer = responsible(optimizer, variable)
    if tf.executing_eagerly() and not steps_taken(optimizer):
        raise ValueError(f"{optimizer.name} has not taken a step yet: no weight has a rate.")
    return rate_after_step(optimizer, variable, latest_learning_rate(optimizer))


def leaves(optimizer):
    """The optimizers that update variables, inside Keras's wrappers."""
    if isinstance(optimizer, optimizers.LossScaleOptimizer):
        return leaves(optimizer.inner_optimizer)
    # A MultiOptimizer has several; Keras 3.12 has no MultiOptimizer.
    return getattr(optimizer, "optimizers", [optimizer])


def responsible(optimizer, variable):
    """The one that updates the variable."""
    for leaf in leaves(optimizer):
        formula_of(leaf)
        if index(leaf, variable) is not None:
            return leaf
    raise ValueError(
        f"{optimizer.name} does not update {variable.name!r}: it has not been built with this "
        "variable. Call `build(model.trainable_variables)` or train a step first."
    )


def formula_of(optimizer):
    """The registered formula, unless the class has replaced the rule that it belongs to."""
    known = next(c for c in type(optimizer).__mro__ if c in _formula.registry)
    replaced = type(optimizer).update_step is not known.update_step if known is not object else True
    if replaced and known is not LectureOptimizer:  # whose formula is a method, replaced with it
        name = type(optimizer).__name__
        raise TypeError(
            f"The effective learning rate of {name} is not known. Tell it, with the factor that "
            "its rule multiplies its direction by:\n"
            f"@keras_lecture_opt.effective_learning_rate.register({name})\n"
            "def _(optimizer, variable, learning_rate, t): ..."
        )
    return _formula.registry[known]


def latest_learning_rate(optimizer):
    """The learning rate of the latest step, a scalar."""
    # Private: the public `learning_rate` of a schedule is that of the step to come.
    schedule = optimizer._learning_rate
    if isinstance(schedule, optimizers.schedules.LearningRateSchedule):
        batches = optimizer.iterations * (optimizer.gradient_accumulation_steps or 1)
        return tf.convert_to_tensor(schedule(batches - 1))
    return tf.convert_to_tensor(optimizer.learning_rate)


def steps_taken(optimizer):
    """How many steps the optimizer has taken, as an int, under a distribution strategy too."""
    return int(tf.convert_to_tensor(optimizer.iterations))


def next_learning_rate(optimizer):
    """The learning rate of the step to come, if it is a number; else None."""
    rate = optimizer._learning_rate
    return tf.convert_to_tensor(rate) if isinstance(rate, keras.Variable) else None


def rate_after_step(optimizer, variable, learning_rate):
    """The effective learning rate, given the scalar one of the latest step."""
    dtype = precision(variable.dtype)
    t = tf.cast(optimizer.iterations, dtype)
    rate = formula_of(optimizer)(optimizer, variable, tf.cast(learning_rate, dtype), t)
    return tf.broadcast_to(tf.cast(rate, dtype), variable.shape)


def has_had_gradient(optimizer, variable):
    """Which weights have had a gradient that was not 0, as far as the optimizer remembers.

    Returns:
        A boolean tensor of the variable's shape, or None where the state does not tell.
    """
    if isinstance(optimizer, LectureOptimizer):
        *_, memory = optimizer.slots(variable) or [None]
        return None if memory is None else memory != 0
    for cls, attribute in _MEMORY.items():
        if isinstance(optimizer, cls) and getattr(optimizer, attribute):
            memory = slot(optimizer, attribute, variable)
            first = getattr(optimizer, "initial_accumulator_value", 0)
            first = keras.initializers.Constant(first)((), variable.dtype)
            return memory != tf.cast(first, memory.dtype)
    return None


def remembers(optimizer):
    """Whether a weight that has had a gradient is told by the state for 10,000 steps and more.

    A momentum or an average that forgets 10% in a step is 0 after less than 1,000.
    """
    return isinstance(optimizer, _LONG_MEMORY)


_LONG_MEMORY = (
    AdaGrad,
    SimplifiedAdam,
    Adam,
    optimizers.Adagrad,
    optimizers.Adam,
    optimizers.Nadam,
    optimizers.Adamax,
    optimizers.Lamb,
    optimizers.Ftrl,
    optimizers.Muon,
)
# What Keras's optimizers remember of a weight; it leaves its first value with the first gradient.
_MEMORY = {
    optimizers.SGD: "momentums",
    optimizers.Adagrad: "_accumulators",
    optimizers.RMSprop: "_velocities",
    optimizers.Adadelta: "_accumulated_grads",
    optimizers.Adam: "_velocities",
    optimizers.Nadam: "_velocities",
    optimizers.Adamax: "_u",
    optimizers.Lamb: "_velocities",
    optimizers.Lion: "_momentums",
    optimizers.Ftrl: "_accumulators",
    optimizers.Muon: "adam_velocities",
}


# What is private stands in the next two functions, the two of the learning rate above, and
# `_base.py`: Keras has no public way from a variable to its optimizer's state.
def index(optimizer, variable):
    try:
        return optimizer._get_variable_index(variable)
    except KeyError:
        return None


def slot(optimizer, attribute, variable):
    """The optimizer's state for the variable, in the precision in which we compute, or None."""
    state = getattr(optimizer, attribute)[index(optimizer, variable)]
    return None if state is None else tf.cast(state, precision(variable.dtype))


def power(beta, t):
    """beta^t as Keras computes it: from a beta of float32, even for float64 weights."""
    return keras.ops.power(keras.ops.cast(beta, t.dtype.name), t)


@functools.singledispatch
def _formula(optimizer, variable, learning_rate, t):
    raise NotImplementedError  # `formula_of` never returns this one


effective_learning_rate.register = _formula.register


@_formula.register
def _(optimizer: LectureOptimizer, variable, learning_rate, t):
    return optimizer.effective_learning_rate(variable, learning_rate, t)


@_formula.register(optimizers.SGD)
@_formula.register(optimizers.Lion)
def _(optimizer, variable, learning_rate, t):
    return learning_rate


@_formula.register
def _(optimizer: optimizers.Adagrad, variable, learning_rate, t):
    accumulator = slot(optimizer, "_accumulators", variable)
    return learning_rate / tf.sqrt(accumulator + optimizer.epsilon)


@_formula.register
def _(optimizer: optimizers.RMSprop, variable, learning_rate, t):
    variance = slot(optimizer, "_velocities", variable)
    if optimizer.centered:
        variance -= tf.square(slot(optimizer, "_average_gradients", variable))
    return learning_rate / tf.sqrt(variance + optimizer.epsilon)


@_formula.register
def _(optimizer: optimizers.Adadelta, variable, learning_rate, t):
    steps = slot(optimizer, "_accumulated_delta_vars", variable)
    gradients = slot(optimizer, "_accumulated_grads", variable)
    rms_ratio = tf.sqrt(steps + optimizer.epsilon) / tf.sqrt(gradients + optimizer.epsilon)
    return learning_rate * rms_ratio


@_formula.register
def _(optimizer: optimizers.Adam, variable, learning_rate, t):
    v = slot(optimizer, "_velocity_hats" if optimizer.amsgrad else "_velocities", variable)
    eta = learning_rate * tf.sqrt(1 - power(optimizer.beta_2, t))
    return eta / (tf.sqrt(v) + optimizer.epsilon)


@_formula.register
def _(optimizer: optimizers.Nadam, variable, learning_rate, t):
    v_hat = slot(optimizer, "_velocities", variable) / (1 - power(optimizer.beta_2, t))
    return learning_rate / (tf.sqrt(v_hat) + optimizer.epsilon)


@_formula.register
def _(optimizer: optimizers.Adamax, variable, learning_rate, t):
    return learning_rate / (slot(optimizer, "_u", variable) + optimizer.epsilon)


@_formula.register
def _(optimizer: optimizers.Lamb, variable, learning_rate, t):
    m_hat = slot(optimizer, "_momentums", variable) / (1 - power(optimizer.beta_1, t))
    v_hat = slot(optimizer, "_velocities", variable) / (1 - power(optimizer.beta_2, t))
    factor = 1 / (tf.sqrt(v_hat) + optimizer.epsilon)
    w_norm = tf.norm(tf.cast(variable, v_hat.dtype))
    trust = w_norm / tf.norm(factor * m_hat)
    usable = tf.math.is_finite(trust) & (trust > 0)  # Keras takes 1 where a norm is 0
    return learning_rate * factor * tf.where(usable, trust, 1)


@_formula.register
def _(optimizer: optimizers.Ftrl, variable, learning_rate, t):
    if optimizer.l1_regularization_strength:
        raise ValueError(
            f"{optimizer.name} has no effective learning rate: with l1_regularization_strength "
            f"{optimizer.l1_regularization_strength} its step is not a multiple of the gradient."
        )
    accumulator = slot(optimizer, "_accumulators", variable)
    quadratic = accumulator**-optimizer.learning_rate_power / learning_rate
    l2 = optimizer.l2_regularization_strength + optimizer.beta / (2 * learning_rate)
    return 1 / (quadratic + 2 * l2)


@_formula.register
def _(optimizer: optimizers.Adafactor, variable, learning_rate, t):
    v = slot(optimizer, "_v", variable)
    rms = tf.sqrt(tf.reduce_mean(tf.square(tf.cast(variable, v.dtype))))
    rho = tf.minimum(learning_rate, 1 / tf.sqrt(t))
    return tf.maximum(rms, optimizer.epsilon_2) * rho / tf.sqrt(v)


@_formula.register
def _(optimizer: optimizers.Muon, variable, learning_rate, t):
    v = slot(optimizer, "adam_velocities", variable)
    if v is None:
        raise ValueError(
            f"{optimizer.name} has no effective learning rate for {variable.name!r}: it "
            "orthogonalizes this step, whose elements depend on all elements of the gradient."
        )
    eta = optimizer.adam_lr_ratio * learning_rate * tf.sqrt(1 - power(optimizer.adam_beta_2, t))
    return eta / (tf.sqrt(v) + optimizer.epsilon)
