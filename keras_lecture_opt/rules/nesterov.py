"""Nesterov accelerated gradient: momentum that looks where it is going."""

from typing import Unpack

import keras
import tensorflow as tf

from keras_lecture_opt.rules._base import LectureOptimizer, compute_dtype
from keras_lecture_opt.rules._hyperparameters import KerasArguments, LearningRate


@keras.saving.register_keras_serializable(package="keras_lecture_opt")
class Nesterov(LectureOptimizer):
    """Take the gradient where the momentum will lead (slide "Nesterov Accelerated Gradient").

    For every weight w, starting from v = 0::

        v <- mu v - eta g(w + mu v)
        w <- w + v

    Keras takes gradients at the model's variables, so these hold the look-ahead point
    theta = w + mu v, and the same step reads::

        v     <- mu v - eta g(theta)
        theta <- theta + mu v - eta g(theta)

    This is the slide's sequence exactly: `w(variable)` gives its w = theta - mu v. Evaluation and
    saved models use the variables, hence theta.

    Args:
        learning_rate: eta; a number >= 0, a Keras schedule or a callable. Defaults to 0.01.
        momentum: mu, in [0, 1]; common values are 0.5 to 0.99. Defaults to 0.9.
        name: name of the optimizer.
        **kwargs: arguments of `keras.optimizers.Optimizer`, such as `clipnorm`.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is not in its range, or an argument is unknown.

    Example:

    >>> theta = keras.Variable([2.0])
    >>> optimizer = Nesterov(learning_rate=0.25, momentum=0.5)
    >>> optimizer.apply([[4.0]], [theta])  # v = -1
    >>> print(optimizer.w(theta).numpy(), theta.numpy())
    [1.] [0.5]
    """

    slot_names = ("velocity",)
    evidence = ("velocity", "momentum")
    nearest_keras = (keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True})

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        momentum: float = 0.9,
        name: str = "nesterov",
        **kwargs: Unpack[KerasArguments],
    ):
        super().__init__(learning_rate, name, {"momentum": momentum}, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        [v] = self.slots(variable)
        g = tf.cast(gradient, v.dtype)
        eta, mu = self.effective_learning_rate(variable, learning_rate), self.momentum

        self.assign(v, mu * v - eta * g)
        self.assign_add(variable, mu * v - eta * g)  # the same expression, with the new v

    def effective_learning_rate(self, variable, learning_rate, t=None):
        """eta, the factor on g, the same for every weight: see `LectureOptimizer`."""
        return tf.cast(learning_rate, compute_dtype(variable))

    def w(self, variable: keras.Variable) -> tf.Tensor:
        """The slide's w, behind the look-ahead point that the variable holds.

        Args:
            variable: a model variable that the optimizer was built with.

        Returns:
            Tensor `variable - momentum * velocity`, of the variable's shape, in the precision
            of the velocity.

        Raises:
            ValueError: the optimizer was not built with this variable.
        """
        [v] = self.slots(variable)
        return tf.cast(variable, v.dtype) - self.momentum * v
