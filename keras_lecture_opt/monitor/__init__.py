"""The callback that shows in TensorBoard what step each weight takes."""

from keras_lecture_opt.monitor._callback import EffectiveLearningRateMonitor

__all__ = ["EffectiveLearningRateMonitor"]
