"""The update rules of the lecture, and the base class of your own."""

from typing import TYPE_CHECKING

from keras_lecture_opt.rules._base import LectureOptimizer as LectureOptimizer
from keras_lecture_opt.rules._base import compute_dtype as compute_dtype
from keras_lecture_opt.rules.adagrad import AdaGrad as AdaGrad
from keras_lecture_opt.rules.adam import Adam as Adam
from keras_lecture_opt.rules.momentum import Momentum as Momentum
from keras_lecture_opt.rules.nesterov import Nesterov as Nesterov
from keras_lecture_opt.rules.rmsprop import RMSProp as RMSProp
from keras_lecture_opt.rules.simplified_adam import SimplifiedAdam as SimplifiedAdam
from keras_lecture_opt.rules.steepest_descent import SteepestDescent as SteepestDescent

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

if not TYPE_CHECKING:  # a type checker reads the imports above: it cannot run this
    __all__ = [*(rule.__name__ for rule in RULES), "LectureOptimizer"]
