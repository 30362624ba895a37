"""Train the lecture's network with several rules, so that TensorBoard overlays them.

    python examples/compare_in_tensorboard.py adam keras.Adam adagrad keras.Adagrad

Names are those of `fit_mnist.py --optimizer`, or keras.NAME for an optimizer of Keras, each with
its default hyperparameters. All runs start from the same weights and see the same batches. Without
names seven runs are made, which takes about 2 minutes on two CPU cores.
"""

import argparse
import datetime
import pathlib
import sys

import fit_mnist  # sets TF_CPP_MIN_LOG_LEVEL
import keras
import tensorflow as tf

from keras_lecture_opt import effective_learning_rate, mnist

DEFAULT = ["nesterov", "adagrad", "keras.Adagrad", "rmsprop", "keras.RMSprop", "adam", "keras.Adam"]


def made(name):
    """The optimizer of that name; raises if its effective learning rate is not known."""

    def make():
        if name.startswith("keras."):
            return keras.optimizers.get(name.removeprefix("keras."))
        return fit_mnist.RULES[name]()

    trial, w = make(), keras.Variable([1.0])
    trial.apply([tf.constant([1.0])], [w])
    effective_learning_rate(trial, w)
    return make()


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", default=DEFAULT)
    parser.add_argument("--epochs", type=fit_mnist.positive, default=2, help="default: 2")
    parser.add_argument("--batch-size", type=fit_mnist.positive, default=128, help="default: 128")
    parser.add_argument("--update-freq", type=fit_mnist.frequency, default=50, help="default: 50")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--train-examples", type=fit_mnist.positive, metavar="N")
    parser.add_argument("--data-dir", help="where TFDS keeps MNIST; default: TFDS's own")
    now = datetime.datetime.now().isoformat("_", "seconds").replace(":", "-")
    parser.add_argument(
        "--log-dir",
        type=pathlib.Path,
        default=fit_mnist.TB_LOGS / "compare" / now,
        help="default: tb_logs/compare/DATE_TIME",
    )
    args = parser.parse_args(argv)
    args.optimizers = {}
    for name in args.names:
        try:
            args.optimizers[name] = made(name)
        except (KeyError, TypeError, ValueError) as error:
            known = ", ".join(fit_mnist.RULES)
            parser.error(f"{name!r} is none of {known} and keras.NAME: {error}")
    return args


def main():
    args = parse()
    train, test = fit_mnist.load(args)
    tf.config.experimental.enable_op_determinism()
    for name, optimizer in args.optimizers.items():
        print(f"\n{name}")
        keras.utils.set_random_seed(args.seed)
        finished = fit_mnist.fit(
            mnist.mlp(),
            optimizer,
            train,
            test,
            args.log_dir / name,
            args.update_freq,
            batch_size=args.batch_size,
            epochs=args.epochs,
        )
        if not finished:
            print("\nInterrupted: the runs so far can be seen.")
            break
    print(f"See them: {fit_mnist.tensorboard(args.log_dir)}")
    return 0 if finished else 130


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before or after a training, which ends by itself
        sys.exit("Interrupted.")
