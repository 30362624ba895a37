"""examples/fit_mnist.py, run as a user runs it."""

import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import LECTURE, imported
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

SCRIPT = pathlib.Path(__file__).parents[1] / "examples" / "fit_mnist.py"


@pytest.fixture(scope="module")
def example():
    return imported(SCRIPT)


def start(mnist_dir, log_dir, *options):
    command = [sys.executable, SCRIPT, "--data-dir", mnist_dir, "--log-dir", log_dir, *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=SCRIPT.parent
    )


def logged(run, tag):
    events = EventAccumulator(str(run), size_guidance={"tensors": 0}).Reload()
    return [(e.step, tensor_util.make_ndarray(e.tensor_proto).item()) for e in events.Tensors(tag)]


def test_two_runs_with_one_seed_are_equal(mnist_dir, tmp_path):
    options = ("--train-examples", "1000", "--epochs", "2", "--dropout", "0.5")
    runs = [start(mnist_dir, tmp_path / name, *options) for name in ("a", "b")]
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]

    losses = [logged(tmp_path / name / "train", "epoch_loss") for name in ("a", "b")]
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[0]] == [0, 1]

    rates = [logged(tmp_path / name / "train", "effective_lr/output/bias") for name in ("a", "b")]
    assert rates[0] == rates[1]
    assert [step for step, _ in rates[0]] == [8, 16]

    (_, accuracy) = logged(tmp_path / "a" / "validation", "epoch_accuracy")[-1]
    assert accuracy > 0.8
    assert f"Test accuracy: {accuracy:.2%}" in outputs[0]
    assert "Training on the " in outputs[0]
    assert f"Wrote {tmp_path / 'a'}" in outputs[0]
    tensorboard = pathlib.Path(sys.executable).with_name("tensorboard")
    assert f"See it: {tensorboard} --logdir {tmp_path / 'a'}" in outputs[0]
    assert tensorboard.exists()


def test_interrupted_run_keeps_its_log(mnist_dir, tmp_path):
    # A shell starts what it runs in the background, these tests too, with SIGINT ignored, and a
    # process inherits that; a handler it does not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    run = start(mnist_dir, tmp_path, "--train-examples", "2000", "--epochs", "10000")
    signal.signal(signal.SIGINT, before)
    try:
        printed = ""
        while "Epoch 3/" not in printed:
            printed += run.stdout.read(100)
        run.send_signal(signal.SIGINT)
        rest, errors = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130
    assert "Traceback" not in errors
    assert "Interrupted" in rest
    assert "Test accuracy: " in rest
    steps = [step for step, _ in logged(tmp_path / "train", "epoch_loss")]
    assert steps[:2] == [0, 1]


def test_interruption_counts_while_python_frees_an_object(example, tmp_path):
    class Freed:
        def __del__(self):  # an exception that is raised in here is lost
            signal.raise_signal(signal.SIGINT)

    class Interrupts(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            Freed()

    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(2, activation="softmax")])
    data = (np.zeros([8, 2]), np.zeros(8))
    fitted, model.fit = (
        model.fit,
        lambda *args, callbacks, **arguments: fitted(
            *args, callbacks=[*callbacks, Interrupts()], **arguments
        ),
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        finished = example.fit(model, "sgd", data, data, tmp_path, "epoch", epochs=3, batch_size=4)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert not finished
    assert model.optimizer.iterations == 1
    assert logged(tmp_path / "train", "epoch_loss")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--optimizer sgd", "invalid choice: 'sgd'"),
        ("--optimizer adam --momentum 0.9", "--momentum is not a hyperparameter of adam"),
        ("--optimizer momentum --momentum 1.5", "`momentum` must be a number in [0, 1], not 1.5"),
        (
            "--learning-rate nan",
            "`learning_rate` must be a number in [0, 3.4e+38], a schedule or a callable, not nan",
        ),
        ("--dropout 2", "rate"),
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
    [name] = [name for name, known in example.RULES.items() if known is rule]
    own = [h for h in example.HYPERPARAMETERS if h in rule().get_config()]
    options = [word for h in own for word in (f"--{h.replace('_', '-')}", "0.25")]
    args = example.parse(["--optimizer", name, *options])
    assert type(args.rule) is rule
    assert {h: args.rule.get_config()[h] for h in own} == dict.fromkeys(own, 0.25)
    assert args.batch_size == 128
    assert args.log_dir.parent == tmp_path / name
    assert set(own) == LECTURE[rule.__name__][1].keys()


def test_the_default_folder_is_below_tb_logs(example):
    assert SCRIPT.parents[1] / "tb_logs" == example.TB_LOGS


def test_compare_overlays_the_lectures_rules_and_keras_own(mnist_dir, tmp_path):
    command = [sys.executable, SCRIPT.with_name("compare_in_tensorboard.py"), "adam", "keras.Adam"]
    options = ["--train-examples", "640", "--update-freq", "5", "--log-dir", tmp_path]
    run = subprocess.run(
        [*command, *options, "--data-dir", mnist_dir], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    rates = [
        logged(tmp_path / name / "train", "effective_lr/hidden_1/kernel")
        for name in ("adam", "keras.Adam")
    ]
    assert [step for step, _ in rates[0]] == [step for step, _ in rates[1]] == [5, 10]
    # The same weights and batches: they differ by where epsilon stands, and by what follows.
    assert [rate for _, rate in rates[0]] == pytest.approx([r for _, r in rates[1]], rel=0.1)
    assert f"--logdir {tmp_path}" in run.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sgd", "'sgd' is none of steepest_descent, "),
        ("keras.Adan", "'keras.Adan' is none of"),
        pytest.param(
            "keras.ScheduleFreeAdamW",
            "effective learning rate of ScheduleFreeAdamW is not known",
            marks=pytest.mark.skipif(
                not hasattr(keras.optimizers, "ScheduleFreeAdamW"), reason="this Keras has none"
            ),
        ),
    ],
)
def test_compare_refuses_a_bad_name_before_it_trains(name, message, monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    compare = imported(SCRIPT.with_name("compare_in_tensorboard.py"))
    with pytest.raises(SystemExit):
        compare.parse(["adam", name])
    assert message in capsys.readouterr().err


def test_reference_runs(example):
    folder = example.TB_LOGS / "reference"
    assert {run.name for run in folder.iterdir()} == example.RULES.keys()
    assert sum(file.stat().st_size for file in folder.rglob("*")) < 1e6
    for run in folder.iterdir():
        rates = logged(run / "train", "effective_lr/hidden_1/kernel")
        assert [step for step, _ in rates] == [469, 938, 1407, 1876, 2345]
        assert logged(run / "validation", "epoch_accuracy")[-1][1] > 0.8
