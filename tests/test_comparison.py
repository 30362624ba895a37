"""The comparison's mechanics, on a slice of MNIST and small networks."""

import csv
import dataclasses
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from digits import digits
from own_rules import OwnRule
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import keras_lecture_opt
from keras_lecture_opt import comparison
from keras_lecture_opt.comparison import Run, best, csv_rows, train, write_csv

SMALL = Run("Adam", {"learning_rate": 0.01}, seed=3, hidden=(12, 8), batch_size=64, epochs=4)


@pytest.fixture(scope="module")
def data():
    return digits("train", 300)


@pytest.fixture(scope="module")
def test_data():
    return digits("t10k", 200)


def numbers(rows):
    """All but the time."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.fixture
def started(monkeypatch):
    """What a run starts with: its variables but the optimizer's, and its first batches."""
    starts = []

    def fit(model, batches, **arguments):
        variables = [v.numpy() for v in model.variables]
        starts.append((variables, [[a.numpy() for a in batch] for batch in batches]))

    monkeypatch.setattr(keras.Sequential, "fit", fit)
    return starts


@pytest.fixture
def eagerly(monkeypatch):
    """Train without a graph: tracing one takes longer than a few steps."""
    compile = keras.Sequential.compile
    monkeypatch.setattr(
        keras.Sequential,
        "compile",
        lambda model, *args, **kwargs: compile(model, *args, **kwargs, run_eagerly=True),
    )


def assert_equal(one, other):
    for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_rules_start_from_equal_weights_dropout_and_batches(started, data, tmp_path):
    rules = [dataclasses.replace(SMALL, rule=r) for r in ("Adam", "AdaGrad", "keras.Adadelta")]
    for run in rules:
        train(run, data, tmp_path)
    assert_equal(started[1], started[0])
    assert_equal(started[2], started[0])
    variables, batches = started[0]
    assert len(variables) == 6 + 2  # the dropouts' seeds
    assert len(batches) == 4 * math.ceil(300 / 64)

    train(dataclasses.replace(SMALL, seed=4), data, tmp_path)
    assert not np.array_equal(started[3][0][0], variables[0])
    assert not np.array_equal(started[3][1][0][1], batches[0][1])


def test_each_epoch_has_each_image_once_in_another_order(started, data, tmp_path):
    images = np.zeros((300, 28, 28), "uint8")
    images[:, 0, 0], images[:, 0, 1] = np.arange(300) // 256, np.arange(300) % 256
    train(SMALL, (images, data[1]), tmp_path)
    _, batches = started[0]
    orders = []
    for epoch in range(4):
        x, y = (np.concatenate(a) for a in zip(*batches[5 * epoch : 5 * epoch + 5], strict=True))
        order = 256 * x[:, 0, 0].astype(int) + x[:, 0, 1]
        assert sorted(order) == list(range(300))
        np.testing.assert_array_equal(y, data[1][order])
        orders.append(order)
    assert len({tuple(order) for order in orders}) == 4


def test_cost_and_accuracy_are_numpys(started, data, test_data, tmp_path, monkeypatch):
    run = Run("SteepestDescent", {"learning_rate": 0}, hidden=(12,), dropout=0.0, epochs=1)
    train(run, data, tmp_path / "start")
    [(w1, b1, w2, b2), _] = started[0]
    monkeypatch.undo()
    [row] = train(run, data, tmp_path, test_data)

    def probabilities(images):
        hidden = np.maximum(images.reshape(-1, 784) / 255 @ w1 + b1, 0)
        e = np.exp(hidden @ w2 + b2)
        return e / e.sum(axis=1, keepdims=True)

    for (images, labels), key in ((data, "cost"), (test_data, "test_cost")):
        p = probabilities(images)[np.arange(len(labels)), labels]
        assert row[key] == pytest.approx(-np.log(p).mean(), rel=1e-5)
    right = probabilities(test_data[0]).argmax(axis=1) == test_data[1]
    assert row["test_accuracy"] == pytest.approx(right.mean())
    assert row["seconds"] > 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Where the uninterrupted run has its folder."""
    return tmp_path_factory.mktemp("uninterrupted")


@pytest.fixture(scope="module")
def uninterrupted(data, test_data, runs):
    return train(SMALL, data, runs, test_data)


def test_resumed_or_longer_run_is_the_uninterrupted_one(data, test_data, tmp_path, uninterrupted):
    short = dataclasses.replace(SMALL, epochs=3)

    def dies(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(SMALL, data, tmp_path, test_data, progress=dies)
    # A kill while the third epoch is saved leaves files that nothing refers to yet.
    [saved] = tmp_path.glob(f"*/{comparison.SAVED}")
    for suffix in ("index", "data-00000-of-00001"):
        (saved / f"ckpt-3.{suffix}").write_bytes(b"half")
    moved = []
    rows = train(short, data, tmp_path, test_data, progress=moved.append)
    assert numbers(rows) == numbers(uninterrupted[:3])
    assert [row["epoch"] for row in moved] == [3]
    rows = train(SMALL, data, tmp_path, test_data, progress=moved.append)
    assert numbers(rows) == numbers(uninterrupted)
    assert [row["epoch"] for row in moved] == [3, 4]
    assert rows[:2] != uninterrupted[:2]  # these seconds are the first call's

    again = train(SMALL, data, tmp_path, test_data, progress=moved.append)
    assert again == rows
    assert train(short, data, tmp_path, test_data, progress=moved.append) == rows[:3]
    assert len(moved) == 2  # both were done


def test_folder_tells_runs_apart_and_is_no_pattern(data, tmp_path):
    changes = {"rule": "AdaGrad", "hyperparameters": {"learning_rate": 0.1}, "seed": 4}
    changes |= {"hidden": (12,), "dropout": 0.1, "batch_size": 32}
    names = {dataclasses.replace(SMALL, **{k: v}).folder(300) for k, v in changes.items()}
    # Classes of one name in several modules are several rules.
    for cls in (keras.optimizers.Adam, type("Adam", (keras.optimizers.SGD,), {})):
        names.add(dataclasses.replace(SMALL, rule=cls).folder(300))
    assert len(names | {SMALL.folder(300), SMALL.folder(299)}) == len(changes) + 4
    by_class = dataclasses.replace(SMALL, rule=keras_lecture_opt.Adam)
    assert by_class.folder(300) == SMALL.folder(300)
    assert dataclasses.replace(SMALL, epochs=9).folder(300) == SMALL.folder(300)
    with pytest.raises(ValueError, match=r"`folder` must be without .*, not '.*runs \[2\]"):
        train(SMALL, data, tmp_path / "runs [2]")


def test_logs_for_tensorboard_or_brief(data, tmp_path, runs, uninterrupted):
    brief = train(SMALL, data, tmp_path / "brief", brief=True)
    assert [row["cost"] for row in brief] == [row["cost"] for row in uninterrupted]
    assert {row["test_accuracy"] for row in brief} == {None}
    longer = dataclasses.replace(SMALL, epochs=5)  # which brief numbers cannot continue
    assert numbers(train(longer, data, tmp_path / "brief", brief=True)[:4]) == numbers(brief)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("tfevents" in path.name for path in kept)
    assert sum(path.stat().st_size for path in kept) < 10_000
    assert train(SMALL, data, tmp_path / "brief", brief=True) == brief

    names = [path.name for path in runs.glob("*/train/*")]
    assert any(name.endswith(".effective_lr") for name in names)
    assert any(name.endswith(".v2") for name in names)


class Own(keras.optimizers.SGD):
    """Its effective learning rate is not known."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate)


@pytest.mark.filterwarnings("ignore:Not logged in effective_lr")
def test_hparams_tell_the_runs_apart_but_not_by_their_seeds(data, tmp_path, monkeypatch, eagerly):
    monkeypatch.setattr(keras.optimizers, "Own", Own, raising=False)
    configurations = []
    adadelta = {"rule": "keras.Adadelta"}
    for change in (
        *({}, {"seed": 4}, {"batch_size": 32}),
        *(adadelta, {**adadelta, "seed": 4}, {"rule": "keras.Own"}),
    ):
        run = dataclasses.replace(SMALL, hidden=(12,), epochs=1, **change)
        train(run, data, tmp_path)
        events = EventAccumulator(str(tmp_path / run.folder(300) / "hparams")).Reload()
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        start = HParamsPluginData.FromString(content).session_start_info
        values = {k: v.number_value or v.string_value for k, v in start.hparams.items()}
        configurations.append((start.group_name, values))
    of_network = {"hidden": "12", "dropout": 0.5, "learning_rate": pytest.approx(0.01)}
    for (_, values), batch_size in zip(configurations, (64, 64, 32, 64, 64, 64), strict=True):
        assert {"batch_size": batch_size, **of_network}.items() <= values.items()
    trials = [trial for trial, _ in configurations]
    assert trials[0] == trials[1] != trials[2]
    assert trials[3] == trials[4]  # whose name Keras would number
    optimizers = [values["optimizer"] for _, values in configurations]
    assert optimizers[2:4] == ["Adam", "keras.Adadelta"]
    assert optimizers[5] == "keras.Own"


def test_cost_is_that_with_dropout(data, tmp_path):
    still = Run("SteepestDescent", {"learning_rate": 0}, hidden=(12,), batch_size=64, epochs=2)
    rows = train(still, data, tmp_path, data)
    assert rows[0]["test_cost"] == pytest.approx(rows[1]["test_cost"], rel=1e-6)
    assert len({rows[0]["cost"], rows[1]["cost"], rows[0]["test_cost"]}) == 3


def test_divergence_is_recorded_and_ends_the_run(data, tmp_path, eagerly):
    far = dataclasses.replace(SMALL, rule="SteepestDescent", hyperparameters={"learning_rate": 1e6})
    rows = train(far, data, tmp_path)
    assert [row["diverged"] for row in rows] == [*[False] * (len(rows) - 1), True]
    assert len(rows) < SMALL.epochs
    assert train(far, data, tmp_path) == rows or math.isnan(rows[-1]["cost"])


def test_best_is_the_lowest_last_cost_that_did_not_diverge():
    def rows(*costs, diverged=False):
        return [{"cost": cost, "diverged": diverged} for cost in costs]

    a, b, c, d = (dataclasses.replace(SMALL, seed=seed) for seed in range(4))
    tried = [(a, rows(0.1, 0.5)), (b, rows(0.9, 0.4)), (c, rows(0.2, diverged=True))]
    assert best([*tried, (d, rows(math.nan, diverged=True))]) is b
    assert best([tried[2]]) is None


def test_table_has_all_that_decides_the_numbers(tmp_path, uninterrupted):
    path = tmp_path / "results.csv"
    write_csv(path, csv_rows([(SMALL, uninterrupted)], 300, "comparison"))
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("part", "rule", "learning_rate", "hyperparameters", "seed", "hidden", "dropout"),
        *("batch_size", "examples", "epoch", "cost", "test_cost", "test_accuracy", "seconds"),
        *("diverged", "device", "python", "tensorflow", "keras", "keras_lecture_opt"),
    ]
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    for row, expected in zip(rows, uninterrupted, strict=True):
        assert float(row["cost"]) == expected["cost"]
        assert float(row["test_accuracy"]) == expected["test_accuracy"]
        hyperparameters = json.loads(row["hyperparameters"])
        assert hyperparameters["learning_rate"] == pytest.approx(0.01)
        assert (hyperparameters["beta_1"], hyperparameters["epsilon"]) == (0.9, 1e-8)
        assert (row["seed"], row["hidden"], row["batch_size"]) == ("3", "12x8", "64")
        assert (row["tensorflow"], row["keras"]) == (tf.__version__, keras.__version__)
        assert row["diverged"] == "False"
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rule": "adam"}, ValueError, r"no optimizer 'adam'\. Did you mean Adam\?"),
        ({"rule": "keras.Nothing"}, ValueError, "no optimizer 'keras.Nothing'"),
        ({"rule": "keras.schedules"}, ValueError, "no optimizer 'keras.schedules'"),
        ({"rule": "torch.Adam"}, ValueError, "no optimizer 'torch.Adam'"),
        ({"rule": "keras.Optimizer"}, ValueError, "no optimizer 'keras.Optimizer'"),
        ({"rule": 3}, TypeError, "name of an optimizer must be a string, not 3"),
        ({"rule": dict}, TypeError, "`rule` must be a class of Keras optimizers, or its name, not"),
        ({"hyperparameters": {"learning_rate": -1}}, ValueError, "`learning_rate` must be"),
        ({"hyperparameters": {"learning_rate": "big"}}, TypeError, "`learning_rate` must be"),
        ({"hyperparameters": {"momentum": 0.9}}, ValueError, "Adam: argument `momentum` is not"),
        (
            {"hyperparameters": {"learning_rate": abs}},
            TypeError,
            "must be numbers, .*'learning_rate=<built-in",
        ),
        ({"seed": 2**32}, ValueError, "`seed` must be .* <= 4294967295, not 4294967296"),
        ({"seed": -1}, ValueError, "`seed` must be an integer >= 0 .*not -1"),
        ({"seed": 1.5}, TypeError, "`seed` must be an integer >= 0 .*not 1.5"),
        ({"hidden": (10, 0)}, ValueError, "`hidden` must be an integer >= 1, not 0"),
        ({"dropout": 1}, ValueError, r"`dropout` must be a number in \[0, 1\), not 1"),
        ({"dropout": "0.5"}, TypeError, r"`dropout` must be a number in \[0, 1\), not '0.5'"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be an integer >= 1, not 0"),
        ({"batch_size": 2.5}, TypeError, "`batch_size` must be an integer >= 1, not 2.5"),
        ({"epochs": 0}, ValueError, "`epochs` must be an integer >= 1, not 0"),
        ({"epochs": 2.5}, TypeError, "`epochs` must be an integer >= 1, not 2.5"),
        ({"epochs": True}, TypeError, "`epochs` must be an integer >= 1, not True"),
    ],
)
def test_wrong_runs_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Run(**{"rule": "Adam", **arguments})


def test_numpy_scalars_are_numbers():
    run = Run(
        "Adam",
        {"learning_rate": np.float32(0.5)},
        seed=np.int64(3),
        hidden=np.array([12, 8]),
        dropout=np.float64(0.25),
        batch_size=np.uint8(64),
        epochs=np.int32(4),
    )
    plain = Run("Adam", {"learning_rate": 0.5}, 3, (12, 8), 0.25, 64, 4)
    assert run == plain
    assert run.folder(300) == plain.folder(300)


def test_rule_of_a_user_is_named_by_its_class(data, tmp_path, monkeypatch, eagerly):
    monkeypatch.setenv("HOME", str(tmp_path))
    own = dataclasses.replace(
        SMALL, rule=OwnRule, hyperparameters={"learning_rate": 0.25}, epochs=1
    )
    steepest = dataclasses.replace(own, rule="SteepestDescent")
    assert own.name == "own_rules.OwnRule"
    rows = train(own, data, "~/runs")
    assert rows[0]["cost"] == train(steepest, data, "~/runs", brief=True)[0]["cost"]
    [folder] = tmp_path.glob("runs/own_rules.OwnRule,*")  # of the home folder
    assert list(folder.glob("train/*.effective_lr"))
    [row] = csv_rows([(own, rows)], 300, "comparison")
    assert (row["rule"], row["learning_rate"]) == (own.name, 0.25)


def test_folder_must_be_a_path(data):
    for folder in (b"runs", 3):
        with pytest.raises(TypeError, match=f"`folder` must be a string or a .*not {folder!r}"):
            train(SMALL, data, folder)
