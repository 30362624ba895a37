"""A training step of the lecture's network with Adam: ours, Keras's, in JAX and in PyTorch.

    python benchmarks/frameworks.py

needs the extra `frameworks`. It prints medians and quartiles of a whole step, and of its forward
and backward pass alone: what is left is the update. The frameworks take turns, each in a process of
its own, because Triton, which PyTorch brings, cannot be loaded beside TensorFlow.
"""

import argparse
import functools
import itertools
import multiprocessing
import os
import timeit
from concurrent.futures import ProcessPoolExecutor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

BATCH, SIZES = 128, (784, 1000, 1000, 10)
CALLS, TURNS = 20, 21


def data():
    rng = np.random.default_rng(0)
    return rng.random((BATCH, SIZES[0]), "float32"), rng.integers(0, 10, BATCH)


def in_tensorflow(name, jit_compile=False):
    import keras_lecture_opt  # first: it keeps TensorFlow's start-up lines off the terminal

    # isort: split
    import keras
    import tensorflow as tf

    x, y = map(tf.constant, data())
    layers = [keras.layers.Dense(n, "relu") for n in SIZES[1:-1]]
    model = keras.Sequential([keras.Input(SIZES[:1]), *layers, keras.layers.Dense(SIZES[-1])])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    adam = {"ours": keras_lecture_opt.Adam, "Keras": keras.optimizers.Adam}[name]()
    adam.build(model.trainable_variables)

    def passes():
        with tf.GradientTape() as tape:
            value = loss(y, model(x))
        return tape.gradient(value, model.trainable_variables)

    def step():
        adam.apply(passes(), model.trainable_variables)

    compiled = functools.partial(tf.function, autograph=False, jit_compile=jit_compile)
    return compiled(passes), compiled(step)


def in_jax():
    import jax
    import optax

    adam, rng = optax.adam(1e-3), np.random.default_rng(0)
    weights = [
        (rng.normal(0, n**-0.5, (n, m)).astype("float32"), np.zeros(m, "float32"))
        for n, m in itertools.pairwise(SIZES)
    ]
    state, batch = jax.device_put(((weights, adam.init(weights)), data()))

    def loss(weights, x, y):
        *hidden, (kernel, bias) = weights
        h = x
        for w, b in hidden:
            h = jax.nn.relu(h @ w + b)
        return optax.softmax_cross_entropy_with_integer_labels(h @ kernel + bias, y).mean()

    gradient = jax.jit(jax.grad(loss))

    @functools.partial(jax.jit, donate_argnums=0)
    def after_step(state, batch):
        weights, moments = state
        updates, moments = adam.update(jax.grad(loss)(weights, *batch), moments)
        return optax.apply_updates(weights, updates), moments

    def step():
        nonlocal state
        state = jax.block_until_ready(after_step(state, batch))

    return lambda: jax.block_until_ready(gradient(state[0], *batch)), step


def in_torch():
    import torch
    from torch import nn

    x, y = map(torch.from_numpy, data())
    layers = [(nn.Linear(n, m), nn.ReLU()) for n, m in itertools.pairwise(SIZES)]
    model = nn.Sequential(*itertools.chain(*layers))[:-1]
    loss, adam = nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters(), fused=True)

    def passes():
        adam.zero_grad()
        loss(model(x), y).backward()

    def step():
        passes()
        adam.step()

    return passes, step


SIDES = {
    "ours": functools.partial(in_tensorflow, "ours"),
    "ours, XLA for the whole step": functools.partial(in_tensorflow, "ours", jit_compile=True),
    "Keras": functools.partial(in_tensorflow, "Keras"),
    "JAX with Optax": in_jax,
    "PyTorch, fused": in_torch,
}


@functools.cache
def functions_of(side):
    """Return the passes and the step of a side, made once in its process."""
    return SIDES[side]()


def milliseconds(side):
    """Return what the passes, and a step, take."""
    return [1000 * timeit.timeit(f, number=CALLS) / CALLS for f in functions_of(side)]


def main():
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    spawn = multiprocessing.get_context("spawn")
    processes = {side: ProcessPoolExecutor(1, spawn) for side in SIDES}
    measured = {side: [] for side in SIDES}
    for turn in range(TURNS + 1):
        for side in SIDES:
            found = processes[side].submit(milliseconds, side).result()
            if turn:  # the first one compiles
                measured[side].append(found)
    print(f"{'ms':30} {'forward and backward':>24} {'step':>24}")
    for side, found in measured.items():
        quartiles = np.percentile(found, [25, 50, 75], axis=0).T
        cells = [f"{middle:.2f} ({low:.2f} to {high:.2f})" for low, middle, high in quartiles]
        print(f"{side:30} {cells[0]:>24} {cells[1]:>24}")


if __name__ == "__main__":
    main()
