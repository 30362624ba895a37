"""The update rules of a deep-learning lecture as Keras optimizers."""

import importlib
from typing import TYPE_CHECKING

from keras_lecture_opt._quiet import quiet_start

with quiet_start():
    import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "keras_lecture_opt runs on Keras's TensorFlow backend only, and this is "
        f"{keras.backend.backend()!r}: set KERAS_BACKEND=tensorflow before Keras is imported."
    )

from keras_lecture_opt import finder, mnist, rules, several_machines
from keras_lecture_opt.finder import find_learning_rate
from keras_lecture_opt.monitor import EffectiveLearningRateMonitor
from keras_lecture_opt.rates import effective_learning_rate, has_formula
from keras_lecture_opt.rules import *  # noqa: F403
from keras_lecture_opt.verdicts import check

__version__ = "0.2.0"
__all__ = [
    *rules.__all__,  # type: ignore[attr-defined]
    "effective_learning_rate",
    "has_formula",
    "EffectiveLearningRateMonitor",
    "check",
    "find_learning_rate",
    "finder",
    "mnist",
    "several_machines",
]

# Imported when first used: few users need them, and `explorer` needs an extra.
_LAZY = ("landscapes", "plots", "explorer", "comparison")

if TYPE_CHECKING:  # with a `__getattr__`, every misspelt name would be right
    from keras_lecture_opt import comparison as comparison
    from keras_lecture_opt import explorer as explorer
    from keras_lecture_opt import landscapes as landscapes
    from keras_lecture_opt import plots as plots
else:

    def __getattr__(name):
        if name in _LAZY:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LAZY})
