"""What an update costs, beside Keras's nearest built-in: `make bench`, or with the parts named.

    python benchmarks/bench.py [PART ...]

Both sides run in turns in one process; a ratio is the median over the turns of ours divided by the
built-in's, with its quartiles. Prints tables and writes `benchmarks/results.csv`. The parts:

- `update`: updates; `settings`: those with `clipnorm` and with `use_ema`.
- `fit`: whole training steps.
- `epoch`: epochs of the lecture's network in several settings, beside Keras's default.
- `size`: updates of 100 to 100 million weights; draws size.png.
"""

import argparse
import csv
import functools
import multiprocessing
import os
import pathlib
import sys
import time
from concurrent.futures import ProcessPoolExecutor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # processes share the GPU
import keras_lecture_opt as ours  # first: it keeps TensorFlow's start-up lines off the terminal

# isort: split
import keras
import numpy as np
import tensorflow as tf
from matplotlib import pyplot as plt

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "examples"))
import _programs

from keras_lecture_opt import _batches, mnist
from keras_lecture_opt.comparison._identity import versions
from keras_lecture_opt.comparison._run import gpu_name, machine
from keras_lecture_opt.plots._style import PALETTE, legend, style

tf.get_logger().setLevel("ERROR")  # it would warn that we trace many functions
PAIRS = {  # name of the rule: (the rule, Keras's nearest)
    rule.__name__: (rule, functools.partial(rule.nearest_keras[0], **rule.nearest_keras[1]))
    for rule in ours.rules.RULES
    if rule.nearest_keras
}
BATCH = 128
SETTINGS = {"clipnorm": {"clipnorm": 1.0}, "use_ema": {"use_ema": True}}
COLUMNS = {"part": 8, "case": 25, "rule": 15}  # of the table, and how wide they are
COLUMNS |= dict.fromkeys(("ours_ms", "keras_ms", "ratio", "quartile_1", "quartile_3"), 10)
COLUMNS |= dict.fromkeys(("first_ours_s", "first_keras_s", "first_ratio"), 13)


def seconds(function, times):
    start = time.perf_counter()
    for _ in range(times):
        function()
    tf.test.experimental.sync_devices()  # a GPU works on after the call
    return (time.perf_counter() - start) / times


def in_turns(functions, times, turns):
    """Return each function's seconds per call, one row per turn; the first one alternates."""
    measured = np.zeros((turns, len(functions)))
    for turn in range(turns):
        order = range(len(functions)) if turn % 2 else reversed(range(len(functions)))
        for i in order:
            measured[turn, i] = seconds(functions[i], times)
    return measured


def compare(measured):
    quartiles = np.percentile(measured[:, 0] / measured[:, 1], [25, 50, 75])
    ms = 1000 * np.median(measured, axis=0)
    keys = ("quartile_1", "ratio", "quartile_3")
    return {"ours_ms": ms[0], "keras_ms": ms[1], **dict(zip(keys, quartiles, strict=True))}


def update_of(optimizer, shapes):
    """Return a step of the optimizer alone, for variables of these shapes."""
    variables = [keras.Variable(tf.random.normal(shape)) for shape in shapes]
    gradients = [tf.random.normal(shape) for shape in shapes]
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step():
        optimizer.apply(gradients, variables)

    return step


def compare_update(rule, shapes, times, turns, first_calls=1, setting=None):
    for make in PAIRS[rule]:
        update_of(make(), [(1,)])()  # loads what every update needs
    first = []
    for _ in range(first_calls):
        steps = [update_of(make(**SETTINGS.get(setting, {})), shapes) for make in PAIRS[rule]]
        first.append([seconds(step, 1) for step in steps])  # traces and compiles
    first_ours, first_keras = np.median(first, axis=0)
    in_turns(steps, 3, 1)
    return {
        **compare(in_turns(steps, times, turns)),
        "first_ours_s": first_ours,
        "first_keras_s": first_keras,
        "first_ratio": first_ours / first_keras,
    }


def compare_update_alone(*arguments):
    """Call `compare_update` in a process of its own.

    TensorFlow keeps the memory of each variable that any optimizer has updated in a `tf.function`,
    and what a step has allocated for the next steps.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        return process.submit(compare_update, *arguments).result()


def update(settings=(None,)):
    models = {"MNIST network": mnist.mlp(), "ResNet-50": keras.applications.ResNet50(weights=None)}
    for case, model in models.items():
        shapes = [v.shape for v in model.trainable_variables]
        times, turns = (10, 30) if case == "MNIST network" else (2, 15)
        for setting in settings:
            for rule in PAIRS:
                row = compare_update_alone(rule, shapes, times, turns, 3, setting)
                yield {"case": f"{case}, {setting}" if setting else case, "rule": rule, **row}


def images(count):
    """Return so many random images of MNIST's kind, and labels."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, size=(count, 28, 28), dtype="uint8")
    return x, rng.integers(0, 10, size=count)


def fitting(optimizer, data, **settings):
    """Return a function that trains the lecture's network for an epoch on `fit`'s arguments."""
    model = mnist.mlp()
    loss, metrics = "sparse_categorical_crossentropy", ["accuracy"]
    model.compile(optimizer, loss, metrics=metrics, **settings)
    return functools.partial(model.fit, **data, verbose=0)


def shuffled(arrays):
    """Return the arguments of `fit` for a dataset that shuffles the arrays."""
    return {"x": _batches.shuffled(arrays, BATCH, seed=0), "shuffle": False}


def fit():
    data = shuffled(images(40 * BATCH))
    for rule, pair in PAIRS.items():
        runs = [fitting(make(), data) for make in pair]
        in_turns(runs, 1, 1)
        yield {"case": f"batch {BATCH}", "rule": rule, **compare(in_turns(runs, 1, 21) / 40)}


def epoch():
    x, y = images(60_000)  # 469 batches: 13 calls of 36, and a last one that is a single step
    data = shuffled((x, y))
    jit, several = {"jit_compile": True}, {"steps_per_execution": 36}
    cases = {"no autotuning": {}, "jit_compile": jit, "steps_per_execution": several}
    cases["both"] = jit | several
    runs = [fitting(ours.Adam(), data, **settings) for settings in cases.values()]
    runs.append(fitting(keras.optimizers.Adam(), {"x": x, "y": y, "batch_size": BATCH}))
    in_turns(runs, 1, 1)
    measured = in_turns(runs, 1, 9)
    for i, case in enumerate(cases):
        yield {"case": case, "rule": "Adam", **compare(measured[:, [i, -1]])}


def size():
    ratios = {rule: [] for rule in PAIRS}
    sizes = [10**exponent for exponent in range(8, 1, -1)]  # the large ones tell the most
    for n in sizes:
        times, turns = min(1000, max(10, 10**6 // n)), 11 if n < 10**8 else 5
        for rule in PAIRS:
            row = compare_update_alone(rule, [(n // 100, 100)], times, turns)
            ratios[rule].append([row[key] for key in ("quartile_1", "ratio", "quartile_3")])
            yield {"case": f"{n:.0e} parameters", "rule": rule, **row}
    with style():
        figure, ax = plt.subplots(figsize=(9, 5))
        for (rule, values), color in zip(ratios.items(), PALETTE, strict=False):
            low, ratio, high = np.transpose(values)
            ax.errorbar(sizes, ratio, (ratio - low, high - ratio), label=rule, color=color)
        ax.axhline(1, color="#7F7F7F", linestyle=":")
        ax.set(
            xscale="log", xlabel="weights", ylabel="time of an update, Keras's = 1", ylim=(0, None)
        )
        legend(ax)
        figure.savefig(pathlib.Path(__file__).with_name("size.png"), dpi=80, bbox_inches="tight")


def main():
    parts = {
        "update": update,
        "settings": lambda: update(SETTINGS),
        "fit": fit,
        "epoch": epoch,
        "size": size,
    }
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    # `choices` would refuse an empty list.
    known = ", ".join(parts)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{known}; default: all")
    names = parser.parse_args().parts
    for name in names:
        if name not in parts:
            parser.error(f"there is no part {name!r}, only {known}")
    made_on = {"machine": machine(), "gpu": gpu_name() or "none", **versions()}
    print(*(f"{key}: {value}" for key, value in made_on.items()), sep="\n")
    path = pathlib.Path(__file__).with_name("results.csv")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *made_on])
        writer.writeheader()
        for name in names or parts:
            print("\n" + aligned({key: key for key in COLUMNS}))
            for row in parts[name]():
                cells = {k: v if isinstance(v, str) else f"{v:.2f}" for k, v in row.items()}
                cells = {"part": name, **cells}
                print(aligned(cells), flush=True)
                writer.writerow(cells | made_on)
                file.flush()
    print(f"\nWritten to {path}")


def aligned(cells):
    return " ".join(f"{cells[key]:>{width}}" for key, width in COLUMNS.items() if key in cells)


if __name__ == "__main__":
    _programs.run(main)
