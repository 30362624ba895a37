"""Training does not notice the monitor, which logs beside other callbacks and in any context."""

import zipfile

import keras
import numpy as np
import pytest
from common import keras_compiles
from keras import optimizers
from linear import mirrored
from monitored import Log, detailed, expected_tags, fit, network

import keras_lecture_opt


@pytest.fixture(scope="module")
def keras_alone(tmp_path_factory):
    """What Keras's callback writes without the monitor, by `update_freq`."""
    logs = {}
    for update_freq in ("epoch", "batch", 3):
        folder = tmp_path_factory.mktemp("alone")
        fit(network(optimizers.SGD()), keras.callbacks.TensorBoard(folder, update_freq=update_freq))
        logs[update_freq] = Log(folder / "train")
    return logs


@pytest.mark.parametrize(
    ("order", "update_freq"),
    [(1, "epoch"), (-1, "batch"), (1, 3)]
    + [
        pytest.param(*pair, marks=pytest.mark.full)
        for pair in ((-1, "epoch"), (1, "batch"), (-1, 3))
    ],
)
def test_beside_keras_own_callback(order, update_freq, keras_alone, tmp_path):
    model = network(optimizers.SGD())
    monitor = detailed(tmp_path / "both", 2)
    own = keras.callbacks.TensorBoard(tmp_path / "both", update_freq=update_freq)
    fit(model, *[monitor, own][::order])
    log = Log(tmp_path / "both" / "train")
    assert expected_tags().items() <= log.plugins.items()
    assert log.steps("effective_lr/dense/bias") == [2, 4, 6, 8, 10, 12, 14]

    alone = keras_alone[update_freq]
    assert {t for t in log.tags if t not in expected_tags()} == set(alone.tags)
    if update_freq != 3:  # Keras's own then leaves it out, alone or not
        np.testing.assert_array_equal(log.values["epoch_loss"], alone.values["epoch_loss"])


def saved(model, file):
    """The weights and the optimizer's state in what a model saves."""
    model.save(file)
    return zipfile.ZipFile(file).read("model.weights.h5")


@pytest.mark.alike
def test_training_does_not_notice(tmp_path, rule):
    by_details = detailed(tmp_path, "batch", write_images=True, tracked_weights=2)
    by_samples = keras_lecture_opt.EffectiveLearningRateMonitor(update_freq="batch")
    models = []
    for _ in range(3):
        keras.utils.clear_session()  # names are in the files
        models.append(network(rule()))
    alone, *watched = models
    history = fit(alone).history
    for model, monitor in zip(watched, (by_details, by_samples), strict=True):
        assert fit(model, monitor).history == history
        both = (m.weights + m.optimizer.variables for m in (alone, model))
        for a, b in zip(*both, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert saved(model, tmp_path / "b.keras") == saved(alone, tmp_path / "a.keras")
    assert Log(tmp_path / "train").steps("never_updated/dense/bias") == [*range(1, 15)]
    medians = by_samples.history.select("effective_lr", "dense/bias")
    assert [row.step for row in medians] == [*range(1, 15)]


class Stop(keras.callbacks.Callback):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 5:
            raise self.error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_was_logged_survives_an_error(error, tmp_path):
    model, monitor = network(optimizers.SGD()), detailed(tmp_path, "batch")
    with pytest.raises(error):
        fit(model, monitor, Stop(error))
    assert Log(tmp_path / "train").steps("effective_lr/dense/bias") == [1, 2, 3, 4, 5]
    fit(model, monitor, epochs=1)
    steps = Log(tmp_path / "train").steps("effective_lr/dense/bias")
    assert steps == [*range(1, 13)]


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Logs of one training without anything, with `jit_compile`, and on two devices."""
    folder = tmp_path_factory.mktemp("logs")
    fit(network(keras_lecture_opt.Adam()), detailed(folder / "here", 3), shuffle=False)
    with keras_compiles():
        model = network(keras_lecture_opt.Adam(), jit_compile=True)
        assert model.jit_compile
        fit(model, detailed(folder / "xla", 3), shuffle=False)
    with mirrored().scope():
        model = network(keras_lecture_opt.Adam())
    fit(model, detailed(folder / "mirrored", 3), shuffle=False)
    return {name: Log(folder / name / "train") for name in ("here", "xla", "mirrored")}


@pytest.mark.parametrize("which", ["xla", "mirrored"])
def test_compiled_and_distributed_training_is_logged(which, logs):
    assert logs[which].plugins == logs["here"].plugins == expected_tags()
    assert logs[which].steps("effective_lr/dense/bias") == [3, 6, 9, 12]
    for tag in expected_tags():
        if tag.startswith(("effective_lr/", "never_updated/")):
            np.testing.assert_allclose(logs["here"].last(tag), logs[which].last(tag), rtol=0.01)
