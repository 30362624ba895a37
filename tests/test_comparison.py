"""A comparison: equal starts, exact losses, resumed runs, an equal search, a page that is true."""

import csv
import inspect
import json
import pathlib
import random
import shutil
import subprocess
import sys
import threading
import types

import keras
import numpy as np
import pytest
import studies
import tensorflow as tf
from common import is_whole
from matplotlib import pyplot as plt
from scipy import stats

from keras_lecture_opt import Adam, Momentum, comparison, plots
from keras_lecture_opt.comparison import (
    _compare,
    _differences,
    _identity,
    _pictures,
    _report,
    _run,
    _search,
    _tables,
    _workload,
)

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def workload():
    return studies.workload()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def study(workload, folder):
    return comparison.compare(workload, studies.OPTIMIZERS, folder=folder, **studies.PROTOCOL)


def linear(seed=0, n=24):
    rng = np.random.default_rng(seed)
    x = rng.integers(-8, 9, size=(n, 3)) / 8  # exact in float32, to which Keras converts them
    return x, (x @ [[1.0], [-2.0], [0.5]])


def build_linear():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, dtype="float64")])


FLOAT64 = keras.losses.MeanSquaredError(dtype="float64")  # Keras's own would round to float32


@pytest.fixture(scope="module")
def regression():
    """A regression without metrics, in float64."""
    return comparison.Workload(build_linear, data=linear(), loss=FLOAT64, batch_size=8)


def test_losses_are_numpys(regression, tmp_path):
    study = comparison.compare(
        regression, {"SGD": keras.optimizers.SGD}, [0.125], [(3, 1)], tmp_path, seeds=[5]
    )
    (w, b), untrained = regression.start(5)
    x, y = linear()
    np.testing.assert_allclose(untrained, np.mean((x @ w + b - y) ** 2), rtol=1e-6)
    for row in study.results["SGD", 0.125, 5]:
        losses = []
        for xs, ys in regression.batches(5, row["epoch"] - 1).as_numpy_iterator():
            error = xs @ w + b - ys
            losses.append(np.mean(error**2))
            w = w - 0.125 * 2 / len(xs) * xs.T @ error
            b = b - 0.125 * 2 / len(xs) * error.sum(axis=0)
        np.testing.assert_allclose(row["loss"], np.mean(losses), rtol=1e-6)  # Keras's mean: float32
        assert row["steps"] == 3 * row["epoch"]
    saved = _run.read(next(tmp_path.glob("runs/*/state.npz")))
    np.testing.assert_allclose(saved["v0"], w, rtol=1e-12)
    np.testing.assert_allclose(saved["v1"], b, rtol=1e-12)


def test_each_epoch_has_each_example_once_in_another_order(regression):
    x, _ = linear()
    first, second = (
        np.concatenate([xs for xs, _ in regression.batches(0, epoch).as_numpy_iterator()])
        for epoch in (0, 1)
    )
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first, axis=0), np.sort(x, axis=0))
    np.testing.assert_array_equal(np.sort(second, axis=0), np.sort(x, axis=0))


def test_start_depends_on_the_seed_alone(workload):
    """Keras draws from Python's global generator, from which other threads may draw as well."""
    (alone, loss), (other, _) = workload.start(3), workload.start(4)
    ended = threading.Event()

    def draw():
        while not ended.is_set():
            random.randint(1, 9)
            random.random()

    thread = threading.Thread(target=draw)
    thread.start()
    random.seed(0)
    expected = random.Random(0).randint
    try:
        beside, loss_beside = workload.start(3)
    finally:
        ended.set()
        thread.join()
    assert loss == loss_beside
    for a, b in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(alone, other, strict=True))
    random.seed(0)
    assert random.randint(1, 10**9) == expected(1, 10**9)  # Python's function is back


def test_all_rules_of_a_seed_start_equal(monkeypatch, workload, tmp_path):
    begun = []

    def train_epoch(model, workload, seed, epoch, limit, callbacks):
        variables = [*model.variables, _run.global_seed_state()]
        begun.append((seed, [v.numpy() for v in variables]))
        assert limit == 2 * workload.start(seed)[1]  # the untrained network's loss
        return {"epoch": 1, "loss": 1.0, "diverged": False, "seconds": 0.0}

    monkeypatch.setattr(_run, "train_epoch", train_epoch)
    protocol = {"learning_rates": [0.1], "rungs": [(1, 1)], "seeds": 2}
    comparison.compare(workload, studies.OPTIMIZERS, folder=tmp_path, **protocol)
    for seed in (0, 1):
        first, *others = [values for s, values in begun if s == seed]
        assert len(others) == 1
        for other in others:
            for a, b in zip(first, other, strict=True):
                np.testing.assert_array_equal(a, b)
    generators = {seed: values[-1].tolist() for seed, values in begun}
    assert generators[0] != generators[1]


def test_rungs_keep_the_better_rates(study, folder):
    for name in studies.OPTIMIZERS:
        means = {
            rate: np.mean([study.results[name, rate, seed][1]["loss"] for seed in (0, 1)])
            for rate in studies.RATES[:2]
        }
        best = min(means, key=means.get)
        assert study.learning_rates[name] == best
        for (of, rate, seed), rows in study.results.items():
            if of == name and rate < 1000:
                assert len(rows) == (4 if rate == best else 2), (name, rate, seed)
    for run in folder.glob("runs/*"):  # the weights of a run that goes on are kept, no others
        assert ("v0" in _run.read(run / "state.npz")) == (
            len(json.loads(str(_run.read(run / "state.npz")["rows"]))) == 4
        )


def test_divergence_is_recorded_and_ends_the_run(study, workload):
    _, untrained = workload.start(0)
    rows = study.results["signed", 1000.0, 0]
    assert rows[-1]["diverged"]
    assert len(rows) == 1
    assert rows[-1]["loss"] > 2 * untrained
    assert not any(row["diverged"] for row in study.results["signed", 0.01, 0])


def test_same_call_trains_nothing(study, workload, folder, monkeypatch):
    monkeypatch.setattr(_run, "train_epoch", None)
    again = comparison.compare(workload, studies.OPTIMIZERS, folder=folder, **studies.PROTOCOL)
    assert studies.numbers(again) == studies.numbers(study)


def test_interrupted_run_ends_with_the_same_numbers(study, workload, tmp_path, monkeypatch):
    """Averages, dropout, noise from the global generator and the schedule all go on."""
    calls = []
    monkeypatch.setattr(_run, "train_epoch", studies.killed_in_epoch(4, calls))
    rate = study.learning_rates["decayed"]
    only = ({"decayed": studies.decayed}, [rate], [(4, 1)], tmp_path, [1])
    with pytest.raises(KeyboardInterrupt):
        comparison.compare(workload, *only)
    keras.random.normal((3,))  # disturbs the global generator
    resumed = comparison.compare(workload, *only)
    assert len(calls) == 5
    key = "decayed", rate, 1
    assert studies.numbers(resumed)[key] == studies.numbers(study)[key]


def test_runs_of_several_machines_are_merged(study, workload, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(_run, "train_epoch", None)
    for i, run in enumerate(sorted(folder.glob("runs/*"))):
        shutil.copytree(run, tmp_path / f"machine{i % 4}" / "runs" / run.name)
    for i in range(4):
        shutil.copytree(tmp_path / f"machine{i}", tmp_path / "all", dirs_exist_ok=True)
    merged = comparison.compare(
        workload, studies.OPTIMIZERS, folder=tmp_path / "all", **studies.PROTOCOL
    )
    assert studies.numbers(merged) == studies.numbers(study)


def test_damaged_run_is_repeated(regression, tmp_path):
    arguments = (regression, {"SGD": keras.optimizers.SGD}, [0.1], [(2, 1)], tmp_path, 1)
    expected = studies.numbers(comparison.compare(*arguments))
    [state] = tmp_path.glob("runs/*/state.npz")
    complete = state.read_bytes()
    for damaged in (
        b"",
        complete[:300],
        b"\0" * 900,
        complete.replace(b"l\0\0\0o", b"x\0\0\0o", 1),
    ):
        assert damaged != complete
        state.write_bytes(damaged)
        with pytest.warns(UserWarning, match="state.npz is damaged .* its run is repeated"):
            again = comparison.compare(*arguments)
        assert studies.numbers(again) == expected


def test_full_disk_loses_nothing(regression, tmp_path, monkeypatch):
    arguments = (regression, {"SGD": keras.optimizers.SGD}, [0.1], [(3, 1)], tmp_path, 1)
    savez, calls = np.savez, []

    def full(file, **values):
        calls.append(file)
        if len(calls) == 3:  # the start and an epoch have been written
            file.write(b"a part")
            raise OSError(28, "No space left on device")
        savez(file, **values)

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", full)
        with pytest.raises(OSError, match=r"state.npz cannot be written: No space left.*stays"):
            comparison.compare(*arguments)
    assert not list(tmp_path.rglob("part.*"))
    [state] = tmp_path.glob("runs/*/state.npz")
    assert len(json.loads(str(_run.read(state)["rows"]))) == 1
    assert len(comparison.compare(*arguments).results["SGD", 0.1, 0]) == 3


def test_folder_of_another_workload_is_refused(regression, folder, study, tmp_path):
    with pytest.raises(ValueError, match=r"holds the study of another workload: .*batch_size` is"):
        comparison.compare(
            studies.workload(batch_size=8), studies.OPTIMIZERS, folder=folder, **studies.PROTOCOL
        )
    x, y = studies.images()
    x[7, 3, 3, 0] += 1e-9
    with pytest.raises(ValueError, match=r"`workload.data` is .* there and .* here"):
        comparison.compare(
            studies.workload(data=(x, y)), studies.OPTIMIZERS, folder=folder, **studies.PROTOCOL
        )
    (tmp_path / "study.json").write_text("my notes")
    with pytest.raises(ValueError, match="not completely, a study's file"):
        comparison.compare(regression, {"SGD": keras.optimizers.SGD}, [0.1], [(1, 1)], tmp_path)
    assert (tmp_path / "study.json").read_text() == "my notes"


def test_what_determines_a_run_tells_runs_apart(workload, tmp_path):
    def places(optimizers, rates=(0.1,), seeds=(0,), folder="one"):
        tried = _search.grid(rates, optimizers)
        runs = _compare._make_runs(tmp_path / folder, workload, optimizers, tried, seeds)
        return {run.folder.name for run in runs.values()}

    long = "x" * 300 + "/../*?"
    first = places({"Adam": Adam})
    assert first == places({"Adam": Adam}, folder="two")
    different = [
        {"Adam": lambda rate: Adam(rate, beta_1=0.8)},
        {"Adam": keras.optimizers.Adam},
        {"decayed": studies.decayed},
        {"decayed": lambda r: Adam(keras.optimizers.schedules.CosineDecay(r, 101))},
        {"Other": Adam},
        {long: Adam},
    ]
    sets = [first, *map(places, different)]
    sets += [places({"Adam": Adam}, rates=[0.2]), places({"Adam": Adam}, seeds=[1])]
    assert len(set.union(*sets)) == len(sets)
    assert all(len(name) < 100 and "/" not in name for group in sets for name in group)


def test_hashes_of_sources_are_the_same_on_every_python():
    """Python's own parser and printer write some strings in other ways since 3.12."""
    line = "return f\"{self.names['a']} is\""
    source = f"  def f(self):\n    'Text.'\n\n    {line}  # why\n"
    assert _identity._code(source) == f"def f(self):\n  {line}"


def test_source_of_an_own_class_belongs_to_the_run(workload, tmp_path, monkeypatch):
    def place():
        tried = _search.grid([0.1], ["s"])
        [run] = _compare._make_runs(tmp_path, workload, {"s": studies.Signed}, tried, [0]).values()
        return run.folder

    before, getsource = place(), inspect.getsource
    before.mkdir(parents=True)

    def edit(old, new):
        monkeypatch.setattr(inspect, "getsource", lambda kind: getsource(kind).replace(old, new))

    edit('"""An optimizer', '# A comment.\n\n    """Another text: an optimizer')
    assert place() == before
    edit("step = ", "step = 2 * ")
    with pytest.warns(UserWarning, match="1 of 1 runs are trained again.* of the same names"):
        assert place() != before


class OwnLayer(keras.layers.Layer):
    def call(self, inputs):
        return inputs


class OwnModel(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer = OwnLayer()

    def call(self, inputs):
        return self.layer(inputs)


class OwnDecay(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.1

    def get_config(self):
        return {}


@pytest.mark.parametrize(
    ("describe", "thing", "edited"),
    [
        (_identity.describe_model, lambda: keras.Sequential([OwnLayer()]), OwnLayer),
        (_identity.describe_model, OwnModel, OwnModel),
        (_identity.describe_model, OwnModel, OwnLayer),
        (_identity.describe_optimizer, lambda: keras.optimizers.SGD(OwnDecay()), OwnDecay),
        (
            _identity.describe_optimizer,
            lambda: type("Derived", (studies.Signed,), {})(0.1),
            studies.Signed,
        ),
    ],
)
def test_source_of_whatever_is_the_users_belongs_to_it(describe, thing, edited, monkeypatch):
    before, getsource = describe(thing()), inspect.getsource
    assert describe(thing()) == before

    def changed(kind):
        return getsource(kind) + ("# edited" if kind is edited else "")

    monkeypatch.setattr(inspect, "getsource", changed)
    assert describe(thing()) != before


def test_source_of_a_scripts_classes_belongs_to_it(monkeypatch):
    """Keras's configuration does not name the module `__main__`; a notebook's has no file."""

    class Typed(keras.layers.Layer):
        def call(self, inputs):
            return inputs * 1.0

    monkeypatch.setattr(Typed, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Typed", Typed, raising=False)
    assert "return inputs * 1.0" in json.dumps(_identity.as_json({"class_name": "Typed"}))
    network = _identity.describe_model(keras.Sequential([keras.Input((1,)), Typed()]))
    assert "return inputs * 1.0" in json.dumps(network["config"])


def test_class_that_cannot_be_imported_has_its_source():
    """And that of no base class which a version stands for."""

    class Inside(keras.layers.Layer):
        pass

    network = _identity.describe_model(keras.Sequential([keras.Input((1,)), Inside()]))
    [[source]] = network["layers"].values()
    assert source.strip().startswith("class Inside(")


def test_other_initial_weights_are_refused(tmp_path):
    """Such as those of another file that `build` reads."""
    weights = [1.0]

    def build():
        layer = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(weights[0]))
        model = keras.Sequential([keras.Input((3,)), layer])
        model.get_layer(index=0).set_weights([np.full((3, 1), weights[-1]), np.zeros(1)])
        return model

    def call():
        workload = comparison.Workload(build, data=linear(), loss="mse", batch_size=24)
        return comparison.compare(
            workload, {"SGD": keras.optimizers.SGD}, [0.1], [(1, 1)], tmp_path, seeds=1
        )

    first = call()
    assert call().results == first.results
    weights.append(100.0)
    with pytest.raises(ValueError, match=r"`build` makes a .*kernel other than that in .*seed-0"):
        call()


def test_number_that_a_configuration_hides_belongs_to_the_run():
    class Hidden(studies.Signed):
        def __init__(self, learning_rate, beta):
            super().__init__(learning_rate)
            self.beta = beta

    one, other = (_identity.describe_optimizer(Hidden(0.1, beta)) for beta in (0.1, 0.9))
    assert one != other


def test_models_made_before_do_not_matter(workload):
    for _ in range(3):
        studies.build()
    assert studies.workload().description == workload.description


def test_policy_is_that_of_the_workload(tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        workload = comparison.Workload(
            lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]),
            data=linear(),
            loss="mse",
        )
    finally:
        keras.config.set_dtype_policy(before)
    model = workload.new_model("sgd", 0)
    assert model.layers[0].compute_dtype == "bfloat16"
    assert keras.config.dtype_policy() == before
    pure = [keras.Variable([1.5, 2.5], dtype="bfloat16")]
    _run.save(tmp_path / "state.npz", pure)
    pure[0].assign([0, 0])
    _run.assign(pure, _run.read(tmp_path / "state.npz"))
    np.testing.assert_array_equal(np.asarray(pure[0], "float32"), [1.5, 2.5])


def text_model():
    return keras.Sequential(
        [keras.layers.Embedding(20, 4), keras.layers.GlobalMaxPooling1D(), Top()]
    )


class Top(keras.layers.Dense):
    def __init__(self, **kwargs):
        super().__init__(**{"units": 2, "activation": "softmax", **kwargs})


def test_text_from_a_function_and_model_built_by_its_data(tmp_path):
    """A dataset of single examples, an Embedding, layers without an input shape."""
    rng = np.random.default_rng(0)
    words = rng.integers(20, size=(30, 5))

    def data(seed):
        whole = tf.data.Dataset.from_tensor_slices((words, (words.sum(axis=1) > 45) * 1))
        return whole.shuffle(30, seed=seed)

    workload = comparison.Workload(
        text_model, data, "sparse_categorical_crossentropy", validation=data, batch_size=10
    )
    optimizers = {"Adam": Adam, "keras.Lion": keras.optimizers.Lion}
    arguments = (optimizers, [0.01], [(2, 1)])
    study = comparison.compare(workload, *arguments, tmp_path, 1, choose_by="val_loss")
    again = comparison.compare(workload, *arguments, tmp_path / "b", 1, choose_by="val_loss")
    assert studies.numbers(study) == studies.numbers(again)
    assert [row["steps"] for row in study.results["Adam", 0.01, 0]] == [3, 6]


def test_arrays_are_batched_beside_a_function_that_batches(tmp_path):
    x, y = linear(n=40)

    def data(seed):
        return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)

    workload = comparison.Workload(build_linear, data, FLOAT64, (x, y), batch_size=None)
    sizes = [len(xs) for xs, _ in workload.validation_batches().as_numpy_iterator()]
    assert sizes == [32, 8]
    study = comparison.compare(
        workload, {"SGD": keras.optimizers.SGD}, [0.125], [(1, 1)], tmp_path, seeds=[0]
    )
    saved = _run.read(next(tmp_path.glob("runs/*/state.npz")))
    [row] = study.results["SGD", 0.125, 0]
    expected = np.mean((x @ saved["v0"] + saved["v1"] - y) ** 2)
    np.testing.assert_allclose(row["val_loss"], expected, rtol=1e-6)
    assert row["steps"] == 5


def test_rows_and_table(study):
    rows = study.rows()
    assert len(rows) == sum(map(len, study.results.values()))
    last = [r for r in rows if (r["optimizer"], r["seed"]) == ("signed", 0)][-1]
    assert last["seconds"] > 0
    assert all(row["rung"] == (1 if row["epoch"] <= 2 else 2) for row in rows)
    assert set(last) == {
        *("optimizer", "learning_rate", "seed", "epoch", "steps", "seconds", "device", "diverged"),
        *("chosen", "rung"),
        *("loss", "accuracy", "val_loss", "val_accuracy"),
    }
    reserved = {*last, "trial"} - {*study.quantities}  # no metric may have these names
    assert {*_workload.COLUMNS} == reserved
    ends = {
        name: [study.results[name, rate, seed][-1]["loss"] for seed in (0, 1)]
        for name, rate in study.learning_rates.items()
    }
    means = {name: stats.gmean(losses) for name, losses in ends.items()}
    best, other = sorted(means, key=means.get)
    first, second = study.table().splitlines()[2:]
    rates = study.learning_rates
    edge = [", the grid's edge" * (rates[name] == studies.RATES[0]) for name in (best, other)]
    assert first == f"| 1 | {best} | {rates[best]:g}{edge[0]} | {means[best]:.4g} |  |  |  |"
    [pair] = comparison.differences({other: ends[other], best: ends[best]})
    assert [pair] == study.differences()
    assert second.startswith(f"| 2 | {other} | {rates[other]:g}{edge[1]} | {means[other]:.4g} | ")
    assert f" | {_tables.size(pair)} | " in second
    sizes = map(_tables.ratio, (pair.ratio, *pair.interval))
    assert _tables.size(pair) == "{} [{}, {}]".format(*sizes)
    assert second.endswith("| yes |" if pair.carries else "| no |")


def test_table_is_latex_too(study):
    head, rows = ["η", "≥ 1"], [["a_b & 5%", "p < 0.001"], ["\\", "~^#${}"]]
    assert _tables.latex_table(head, rows).splitlines() == [
        r"\begin{tabular}{ll}",
        r"\toprule",
        r"$\eta$ & $\geq$ 1 \\",
        r"\midrule",
        r"a\_b \& 5\% & p $<$ 0.001 \\",
        r"\textbackslash{} & \textasciitilde{}\textasciicircum{}\#\$\{\} \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert study.to_latex().count(r" \\") == 3


def test_dataframe_has_the_numbers_of_the_ranking(study, monkeypatch):
    """pandas is not required: of its DataFrame this needs the one that takes a list of dicts."""
    fake = types.SimpleNamespace(DataFrame=list)
    monkeypatch.setitem(sys.modules, "pandas", fake)
    best, other = study.to_pandas()
    assert [best["optimizer"], other["optimizer"]] == [e["optimizer"] for e in study.ranking()]
    assert best["ratio"] is best["p"] is None
    assert other["low"] < other["ratio"] < other["high"]
    assert {type(v) for row in (best, other) for v in row.values()} <= {
        *(str, float, int, bool, type(None), np.float64),
    }


def test_study_loads_without_its_workload(study, folder, tmp_path):
    """From the folder of `compare`, and from a report; the page is the same."""
    page = study.report(tmp_path / "page") / "README.md"
    for place in (folder, tmp_path / "page"):
        loaded = comparison.load(place)
        assert loaded.differences() == study.differences()
        assert loaded.learning_rates == study.learning_rates
        for key, rows in studies.numbers(study).items():
            assert studies.numbers(loaded)[key] == rows
        loaded.average_last = 2  # what was trained stays
        loaded.save(tmp_path)
        assert comparison.load(tmp_path).alive == loaded.alive == study.alive
        loaded.average_last = 1
        again = loaded.report(tmp_path / "again") / "README.md"
        assert again.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")


def test_part_of_a_study_and_damaged_ones(study, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`folder` must be .*protocol.json is not there"):
        comparison.load(tmp_path)
    study.save(tmp_path)
    table = (tmp_path / "results.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    rung = table[0].split(",").index("rung")
    first = [table[0], *(line for line in table[1:] if line.split(",")[rung] == "1")]
    (tmp_path / "results.csv").write_text("".join(first), encoding="utf-8")
    loaded = comparison.load(tmp_path)
    assert (loaded.rungs, len(loaded.alive)) == ([[2, 3]], 1)
    assert loaded.learning_rates == study.learning_rates
    (tmp_path / "results.csv").write_text("".join(table[:3]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"damaged .*no rung is complete"):
        comparison.load(tmp_path)
    protocol = json.loads((tmp_path / "protocol.json").read_text())
    others = ({}, protocol | {"optimizers": []}, protocol | {"optimizers": {}})
    for damaged in (b"", b"\xff", *(json.dumps(other).encode() for other in others)):
        (tmp_path / "protocol.json").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"protocol.json or results.csv in .* is damaged"):
            comparison.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="`folder` must be "):
        comparison.load(tmp_path / "results.csv")
    for wrong in (-1, 0):
        with pytest.raises(ValueError, match="`average_last` must be an integer >= 1"):
            study.ends(wrong)


def test_mean_of_the_last_epochs_chooses_and_is_reported(regression):
    losses = {
        0.1: [[4.0, 1.0, 4.0, 1.0], [4.0, 1.0, 4.0, 1.0]],
        1.0: [[4.0, 2.0, 2.0, 2.0], [4.0, 2.0, 2.0, 2.0]],
    }
    study = made(regression, {"SGD": losses}, [(4, 2)])
    assert study.learning_rates == {"SGD": 0.1}
    study.average_last = 2
    assert study.learning_rates == {"SGD": 1.0}
    [entry] = study.ranking()
    np.testing.assert_array_equal(entry["values"], [2, 2])
    study.average_last = 9  # all there are
    np.testing.assert_array_equal(study.values("SGD", 0), [[2.5, 2.5], [2.5, 2.5]])
    with pytest.raises(ValueError, match="`average_last` must be"):
        study.average_last = 0
    assert _tables.moment("loss", 4, 2) == "mean loss in epochs 3 to 4"
    assert _tables.moment("val_loss", 4, 9) == "mean val_loss after epochs 1 to 4"


def test_average_of_the_search_is_that_of_the_protocol(regression, tmp_path):
    arguments = (regression, {"SGD": keras.optimizers.SGD}, [0.1, 0.2], [(3, 2)], tmp_path, 1)
    study = comparison.compare(*arguments, average_last=2)
    losses = {r: [row["loss"] for row in study.results["SGD", r, 0]] for r in (0.1, 0.2)}
    means = {rate: np.mean(of_rate[1:]) for rate, of_rate in losses.items()}
    np.testing.assert_allclose(study.values("SGD", 0)[:, 0], [*means.values()])
    assert comparison.load(tmp_path).average_last == 2


def test_first_lines_of_the_page_answer(tmp_path):
    """Which is best, by how much, does it carry, and what would tell more."""
    workload = comparison.Workload(build_linear, linear(), FLOAT64)
    near = {0.1: [[1.0], [0.98], [1.05]]}
    losses = {"near": near, "best": {0.1: [[0.9], [1.0], [0.95]]}, "far": {0.1: [[9], [8], [8.5]]}}
    study = made(workload, losses, [(1, 1)])
    lines = (study.report(tmp_path) / "README.md").read_text(encoding="utf-8").split("\n\n")
    assert lines[2].startswith("**best** ends best: loss in epoch 1 is 0.9491, at η 0.1. ")
    assert lines[3].splitlines()[2].startswith("| 1 | best | 0.1 | 0.9491 |")
    told = [d for d in study.differences() if d.carries]
    assert {(d.better, d.first) for d in told} >= {("best", "far"), ("near", "far")}
    assert lines[4].splitlines() == [
        "- **near** ends better than far.",
        f"- {3 - len(told)} of the 3 differences do not carry.",
    ]
    [more] = [line for line in lines[:7] if line.startswith("**What would tell more?** ")]
    variance, _ = _differences.spread(study.ends())
    size = np.expm1(_differences.visible(variance, 3, 3))
    assert f"With 3 seeds, a true difference of {100 * size:.0f}% carries in 80%" in more or (
        f"a true difference of {100 * size:.1f}% carries" in more
    )
    assert "Two seeds are few" not in more
    assert lines[-1].startswith("|  | 1 | 2 | 3 |")  # probabilities come last


def test_page_says_what_the_tests_say_where_a_run_diverged(regression):
    """Fewer diverged runs rank higher, but "ends better" is said only of what a test supports."""
    ends = {"safe": [2.0, 2.1, 1.9, 2.0, 2.05], "fast": [0.01, 0.011, np.inf, 0.0105, 0.0099]}
    losses = {name: {0.1: [[value] for value in values]} for name, values in ends.items()}
    study = made(regression, losses, [(1, 1)])
    assert [entry["optimizer"] for entry in study.ranking()] == ["safe", "fast"]
    [pair] = study.differences()
    assert (pair.better, pair.carries) == ("fast", True)
    page = "\n\n".join(_report.sections(study))
    assert "ends better than fast" not in page
    assert "Where it ends, **fast** is better (0.005" in page
    assert "1 of its 5 runs diverged" in page
    assert "| yes, fast is better |" in page


def test_variants_of_one_class_have_colors_by_position(regression):
    rates = {0.1: [[1.0], [1.1]]}
    study = made(regression, {f"variant {i}": rates for i in range(13)}, [(1, 1)])  # of SGD
    drawn = [line for line in study.curves().lines if line.get_label().startswith("variant")]
    assert len({line.get_color() for line in drawn[:11]}) == 11
    assert len({(line.get_color(), line.get_marker()) for line in drawn}) == 13
    plt.close("all")


def test_bands_are_intervals_that_narrow_with_seeds():
    rng = np.random.default_rng(0)
    widths = []
    for seeds in (3, 12, 48):
        table = np.exp(rng.normal(0, 0.1, (4, seeds, 1)) + 10 * rng.normal(size=(1, seeds, 1)))
        mean, low, high = _pictures.intervals(table)[:, :, 0].T
        np.testing.assert_allclose(mean, stats.gmean(table[:, :, 0], axis=1))
        np.testing.assert_allclose(high / mean, mean / low)
        widths.append(np.log(high[0] / low[0]))
        expected = stats.t.isf(0.025, 3 * (seeds - 1)) * 0.1 / np.sqrt(seeds)  # not the seeds' 10
        assert widths[-1] / 2 == pytest.approx(expected, rel=0.35)
    assert widths[0] > 1.5 * widths[1] > 2 * widths[2]
    one, other = [[[1.0], [2.0], [np.nan]], [[1.5], [np.nan], [0.5]]]  # seeds that diverged
    assert np.isfinite(_pictures.intervals(np.array([one, other]))[:, 0]).all()


def test_page_and_results_are_there_if_a_picture_fails(study, tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no picture")

    monkeypatch.setattr(_pictures, "curves", fail)
    with pytest.raises(RuntimeError):
        study.report(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("README.md", "protocol.json", "results.csv")
    }


@pytest.mark.full
def test_report_needs_no_extra(tmp_path):
    """Pictures need what the package requires, not the encoder of films."""
    code = "import sys; sys.modules['imageio_ffmpeg'] = sys.modules['bokeh'] = None\n"
    code += "from keras_lecture_opt.comparison import _pictures\n"
    code += "from keras_lecture_opt import plots, landscapes, Adam\n"
    code += "film = landscapes.descend(landscapes.quadratic, Adam(), steps=1)\n"
    code += "plots.animate(film, 'film.gif', fps=1)\n"
    code += "try:\n    plots.animate(film, 'film.mp4')\n"
    code += "except ImportError as error:\n    print(error)\n"
    code = f"import os\nos.chdir({str(tmp_path)!r})\n{code}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.startswith("`animate` needs the extra 'plot'"), run.stderr


def made(workload, losses, rungs):
    """Return a study with these losses: name -> rate -> one list of epochs for each seed."""
    optimizers = {name: keras.optimizers.SGD() for name in losses}
    rates = sorted({rate for of_name in losses.values() for rate in of_name})
    trials = {name: {rate: {"learning_rate": rate} for rate in rates} for name in losses}
    [count] = {len(of_rate) for of_name in losses.values() for of_rate in of_name.values()}
    seeds = [*range(count)]
    study = comparison._study.Study(workload, optimizers, trials, rungs, seeds, "loss", "min")
    for epochs, _ in rungs:
        results = {}
        for name, rate, seed in study.keys(len(study.alive) - 1):
            results[name, rate, seed] = [
                {"epoch": i, "steps": 3 * i, "seconds": 600.0 if i == 2 else 1.0, "loss": loss}
                | {"mae": loss / 2, "diverged": loss > 9, "device": "CPU"}
                for i, loss in enumerate(losses[name][rate][seed][:epochs], start=1)
            ]
        study.add(results)
    return study


def test_one_seed_that_diverges_late_does_not_decide_for_the_others(tmp_path):
    workload = comparison.Workload(
        build_linear, linear(), FLOAT64, metrics=["mae"], target=("loss", 0.3)
    )
    falling = [4.0, 3.0, 0.2]
    losses = {
        "late": {0.1: [falling, [4.0, 10.0]], 1.0: [[5.0], [5.0]]},
        "whole": {0.1: [[4.0, 3.0, 0.5], [4.0, 3.0, 0.25]], 1.0: [[10.0], [10.0]]},
        "never": {0.1: [[4.0, 10.0], [4.0, 10.0]], 1.0: [[10.0], [5.0]]},
        "lost": {0.1: [[10.0], [4.0]], 1.0: [[10.0], [4.0]]},
    }
    study = made(workload, losses, [(1, 2), (3, 1)])
    assert study.learning_rates == {"late": 0.1, "whole": 0.1, "never": None, "lost": None}
    ranking = study.ranking()
    assert [entry["optimizer"] for entry in ranking] == ["whole", "late", "never", "lost"]
    whole, late, *_ = ranking
    np.testing.assert_equal(late["values"], [0.2, np.nan])
    assert (late["diverged"], whole["diverged"]) == (1, 0)
    assert late["reached"] == 1
    assert late["to_target"][0] == np.inf  # half of the seeds: no median
    differences = {(d.first, d.second): d for d in study.differences()}  # the last one first
    assert differences["late", "whole"].better == "whole"
    assert differences["never", "whole"].diverged == (2, 0)
    assert not any(d.carries for d in differences.values())  # of two seeds: Fisher's p is 1/3
    assert whole["difference"] is None
    assert late["difference"] == differences["late", "whole"]
    page = (study.report(tmp_path) / "README.md").read_text(encoding="utf-8")
    assert "| 2 | late | 0.1, the grid's edge | 0.2, 1 of 2 diverged | 0.4 | 1 | no |" in page
    assert "| late | 0.1 | 1.0 |" in page  # mae, s per epoch
    assert "| 3 | never | none | every η diverged |  | 1 | no |" in page
    assert "Rates are not compared after epoch 1." in page
    labels = [line.get_label().replace("\n", " ") for line in study.curves().lines]
    assert labels == ["late, η 0.1, 1 of 2 diverged", "whole, η 0.1"]
    plt.close("all")


def test_rates_are_ranked_by_the_mean_over_seeds(regression):
    losses = {"SGD": {0.1: [[1.0, 1.0], [8.0, 8.0]], 1.0: [[4.0, 4.0], [4.0, 4.0]]}}
    assert made(regression, losses, [(1, 2), (2, 1)]).learning_rates == {"SGD": 1.0}


def test_epochs_after_a_stop_took_no_time():
    assert _run.median_seconds([{"seconds": s} for s in (2.0, 4.0, 0.0, 0.0, 0.0)]) == 3
    assert _run.median_seconds([]) == 0


def test_pause_does_not_count_and_each_rung_has_its_table(tmp_path):
    workload = comparison.Workload(build_linear, linear(), FLOAT64, target=("loss", 0.5))
    losses = {
        rate: [[loss, loss / 2, loss / 4, loss / 8]] * 2
        for rate, loss in ((0.1, 6.0), (0.2, 2.0), (0.4, 1.0), (0.8, 3.0))
    }
    losses[0.2] = [[2.0, 0.75, 0.3, 0.2], [2.0, 0.75, 0.3, 0.4]]
    study = made(workload, {"SGD": losses}, [(2, 4), (4, 2)])
    [entry] = study.ranking()
    assert entry["learning_rate"] == 0.4
    assert entry["to_target"].tolist() == [2, 6, 2]  # seconds: of two median epochs
    assert entry["epoch_seconds"] == 1
    assert not entry["at_edge"]
    assert not entry["at_inner_edge"]  # of two that were compared last, each is an edge
    [alone] = made(workload, {"SGD": {0.1: losses[0.1]}}, [(1, 1), (2, 1)]).ranking()
    assert not alone["at_edge"]
    assert not alone["at_inner_edge"]  # it was compared with none
    page = (study.report(tmp_path) / "README.md").read_text(encoding="utf-8")
    assert "| 1 | SGD | 0.4 | 0.125 |  |  |  |" in page
    assert "Mean loss in epoch 2, at each η:" in page
    assert "| SGD | 3 | 0.75 | 0.5 | 1.5 |" in page
    assert "| SGD | 0.4 | 0.5 | 1.50 | 3.00 |" in page
    assert "The η with the best mean loss in epoch 4, " in page
    assert "| SGD | 0.4 | 0.125 | 2.40 |  |" in page


def test_edge_of_the_last_choice_is_one_of_three_or_more(regression, tmp_path):
    losses = {rate: [[2.0, loss], [2.0, loss]] for rate, loss in ((0.1, 1), (0.2, 2), (0.4, 3))}
    losses[0.8] = [[3.0], [3.0]]
    study = made(regression, {"SGD": losses}, [(1, 4), (2, 3)])
    study.rates = [0.05, *study.rates]
    study.trials["SGD"][0.05] = {"learning_rate": 0.05}
    assert study.ranking()[0]["at_inner_edge"]
    study.rates = study.rates[1:]
    page = (study.report(tmp_path) / "README.md").read_text(encoding="utf-8")
    assert "Of the rates that were compared last, that of SGD is the lowest or the highest" in page


def test_values_that_make_no_factor_and_no_mean_leave_gaps(tmp_path):
    workload = comparison.Workload(build_linear, linear(), FLOAT64, metrics=["mae"])
    rates = {0.1: [[1.0], [1.0]], 0.2: [[0.0], [0.0]], 0.4: [[3.0], [3.0]]}
    study = made(workload, {"exact": rates}, [(1, 3)])
    for rows in study.results.values():
        rows[-1]["mae"] = np.nan
    page = (study.report(tmp_path) / "README.md").read_text(encoding="utf-8")
    assert "| exact | 1 | 0 | 3 |" in page
    assert "| exact | 0.2 | 0 |  |  |" in page
    assert "| exact | NaN | 1.0 |" in page


def test_page_says_what_was_trained(study, tmp_path):
    page = (study.report(tmp_path) / "README.md").read_text(encoding="utf-8")
    for part in (
        "layers: InputLayer, Conv2D 3, BatchNormalization, Flatten, Dropout 0.3, Noise, Dense 4.",
        "An epoch has 2 batches of 25 examples.",
        "- decayed: `keras.src.optimizers.adam.Adam`, η: CosineDecay, beta_1 0.9, beta_2 0.999, ",
        "- signed: `studies.Signed`.",
        "loss: loss in epoch 4, the geometric mean over the seeds",
        "| optimizer | accuracy | val_accuracy | val_loss | s per epoch |",
    ):
        assert part in page
    for name, rate in study.learning_rates.items():
        ends = [study.results[name, rate, seed][-1]["val_loss"] for seed in (0, 1)]
        assert f"| {np.mean(ends):.4g} ± {np.std(ends, ddof=1):.1g} |" in page


def test_what_ends_last_in_a_name_says_what_is_better():
    workload = comparison.Workload(build_linear, linear(), FLOAT64)
    for mode, names in {
        "min": ["classifier2_loss", "val_leaf1_loss", "iou_loss", "val_mae", "log_cosh"],
        "max": ["accuracy", "val_hinge_accuracy", "f1_score", "val_r2_score", "mean_io_u"],
    }.items():
        workload.quantities = names
        assert [workload.better("choose_by", name) for name in names] == [mode] * len(names)
    workload.quantities = ["churn"]
    with pytest.raises(ValueError, match="nothing says whether more of 'churn' is better"):
        workload.better("choose_by", "churn")


@pytest.mark.parametrize(
    ("loss", "limit", "diverged"),
    [(1.0, 2.0, False), (3.0, 2.0, True), (np.nan, np.inf, True), (np.inf, np.inf, True)],
)
def test_loss_that_is_not_finite_has_diverged(loss, limit, diverged, regression):
    """Also where the untrained network's loss, such as 0, makes no limit."""
    fit = types.SimpleNamespace(history={"loss": [loss]})
    callbacks = types.SimpleNamespace(of_fit=[])
    model = types.SimpleNamespace(
        fit=lambda *args, **kwargs: fit, optimizer=types.SimpleNamespace(iterations=3)
    )
    row = _run.train_epoch(model, regression, 0, 0, limit, callbacks)
    assert row["diverged"] == diverged


def test_quantiles_are_in_order_where_more_is_better():
    workload = comparison.Workload(build_linear, linear(), FLOAT64, metrics=["r2_score"])
    losses = {"a": {0.1: [[0.5], [0.5]], 1.0: [[0.7], [0.7]], 10.0: [[0.9], [0.9]]}}
    study = made(workload, losses, [(1, 3)])
    study.choose_by, study.sign = "loss", -1
    _, cells = _report.budgets(study, {n: _report.after_search(study, n) for n in (1, 3)})
    assert "| a | 0.7 [0.5, 0.9] | 0.9 [0.9, 0.9] |" in cells


def test_layers_with_odd_sizes_are_named():
    several = {"class_name": "Inception", "config": {"filters": [64, 128]}}
    dense = {"class_name": "Dense", "config": {"units": 5}}
    [sentence] = _report.layers({"config": {"layers": [several, dense]}})
    assert sentence == "Its layers: Inception, Dense 5."


def test_target_is_the_first_epoch_that_reaches_it(study):
    for entry in study.ranking():
        name, rate = entry["optimizer"], entry["learning_rate"]
        epochs = []
        for seed in (0, 1):
            rows = study.results[name, rate, seed]
            reached = [row["epoch"] for row in rows if row["val_accuracy"] >= 0.5]
            epochs.append(reached[0] if reached else np.inf)
        np.testing.assert_equal(entry["to_target"][0], np.median(epochs))
        np.testing.assert_equal(entry["to_target"][1], 2 * np.median(epochs))


def test_page_shows_the_results_and_replaces_only_its_own(study, tmp_path):
    folder = study.report(tmp_path / "page")
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert study.table().strip() in text
    for part in ("tensorflow", "Python 3", "`python ", "same for all", "## What does a wrong"):
        assert part in text
    with (folder / "results.csv").open() as file:
        saved = list(csv.DictReader(file))
    for name, chosen in study.learning_rates.items():  # the choice can be made again from the CSV
        of = [r for r in saved if r["optimizer"] == name]
        good = {r["learning_rate"] for r in of} - {
            r["learning_rate"] for r in of if r["diverged"] == "True"
        }
        means = {
            rate: np.mean(
                [float(r["loss"]) for r in of if (r["learning_rate"], r["epoch"]) == (rate, "2")]
            )
            for rate in good
        }
        assert float(min(means, key=means.get)) == chosen
    study.report(folder)
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(FileExistsError, match=r"README\.md, not of a report"):
        study.report(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_pictures_have_the_numbers(study):
    ax = study.curves()
    for line, name in zip(ax.lines, studies.OPTIMIZERS, strict=True):
        rate = study.learning_rates[name]
        runs = [study.results[name, rate, seed] for seed in (0, 1)]
        means = stats.gmean([[row["loss"] for row in rows] for rows in runs], axis=0)
        np.testing.assert_allclose(line.get_ydata(), means)
        assert line.get_label() == f"{name}, η {rate:g}"
    classes = (keras.optimizers.Adam, studies.Signed)
    assert [line.get_color() for line in ax.lines] == [*map(plots.color, classes)]
    ax = study.sensitivity()
    drawn = {line.get_label(): line for line in ax.lines}
    for name in studies.OPTIMIZERS:
        y = drawn[name].get_ydata()
        np.testing.assert_array_equal(y[:2], study.values(name, 0).mean(axis=1)[:2])
        assert np.isnan(y[2])  # it diverged: a cross
    assert "diverged" in drawn
    assert is_whole(ax.figure)
    slide = study.curves(figsize=(9.6, 5.4), dpi=200).figure
    assert is_whole(slide)
    assert slide.canvas.get_width_height() == (1920, 1080)
    with pytest.raises(ValueError, match="`quantity` must be one of"):
        study.curves("cost")
    plt.close("all")


class OfEachClass(keras.metrics.SparseCategoricalAccuracy):
    """Several numbers, as `keras.metrics.F1Score` returns by default."""

    def result(self):
        return keras.ops.stack([super().result()] * 4)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"build": keras.Sequential}, TypeError, "`build` must be a function"),
        ({"build": lambda: 3}, TypeError, "`build` must be a function that returns"),
        ({"data": np.ones(3)}, TypeError, "`data` must be"),
        ({"data": (np.ones((3, 6, 6, 1)), np.ones(2))}, ValueError, r"one length >= 1, not \[2, 3"),
        ({"data": (np.ones((0, 6, 6, 1)), np.ones(0))}, ValueError, "one length >= 1"),
        ({"data": (np.full((3, 6, 6, 1), np.nan), np.ones(3))}, ValueError, "NaN or infinity"),
        ({"data": (np.ones((3, 6, 6, 1)), np.array([0, 1, 4]))}, ValueError, "labels from 0 to 3"),
        (
            {"validation": (np.ones((2, 6, 6, 1)), np.array([0, -1]))},
            ValueError,
            "`validation` must have lab",
        ),
        ({"data": lambda seed: 3}, TypeError, "`data` must be arrays, or a function"),
        (
            {"data": (np.ones((3, 6, 6, 1)), [0, 1, 2])},
            TypeError,
            "`data` must be arrays of numbers",
        ),
        ({"metrics": "accuracy"}, TypeError, "`metrics` must be a list"),
        (
            {"metrics": [OfEachClass(name="each")]},
            ValueError,
            r"metrics` must be metrics of one number each.* not \"'each' of \(4,\)",
        ),
        (
            {"metrics": [keras.metrics.SparseCategoricalAccuracy(name="steps")]},
            ValueError,
            "`metrics` must be names other than epoch, steps.* not 'steps'",
        ),
        ({"batch_size": 0}, ValueError, "`batch_size` must be"),
        ({"batch_size": None}, TypeError, "`batch_size` must be"),
        ({"steps_per_execution": 1.5}, TypeError, "`steps_per_execution` must be"),
        ({"target": 0.9}, TypeError, "`target` must be"),
        ({"target": ("val_acc", 0.9)}, ValueError, "`target` must be one of accuracy, loss, val_a"),
        ({"target": ("loss", np.nan)}, ValueError, "`target` must be a finite"),
        ({"target": ("loss", 1, "lower")}, ValueError, "`target` must be"),
    ],
)
def test_wrong_workloads_are_refused(changed, error, message):
    with pytest.raises(error, match=message):
        studies.workload(**changed)


def test_labels_that_the_loss_ignores_are_allowed():
    x, y = studies.images()
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    studies.workload(data=(x, np.where(y == 2, -1, y)), loss=loss, target=None)
    with pytest.raises(ValueError, match="labels from 0 to 3"):
        studies.workload(data=(x, np.where(y == 2, -2, y)), loss=loss, target=None)


def test_steps_per_execution_are_the_models():
    workload = comparison.Workload(build_linear, linear(), FLOAT64, steps_per_execution=3)
    assert workload.new_model("sgd", 0).steps_per_execution == 3


def test_shuffle_without_the_seed_is_refused():
    x, y = linear()

    def data(seed):
        return tf.data.Dataset.from_tensor_slices((x, y)).shuffle(24, seed=data.calls.pop())

    data.calls = list(range(99))
    with pytest.raises(ValueError, match="same order for the same seed"):
        comparison.Workload(build_linear, data, "mse")


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"workload": 3}, TypeError, "`workload` must be a Workload"),
        ({"optimizers": [Adam]}, TypeError, "`optimizers` must be a dict"),
        ({"optimizers": {Adam: "Adam"}}, TypeError, "`optimizers` must be a dict from names"),
        ({"optimizers": {"a|b": Adam}}, ValueError, "`optimizers` must be names that a table"),
        ({"optimizers": {"_A": Adam}}, ValueError, "`optimizers` must be names that a table"),
        ({"optimizers": {"$x_{$": Adam}}, ValueError, "`optimizers` must be names that a table"),
        ({"optimizers": {"Adam": 0.1}}, TypeError, "`optimizers` must be a dict from names"),
        ({"optimizers": {"Adam": lambda rate: "adam"}}, TypeError, "'Adam' makes 'adam'"),
        ({"learning_rates": 0.1}, TypeError, "`learning_rates` must be a list"),
        (
            {"learning_rates": [0.1, np.nan]},
            ValueError,
            "`learning_rates` must be different finite",
        ),
        ({"learning_rates": [0.1, 0.1]}, ValueError, "`learning_rates` must be different"),
        ({"learning_rates": ["0.1"]}, TypeError, "`learning_rates` must be a list"),
        ({"rungs": 3}, TypeError, "`rungs` must be"),
        ({"rungs": [(3, 2)]}, ValueError, "`rungs` must be .* all 1 of them"),
        ({"rungs": [(3, 1), (3, 1)]}, ValueError, "`rungs` must be"),
        ({"rungs": [(np.inf, 1)]}, TypeError, "`rungs` must be"),
        ({"rungs": [(1.5, 1)]}, ValueError, "`rungs` must be"),
        ({"seeds": 0}, ValueError, "`seeds` must be"),
        ({"seeds": 2**31}, ValueError, "`seeds` must be an integer >= 1 and <= 1000"),
        ({"seeds": [1, 1]}, ValueError, "`seeds` must be"),
        ({"seeds": "12"}, TypeError, "`seeds` must be"),
        ({"choose_by": "val_loss"}, ValueError, "`choose_by` must be one of loss"),
        ({"executor": 2}, TypeError, "`executor` must be"),
        ({"folder": 3}, TypeError, "`folder` must be"),
    ],
)
def test_wrong_comparisons_are_refused(regression, tmp_path, changed, error, message):
    arguments = {
        "workload": regression,
        "optimizers": {"Adam": Adam},
        "learning_rates": [0.1],
        "rungs": [(1, 1)],
        "folder": tmp_path,
    }
    with pytest.raises(error, match=message):
        comparison.compare(**{**arguments, **changed})
    assert not list(pathlib.Path(tmp_path).iterdir())  # nothing was begun


def test_one_optimizer_for_all_runs_is_refused(regression, tmp_path):
    shared = Momentum(0.1)
    with pytest.raises(ValueError, match="'shared' makes one twice"):
        comparison.compare(regression, {"shared": lambda r: shared}, [0.1], [(1, 1)], tmp_path)


def test_log_grid():
    assert comparison.log_grid(1e-4, 3.2) == [
        *(0.0001, 0.00032, 0.001, 0.0032, 0.01, 0.032, 0.1, 0.32, 1.0, 3.2)
    ]
    assert comparison.log_grid(1e-300, 1e300, 1)[::300] == [1e-300, 1.0, 1e300]
    for wrong, message in (((0.1, 0.1), "`high` must be"), ((np.nan, 1), "`low` must be")):
        with pytest.raises(ValueError, match=message):
            comparison.log_grid(*wrong)
