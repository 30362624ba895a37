"""The effective learning rate of every weight, whichever optimizer trains it."""

from collections.abc import Callable
from typing import Any, Protocol

import keras
import tensorflow as tf
from keras import optimizers

from keras_lecture_opt._arguments import must_be
from keras_lecture_opt._keras_formulas import FORMULAS, Formula, formula
from keras_lecture_opt._keras_private import (
    index_of,
    is_overwritten,
    learning_rate_or_schedule,
    state_of,
)
from keras_lecture_opt.rules import RULES, LectureOptimizer, compute_dtype


def register(cls: type) -> Callable[[Callable], Callable]:
    """Register the factor by which an optimizer class multiplies its direction.

    Args:
        cls: the class; its subclasses are included until one overrides `update_step`.

    Returns:
        A decorator for a function of `optimizer`, `variable`, `learning_rate` and `t`, the number
        of the latest step from 1. The function returns a tensor that broadcasts to the variable's
        shape.

    Raises:
        TypeError: `cls` is not a class of optimizers.
    """
    if not (isinstance(cls, type) and issubclass(cls, optimizers.Optimizer)):
        raise TypeError(must_be("cls", "a class of keras.optimizers.Optimizer", cls))
    return formula(cls, elementwise=False)  # nobody can tell whether it takes a norm


class Registry(Protocol):
    """What `effective_learning_rate` is to type checkers: a function that has a method."""

    def __call__(
        self, optimizer: keras.optimizers.Optimizer, variable: keras.Variable
    ) -> tf.Tensor: ...

    def register(self, cls: type) -> Callable[[Callable], Callable]: ...


def with_register(function: Any) -> Registry:
    function.register = register
    return function


@with_register
def effective_learning_rate(
    optimizer: keras.optimizers.Optimizer, variable: keras.Variable
) -> tf.Tensor:
    """Return the factor by which each weight's latest step multiplied its direction.

    A rule that is adaptive per element gives each weight a learning rate of its own, the slides'
    "element-wise adaptive learning rate". For any optimizer, it is the factor that the rule
    multiplies its direction by, element by element, as it stands after the latest step.

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

    Adadelta, Lamb and Adafactor overwrite what their latest step used: the average of the steps,
    or the weights, whose norm they take. Computed with the new values, their factor is that of the
    next step while the gradients stay the same.

    Some variables have no such factor: the matrices that `Muon` orthogonalizes (each element of
    the step depends on the whole gradient), variables of `Ftrl` with `l1_regularization_strength`
    (it sets weights to zero instead of stepping), and those that the optimizer overwrites with
    their gradient (the scales of float8 layers).

    Clipping and weight decay are not part of the factor: a gradient is clipped before the rule
    sees it, and decay is a separate step. The learning rate is that of the latest step, also under
    a schedule. After you set `optimizer.learning_rate`, it is the new one.

    A subclass that overrides `update_step` has no formula until it states its own: a subclass of
    `LectureOptimizer` overrides the method `effective_learning_rate`, any other class is registered
    by `@effective_learning_rate.register(cls)`: `docs/monitor.md` has an example. `has_formula`
    tells whether an optimizer has one.

    Args:
        optimizer: a rule of this package, one of Keras's optimizers, one registered by
            `effective_learning_rate.register`, or a `LossScaleOptimizer` or `MultiOptimizer`
            around them.
        variable: a model variable that the optimizer updates.

    Returns:
        Tensor of the variable's shape and type (float32 for half precision), in units of weight
        per unit of the direction.

    Raises:
        TypeError: no formula is known for this optimizer, or an argument is something else.
        ValueError: the optimizer was not built with this variable, has not taken a step, or has
            no such factor for this variable.

    Example:

    >>> w = keras.Variable([-1.0, -1.0])
    >>> optimizer = keras.optimizers.Adagrad(learning_rate=0.25, initial_accumulator_value=0.0)
    >>> optimizer.apply([[-2.0, -50.0]], [w])
    >>> print(effective_learning_rate(optimizer, w).numpy())
    [0.125 0.005]
    """  # noqa: E501
    for inner in inner_optimizers(optimizer):
        if formula_of(inner) is None:
            raise TypeError(unknown_formula(inner))
    if reason := missing_rate(optimizer, variable):
        raise ValueError(f"{variable.name!r} has no effective learning rate: {reason}.")
    inner = optimizer_of(optimizer, variable)
    if tf.executing_eagerly() and not steps_taken(inner):
        raise ValueError(f"{inner.name} has not taken a step yet. Train a step first.")
    factor = factor_after_step(inner, variable, latest_learning_rate(inner))
    return tf.broadcast_to(factor, variable.shape)


def has_formula(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether the effective learning rate of an optimizer is known.

    Args:
        optimizer: any `keras.optimizers.Optimizer`, wrappers included.

    Returns:
        True or False. Some variables may have no rate all the same; see `effective_learning_rate`.

    Example:

    >>> keras_lecture_opt.has_formula(keras.optimizers.Adam())
    True
    """
    return all(formula_of(inner) for inner in inner_optimizers(optimizer))


def unknown_formula(optimizer):
    """Return the sentences on an optimizer without a formula."""
    name, register_it = type(optimizer).__name__, "Register"
    if isinstance(optimizer, LectureOptimizer):
        register_it = "Override `effective_learning_rate` in the class, or register"
    return (
        f"The effective learning rate of {name} is not known. {register_it} the factor by "
        "which its rule multiplies its direction:\n"
        f"@keras_lecture_opt.effective_learning_rate.register({name})\n"
        "def _(optimizer, variable, learning_rate, t): ..."
    )


def missing_rate(optimizer, variable):
    """Why a variable has no rate though its optimizer has a formula: a clause; None if it has."""
    inner = optimizer_of(optimizer, variable)
    if inner is None:
        return (
            f"{optimizer.name} has not been built with this variable. Call "
            "`build(model.trainable_variables)` or train a step first"
        )
    if is_overwritten(variable):
        return f"{inner.name} overwrites it with its gradient instead of taking a step"
    return formula_of(inner).exception(inner, variable)


def inner_optimizers(optimizer):
    """The optimizers that update variables, inside Keras's wrappers."""
    if not isinstance(optimizer, optimizers.Optimizer):
        raise TypeError(must_be("optimizer", "a keras.optimizers.Optimizer", optimizer))
    if isinstance(optimizer, optimizers.LossScaleOptimizer):
        return inner_optimizers(optimizer.inner_optimizer)
    # A MultiOptimizer has several; Keras 3.12 has no MultiOptimizer.
    return getattr(optimizer, "optimizers", [optimizer])


def optimizer_of(optimizer, variable):
    """The inner optimizer that updates the variable, or None."""
    owners = (o for o in inner_optimizers(optimizer) if index_of(o, variable) is not None)
    return next(owners, None)


def formula_of(optimizer):
    """The `Formula` of an optimizer's class, or None.

    The nearest one in the class's ancestry counts, unless a class below it overrides `update_step`.
    """
    for cls in type(optimizer).__mro__:
        if cls in FORMULAS:
            return FORMULAS[cls]
        if cls is LectureOptimizer:
            return None
        if isinstance(optimizer, LectureOptimizer) and "effective_learning_rate" in vars(cls):
            # Nobody can tell whether a rule of a user's own takes a norm.
            evidence = optimizer.evidence or ()
            return Formula(cls.effective_learning_rate, *evidence, elementwise=cls in RULES)
        if "update_step" in vars(cls):
            return None


def factor_after_step(optimizer, variable, learning_rate, state=None):
    """The effective learning rate, as a scalar where all weights have the same.

    `learning_rate` is that of the latest step, `state` whose state, if not the optimizer's.
    """
    dtype = compute_dtype(variable)
    t, eta = tf.cast(optimizer.iterations, dtype), tf.cast(learning_rate, dtype)
    return tf.cast(formula_of(optimizer).factor(state or optimizer, variable, eta, t), dtype)


def latest_learning_rate(optimizer):
    """The learning rate of the latest step, a scalar."""
    schedule = learning_rate_or_schedule(optimizer)
    if isinstance(schedule, optimizers.schedules.LearningRateSchedule):
        batches = optimizer.iterations * (optimizer.gradient_accumulation_steps or 1)
        return tf.convert_to_tensor(schedule(batches - 1))
    return tf.convert_to_tensor(optimizer.learning_rate)


def next_learning_rate(optimizer):
    """The learning rate of the step to come, if it is a number; else None."""
    rate = learning_rate_or_schedule(optimizer)
    return tf.convert_to_tensor(rate) if isinstance(rate, keras.Variable) else None


def steps_taken(optimizer):
    """How many steps the optimizer has taken, as an int, under a distribution strategy too."""
    return int(tf.convert_to_tensor(optimizer.iterations))


def updated_mask(optimizer, variable, state=None):
    """Which weights have received a gradient other than 0; None where the state does not show it.

    `state` is whose state, if not the optimizer's.
    """
    formula = formula_of(optimizer)
    evidence = formula.evidence and state_of(state or optimizer, formula.evidence, variable)
    if evidence is None:
        return None
    return tf.convert_to_tensor(evidence) != tf.cast(first_evidence(optimizer), evidence.dtype)


def first_evidence(optimizer):
    return getattr(optimizer, "initial_accumulator_value", 0)


def keeps_evidence(optimizer):
    """Whether the state still shows, 10,000 steps later, that a weight received a gradient."""
    formula = formula_of(optimizer)
    # A small squared gradient is lost beside a first value other than 0.
    if formula.evidence is None or first_evidence(optimizer):
        return False
    # Of a squared gradient of 1e-20 this leaves 1e-30, which float32 holds.
    return formula.decay is None or getattr(optimizer, formula.decay) ** 10_000 > 1e-10
