"""Which rule trains the MNIST network best? Figure 2(a) of Kingma & Ba (2015), done again.

    python examples/compare_rules.py

trains 784-1000-1000-10 with dropout for 200 epochs of batches of 128: our seven rules and Keras's
Adadelta. Three rungs choose the rates by the training cost. It takes some 5 hours on two CPU cores.
The same command continues after an interruption, and several of them share the work.

The lecture's mini-batches, few epochs:

    python examples/compare_rules.py --batch-size 32 --rungs 2:10,5:2 --folder tb_logs/batch_32
"""

import argparse
import functools
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import _programs

from keras_lecture_opt import comparison, mnist
from keras_lecture_opt._resolve import optimizer_class
from keras_lecture_opt.rules import RULES

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "tb_logs" / "compare_rules"
DEFAULT = [*(rule.__name__ for rule in RULES), "keras.Adadelta"]
GRID = comparison.log_grid(1e-4, 3.2)


def rungs(text):
    """A type for argparse: "3:10,20:4" is 3 epochs of 10 rates, then 20 of 4."""
    pairs = [r.partition(":") for r in text.split(",")]
    if not all(colon for _, colon, _ in pairs):
        raise argparse.ArgumentTypeError(f"must be EPOCHS:RATES,..., not {text!r}")
    number = _programs.positive_integer
    return [(number(epochs), number(rates)) for epochs, _, rates in pairs]


def rates(text):
    """A type for argparse."""
    return [float(rate) for rate in text.split(",")]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add, positive = parser.add_argument, _programs.positive_integer
    known, text = _programs.optimizer_type, f"default: {' '.join(DEFAULT)}"
    add("optimizers", nargs="*", type=known, metavar="NAME", default=DEFAULT, help=text)
    text = "EPOCHS:RATES,..., the best so many rates up to an epoch; default: 3:10,20:3,200:1"
    add("--rungs", type=rungs, default="3:10,20:3,200:1", help=text)
    add("--rates", type=rates, default=GRID, metavar="ETA,...", help="default: 0.0001 to 3.2")
    add("--seeds", type=positive, default=2, help="how many; default: 2")
    add("--batch-size", type=positive, default=128, help="default: 128")
    add("--processes", type=positive, default=1, help="default: 1")
    add("--folder", type=_programs.folder, default=FOLDER, help="default: tb_logs/compare_rules")
    _programs.add_mnist_options(parser)
    return parser, parser.parse_intermixed_args()


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
        executor = comparison.process_pool(args.processes) if args.processes > 1 else None
        protocol = (args.rates, args.rungs, args.folder, args.seeds)
        study = comparison.compare(workload, optimizers, *protocol, executor=executor)
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    page = study.report(args.folder / "page")  # first: what is written is not lost with a terminal
    print(study.table())
    print(f"Wrote {_programs.shorten_path(page)}")


if __name__ == "__main__":
    _programs.run(main, interrupted="Interrupted. The same command continues.")
