"""RMSProp: AdaGrad that forgets."""

from typing import Unpack

import keras
import tensorflow as tf

from keras_lecture_opt.rules._base import LectureOptimizer
from keras_lecture_opt.rules._hyperparameters import KerasArguments, LearningRate


@keras.saving.register_keras_serializable(package="keras_lecture_opt")
class RMSProp(LectureOptimizer):
    """Divide by the recent size of the gradient (slide "RMSProp"; Tieleman & Hinton, 2012).

    For every weight w with gradient g, starting from G = 0::

        G <- gamma G + (1 - gamma) g^2
        w <- w - eta / (sqrt(G) + epsilon) g

    `keras.optimizers.RMSprop` is another rule: it adds epsilon inside the root.

    Args:
        learning_rate: eta; a number >= 0, a Keras schedule or a callable. Defaults to 0.001.
        rho: gamma, the memory of G, in [0, 1). Defaults to 0.9.
        epsilon: a number >= 0; at 0, a weight whose gradients are all 0 is NaN. Defaults to 1e-7.
        name: name of the optimizer.
        **kwargs: arguments of `keras.optimizers.Optimizer`, such as `clipnorm`.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is not in its range, or an argument is unknown.

    Example:

    >>> w = keras.Variable([2.0])
    >>> RMSProp(learning_rate=0.25, rho=0.75).apply([[4.0]], [w])  # G = 4
    >>> print(w.numpy())
    [1.5]
    """

    slot_names = ("mean_of_squares",)
    evidence = ("mean_of_squares", "rho")
    nearest_keras = (keras.optimizers.RMSprop, {})

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        rho: float = 0.9,
        epsilon: float = 1e-7,
        name: str = "rmsprop",
        **kwargs: Unpack[KerasArguments],
    ):
        super().__init__(learning_rate, name, {"rho": rho, "epsilon": epsilon}, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        [G] = self.slots(variable)
        g = tf.cast(gradient, G.dtype)
        gamma = self.rho

        self.assign(G, gamma * G + (1 - gamma) * tf.square(g))
        self.assign_sub(variable, self.effective_learning_rate(variable, learning_rate) * g)

    def effective_learning_rate(self, variable, learning_rate, t=None):
        """eta / (sqrt(G) + epsilon), the factor on g: see `LectureOptimizer`."""
        [G] = self.slots(variable)
        eta = tf.cast(learning_rate, G.dtype)
        return eta / (tf.sqrt(G) + self.epsilon)
