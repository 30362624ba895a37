"""Train the lecture's network with several optimizers, so that TensorBoard overlays them.

    python examples/compare_in_tensorboard.py Adam keras.Adam AdaGrad keras.Adagrad

Each has its default hyperparameters. All runs start from the same weights and see the same batches.
Without names seven runs are made, which takes about 2 minutes on two CPU cores.
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

TB_LOGS = pathlib.Path(__file__).resolve().parents[1] / "tb_logs"
DEFAULT = ["Nesterov", "AdaGrad", "keras.Adagrad", "RMSProp", "keras.RMSprop", "Adam", "keras.Adam"]


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "optimizers",
        nargs="*",
        type=_programs.optimizer_type,
        metavar="NAME",
        default=DEFAULT,
        help=f"such as Adam or keras.Adam; default: {' '.join(DEFAULT)}",
    )
    positive = _programs.positive_integer
    parser.add_argument("--epochs", type=positive, default=2, help="default: 2")
    parser.add_argument("--batch-size", type=positive, default=128, help="default: 128")
    parser.add_argument("--update-freq", type=_programs.frequency, default=50, help="default: 50")
    parser.add_argument("--seed", type=_programs.seed, default=0, help="default: 0")
    _programs.add_mnist_options(parser)
    now = datetime.datetime.now().isoformat("_", "seconds").replace(":", "-")
    parser.add_argument(
        "--log-dir",
        type=_programs.folder,
        default=TB_LOGS / "compare" / now,
        help="default: tb_logs/compare/DATE_TIME",
    )
    args = parser.parse_args(argv)
    args.optimizers = list(dict.fromkeys(args.optimizers))  # each once
    try:
        keras.utils.set_random_seed(args.seed)
        _programs.check_writable(args.log_dir)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return args


def main():
    args = parse()
    train, test = _programs.load_mnist(args)
    tf.config.experimental.enable_op_determinism()
    for name in args.optimizers:
        print(f"\n{name}")
        keras.utils.set_random_seed(args.seed)
        model = mnist.mlp()
        model.compile(
            optimizer_class(name)(), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        folder = args.log_dir / name
        callbacks = [
            keras.callbacks.TensorBoard(folder),
            keras_lecture_opt.EffectiveLearningRateMonitor(
                folder, args.update_freq, write_images=True, detail=True
            ),
        ]
        with _programs.stopping_on_interrupt(model) as interruptions:
            model.fit(
                _batches.shuffled(train, args.batch_size, args.seed),
                shuffle=False,  # they are shuffled already
                validation_data=_batches.in_order(test, args.batch_size),
                epochs=args.epochs,
                callbacks=callbacks,
            )
        if interruptions:
            print("\nInterrupted. The runs so far are complete.")
            break
    print(f"See them: {_programs.tensorboard_command(args.log_dir)}")
    return 130 if interruptions else 0


if __name__ == "__main__":
    _programs.run(main)
