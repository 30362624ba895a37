"""What an update costs, beside Keras's nearest built-in: `make bench`, or with the parts named.

    python benchmarks/bench.py [update] [fit] [size] [memory]

Both sides run in turns in one process; a ratio is the median over the turns of ours divided by
the built-in's, with its quartiles. Prints tables and writes `benchmarks/results.csv`.
"""

import csv
import gc
import multiprocessing
import os
import pathlib
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import keras_lecture_opt as ours
from keras_lecture_opt import mnist

builtin = keras.optimizers
PAIRS = {  # rule: (ours, Keras's nearest)
    "SteepestDescent": (ours.SteepestDescent, builtin.SGD),
    "Momentum": (ours.Momentum, lambda: builtin.SGD(momentum=0.9)),
    "Nesterov": (ours.Nesterov, lambda: builtin.SGD(momentum=0.9, nesterov=True)),
    "AdaGrad": (ours.AdaGrad, builtin.Adagrad),
    "RMSProp": (ours.RMSProp, builtin.RMSprop),
    "SimplifiedAdam": (ours.SimplifiedAdam, builtin.Adam),
    "Adam": (ours.Adam, builtin.Adam),
}
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
    "gb_per_s": "{:.1f}",
    "copy_gb_per_s": "{:.1f}",
}


def seconds(function, times):
    start = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - start) / times


def in_turns(functions, times, turns):
    """Returns each function's seconds per call, one row per turn; who begins alternates."""
    measured = np.zeros((turns, len(functions)))
    for turn in range(turns):
        order = range(len(functions)) if turn % 2 else reversed(range(len(functions)))
        for i in order:
            measured[turn, i] = seconds(functions[i], times)
    return measured


def compared(measured):
    quartiles = np.percentile(measured[:, 0] / measured[:, 1], [25, 50, 75])
    ms = 1000 * np.median(measured, axis=0)
    keys = ("quartile_1", "ratio", "quartile_3")
    return {"ours_ms": ms[0], "keras_ms": ms[1], **dict(zip(keys, quartiles, strict=True))}


def update_of(optimizer, shapes):
    """A step of the optimizer alone, for variables of these shapes."""
    variables = [keras.Variable(tf.random.normal(shape)) for shape in shapes]
    gradients = [tf.random.normal(shape) for shape in shapes]
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step():
        optimizer.apply(gradients, variables)

    return step


def peak_mib(rule, side, shapes):
    """How far the first updates raise the memory above weights, gradients and state.

    For a process of its own: TensorFlow keeps what a step has allocated for the steps to come.
    """
    update_of(PAIRS[rule][side](), [(1,)])()  # loads the compiler
    step = update_of(PAIRS[rule][side](), shapes)
    before = memory_mib("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # starts the peak, VmHWM, anew
    step(), step()
    return memory_mib("VmHWM") - before


def memory_mib(key):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def compare_updates(case, shapes, times, turns, first_calls=1):
    size = sum(int(np.prod(shape)) for shape in shapes)
    for rule, pair in PAIRS.items():
        first = []
        for _ in range(first_calls):
            optimizers = [make() for make in pair]
            steps = [update_of(o, shapes) for o in optimizers]
            first.append([seconds(step, 1) for step in steps])  # traces and compiles
        first = np.median(first, axis=0)
        seconds(steps[0], 3), seconds(steps[1], 3)
        result = compared(in_turns(steps, times, turns))
        state = sum(int(np.prod(v.shape)) for v in optimizers[0].variables if v.dtype == "float32")
        yield {
            "case": case,
            "rule": rule,
            **result,
            "first_ours_s": first[0],
            "first_keras_s": first[1],
            "first_ratio": first[0] / first[1],
            "state": (state - 1) / size,  # without the learning rate, a number of its own
        }
        del steps
        gc.collect()


def update():
    network = [v.shape for v in mnist.mlp().trainable_variables]
    yield from compare_updates("MNIST network", network, times=10, turns=30, first_calls=3)
    resnet = [v.shape for v in keras.applications.ResNet50(weights=None).trainable_variables]
    yield from compare_updates("ResNet-50", resnet, times=2, turns=15, first_calls=3)


def fit():
    rng = np.random.default_rng(0)
    for batch in (32, 64, 128):
        x = rng.integers(0, 256, size=(40 * batch, 28, 28, 1), dtype="uint8")
        y = rng.integers(0, 10, size=40 * batch)
        for rule, pair in PAIRS.items():
            runs = []
            for make in pair:
                model = mnist.mlp()
                model.compile(make(), "sparse_categorical_crossentropy")
                runs.append(lambda m=model: m.fit(x, y, batch_size=batch, verbose=0))  # noqa: B023
            in_turns(runs, 1, 1)
            result = compared(in_turns(runs, 1, 21) / 40)
            yield {"case": f"batch {batch}", "rule": rule, **result}


def size():
    for exponent in range(4, 9):
        n = 10**exponent
        times, turns = max(1, 10 ** (6 - exponent)), 11 if exponent < 8 else 5
        source, target = np.ones(n, "float32"), np.empty(n, "float32")
        copy = np.median([seconds(lambda: np.copyto(target, source), times) for _ in range(11)])  # noqa: B023
        for row in compare_updates(f"1e{exponent} parameters", [(n // 100, 100)], times, turns):
            # An update reads g, and reads and writes w and each slot.
            moved = 4 * n * (3 + 2 * len(PAIRS[row["rule"]][0].slot_names))
            speed = {"gb_per_s": moved / row["ours_ms"] / 1e6, "copy_gb_per_s": 8 * n / copy / 1e9}
            yield {**row, **speed}


def memory():
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as processes:
        for rule in PAIRS:
            shapes = [(500_000, 100)]  # 191 MiB
            peaks = [processes.submit(peak_mib, rule, side, shapes).result() for side in (0, 1)]
            peaks = dict(zip(("peak_ours_mib", "peak_keras_mib"), peaks, strict=True))
            yield {"case": "5e7 parameters", "rule": rule, **peaks}


def main(names):
    parts = {"update": update, "fit": fit, "size": size, "memory": memory}
    machine = {
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
    print(*(f"{key}: {value}" for key, value in machine.items()), sep="\n")
    path = pathlib.Path(__file__).with_name("results.csv")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *machine])
        writer.writeheader()
        for name in names or parts:
            for i, row in enumerate(parts[name]()):
                row = {"part": name, **row}
                cells = {k: COLUMNS[k].format(row[k]) for k in COLUMNS if k in row}
                if i == 0:
                    print("\n" + " ".join(f"{k:>{width(k)}}" for k in cells))
                print(" ".join(f"{v:>{width(k)}}" for k, v in cells.items()), flush=True)
                writer.writerow(cells | machine)
                file.flush()
    print(f"\nWritten to {path}")


def width(key):
    return max(len(key), 15 if key in ("case", "rule") else 0)


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")


if __name__ == "__main__":
    main(sys.argv[1:])
