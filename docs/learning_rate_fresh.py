"""How near are the rates of `find_learning_rate` on networks that were not used to tune it?

    python docs/learning_rate_fresh.py gru tokens table images

prints for each network and optimizer the rate that is found, the best of seven around it, and the
excess after 300 steps: the loss above that of the best, in parts of the fall from the first loss.
It takes some 20 minutes on two CPU cores.
"""

import argparse
import os
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras_lecture_opt as klo

# isort: split
import keras
import numpy as np
from keras import layers

BATCH, STEPS, LAST, EXAMPLES = 64, 300, 50, 4096
OPTIMIZERS = {
    "keras.Adam": keras.optimizers.Adam,
    "Momentum": klo.Momentum,
    "Lion": keras.optimizers.Lion,
    "AdaGrad": klo.AdaGrad,
    "RMSProp": klo.RMSProp,
}


def gru(rng):
    """Does a random walk of 20 steps ever rise above 2?"""
    x = rng.normal(size=(EXAMPLES, 20, 4)).astype("float32")
    y = (np.cumsum(x[:, :, 0], axis=1).max(axis=1) > 2).astype("int32")

    def build():
        return keras.Sequential([keras.Input((20, 4)), layers.GRU(32), layers.Dense(2, "softmax")])

    return x, y, build, "sparse_categorical_crossentropy"


def tokens(rng):
    """A transformer: the first token says which of 16 tokens is the answer."""
    x = rng.integers(0, 30, size=(EXAMPLES, 16))
    y = x[np.arange(EXAMPLES), x[:, 0] % 16]

    def build():
        inputs = keras.Input((16,), dtype="int32")
        h = layers.Embedding(30, 48)(inputs) + layers.Embedding(16, 48)(keras.ops.arange(16))
        for _ in range(2):
            normal = layers.LayerNormalization()(h)
            h = h + layers.MultiHeadAttention(4, 12)(normal, normal)
            normal = layers.LayerNormalization()(h)
            h = h + layers.Dense(48)(layers.Dense(96, "gelu")(normal))
        first = layers.LayerNormalization()(h)[:, 0]
        return keras.Model(inputs, layers.Dense(30, "softmax")(first))

    return x, y, build, "sparse_categorical_crossentropy"


def table(rng):
    """A regression that is hard, with BatchNormalization."""
    x = rng.normal(size=(EXAMPLES, 30)).astype("float32")
    y = np.tanh(x @ rng.normal(size=(30, 8))).prod(axis=1) + np.sin(2 * x[:, 0])
    y = ((y - y.mean()) / y.std()).astype("float32")[:, None]

    def build():
        hidden = [layers.Dense(128), layers.BatchNormalization(), layers.Activation("relu")]
        return keras.Sequential(
            [keras.Input((30,)), *hidden, layers.Dense(128, "swish"), layers.Dense(1)]
        )

    return x, y, build, "mse"


def images(rng):
    """A small convolutional network on MNIST."""
    (x, y), _ = klo.mnist.load()
    x = x[:EXAMPLES, ..., None].astype("float32") / 255

    def build():
        return keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(8, 3, 2, activation="relu"),
                layers.LayerNormalization(),
                layers.SeparableConv2D(16, 3, 2, activation="relu"),
                layers.GlobalAveragePooling2D(),
                layers.Dropout(0.2),
                layers.Dense(10, "softmax"),
            ]
        )

    return x, y[:EXAMPLES].astype("int32"), build, "sparse_categorical_crossentropy"


class Losses(keras.callbacks.Callback):
    """The loss of each batch."""

    def __init__(self):
        super().__init__()
        self.sums = [0.0]

    def on_train_batch_end(self, batch, logs=None):
        self.sums.append(logs["loss"] * (batch + 1))  # of the mean over the batches so far

    def last(self):
        return float(np.mean(np.diff(self.sums)[-LAST:]))


def measure(x, y, build, loss, optimizer):
    """Return what is found, the best rate of seven, and the excess."""
    epochs = -(-STEPS * BATCH // EXAMPLES)
    orders = [np.random.default_rng(i).permutation(EXAMPLES) for i in range(epochs)]
    order = np.concatenate(orders)[: STEPS * BATCH]

    def compiled(rate):
        keras.utils.set_random_seed(3)
        model = build()
        model.compile(optimizer(rate), loss)
        return model

    def train(rate):
        losses = Losses()
        options = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
        compiled(rate).fit(x[order], y[order], callbacks=[losses], **options)
        return losses.last() if np.isfinite(losses.last()) else np.inf

    model = compiled(0.001)
    with warnings.catch_warnings(action="ignore"):
        found = klo.find_learning_rate(model, x, y, batch_size=BATCH, verbose=0)
    first = float(np.ravel(model.evaluate(x, y, verbose=0))[0])
    middle = round(2 * np.log10(found.rate))
    grid = {10 ** (k / 2): train(10 ** (k / 2)) for k in range(middle - 3, middle + 4)}
    best = min(grid, key=grid.get)
    return found, best, (train(found.rate) - grid[best]) / (first - grid[best])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    networks = {function.__name__: function for function in (gru, tokens, table, images)}
    parser.add_argument("networks", nargs="*", default=list(networks))
    for network in parser.parse_args().networks:
        case = networks[network](np.random.default_rng(7))
        for name, optimizer in OPTIMIZERS.items():
            found, best, excess = measure(*case, optimizer)
            rate = f"{found.rate:g}{'' if found.is_sure else ' (unsure)'}"
            print(f"{network}, {name}: {rate}, best {best:.2g}, excess {excess:.1%}", flush=True)


if __name__ == "__main__":
    main()
