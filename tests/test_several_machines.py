"""`fit` on two processes, started once, against NumPy and against one process."""

import fcntl
import json
import os
import pathlib
import pickle
import signal
import sys
import textwrap
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
import worker
from common import RULES, imported
from linear import START, X, Y, expected, mirrored
from monitored import Log

import keras_lecture_opt
from keras_lecture_opt import EffectiveLearningRateMonitor, several_machines
from keras_lecture_opt.several_machines import Backup, DistributedModel

ROOT = pathlib.Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "fit_several_machines.py"
WORKER = pathlib.Path(worker.__file__)


@pytest.fixture(scope="module")
def example():
    return imported(EXAMPLE)


@pytest.fixture(scope="module")
def answers(example, tmp_path_factory):
    """What both workers have found; the second one was killed and started again on the way."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # one launch for all of pytest's processes
        folder = folder.parent
    folder = folder / "several machines"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "linear").exists():
            (folder / "linear").write_bytes(pickle.dumps((X, Y, START)))
            patch.setenv("PYTHONPATH", str(ROOT))
            assert example.supervise([sys.executable, WORKER, folder], 2) == 0
    return folder, [pickle.loads((folder / f"answers-{i}").read_bytes()) for i in range(2)]


@pytest.mark.full
def test_rules_are_those_of_one_process_on_the_whole_batch(rule, answers):
    """NumPy's, with a last batch of two rows: one for each worker."""
    weights, states = expected(rule)
    for found in answers[1]:
        trained = found["rules"][rule.__name__]
        assert len(trained) == 2 * len(weights)
        for i, (reached, slots) in enumerate(trained):
            tolerance = {"float64": 1e-12, "float32": 2e-6}[str(reached.dtype)]
            np.testing.assert_allclose(reached, weights[i % 2], rtol=0, atol=tolerance)
            for slot, s in zip(slots, states[i % 2], strict=True):
                atol = tolerance * max(1, np.abs(s).max())
                np.testing.assert_allclose(slot, s, rtol=0, atol=atol)


@pytest.mark.full
def test_every_update_is_compiled(answers):
    for found in answers[1]:
        assert found["clusters"] == len(RULES) * len(worker.DTYPES)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process finds, with a plain Keras model."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    folder = tmp_path_factory.mktemp("one process")
    model = worker.two_inputs()
    model.compile(worker.adam(), *worker.LOSS)
    monitor = EffectiveLearningRateMonitor(folder, "batch")
    history = worker.fit(model, monitor, validation_data=worker.inputs())
    yield model, history, monitor.history, folder
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.full
def test_network_with_two_inputs_is_that_of_one_process(answers, alone):
    model, history, _, _ = alone
    for found in answers[1]:
        assert found["names"] == [v.path for v in model.trainable_variables]
        for one, two in zip(worker.state(model), found["state"], strict=True):
            np.testing.assert_allclose(two, one, rtol=0, atol=1e-12)
        assert found["history"].keys() == history.keys()
        for name, values in history.items():
            assert found["history"][name] == pytest.approx(values, abs=1e-12)
        evaluated = model.evaluate(*worker.inputs(), verbose=0, return_dict=True)
        assert found["evaluated"] == pytest.approx(evaluated, abs=1e-12)
        predicted = model.predict(worker.inputs()[0], verbose=0)
        np.testing.assert_allclose(found["predicted"], predicted, rtol=0, atol=1e-12)


@pytest.mark.full
def test_killed_worker_is_started_again_and_the_training_ends_as_if_undisturbed(answers):
    for found in answers[1]:
        assert found["epochs before"] == 1
        assert all(map(np.array_equal, found["interrupted"], found["state"]))


@pytest.mark.full
def test_each_worker_draws_numbers_of_its_own(answers):
    """Its seed, and eight draws."""
    for training in ("seed", "interrupted seed"):
        assert [found[training] for found in answers[1]] == [[7, 8], [8, 8]]


@pytest.mark.full
def test_the_chief_alone_writes_the_log_of_one_process(answers, alone):
    folder, (chief, other) = answers
    _, _, rows, folder_of_one = alone
    files = [file for file in (folder / "logs").rglob("*") if file.is_file()]
    assert len(files) == 4
    assert all(f".{chief['pid']}." in file.name for file in files)
    # Keras's callback writes to the same folder, so that what one process lacks is its.
    two, one = (Log(path / "train") for path in (folder / "logs", folder_of_one))
    assert {*one.tags} <= {*two.tags}
    for tag in one.tags:
        if one.plugins[tag] == "scalars":
            assert two.steps(tag) == one.steps(tag)
            values = ([value for _, value in log.values[tag]] for log in (one, two))
            np.testing.assert_allclose(*values, rtol=1e-6)
    for found in (chief, other):
        assert len(found["rows"]) == len(rows)
        for ours, true in zip(found["rows"], rows, strict=True):
            assert ours[:-1] == tuple(true)[:-1]
            assert ours[-1] == pytest.approx(true.value, rel=1e-6)


@pytest.mark.full
def test_files_of_the_chief_in_one_process(answers, alone):
    folder, (chief, _) = answers
    loaded = keras.saving.load_model(folder / "network.keras")
    assert type(loaded).__module__.startswith("keras.")
    restored = worker.two_inputs()
    restored.compile(worker.adam(), *worker.LOSS)
    assert Backup(restored, folder / "backups").restore() == 2
    for model in (loaded, restored):
        assert all(map(np.array_equal, worker.state(model), chief["state"]))
        assert model.evaluate(*worker.inputs(), verbose=0)[1] == chief["evaluated"]["accuracy"]


@pytest.mark.full
def test_keras_alone_still_fails(answers):
    """If this fails, Keras has mended its issue 20585: DistributedModel may be dropped."""
    for found in answers[1]:
        assert "PerReplica" in found["keras"]


# The helper refuses what it cannot do.


@pytest.fixture
def strategy():
    return tf.distribute.MultiWorkerMirroredStrategy()  # of one process


def network(strategy, cls=keras.Sequential):
    with strategy.scope():
        return cls([keras.Input((4,)), keras.layers.Dense(2)], name="mine")


class OwnStep(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)


def test_what_cannot_be_distributed_is_refused(strategy):
    with pytest.raises(TypeError, match=r"`network` must be a `keras.Sequential` or functional"):
        DistributedModel(keras.layers.Dense(2))
    with pytest.raises(TypeError, match=r"`network`: `OwnStep.train_step` would not be used"):
        DistributedModel(network(strategy, OwnStep))
    with strategy.scope():
        unbuilt, subclassed = keras.Sequential(name="empty"), keras.Model()
    with pytest.raises(ValueError, match="`network` 'empty' has no weights yet"):
        DistributedModel(unbuilt)
    subclassed.built = True
    with pytest.raises(TypeError, match=r"`network` must be a `keras.Sequential` or functional"):
        DistributedModel(subclassed)
    for other in (tf.distribute.get_strategy(), mirrored()):
        with pytest.raises(ValueError, match="MultiWorkerMirroredStrategy: 'mine' is not"):
            DistributedModel(network(other))
    with strategy.scope(), pytest.raises(RuntimeError, match="outside of the strategy's scope"):
        DistributedModel(network(strategy))
    optimizer = keras_lecture_opt.Adam(name="outside")
    with pytest.raises(ValueError, match="optimizer 'outside' was created outside"):
        DistributedModel(network(strategy)).compile(optimizer, "mse")


def test_process_with_several_devices_is_refused(strategy, monkeypatch):
    monkeypatch.setattr(type(strategy.extended), "worker_devices", ("GPU:0", "GPU:1"))
    with pytest.raises(ValueError, match="This process has 2 devices: start one process for each"):
        DistributedModel(network(strategy))


def test_one_process_trains_and_saves_as_without(strategy):
    with strategy.scope():
        made = worker.two_inputs()
    model = DistributedModel(made)
    model.compile("adam", *worker.LOSS)
    plain = worker.two_inputs()
    plain.compile("adam", *worker.LOSS)
    assert worker.fit(model) == worker.fit(plain)
    assert all(map(np.array_equal, worker.state(model), worker.state(plain)))


def test_model_without_an_optimizer_is_evaluated(strategy):
    model = DistributedModel(network(strategy))
    model.compile(None, "mse")
    assert model.evaluate(np.zeros((4, 4)), np.zeros((4, 2)), verbose=0) >= 0


def test_chief_of_a_cluster():
    def is_chief(task_type, task_id, **jobs):
        class Strategy:
            cluster_resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec(jobs), task_type=task_type, task_id=task_id
            )

        return several_machines.is_chief(Strategy)

    workers, chief = ["a:1", "b:1"], ["c:1"]
    assert is_chief("worker", 0, worker=workers)
    assert not is_chief("worker", 1, worker=workers)
    assert is_chief("chief", 0, worker=workers, chief=chief)
    assert not is_chief("worker", 0, worker=workers, chief=chief)
    assert several_machines.is_chief(tf.distribute.get_strategy())
    with pytest.raises(TypeError, match=r"`strategy` must be a tf\.distribute\.Strategy, not None"):
        several_machines.is_chief(None)


@pytest.mark.parametrize(
    ("of_optimizer", "arguments", "named"),
    [
        # By position: after the weights of the loss, two lists of metrics and `run_eagerly`.
        ({}, [None, None, None, False, 1, True], "jit_compile"),
        ({}, [None, None, None, False, 4], "steps_per_execution"),
        ({"gradient_accumulation_steps": 2}, [], "gradient_accumulation_steps"),
        ({"use_ema": True, "ema_overwrite_frequency": 3}, [], "ema_overwrite_frequency"),
    ],
)
def test_what_tensorflow_cannot_do_there_is_refused(
    of_optimizer, arguments, named, strategy, monkeypatch
):
    model = DistributedModel(network(strategy))
    with strategy.scope():
        optimizer = keras_lecture_opt.Adam(**of_optimizer)
    monkeypatch.setattr(type(strategy), "num_replicas_in_sync", 2)
    with pytest.raises(ValueError, match=f"`{named}`"):
        model.compile(optimizer, "mse", *arguments)


def small(optimizer="adam", units=2):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])
    model.compile(optimizer, "mse")
    return model


def test_backup_of_another_model_is_refused(tmp_path):
    Backup(small(), tmp_path).on_epoch_end(0)
    others = (small(units=3), small("sgd"), small(keras_lecture_opt.Adam()))
    for other in others:
        with pytest.raises(ValueError, match="is of another model or optimizer"):
            Backup(other, tmp_path).restore()
    with pytest.raises(TypeError, match=r"`folder` must be a string or a pathlib.Path, not 3"):
        Backup(small(), 3)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"`folder`: '.*file' cannot be used: .* is not a directory"):
        Backup(small(), tmp_path / "file")
    with pytest.raises(TypeError, match=r"`model` must be a compiled keras.Model"):
        Backup(keras.Sequential(), tmp_path)


def test_damaged_backup_is_not_used(tmp_path):
    model = small()
    backup, kernel = Backup(model, tmp_path), model.layers[0].kernel
    for epoch in range(2):
        kernel.assign(np.full((4, 2), epoch + 1.0))
        (tmp_path / f"ckpt-{epoch}_temp").mkdir()  # as a process that is killed leaves it
        backup.on_epoch_end(epoch)
    assert not [*tmp_path.glob("*_temp")]
    [newest] = tmp_path.glob("ckpt-2.data*")
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.warns(UserWarning, match="ckpt-2 is damaged"):
        assert Backup(model, tmp_path).restore() == 1
    np.testing.assert_array_equal(kernel.numpy(), np.ones((4, 2)))
    [older] = tmp_path.glob("ckpt-1.data*")
    older.unlink()
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(ValueError, match=r"All backups .* are damaged"),
    ):
        Backup(model, tmp_path).restore()
    listed = tmp_path / "checkpoint"
    for damage in (lambda: listed.write_text(""), listed.unlink):
        damage()
        with pytest.raises(ValueError, match="`checkpoint`, which lists them, is damaged"):
            Backup(model, tmp_path)


# The example's supervisor, with processes that import nothing.


def write(path, code):
    path.write_text(textwrap.dedent(code))
    return [sys.executable, path]


def test_killed_worker_ends_the_others_which_do_not_end_by_themselves(
    example, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(example, "SECONDS_TO_END", 0.2)
    command = write(
        tmp_path / "program.py",
        """
        import json, os, pathlib, signal, time
        index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
        marks = [pathlib.Path(__file__).with_name(f"started-{i}") for i in range(2)]
        if not marks[index].exists():
            marks[index].touch()
            if index:
                while not marks[0].exists():
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        """,
    )
    assert example.supervise(command, 2) == 0
    said = "A worker was killed. Exit statuses: worker 0: 1, worker 1: -9.\n"
    assert capfd.readouterr().out == said


def test_error_of_a_worker_is_not_tried_again(example, tmp_path, capfd):
    command = write(tmp_path / "program.py", "print('tried'); raise SystemExit(3)")
    assert example.supervise(command, 2) == 3
    assert capfd.readouterr().out.count("tried") == 2  # both may write at once


def test_no_process_outlives_ctrl_c(example, tmp_path):
    command = write(
        tmp_path / "program.py",
        """
        import json, os, pathlib, time
        index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
        pathlib.Path(__file__).with_name(f"pid-{index}").write_text(str(os.getpid()))
        time.sleep(60)
        """,
    )
    pids = [tmp_path / f"pid-{i}" for i in range(2)]

    def interrupt():
        while not all(pid.exists() and pid.read_text() for pid in pids):
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        example.supervise(command, 2)
    signal.signal(signal.SIGINT, before)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)


CLUSTER = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ("two machines", (), "TF_CONFIG must be like"),
        ({"cluster": {"worker": ["a:1"]}}, (), "TF_CONFIG must be like"),
        ({**CLUSTER, "task": {"type": "worker", "index": 2}}, (), "TF_CONFIG must be like"),
        ({**CLUSTER, "task": {"type": "worker", "index": -1}}, (), "TF_CONFIG must be like"),
        ({**CLUSTER, "cluster": {"worker": "a:1"}}, (), "TF_CONFIG must be like"),
        (CLUSTER, (), "--log-dir is required with TF_CONFIG"),
        (CLUSTER, ("--local", "2"), "unset TF_CONFIG"),
        (None, ("--local", "0"), "argument --local: must be an integer >= 1"),
        (None, ("--local", "3"), "--batch-size 128 cannot be shared by 3 workers"),
        (None, ("--train-examples", "100"), "--train-examples must be at least --batch-size, 128"),
        (None, ("--seed", "-1"), "argument --seed: must be an integer >= 0"),
        (None, ("--optimizer", "adam"), "Did you mean Adam?"),
        (None, ("--learning-rate", "nan"), "`learning_rate` must be"),
        (None, ("--dropout", "1"), "`dropout` must be a number in"),
    ],
)
def test_examples_errors_name_what_is_wrong(config, options, message, example, monkeypatch, capsys):
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(SystemExit) as stopped:
        example.parse(options)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
