"""Which learning rate? Short trainings at several, from one start, decide."""

from keras_lecture_opt.finder._find import FoundLearningRate, find_learning_rate
from keras_lecture_opt.finder._schedule import ScaledSchedule

__all__ = ["FoundLearningRate", "ScaledSchedule", "find_learning_rate"]
