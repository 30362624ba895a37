"""Which weights the monitor counts as never updated."""

import keras
import numpy as np
import pytest
from keras import optimizers
from monitored import Log, detailed, fit, network

import keras_lecture_opt
from keras_lecture_opt import EffectiveLearningRateMonitor
from keras_lecture_opt.monitor._training import Training

FORGETFUL = {
    "Momentum": keras_lecture_opt.Momentum,
    "RMSProp": keras_lecture_opt.RMSProp,
    "Keras's Adam, beta_2 0.9": lambda: optimizers.Adam(beta_2=0.9),
    "SGD": lambda: optimizers.SGD(momentum=0.9),
    "Adam, beta_2 0.9": lambda: keras_lecture_opt.Adam(beta_2=0.9),
    "SimplifiedAdam, beta_2 0.9": lambda: keras_lecture_opt.SimplifiedAdam(beta_2=0.9),
    "RMSprop": lambda: optimizers.RMSprop(weight_decay=0.0),
}
# As others above.
FORGET_ALIKE = {"Adam, beta_2 0.9", "SimplifiedAdam, beta_2 0.9", "RMSprop"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.full if name in FORGET_ALIKE else ())
        for name in FORGETFUL
    ],
)
def test_what_was_updated_once_stays_updated(name, tmp_path):
    """Whatever the state forgets until the next event."""
    x = np.zeros((1200, 2), "float32")
    x[0, 0] = 1  # the first input is alive in the first batch only, the second never
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(FORGETFUL[name](), "mse", steps_per_execution=100)
    monitor = detailed(tmp_path)
    model.fit(x, 9 * x[:, :1], batch_size=1, shuffle=False, callbacks=[monitor], verbose=0)
    log = Log(tmp_path / "train")
    assert log.last("never_updated/dense/kernel") == 0.5
    assert log.steps("effective_lr/dense/kernel") == [1200]


def test_weight_decay_is_not_taken_for_an_update(tmp_path):
    for name, optimizer in (
        ("adam", keras_lecture_opt.Adam(weight_decay=0.5)),
        ("momentum", optimizers.SGD(momentum=0.5, weight_decay=0.5)),
        ("sgd", optimizers.SGD(weight_decay=0.5)),
    ):
        fit(network(optimizer), detailed(tmp_path / name))
        log = Log(tmp_path / name / "train")
        if name == "sgd":  # it does not remember whose gradient was 0
            assert "never_updated/dense/kernel" not in log.tags
        else:
            assert log.last("never_updated/dense/kernel") == 0.25


def starts(model, monitor):
    """The weights before training that a monitor keeps, one for each variable."""
    training = Training(monitor, pytest.fail)
    training.watch([model])
    training.counts()
    training.look(at_start=True)
    return [m.start for m in training.monitored]


def test_state_that_keeps_the_evidence_needs_no_copy_of_the_weights():
    """The weights that were put back where they began were updated all the same."""
    for optimizer, needs_copy in (
        (keras_lecture_opt.Adam(), False),
        (keras_lecture_opt.RMSProp(rho=0.9999), False),
        (keras_lecture_opt.Adam(beta_2=0.9), True),
        (keras_lecture_opt.RMSProp(), True),
    ):
        model = network(optimizer)
        optimizer.build(model.trainable_variables)
        assert [start is not None for start in starts(model, detailed())] == [needs_copy] * 4
        assert starts(model, EffectiveLearningRateMonitor()) == [None] * 4
