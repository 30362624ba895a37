"""Does Adam end lowest if its rate decays? The lecture's last figure, constant and with a cosine.

    python docs/schedules/study.py

trains the lecture's network with dropout for 60 epochs: eight optimizers, each with a constant rate
and with one that decays to 0, three rates around the best one of the study of 200 epochs, three
seeds. It takes some 7 hours on two CPU cores; the same command continues. Page, pictures and
results of the last 5 epochs go to this folder.
"""

import argparse
import functools
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from keras_lecture_opt import comparison, mnist
from keras_lecture_opt._resolve import optimizer_class

# isort: split
import keras

HERE = pathlib.Path(__file__).parent
FOLDER = HERE.parents[1] / "tb_logs" / "schedules"
EPOCHS, STEPS, SEEDS = 60, 469, 3
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
    optimizers, search = {}, {"learning_rate": [*BEST.values()]}
    for name, best in BEST.items():
        optimizers[name] = optimizer_class(name)
        optimizers[f"{name}, cosine"] = functools.partial(decaying, name=name)
        for variant in (name, f"{name}, cosine"):
            around = [float(f"{best * 10 ** (e / 2):.2g}") for e in (-1, 0, 1)]
            search[variant] = {"learning_rate": around}
    study = comparison.compare(
        workload,
        optimizers,
        rungs=[(20, 3), (EPOCHS, 1)],
        folder=folder,
        seeds=SEEDS,
        average_last=5,
        search=search,
        trials=3,
    )
    study.report(HERE)
    print(study.table())


if __name__ == "__main__":
    main()
