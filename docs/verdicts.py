"""Plant faults in trainings, and count which of them `monitor.diagnose` finds.

    python docs/verdicts.py

Trains each fault and each healthy control on 10,000 MNIST images for 300 steps, two at a time, with
fixed seeds. Writes docs/verdicts.csv, a row for each training, and the tables into docs/monitor.md.
Trainings that are in the CSV already are not repeated: delete it to start again. Expect about 30
min on two cores.
"""

import argparse
import csv
import functools
import multiprocessing
import os
import pathlib
import sys
from concurrent.futures import ProcessPoolExecutor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras_lecture_opt as klo  # first: it keeps TensorFlow's start-up lines off the terminal

# isort: split
import keras
import numpy as np

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "examples"))
import _programs

from keras_lecture_opt import mnist
from keras_lecture_opt.comparison._report import markdown_table

HERE = pathlib.Path(__file__).parent
CSV, PAGE = HERE / "verdicts.csv", HERE / "monitor.md"
IMAGES, BATCH, STEPS, PROBE = 10_000, 128, 300, 500  # the last: images for `diagnose(x)`
SEEDS = (1, 2)
NETWORKS = ("mlp", "cnn")
RATES = {  # good ones for both networks
    "SteepestDescent": 0.2,
    "Momentum": 0.05,
    "Nesterov": 0.05,
    "AdaGrad": 0.01,
    "RMSProp": 0.001,
    "SimplifiedAdam": 0.001,
    "Adam": 0.001,
}
# Title: what differs from a healthy training: arguments of `build`, and "rate", a factor.
FAULTS = {
    "learning rate 100 times too high": {"rate": 100},
    "learning rate 1000 times too low": {"rate": 1e-3},
    "first layer starts 30 times too large": {"start": {0: 30}},
    "second layer starts 30 times too large": {"start": {1: 30}},
    "all layers start 1000 times too small": {"start": {0: 1e-3, 1: 1e-3, 2: 1e-3}},
    "second layer starts with zeros": {"start": {1: 0}},
    "first layer dead (biases of −100)": {"first_bias": -100},
    "first layer frozen": {"frozen": {0}},
    "all but the output frozen": {"frozen": {0, 1}},
    "gradients stopped before the output": {"cut": True},
    "six layers of sigmoids": {"activation": "sigmoid", "depth": 6},
    "pixels from 0 to 255": {"scale": 1},
    "one pixel is NaN": {"nan": True},
    "gradients clipped to a norm of 1e-4": {"clipnorm": 1e-4},
    "decay of 1% a step": {"decay": 0.01},
    "penalty 0.3 Σw²": {"penalty": 0.3},
    "softmax applied twice": {"twice": True},
    "labels shuffled": {"shuffled": True},
}
CONTROLS = {
    "dropout of one half": {"dropout": 0.5},
    "BatchNormalization": {"normalization": True},
    "learning rate decays to 0": {"decays_to_0": True},
    "batches of 32": {"batch": 32},
    "gradients clipped to a norm of 1": {"clipnorm": 1.0},
    "usual decay": {"decay": 1e-5},
    "penalty 1e-4 Σw²": {"penalty": 1e-4},
    "tanh": {"activation": "tanh"},
    "He's initial weights": {"initializer": "he_normal"},
    "pixels standardized": {"scale": 1 / 78.6, "shift": -0.424},
    "learning rate 3 times higher": {"rate": 3},
    "learning rate 3 times lower": {"rate": 1 / 3},
    "1500 steps": {"steps": 1500},
}
COLUMNS = (
    *("kind", "case", "network", "rule", "seed", "loss", "accuracy", "harmed"),
    *("verdicts", "verdicts_with_x"),
)


def build(
    network,
    start=None,
    first_bias=0,
    frozen=(),
    cut=False,
    activation="relu",
    depth=2,
    scale=1 / 255,
    shift=0,
    penalty=0,
    twice=False,
    dropout=0,
    normalization=False,
    initializer="glorot_uniform",
):
    """Build a network for 28x28 pixels and 10 classes, with what is asked for planted in it."""
    layers = [keras.Input((28, 28, 1)), keras.layers.Rescaling(scale, shift)]
    if network == "mlp":
        layers.append(keras.layers.Flatten())
    options = {"kernel_initializer": initializer, "kernel_regularizer": None}
    if penalty:
        options["kernel_regularizer"] = keras.regularizers.L2(penalty)
    for i in range(depth):
        bias = keras.initializers.Constant(0 if i else first_bias)
        if network == "mlp":
            layers.append(keras.layers.Dense(1000, bias_initializer=bias, **options))
        else:
            strides = 2 if i < 2 else 1
            convolution = keras.layers.Conv2D(
                16, 3, strides, padding="same", bias_initializer=bias, **options
            )
            layers.append(convolution)
        if normalization:
            layers.append(keras.layers.BatchNormalization())
        layers.append(keras.layers.Activation(activation))
    layers += [keras.layers.Flatten(), keras.layers.Dropout(dropout)]
    if cut:
        layers.append(keras.layers.Lambda(keras.ops.stop_gradient))
    layers.append(keras.layers.Dense(10, activation="softmax", **options))
    if twice:
        layers.append(keras.layers.Softmax())
    model = keras.Sequential(layers)
    weighted = [layer for layer in model.layers if hasattr(layer, "kernel")]
    for i, factor in (start or {}).items():
        weighted[i].kernel.assign(factor * weighted[i].kernel)
    for i in frozen:
        weighted[i].trainable = False
    return model


def train(
    network,
    rule,
    seed,
    data,
    rate=1,
    decays_to_0=False,
    clipnorm=None,
    decay=None,
    batch=BATCH,
    steps=STEPS,
    nan=False,
    shuffled=False,
    **changes,
):
    """Train a network and return the monitor and the model."""
    keras.utils.set_random_seed(seed)
    x, y = data
    if nan:
        x = x.copy()
        x[1234, 14, 14] = np.nan
    if shuffled:
        y = np.random.default_rng(seed).permutation(y)
    model = build(network, **changes)
    learning_rate = rate * RATES[rule]
    if decay:  # Keras's argument is a factor of the learning rate
        decay /= learning_rate
    if decays_to_0:
        learning_rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    optimizer = getattr(klo, rule)(learning_rate, weight_decay=decay, clipnorm=clipnorm)
    model.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
    )
    monitor = klo.EffectiveLearningRateMonitor(update_freq=50)
    epochs = -(-steps * batch // IMAGES)
    model.fit(x, y, batch, epochs=epochs, callbacks=[monitor], verbose=0)
    return monitor, model


def all_jobs():
    """Return kind, case, network, rule and seed of each training."""
    both = ("Momentum", "Adam")
    cases = [("control", "a good learning rate", rule, SEEDS) for rule in RATES]
    cases += [("fault", case, rule, SEEDS) for case in FAULTS for rule in both]
    cases += [("control", case, rule, SEEDS[:1]) for case in CONTROLS for rule in both]
    return [
        (kind, case, network, rule, seed)
        for kind, case, rule, seeds in cases
        for network in NETWORKS
        for seed in seeds
    ]


@functools.cache
def first_images():
    (x, y), _ = mnist.load()
    return x[:IMAGES, ..., np.newaxis].astype("float32"), y[:IMAGES]


def judge(job):
    """Train one case and return its row."""
    _, case, network, rule, seed = job
    x, y = data = first_images()
    monitor, model = train(network, rule, seed, data, **{**FAULTS, **CONTROLS}.get(case, {}))
    probabilities = model.predict(x, batch_size=1000, verbose=0)  # the loss without penalties
    loss = float(np.mean(keras.losses.sparse_categorical_crossentropy(y, probabilities)))
    accuracy = float(np.mean(np.argmax(probabilities, axis=1) == y))
    verdicts = [[v.fault for v in monitor.diagnose(batch)] for batch in (None, x[:PROBE])]
    keras.backend.clear_session()
    return {
        **dict(zip(COLUMNS, job, strict=False)),
        "loss": f"{loss:.4g}",
        "accuracy": f"{accuracy:.4f}",
        "harmed": int(not (loss < 0.5 and accuracy >= 0.9)),
        "verdicts": ", ".join(verdicts[0]),
        "verdicts_with_x": ", ".join(verdicts[1]),
    }


def read_rows():
    with open(CSV, newline="", encoding="utf-8") as file:
        rows = {tuple(row[c] for c in COLUMNS[:5]): row for row in csv.DictReader(file)}
    jobs = [tuple(map(str, job)) for job in all_jobs()]
    return [rows[job] for job in jobs if job in rows]


def tables(rows):
    """Return the tables of faults and of controls, in Markdown."""
    written = []
    for kind in ("fault", "control"):
        is_fault, lines = kind == "fault", []
        cases = dict.fromkeys(row["case"] for row in rows if row["kind"] == kind)
        for case in cases:
            of = [row for row in rows if row["case"] == case]
            harmed = [row for row in of if row["harmed"] == "1"]
            words = [word for row in of for word in row["verdicts_with_x"].split(", ") if word]
            shown = ", ".join(f"{word} {words.count(word)}" for word in dict.fromkeys(words))
            counts = [
                sum(bool(row[column]) for row in some)
                for some in ([harmed, of] if is_fault else [of])
                for column in ("verdicts", "verdicts_with_x")
            ]
            lines.append([case, len(of), *([len(harmed)] if is_fault else []), *counts, shown])
        numbers = range(1, len(lines[0]) - 1)
        totals = [sum(line[i] for line in lines) for i in numbers]
        lines.append(["**all**", *(f"**{total}**" for total in totals), ""])
        if is_fault:
            head = ["fault", "trainings", "did harm", "of these found", "with `x`"]
            head += ["found of all", "with `x`", "verdicts, with `x`"]
        else:
            head = ["healthy", "trainings", "alarms", "with `x`", "verdicts, with `x`"]
        written.append(markdown_table(head, lines))
    return "\n".join(written)


def write_page(rows):
    """Put the tables between the markers of the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables(rows)}\n{END}{after}")


BEGIN, END = "<!-- written by docs/verdicts.py -->", "<!-- end -->"


def main():
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    first_images()  # built once, before there are two processes
    if not CSV.exists():
        CSV.write_text(",".join(COLUMNS) + "\n")
    done = {tuple(row[c] for c in COLUMNS[:5]) for row in read_rows()}
    jobs = [job for job in all_jobs() if tuple(map(str, job)) not in done]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context) as pool:
        for row in pool.map(judge, jobs):
            with open(CSV, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, COLUMNS).writerow(row)
            print(*row.values(), sep=" · ")
    write_page(read_rows())


if __name__ == "__main__":
    _programs.run(main)
