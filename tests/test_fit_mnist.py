"""examples/fit_mnist.py, run as a user runs it, and examples/compare_in_tensorboard.py."""

import pathlib
import re
import shlex
import signal
import subprocess
import sys

import _programs
import keras
import numpy as np
import pytest
from common import LECTURE, RULES, imported
from digits import digits, small_build
from quick import AS_FOR_USERS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from keras_lecture_opt import mnist
from keras_lecture_opt._resolve import optimizer_class

SCRIPT = pathlib.Path(__file__).parents[1] / "examples" / "fit_mnist.py"
OPTIONS = ("--train-examples", "1000", "--dropout", "0.5")


@pytest.fixture(scope="module")
def example():
    return imported(SCRIPT)


@pytest.fixture(scope="module")
def compare():
    return imported(SCRIPT.with_name("compare_in_tensorboard.py"))


@pytest.fixture
def main(monkeypatch):
    """A function that runs a program's `main` in this process, on a part of MNIST."""
    monkeypatch.setattr(
        mnist, "load", lambda data_dir: (digits("train", 1000), digits("t10k", 500))
    )

    def run(program, *options):
        monkeypatch.setattr(sys, "argv", ["program.py", *map(str, options)])
        return program.main()

    return run


def start(mnist_dir, log_dir, *options):
    command = [sys.executable, SCRIPT, "--data-dir", mnist_dir, "--log-dir", log_dir, *options]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=SCRIPT.parent,
        env=AS_FOR_USERS,
    )


def logged(run, tag):
    events = EventAccumulator(str(run), size_guidance={"tensors": 0}).Reload()
    return [(e.step, tensor_util.make_ndarray(e.tensor_proto).item()) for e in events.Tensors(tag)]


def interrupt_after_three_epochs(run):
    printed = ""
    while "Epoch 4/" not in printed:
        character = run.stdout.read(1)
        assert character, printed + run.stderr.read()  # it has not ended yet
        printed += character
    run.send_signal(signal.SIGINT)
    rest, errors = run.communicate(timeout=60)
    return rest, errors


@pytest.fixture(scope="module")
def mnist_dir(tmp_path_factory):
    """Enough of MNIST for 1000 examples."""
    folder = tmp_path_factory.mktemp("mnist")
    with small_build(1000, 1000):
        mnist.load(folder)
    return folder


@pytest.fixture(scope="module")
def interrupted(mnist_dir, tmp_path_factory):
    """A run that is interrupted: its process, what it printed afterwards, its folder."""
    folder = tmp_path_factory.mktemp("my runs")
    # A shell starts what it runs in the background, these tests too, with SIGINT ignored, and a
    # process inherits that; a handler it does not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    run = start(mnist_dir, folder, *OPTIONS, "--epochs", "10000")
    signal.signal(signal.SIGINT, before)
    try:
        return run, *interrupt_after_three_epochs(run), folder
    finally:
        run.kill()


def test_interrupted_run_keeps_its_log_and_says_where(interrupted):
    run, output, errors, folder = interrupted
    assert run.returncode == 130
    assert errors == ""  # none of TensorFlow's lines, no traceback
    assert [step for step, _ in logged(folder / "train", "epoch_loss")][:3] == [0, 1, 2]
    rates = logged(folder / "train", "effective_lr/output/bias")
    assert [step for step, _ in rates][:3] == [8, 16, 24]
    steps = logged(folder / "train", "step_to_weight/output/kernel")
    assert [step for step, _ in steps][:3] == [8, 16, 24]
    assert all(1e-5 < size < 1 for _, size in steps)
    *_, verdict, _, said, tested, _, _ = output.splitlines()
    assert verdict.startswith("No fault found") or "Likely cause: " in verdict
    assert said == "Interrupted. Results so far:"
    assert float(re.fullmatch(r"Test accuracy: ([\d.]+)%", tested)[1]) > 80
    assert f"Wrote {folder}" in output
    tensorboard = pathlib.Path(sys.executable).with_name("tensorboard")
    assert tensorboard.exists()
    [command] = [line for line in output.splitlines() if line.startswith("See it: ")]
    shown = shlex.split(command.removeprefix("See it: "))
    assert shown == [str(tensorboard), "--logdir", str(folder)]


@pytest.mark.full
def test_two_runs_with_one_seed_are_equal(interrupted, mnist_dir, tmp_path):
    """The other one ends by itself."""
    run = start(mnist_dir, tmp_path, *OPTIONS, "--epochs", "4")
    output, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors
    assert errors == ""
    assert "Training on the " in output
    (_, accuracy) = logged(tmp_path / "validation", "epoch_accuracy")[-1]
    assert f"Test accuracy: {accuracy:.2%}" in output.splitlines()
    assert len(logged(tmp_path / "train", "epoch_loss")) == 4
    for tag in ("epoch_loss", "effective_lr/output/bias"):
        one, other = (logged(folder / "train", tag)[:3] for folder in (tmp_path, interrupted[-1]))
        assert len(one) == 3
        assert one == other


def test_interruption_counts_while_python_frees_an_object():
    class Freed:
        def __del__(self):  # an exception that is raised in here is lost
            signal.raise_signal(signal.SIGINT)

    class Interrupts(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            Freed()

    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with _programs.stopping_on_interrupt(model) as interruptions:
            data = (np.zeros([8, 2]), np.zeros(8))
            model.fit(*data, epochs=3, batch_size=4, callbacks=[Interrupts()], verbose=0)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert interruptions
    assert model.optimizer.iterations == 1


@pytest.mark.parametrize(("option", "expected"), [([], 1), (["--steps-per-execution", "3"], 3)])
def test_how_it_is_compiled(example, main, option, expected, tmp_path, monkeypatch):
    compiled = []

    def compile(self, *arguments, jit_compile, steps_per_execution, **others):
        compiled.append((jit_compile, steps_per_execution))
        raise KeyboardInterrupt

    monkeypatch.setattr(mnist.PixelNetwork, "compile", compile)
    monkeypatch.setattr(example, "gpu_name", lambda: "")
    with pytest.raises(KeyboardInterrupt):
        main(example, "--train-examples", 512, "--log-dir", tmp_path, *option)
    assert compiled == [(True, expected)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--optimizer sgd", "There is no optimizer 'sgd'. Did you mean keras.SGD?"),
        ("--optimizer adam", "There is no optimizer 'adam'. Did you mean Adam?"),
        ("--optimizer Adam --momentum 0.9", "Adam: argument `momentum` is not recognized."),
        ("--optimizer keras.Lion --momentum 0.9", "momentum"),
        ("--optimizer Momentum --momentum 1.5", "`momentum` must be a number in [0, 1], not 1.5"),
        (
            "--learning-rate nan",
            "Adam: `learning_rate` must be a number >= 0 that float32 can hold, a schedule or a "
            "callable without arguments, not nan",
        ),
        ("--dropout 2", "`dropout` must be a number in [0, 1), not 2.0"),
        ("--steps-per-execution 0", "must be an integer >= 1, not '0'"),
        ("--epochs 0", "must be an integer >= 1, not '0'"),
        ("--update-freq epochs", "must be an integer >= 1, not 'epochs'"),
        ("--batch-size -1", "must be an integer >= 1, not '-1'"),
        ("--batch-size 2.5", "must be an integer >= 1, not '2.5'"),
        ("--seed -1", "seed"),
        (f"--log-dir {SCRIPT}/run", "Not a directory"),
    ],
)
def test_bad_option_is_refused_before_anything_is_written(
    example, options, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(example, "TB_LOGS", tmp_path)
    with pytest.raises(SystemExit) as stopped:
        example.parse(options.split())
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_every_rule_by_name_with_its_hyperparameters(example, rule, tmp_path, monkeypatch):
    monkeypatch.setattr(example, "TB_LOGS", tmp_path)
    own = LECTURE[rule.__name__][1]
    options = [word for name in own for word in (f"--{name.replace('_', '-')}", "0.25")]
    args = example.parse(["--optimizer", rule.__name__, *options])
    assert type(args.rule) is rule
    assert {name: args.rule.get_config()[name] for name in own} == dict.fromkeys(own, 0.25)
    assert args.batch_size == 128
    assert args.log_dir.parent == tmp_path / rule.__name__


def test_optimizer_of_keras_by_name(example, tmp_path):
    options = ["--optimizer", "keras.Lion", "--beta-1", "0.5", "--log-dir", str(tmp_path)]
    rule = example.parse(options).rule
    assert type(rule) is keras.optimizers.Lion
    assert rule.beta_1 == 0.5


def test_every_name_is_resolved_or_refused():
    for rule in RULES:
        assert optimizer_class(rule.__name__) is rule
    for name in (
        "keras.Optimizer",
        "keras.LossScaleOptimizer",
        "keras.MultiOptimizer",
        "",
        "Lion.",
    ):
        with pytest.raises(ValueError, match="There is no optimizer"):
            optimizer_class(name)
    with pytest.raises(TypeError, match="must be a string, not None"):
        optimizer_class(None)


def test_the_default_folder_is_below_tb_logs(example):
    assert SCRIPT.parents[1] / "tb_logs" == example.TB_LOGS


def test_home_folder_is_expanded(example, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    args = example.parse(["--log-dir", "~/run", "--data-dir", "~/data"])
    assert (args.log_dir, args.data_dir) == (tmp_path / "run", tmp_path / "data")
    assert args.log_dir.is_dir()


@pytest.mark.full
def test_compare_overlays_the_lectures_rules_and_keras_own(compare, main, tmp_path, capsys):
    folder = tmp_path / "my runs"
    options = ["--train-examples", "640", "--update-freq", "5", "--log-dir", folder]
    assert main(compare, "Adam", "keras.Adam", *options) == 0
    rates = [
        logged(folder / name / "train", "effective_lr/hidden_1/kernel")
        for name in ("Adam", "keras.Adam")
    ]
    assert [step for step, _ in rates[0]] == [step for step, _ in rates[1]] == [5, 10]
    # The same weights and batches: they differ by where epsilon stands, and by what follows.
    assert [rate for _, rate in rates[0]] == pytest.approx([r for _, r in rates[1]], rel=0.1)
    [command] = [x for x in capsys.readouterr().out.splitlines() if x.startswith("See them: ")]
    assert shlex.split(command)[-2:] == ["--logdir", str(folder)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sgd", "There is no optimizer 'sgd'. Did you mean keras.SGD?"),
        ("keras.Adan", "There is no optimizer 'keras.Adan'"),
    ],
)
def test_compare_refuses_a_bad_name_before_it_trains(compare, name, message, capsys):
    with pytest.raises(SystemExit):
        compare.parse(["Adam", name])
    assert message in capsys.readouterr().err


def test_reference_runs(example):
    folder = example.TB_LOGS / "reference"
    assert sum(file.stat().st_size for file in folder.rglob("*")) < 1e6
    for run in folder.iterdir():
        rates = logged(run / "train", "effective_lr/hidden_1/kernel")
        assert [step for step, _ in rates] == [469, 938, 1407, 1876, 2345]
        assert logged(run / "validation", "epoch_accuracy")[-1][1] > 0.8
