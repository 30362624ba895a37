"""examples/compare_rules.py: what it trains, resumes, writes and says."""

import contextlib
import csv
import dataclasses
import io
import math
import os
import pathlib
import random
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import imported
from digits import small_build
from matplotlib import pyplot as plt

from keras_lecture_opt import Nesterov, comparison, mnist, plots
from keras_lecture_opt.comparison import Run, csv_rows

SCRIPT = pathlib.Path(__file__).parents[1] / "examples" / "compare_rules.py"
SMALL = Run("Adam", {"learning_rate": 0.01}, seed=3, hidden=(12, 8), batch_size=64, epochs=4)
ENVIRONMENT = comparison.environment()


@pytest.fixture(scope="module")
def example():
    return imported(SCRIPT)


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
        ("Adam adam", "There is no optimizer 'adam'. Did you mean Adam?"),
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


SETTINGS = (
    "--hidden 16 --train-examples 300 --epochs 3 --seeds 0 1 "
    "--grid 0.01 0.1 1e6 --search-epochs 1 --batch-sizes 64"
)
OPTIONS = f"Adam keras.SGD {SETTINGS}"


def results(folder):
    with (folder / "results.csv").open() as file:
        return [
            {k: v for k, v in row.items() if k != "seconds"}  # all but the time
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def mnist_dir(tmp_path_factory):
    """Enough of MNIST for 300 examples."""
    folder = tmp_path_factory.mktemp("mnist")
    with small_build(300, 300):
        mnist.load(folder)
    return folder


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


def test_killed_comparison_ends_with_the_same_numbers(
    example, compared, mnist_dir, tmp_path, monkeypatch, capsys
):
    # Adam's runs are those of both rules: none depends on another.
    options = ["Adam", *SETTINGS.split(), "--data-dir", str(mnist_dir), "--log-dir", str(tmp_path)]
    # A terminal that has no η, which the bar shows.
    ascii_terminal = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    # The bar is shown once, then at the start of each run and after its first epoch at least.
    shown = random.Random(os.getpid()).randrange(2, 12)
    printed = ""
    with subprocess.Popen(
        [sys.executable, SCRIPT, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ascii_terminal,
    ) as first:
        while printed.count("epoch/s") + printed.count("s/epoch") < shown:
            character = first.stdout.read(1)
            assert character, printed  # it has not ended yet
            printed += character
        first.kill()
    assert "search: Adam, ? 0.01" in printed
    assert not (tmp_path / "README.md").exists()

    monkeypatch.setattr(sys, "argv", [SCRIPT, *options])
    example.main()
    assert "100%" in capsys.readouterr().err  # the bar knew what was left
    uninterrupted = [row for row in results(compared[0]) if row["rule"] == "Adam"]
    assert results(tmp_path) == uninterrupted


def test_rule_that_diverges_everywhere_is_left_out_and_named(
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
    assert [row["device"] for row in csv_rows(runs, 300, "comparison")] == ["H200", "A100"]
    page = example.report(args, {"search": runs, "comparison": runs}, 300)
    assert "hours on H200, python" in page
    assert "; A100, python" in page


def test_verdict_says_what_held(example):
    adam = {"Adam": [0.2, 0.3], "SimplifiedAdam": [0.1]}
    held = example.verdict({**adam, "Nesterov": [0.4, math.inf]})
    assert held.startswith("what the figure shows, Adam ending lowest, held here.")
    assert held.endswith("in the figure, but not here: AdaGrad, RMSProp, keras.Adadelta.)")
    assert "do not decide" in example.verdict({**adam, "Nesterov": [0.1, math.inf]})
    assert "or diverged" in example.verdict({"Adam": [0.1, math.inf], "Nesterov": [0.4]})
    lost = example.verdict({**adam, "Nesterov": [0.1], "AdaGrad": [0.4], "RMSProp": [0.1, 0.9]})
    assert "did not hold here" in lost
    assert "Lower than Adam with every seed: SimplifiedAdam, Nesterov. Higher" in lost
    assert "Higher with every seed: AdaGrad. Overlapping: RMSProp. " in lost
    assert "(Not in the figure: SimplifiedAdam; in" in lost
    assert "the seeds do not decide" in example.verdict({**adam, "RMSProp": [0.1, 0.9]})
    assert "no other rule of the figure" in example.verdict(adam)
    assert "is not here" in example.verdict({"Nesterov": [0.1]})


def test_mini_batches_are_compared(example):
    said = example.mini_batches("Adam", {32: (0.1, 12.0), 64: (0.2, 6.0), 128: (0.3, 8.0)})
    assert said == (
        "Adam: after equal epochs the mean cost is lowest with batch size 32; an epoch is shortest "
        "with 64, and takes 2.0 times as long with 32, 1.3 times as long with 128."
    )


def test_curves_have_the_colors_of_the_rules_and_a_band(example):
    rules = ["Nesterov", "keras.Adadelta", "keras.Ftrl", "AdaGrad"]
    args = example.parse([*rules, "--batch-sizes", "32", "128"])
    rows = [{"cost": cost, "diverged": False} for cost in (0.5, 0.25)]
    higher = [{"cost": 2 * row["cost"], "diverged": False} for row in rows]
    ended = [{"cost": math.nan, "diverged": True}]
    runs = [
        (dataclasses.replace(SMALL, rule="Nesterov", batch_size=32, seed=0), rows),
        (dataclasses.replace(SMALL, rule="Nesterov", batch_size=32, seed=1), higher),
        (dataclasses.replace(SMALL, rule="keras.Adadelta", batch_size=128), rows),
        (dataclasses.replace(SMALL, rule="keras.Ftrl", batch_size=128), rows),
        (dataclasses.replace(SMALL, rule="AdaGrad", batch_size=128), ended),
    ]
    [ax] = example.cost_curves(args, runs).axes
    nesterov, adadelta, lion = ax.lines
    assert nesterov.get_color() == plots.color(Nesterov)
    assert {adadelta.get_color(), lion.get_color()} <= {*plots.OTHERS}
    assert len({line.get_marker() for line in ax.lines}) == 3  # what tells them apart
    assert nesterov.get_linestyle() != adadelta.get_linestyle() == lion.get_linestyle()
    assert nesterov.get_xydata().tolist() == [[1, 0.75], [2, 0.375]]
    assert ax.get_yscale() == "log"
    band = ax.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == (0.25, 1.0)
    plt.close("all")
