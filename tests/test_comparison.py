"""The comparison's mechanics, on a slice of MNIST and small networks."""

import contextlib
import csv
import dataclasses
import io
import json
import math
import os
import pathlib
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import imported
from matplotlib import pyplot as plt
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from keras_lecture_opt import comparison, plots
from keras_lecture_opt.comparison import Run, best, table, train, write_csv

SCRIPT = pathlib.Path(__file__).parents[1] / "examples" / "compare_rules.py"
SMALL = Run("Adam", {"learning_rate": 0.01}, seed=3, hidden=(12, 8), batch_size=64, epochs=4)


@pytest.fixture(scope="module")
def example():
    sys.path.insert(0, str(SCRIPT.parent))  # as when the script is run
    yield imported(SCRIPT)
    sys.path.remove(str(SCRIPT.parent))


@pytest.fixture(scope="module")
def data(mnist_data):
    (images, labels), _ = mnist_data
    return images[:300], labels[:300]


@pytest.fixture(scope="module")
def test_data(mnist_data):
    _, (images, labels) = mnist_data
    return images[:200], labels[:200]


ENVIRONMENT = comparison.environment()


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
def uninterrupted(data, test_data, tmp_path_factory):
    return train(SMALL, data, tmp_path_factory.mktemp("uninterrupted"), test_data)


def test_resumed_run_is_the_uninterrupted_one(data, test_data, tmp_path, uninterrupted):
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
    rows = train(SMALL, data, tmp_path, test_data, progress=moved.append)
    assert numbers(rows) == numbers(uninterrupted)
    assert [row["epoch"] for row in moved] == [3, 4]
    assert rows[:2] != uninterrupted[:2]  # these seconds are the first call's

    again = train(SMALL, data, tmp_path, test_data, progress=moved.append)
    assert again == rows
    assert len(moved) == 2  # it was done


def test_folder_tells_runs_apart_and_is_no_pattern(data, tmp_path):
    changes = {"rule": "AdaGrad", "hyperparameters": {"learning_rate": 0.1}, "seed": 4}
    changes |= {"hidden": (12,), "dropout": 0.1, "batch_size": 32}
    names = {dataclasses.replace(SMALL, **{k: v}).folder(300) for k, v in changes.items()}
    assert len(names | {SMALL.folder(300), SMALL.folder(299)}) == len(changes) + 2
    assert dataclasses.replace(SMALL, epochs=9).folder(300) == SMALL.folder(300)
    with pytest.raises(ValueError, match=r"`folder` must be without .*, not '.*runs \[2\]"):
        train(SMALL, data, tmp_path / "runs [2]")


def test_more_epochs_continue_a_run(data, test_data, tmp_path, uninterrupted):
    short = dataclasses.replace(SMALL, epochs=3)
    assert numbers(train(short, data, tmp_path, test_data)) == numbers(uninterrupted[:3])
    assert numbers(train(SMALL, data, tmp_path, test_data)) == numbers(uninterrupted)
    assert numbers(train(short, data, tmp_path, test_data)) == numbers(uninterrupted[:3])


def test_logs_for_tensorboard_or_brief(data, tmp_path, uninterrupted):
    brief = train(SMALL, data, tmp_path / "brief", brief=True)
    assert [row["cost"] for row in brief] == [row["cost"] for row in uninterrupted]
    assert {row["test_accuracy"] for row in brief} == {None}
    longer = dataclasses.replace(SMALL, epochs=5)  # which brief numbers cannot continue
    assert numbers(train(longer, data, tmp_path / "brief", brief=True)[:4]) == numbers(brief)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("tfevents" in path.name for path in kept)
    assert sum(path.stat().st_size for path in kept) < 10_000
    assert train(SMALL, data, tmp_path / "brief", brief=True) == brief

    train(dataclasses.replace(SMALL, epochs=1), data, tmp_path / "logged")
    names = [path.name for path in tmp_path.glob("logged/*/train/*")]
    assert any(name.endswith(".effective_lr") for name in names)
    assert any(name.endswith(".v2") for name in names)


class Own(keras.optimizers.SGD):
    """Its effective learning rate is not known."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate)


def test_hparams_tell_the_runs_apart_but_not_by_their_seeds(data, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.optimizers, "Own", Own, raising=False)
    configurations = []
    adadelta = {"rule": "keras.Adadelta"}
    for change in (
        *({}, {"seed": 4}, {"batch_size": 32}),
        *(adadelta, {**adadelta, "seed": 4}, {"rule": "keras.Own"}),
    ):
        run = dataclasses.replace(SMALL, epochs=1, **change)
        train(run, data, tmp_path)
        events = EventAccumulator(str(tmp_path / run.folder(300))).Reload()
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        start = HParamsPluginData.FromString(content).session_start_info
        values = {k: v.number_value or v.string_value for k, v in start.hparams.items()}
        configurations.append((start.group_name, values))
    of_network = {"hidden": "12x8", "dropout": 0.5, "learning_rate": pytest.approx(0.01)}
    for (_, values), batch_size in zip(configurations, (64, 64, 32, 64, 64, 64), strict=True):
        assert {"batch_size": batch_size, **of_network}.items() <= values.items()
    trials = [trial for trial, _ in configurations]
    assert trials[0] == trials[1] != trials[2]
    assert trials[3] == trials[4]  # whose name Keras would number
    optimizers = [values["optimizer"] for _, values in configurations]
    assert optimizers[2:4] == ["keras_lecture_opt.Adam", "keras.Adadelta"]
    assert optimizers[5] == "keras.Own"
    # Keras's callback, which has no effective learning rates to show, stands in.
    assert not list(tmp_path.glob("keras.Own*/train/*.effective_lr"))


def test_cost_is_that_with_dropout(data, tmp_path):
    still = Run("SteepestDescent", {"learning_rate": 0}, hidden=(12,), batch_size=64, epochs=2)
    rows = train(still, data, tmp_path, data)
    assert rows[0]["test_cost"] == pytest.approx(rows[1]["test_cost"], rel=1e-6)
    assert len({rows[0]["cost"], rows[1]["cost"], rows[0]["test_cost"]}) == 3


def test_rule_that_diverges_everywhere_is_said_to_be_left_out(
    example, mnist_dir, tmp_path, monkeypatch
):
    options = f"keras.SGD --grid 1e7 --hidden 4 --train-examples 128 --data-dir {mnist_dir}"
    monkeypatch.setattr(sys, "argv", [SCRIPT, *options.split(), "--log-dir", str(tmp_path)])
    example.main()
    page = (tmp_path / "README.md").read_text()
    assert "keras.SGD, batch size 128: it diverged at every rate of the grid" in page
    assert "cost.png" not in page
    assert not (tmp_path / "cost.png").exists()
    assert (tmp_path / "results.csv").read_text().count("True") == 1


def test_divergence_is_recorded_and_ends_the_run(data, tmp_path):
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
    write_csv(path, table([(SMALL, uninterrupted)], 300, "comparison"))
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
        ({"rule": "adam"}, ValueError, "`rule` must be a rule of this package.*, not 'adam'"),
        ({"rule": "keras.Nothing"}, ValueError, "`rule` must be .*not 'keras.Nothing'"),
        ({"rule": "keras.schedules"}, ValueError, "`rule` must be .*not 'keras.schedules'"),
        ({"rule": "torch.Adam"}, ValueError, "`rule` must be .*not 'torch.Adam'"),
        ({"rule": "keras.Optimizer"}, ValueError, "`rule` must be .*not 'keras.Optimizer'"),
        ({"hyperparameters": {"learning_rate": -1}}, ValueError, "`learning_rate` must be"),
        ({"hyperparameters": {"momentum": 0.9}}, (TypeError, ValueError), "momentum"),
        (
            {"hyperparameters": {"learning_rate": abs}},
            TypeError,
            "must be numbers, .* learning_rate=",
        ),
        ({"seed": 2**32}, ValueError, r"`seed` must be an integer < 2\*\*32, not 4294967296"),
        ({"seed": -1}, ValueError, "`seed` must be an integer >= 0, not -1"),
        ({"hidden": (10, 0)}, ValueError, "`hidden` must be an integer >= 1, not 0"),
        ({"dropout": 1}, ValueError, r"`dropout` must be a number in \[0, 1\), not 1"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be an integer >= 1, not 0"),
        ({"epochs": 2.5}, ValueError, "`epochs` must be an integer >= 1, not 2.5"),
    ],
)
def test_wrong_runs_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Run(**{"rule": "Adam", **arguments})


def test_each_is_done_once(example, tmp_path):
    args = example.parse(f"Adam Adam --seeds 1 1 --grid 0.1 0.1 --log-dir {tmp_path}".split())
    assert (args.rules, args.seeds, args.grid) == (["Adam"], [1], [0.1])


def test_rate_at_the_edge_of_the_grid_is_told(example, tmp_path):
    args = example.parse(f"Adam --seeds 1 --grid 0.1 1 10 --log-dir {tmp_path}".split())
    row = {"cost": 0.5, "diverged": False, "test_accuracy": 0.9, "seconds": 1.0, **ENVIRONMENT}
    edge = "Adam (batch size 128)"
    for rate, told in ((0.1, edge), (1, "none"), (10, edge)):
        search = [(Run("Adam", {"learning_rate": x}), [row]) for x in args.grid]
        final = [(Run("Adam", {"learning_rate": rate}), [row])]
        page = example.report(args, {"search": search, "comparison": final}, 300)
        assert f"a better rate may lie beyond: {told}.\n" in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("Adam adam", "`rule` must be a rule of this package"),
        ("Adam --grid 0.1 0", "`--grid` must be numbers > 0"),
        ("Adam --grid nan", "`--grid` must be numbers > 0"),
        ("Adam --grid big", "invalid float value: 'big'"),
        ("Adam --seeds -1", "`seed` must be an integer >= 0"),
        ("Adam --search-seed -1", "`seed` must be an integer >= 0"),
        ("Adam --dropout 1", "`dropout` must be a number"),
        ("Adam --log-dir runs*", "`folder` must be without"),
        ("Adam --epochs 0", "must be an integer >= 1"),
        ("Adam --batch-sizes 128 0", "must be an integer >= 1"),
        (f"Adam --log-dir {SCRIPT}/runs", "Not a directory"),
    ],
)
def test_wrong_options_are_refused_before_any_training(example, options, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        example.parse(options.split())
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


OPTIONS = (
    "Adam keras.SGD --hidden 16 --train-examples 300 --epochs 3 --seeds 0 1 "
    "--grid 0.01 0.1 1e6 --search-epochs 1 --batch-sizes 64"
)


def results(folder):
    with (folder / "results.csv").open() as file:
        return numbers(list(csv.DictReader(file)))


@pytest.fixture(scope="module")
def compared(example, mnist_dir, tmp_path_factory):
    """A comparison's folder and what it printed."""
    folder = tmp_path_factory.mktemp("compared")
    options = [*OPTIONS.split(), "--data-dir", mnist_dir, "--log-dir", folder]
    with pytest.MonkeyPatch.context() as patch, io.StringIO() as printed:
        patch.setattr(sys, "argv", [SCRIPT, *map(str, options)])
        with contextlib.redirect_stdout(printed):
            example.main()
        return folder, printed.getvalue()


def test_killed_comparison_ends_with_the_same_numbers(compared, mnist_dir, tmp_path):
    command = [sys.executable, SCRIPT, *OPTIONS.split()]
    command += ["--data-dir", mnist_dir, "--log-dir", tmp_path]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    steps = random.Random(os.getpid()).randrange(1, 10)
    printed = ""
    with subprocess.Popen(command, **pipes) as first:
        while printed.count("epoch/s") + printed.count("s/epoch") < 2 * steps:
            character = first.stdout.read(1)
            assert character, printed  # it has not ended yet
            printed += character
        first.kill()
    assert not (tmp_path / "README.md").exists()
    again = subprocess.run(command, **pipes, check=False)
    assert again.returncode == 0, again.stdout
    assert "100%" in again.stdout  # the bar knew what was left
    assert results(tmp_path) == results(compared[0])


def test_chosen_rate_is_the_best_of_the_grid(compared):
    rows = results(compared[0])
    for rule in ("Adam", "keras.SGD"):
        of_rule = [row for row in rows if row["rule"] == rule]
        tried = {
            row["learning_rate"]: float(row["cost"])
            for row in of_rule
            if row["part"] == "search" and row["diverged"] == "False"
        }
        used = {row["learning_rate"] for row in of_rule if row["part"] == "comparison"}
        assert used == {min(tried, key=tried.get)}
        assert {row["test_accuracy"] for row in of_rule if row["part"] == "search"} == {""}
        for seed in "01":
            finals = [r for r in of_rule if r["part"] == "comparison" and r["seed"] == seed]
            assert [row["epoch"] for row in finals] == ["1", "2", "3"]
    assert any(row["diverged"] == "True" for row in rows)


def test_report_shows_the_numbers(compared):
    folder, output = compared
    page = (folder / "README.md").read_text()
    assert page in output
    assert "3 epochs of 300 images." in page
    assert f"tensorflow {tf.__version__}" in page
    assert f"Made by `python examples/compare_rules.py {OPTIONS} " in page
    assert "Batch size 64: no other rule of the figure is here" in page
    assert (folder / "cost.png").stat().st_size > 10_000
    means = {}
    for row in results(folder):
        if row["part"] == "comparison" and row["epoch"] == "3":
            means.setdefault(f"| {row['rule']} | 64 |", []).append(float(row["cost"]))
    shown = [line for line in page.splitlines() if line.startswith(tuple(means))][:2]
    for line, (what, costs) in zip(
        shown, sorted(means.items(), key=lambda item: np.mean(item[1])), strict=True
    ):
        assert line.startswith(what)
        assert f"| {np.mean(costs):.5f} [{min(costs):.5f}, {max(costs):.5f}] |" in line


def test_each_batch_size_has_a_search_of_its_own(example, mnist_dir, tmp_path, monkeypatch):
    trained = []

    def train(run, data, folder, test=None, brief=False, progress=None):
        trained.append((run.batch_size, run.hyperparameters["learning_rate"], run.seed, brief))
        far = abs(run.hyperparameters["learning_rate"] - {32: 0.1, 64: 1.0}[run.batch_size])
        row = {"epoch": 1, "cost": 0.5 + far, "test_accuracy": 0.9, "diverged": False}
        return [{**row, "seconds": 3200 / run.batch_size, **ENVIRONMENT}]

    monkeypatch.setattr(comparison, "train", train)
    options = f"Adam --batch-sizes 64 32 --grid 0.01 0.1 1 --data-dir {mnist_dir}"
    monkeypatch.setattr(sys, "argv", [SCRIPT, *options.split(), "--log-dir", str(tmp_path)])
    example.main()
    assert trained == [
        *((64, rate, 1000, True) for rate in (0.01, 0.1, 1.0)),
        *((64, 1.0, seed, False) for seed in (0, 1)),
        *((32, rate, 1000, True) for rate in (0.01, 0.1, 1.0)),
        *((32, 0.1, seed, False) for seed in (0, 1)),
    ]
    page = (tmp_path / "README.md").read_text()
    assert page.index("| Adam | 64 | 1 | 2 |") < page.index("| Adam | 32 | 0.1 | 2 |")
    assert "| Adam | 32 | 0.5900 | 0.5000 | 1.4000 |" in page
    assert "may lie beyond: Adam (batch size 64).\n" in page
    assert "an epoch is shortest with 64, and takes 2.0 times as long with 32." in page


def test_epochs_of_another_environment_keep_their_own(example, tmp_path):
    args = example.parse(f"Adam --grid 0.1 --seeds 0 --log-dir {tmp_path}".split())
    row = {"cost": 0.5, "diverged": False, "test_accuracy": 0.9, "seconds": 1.0}
    rows = [{**row, **ENVIRONMENT, "device": device} for device in ("H200", "A100")]
    runs = [(Run("Adam", {"learning_rate": 0.1}), rows)]
    assert [row["device"] for row in table(runs, 300, "comparison")] == ["H200", "A100"]
    page = example.report(args, {"search": runs, "comparison": runs}, 300)
    assert "hours on H200, python" in page
    assert "; A100, python" in page


def test_verdict_says_what_held(example):
    adam = {"Adam": [0.2, 0.3], "SimplifiedAdam": [0.1]}
    held = example.verdict({**adam, "Nesterov": [0.4, math.inf]})
    assert held.startswith("what the figure shows, Adam ending lowest, held here.")
    assert held.endswith("in the figure, but not here: AdaGrad, RMSProp, keras.Adadelta.)")
    assert "do not tell" in example.verdict({**adam, "Nesterov": [0.1, math.inf]})
    assert "or diverged" in example.verdict({"Adam": [0.1, math.inf], "Nesterov": [0.4]})
    lost = example.verdict({**adam, "Nesterov": [0.1], "AdaGrad": [0.4], "RMSProp": [0.1, 0.9]})
    assert "did not hold here" in lost
    assert "Lower than Adam with every seed: SimplifiedAdam, Nesterov. Higher" in lost
    assert "Higher with every seed: AdaGrad. Overlapping: RMSProp. " in lost
    assert "(Not in the figure: SimplifiedAdam; in" in lost
    assert "the seeds do not tell" in example.verdict({**adam, "RMSProp": [0.1, 0.9]})
    assert "no other rule of the figure" in example.verdict(adam)
    assert "is not here" in example.verdict({"Nesterov": [0.1]})


def test_mini_batches_are_compared(example):
    said = example.mini_batches("Adam", {32: (0.1, 12.0), 64: (0.2, 6.0), 128: (0.3, 8.0)})
    assert said == (
        "Adam: after equal epochs the mean cost is lowest with batch size 32; an epoch is shortest "
        "with 64, and takes 2.0 times as long with 32, 1.3 times as long with 128."
    )


def test_curves_have_the_colors_of_the_rules_and_a_band(example):
    rules = ["Nesterov", "keras.Adadelta", "keras.Lion", "AdaGrad"]
    args = example.parse([*rules, "--batch-sizes", "32", "128"])
    rows = [{"cost": cost, "diverged": False} for cost in (0.5, 0.25)]
    higher = [{"cost": 2 * row["cost"], "diverged": False} for row in rows]
    ended = [{"cost": math.nan, "diverged": True}]
    runs = [
        (dataclasses.replace(SMALL, rule="Nesterov", batch_size=32, seed=0), rows),
        (dataclasses.replace(SMALL, rule="Nesterov", batch_size=32, seed=1), higher),
        (dataclasses.replace(SMALL, rule="keras.Adadelta", batch_size=128), rows),
        (dataclasses.replace(SMALL, rule="keras.Lion", batch_size=128), rows),
        (dataclasses.replace(SMALL, rule="AdaGrad", batch_size=128), ended),
    ]
    [ax] = example.cost_curves(args, runs).axes
    nesterov, adadelta, lion = ax.lines
    assert (nesterov.get_color(), adadelta.get_color()) == (plots.COLORS["Nesterov"], plots.OTHERS)
    assert lion.get_color() == plots.OTHERS
    assert len({line.get_marker() for line in ax.lines}) == 3  # what tells them apart
    assert nesterov.get_linestyle() != adadelta.get_linestyle() == lion.get_linestyle()
    assert nesterov.get_xydata().tolist() == [[1, 0.75], [2, 0.375]]
    assert ax.get_yscale() == "log"
    band = ax.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == (0.25, 1.0)
    plt.close("all")
