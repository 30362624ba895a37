"""The one way to name an optimizer, `Adam` or `keras.Lion`; what Keras calls a thing of a class."""

import difflib
import re

import keras

from keras_lecture_opt.rules import RULES


def optimizer_class(name):
    """Return the class of that name; raise a ValueError if there is none."""
    if not isinstance(name, str):
        raise TypeError(f"The name of an optimizer must be a string, not {name!r}.")
    known = known_optimizers()
    if name in known:
        return known[name]
    # "sgd" means keras.SGD, and "adam" the rule of this package, which comes last.
    lower = {known_name.removeprefix("keras.").lower(): known_name for known_name in known}
    lower |= {known_name.lower(): known_name for known_name in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    suggestion = f" Did you mean {lower[close[0]]}?" if close else ""
    raise ValueError(
        f"There is no optimizer {name!r}.{suggestion} Rules of this package: "
        f"{', '.join(rule.__name__ for rule in RULES)}; those of Keras: keras.NAME, such as "
        "keras.Lion."
    )


def known_optimizers():
    """Return the classes that have a name here, by that name."""
    return {rule.__name__: rule for rule in RULES} | {
        f"keras.{public}": cls
        for public, cls in vars(keras.optimizers).items()
        if isinstance(cls, type) and issubclass(cls, keras.optimizers.Optimizer)
        # A base class and wrappers: none can be made from a learning rate.
        if public not in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
    }


def optimizer_name(cls):
    """Return the name of an optimizer's class: that by which it is found, if there is one."""
    names = {known: name for name, known in known_optimizers().items()}
    return names.get(cls, f"{cls.__module__}.{cls.__qualname__}")


def snake_case(cls):
    """Return the name that Keras derives from a class."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", cls.__name__)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()
