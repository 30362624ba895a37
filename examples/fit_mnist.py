"""Train the lecture's network on MNIST with one of the lecture's rules, and log it for TensorBoard.

TensorBoard then shows losses, accuracies and every weight's effective learning rate.

    python examples/fit_mnist.py --optimizer Adam

Expect about 98% test accuracy after the default 10 epochs, 4 to 15 s each on two CPU cores. With
one seed, two runs on one machine print equal losses.
"""

import argparse
import datetime
import math
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras_lecture_opt  # first: it keeps TensorFlow's start-up lines off the terminal

# isort: split
import keras
import tensorflow as tf

from keras_lecture_opt import _batches, _programs, mnist
from keras_lecture_opt._resolve import optimizer_class
from keras_lecture_opt.rules._hyperparameters import HYPERPARAMETERS

TB_LOGS = pathlib.Path(__file__).resolve().parents[1] / "tb_logs"


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    _programs.add_optimizer_option(parser)
    group = parser.add_argument_group("hyperparameters (default: the rule's)")
    for name, known in HYPERPARAMETERS.items():
        option = f"--{name.replace('_', '-')}"
        group.add_argument(option, type=float, metavar="X", help=f"{known.symbol}, {known.allowed}")
    positive = _programs.positive_integer
    parser.add_argument("--batch-size", type=positive, default=128, help="default: 128")
    _programs.add_training_options(parser)
    parser.add_argument(
        "--update-freq",
        type=_programs.frequency,
        default="epoch",
        metavar="F",
        help="when to log the effective learning rates: epoch, batch or N, every N batches",
    )
    parser.add_argument(
        "--steps-per-execution",
        type=positive,
        metavar="N",
        help="batches in one call of TensorFlow, which is faster; default: up to 32, so that the "
        "rates are logged after the right batches",
    )
    _programs.add_mnist_options(parser)
    parser.add_argument(
        "--log-dir",
        type=_programs.folder,
        help="for TensorBoard; default: tb_logs/OPTIMIZER/DATE_TIME",
    )
    args = parser.parse_args(argv)

    given = {name: getattr(args, name) for name in HYPERPARAMETERS}
    given = {name: value for name, value in given.items() if value is not None}
    now = datetime.datetime.now().isoformat("_", "milliseconds").replace(":", "-")
    args.log_dir = args.log_dir or TB_LOGS / args.optimizer / now
    try:
        keras.utils.set_random_seed(args.seed)
        tf.config.experimental.enable_op_determinism()
        args.rule = optimizer_class(args.optimizer)(**given)
        args.model = mnist.mlp(dropout=args.dropout)
        _programs.check_writable(args.log_dir)
    except (OSError, TypeError, ValueError) as error:  # before anything is loaded or trained
        parser.error(str(error))
    return args


def steps_per_execution(update_freq, batches, most=32):
    """Choose how many batches TensorFlow runs in one call.

    The monitor and the progress bar see the end of each call, so the number divides the batches of
    an epoch, and those between two events of the monitor.
    """
    between = {"epoch": batches, "batch": 1}.get(update_freq, update_freq)
    common = math.gcd(between, batches)
    return max(n for n in range(1, most + 1) if common % n == 0)


def main():
    args = parse()
    if gpu := _programs.gpu_name():
        print(f"Training on the GPU: {gpu}")
    else:
        print(f"Training on the CPU ({os.cpu_count()} cores): TensorFlow sees no GPU")

    train, test = _programs.load_mnist(args)
    batches = math.ceil(len(train[0]) / args.batch_size)
    model = args.model
    model.compile(
        args.rule,
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=args.steps_per_execution
        or steps_per_execution(args.update_freq, batches),
    )
    monitor = keras_lecture_opt.EffectiveLearningRateMonitor(
        args.log_dir, args.update_freq, write_images=True, detail=True
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
    all_runs = TB_LOGS if TB_LOGS in args.log_dir.parents else args.log_dir
    print(f"Test accuracy: {accuracy:.2%}")
    print(f"Wrote {_programs.shown(args.log_dir)}")
    print(f"See it: {_programs.tensorboard_command(all_runs)}")
    return 130 if interruptions else 0


if __name__ == "__main__":
    _programs.run(main)
