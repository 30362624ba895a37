"""Rules as a user may derive them, in a file of the user's own."""

import tensorflow as tf

from keras_lecture_opt import LectureOptimizer


class OwnRule(LectureOptimizer):
    """A rule of a user."""

    def __init__(self, learning_rate=0.01, name="own", **kwargs):
        super().__init__(learning_rate, name, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, self.effective_learning_rate(variable, learning_rate) * gradient)

    def effective_learning_rate(self, variable, learning_rate, t=None):
        return tf.cast(learning_rate, variable.dtype)


class SignDescent(LectureOptimizer):
    """A rule of a user, with a hyperparameter that this package does not know."""

    def __init__(self, learning_rate=0.01, scale=1.0, name="sign_descent", **kwargs):
        super().__init__(learning_rate, name, {"scale": scale}, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        eta = self.effective_learning_rate(variable, learning_rate)
        self.assign_sub(variable, eta * tf.sign(gradient))

    def effective_learning_rate(self, variable, learning_rate, t=None):
        return self.scale * tf.cast(learning_rate, variable.dtype)
