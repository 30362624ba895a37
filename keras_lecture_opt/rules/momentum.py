"""Momentum: a ball that rolls down the loss."""

from typing import Unpack

import keras
import tensorflow as tf

from keras_lecture_opt.rules._base import LectureOptimizer, compute_dtype
from keras_lecture_opt.rules._hyperparameters import KerasArguments, LearningRate


@keras.saving.register_keras_serializable(package="keras_lecture_opt")
class Momentum(LectureOptimizer):
    """Gather speed where the gradient keeps its sign (slide "Trick 7: Momentum").

    For every weight w with gradient g, starting from v = 0::

        v <- mu v - eta g
        w <- w + v

    v is the velocity and 1 - mu the friction; with mu = 0 this is steepest descent.

    Args:
        learning_rate: eta; a number >= 0, a Keras schedule or a callable. Defaults to 0.01.
        momentum: mu, in [0, 1]; common values are 0.5 to 0.99. Defaults to 0.9.
        name: name of the optimizer.
        **kwargs: arguments of `keras.optimizers.Optimizer`, such as `clipnorm`.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is not in its range, or an argument is unknown.

    Example:

    >>> w = keras.Variable([2.0])
    >>> optimizer = Momentum(learning_rate=0.25, momentum=0.5)
    >>> optimizer.apply([[4.0]], [w])  # v = -1
    >>> optimizer.apply([[0.0]], [w])  # v = -0.5: it rolls on
    >>> print(w.numpy())
    [0.5]
    """

    slot_names = ("velocity",)
    evidence = ("velocity", "momentum")
    nearest_keras = (keras.optimizers.SGD, {"momentum": 0.9})

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        momentum: float = 0.9,
        name: str = "momentum",
        **kwargs: Unpack[KerasArguments],
    ):
        super().__init__(learning_rate, name, {"momentum": momentum}, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        [v] = self.slots(variable)
        g = tf.cast(gradient, v.dtype)
        eta, mu = self.effective_learning_rate(variable, learning_rate), self.momentum

        self.assign(v, mu * v - eta * g)
        self.assign_add(variable, v)

    def effective_learning_rate(self, variable, learning_rate, t=None):
        """eta, the factor on g, the same for every weight: see `LectureOptimizer`."""
        return tf.cast(learning_rate, compute_dtype(variable))
