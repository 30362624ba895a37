"""The rules' hyperparameters and Keras's arguments: symbols, allowed values, other names."""

import difflib
import inspect
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, get_type_hints

import keras
import numpy as np
import tensorflow as tf

from keras_lecture_opt._arguments import check_boolean, check_number, must_be

# A number, a Keras schedule (which is called with the step), a callable without arguments.
LearningRate = float | Callable[..., Any]

LARGEST = 3.4e38  # of float32, the type in which Keras keeps the learning rate
UNIT = ("a number in [0, 1]", lambda x: 0 <= x <= 1)
BELOW_ONE = ("a number in [0, 1)", lambda x: 0 <= x < 1)
NOT_NEGATIVE = ("a number >= 0 that float32 can hold", lambda x: 0 <= x <= LARGEST)
POSITIVE = ("a number > 0 that float32 can hold", lambda x: 0 < x <= LARGEST)
AT_LEAST_1 = ("an integer >= 1", lambda n: n >= 1, numbers.Integral)
AT_LEAST_2 = ("an integer >= 2", lambda n: n >= 2, numbers.Integral)


@dataclass(frozen=True)
class Hyperparameter:
    """What is true of a hyperparameter, whichever rule has it."""

    symbol: str  # on the slides
    allowed: str
    is_allowed: Callable[[float], bool]
    other_names: tuple[str, ...] = ()  # in other libraries and in other lectures


HYPERPARAMETERS = {
    "learning_rate": Hyperparameter("η", *NOT_NEGATIVE, ("lr", "eta", "alpha", "step_size")),
    # 1 is a world without friction: worth showing, and well defined.
    "momentum": Hyperparameter("μ", *UNIT, ("mu", "beta")),
    # At 1 an average that starts at zero stays there.
    "rho": Hyperparameter("γ", *BELOW_ONE, ("gamma", "alpha", "beta")),
    "beta_1": Hyperparameter("β₁", *BELOW_ONE, ("beta1", "b1", "betas", "beta")),
    "beta_2": Hyperparameter("β₂", *BELOW_ONE, ("beta2", "b2", "betas", "beta")),
    "epsilon": Hyperparameter("ε", *NOT_NEGATIVE, ("eps",)),
}

# Arguments of Keras and PyTorch that stand for another rule here, or for one that is not here.
ELSEWHERE = {
    "momentum": "The rules `Momentum` and `Nesterov` have it.",
    "nesterov": "`Nesterov` is a rule of its own.",
    "use_nesterov": "`Nesterov` is a rule of its own.",
    "amsgrad": "`keras.optimizers.Adam` has it.",
    "centered": "`keras.optimizers.RMSprop` has it.",
    "initial_accumulator_value": "`keras.optimizers.Adagrad` has it.",
}

# A learning rate that falls, in Keras 1 and 2 and in PyTorch; but `decay` is rho in Optax.
DECAYS = ("decay", "lr_decay", "learning_rate_decay")

WITH_STATE = ("use_ema", "gradient_accumulation_steps")  # variables that `build` makes


class KerasArguments(TypedDict, total=False):
    """Arguments of every Keras optimizer, with the numbers allowed, and `jit_compile`."""

    use_ema: bool
    jit_compile: bool
    weight_decay: Annotated[float | None, NOT_NEGATIVE]
    clipnorm: Annotated[float | None, POSITIVE]
    clipvalue: Annotated[float | None, POSITIVE]
    global_clipnorm: Annotated[float | None, POSITIVE]
    ema_momentum: Annotated[float, UNIT]
    ema_overwrite_frequency: Annotated[int | None, AT_LEAST_1]
    loss_scale_factor: Annotated[float | None, POSITIVE]
    gradient_accumulation_steps: Annotated[int | None, AT_LEAST_2]


KERAS_ARGUMENTS = get_type_hints(KerasArguments, include_extras=True)


def arguments_of_rule(own):
    """Return the names of all arguments of a rule, given those that only some rules have."""
    return ["learning_rate", *own, "name", *KERAS_ARGUMENTS]


def check_argument(rule, argument, value):
    """Return what an optimizer may keep of an argument's value; raise if the value is wrong.

    `rule` is the name of the class. An argument that is not listed above must be a finite number.
    """
    if argument == "learning_rate":
        return _check_learning_rate(rule, value)
    if argument in KERAS_ARGUMENTS:
        if KERAS_ARGUMENTS[argument] is bool:
            return check_boolean(argument, value, rule)
        if value is None:  # it is off
            return None
        [(allowed, is_allowed, *kind)] = KERAS_ARGUMENTS[argument].__metadata__
        return check_number(argument, value, allowed, is_allowed, rule, *kind)
    known = HYPERPARAMETERS.get(argument) or Hyperparameter("", "a finite number", math.isfinite)
    return check_number(argument, value, known.allowed, known.is_allowed, rule)


def _check_learning_rate(rule, value):
    known = HYPERPARAMETERS["learning_rate"]
    allowed = f"{known.allowed}, a schedule or a callable without arguments"
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        return value
    # The class of a schedule is callable, too: a mistake.
    if callable(value) and not isinstance(value, type):
        try:
            inspect.signature(value).bind()
        except ValueError:  # of a function in C nobody knows the arguments
            pass
        except TypeError as error:
            raise TypeError(must_be("learning_rate", allowed, value, rule)) from error
        return value
    if isinstance(value, (keras.Variable, tf.Variable, tf.Tensor)):
        static = tf.get_static_value(tf.convert_to_tensor(value))
        if static is None:  # the number is known when the graph runs
            return value
        value = np.asarray(static)
    # Keras accepts no integer here.
    return float(check_number("learning_rate", value, allowed, known.is_allowed, rule))


def refuse_unknown(rule, arguments, known):
    """Raise a ValueError for an argument that is not known, with what was probably meant."""
    for argument in arguments:
        if argument not in known:
            raise ValueError(
                f"{rule}: argument `{argument}` is not recognized.{suggest(argument, known)} "
                f"Its arguments are {', '.join(known)}."
            )


def is_of_some_rule(name):
    """Whether an argument of some rule, here or elsewhere, has this name."""
    lower = name.lower()
    return lower in {*HYPERPARAMETERS, *ELSEWHERE, *DECAYS} or bool(hyperparameters_called(lower))


def hyperparameters_called(name):
    """Return the names that others' names have here: `alpha` is eta in lectures, rho in PyTorch."""
    return [own for own, known in HYPERPARAMETERS.items() if name in known.other_names]


def suggest(argument, known):
    """Return a sentence on what was probably meant by an argument that is not known, or ""."""
    lower = argument.lower()
    if lower in DECAYS:
        memory = " The memory of its average is `rho`." * ("rho" in known)
        return f" A learning rate that decays is a schedule: pass one as `learning_rate`.{memory}"
    meant = [name for name in (lower, *hyperparameters_called(lower)) if name in known]
    if lower in ELSEWHERE and not meant:
        return f" {ELSEWHERE[lower]}"
    # A suggestion that is followed must not change something else: these are slips of the finger.
    meant = meant or difflib.get_close_matches(lower, known, n=1, cutoff=0.82)
    names = [f"`{name}`" for name in sorted(meant, key="learning_rate".__eq__)]
    return f" Did you mean {' or '.join(names)}?" if names else ""
