"""Functions that the programs of this repository share: options, data, output, Ctrl-C."""

import argparse
import contextlib
import json
import os
import pathlib
import shlex
import signal
import socket
import sys

from keras_lecture_opt import mnist  # first: it keeps TensorFlow's start-up lines off the terminal
from keras_lecture_opt._arguments import check_local_path
from keras_lecture_opt._resolve import optimizer_class
from keras_lecture_opt.rules import RULES

# isort: split
import tensorflow as tf


def optimizer_type(text):
    """`optimizer_class` as a type for argparse: returns the checked name."""
    try:
        optimizer_class(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def positive_integer(text):
    """A type for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer >= 1, not {text!r}")
    return int(text)


def seed(text):
    """A type for argparse: what `keras.utils.set_random_seed` takes."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"must be an integer >= 0 and < 2**32, not {text!r}")
    return int(text)


def frequency(text):
    """A type for argparse: the monitor's `update_freq`."""
    return text if text in ("epoch", "batch") else positive_integer(text)


def folder(text):
    """A type for argparse: a local path, with `~` expanded."""
    try:
        return check_local_path("folder", text)
    except ValueError as error:  # a URL would become a folder "gs:"
        raise argparse.ArgumentTypeError(str(error)) from error


def add_optimizer_option(parser):
    """Add the option that names one optimizer."""
    parser.add_argument(
        "--optimizer",
        type=optimizer_type,
        default="Adam",
        metavar="NAME",
        help=f"{', '.join(rule.__name__ for rule in RULES)}, or keras.NAME for an optimizer of "
        "Keras; default: Adam",
    )


def add_training_options(parser):
    """Add the options of one training of the lecture's network."""
    parser.add_argument("--epochs", type=positive_integer, default=10, help="default: 10")
    parser.add_argument("--dropout", type=float, default=0.0, help="share dropped; default: 0")
    parser.add_argument("--seed", type=seed, default=0, help="default: 0")


def add_mnist_options(parser):
    """Add the options that say which part of MNIST to use, and where it is."""
    parser.add_argument(
        "--train-examples",
        type=positive_integer,
        metavar="N",
        help="train on the first N; default: all",
    )
    parser.add_argument("--data-dir", type=folder, help="where TFDS keeps MNIST; default: TFDS's")


def load_mnist(args):
    """Return the training and the test images that the options ask for."""
    try:
        (x_train, y_train), test = mnist.load(args.data_dir)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    return (x_train[: args.train_examples], y_train[: args.train_examples]), test


def local_cluster(workers):
    """Return a TF_CONFIG for each of so many processes on this machine, on free ports."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    tasks = [{"type": "worker", "index": i} for i in range(workers)]
    return [json.dumps({"cluster": {"worker": addresses}, "task": task}) for task in tasks]


def check_writable(path):
    """Make the folder; raise an OSError if that fails or it cannot be written to."""
    path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path} cannot be written to")


@contextlib.contextmanager
def stopping_on_interrupt(model):
    """Let Ctrl-C end `model.fit` after the batch; yield a list that then is not empty.

    A KeyboardInterrupt would be lost if it came while Python frees an object. A second Ctrl-C
    raises one all the same.
    """
    interruptions = []

    def stop(signum, frame):
        interruptions.append(signum)
        model.stop_training = True
        signal.signal(signal.SIGINT, before)

    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # a program in the background ignores Ctrl-C
        signal.signal(signal.SIGINT, stop)
    try:
        yield interruptions
    finally:
        signal.signal(signal.SIGINT, before)


def in_256_colors(picture):
    """Return a PIL image in 256 colors, the rules' own among them: its PNG is a third as large."""
    from PIL import Image  # not when a comparison starts, which draws nothing

    most = {"method": Image.Quantize.MAXCOVERAGE, "kmeans": 1, "dither": Image.Dither.NONE}
    return picture.convert("RGB").quantize(256, **most)


def tensorboard_command(path):
    """Return the command that shows the runs in a folder, quoted for a shell."""
    command = pathlib.Path(sys.executable).with_name("tensorboard")
    return shlex.join([shorten_path(command), "--logdir", shorten_path(path)])


def shorten_path(path):
    """Return the path as one would type it here."""
    inside = pathlib.Path(path).is_relative_to(pathlib.Path.cwd())
    return os.path.relpath(path) if inside else str(path)


def run(main, interrupted="Interrupted."):
    """Run a program's `main` and exit with what it returns; end without a traceback.

    Args:
        main: function without arguments.
        interrupted: what to say after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal may not have all characters
        stream.reconfigure(errors="replace")
    name = pathlib.Path(sys.argv[0]).name
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(interrupted)
    except (OSError, tf.errors.OpError) as error:  # a full disk, say
        sys.exit(f"{name}: error: {error}")
