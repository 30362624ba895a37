"""AdaGrad: each weight gets its own learning rate, which can only fall."""

from typing import Unpack

import keras
import tensorflow as tf

from keras_lecture_opt.rules._base import LectureOptimizer
from keras_lecture_opt.rules._hyperparameters import KerasArguments, LearningRate


@keras.saving.register_keras_serializable(package="keras_lecture_opt")
class AdaGrad(LectureOptimizer):
    """Slow down the weights that have seen steep slopes (slide "AdaGrad"; Duchi et al., 2011).

    For every weight w with gradient g, starting from G = 0::

        G <- G + g^2
        w <- w - eta / (sqrt(G) + epsilon) g

    `keras.optimizers.Adagrad` is another rule: it starts from G = 0.1 and adds epsilon inside
    the root.

    Args:
        learning_rate: eta; a number >= 0, a Keras schedule or a callable. Defaults to 0.01.
        epsilon: a number >= 0; at 0, a weight whose gradients are all 0 is NaN. Defaults to 1e-7.
        name: name of the optimizer.
        **kwargs: arguments of `keras.optimizers.Optimizer`, such as `clipnorm`.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is not in its range, or an argument is unknown.

    Example:

    >>> w = keras.Variable([-1.0, -1.0])
    >>> AdaGrad(learning_rate=0.25).apply([[-2.0, -50.0]], [w])  # the diagonal
    >>> print(w.numpy())
    [-0.75 -0.75]
    """

    slot_names = ("sum_of_squares",)
    evidence = ("sum_of_squares", None)
    nearest_keras = (keras.optimizers.Adagrad, {})

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        epsilon: float = 1e-7,
        name: str = "adagrad",
        **kwargs: Unpack[KerasArguments],
    ):
        super().__init__(learning_rate, name, {"epsilon": epsilon}, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        [G] = self.slots(variable)
        g = tf.cast(gradient, G.dtype)

        self.assign_add(G, tf.square(g))
        self.assign_sub(variable, self.effective_learning_rate(variable, learning_rate) * g)

    def effective_learning_rate(self, variable, learning_rate, t=None):
        """eta / (sqrt(G) + epsilon), the factor on g: see `LectureOptimizer`."""
        [G] = self.slots(variable)
        eta = tf.cast(learning_rate, G.dtype)
        return eta / (tf.sqrt(G) + self.epsilon)
