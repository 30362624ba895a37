r"""Which rule trains the MNIST network best? Figure 2(a) of Kingma & Ba (2015), done again.

    python examples/compare_rules.py

trains 784-1000-1000-10 with dropout for 200 epochs of batches of 128: our seven rules and Keras's
Adadelta. Rates, two per decade, are chosen in three rungs by the training cost. The test images
choose nothing. It takes some 5 hours on two CPU cores. After an interruption, even a kill, the same
command continues. Started several times with one folder, the commands share the work.

The lecture's mini-batches, few epochs:

    python examples/compare_rules.py --batch-size 32 --rungs 2:10 5:2 --folder tb_logs/batch_32
"""

import argparse
import functools
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from keras_lecture_opt import _programs, comparison, mnist
from keras_lecture_opt._resolve import optimizer_class
from keras_lecture_opt.rules import RULES

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "tb_logs" / "compare_rules"
DEFAULT = [*(rule.__name__ for rule in RULES), "keras.Adadelta"]


def rung(text):
    """A type for argparse: "20:4" is 20 epochs of 4 rates."""
    epochs, _, rates = text.partition(":")
    return _programs.positive_integer(epochs), _programs.positive_integer(rates)


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "optimizers",
        nargs="*",
        type=_programs.optimizer_type,
        metavar="NAME",
        default=DEFAULT,
        help=f"such as Adam or keras.Lion; default: {' '.join(DEFAULT)}",
    )
    rungs = [(3, 10), (20, 4), (200, 1)]
    text = "EPOCHS:RATES, the best so many rates up to an epoch; default: 3:10 20:4 200:1"
    parser.add_argument("--rungs", nargs="+", type=rung, default=rungs, help=text)
    grid = comparison.log_grid(1e-4, 3.2)
    text = "learning rates; default: two per decade from 0.0001 to 3.2"
    parser.add_argument("--rates", nargs="+", type=float, default=grid, metavar="ETA", help=text)
    positive = _programs.positive_integer
    parser.add_argument("--seeds", type=positive, default=2, help="how many; default: 2")
    parser.add_argument("--batch-size", type=positive, default=128, help="default: 128")
    parser.add_argument("--processes", type=positive, default=1, help="default: 1")
    parser.add_argument("--folder", type=_programs.folder, default=FOLDER)
    _programs.add_mnist_options(parser)
    return parser, parser.parse_args(argv)


def main():
    parser, args = parse()
    data, test = _programs.load_mnist(args)
    try:
        workload = comparison.Workload(
            functools.partial(mnist.mlp, dropout=0.5),
            data=data,
            validation=test,
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            batch_size=args.batch_size,
            steps_per_execution=16,
            target=("val_accuracy", 0.98),
        )
        optimizers = {name: optimizer_class(name) for name in args.optimizers}
        executor = None if args.processes == 1 else comparison.process_pool(args.processes)
        study = comparison.compare(
            workload, optimizers, args.rates, args.rungs, args.folder, args.seeds, "loss", executor
        )
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    print(study.table())
    print(f"Wrote {_programs.shown(study.report(args.folder / 'page'))}")


if __name__ == "__main__":
    _programs.run(main, interrupted="Interrupted. The same command continues.")
