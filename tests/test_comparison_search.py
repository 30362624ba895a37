"""Searches of several hyperparameters, limits of time, callbacks of the user: equal to the bit."""

import concurrent.futures
import contextlib
import errno
import fcntl
import io
import multiprocessing
import pathlib
import sys
import threading
import types

import keras
import numpy as np
import pytest
import studies
import tensorflow as tf
from common import is_whole, keras_compiles
from matplotlib import pyplot as plt
from tensorflow.python.framework import config

from keras_lecture_opt import (
    Adam,
    EffectiveLearningRateMonitor,
    Momentum,
    SteepestDescent,
    comparison,
)
from keras_lecture_opt.comparison import _costs, _engine, _models, _run, _search

pytestmark = pytest.mark.usefixtures("eagerly")

SEARCH = {"learning_rate": (0.001, 0.1), "beta_1": [0.5, 0.9], "momentum": (0.5, 0.95)}
OPTIMIZERS = {"Adam": Adam, "Momentum": Momentum}
PROTOCOL = {"search": SEARCH, "trials": 4, "rungs": [(1, 4), (3, 2)], "seeds": 1}


def build():
    layers = [keras.layers.Dense(4, "relu"), keras.layers.Dropout(0.2), studies.Noise()]
    return keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)])


def small(**changed):
    """A workload of two steps per epoch."""
    x = np.random.default_rng(0).normal(size=(16, 3))
    data = (x, x.sum(axis=1))
    return comparison.Workload(build, data, "mse", **{"batch_size": 8, **changed})


@pytest.fixture(scope="module")
def workload():
    return small()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def study(workload, folder):
    return comparison.compare(workload, OPTIMIZERS, folder=folder, **PROTOCOL)


def test_every_optimizer_gets_as_many_trials_of_what_it_has(study):
    assert [len(trials) for trials in study.trials.values()] == [4, 4]
    for trial in range(4):
        adam, momentum = (study.trials[name][trial] for name in OPTIMIZERS)
        assert [*adam], [*momentum] == (["learning_rate", "beta_1"], ["learning_rate", "momentum"])
        assert adam["learning_rate"] == momentum["learning_rate"]
        assert 0.001 <= adam["learning_rate"] <= 0.1
        assert adam["beta_1"] in (0.5, 0.9)
    assert study.hyperparameters["Adam"] in study.trials["Adam"].values()
    assert study.learning_rates["Adam"] == study.hyperparameters["Adam"]["learning_rate"]


def test_points_cover_the_ranges_and_begin_with_those_of_fewer_trials():
    search = {"learning_rate": (1e-4, 1.0), "beta_1": (0.0, 0.9)}
    few, many = (_search.quasi_random(search, n, {"Adam": Adam})["Adam"] for n in (8, 16))
    assert [*few.values()] == [*many.values()][:8]
    decades = np.floor(np.log10([values["learning_rate"] for values in many.values()]))
    assert {*np.unique(decades, return_counts=True)[1]} <= {3, 4, 5}  # 4 in each of 4
    parts = np.floor([values["beta_1"] / 0.225 for values in many.values()])
    assert {*np.unique(parts, return_counts=True)[1]} <= {3, 4, 5}


def test_an_optimizers_own_ranges_count():
    search = {"learning_rate": (0.01, 0.1), "Momentum": {"learning_rate": (1.0, 2.0)}}
    tried = _search.quasi_random(search, 3, {"Adam": Adam, "Momentum": Momentum})
    assert all(values["learning_rate"] < 1 for values in tried["Adam"].values())
    assert all(1 <= values["learning_rate"] <= 2 for values in tried["Momentum"].values())


def test_classes_pass_arguments_on_to_their_bases():
    assert {"beta_1", "weight_decay"} <= _search._parameters(keras.optimizers.Adam)
    assert "clipnorm" in _search._parameters(Adam)
    assert _search._parameters(lambda rate, *, decay: 0) == {"learning_rate", "rate", "decay"}


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"search": 3}, TypeError, "`search` must be a dict"),
        ({"search": {"beta_1": [0.9]}}, ValueError, "`search` must be .* with 'learning_rate'"),
        (
            {"search": {**SEARCH, "beta": [1]}},
            ValueError,
            "no optimizer takes 'beta'. Adam takes b",
        ),
        ({"search": {"learning_rate": 0.1}}, TypeError, r"`search\['learning_rate'\]` must be"),
        ({"search": {"learning_rate": (0, 1)}}, ValueError, "finite numbers > 0"),
        ({"search": {"learning_rate": (1, 0.1)}}, ValueError, "low < high"),
        ({"search": {"learning_rate": [0.1, 0.1]}}, ValueError, "different values"),
        ({"search": {"learning_rate": [0.1]}}, ValueError, "`trials` must be at most 1, the diff"),
        ({"search": {**SEARCH, "Adam": {"momentum": [0.1]}}}, ValueError, "no .* takes 'momentum'"),
        ({"trials": 0}, ValueError, "`trials` must be an integer >= 1"),
        ({"trials": None}, TypeError, "`trials` must be an integer >= 1"),
        ({"search": None}, TypeError, "`trials` must be None without"),
        ({"learning_rates": [0.1]}, TypeError, "either `learning_rates` or `search`"),
        (
            {"search": {"learning_rate": (0.1, 1), "beta_1": [2.0, 0.1]}},
            ValueError,
            "`beta_1` must",
        ),
        ({"seconds": 0}, ValueError, "`seconds` must be"),
        ({"seconds": "3h"}, TypeError, "`seconds` must be"),
    ],
)
def test_wrong_searches_are_refused(workload, tmp_path, changed, error, message):
    arguments = {**PROTOCOL, "folder": tmp_path / "new", **changed}
    if changed == {"search": None}:
        arguments["learning_rates"] = [0.1]
    with pytest.raises(error, match=message):
        comparison.compare(workload, {"Adam": Adam, "Momentum": Momentum}, **arguments)
    assert not (tmp_path / "new").exists()


def test_same_search_trains_nothing_and_more_trials_only_the_new_ones(
    study, workload, folder, monkeypatch
):
    train_epoch, trained = _run.train_epoch, []

    def counted(*arguments):
        trained.append(arguments)
        return train_epoch(*arguments)

    monkeypatch.setattr(_run, "train_epoch", counted)
    again = comparison.compare(workload, OPTIMIZERS, folder=folder, **PROTOCOL)
    assert studies.numbers(again) == studies.numbers(study)
    assert not trained
    more = {**PROTOCOL, "trials": 5, "rungs": [(1, 5)]}
    wider = comparison.compare(workload, OPTIMIZERS, folder=folder, **more)
    assert len(trained) == 2  # of two optimizers
    for key, rows in studies.numbers(study).items():
        assert studies.numbers(wider)[key] == rows[:1]


def test_search_has_the_same_numbers_on_threads_and_after_an_interruption(
    study, workload, tmp_path, monkeypatch
):
    arguments = {"folder": tmp_path, **PROTOCOL}
    with monkeypatch.context() as patched:
        patched.setattr(_run, "train_epoch", studies.killed_in_epoch(11, []))
        with pytest.raises(KeyboardInterrupt, match="keeps each epoch that ended: the same call"):
            comparison.compare(workload, OPTIMIZERS, **arguments)
    keras.random.normal((3,))
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        resumed = comparison.compare(workload, OPTIMIZERS, **arguments, executor=threads)
    assert studies.numbers(resumed) == studies.numbers(study)


def test_grid_of_a_search_is_that_of_learning_rates(workload, tmp_path, monkeypatch):
    """What an older version trained, a search for the learning rate alone finds."""
    kind = {"Adam": Adam}
    grid = comparison.compare(workload, kind, [0.01, 0.1], [(1, 2)], tmp_path, 1)
    monkeypatch.setattr(_run, "train_epoch", None)
    search = {"learning_rate": [0.01, 0.1]}
    found = comparison.compare(
        workload, kind, search=search, trials=2, rungs=[(1, 2)], folder=tmp_path, seeds=1
    )
    by_rate = {
        found.trials["Adam"][t]["learning_rate"]: rows for (_, t, _), rows in found.results.items()
    }
    assert by_rate == {rate: rows for (_, rate, _), rows in grid.results.items()}


def test_names_of_old_runs_are_those_of_this_version(tmp_path):
    """Of a folder that the version before searches wrote."""
    x = np.arange(12.0).reshape(4, 3)
    workload = comparison.Workload(
        lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, "relu")]),
        (x, x.sum(axis=1)),
        "mse",
    )
    comparison.compare(workload, {"Adam": Adam}, [0.1], [(1, 1)], tmp_path, 1)
    [place] = (tmp_path / "runs").iterdir()
    own = {"name": "Adam", "learning_rate": 0.1, "seed": 0}
    assert place.name.startswith("Adam,eta=0.1,seed=0,")
    assert _old_name(workload, own, Adam(0.1), tmp_path) == place.name


def _old_name(workload, own, optimizer, folder):
    """Return the name of a run's folder as it was computed before there were searches."""
    import hashlib
    import json

    from keras_lecture_opt.comparison import _identity

    digest, saved = hashlib.sha256(), _run.read(folder / "starts" / "seed-0.npz")
    for name in sorted({*saved} - {"loss"}):
        digest.update(np.ascontiguousarray(saved[name]).data)
    common = {"workload": workload.description, "versions": _identity.versions()}
    described = _identity.describe_optimizer(optimizer)
    own = {**own, "optimizer": described, "start": digest.hexdigest(), **common}
    known_by = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:16]
    return f"Adam,eta=0.1,seed=0,{known_by}"


def test_report_of_a_search(study, tmp_path, monkeypatch):
    folder = study.report(tmp_path)
    page = (folder / "README.md").read_text(encoding="utf-8")
    for part in (
        "Trials are quasi-random values of learning_rate, beta_1, momentum, where an optimizer",
        "with 4 trials up to epoch 1, then 2 trials up to epoch 3",
        f"| Adam | {_search.text(study.hyperparameters['Adam'])}",
        "| learning_rate |  |  |  |  |",
        "|  | 1 trial | 3 trials | 4 trials |",
        "![What each hyperparameter costs](costs.png)",
    ):
        assert part in page
    assert (folder / "costs.png").stat().st_size > 10_000
    assert not (folder / "sensitivity.png").exists()
    loaded = comparison.load(folder)
    assert studies.numbers(loaded) == studies.numbers(study)
    assert (loaded.trials, loaded.rates) == (study.trials, study.rates)
    assert loaded.hyperparameters == study.hyperparameters
    axes = loaded.curves(over="seconds")
    assert axes.get_xlabel() == "seconds"
    with pytest.raises(ValueError, match="`over` must be"):
        loaded.curves(over="hours")
    with pytest.raises(ValueError, match="`sensitivity` shows one grid for"):
        loaded.sensitivity()
    lines = (folder / "results.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("optimizer,trial,learning_rate,beta_1,momentum,seed,chosen,rung")
    figure = study.costs()
    assert [axes.get_xlabel() for axes in figure.axes] == ["learning_rate", "beta_1", "momentum"]
    assert is_whole(figure)
    labels = [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
    assert labels == list(OPTIMIZERS)  # those without the last hyperparameter, too
    values = loaded.values
    first = np.arange(len(loaded.rates))[:, None] == 0
    monkeypatch.setattr(
        loaded, "values", lambda name, rung: np.where(first, np.inf, values(name, rung))
    )
    [axes, *_] = loaded.costs().axes
    crosses = [line.get_xdata() for line in axes.lines if line.get_marker() == "X"]
    assert crosses == [[trials[0]["learning_rate"]] for trials in loaded.trials.values()]
    plt.close("all")


def test_parts_of_a_range_have_equally_many_trials():
    trials = {i: {"learning_rate": 0.1 * (i + 1), "kind": "ab"[i % 2]} for i in range(8)}
    values = np.array([[8.0], [7.0], [3.0], [4.0], [1.0], [np.inf], [np.inf], [np.inf]])
    made = types.SimpleNamespace(
        trials={"A": trials}, rates=[*range(8)], values=lambda name, rung: values
    )
    rates = [trials[i]["learning_rate"] for i in range(8)]
    assert _costs.parts(made, "A", "learning_rate") == [
        (rates[:2], 7.0), (rates[2:4], 3.0), (rates[4:6], 1.0), (rates[6:], np.inf)
    ]  # fmt: skip
    assert _costs.parts(made, "A", "kind") == [(["a"] * 4, 1.0), (["b"] * 4, 4.0)]
    assert _costs.parts(made, "A", "momentum") == []


@pytest.fixture
def clock(monkeypatch):
    """Time goes on by a second in each epoch, and not otherwise."""
    now, train_epoch = [0.0], _run.train_epoch

    def slow(*arguments):
        now[0] += 1
        return train_epoch(*arguments)

    fake = types.SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: None)
    monkeypatch.setattr(_engine, "time", fake)
    monkeypatch.setattr(comparison._compare, "time", fake)
    monkeypatch.setattr(_run, "train_epoch", slow)
    monkeypatch.setattr(_run, "WATCH", 3600)  # epochs are not cut
    return now


@pytest.mark.parametrize(
    ("seconds", "rungs", "rates"),
    [
        pytest.param(2.5, [(1, 1)], [0], marks=pytest.mark.full),  # 2 runs of a trial
        pytest.param(6.5, [(1, 3)], [0, 1, 2], marks=pytest.mark.full),
        (14.0, [(1, 4), (2, 2)], [0, 1, 2, 3]),  # 4 runs have epoch 2, and half of them epoch 3
    ],
)
def test_limit_of_time_leaves_what_is_the_same_for_all(
    study, workload, tmp_path, clock, seconds, rungs, rates
):
    arguments = {"folder": tmp_path, **PROTOCOL}
    short = comparison.compare(workload, OPTIMIZERS, **arguments, seconds=seconds)
    assert (short.rungs, short.rates) == (rungs, rates)
    assert clock[0] <= seconds + 0.5
    assert short.stopped == comparison.load(tmp_path).stopped == seconds
    whole = studies.numbers(study)
    for key, rows in studies.numbers(short).items():
        assert rows == whole[key][: len(rows)]
    page = (short.report(tmp_path / "page") / "README.md").read_text(encoding="utf-8")
    assert "Training stopped after" in page
    plt.close("all")
    resumed = comparison.compare(workload, OPTIMIZERS, **arguments)
    assert studies.numbers(resumed) == whole
    assert clock[0] == sum(map(len, whole.values()))  # no epoch was trained twice


def test_time_that_is_not_enough_for_one_trial_is_an_error(workload, tmp_path, clock):
    with pytest.raises(
        TimeoutError, match=r"too few: .* 1 of 8 epochs of the first rung are saved"
    ):
        comparison.compare(workload, OPTIMIZERS, folder=tmp_path, **PROTOCOL, seconds=0.5)


def test_grid_begins_with_rates_from_its_whole_range():
    tried = _search.grid([10.0**i for i in range(8)], ["A"])["A"]
    assert [round(np.log10(rate)) for rate in tried] == [0, 4, 2, 6, 1, 5, 3, 7]


@pytest.mark.full
def test_executor_stops_in_time(study, workload, tmp_path, clock):
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        short = comparison.compare(
            workload, OPTIMIZERS, folder=tmp_path, **PROTOCOL, executor=threads, seconds=5
        )
        assert short.rates[:1] == [0]
        assert not list((tmp_path / "orders").iterdir())
        resumed = comparison.compare(
            workload, OPTIMIZERS, folder=tmp_path, **PROTOCOL, executor=threads
        )
    assert studies.numbers(resumed) == studies.numbers(study)


def test_it_says_how_long_it_will_take(workload, tmp_path, clock, monkeypatch):
    """On a terminal that cannot show all characters, too."""
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stderr", terminal)
    search = {"learning_rate": (0.001, 0.1)}
    arguments = {"folder": tmp_path, **PROTOCOL, "search": search, "seconds": 60.0}
    comparison.compare(workload, {"ηdam": Adam}, **arguments)
    terminal.flush()
    said = terminal.buffer.getvalue().decode("ascii")
    assert "Trainings: 4 up to epoch 1, then 2 up to epoch 3. At most 8 epochs." in said
    assert "About 5 seconds left, as the first 3 epochs tell." in said
    assert "?dam, 0.0" in said


def test_run_ends_within_a_step_when_it_is_not_wanted(monkeypatch):
    monkeypatch.setattr(_run, "WATCH", 0.01)
    model = types.SimpleNamespace(stop_training=False, stop_evaluating=False)
    wanted = threading.Event()
    wanted.set()
    with _run.stopping(model, wanted.is_set) as stopped:
        assert not stopped.wait(0.1)
        wanted.clear()
        assert stopped.wait(5)
    assert model.stop_training
    assert model.stop_evaluating


def test_epoch_that_was_cut_is_not_saved(workload, tmp_path, monkeypatch):
    tried = _search.grid([0.1], ["Adam"])
    [run] = comparison._compare._make_runs(tmp_path, workload, {"Adam": Adam}, tried, [0]).values()
    monkeypatch.setattr(_run, "WATCH", 0.01)
    answers, train_epoch = [True], _run.train_epoch

    def slow(*arguments):
        row = train_epoch(*arguments)
        answers[:] = [False]
        threading.Event().wait(0.2)
        return row

    monkeypatch.setattr(_run, "train_epoch", slow)
    assert _run.train(run, workload, Adam, 3, wanted=lambda: answers[0])
    assert run.rows(3) == []


SHARED = [keras.callbacks.EarlyStopping()]


def patient(patience=0):
    def callbacks(run):
        assert run.optimizer
        assert run.learning_rate
        return [
            keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0.2),
            keras.callbacks.EarlyStopping("loss", patience=patience, min_delta=10.0),
        ]

    return callbacks


def test_callbacks_live_as_long_as_a_run(tmp_path, monkeypatch):
    """They see one training of all epochs, and go on where they were."""
    only = ({"Adam": Adam}, [0.01], [(2, 1), (8, 1)])
    workload = small(callbacks=patient(5))
    whole = comparison.compare(workload, *only, tmp_path / "whole", 1)
    [rows] = studies.numbers(whole).values()
    assert [row["steps"] for row in rows] == [2, 4, 6, 8, 10, 12, 12, 12]  # epoch 6 is the last
    assert rows[7] == {**rows[5], "epoch": 8}
    with monkeypatch.context() as patched:
        patched.setattr(_run, "train_epoch", studies.killed_in_epoch(4, []))
        with pytest.raises(KeyboardInterrupt):
            comparison.compare(workload, *only, tmp_path / "killed", 1)
    resumed = comparison.compare(workload, *only, tmp_path / "killed", 1)
    assert studies.numbers(resumed) == studies.numbers(whole)
    [state] = (tmp_path / "whole").glob("runs/*/state.npz")
    assert 2 * _rate(workload, _run.read(state)) < 0.01  # it was reduced
    monkeypatch.setattr(_run, "train_epoch", None)
    comparison.compare(workload, *only, tmp_path / "killed", 1)  # nothing is left to train
    page = (resumed.report(tmp_path / "page") / "README.md").read_text(encoding="utf-8")
    assert "up to epoch 8" in page
    plt.close("all")


def _rate(workload, saved):
    model = workload.new_model(Adam(), 0)
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    _run.assign(variables, saved)
    return float(model.optimizer.learning_rate)


def test_monitor_of_each_run_writes_into_its_folder(tmp_path):
    def callbacks(run):
        return [EffectiveLearningRateMonitor(run.folder / "logs")]

    plain, monitored = small(), small(callbacks=callbacks)
    only = ({"Adam": Adam}, [0.01, 0.1], [(1, 2)])
    expected = comparison.compare(plain, *only, tmp_path / "plain", 1)
    study = comparison.compare(monitored, *only, tmp_path / "logged", 1)
    assert studies.numbers(study) == studies.numbers(expected)
    assert len([*(tmp_path / "logged").glob("runs/*/logs/train/events*")]) == 2


@pytest.mark.parametrize(
    ("callbacks", "error", "message"),
    [
        ([keras.callbacks.EarlyStopping()], TypeError, "`callbacks` must be a function"),
        (lambda run: keras.callbacks.EarlyStopping(), TypeError, "returns a list of keras callb"),
        (lambda run: None, TypeError, "returns a list of keras callbacks, not None"),
        (lambda run: SHARED, ValueError, "makes new callbacks at each call"),
    ],
)
def test_wrong_callbacks_are_refused(callbacks, error, message):
    with pytest.raises(error, match=message):
        small(callbacks=callbacks)


def test_callbacks_belong_to_the_workload():
    described = [small(callbacks=patient(n)).description for n in (1, 1, 2)]
    assert described[0] == described[1] != described[2]
    assert "callbacks" not in small().description  # as in folders of before


def test_model_that_is_used_again_is_as_new(workload, tmp_path, monkeypatch):
    """Averages of weights, dropout, noise, clipping: all begin anew."""

    def averaged(rate):
        return Momentum(rate, momentum=0.8, use_ema=True, ema_momentum=0.5, clipnorm=1.0)

    only = ({"averaged": averaged, "keras": keras.optimizers.Adam}, [0.01, 0.1], [(1, 2), (2, 1)])
    made, new_model = [], workload.new_model

    def counted(*arguments):
        made.append(arguments)
        return new_model(*arguments)

    monkeypatch.setattr(workload, "new_model", counted)
    reused = comparison.compare(workload, *only, tmp_path / "reused", 1)
    assert len(made) == 1 + 2 * 2  # the start; optimizers, rungs
    assert getattr(_models._kept, "last", None) is None  # nothing stays in memory
    monkeypatch.setattr(_models, "_trace_key", lambda *arguments: None)
    fresh = comparison.compare(workload, *only, tmp_path / "fresh", 1)
    assert studies.numbers(reused) == studies.numbers(fresh)
    for state in (tmp_path / "reused").glob("runs/*/state.npz"):
        other = _run.read(tmp_path / "fresh" / state.relative_to(tmp_path / "reused"))
        for name, value in _run.read(state).items():
            if name != "rows":
                np.testing.assert_array_equal(value, other[name])


class Unsaved(keras.layers.Layer):
    """Counts in a variable that the model does not list."""

    def build(self, shape):
        self.count = [tf.Variable(1.0, trainable=False)]

    def call(self, inputs, training=None):
        if training:
            self.count[0].assign_add(1.0)
        return inputs * self.count[0]


def test_model_with_a_variable_that_nobody_lists_is_not_used_again(tmp_path):
    def build():
        return keras.Sequential([keras.Input((3,)), Unsaved(), keras.layers.Dense(1)])

    x = np.ones((8, 3))
    workload = comparison.Workload(build, (x, x.sum(axis=1)), "mse", batch_size=4)
    together = comparison.compare(
        workload, {"SGD": SteepestDescent}, [1e-3, 1e-2], [(1, 2)], tmp_path / "two", 1
    )
    alone = comparison.compare(
        workload, {"SGD": SteepestDescent}, [1e-2], [(1, 1)], tmp_path / "one", 1
    )
    key = "SGD", 1e-2, 0
    assert studies.numbers(together)[key] == studies.numbers(alone)[key]


def test_determinism_of_operations_is_put_back(workload, tmp_path):
    """All tests have it; without it, plain TensorFlow draws without a seed."""
    for is_on, context in ((True, contextlib.nullcontext), (False, keras_compiles)):
        with context():
            comparison.compare(workload, {"Adam": Adam}, [0.1], [(1, 1)], tmp_path / str(is_on), 1)
            assert config.is_op_determinism_enabled() is is_on


def test_forked_processes_are_refused(workload, tmp_path):
    context = multiprocessing.get_context("fork")
    with (
        concurrent.futures.ProcessPoolExecutor(1, context) as pool,
        pytest.raises(ValueError, match=r"must not fork .* Use `comparison.process_pool\(\)`"),
    ):
        comparison.compare(workload, {"Adam": Adam}, [0.1], [(1, 1)], tmp_path, executor=pool)


def test_file_system_without_locks_is_named(workload, tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match=f"file system of `folder` {tmp_path} has no locks .*flock"):
        comparison.compare(workload, {"Adam": Adam}, [0.1], [(1, 1)], tmp_path, 1)


@pytest.mark.parametrize("url", ["gs://bucket/runs", "ram://runs", pathlib.Path("gs://b/runs")])
def test_url_is_refused(workload, url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="`folder` must be"):
        comparison.compare(workload, {"Adam": Adam}, [0.1], [(1, 1)], url, 1)
    assert not list(tmp_path.iterdir())
