"""Does Adam end lowest if its rate decays? The lecture's last figure, constant and with a cosine.

    python docs/schedules/study.py

trains the lecture's network with dropout for 60 epochs: eight optimizers, each with a constant rate
and with one that decays to 0. The first seed chooses among three rates around the best one of the
study of 200 epochs: decaying ones in full, because before its end a decay does not show what it
gains; constant ones after 20 epochs. Two more seeds train what was chosen. It takes some 6 hours on
two free CPU cores; the same command continues, and several of them share the work.
"""

import argparse
import functools
import itertools
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from keras_lecture_opt import comparison, mnist
from keras_lecture_opt._resolve import optimizer_class

# isort: split
import keras

HERE = pathlib.Path(__file__).parent
FOLDER = HERE.parents[1] / "tb_logs" / "schedules"
EPOCHS, STEPS, SEEDS, LAST = 60, 469, 3, 5
# The best constant rates in docs/comparison, of a grid of half decades.
BEST = {
    "SteepestDescent": 0.32,
    "Momentum": 0.032,
    "Nesterov": 0.032,
    "AdaGrad": 0.01,
    "RMSProp": 0.00032,
    "SimplifiedAdam": 0.00032,
    "Adam": 0.00032,
    "keras.Adadelta": 1.0,
}


def decaying(learning_rate, name):
    """Return an optimizer whose rate decays to 0 with the last step."""
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, EPOCHS * STEPS)
    return optimizer_class(name)(schedule)


def around(best):
    """Return three rates, half a power of ten apart."""
    return [float(f"{best * 10 ** (e / 2):.2g}") for e in (-1, 0, 1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, default=FOLDER)
    folder = parser.parse_args().folder
    data, test = mnist.load()
    workload = comparison.Workload(
        functools.partial(mnist.mlp, dropout=0.5),
        data=data,
        validation=test,
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        batch_size=128,
        steps_per_execution=67,
    )
    constant = {name: optimizer_class(name) for name in BEST}
    cosine = {f"{name}, cosine": functools.partial(decaying, name=name) for name in BEST}

    def compare(optimizers, rates, rungs, seeds):
        search = {name: {"learning_rate": rates[name]} for name in optimizers}
        search["learning_rate"] = sorted({*itertools.chain(*rates.values())})
        trials = rungs[0][1]
        options = {"average_last": LAST, "search": search, "trials": trials}
        return comparison.compare(workload, optimizers, None, rungs, folder, seeds, **options)

    for optimizers, rungs in ((cosine, [(EPOCHS, 3)]), (constant, [(20, 3), (EPOCHS, 1)])):
        rates = {name: around(BEST[name.partition(",")[0]]) for name in optimizers}
        chosen = compare(optimizers, rates, rungs, 1).learning_rates
        rates = {name: [chosen[name]] for name in optimizers}
        print(compare(optimizers, rates, [(EPOCHS, 1)], SEEDS).table())


if __name__ == "__main__":
    main()
