"""What an update costs, beside Keras's nearest built-in: `make bench`, or with the parts named.

    python benchmarks/bench.py [PART ...]

Both sides run in turns in one process; a ratio is the median over the turns of ours divided by the
built-in's, with its quartiles. Prints tables and writes `benchmarks/results.csv`. The parts:

- `update`: updates; `settings`: those with `clipnorm` and with `use_ema`.
- `fit`: whole training steps.
- `epoch`: epochs of the lecture's network in several settings, beside Keras's default.
- `size`: updates of 100 to 100 million weights; draws size.png.
- `memory`: what an update needs.
- `monitor`: in CPU time, a training step that is logged beside one that is not ("ours" and "keras"
  in the table), and the time before the first event.
- `descend`: a descent of 2000 steps, its compilation included, beside as many eager calls.
"""

import argparse
import csv
import functools
import multiprocessing
import os
import pathlib
import platform
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

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
COLUMNS = {  # of the table: (key, format)
    "part": "{}",
    "case": "{}",
    "rule": "{}",
    "ours_ms": "{:.2f}",
    "keras_ms": "{:.2f}",
    "ratio": "{:.2f}",
    "quartile_1": "{:.2f}",
    "quartile_3": "{:.2f}",
    "first_ours_s": "{:.2f}",
    "first_keras_s": "{:.2f}",
    "first_ratio": "{:.2f}",
    "state": "{:.2f}",
    "peak_ours_mib": "{:.0f}",
    "peak_keras_mib": "{:.0f}",
    "peak_copies": "{:.2f}",
    "gb_per_s": "{:.1f}",
    "copy_gb_per_s": "{:.1f}",
    "steps_per_s": "{:.0f}",
}


def seconds(function, times, clock=time.perf_counter):
    start = clock()
    for _ in range(times):
        function()
    tf.test.experimental.sync_devices()  # a GPU works on after the call
    return (clock() - start) / times


def in_turns(functions, times, turns, clock=time.perf_counter):
    """Return each function's seconds per call, one row per turn; the first one alternates."""
    measured = np.zeros((turns, len(functions)))
    for turn in range(turns):
        order = range(len(functions)) if turn % 2 else reversed(range(len(functions)))
        for i in order:
            measured[turn, i] = seconds(functions[i], times, clock)
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


def alone(function, *arguments):
    """Call the function in a process of its own.

    TensorFlow keeps the memory of each variable that any optimizer has updated in a `tf.function`,
    and what a step has allocated for the next steps.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        return process.submit(function, *arguments).result()


def peak_alone(function, *arguments):
    """The same without oneDNN, whose allocator keeps freed memory in which a peak may hide."""
    with mock.patch.dict(os.environ, TF_ENABLE_ONEDNN_OPTS="0"):
        return alone(function, *arguments)


def load_compiler(rule):
    for make in PAIRS[rule]:
        update_of(make(), [(1,)])()


def peak_of(function):
    """Return by how much the function raises the memory of this process."""
    before = memory_mib("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak, VmHWM
    function()
    return memory_mib("VmHWM") - before


def memory_mib(key):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def peak_of_update(rule, side, shapes):
    """Return the peak in MiB, above weights, gradients and state."""
    load_compiler(rule)
    step = update_of(PAIRS[rule][side](), shapes)
    return peak_of(lambda: (step(), step()))


def compare_update(rule, shapes, times, turns, first_calls=1, setting=None):
    load_compiler(rule)
    first = []
    for _ in range(first_calls):
        optimizers = [make(**SETTINGS.get(setting, {})) for make in PAIRS[rule]]
        steps = [update_of(o, shapes) for o in optimizers]
        first.append([seconds(step, 1) for step in steps])  # traces and compiles
    first = np.median(first, axis=0)
    seconds(steps[0], 3), seconds(steps[1], 3)
    result = compare(in_turns(steps, times, turns))
    state = sum(int(np.prod(v.shape)) for v in optimizers[0].variables if v.dtype == "float32")
    return {
        **result,
        "first_ours_s": first[0],
        "first_keras_s": first[1],
        "first_ratio": first[0] / first[1],
        # Without the learning rate, a number of its own.
        "state": (state - 1) / sum(int(np.prod(shape)) for shape in shapes),
    }


def update(settings=(None,)):
    models = {"MNIST network": mnist.mlp(), "ResNet-50": keras.applications.ResNet50(weights=None)}
    for case, model in models.items():
        shapes = [v.shape for v in model.trainable_variables]
        times, turns = (10, 30) if case == "MNIST network" else (2, 15)
        for setting in settings:
            for rule in PAIRS:
                row = alone(compare_update, rule, shapes, times, turns, 3, setting)
                yield {"case": f"{case}, {setting}" if setting else case, "rule": rule, **row}


def images(count):
    """Return so many random images of MNIST's kind, and labels."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, size=(count, 28, 28), dtype="uint8")
    return x, rng.integers(0, 10, size=count)


def fitting(optimizer, data, **settings):
    """Return a function that trains the lecture's network for an epoch.

    Args:
        optimizer: it.
        data: dict of the arguments of `fit` that say with what.
        settings: arguments of `compile`.
    """
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


def copy_of(n):
    """Return a function that copies n numbers within the memory of the device."""
    if gpu_name():
        source = tf.ones(n)
        return lambda: tf.raw_ops.DeepCopy(x=source)
    source, target = np.ones(n, "float32"), np.empty(n, "float32")
    return lambda: np.copyto(target, source)


def compare_size(rule, n):
    times, turns = min(1000, max(10, 10**6 // n)), 11 if n < 10**8 else 5
    copy = copy_of(n)
    seconds(copy, 1)  # fills the source
    copy_s = np.median([seconds(copy, times) for _ in range(11)])
    row = compare_update(rule, [(n // 100, 100)], times, turns)
    # An update reads g, and reads and writes w and each slot.
    moved = 4 * n * (3 + 2 * len(PAIRS[rule][0].slot_names))
    speed = {"gb_per_s": moved / row["ours_ms"] / 1e6, "copy_gb_per_s": 8 * n / copy_s / 1e9}
    return row | speed


def size():
    ratios = {rule: [] for rule in PAIRS}
    sizes = [10**exponent for exponent in range(8, 1, -1)]  # the large ones tell the most
    for n in sizes:
        for rule in PAIRS:
            row = alone(compare_size, rule, n)
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


def memory():
    shapes = [(500_000, 100)]  # 191 MiB
    for rule in PAIRS:
        peaks = [peak_alone(peak_of_update, rule, side, shapes) for side in (0, 1)]
        peaks = dict(zip(("peak_ours_mib", "peak_keras_mib"), peaks, strict=True))
        yield {"case": "5e7 parameters", "rule": rule, **peaks}


def peak_of_event(shape):
    """Return the peak of a logged step above one that is not, in MiB; the copy is part of it."""
    for inputs, units in [(1, 1), shape]:  # the first loads what an event needs
        layer = keras.layers.Dense(units, use_bias=False)
        model, optimizer = keras.Sequential([keras.Input((inputs,)), layer]), ours.Adam()
        optimizer.build([layer.kernel])
        step = applied(optimizer, tf.random.normal((inputs, units)), layer.kernel)
        watching = ours.EffectiveLearningRateMonitor(update_freq="batch")
        watching.watch(model, optimizer)
        peaks = [peak_of(step), peak_of(lambda: logged(watching, step))]  # noqa: B023
    return peaks[1] - peaks[0]


def applied(optimizer, gradient, variable):
    """Return an update as one function, compiled and called once."""
    step = tf.function(lambda: optimizer.apply([gradient], [variable]))
    step()
    return step


def logged(monitor, step):
    with monitor.step():
        step()


def step_of(model, optimizer, images, labels):
    """Return a training step, compiled and taken once."""
    images, labels = tf.constant(images), tf.constant(labels)
    optimizer.build(model.trainable_variables)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            losses = keras.losses.sparse_categorical_crossentropy(labels, model(images))
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)

    step()
    return step


def transformer():
    """A network of 35 variables and 23,818 weights: two blocks, 32 wide, for 100 tokens."""
    tokens = keras.Input((16,), dtype="int32")
    x = keras.layers.Embedding(200, 32)(tokens)
    for _ in range(2):
        attention = keras.layers.MultiHeadAttention(2, 16)(x, x)
        x = keras.layers.LayerNormalization()(x + attention)
        hidden = keras.layers.Dense(64, "relu")(x)
        x = keras.layers.LayerNormalization()(x + keras.layers.Dense(32)(hidden))
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(tokens, keras.layers.Dense(10, "softmax")(x))


def monitor():
    """A step that is logged, beside one that is not."""
    peak = peak_alone(peak_of_event, (100, 500_000))
    memory = {"peak_ours_mib": peak, "peak_copies": peak * 2**20 / (4 * 5e7)}
    yield {"case": "event, 5e7 parameters", "rule": "Adam", **memory}
    rng = np.random.default_rng(0)
    networks = {
        "transformer, batch 32": (transformer, (32, 16), "int32"),
        "MNIST network, batch 128": (mnist.mlp, (128, 28, 28), "uint8"),
        "ResNet-50, batch 16 of 64 x 64": (
            lambda: keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=10),
            (16, 64, 64, 3),
            "float32",
        ),
    }
    for name, (make, shape, dtype) in networks.items():
        model, optimizer = make(), ours.Adam()
        images = rng.integers(0, 200, size=shape).astype(dtype)
        step = step_of(model, optimizer, images, rng.integers(0, 10, size=shape[0]))
        for case, arguments in {"event": {}, "event, detail": {"detail": True}}.items():
            with tempfile.TemporaryDirectory() as folder:
                watching = ours.EffectiveLearningRateMonitor(folder, "batch", **arguments)
                first = seconds(
                    lambda: (watching.watch(model, optimizer), logged(watching, step)),  # noqa: B023
                    1,
                    time.process_time,
                )
                plain = seconds(step, 1, time.process_time)
                both = [lambda: logged(watching, step), step]  # noqa: B023
                measured = in_turns(both, 1, 15, time.process_time)
                watching.close()
            times = {"first_ours_s": first - plain, **compare(measured)}
            yield {"case": f"{case}, {name}", "rule": "Adam", **times}
        with tempfile.TemporaryDirectory() as folder:
            histograms = keras.callbacks.TensorBoard(folder, histogram_freq=1)
            histograms.set_model(model)
            histograms.on_train_begin()

            def with_histograms():
                step()  # noqa: B023
                histograms.on_epoch_end(0, {})  # noqa: B023

            times = compare(in_turns([with_histograms, step], 1, 5))
        yield {"case": f"TensorBoard's histograms, {name[:8]}", "rule": "Adam", **times}


def descent():
    steps, (w1, w2) = 2000, ours.landscapes.quadratic.start
    for rule, (make, _) in PAIRS.items():

        def eager(make=make):
            optimizer, w = make(), keras.Variable([w1, w2], dtype="float64")
            for _ in range(steps):
                with tf.GradientTape() as tape:
                    loss = ours.landscapes.quadratic(w[0], w[1])
                optimizer.apply(tape.gradient(loss, [w.value]), [w])

        def compiled(make=make):
            ours.landscapes.descend(ours.landscapes.quadratic, make(), steps=steps)

        result = compare(in_turns([compiled, eager], 1, 5))
        per_s = {"steps_per_s": 1000 * steps / result["ours_ms"]}
        yield {"case": f"{steps} steps", "rule": rule, **result, **per_s}


def main():
    parts = {
        "update": update,
        "settings": lambda: update(SETTINGS),
        "fit": fit,
        "epoch": epoch,
        "size": size,
        "memory": memory,
        "monitor": monitor,
        "descend": descent,
    }
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    # `choices` would refuse an empty list.
    known = ", ".join(parts)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{known}; default: all")
    names = parser.parse_args().parts
    for name in names:
        if name not in parts:
            parser.error(f"there is no part {name!r}, only {known}")
    made_on = {
        "machine": machine(),
        "gpu": gpu_name() or "none",
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
    print(*(f"{key}: {value}" for key, value in made_on.items()), sep="\n")
    path = pathlib.Path(__file__).with_name("results.csv")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *made_on])
        writer.writeheader()
        for name in names or parts:
            headed = None
            for row in parts[name]():
                row = {"part": name, **row}
                cells = {k: COLUMNS[k].format(row[k]) for k in COLUMNS if k in row}
                if headed != cells.keys():
                    headed = cells.keys()
                    print("\n" + " ".join(f"{k:>{width(k)}}" for k in headed))
                print(" ".join(f"{v:>{width(k)}}" for k, v in cells.items()), flush=True)
                writer.writerow(cells | made_on)
                file.flush()
    print(f"\nWritten to {path}")


def width(key):
    return max(len(key), {"case": 42, "rule": 15}.get(key, 0))


if __name__ == "__main__":
    _programs.run(main)
