"""A schedule that keeps its shape and gets another height."""

from typing import Any

import keras
import numpy as np

from keras_lecture_opt._arguments import check_number, must_be
from keras_lecture_opt._keras_private import learning_rate_or_schedule

SAMPLES = np.unique(np.geomspace(1, 1e7, 400).astype(int)) - 1  # steps


@keras.saving.register_keras_serializable(package="keras_lecture_opt")
class ScaledSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate schedule, times a factor.

    Args:
        schedule: a `keras.optimizers.schedules.LearningRateSchedule`.
        factor: a finite number > 0.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: `factor` is not allowed.

    Example:

    >>> halved = keras_lecture_opt.finder.ScaledSchedule(
    ...     keras.optimizers.schedules.PiecewiseConstantDecay([100], [0.2, 0.02]), 0.5
    ... )
    >>> float(halved(0))
    0.10000000149011612
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, factor: float):
        if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            raise TypeError(must_be("schedule", "a LearningRateSchedule", schedule))
        allowed = "a finite number > 0"
        self.factor = check_number("factor", factor, allowed, lambda x: 0 < x < np.inf)
        self.schedule = schedule

    def __call__(self, step: Any) -> Any:
        return self.schedule(step) * self.factor

    def get_config(self) -> dict[str, Any]:
        schedule = keras.optimizers.schedules.serialize(self.schedule)
        return {"schedule": schedule, "factor": self.factor}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ScaledSchedule":
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(schedule, config["factor"])


def peak_of(optimizer):
    """Return the highest learning rate that an optimizer will have."""
    given = learning_rate_or_schedule(optimizer)
    if isinstance(given, keras.Variable):
        return float(given)
    if not isinstance(given, keras.optimizers.schedules.LearningRateSchedule):
        return float(given())
    return max(float(given(int(optimizer.iterations) + step)) for step in SAMPLES)


def scaled(given, factor):
    """Return a schedule or a callable, as an optimizer takes it, times a factor."""
    if isinstance(given, keras.optimizers.schedules.LearningRateSchedule):
        return ScaledSchedule(given, factor)
    return lambda: factor * given()
