"""How good are the learning rates that are found? Trains every rate that one could take instead.

    python docs/learning_rate.py

Each row of learning_rate.csv is one training at one rate of a grid of half decades: its mean loss
over the last 50 of 300 steps, and of 1,500 steps for the rates next to the best. All rates of one
network, optimizer and seed begin with the same weights and get the same batches. They are trained
by a loop of its own, which shares no line with the finder.
"""

import argparse
import concurrent.futures
import csv
import itertools
import multiprocessing
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # of each process
import keras_lecture_opt  # noqa: F401 first: it keeps TensorFlow's start-up lines off the terminal

# isort: split
import keras
import numpy as np
import tensorflow as tf
import verdict_networks

from keras_lecture_opt import mnist
from keras_lecture_opt._resolve import optimizer_class
from keras_lecture_opt.rules import RULES

HERE = pathlib.Path(__file__).parent
TRUTH = HERE / "learning_rate.csv"
CURVES = HERE.parent / "tb_logs" / "learning_rate"  # the loss of every step, for pictures
NETWORKS = ("lecture", "cnn", "transformer", "regression", "LSTM")
NETWORKS += ("cnn with BatchNormalization", "autoencoder", "SimpleRNN")
OPTIMIZERS = [*(rule.__name__ for rule in RULES), "keras.Adadelta", "keras.Lion", "keras.AdamW"]
SEEDS = 0, 1
BATCH, SHORT, LONG, LAST = 128, 300, 1500, 50
FIELDS = ("network", "optimizer", "seed", "rate", "first", "short", "long")


def rate(k):
    """Return the k-th rate of the grid of half decades."""
    return float(f"{10 ** (k / 2):.2g}")


def compiled(network, optimizer, seed):
    """Return a compiled model and its data."""
    keras.utils.set_random_seed(seed)
    if network == "lecture":
        (x, y), _ = mnist.load()
        model = mnist.mlp(dropout=0.5)
        loss = "sparse_categorical_crossentropy"
    else:
        plan = verdict_networks.Plan()
        _, x, y, right = verdict_networks.data_for(network, plan)
        is_classes = verdict_networks.NETWORKS[network].task == "classes"
        units = int(right.max()) + 1 if is_classes else right.shape[-1]
        model = verdict_networks.build(network, plan, x.shape[1:], units)
        loss = verdict_networks.loss_for(network, plan)
    model.compile(optimizer_class(optimizer)(), loss, jit_compile=False)
    return model, x, y


def truth(network, optimizer, seed):
    """Train with each rate; return the rows."""
    keras.backend.clear_session()
    model, x, y = compiled(network, optimizer, seed)
    random = np.random.default_rng(seed)
    epochs = -(-LONG * BATCH // (len(x) // BATCH * BATCH))
    order = [random.permutation(len(x))[: len(x) // BATCH * BATCH] for _ in range(epochs)]
    order = tf.constant(np.concatenate(order)[: LONG * BATCH].reshape(LONG, BATCH))
    x, y = tf.constant(x), tf.constant(y)
    rule = model.optimizer
    rule.build(model.trainable_variables)

    @tf.function
    def losses_of(steps, update):
        losses = tf.TensorArray("float32", len(steps))
        for i in tf.range(len(steps)):
            batch = tf.gather(x, steps[i]), tf.gather(y, steps[i])
            with tf.GradientTape() as tape:
                loss = model.compute_loss(*batch, model(batch[0], training=True))
            if update:
                gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
                rule.apply(gradients, model.trainable_variables)
            losses = losses.write(i, loss)
        return losses.stack()

    no, yes = tf.constant(False), tf.constant(True)
    begin = [(v, v.numpy()) for v in [*model.variables, *rule.variables]]
    first = float(np.mean(losses_of(order[:LAST], no)))
    curves, states = {}, {}

    def train(k, steps):
        """Go on with one rate up to a number of steps; return the mean of the last losses."""
        for variable, value in states.get(k, begin):
            variable.assign(value)
        rule.learning_rate = rate(k)
        curve = curves.setdefault(k, np.zeros(0))
        while len(curve) < steps and (not len(curve) or np.all(np.abs(curve) < 100 * first)):
            curve = np.append(curve, losses_of(order[len(curve) :][:LAST], yes))
        curves[k] = curve
        if len(curve) < steps:
            return np.inf
        if steps < LONG:
            states[k] = [(v, v.numpy()) for v, _ in begin]
        return float(curve[steps - LAST : steps].mean())

    # Downwards, until one learns and four lower ones are worse.
    short, k, top = {}, 2, 2
    while k > min(short, key=short.get, default=k) - 4 or min(short.values()) > 0.8 * first:
        short[k] = train(k, SHORT)
        k -= 1
    while min(short, key=short.get) == top:
        top += 1
        short[top] = train(top, SHORT)
    best = min(short, key=short.get)
    long = {k: train(k, LONG) for k in (best - 1, best, best + 1) if short[k] < np.inf}
    while (k := min(long, key=long.get)) == min(long) and k - 1 in short:
        long[k - 1] = train(k - 1, LONG)
    CURVES.mkdir(parents=True, exist_ok=True)
    named = {f"{rate(k):g}": curve for k, curve in sorted(curves.items())}
    np.savez(CURVES / f"{network},{optimizer},{seed}.npz", first=first, **named)
    return [
        {
            "network": network,
            "optimizer": optimizer,
            "seed": seed,
            "rate": rate(k),
            "first": f"{first:.5g}",
            "short": f"{short[k]:.5g}",
            "long": f"{long[k]:.5g}" if k in long else "",
        }
        for k in sorted(short)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    done = set()
    if TRUTH.exists():
        with TRUTH.open(newline="") as file:
            done = {(r["network"], r["optimizer"], int(r["seed"])) for r in csv.DictReader(file)}
    cases = [c[::-1] for c in itertools.product(SEEDS, OPTIMIZERS, NETWORKS)]
    cases = sorted((c for c in cases if c not in done), key=lambda c: NETWORKS.index(c[0]) > 4)
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(args.processes, spawn) as pool:
        for result in concurrent.futures.as_completed([pool.submit(truth, *c) for c in cases]):
            rows = result.result()
            is_new = not TRUTH.exists()
            with TRUTH.open("a", newline="") as file:
                writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
                if is_new:
                    writer.writeheader()
                writer.writerows(rows)
            print(*rows[0].values(), flush=True)


if __name__ == "__main__":
    main()
