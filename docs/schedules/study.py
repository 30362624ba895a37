"""Does Adam end lowest if its rate decays? The lecture's last figure, constant and with a cosine.

    python docs/schedules/study.py

trains the lecture's network with dropout for 60 epochs, with eight optimizers whose rate decays to
0. The first seed chooses among three rates around the best constant one, each trained in full,
because the gain of a decay shows only at its end. Two more seeds train what was chosen. The
constant rates are those of the study of 200 epochs, chosen among ten after 3 epochs and among three
after 20; its two seeds are taken from there, and the third is trained here. The same command
continues, and several of them share the work: two, each with a CPU core, take some 4 hours. Then it
writes results.csv, the tables of README.md and curves.png. If results.csv is there, it only writes
tables and picture.
"""

import argparse
import functools
import itertools
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from keras_lecture_opt import comparison, mnist
from keras_lecture_opt._resolve import optimizer_class

# isort: split
import keras
import numpy as np

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
from _pages import rows_of, with_tables, write_rows
from matplotlib import pyplot as plt

from keras_lecture_opt.comparison._tables import markdown_table, p_value, size
from keras_lecture_opt.plots._style import PALETTE, legend, style

HERE = pathlib.Path(__file__).parent
PAGE, RESULTS = HERE / "README.md", HERE / "results.csv"
CONSTANT = HERE.parent / "comparison" / "results.csv"
FOLDER = HERE.parents[1] / "tb_logs" / "schedules"
SCHEDULES = "cosine", "constant"
EPOCHS, STEPS, SEEDS, LAST = 60, 469, 3, 5
FIELDS = "optimizer", "schedule", "learning_rate", "seed", "epoch", "loss", "val_accuracy"
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


# What is trained.


def decaying(learning_rate, name):
    """Return an optimizer whose rate decays to 0 with the last step."""
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, EPOCHS * STEPS)
    return optimizer_class(name)(schedule)


def around(best):
    """Return three rates, half a power of ten apart."""
    return [float(f"{best * 10 ** (e / 2):.2g}") for e in (-1, 0, 1)]


def compare(optimizers, rates, seeds, folder):
    """Train some optimizers with some rates for each; return the study."""
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
    trials = max(map(len, rates.values()))
    search = {name: {"learning_rate": rates[name]} for name in optimizers}
    search["learning_rate"] = sorted({*itertools.chain(*rates.values())})
    options = {"average_last": LAST, "search": search, "trials": trials}
    return comparison.compare(
        workload, optimizers, None, [(EPOCHS, trials)], folder, seeds, **options
    )


def train(folder):
    """Train all; write results.csv."""
    cosine = {f"{name}, cosine": functools.partial(decaying, name=name) for name in BEST}
    three = {name: around(BEST[name.partition(",")[0]]) for name in cosine}
    searched = compare(cosine, three, 1, folder)
    chosen = {name: [rate] for name, rate in searched.learning_rates.items()}
    constant = {name: optimizer_class(name) for name in BEST}
    third = compare(constant, {name: [rate] for name, rate in BEST.items()}, [SEEDS - 1], folder)
    rows = []
    for study in (searched, compare(cosine, chosen, SEEDS, folder), third):
        for row in study.rows():
            name, _, schedule = row["optimizer"].partition(", ")
            row |= {"optimizer": name, "schedule": schedule or "constant"}
            if study is not searched or [row["learning_rate"]] != chosen[f"{name}, cosine"]:
                rows.append({field: row[field] for field in FIELDS})
    write_rows(RESULTS, rows)


# What follows.


def curves_of(rows):
    """Return a dict from (optimizer, schedule, rate, seed) to the losses of 60 epochs."""
    curves = {}
    for row in rows:
        key = row["optimizer"], row["schedule"], float(row["learning_rate"]), int(row["seed"])
        curves.setdefault(key, {})[int(row["epoch"])] = float(row["loss"])
    return {
        key: np.array([losses[epoch] for epoch in range(1, EPOCHS + 1)])
        for key, losses in curves.items()
        if len(losses) >= EPOCHS
    }


def all_curves():
    """Return those of this study and the constant ones of the study of 200 epochs."""
    older = [row | {"schedule": "constant"} for row in rows_of(CONSTANT) if row["chosen"] == "True"]
    return curves_of([*older, *rows_of(RESULTS)])


def ends_of(curves):
    """Return a dict from (optimizer, schedule) to the rate that was chosen and its ends by seed.

    An end is the mean of the last epochs. Chosen is the rate that all seeds have.
    """
    ends = {}
    for (name, schedule, rate, _), losses in sorted(curves.items(), key=lambda item: item[0][3]):
        ends.setdefault((name, schedule, rate), []).append(float(losses[-LAST:].mean()))
    seeds = max(map(len, ends.values()))
    return {key[:2]: (key[2], values) for key, values in ends.items() if len(values) == seeds}


def tables(curves):
    """Return the tables of the page by their names."""
    ends = ends_of(curves)
    mean = {key: float(np.exp(np.mean(np.log(values)))) for key, (_, values) in ends.items()}
    ranked = {s: [key for key in sorted(ends, key=mean.get) if key[1] == s] for s in SCHEDULES}
    # In this order a cosine is the first of its pair, and of one schedule the worse one.
    ordered = [key for schedule in SCHEDULES for key in reversed(ranked[schedule])]
    pairs = comparison.differences({", ".join(key): ends[key][1] for key in ordered})
    both = {(pair.first, pair.second): (size(pair), p_value(pair)) for pair in pairs}

    def against(key, other):
        """Return the loss over that of another, with its interval, and p."""
        return both[", ".join(key), ", ".join(other)]

    gain = []
    for name in BEST:
        keys = (name, "constant"), (name, "cosine")
        rates_and_losses = [f"{x:.4g}" for key in keys for x in (ends[key][0], mean[key])]
        gain.append([name, *rates_and_losses, *against(keys[1], keys[0])])
    ranking = {}
    for schedule, order in ranked.items():
        best = order[0]
        ranking[schedule] = [
            [i, key[0], f"{mean[key]:.4g}", *(against(key, best) if key != best else ("", ""))]
            for i, key in enumerate(order, 1)
        ]
    searched = {}
    for (name, schedule, rate, seed), losses in sorted(curves.items()):
        if (schedule, seed) == ("cosine", 0):
            searched.setdefault(name, []).append(f"{rate:g}: {losses[-LAST:].mean():.4f}")
    head = ["", "optimizer", "loss", "ratio to the best [95%]", "p"]
    gain_head = ["optimizer", "constant η", "loss", "cosine from η", "loss"]
    return {
        "gain": markdown_table([*gain_head, "cosine / constant [95%]", "p"], gain),
        "cosine": markdown_table(head, ranking["cosine"]),
        "constant": markdown_table(head, ranking["constant"]),
        "searched": markdown_table(
            ["optimizer", "loss of seed 0 with a cosine from each η"],
            [[name, ", ".join(searched[name])] for name in BEST],
        ),
    }


def page(curves, text):
    """Return the text of README.md with these results."""
    return with_tables(text, tables(curves))


def draw(curves):
    """Draw the mean losses over the epochs: constant rates left, decaying ones right."""
    ends = ends_of(curves)
    with style():
        figure, both = plt.subplots(1, 2, figsize=(11, 5), sharey=True, layout="constrained")
        for ax, schedule in zip(both, ("constant", "cosine"), strict=True):
            for name, color in zip(BEST, PALETTE, strict=False):
                rate, values = ends[name, schedule]
                runs = [curves[name, schedule, rate, seed] for seed in range(len(values))]
                mean = np.exp(np.mean(np.log(runs), axis=0))
                ax.plot(range(1, EPOCHS + 1), mean, label=name, color=color)
            title = "constant rate" if schedule == "constant" else "rate decays to 0, with a cosine"
            ax.set(yscale="log", xlabel="epoch", title=title)
        both[0].set_ylabel("training loss, with dropout")
        legend(both[1])
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, default=FOLDER)
    folder = parser.parse_args().folder
    if not RESULTS.exists():
        train(folder)
    curves = all_curves()
    PAGE.write_text(page(curves, PAGE.read_text()))
    draw(curves).savefig(HERE / "curves.png", dpi=80)


if __name__ == "__main__":
    main()
