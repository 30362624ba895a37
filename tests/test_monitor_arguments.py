"""What the monitor refuses, before the first step, and what it accepts as a number or a path."""

import re

import numpy as np
import pytest
from keras import optimizers
from monitored import Log, fit, network
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from keras_lecture_opt import EffectiveLearningRateMonitor


def test_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    model = network(optimizers.SGD())
    monitor = EffectiveLearningRateMonitor(tmp_path / "file" / "run")
    with pytest.raises(OSError, match=r"`log_dir` '.*file/run' cannot be written to"):
        fit(model, monitor)
    assert int(model.optimizer.iterations) == 0


BAD = {
    "update_freq": [("epochs", TypeError), (0, ValueError), (2.0, TypeError), (True, TypeError)],
    "write_images": [(1, TypeError)],
    "tracked_weights": [(-1, ValueError), ("2", TypeError)],
    "seed": [(-1, ValueError), (None, TypeError)],
    "hparams": [
        *((wrong, TypeError) for wrong in (3, {"batch_size": None}, {1: 2})),
        *(({"a": wrong}, ValueError) for wrong in (np.nan, 10**400)),
    ],
    "log_dir": [(b"runs", TypeError), (3, TypeError), ("", ValueError), ("a\0b", ValueError)],
    "variables": [(3, TypeError), ("(", ValueError), (["a", 1], TypeError), ([], ValueError)],
    "detail": [("all", TypeError)],
}


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [(argument, *case) for argument, cases in BAD.items() for case in cases],
)
def test_bad_argument(argument, value, error, tmp_path):
    with pytest.raises(error, match=f"`{argument}` must be .*not {re.escape(repr(value))}"):
        EffectiveLearningRateMonitor(**{"log_dir": tmp_path, argument: value})


def test_numpy_scalars_are_numbers(tmp_path):
    rng = np.random.default_rng(0)
    monitor = EffectiveLearningRateMonitor(
        tmp_path,
        update_freq=np.int64(5),
        write_images=np.bool_(True),
        tracked_weights=np.uint8(1),
        seed=rng.choice([3, 4]),
        hparams={
            "batch_size": rng.choice([32, 32]),
            "noise": np.float32(0.5),
            "augmented": np.bool_(False),
            "of_zero_dimensions": np.array(2.0),
            "data": np.str_("mnist"),
        },
    )
    assert (monitor.update_freq, monitor.write_images, monitor.tracked_weights) == (5, True, 1)
    fit(network(optimizers.SGD()), monitor)
    log = Log(tmp_path / "train")
    assert log.steps("effective_lr/dense/bias") == [5, 10]
    text = log.last("optimizer/configuration").item().decode()
    for row in ("| batch_size | 32 |", "| noise | 0.5 |", "| augmented | False |"):
        assert row in text
    session = Log(tmp_path / "hparams").metadata["_hparams_/session_start_info"]
    start = HParamsPluginData.FromString(session.content).session_start_info
    assert start.hparams["batch_size"].number_value == 32
    assert start.hparams["augmented"].WhichOneof("kind") == "bool_value"
    assert start.hparams["of_zero_dimensions"].number_value == 2
    assert start.hparams["data"].string_value == "mnist"


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    fit(network(optimizers.SGD()), EffectiveLearningRateMonitor("~/run"), epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("tracked", "message"),
    [
        ({"dense/bias": [1.0]}, r"must be a list of indices for 'dense/bias', integers >= 0"),
        ({"dense/kernel": [(-1, 0)]}, r"integers >= 0, not \[\(-1, 0\)\]"),
        ({"dense/bias": ["a"]}, r"integers >= 0, not \[\('a',\)\]"),
        ({"dense/bias": 1}, r"must be a list of indices for 'dense/bias', not 1"),
    ],
)
def test_index_that_is_none(tracked, message, tmp_path):
    error = TypeError if message.endswith("not 1") else ValueError
    with pytest.raises(error, match=message):
        EffectiveLearningRateMonitor(tmp_path, tracked_weights=tracked)


def test_weight_that_does_not_exist_is_named_and_training_goes_on(tmp_path):
    """Which weights there are shows only when training has started."""
    tracked = {"dense/weights": [(0, 0)], "dense/kernel": [(0, 8), (0, 7)], "dense/bias": [(0, 1)]}
    monitor = EffectiveLearningRateMonitor(tmp_path, tracked_weights=tracked)
    with pytest.warns(UserWarning, match="`tracked_weights`") as warned:
        fit(network(optimizers.SGD()), monitor)
    said = "\n".join(str(w.message) for w in warned)
    assert "no variable 'dense/weights' is trained; there are 'dense/kernel'" in said
    assert "'dense/kernel', of shape (4, 8), has no weight (0, 8)" in said
    assert "'dense/bias', of shape (8,), has no weight (0, 1)" in said
    tags = [t for t in Log(tmp_path / "train").tags if t.startswith("tracked_weights")]
    assert tags == ["tracked_weights/dense/kernel[0,7]"]


class OwnRule(optimizers.SGD):
    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate)


def test_optimizer_without_a_formula_is_monitored_by_its_steps(tmp_path):
    monitor = EffectiveLearningRateMonitor(tmp_path)
    with pytest.warns(UserWarning, match="learning rate of OwnRule is not known. Register") as said:
        fit(network(OwnRule()), monitor)
    # Keras 3.12 has a DeprecationWarning of its own.
    assert [w.category for w in said if w.category is not DeprecationWarning] == [UserWarning]
    log = Log(tmp_path / "train")
    assert log.steps("step_to_weight/dense/kernel") == [7, 14]
    assert "effective_lr/dense/kernel" not in log.tags
