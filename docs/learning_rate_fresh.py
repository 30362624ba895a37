"""How near are the rates of `find_learning_rate` on networks that were not used to tune it?

    python docs/learning_rate_fresh.py

trains each network with each optimizer for 300 steps with the rate that is found and six around
it, half a power of ten apart. learning_rate_fresh.csv has the rates, the best one, and the excess:
the loss above that of the best, in parts of the fall from the first loss. The table in
learning_rate.md follows. It takes some 20 minutes on two CPU cores; the same command continues.
"""

import argparse
import os
import pathlib
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras_lecture_opt as klo

# isort: split
import keras
import numpy as np
from _pages import rows_of, with_tables, write_rows
from keras import layers

from keras_lecture_opt.comparison._tables import markdown_table

HERE = pathlib.Path(__file__).parent
PAGE, RESULTS = HERE / "learning_rate.md", HERE / "learning_rate_fresh.csv"
NEAR = 0.05
BATCH, STEPS, LAST, EXAMPLES = 64, 300, 50, 4096
OPTIMIZERS = {
    "keras.Adam": keras.optimizers.Adam,
    "Momentum": klo.Momentum,
    "Lion": keras.optimizers.Lion,
    "AdaGrad": klo.AdaGrad,
    "RMSProp": klo.RMSProp,
}


def language(rng):
    """A transformer that predicts the next of 12 signs, which depends on the last two."""
    chances = rng.dirichlet(np.full(12, 0.3), size=(12, 12))
    signs = rng.integers(0, 12, size=(EXAMPLES, 21))
    for i in range(2, 21):
        sums = np.cumsum(chances[signs[:, i - 2], signs[:, i - 1]], axis=1)
        signs[:, i] = np.minimum((sums < rng.random((EXAMPLES, 1))).sum(axis=1), 11)

    def build():
        inputs = keras.Input((20,), dtype="int32")
        h = layers.Embedding(12, 64)(inputs) + layers.Embedding(20, 64)(keras.ops.arange(20))
        for _ in range(2):
            normal = layers.LayerNormalization()(h)
            h = h + layers.MultiHeadAttention(4, 16)(normal, normal, use_causal_mask=True)
            normal = layers.LayerNormalization()(h)
            h = h + layers.Dense(64)(layers.Dense(128, "gelu")(normal))
        return keras.Model(inputs, layers.Dense(12, "softmax")(layers.LayerNormalization()(h)))

    return signs[:, :-1], signs[:, 1:], build, "sparse_categorical_crossentropy"


def digits():
    """Return images of MNIST with pixels from 0 to 1, and their labels."""
    (x, y), _ = klo.mnist.load()
    return x[:EXAMPLES, ..., None].astype("float32") / 255, y[:EXAMPLES].astype("int32")


def residual(rng):
    """A residual network with BatchNormalization on MNIST."""

    def build():
        inputs = keras.Input((28, 28, 1))
        h = layers.Conv2D(12, 3, 2, padding="same")(inputs)
        for _ in range(3):
            inner = layers.Activation("relu")(layers.BatchNormalization()(h))
            h = h + layers.Conv2D(12, 3, padding="same")(inner)
        h = layers.GlobalAveragePooling2D()(layers.Activation("relu")(h))
        return keras.Model(inputs, layers.Dense(10, "softmax")(h))

    x, y = digits()
    return x, y, build, "sparse_categorical_crossentropy"


def pictures(rng):
    """A convolutional autoencoder on MNIST."""
    x, _ = digits()

    def build():
        return keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(8, 3, 2, padding="same", activation="relu"),
                layers.Flatten(),
                layers.Dense(16),
                layers.Dense(14 * 14 * 8, "relu"),
                layers.Reshape((14, 14, 8)),
                layers.Conv2DTranspose(1, 3, 2, padding="same", activation="sigmoid"),
            ]
        )

    return x, x, build, "binary_crossentropy"


def ratings(rng):
    """Products of embeddings: what 300 people think of 200 films, with noise."""
    people, films = rng.integers(0, 300, EXAMPLES), rng.integers(0, 200, EXAMPLES)
    tastes, kinds = rng.normal(size=(300, 3)), rng.normal(size=(200, 3))
    y = 3 + (tastes[people] * kinds[films]).sum(axis=1) / 2 + 0.3 * rng.normal(size=EXAMPLES)

    def build():
        inputs = keras.Input((2,), dtype="int32")
        both = layers.Embedding(300, 8)(inputs[:, 0]), layers.Embedding(200, 8)(inputs[:, 1])
        h = layers.Concatenate()([layers.Multiply()(both), *both])
        return keras.Model(inputs, layers.Dense(1)(layers.Dense(32, "relu")(h)))

    x = np.stack([people, films], axis=1).astype("int32")
    return x, y.astype("float32")[:, None], build, "mse"


def sensors(rng):
    """Five states of a machine from 64 readings of 3 noisy sensors, with convolutions."""
    y = rng.integers(0, 5, EXAMPLES)
    times = np.arange(64)[None, :, None] + 20 * rng.random((EXAMPLES, 1, 3))
    x = np.sin(times * (0.2 + 0.1 * y[:, None, None])) + rng.normal(size=(EXAMPLES, 64, 3))

    def build():
        return keras.Sequential(
            [
                keras.Input((64, 3)),
                layers.Conv1D(24, 7, activation="relu"),
                layers.MaxPooling1D(2),
                layers.Conv1D(24, 5, activation="relu"),
                layers.GlobalMaxPooling1D(),
                layers.Dropout(0.3),
                layers.Dense(5),
            ]
        )

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return x.astype("float32"), y.astype("int32"), build, loss


NETWORKS = language, residual, pictures, ratings, sensors


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


def table(rows):
    """Return the table of the page."""
    lines = []
    for network in NETWORKS:
        mine = [row for row in rows if row["network"] == network.__name__]
        kept = sum(float(row["excess"]) <= NEAR for row in mine)
        far = [row for row in mine if float(row["excess"]) > NEAR]
        named = (
            f"{r['optimizer']} {r['found']}{'' if r['is_sure'] == 'True' else ' (unsure)'}, "
            f"best {r['best']}: {float(r['excess']):.0%}"
            for r in far
        )
        lines.append([f"`{network.__name__}`", f"{kept} of {len(mine)}", "; ".join(named) or "-"])
    return markdown_table(["network", "within 5%", "the others"], lines)


def page(rows, text):
    """Return the text of learning_rate.md with these results."""
    return with_tables(text, {"fresh": table(rows)})


def main():
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    rows = rows_of(RESULTS)
    for network in NETWORKS:
        case = network(np.random.default_rng(7))
        for name, optimizer in OPTIMIZERS.items():
            if any((r["network"], r["optimizer"]) == (network.__name__, name) for r in rows):
                continue
            found, best, excess = measure(*case, optimizer)
            rows.append(
                {
                    "network": network.__name__,
                    "optimizer": name,
                    "found": f"{found.rate:g}",
                    "is_sure": str(found.is_sure),
                    "best": f"{best:.2g}",
                    "excess": f"{excess:.4f}",
                }
            )
            print(*rows[-1].values(), flush=True)
            write_rows(RESULTS, rows)
    PAGE.write_text(page(rows, PAGE.read_text()))


if __name__ == "__main__":
    main()
