"""When the monitor logs: at which steps, and of which step the rate is."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import optimizers
from monitored import Log, detailed, expected_tags, fit, network

import keras_lecture_opt

EXECUTIONS = {"steps_per_execution": 3}
FREQUENCIES = [  # arguments of compile; each update_freq and its steps of two epochs of 7 batches
    ({}, [("epoch", [7, 14]), ("batch", [*range(1, 15)]), (3, [3, 6, 9, 12]), (7, [7, 14])]),
    ({}, [(np.int64(7), [7, 14]), (100, [14])]),
    (EXECUTIONS, [("epoch", [7, 14]), ("batch", [3, 6, 7, 10, 13, 14]), (5, [6, 10])]),
    ({"run_eagerly": True}, [(4, [4, 8, 12])]),
]


@pytest.mark.parametrize(("arguments", "frequencies"), FREQUENCIES)
def test_update_freq(arguments, frequencies, tmp_path):
    """Monitors of several frequencies watch one `fit`."""
    folders = [tmp_path / str(i) for i in range(len(frequencies))]
    monitors = [
        detailed(folder, update_freq)
        for folder, (update_freq, _) in zip(folders, frequencies, strict=True)
    ]
    fit(network(optimizers.SGD(), **arguments), *monitors)
    for folder, (_, steps) in zip(folders, frequencies, strict=True):
        logged = Log(folder / "train").values.get("effective_lr/dense/bias", [])
        assert [step for step, _ in logged] == steps


@pytest.mark.parametrize("update_freq", ["epoch", 4])
def test_two_fits_and_initial_epoch(update_freq, tmp_path):
    model, monitor = (
        network(optimizers.Adagrad()),
        detailed(tmp_path, update_freq),
    )
    fit(model, monitor, epochs=1)
    fit(model, monitor, epochs=3, initial_epoch=1)
    log = Log(tmp_path / "train")
    assert log.plugins == expected_tags()
    steps = [7, 14, 21] if update_freq == "epoch" else [4, 8, 12, 16, 20]
    assert log.steps("effective_lr/dense/bias") == steps
    assert log.steps("optimizer/configuration") == [1]
    assert len([*tmp_path.rglob("events*")]) == 4  # of two fits and two folders


def test_second_fit_does_not_retrace(tmp_path, monkeypatch):
    traced, formula = [], keras_lecture_opt.AdaGrad.effective_learning_rate

    def counting(self, *arguments):
        if not tf.executing_eagerly():
            traced.append(1)
        return formula(self, *arguments)

    model, monitor = network(keras_lecture_opt.AdaGrad()), detailed(tmp_path, 2)
    fit(model, monitor)
    monkeypatch.setattr(keras_lecture_opt.AdaGrad, "effective_learning_rate", counting)
    fit(model, monitor)
    assert not traced


def test_rate_is_that_of_the_step_taken_whatever_callbacks_do(tmp_path):
    class Halve(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.optimizer.learning_rate = self.model.optimizer.learning_rate / 2

    for name, where in (("before", 1), ("after", -1)):
        monitor = detailed(tmp_path / name, "batch")
        fit(network(optimizers.SGD(2.0**-4)), *[Halve(), monitor][::where], epochs=1)
        logged = Log(tmp_path / name / "train").values["effective_lr/dense/bias"]
        assert [(step, float(v)) for step, v in logged] == [
            (i + 1, 2.0 ** -(4 + i)) for i in range(7)
        ]

    monitor = detailed(tmp_path / "plateau")
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=1e9)
    fit(network(optimizers.SGD(0.25)), plateau, monitor, epochs=3)
    logged = Log(tmp_path / "plateau" / "train").values["effective_lr/dense/bias"]
    assert [float(v) for _, v in logged] == [0.25, 0.25, 0.125]

    schedule = optimizers.schedules.PiecewiseConstantDecay([0, 1], [0.25, 0.125, 0.0625])
    monitor = detailed(tmp_path / "schedule", "batch")
    fit(network(optimizers.SGD(schedule)), monitor, epochs=1)
    logged = Log(tmp_path / "schedule" / "train").values["effective_lr/dense/bias"]
    assert [float(v) for _, v in logged] == [0.25, 0.125, *[0.0625] * 5]


def test_accumulated_and_skipped_steps_are_not_logged_twice(tmp_path):
    model = network(keras_lecture_opt.Adam(gradient_accumulation_steps=3))
    fit(model, detailed(tmp_path / "accumulation", "batch"))
    log = Log(tmp_path / "accumulation" / "train")
    assert log.steps("effective_lr/dense/bias") == [1, 2, 3, 4]  # of 14 batches

    optimizer = optimizers.LossScaleOptimizer(keras_lecture_opt.Adam(), initial_scale=np.inf)
    with pytest.warns(UserWarning, match="has logged nothing"):
        fit(network(optimizer), detailed(tmp_path / "overflow", "batch"))
    assert not [t for t in Log(tmp_path / "overflow" / "train").tags if t.startswith("effective")]
