"""The update rules of the lecture, and the base class of your own."""

from keras_lecture_opt.rules._base import LectureOptimizer, compute_dtype
from keras_lecture_opt.rules.adagrad import AdaGrad
from keras_lecture_opt.rules.adam import Adam
from keras_lecture_opt.rules.momentum import Momentum
from keras_lecture_opt.rules.nesterov import Nesterov
from keras_lecture_opt.rules.rmsprop import RMSProp
from keras_lecture_opt.rules.simplified_adam import SimplifiedAdam
from keras_lecture_opt.rules.steepest_descent import SteepestDescent

# In the lecture's order. Whatever lists, colors, draws, times or tests the rules asks for these.
RULES = (
    SteepestDescent,
    Momentum,
    Nesterov,
    AdaGrad,
    RMSProp,
    SimplifiedAdam,
    Adam,
)

__all__ = [*(rule.__name__ for rule in RULES), "LectureOptimizer"]
