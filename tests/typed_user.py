"""For mypy alone, in `make lint`: what its users' own type checker says of this package.

`type: ignore` marks what it must report: it reports a mark without an error, too.
"""

from typing import assert_type

import keras_lecture_opt
from keras_lecture_opt import Adam, EffectiveLearningRateMonitor, Momentum, comparison, mnist

Adam(0.1, beta_1=0.5, clipnorm=1.0, use_ema=True)
Adam("0.1")  # type: ignore[arg-type]
Adam(lr=0.1)  # type: ignore[call-arg]
keras_lecture_opt.Adma()  # type: ignore[attr-defined]
keras_lecture_opt.plots.pahts()  # type: ignore[attr-defined]
assert_type(Momentum(), Momentum)
assert_type(keras_lecture_opt.has_formula(Adam()), bool)
EffectiveLearningRateMonitor(update_freq=2.5)  # type: ignore[arg-type]
mnist.mlp(hidden=10)  # type: ignore[arg-type]
assert_type(comparison.log_grid(0.001, 0.1), list[float])
comparison.log_grid("0.001", 0.1)  # type: ignore[arg-type]
