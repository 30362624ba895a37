"""The arguments of a run's optimizers, as TensorBoard shows them in Text and in HParams."""

import math
import warnings

from keras_lecture_opt._keras_private import learning_rate_or_schedule
from keras_lecture_opt._resolve import optimizer_name
from keras_lecture_opt.monitor._names import own_name
from keras_lecture_opt.rates import steps_taken
from keras_lecture_opt.rules._hyperparameters import HYPERPARAMETERS


def describe(optimizers):
    """Return the classes and arguments of a dict of optimizers, as numbers, strings and booleans.

    The names of the arguments of several begin with the label.
    """
    configuration = {}
    for label, optimizer in optimizers.items():
        prefix = f"{label}/" if len(optimizers) > 1 else ""
        configuration[f"{prefix}optimizer"] = optimizer_name(type(optimizer))
        for argument, value in arguments_of(optimizer).items():
            configuration[prefix + argument] = in_plain_type(value)
    return configuration


def of_those_that_train(optimizers):
    """Leave out optimizers that train nothing, as far as that shows."""
    if len(optimizers) < 2:
        return optimizers
    stepped = {label: o for label, o in optimizers.items() if steps_taken(o)}
    return stepped or {label: o for label, o in optimizers.items() if o.built} or optimizers


def arguments_of(optimizer):
    """Return the optimizer's arguments, as far as it tells them."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of a learning rate that is a lambda
            arguments = optimizer.get_config()
    except Exception:  # a schedule without `get_config`, a callable without a source, …
        rate = learning_rate_or_schedule(optimizer)
        name = getattr(rate, "__qualname__", type(rate).__qualname__)
        known = {h: getattr(optimizer, h) for h in HYPERPARAMETERS if hasattr(optimizer, h)}
        arguments = {**known, "learning_rate": name}
    return {**arguments, "name": own_name(optimizer)}


def in_plain_type(value):
    """Return a value as TensorBoard can show it: a number, a string or a boolean."""
    if isinstance(value, float):
        return float(f"{value:.7g}")  # Keras keeps the learning rate in float32
    if isinstance(value, dict) and value.get("class_name") == "__lambda__":
        return "a lambda"
    if isinstance(value, dict):  # a serialized schedule
        return f"{value.get('class_name')} {value.get('config')}"
    return value if isinstance(value, (bool, int)) else str(value)


def chosen(configuration):
    """Return the part of a configuration in which runs may differ."""
    off = [argument for argument, value in configuration.items() if is_off(value)]
    # An average that is not used has a momentum all the same.
    off += [argument.replace("use_ema", "ema_momentum") for argument in off]
    return {
        argument: value
        for argument, value in configuration.items()
        if argument not in off and not argument.endswith(("name", "jit_compile"))
    }


def is_off(value):
    return value == "None" or value is False


def contradiction(hparams, optimizers):
    """Return a sentence on one of the `hparams` that is not what the optimizer has, or None."""
    configuration = describe(optimizers)
    for name, given in hparams.items():
        # A run may have a name, too.
        value = given if name == "name" else configuration.get(name, given)
        if is_off(value) and (is_off(given) or not given):
            agrees = True
        elif all(isinstance(v, (int, float)) for v in (given, value)):
            agrees = math.isclose(given, value, rel_tol=1e-6)
        elif name.endswith("optimizer"):
            named = str(given).lower().replace("keras.optimizers.", "keras.")
            agrees = named in (value.lower(), value.lower().rpartition(".")[2])
        else:  # a schedule or a callable may go by any name
            agrees = name.endswith("learning_rate") or given == value
        if not agrees:
            return (
                f"`hparams` contradict the optimizer: {name!r} is {given!r} there and {value!r} in "
                "the optimizer that trains. Leave it out: the monitor logs the optimizer's own "
                "arguments."
            )
    return None
