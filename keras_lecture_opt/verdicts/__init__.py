"""Verdicts: what is wrong with a model, its data, its training, in words."""

from keras_lecture_opt.verdicts._check import check
from keras_lecture_opt.verdicts._verdict import Verdict

__all__ = ["Verdict", "check"]
