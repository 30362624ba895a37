"""How good are the learning rates that `find_learning_rate` finds?

    python docs/learning_rate.py

trains each network with each optimizer at every rate of a grid of half decades: learning_rate.csv
has the mean loss over the last 50 of 300 steps, and of 1,500 steps for the rates next to the best.
All rates of one network, optimizer and seed begin with the same weights and get the same batches,
in a loop that shares no line with the finder. learning_rate_found.csv has the rates that were
found: by `find_learning_rate`, and by a range test of 100 steps from 1e-7 to 10, in two ways.
learning_rate_compared.csv has what `comparison.compare` reaches with ten rates for all, and with
five around those that are found. learning_rate.png and the tables of learning_rate.md follow. It
takes some 2 hours on two cores; the same command continues.
"""

import argparse
import concurrent.futures
import functools
import itertools
import math
import multiprocessing
import os
import pathlib
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # of each process
import keras_lecture_opt as klo  # first: it keeps TensorFlow's start-up lines off the terminal

# isort: split
import keras
import numpy as np
import tensorflow as tf
import verdict_networks
from _pages import append_rows, rows_of, with_tables, write_rows
from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

from keras_lecture_opt import comparison, mnist
from keras_lecture_opt._resolve import optimizer_class
from keras_lecture_opt.comparison._tables import markdown_table
from keras_lecture_opt.plots._style import PALETTE, legend, style
from keras_lecture_opt.rules import RULES

HERE = pathlib.Path(__file__).parent
PAGE, GRID = HERE / "learning_rate.md", HERE / "learning_rate.csv"
FOUND, COMPARED = HERE / "learning_rate_found.csv", HERE / "learning_rate_compared.csv"
SEARCHED = HERE / "comparison" / "results.csv"
CURVES = HERE.parent / "tb_logs" / "learning_rate"  # the loss of every step
NETWORKS = ("lecture", "cnn", "transformer", "regression", "LSTM")
OPTIMIZERS = [*(rule.__name__ for rule in RULES), "keras.Adadelta", "keras.Lion", "keras.AdamW"]
SEEDS = 0, 1
BATCH, SHORT, LONG, LAST = 128, 300, 1500, 50
LOW, HIGH, TESTED = 1e-7, 10.0, 100  # of the range test: rates and steps
GRID_FIELDS = ("network", "optimizer", "seed", "rate", "first", "short", "long")
FOUND_FIELDS = ("network", "optimizer", "seed", "way", "rate", "low", "high", "diverges", "steps")
FOUND_FIELDS += ("seconds", "is_sure", "short", "long", "decayed")
NEAR = 0.05
WAYS = {"found": "`find_learning_rate`", "steepest": "steepest point", "valley": "valley"}


def rate_at(k):
    """Return the k-th rate of the grid of half decades."""
    return float(f"{10 ** (k / 2):.2g}")


def parts_of(network):
    """Return a function that makes a network, its loss, and its data."""
    if network == "lecture":
        (x, y), _ = mnist.load()
        build = functools.partial(mnist.mlp, dropout=0.5)
        return build, "sparse_categorical_crossentropy", x, y
    plan = verdict_networks.Plan()
    _, x, y, right = verdict_networks.data_for(network, plan)
    is_classes = verdict_networks.NETWORKS[network].task == "classes"
    units = int(right.max()) + 1 if is_classes else right.shape[-1]
    build = functools.partial(verdict_networks.build, network, plan, x.shape[1:], units)
    return build, verdict_networks.loss_for(network, plan), x, y


def compiled(network, optimizer, seed):
    """Return a compiled model and its data."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    build, loss, x, y = parts_of(network)
    model = build()
    model.compile(optimizer_class(optimizer)(), loss, jit_compile=False)
    return model, x, y


class Trainings:
    """Trainings of one network with one optimizer from one start, on the same batches."""

    def __init__(self, network, optimizer, seed):
        model, x, y = compiled(network, optimizer, seed)
        random = np.random.default_rng(seed)
        epochs = -(-LONG * BATCH // (len(x) // BATCH * BATCH))
        order = [random.permutation(len(x))[: len(x) // BATCH * BATCH] for _ in range(epochs)]
        order = np.concatenate(order)[: LONG * BATCH].reshape(LONG, BATCH)
        self._order, x, y = tf.constant(order), tf.constant(x), tf.constant(y)
        self._rule = rule = model.optimizer
        rule.build(model.trainable_variables)
        self._start = [(v, v.numpy()) for v in [*model.variables, *rule.variables]]

        @tf.function
        def losses_of(steps, rates):
            """Return the losses of some steps; at a rate of 0 nothing is updated."""
            losses = tf.TensorArray("float32", len(steps))
            for i in tf.range(len(steps)):
                batch = tf.gather(x, steps[i]), tf.gather(y, steps[i])
                with tf.GradientTape() as tape:
                    loss = model.compute_loss(*batch, model(batch[0], training=True))
                if rates[i] > 0:
                    rule.learning_rate.assign(rates[i])
                    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
                    rule.apply(gradients, model.trainable_variables)
                losses = losses.write(i, loss)
            return losses.stack()

        self._losses_of, self.curves, self._states = losses_of, {}, {}
        untrained = losses_of(self._order[:LAST], tf.zeros(LAST))
        self.first = float(np.mean(untrained))

    def train(self, k, steps, rates=None):
        """Go on up to so many steps, or until the loss is 100 times the first.

        Args:
            k: index of the rate, or a name of a training with several rates.
            steps: the number.
            rates: array of the rate of each step. Defaults to the k-th rate of the grid.

        Returns:
            The mean of the last losses, infinity if it ended before.
        """
        for variable, value in self._states.pop(k, self._start):
            variable.assign(value)
        curve = self.curves.setdefault(k, np.zeros(0))
        rates = np.full(steps, rate_at(k)) if rates is None else rates
        while len(curve) < steps and (not len(curve) or np.all(np.abs(curve) < 100 * self.first)):
            some = slice(len(curve), len(curve) + LAST)
            new = self._losses_of(self._order[some], tf.constant(rates[some], "float32"))
            curve = np.append(curve, new)
        self.curves[k] = curve
        self._states[k] = [(v, v.numpy()) for v, _ in self._start]
        return float(curve[steps - LAST : steps].mean()) if len(curve) >= steps else math.inf


def measure_grid(network, optimizer, seed):
    """Train with each rate; return the rows of the grid."""
    trainings = Trainings(network, optimizer, seed)
    # Downwards, until one learns and four lower ones are worse.
    short, k, top = {}, 2, 2
    while k > min(short, key=short.get, default=k) - 4 or not learned(short, trainings.first):
        short[k] = trainings.train(k, SHORT)
        k -= 1
    while min(short, key=short.get) == top:
        top += 1
        short[top] = trainings.train(top, SHORT)
    best = min(short, key=short.get)
    near = [k for k in (best - 1, best, best + 1) if short[k] < math.inf]
    long = {k: trainings.train(k, LONG) for k in near}
    while (k := min(long, key=long.get)) == min(long) and k - 1 in short:
        long[k - 1] = trainings.train(k - 1, LONG)
    CURVES.mkdir(parents=True, exist_ok=True)
    named = {f"{rate_at(k):g}": curve for k, curve in sorted(trainings.curves.items())}
    np.savez(CURVES / f"{network},{optimizer},{seed}.npz", first=trainings.first, **named)
    case = network, optimizer, seed
    return [
        dict(
            zip(GRID_FIELDS, (*case, rate_at(k), *written(trainings, short, long, k)), strict=True)
        )
        for k in sorted(short)
    ]


def learned(short, first):
    return min(short.values(), default=first) <= 0.8 * first


def written(trainings, short, long, k):
    """Return the numbers of a row of the grid."""
    numbers = trainings.first, short[k], long.get(k)
    return ["" if number is None else f"{number:.5g}" for number in numbers]


def measure_found(network, optimizer, seed):
    """Return the rows of the rates that are found; a rate beyond the grid is trained, too."""
    model, x, y = compiled(network, optimizer, seed)
    begun = time.perf_counter()
    with warnings.catch_warnings(action="ignore"):  # where it is not sure
        found = klo.find_learning_rate(model, x, y, BATCH, verbose=0)
    seconds = time.perf_counter() - begun
    trainings = Trainings(network, optimizer, seed)
    decayed = ""
    if seed == SEEDS[0]:
        shares = np.arange(LONG) / LONG
        rates = found.rate * (1 + np.cos(np.pi * shares)) / 2
        decayed = f"{trainings.train('decayed', LONG, np.maximum(rates, 1e-12)):.5g}"
    rates = LOW * (HIGH / LOW) ** (np.arange(TESTED) / (TESTED - 1))
    trainings.train("range test", TESTED, rates)
    losses = trainings.curves["range test"]
    case = {"network": network, "optimizer": optimizer, "seed": seed}
    row = {**case, "way": "found", "rate": found.rate, "low": found.low, "high": found.high}
    row |= {"diverges": found.diverges or "", "steps": found.steps, "seconds": f"{seconds:.1f}"}
    row |= {"is_sure": found.is_sure, "decayed": decayed}
    known = {r["rate"]: r for r in rows_of(GRID) if all(r[k] == str(v) for k, v in case.items())}
    known, k = known.get(str(found.rate), {}), round(2 * math.log10(found.rate))
    for name, steps in (("short", SHORT), ("long", LONG)):
        row[name] = known.get(name) or f"{trainings.train(k, steps):.5g}"
    tested = smoothed(rates[: len(losses)], losses[:TESTED])
    return [row] + [
        {**case, "way": way, "rate": f"{point(*tested):.2g}", "steps": TESTED}
        for way, point in (("steepest", steepest), ("valley", valley))
    ]


# A range test, as finders of other libraries make it.


def smoothed(rates, losses):
    """Return rates and a moving average of the losses, up to four times the lowest one."""
    average, result = 0.0, []
    for i, loss in enumerate(losses):
        average = 0.98 * average + 0.02 * loss
        result.append(average / (1 - 0.98 ** (i + 1)))
        if i > 10 and not result[-1] <= 4 * min(result):
            break
    return rates[: len(result)], np.nan_to_num(result, nan=np.inf)


def steepest(rates, losses):
    """Return the rate at which the loss falls fastest over the logarithm of the rate."""
    return rates[np.argmin(np.gradient(losses))]


def valley(rates, losses):
    """Return the middle of the longest fall: of the longest sequence of ever lower losses.

    This is what fastai proposes by default: its middle third, and there the middle.
    """
    longest, begin = np.ones(len(losses), int), np.arange(len(losses))
    for i in range(1, len(losses)):
        for j in range(i):
            if losses[j] > losses[i] and longest[j] + 1 > longest[i]:
                longest[i], begin[i] = longest[j] + 1, begin[j]
    last = int(np.argmax(longest))
    return rates[begin[last] + (last - begin[last]) // 2]


def measure(path, fields, function, processes):
    """Append the rows of all cases that a file does not have."""
    done = {(r["network"], r["optimizer"], int(r["seed"])) for r in rows_of(path)}
    cases = [case[::-1] for case in itertools.product(SEEDS, OPTIMIZERS, NETWORKS)]
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, spawn) as pool:
        jobs = [pool.submit(function, *case) for case in cases if case not in done]
        for job in concurrent.futures.as_completed(jobs):
            append_rows(path, fields, job.result())
            print(*job.result()[0].values(), flush=True)


def measure_compared():
    """Compare all optimizers on one network, with a grid for all and with rates that are found."""
    if COMPARED.exists():
        return
    rows = []
    network = "regression"
    for tried in ("ten for all", "five each"):
        build, loss, x, y = parts_of(network)
        workload = comparison.Workload(build, (x, y), loss, batch_size=BATCH)
        rates = comparison.log_grid(1e-4, 3.2) if tried == "ten for all" else None
        study = comparison.compare(
            workload,
            {name: optimizer_class(name) for name in OPTIMIZERS},
            rates,
            rungs=[(2, 10 if rates else 5), (20, 1)],
            folder=CURVES / f"compared, {network}, {tried}",
            seeds=2,
        )
        for entry in study.ranking():
            name = entry["optimizer"]
            trained = [rows for (of, *_), rows in study.results.items() if of == name]
            steps = sum(row["steps"] for run in trained for row in run[-1:])
            steps += study.proposals.get(name, {"steps": 0})["steps"]
            rows.append({"network": network, "optimizer": name, "tried": tried, "steps": steps})
            rows[-1] |= {"rate": entry["learning_rate"], "loss": f"{entry['mean']:.5g}"}
    write_rows(COMPARED, rows)


# What follows.


def excesses(grid, found):
    """Return for each row of found rates the excess at 300 and at 1,500 steps, NaN if unknown.

    An excess is the loss at the rate above the best of the grid, over the fall to that best one. A
    range test's rate is rounded to the grid; one below all that was trained counts as the lowest.
    """
    cases = {}
    for row in grid:
        cases.setdefault((row["network"], row["optimizer"], row["seed"]), []).append(row)
    result = []
    for row in found:
        of_case = cases[row["network"], row["optimizer"], row["seed"]]
        distances = [abs(math.log(float(r["rate"]) / float(row["rate"]))) for r in of_case]
        measured = row if row["way"] == "found" else of_case[int(np.argmin(distances))]
        both = []
        for name in ("short", "long"):
            best = min(float(r[name] or "inf") for r in of_case)
            fall = float(of_case[0]["first"]) - best
            both.append((float(measured[name] or "nan") - best) / fall)
        result.append(both)
    return np.array(result)


def tables(grid, found):
    """Return the tables of the page by their names."""
    values = excesses(grid, found)
    worst = np.nanmax(values, axis=1)

    def of(**fields):
        chosen = [i for i, r in enumerate(found) if all(r[k] == v for k, v in fields.items())]
        return np.array(chosen)

    summary = [
        [
            name,
            share(values[rows, 0] <= NEAR),
            f"{share(values[long, 1] <= NEAR)} of {len(long)}",
            share(worst[rows] <= NEAR),
            f"{np.median(worst[rows]):.1%}",
            f"{np.quantile(worst[rows], 0.95):.0%}",
            int(np.sum(worst[rows] >= 1)),
        ]
        for way, name in WAYS.items()
        for rows in [of(way=way)]
        for long in [[i for i in rows if not math.isnan(values[i, 1])]]
    ]
    networks = [
        [
            network,
            *(share(worst[of(way=way, network=network)] <= NEAR) for way in WAYS),
            round(
                np.median([float(found[i]["seconds"]) for i in of(network=network, way="found")])
            ),
        ]
        for network in NETWORKS
    ]
    begun = [i for i, row in enumerate(found) if row["decayed"]]
    decayed = excesses(grid, [{**found[i], "long": found[i]["decayed"]} for i in begun])
    decay = [
        [name, share(v <= NEAR), share(v < 0), f"{np.median(v):.1%}", f"{np.max(v):.0%}"]
        for name, v in (("constant", values[begun, 1]), ("decaying to 0", decayed[:, 1]))
    ]
    far = [
        [
            *(found[i][key] for key in ("network", "optimizer", "seed", "rate")),
            *best_rates(grid, found[i]),
        ]
        + [f"{value:.0%}" for value in values[i]]
        for i in of(way="found")
        if worst[i] > NEAR
    ]
    best = ("best at 300", "at 1,500", "excess at 300", "at 1,500")
    near = ("within 5% at 300 steps", "at 1,500", "wherever trained")
    heads = {
        "summary": ["", *near, "median", "95% are below", "nothing learned"],
        "networks": ["within 5% wherever trained", *WAYS.values(), "s"],
        "decay": ["from the rate found", "within 5%", "below the best constant", "median", "worst"],
        "far": ["network", "optimizer", "seed", "found", *best],
    }
    rows = {"summary": summary, "networks": networks, "decay": decay, "far": far}
    return {name: markdown_table(head, rows[name]) for name, head in heads.items()}


def share(truths):
    return f"{np.mean(truths):.0%}"


def best_rates(grid, row):
    """Return the best rates of the grid at 300 and at 1,500 steps."""
    for name in ("short", "long"):
        mine = [r for r in grid if is_of(r, row) and r[name]]
        yield min(mine, key=lambda r, name=name: float(r[name]))["rate"]


def is_of(row, other):
    return all(row[key] == other[key] for key in ("network", "optimizer", "seed"))


def compared_table(compared):
    """Return the table of what ten rates for all reach, and five around what was found."""
    lines = []
    for network in dict.fromkeys(row["network"] for row in compared):
        for name in OPTIMIZERS:
            pair = [r for r in compared if (r["network"], r["optimizer"]) == (network, name)]
            ten, five = sorted(pair, key=lambda row: row["tried"], reverse=True)
            lines.append([network, name, ten["rate"], ten["loss"], five["rate"], five["loss"]])
            lines[-1].append(f"{float(five['loss']) / float(ten['loss']):.2g}")
            lines[-1].append(f"{int(five['steps']) / int(ten['steps']):.0%}")
    head = ["network", "optimizer", "of ten", "loss", "of five", "loss", "ratio", "steps"]
    return markdown_table(head, lines)


def searched_table(found):
    """Return the table of the rates of the lecture's network beside those of its long search."""
    chosen = {
        r["optimizer"]: r["learning_rate"] for r in rows_of(SEARCHED) if r["chosen"] == "True"
    }
    rates = {}
    for row in found:
        if (row["network"], row["way"]) == ("lecture", "found"):
            rates.setdefault(row["optimizer"], []).append(row["rate"])
    lines = [[name, ", ".join(rates[name]), rate] for name, rate in chosen.items()]
    return markdown_table(["optimizer", "found with two seeds", "search up to epoch 20"], lines)


def page(grid, found, compared, text):
    """Return the text of learning_rate.md with these results."""
    made = {**tables(grid, found), "compared": compared_table(compared)}
    made["searched"] = searched_table(found)
    return with_tables(text, made)


def draw(grid, found):
    """Draw which share of the pairs has at most which excess."""
    values = np.nanmax(excesses(grid, found), axis=1)
    with style():
        figure, ax = plt.subplots(figsize=(9, 5))
        for (way, name), color in zip(WAYS.items(), PALETTE[-3:], strict=True):
            mine = [v for v, row in zip(values, found, strict=True) if row["way"] == way]
            shares = np.arange(1, len(mine) + 1) / len(mine)
            ax.step(
                np.maximum(np.sort(mine), 1e-4),
                shares,
                where="post",
                label=name.strip("`"),
                color=color,
            )
        ax.axvline(NEAR, color="#7F7F7F", linestyle=":")
        ax.set(xscale="log", xlim=(1e-4, 2), ylim=(0, 1.02))
        ax.set(xlabel="excess of the loss, of its fall", ylabel="share of the trainings")
        ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        legend(ax, beside=False)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    measure(GRID, GRID_FIELDS, measure_grid, args.processes)
    measure(FOUND, FOUND_FIELDS, measure_found, args.processes)
    measure_compared()
    grid, found = rows_of(GRID), rows_of(FOUND)
    PAGE.write_text(page(grid, found, rows_of(COMPARED), PAGE.read_text()))
    draw(grid, found).savefig(HERE / "learning_rate.png", dpi=80)


if __name__ == "__main__":
    main()
