"""Train the lecture's network on MNIST with one of the seven rules, and log it for TensorBoard.

TensorBoard then shows losses, accuracies and every weight's effective learning rate.

    python examples/fit_mnist.py --optimizer adam

Expect about 98% test accuracy after the default 10 epochs, 5 to 15 s each on two CPU cores. With
one seed, two runs on one machine print equal losses.
"""

import argparse
import datetime
import inspect
import os
import pathlib
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no CUDA errors where there is no GPU
import keras
import tensorflow as tf

import keras_lecture_opt
from keras_lecture_opt import EffectiveLearningRateMonitor, mnist

TB_LOGS = pathlib.Path(__file__).resolve().parents[1] / "tb_logs"
RULES = {
    "steepest_descent": keras_lecture_opt.SteepestDescent,
    "momentum": keras_lecture_opt.Momentum,
    "nesterov": keras_lecture_opt.Nesterov,
    "adagrad": keras_lecture_opt.AdaGrad,
    "rmsprop": keras_lecture_opt.RMSProp,
    "simplified_adam": keras_lecture_opt.SimplifiedAdam,
    "adam": keras_lecture_opt.Adam,
}
HYPERPARAMETERS = ("learning_rate", "momentum", "rho", "beta_1", "beta_2", "epsilon")


def positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer >= 1, not {text!r}")
    return int(text)


def frequency(text):
    return text if text in ("epoch", "batch") else positive(text)


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--optimizer", choices=RULES, default="adam", help="default: adam")
    rules = parser.add_argument_group("hyperparameters (default: the lecture's)")
    for name in HYPERPARAMETERS:
        takers = [r for r in RULES if name in inspect.signature(RULES[r]).parameters]
        takers = "all rules" if len(takers) == len(RULES) else ", ".join(takers)
        rules.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="X", help=takers)
    parser.add_argument("--batch-size", type=positive, default=128, help="default: 128")
    parser.add_argument("--epochs", type=positive, default=10, help="default: 10")
    parser.add_argument("--dropout", type=float, default=0.0, help="share dropped; default: 0")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument(
        "--train-examples", type=positive, metavar="N", help="train on the first N; default: all"
    )
    parser.add_argument(
        "--update-freq",
        type=frequency,
        default="epoch",
        metavar="F",
        help="when to log the effective learning rates: epoch, batch or N, every N batches",
    )
    parser.add_argument("--data-dir", help="where TFDS keeps MNIST; default: TFDS's own")
    parser.add_argument(
        "--log-dir",
        type=pathlib.Path,
        help="for TensorBoard; default: tb_logs/OPTIMIZER/DATE_TIME",
    )
    args = parser.parse_args(argv)

    given = {name: getattr(args, name) for name in HYPERPARAMETERS}
    given = {name: value for name, value in given.items() if value is not None}
    rule = RULES[args.optimizer]
    for name in given.keys() - inspect.signature(rule).parameters.keys():
        parser.error(f"--{name.replace('_', '-')} is not a hyperparameter of {args.optimizer}")
    now = datetime.datetime.now().isoformat("_", "milliseconds").replace(":", "-")
    named = args.log_dir is not None  # only a folder that the user names may hold a run already
    args.log_dir = args.log_dir or TB_LOGS / args.optimizer / now
    try:
        keras.utils.set_random_seed(args.seed)
        tf.config.experimental.enable_op_determinism()
        args.rule = rule(**given)
        args.model = mnist.mlp(dropout=args.dropout)
        args.log_dir.mkdir(parents=True, exist_ok=named)
        if not os.access(args.log_dir, os.W_OK):
            raise PermissionError(f"{args.log_dir} cannot be written to")
    except (OSError, ValueError) as error:  # before anything is loaded or trained
        parser.error(str(error))
    return args


def main():
    args = parse()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
        print(f"Training on the GPU: {name}")
    else:
        print(f"Training on the CPU ({os.cpu_count()} cores): TensorFlow sees no GPU")

    train, test = load(args)
    finished = fit(
        args.model,
        args.rule,
        train,
        test,
        args.log_dir,
        args.update_freq,
        batch_size=args.batch_size,
        epochs=args.epochs,
    )
    if not finished:
        print("\nInterrupted: this is how far it came.")
    _, accuracy = args.model.evaluate(*test, verbose=0)
    all_runs = TB_LOGS if TB_LOGS in args.log_dir.parents else args.log_dir
    print(f"Test accuracy: {accuracy:.2%}")
    print(f"Wrote {shown(args.log_dir)}")
    print(f"See it: {tensorboard(all_runs)}")
    return 0 if finished else 130


def load(args):
    """The first images to train on, and all to test on; ends the program if there are none."""
    try:
        (x_train, y_train), test = mnist.load(args.data_dir)
    except (OSError, RuntimeError) as error:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: error: {error}")
    return (x_train[: args.train_examples], y_train[: args.train_examples]), test


def fit(model, optimizer, train, test, log_dir, update_freq, **arguments):
    """Trains the model and logs it; returns False if Ctrl-C ended that."""
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [
        keras.callbacks.TensorBoard(log_dir),
        EffectiveLearningRateMonitor(log_dir, update_freq, write_images=True),
    ]
    interrupted = False

    def stop(signum, frame):
        # Keras then ends after this batch. A KeyboardInterrupt would be lost if it came while
        # Python frees an object.
        nonlocal interrupted
        interrupted = model.stop_training = True
        signal.signal(signal.SIGINT, before)  # a second Ctrl-C does not wait

    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # it is not in the background, where Ctrl-C is ignored
        signal.signal(signal.SIGINT, stop)
    try:
        model.fit(*train, validation_data=test, callbacks=callbacks, **arguments)
    finally:
        signal.signal(signal.SIGINT, before)
    return not interrupted


def tensorboard(folder):
    """The command that shows the runs in a folder."""
    command = pathlib.Path(sys.executable).with_name("tensorboard")
    return f"{shown(command)} --logdir {shown(folder)}"


def shown(path):
    """The path as one would type it here."""
    return os.path.relpath(path) if path.is_relative_to(pathlib.Path.cwd()) else path


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before or after the training, which ends by itself
        sys.exit("Interrupted.")
