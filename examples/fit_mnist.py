"""Train the lecture's network on MNIST with one of the lecture's rules, and log it for TensorBoard.

TensorBoard then shows losses, accuracies, the step that each variable takes, and the effective
learning rates. At the end the program prints what is wrong with the training, if anything is.

    python examples/fit_mnist.py --optimizer Adam

Expect about 98% test accuracy after the default 10 epochs, 6 to 9 s each on two shared CPU cores.
With one seed, two runs on one machine print equal losses.
"""

import argparse
import datetime
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras_lecture_opt  # first: it keeps TensorFlow's start-up lines off the terminal

# isort: split
import _programs
import keras
import tensorflow as tf

from keras_lecture_opt import _batches, mnist
from keras_lecture_opt._resolve import optimizer_class
from keras_lecture_opt.comparison._run import gpu_name
from keras_lecture_opt.rules._hyperparameters import HYPERPARAMETERS

TB_LOGS = pathlib.Path(__file__).resolve().parents[1] / "tb_logs"


def rate_or_auto(text):
    """A type for argparse."""
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number or auto, not {text!r}") from None


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    _programs.add_optimizer_option(parser)
    group = parser.add_argument_group("hyperparameters (default: the rule's)")
    for name, known in HYPERPARAMETERS.items():
        option, kind, auto = f"--{name.replace('_', '-')}", float, ""
        if name == "learning_rate":
            kind, auto = rate_or_auto, "; or auto: find it by short trainings, in up to 500 steps"
        text = f"{known.symbol}, {known.allowed}{auto}"
        group.add_argument(option, type=kind, metavar="X", help=text)
    positive = _programs.positive_integer
    parser.add_argument("--batch-size", type=positive, default=128, help="default: 128")
    _programs.add_training_options(parser)
    parser.add_argument(
        "--update-freq",
        type=_programs.frequency,
        default="epoch",
        metavar="F",
        help="when to log steps and rates: epoch, batch or N, every N batches; default: epoch",
    )
    parser.add_argument(
        "--steps-per-execution",
        type=positive,
        default=1,
        metavar="N",
        help="batches in one call of TensorFlow: more is faster, but the monitor then sees no "
        "single step; default: 1",
    )
    _programs.add_mnist_options(parser)
    parser.add_argument(
        "--log-dir",
        type=_programs.folder,
        help="for TensorBoard; default: tb_logs/OPTIMIZER/DATE_TIME",
    )
    args = parser.parse_args(argv)

    given = {name: getattr(args, name) for name in HYPERPARAMETERS}
    given = {name: value for name, value in given.items() if value not in (None, "auto")}
    now = datetime.datetime.now().isoformat("_", "milliseconds").replace(":", "-")
    args.log_dir = args.log_dir or TB_LOGS / args.optimizer / now
    try:
        keras.utils.set_random_seed(args.seed)
        # With this, Keras compiles nothing. On a CPU, what XLA compiles repeats to the bit anyway.
        if gpu_name():
            tf.config.experimental.enable_op_determinism()
        args.rule = optimizer_class(args.optimizer)(**given)
        args.model = mnist.mlp(dropout=args.dropout)
        _programs.check_writable(args.log_dir)
    except (OSError, TypeError, ValueError) as error:  # before anything is loaded or trained
        parser.error(str(error))
    return args


def main():
    args = parse()
    if gpu := gpu_name():
        print(f"Training on the GPU: {gpu}")
    else:
        print(f"Training on the CPU ({os.cpu_count()} cores): TensorFlow sees no GPU")

    train, test = _programs.load_mnist(args)
    model = args.model
    model.compile(
        args.rule,
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        # On a CPU, the fastest that shows the monitor single steps.
        jit_compile="auto" if gpu else True,
        steps_per_execution=args.steps_per_execution,
    )
    if args.learning_rate == "auto":
        found = keras_lecture_opt.find_learning_rate(model, *train, args.batch_size)
        model.optimizer.learning_rate = found.learning_rate
        print(found.text)
    monitor = keras_lecture_opt.EffectiveLearningRateMonitor(
        args.log_dir, args.update_freq, write_images=True, detail=True, verbose=1
    )
    with _programs.stopping_on_interrupt(model) as interruptions:
        model.fit(
            _batches.shuffled(train, args.batch_size, args.seed),
            shuffle=False,  # they are shuffled already
            validation_data=_batches.in_order(test, args.batch_size),
            epochs=args.epochs,
            callbacks=[keras.callbacks.TensorBoard(args.log_dir), monitor],
        )
    if interruptions:
        print("\nInterrupted. Results so far:")
    _, accuracy = model.evaluate(*test, verbose=0)
    print(f"Test accuracy: {accuracy:.2%}")
    print(f"Wrote {_programs.shorten_path(args.log_dir)}")
    print(f"See it: {_programs.tensorboard_command(args.log_dir)}")
    if TB_LOGS in args.log_dir.parents:
        print(f"Beside other runs: {_programs.tensorboard_command(TB_LOGS)}")
    return 130 if interruptions else 0


if __name__ == "__main__":
    _programs.run(main)
