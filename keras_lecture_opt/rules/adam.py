"""Adam, complete: both averages corrected for their start at zero."""

from typing import Unpack

import keras
import tensorflow as tf

from keras_lecture_opt.rules._base import LectureOptimizer
from keras_lecture_opt.rules._hyperparameters import KerasArguments, LearningRate


@keras.saving.register_keras_serializable(package="keras_lecture_opt")
class Adam(LectureOptimizer):
    """Adaptive moments, corrected (slide "Adam [Complete Version]"; Kingma & Ba, 2015, Alg. 1).

    For every weight w with gradient g, starting from m = 0 and v = 0, in step t = 1, 2, ...::

        m  <- beta_1 m + (1 - beta_1) g
        v  <- beta_2 v + (1 - beta_2) g^2
        m^ <- m / (1 - beta_1^t)
        v^ <- v / (1 - beta_2^t)
        w  <- w - eta / (sqrt(v^) + epsilon) m^

    `keras.optimizers.Adam` is another rule: its epsilon is the paper's "epsilon hat", added to
    sqrt(v) instead of sqrt(v^).

    Args:
        learning_rate: eta; a number >= 0, a Keras schedule or a callable. Defaults to 0.001.
        beta_1: memory of m, in [0, 1). Defaults to 0.9.
        beta_2: memory of v, in [0, 1). Defaults to 0.999.
        epsilon: a number >= 0; at 0, a weight whose gradients are all 0 is NaN. Defaults to 1e-8.
        name: name of the optimizer.
        **kwargs: arguments of `keras.optimizers.Optimizer`, such as `clipnorm`.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is not in its range, or an argument is unknown.

    Example:

    >>> w = keras.Variable([2.0])
    >>> Adam(learning_rate=0.25).apply([[4.0]], [w])  # the first step is eta, whatever g
    >>> print(w.numpy())
    [1.75]
    """

    slot_names = ("first_moment", "second_moment")
    evidence = ("second_moment", "beta_2")
    nearest_keras = (keras.optimizers.Adam, {})

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        name: str = "adam",
        **kwargs: Unpack[KerasArguments],
    ):
        own = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
        super().__init__(learning_rate, name, own, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        m, v = self.slots(variable)
        g = tf.cast(gradient, m.dtype)
        # In float64: in float32, 1 - 0.999**1 is wrong by 5e-5.
        t = tf.cast(self.iterations, tf.float64) + 1

        self.assign(m, self.beta_1 * m + (1 - self.beta_1) * g)
        self.assign(v, self.beta_2 * v + (1 - self.beta_2) * tf.square(g))
        m_hat = m / tf.cast(1 - self.beta_1**t, m.dtype)
        self.assign_sub(variable, self.effective_learning_rate(variable, learning_rate, t) * m_hat)

    def effective_learning_rate(self, variable, learning_rate, t=None):
        """eta / (sqrt(v^) + epsilon), the factor on m^: see `LectureOptimizer`."""
        v = self.slots(variable)[1]
        eta = tf.cast(learning_rate, v.dtype)
        t = tf.cast(self.iterations if t is None else t, tf.float64)
        v_hat = v / tf.cast(1 - self.beta_2**t, v.dtype)
        return eta / (tf.sqrt(v_hat) + self.epsilon)
