"""The update rules of a deep-learning lecture as Keras optimizers."""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "keras_lecture_opt runs on Keras's TensorFlow backend only, and this is "
        f"{keras.backend.backend()!r}: set KERAS_BACKEND=tensorflow before Keras is imported."
    )

from keras_lecture_opt import mnist
from keras_lecture_opt.adagrad import AdaGrad
from keras_lecture_opt.adam import Adam
from keras_lecture_opt.momentum import Momentum
from keras_lecture_opt.monitor import EffectiveLearningRateMonitor
from keras_lecture_opt.nesterov import Nesterov
from keras_lecture_opt.rates import effective_learning_rate
from keras_lecture_opt.rmsprop import RMSProp
from keras_lecture_opt.simplified_adam import SimplifiedAdam
from keras_lecture_opt.steepest_descent import SteepestDescent

__version__ = "0.1.0"
__all__ = [
    "SteepestDescent",
    "Momentum",
    "Nesterov",
    "AdaGrad",
    "RMSProp",
    "SimplifiedAdam",
    "Adam",
    "effective_learning_rate",
    "EffectiveLearningRateMonitor",
    "mnist",
]
