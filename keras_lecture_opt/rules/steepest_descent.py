"""Steepest descent: a step straight down the slope."""

from typing import Unpack

import keras
import tensorflow as tf

from keras_lecture_opt.rules._base import LectureOptimizer, compute_dtype
from keras_lecture_opt.rules._hyperparameters import KerasArguments, LearningRate


@keras.saving.register_keras_serializable(package="keras_lecture_opt")
class SteepestDescent(LectureOptimizer):
    """Go downhill, in proportion to the slope (slide "Steepest Descent").

    For every weight w with gradient g::

        w <- w - eta g

    Args:
        learning_rate: eta; a number >= 0, a Keras schedule or a callable. Defaults to 0.01.
        name: name of the optimizer.
        **kwargs: arguments of `keras.optimizers.Optimizer`, such as `clipnorm`.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is not in its range, or an argument is unknown.

    Example:

    >>> w = keras.Variable([2.0])
    >>> SteepestDescent(learning_rate=0.25).apply([[4.0]], [w])
    >>> print(w.numpy())
    [1.]
    """

    nearest_keras = (keras.optimizers.SGD, {})

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        name: str = "steepest_descent",
        **kwargs: Unpack[KerasArguments],
    ):
        super().__init__(learning_rate, name, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        eta = self.effective_learning_rate(variable, learning_rate)
        g = tf.cast(gradient, eta.dtype)

        self.assign_sub(variable, eta * g)

    def effective_learning_rate(self, variable, learning_rate, t=None):
        """eta, the factor on g, the same for every weight: see `LectureOptimizer`."""
        return tf.cast(learning_rate, compute_dtype(variable))
