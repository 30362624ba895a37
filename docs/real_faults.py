"""Train programs with real faults and their fixes, and count which faults `diagnose` names.

    python docs/real_faults.py

Thirteen programs come from public questions on Stack Overflow: a faulty one, and the one that was
mended as the accepted answer says. More programs of the same kinds follow. Each is trained with two
seeds. Then the first verdict's advice is followed, for up to three rounds, and the program is
trained again. Writes docs/real_faults.csv, a row for each training, and the tables into
docs/real_faults.md. Trainings that are in the CSV already are not repeated: delete it to start
again. Expect about 20 min on two cores.
"""

import argparse
import functools
import inspect
import math
import multiprocessing
import os
import pathlib
import re
import sys
import warnings
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from types import MappingProxyType
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras_lecture_opt as klo  # first: it keeps TensorFlow's start-up lines off the terminal

# isort: split
import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl

HERE = pathlib.Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE.parent / "examples")]
import _programs
from _pages import append_rows, rows_of, with_tables

from keras_lecture_opt import mnist
from keras_lecture_opt.comparison._tables import markdown_table

CSV, PAGE = HERE / "real_faults.csv", HERE / "real_faults.md"
SEEDS = (0, 1)
ROUNDS = 3
PROBE = 500  # examples for `diagnose`
ENOUGH = 0.5  # share of the errors of the best constant answer that a training must avoid
COLUMNS = ("program", "variant", "seed", "steps", "loss", "skill", "verdicts", "advice")


class Training(NamedTuple):
    """A program: a network, its data, and how it is trained.

    Attributes:
        layers: of a sequential model.
        x: inputs.
        y: labels.
        loss: as for `compile`.
        rate: learning rate.
        optimizer: name of one of Keras's, or "Nesterov".
        epochs: passes over the data.
        batch: its size.
        metrics: as for `compile`.
        truth: what should be predicted: integers for classes, floats for quantities. None: `y`.
        cut: outputs above it mean class 1.
        shuffle: as for `fit`.
        enough: skill below which the training has failed.
    """

    layers: list
    x: Any
    y: Any
    loss: Any
    rate: float = 0.01
    optimizer: str = "SGD"
    epochs: int = 1
    batch: int = 32
    metrics: tuple = ("accuracy",)
    truth: Any = None
    cut: float = 0.5
    shuffle: bool = True
    enough: float = ENOUGH


class Program(NamedTuple):
    """A faulty program, and what is known of it.

    Attributes:
        build: function that returns the faulty `Training`; its arguments change it.
        fixed: arguments that mend it.
        causes: what was wrong, in words.
        named_by: verdicts that name one of the causes, or words of the first one's sentence.
        advice: dict from verdicts, or words of their sentences, to the arguments that follow them.
        remark: what the table cannot say.
    """

    build: Any
    fixed: dict
    causes: str
    named_by: tuple = ()
    advice: Mapping = MappingProxyType({})
    remark: str = ""


REAL, SAME = {}, {}


def enter(programs, **facts):
    """Enter the decorated function as a program; its docstring is the title of the row."""

    def entered(build):
        programs[build.__doc__.partition("\n")[0].rstrip(".")] = Program(build, **facts)
        return build

    return entered


# Parts that several programs have.


def dense(units, activation=None, **options):
    return kl.Dense(units, activation=activation, **options)


def uniform():
    return keras.initializers.RandomUniform(-0.05, 0.05)


def one_hot(classes, number=10):
    return np.eye(number, dtype="float32")[np.asarray(classes, int)]


def standardized(values):
    return (values - values.mean(axis=0)) / values.std(axis=0)


load = functools.cache(mnist.load)


@functools.cache
def digits(number=3000):
    """Return so many images of MNIST as flat rows of 0 to 255, and their classes."""
    (x, y), _ = load()
    return x[:number].reshape(number, 784).astype("float32"), y[:number].astype("int64")


def repeated(x, y, passes):
    """Return many passes over a few rows as one: an epoch of `fit` takes longer than its steps."""
    order = np.concatenate([np.random.RandomState(i).permutation(len(x)) for i in range(passes)])
    return x[order], y[order]


def blobs(classes=2, rows=600, columns=8, seed=0, distance=1.0):
    """Return points around the center of their class, and the classes."""
    random = np.random.RandomState(seed)
    centers = distance * random.randn(classes, columns)
    y = random.randint(classes, size=rows)
    return (centers[y] + random.randn(rows, columns)).astype("float32"), y


# Programs from public questions.


@enter(
    REAL,
    fixed={"loss": "mse", "optimizer": "Adam", "rate": 0.01, "passes": 1500},
    causes="absolute error; too few epochs; optimizer",
    named_by=("absolute error of classes", "steps too small", "too few steps"),
    advice={"absolute error of classes": {"loss": "binary_crossentropy"}},
    remark="The fix had 10,000 epochs at a rate of 0.001; here it is 0.01.",
)
def question_31556268(
    loss="mae", optimizer="Nesterov", rate=0.05, passes=1000, hidden="sigmoid", epochs=1
):
    """31556268."""
    x, y = np.array([[1, 1], [1, 0], [0, 0], [0, 1]], "float32"), np.array([[0], [1], [0], [1]])
    layers = [dense(4, hidden), dense(1, "sigmoid")]
    x, y = repeated(x, y, passes)
    return Training(layers, x, y, loss, rate, optimizer, epochs, batch=4, enough=0.9)


@enter(
    REAL,
    fixed={"last": "sigmoid"},
    causes="softmax over one unit",
    named_by=("softmax over one unit",),
    advice={"softmax over one unit": {"last": "sigmoid"}},
)
def question_31880720(last="softmax", rate=0.001, epochs=1):
    """31880720."""
    y = np.repeat([1, 0], 500)[np.random.RandomState(0).permutation(1000)]
    x = np.repeat(y[:, np.newaxis], 128, axis=1).astype("float32")
    layers = []
    for _ in range(2):
        layers += [dense(50, "relu"), kl.Dropout(0.2)]
    layers.append(dense(1, last))
    return Training(layers, x, y, "binary_crossentropy", rate, "RMSprop", epochs, batch=1)


@enter(
    REAL,
    fixed={"last": "linear"},
    causes="softmax over one unit",
    named_by=("softmax over one unit", "labels do not fit"),
    advice={
        "softmax over one unit": {"last": "linear"},
        "inputs not scaled": {"scaled": True},
        "targets not scaled": {"scaled": True, "scaled_targets": True},
    },
    remark="The accepted answer left inputs and targets of up to 35,000 as they were: the fixed "
    "program fails, too, and the alarms on it are true.",
)
def question_33969059(last="softmax", rate=0.1, scaled=False, scaled_targets=False, epochs=4):
    """33969059."""
    x = np.random.RandomState(0).rand(8000, 3) * 10_000
    y = (x @ [2.0, 1.0, 0.5] + 2.2)[:, np.newaxis]
    x, y = standardized(x) if scaled else x, standardized(y) if scaled_targets else y
    layers = []
    for units in (3, 2):
        layers += [dense(units, "tanh", kernel_initializer=uniform()), kl.Dropout(0.5)]
    layers.append(dense(1, last, kernel_initializer=uniform()))
    x, y = x.astype("float32"), y.astype("float32")
    return Training(layers, x, y, "mse", rate, "Nesterov", epochs)


@enter(
    REAL,
    fixed={"last": "sigmoid", "optimizer": "Adam", "rate": 0.05, "passes": 1000},
    causes="softmax over one unit; rate too low; too few epochs",
    named_by=("softmax over one unit", "steps too small", "too few steps"),
    advice={
        "softmax over one unit": {"last": "sigmoid", "loss": "binary_crossentropy"},
    },
    remark="The fix had a rate of 0.1 and needs more than 12,000 steps; here Adam takes 1000.",
)
def question_34311586(
    last="softmax", loss="mse", rate=0.001, passes=20, optimizer="Nesterov", epochs=1
):
    """34311586."""
    x = np.array([[1, 1], [0, 0], [1, 0], [0, 1], [1, 1], [0, 0]], "float32")
    y = np.array([[0], [0], [1], [1], [0], [0]])
    units, lasts = (2, 3, 1), ("sigmoid", "sigmoid", last)
    layers = [dense(n, a, kernel_initializer=uniform()) for n, a in zip(units, lasts, strict=True)]
    x, y = repeated(x, y, passes)
    return Training(layers, x, y, loss, rate, optimizer, epochs, batch=6, metrics=(), enough=0.9)


@enter(
    REAL,
    fixed={"last": "sigmoid", "loss": "binary_crossentropy"},
    causes="softmax and squared error for several labels",
    named_by=("softmax with another loss",),
    advice={"softmax with another loss": {"last": "sigmoid", "loss": "binary_crossentropy"}},
    remark="The fixed program reaches 0.5 only: a training has failed below 0.4.",
)
def question_38648195(last="softmax", loss="mse", rate=0.01, scaled=False, epochs=3):
    """38648195."""
    random = np.random.RandomState(0)
    topics = random.dirichlet(np.ones(20), 3)  # of words, one for each label
    y = (random.rand(6000, 3) < 0.5).astype(int)
    shares = y @ topics + 0.05 / 20
    shares /= shares.sum(axis=1, keepdims=True)
    x = np.array([random.multinomial(random.poisson(50), share) for share in shares], "float32")
    x = standardized(x) if scaled else x
    layers = []
    for _ in range(2):
        layers += [dense(20, "relu"), kl.Dropout(0.5)]
    layers.append(dense(3, last))
    return Training(layers, x, y, loss, rate, epochs=epochs, batch=20, enough=0.4)


@enter(
    REAL,
    fixed={
        **{"hidden": "relu", "loss": "binary_crossentropy", "batch": 4, "passes": 40},
        **{"shuffled": False, "rate": 0.5},
    },
    remark="The fix had batches of 1 and a rate of 0.01; here they are 4 and 0.5, for fewer steps.",
    causes="sigmoid layers; squared error; batches of 50; labels of other rows",
    named_by=("steps too small", "layer lags", "too few steps"),
    advice={"layer lags": {"hidden": "relu"}},
)
def question_39217567(
    hidden="sigmoid", loss="mse", batch=50, passes=300, shuffled=True, rate=0.01, epochs=1
):
    """39217567."""
    x = (np.arange(256)[:, np.newaxis] >> np.arange(8)[::-1]) & 1
    y = np.random.RandomState(0).permutation(x) if shuffled else x
    start = keras.initializers.RandomNormal(stddev=0.05)
    options = {"kernel_initializer": start}
    with warnings.catch_warnings(action="ignore"):  # the same initializer for each layer
        layers = [dense(8, hidden, kernel_initializer=start.clone()) for _ in range(2)]
        layers.append(dense(8, "sigmoid", **options))
    x, y = repeated(x.astype("float32"), y, passes)
    return Training(layers, x, y, loss, rate, epochs=epochs, batch=batch)


@enter(
    REAL,
    fixed={"last": "sigmoid", "loss": "binary_crossentropy"},
    causes="softmax where several labels may be 1 (these data have one)",
)
def question_44164749(last="softmax", loss="categorical_crossentropy", rate=0.01, epochs=5):
    """44164749."""
    x, y = digits(10_000)
    layers = []
    for units in (500, 100):
        layers += [dense(units, "relu"), kl.Dropout(0.1)]
    layers.append(dense(10, last))
    y, truth = one_hot(y), y
    return Training(layers, x / 255, y, loss, rate, "Nesterov", epochs, batch=500, truth=truth)


@enter(
    REAL,
    fixed={"optimizer": "SGD", "rate": 0.01},
    causes="Adam instead of SGD (accepted); inputs not scaled (others)",
    named_by=("inputs not scaled", "bad start"),
    advice={"inputs not scaled": {"scaled": True}, "bad start": {"scaled": True}},
    remark="The accepted answer left the columns of up to a million as they were: the fixed "
    "program answers the same for all rows, and the alarms on it are true.",
)
def question_47724077(optimizer="Adam", rate=0.001, scaled=False, epochs=6):
    """47724077."""
    random, n = np.random.RandomState(0), 16_000
    age, weight = random.gamma(6, 4, n) + 17, random.lognormal(12, 0.5, n)
    education, hours = random.randint(1, 17, n), random.normal(40, 12, n).clip(1, 99)
    gain = np.where(random.rand(n) < 0.08, random.lognormal(8.6, 1, n).clip(0, 99_999), 0)
    loss = np.where(random.rand(n) < 0.047, random.normal(1870, 300, n), 0)
    categories = random.rand(n, 8) < [0.06, 0.3, 0.4, 0.2, 0.15, 0.1, 0.33, 0.1]
    z = 0.05 * (age - 40) + 0.4 * (education - 9) + 0.04 * (hours - 40) + 0.0003 * gain
    z += 0.0005 * loss + 1.2 * categories[:, 1] - 2.6 + random.logistic(0, 0.8, n)
    x = np.column_stack([age, weight, education, categories, gain, loss, hours]).astype("float32")
    x, truth = standardized(x) if scaled else x, (z > 0).astype(int)
    layers, y = [dense(21, "relu"), dense(2, "softmax")], one_hot(truth, 2)
    loss = "categorical_crossentropy"
    return Training(
        layers, x, y, loss, rate, optimizer, epochs, batch=100, truth=truth, enough=0.35
    )


@enter(
    REAL,
    fixed={"hidden": "sigmoid", "last": "softmax", "loss": "categorical_crossentropy", "epochs": 2},
    causes="no activations; squared error",
    named_by=("linear network", "nothing nonlinear between"),
    advice={"weights start too large": {"deviation": None}, "linear network": {"hidden": "relu"}},
)
def question_48385830(hidden=None, last=None, loss="mse", rate=3.0, deviation=1, epochs=1):
    """48385830."""
    x, y = digits(6000)
    layers = []
    for units, activation in ((30, hidden), (10, last)):
        starts = {
            f"{name}_initializer": keras.initializers.RandomNormal(stddev=deviation)
            for name in ("kernel", "bias")
        }
        layers.append(dense(units, activation, **starts if deviation else {}))
    return Training(layers, x / 255, one_hot(y), loss, rate, epochs=epochs, batch=10, truth=y)


@enter(
    REAL,
    fixed={"rate": 0.001},
    causes="rate too high",
    named_by=("steps too large", "dead units", "no gradient", "not finite"),
    advice={"targets not scaled": {"scaled": True, "scaled_targets": True}},
)
def question_48934338(rate=0.1, scaled=False, scaled_targets=False, passes=400, epochs=1):
    """48934338."""
    x = np.arange(0, 5, 0.1, dtype="float32")[:, np.newaxis]
    y = (5 * x**2 + np.random.RandomState(7).randn(50, 1) ** 3).astype("float32")
    x, y = standardized(x) if scaled else x, standardized(y) if scaled_targets else y
    layers = [dense(50, "relu"), dense(30, "relu", kernel_initializer=uniform()), dense(1)]
    x, y = repeated(x, y, passes)
    return Training(layers, x, y, "mse", rate, epochs=epochs)


@enter(
    REAL,
    fixed={"epochs": 50, "one": True},
    causes="too few epochs",
    named_by=("too few steps", "steps too small"),
)
def question_50306988(rate=0.001, epochs=5, one=False):
    """50306988."""
    random = np.random.RandomState(0)
    truth = np.tile([0, 1], 100)
    x = random.uniform([[0.2, 0.2]], [[0.4, 0.4]], (200, 2)) + 0.3 * truth[:, np.newaxis]
    x = x.astype("float32")
    if one:
        x, truth = repeated(x, truth, 2)
        layers = [dense(2, "sigmoid"), dense(1, "sigmoid")]
        return Training(layers, x, truth, "binary_crossentropy", rate, "Adam", epochs)
    layers, y = [dense(2, "sigmoid"), dense(2, "softmax")], one_hot(truth, 2)
    return Training(layers, x, y, "categorical_crossentropy", rate, "Adam", epochs, truth=truth)


@enter(
    REAL,
    fixed={"scaled": True, "last": "softmax"},
    causes="pixels not scaled; sigmoid instead of softmax",
    named_by=("inputs not scaled", "bad start", "sigmoid with categorical loss"),
    advice={
        "inputs not scaled": {"scaled": True},
        "bad start": {"scaled": True},
        "sigmoid with categorical loss": {"last": "softmax"},
    },
    remark="With the accepted answer's fix, a rate of 1e-4 for SGD is still too low.",
)
def question_55328966(scaled=False, last="sigmoid", rate=1e-4, epochs=10):
    """55328966."""
    x, y = digits()
    options = [{"kernel_regularizer": keras.regularizers.L2(0)} for _ in range(2)]
    layers = [dense(784), dense(50, "relu", **options[0]), dense(10, last, **options[1])]
    x = x / 255 if scaled else x
    return Training(layers, x, one_hot(y), "categorical_crossentropy", rate, epochs=epochs, truth=y)


@enter(
    REAL,
    fixed={"divided": False},
    causes="labels divided by 255",
    named_by=("labels do not fit",),
    advice={"labels do not fit": {"divided": False}},
)
def question_59325381(divided=True, rate=0.001, epochs=1):
    """59325381."""
    x, y = digits(3200)
    layers = [kl.Reshape((28, 28, 1))]
    for filters in (64, 32):
        layers += [kl.Conv2D(filters, 3, padding="same"), kl.MaxPooling2D(2)]
    layers += [kl.Flatten(), dense(128, "relu"), dense(10, "softmax")]
    loss = "sparse_categorical_crossentropy"
    labels = y / 255 if divided else y
    return Training(layers, x / 255, labels, loss, rate, "Adam", epochs, truth=y)


# Programs of the same kinds.


def houses(scaled, scaled_targets):
    random = np.random.RandomState(3)
    x = np.column_stack(
        [
            *(random.uniform(500, 5000, 1000), random.randint(1, 7, 1000)),
            *(random.randint(1900, 2020, 1000), random.uniform(0, 20_000, 1000)),
        ]
    )
    y = x @ [150.0, 9000.0, 600.0, 3.0] - 1e6 + 20_000 * random.randn(1000)
    x, y = standardized(x) if scaled else x, standardized(y) if scaled_targets else y
    return x.astype("float32"), y.astype("float32")


SCALING = {
    "inputs not scaled": {"scaled": True},
    "bad start": {"scaled": True},
    "saturated units": {"scaled": True},
    "targets not scaled": {"scaled": True, "scaled_targets": True},
}


@enter(
    SAME,
    fixed={"scaled": True, "scaled_targets": True},
    causes="inputs and targets not scaled",
    named_by=("inputs not scaled", "targets not scaled"),
    advice=SCALING,
)
def house_prices(scaled=False, scaled_targets=False, rate=0.01, epochs=20):
    """house prices, raw."""
    x, y = houses(scaled, scaled_targets)
    layers = [dense(64, "relu"), dense(64, "relu"), dense(1)]
    return Training(layers, x, y, "mse", rate, epochs=epochs, metrics=("mae",))


@enter(
    SAME,
    fixed={"last": None, "scaled_targets": True},
    causes="sigmoid for a quantity from −60 to 90",
    named_by=("labels do not fit",),
    advice={"labels do not fit": {"last": None}, "targets not scaled": {"scaled_targets": True}},
)
def sigmoid_for_a_quantity(last="sigmoid", scaled_targets=False, rate=0.001, epochs=20):
    """a temperature from a sigmoid."""
    random = np.random.RandomState(4)
    x = random.randn(1000, 6).astype("float32")
    y = 15 + 12 * x[:, 0] - 8 * x[:, 1] * x[:, 2] + random.randn(1000)
    y = (standardized(y) if scaled_targets else y).astype("float32")
    layers = [dense(32, "relu"), dense(32, "relu"), dense(1, last)]
    return Training(layers, x, y, "mse", rate, "Adam", epochs, metrics=("mae",))


@enter(
    SAME,
    fixed={"last": None},
    causes="ReLU at the end; half of the targets are negative",
    named_by=("labels do not fit",),
    advice={"labels do not fit": {"last": None}},
)
def relu_for_a_quantity(last="relu", rate=0.001, epochs=20):
    """a standardized quantity from a ReLU."""
    random = np.random.RandomState(5)
    x = random.randn(1000, 6).astype("float32")
    y = standardized(x[:, 0] - 0.7 * x[:, 1] * x[:, 2] + 0.1 * random.randn(1000))
    layers = [dense(32, "relu"), dense(32, "relu"), dense(1, last)]
    return Training(layers, x, y.astype("float32"), "mse", rate, "Adam", epochs, metrics=())


@enter(
    SAME,
    fixed={"metrics": ("mae",)},
    causes="accuracy as the metric of a regression (trains well)",
)
def accuracy_of_a_regression(metrics=("accuracy",), rate=0.01, epochs=30):
    """accuracy of a regression."""
    random = np.random.RandomState(6)
    x = random.randn(1000, 4).astype("float32")
    y = (3 * x[:, 0] + np.abs(x[:, 1]) + 0.1 * random.randn(1000)).astype("float32")
    return Training(
        [dense(32, "relu"), dense(1)], x, y, "mse", rate, epochs=epochs, metrics=metrics
    )


@enter(
    SAME,
    fixed={"loss": "binary_crossentropy"},
    causes="categorical cross-entropy over one unit",
    named_by=("one unit for all classes",),
    advice={"one unit for all classes": {"loss": "binary_crossentropy"}},
)
def categorical_over_one_unit(loss="categorical_crossentropy", rate=0.001, epochs=20):
    """two classes, categorical loss over one sigmoid."""
    x, y = blobs()
    return Training([dense(16, "relu"), dense(1, "sigmoid")], x, y, loss, rate, "Adam", epochs)


@enter(
    SAME,
    fixed={"hot": False},
    causes="one-hot labels for one sigmoid (raises)",
    named_by=("labels do not fit",),
    advice={"labels do not fit": {"hot": False}},
)
def one_hot_for_one_unit(hot=True, rate=0.001, epochs=20):
    """one-hot labels for one sigmoid."""
    x, y = blobs(seed=1)
    labels, layers = one_hot(y, 2) if hot else y, [dense(16, "relu"), dense(1, "sigmoid")]
    return Training(layers, x, labels, "binary_crossentropy", rate, "Adam", epochs, truth=y)


@enter(
    SAME,
    fixed={"first": 0},
    causes="classes numbered from 1 (raises)",
    named_by=("labels do not fit",),
    advice={"labels do not fit": {"first": 0}},
)
def classes_from_1(first=1, rate=0.001, epochs=20):
    """classes numbered from 1."""
    x, y = blobs(4)
    layers, loss = [dense(32, "relu"), dense(4, "softmax")], "sparse_categorical_crossentropy"
    return Training(layers, x, y + first, loss, rate, "Adam", epochs, truth=y)


@enter(
    SAME,
    fixed={"low": 0},
    causes="labels −1 and 1 with binary cross-entropy",
    named_by=("labels do not fit", "negative loss"),
    advice={"labels do not fit": {"low": 0}, "negative loss": {"low": 0}},
)
def labels_of_minus_1(low=-1, rate=0.001, epochs=20):
    """labels −1 and 1, a sigmoid."""
    x, y = blobs(seed=2)
    layers = [dense(32, "relu"), dense(1, "sigmoid")]
    labels = np.where(y, 1, low)
    return Training(layers, x, labels, "binary_crossentropy", rate, "Adam", epochs, truth=y)


@enter(
    SAME,
    fixed={"classes": "hot"},
    causes="class numbers with squared error and ten outputs",
    named_by=("labels do not fit", "softmax with another loss"),
    advice={
        "labels do not fit": {"classes": "sparse"},
        "softmax with another loss": {"classes": "hot"},
    },
)
def numbers_with_squared_error(classes="numbers", rate=0.001, epochs=5):
    """class numbers, softmax, squared error."""
    x, y = digits()
    loss = {"numbers": "mse", "hot": "categorical_crossentropy"}.get(
        classes, "sparse_categorical_crossentropy"
    )
    labels = one_hot(y) if classes == "hot" else y[:, np.newaxis]
    layers = [dense(64, "relu"), dense(10, "softmax")]
    return Training(layers, x / 255, labels, loss, rate, "Adam", epochs, truth=y)


@enter(
    SAME,
    fixed={"last": "sigmoid"},
    causes="ReLU before binary cross-entropy",
    named_by=("loss takes logits or not",),
    advice={"loss takes logits or not": {"last": "sigmoid"}},
)
def relu_before_cross_entropy(last="relu", rate=0.01, epochs=20):
    """binary cross-entropy after a ReLU."""
    x, y = blobs(seed=3)
    layers = [dense(16, "relu"), dense(1, last)]
    return Training(layers, x, y, "binary_crossentropy", rate, epochs=epochs)


@enter(
    SAME,
    fixed={"last": "softmax"},
    causes="no softmax before categorical cross-entropy",
    named_by=("loss takes logits or not",),
    advice={"loss takes logits or not": {"last": "softmax"}},
)
def no_softmax(last=None, rate=0.01, epochs=5):
    """cross-entropy without a softmax."""
    x, y = digits()
    layers, loss = [dense(64, "relu"), dense(10, last)], "categorical_crossentropy"
    return Training(layers, x / 255, one_hot(y), loss, rate, epochs=epochs, truth=y)


@enter(
    SAME,
    fixed={"logits": False},
    causes="`from_logits=True` after a sigmoid",
    named_by=("logits twice", "loss takes logits or not"),
    advice={"loss takes logits or not": {"logits": False}},
    remark="On TensorFlow, Keras takes what goes into the sigmoid: it does no harm.",
)
def logits_after_sigmoid(logits=True, rate=0.01, epochs=20):
    """from_logits after a sigmoid."""
    x, y = blobs(seed=4)
    layers, loss = (
        [dense(16, "relu"), dense(1, "sigmoid")],
        keras.losses.BinaryCrossentropy(from_logits=logits),
    )
    return Training(layers, x, y, loss, rate, epochs=epochs)


@enter(
    SAME,
    fixed={"hidden": "relu"},
    causes="gradients vanish in eight sigmoid layers",
    named_by=("layer lags", "vanishing gradient"),
    advice={"layer lags": {"hidden": "relu"}},
)
def eight_sigmoids(hidden="sigmoid", rate=0.05, epochs=6, optimizer="SGD"):
    """eight layers of sigmoids."""
    x, y = digits()
    layers = []
    for _ in range(8):
        layers.append(dense(64, hidden))
    layers.append(dense(10, "softmax"))
    loss = "sparse_categorical_crossentropy"
    return Training(layers, x / 255, y, loss, rate, optimizer, epochs)


@enter(
    SAME,
    fixed={"hidden": "relu"},
    causes="softmax in the hidden layers",
    named_by=("softmax inside",),
    advice={"softmax inside": {"hidden": "relu"}},
)
def hidden_softmax(hidden="softmax", rate=0.01, epochs=6):
    """softmax in hidden layers."""
    x, y = digits()
    layers = [dense(128, hidden), dense(128, hidden), dense(10, "softmax")]
    return Training(layers, x / 255, y, "sparse_categorical_crossentropy", rate, epochs=epochs)


@enter(
    SAME,
    fixed={"rate": 0.001},
    causes="rate too high (Adam, 0.5)",
    named_by=("steps too large", "dead units"),
)
def adam_too_fast(rate=0.5, epochs=4):
    """Adam with a rate of 0.5."""
    x, y = digits()
    layers = [dense(128, "relu"), dense(64, "relu"), dense(10, "softmax")]
    return Training(layers, x / 255, y, "sparse_categorical_crossentropy", rate, "Adam", epochs)


@enter(
    SAME,
    fixed={"rate": 0.05},
    causes="rate too low (SGD, 1e-5)",
    named_by=("steps too small",),
)
def sgd_too_slow(rate=1e-5, epochs=6):
    """SGD with a rate of 1e-5."""
    x, y = digits()
    layers = [dense(128, "relu"), dense(10, "softmax")]
    return Training(layers, x / 255, y, "sparse_categorical_crossentropy", rate, epochs=epochs)


@enter(
    SAME,
    fixed={"batch": 8, "epochs": 40},
    causes="one batch for all 150 rows; too few epochs",
    named_by=("too few steps", "steps too small"),
)
def one_large_batch(batch=150, epochs=10, rate=0.01):
    """150 rows in one batch, 10 epochs."""
    x, y = blobs(3, rows=150, columns=4, seed=5, distance=2.0)
    layers = [dense(10, "tanh"), dense(3, "softmax")]
    loss = "categorical_crossentropy"
    return Training(layers, x, one_hot(y, 3), loss, rate, epochs=epochs, batch=batch, truth=y)


@enter(
    SAME,
    fixed={"initializer": "glorot_uniform"},
    causes="all weights start at 0",
    named_by=("no gradient",),
    advice={"no gradient": {"initializer": "glorot_uniform"}},
)
def zeros(initializer="zeros", rate=0.01, epochs=6):
    """all weights start at 0."""
    x, y = digits()
    layers = [
        dense(n, a, kernel_initializer=initializer)
        for n, a in ((64, "relu"), (64, "relu"), (10, "softmax"))
    ]
    return Training(layers, x / 255, y, "sparse_categorical_crossentropy", rate, epochs=epochs)


@enter(
    SAME,
    fixed={"scaled": True},
    causes="pixels from 0 to 255",
    named_by=("inputs not scaled", "bad start"),
    advice=SCALING,
)
def raw_pixels(scaled=False, rate=0.01, epochs=2):
    """a convolutional network on raw pixels."""
    x, y = digits()
    layers = [kl.Reshape((28, 28, 1)), kl.Conv2D(16, 3, activation="relu"), kl.MaxPooling2D()]
    layers += [kl.Conv2D(32, 3, activation="relu"), kl.MaxPooling2D(), kl.Flatten()]
    layers += [dense(64, "relu"), dense(10, "softmax")]
    x, loss = x / 255 if scaled else x, "sparse_categorical_crossentropy"
    return Training(layers, x, y, loss, rate, "Nesterov", epochs)


@enter(
    SAME,
    fixed={"scaled": True},
    causes="pixels divided by 255 twice",
    named_by=("inputs not scaled",),
    advice=SCALING,
)
def pixels_scaled_twice(scaled=False, rate=0.05, epochs=4):
    """pixels divided by 255 twice."""
    x, y = digits()
    layers = [dense(128, "relu"), dense(10, "softmax")]
    x, loss = x / 255 if scaled else x / 255**2, "sparse_categorical_crossentropy"
    return Training(layers, x, y, loss, rate, epochs=epochs)


@enter(
    SAME,
    fixed={"hidden": "tanh", "scaled": True, "scaled_targets": True},
    causes="LSTM with ReLU; series of 100 to 600 not scaled",
    named_by=("inputs not scaled", "targets not scaled", "steps too large", "unbounded recurrence"),
    advice=SCALING,
)
def lstm_with_relu(hidden="relu", scaled=False, scaled_targets=False, rate=0.01, epochs=20):
    """an LSTM with ReLU on a raw series."""
    t = np.arange(400)
    series = 100 + 1.2 * t + (20 + 0.2 * t) * np.sin(t * np.pi / 6)
    series += 5 * np.random.RandomState(7).randn(400)
    x, y = np.lib.stride_tricks.sliding_window_view(series, 12)[:-1], series[12:]
    x = (x - series.mean()) / series.std() if scaled else x
    y = standardized(y) if scaled_targets else y
    layers = [kl.LSTM(32, activation=hidden), dense(1)]
    x, y = x[..., np.newaxis].astype("float32"), y.astype("float32")
    return Training(layers, x, y, "mse", rate, "Adam", epochs, metrics=())


@enter(
    SAME,
    fixed={"shuffle": True},
    causes="rows sorted by class, `shuffle=False`",
    named_by=("one class only", "shuffle the rows"),
    advice={"one class only": {"mixed": True}, "shuffle the rows": {"mixed": True}},
)
def sorted_rows(shuffle=False, mixed=False, rate=0.05, epochs=2):
    """rows sorted by class, not shuffled."""
    x, y = digits()
    order = np.random.RandomState(0).permutation(len(x)) if mixed else np.argsort(y, kind="stable")
    layers, loss = [dense(64, "relu"), dense(10, "softmax")], "sparse_categorical_crossentropy"
    return Training(layers, x[order] / 255, y[order], loss, rate, epochs=epochs, shuffle=shuffle)


@enter(
    SAME,
    fixed={"shuffled": False},
    causes="labels of other rows",
    named_by=("where one of the two is shuffled",),
    advice={"where one of the two is shuffled": {"shuffled": False}},
)
def shuffled_inputs(shuffled=True, rate=0.05, epochs=4):
    """inputs shuffled without their labels."""
    x, y = digits()
    x = np.random.RandomState(0).permutation(x) if shuffled else x
    layers, loss = [dense(64, "relu"), dense(10, "softmax")], "sparse_categorical_crossentropy"
    return Training(layers, x / 255, y, loss, rate, epochs=epochs)


@enter(
    SAME,
    fixed={"frozen": False},
    causes="layers frozen at random weights",
    named_by=("frozen",),
    advice={"frozen": {"frozen": False}},
)
def frozen_base(frozen=True, rate=0.01, epochs=3):
    """a frozen base with random weights."""
    x, y = digits()
    layers = [kl.Reshape((28, 28, 1))]
    for filters in (8, 16):
        layers += [kl.Conv2D(filters, 3, 2, activation="relu"), kl.BatchNormalization()]
    for layer in layers[1:]:
        layer.trainable = not frozen
    layers += [kl.Flatten(), dense(8, "relu"), dense(10, "softmax")]
    return Training(layers, x / 255, y, "sparse_categorical_crossentropy", rate, "SGD", epochs)


@enter(
    SAME,
    fixed={"last": ()},
    causes="ReLU between the logits and the softmax",
    named_by=("relu before the activation",),
    advice={"relu before the activation": {"last": ()}},
)
def relu_before_softmax(last=("relu",), rate=0.1, epochs=4):
    """a ReLU before the softmax."""
    x, y = digits()
    layers = [dense(64, "relu"), dense(10), *map(kl.Activation, last), kl.Softmax()]
    return Training(layers, x / 255, y, "sparse_categorical_crossentropy", rate, epochs=epochs)


@enter(
    SAME,
    fixed={"rate": 0.001},
    causes="rate too high for a deep ReLU network (SGD, 1)",
    named_by=("steps too large", "dead units", "not finite"),
)
def dying_relus(rate=1.0, epochs=4):
    """dying ReLUs."""
    x, y = digits()
    layers = [*[dense(64, "relu", kernel_initializer="he_normal") for _ in range(5)]]
    layers.append(dense(10, "softmax"))
    loss = "sparse_categorical_crossentropy"
    return Training(layers, x / 255, y, loss, rate, "Nesterov", epochs)


@enter(
    SAME,
    fixed={"penalty": 1e-5},
    causes="penalty too strong (L2, 0.5)",
    named_by=("decay too strong",),
)
def strong_penalty(penalty=0.5, rate=0.01, epochs=4):
    """L2 penalty of 0.5."""
    x, y = digits()
    layers = [
        dense(n, a, kernel_regularizer=keras.regularizers.L2(penalty))
        for n, a in ((64, "relu"), (10, "softmax"))
    ]
    return Training(layers, x / 255, y, "sparse_categorical_crossentropy", rate, epochs=epochs)


@enter(
    SAME,
    fixed={"last": "softmax", "loss": "categorical_crossentropy"},
    causes="sigmoid and binary cross-entropy for ten classes (trains well)",
)
def sigmoid_for_ten_classes(last="sigmoid", loss="binary_crossentropy", rate=0.001, epochs=4):
    """ten classes, sigmoid, binary cross-entropy."""
    x, y = digits()
    layers = [dense(64, "relu"), dense(10, last)]
    return Training(layers, x / 255, one_hot(y), loss, rate, "Adam", epochs, truth=y)


@enter(
    SAME,
    fixed={"dropout": 0.2},
    causes="dropout of 0.95",
    named_by=("dropout too strong",),
    advice={"bad start": {"scaled": True}, "dropout too strong": {"dropout": 0.2}},
)
def strong_dropout(dropout=0.95, scaled=False, rate=0.01, epochs=6):
    """dropout of 0.95 after each layer."""
    x, y = digits()
    layers = []
    for _ in range(3):
        layers += [dense(64, "relu"), kl.Dropout(dropout)]
    layers.append(dense(10, "softmax"))
    x = (x - x.mean()) / x.std() if scaled else x / 255
    return Training(layers, x, y, "sparse_categorical_crossentropy", rate, epochs=epochs)


@enter(
    SAME,
    fixed={"missing": False},
    causes="NaN in the data",
    named_by=("inputs not finite",),
    advice={"inputs not finite": {"missing": False}},
)
def missing_values(missing=True, rate=0.001, epochs=20):
    """missing values as NaN."""
    x, y = blobs(seed=6)
    if missing:
        x = x.copy()
        x[np.random.RandomState(1).rand(*x.shape) < 0.01] = np.nan
    layers = [dense(16, "relu"), dense(1, "sigmoid")]
    return Training(layers, x, y, "binary_crossentropy", rate, "Adam", epochs)


@enter(
    SAME,
    fixed={"scaled": True},
    causes="images of 0 to 255 as targets of a sigmoid",
    named_by=("labels do not fit",),
    advice={"labels do not fit": {"scaled": True}, **SCALING},
    remark="Half of the variance is much for 16 numbers: enough is 0.3.",
)
def autoencoder(scaled=False, rate=0.001, epochs=6):
    """an autoencoder of raw images."""
    x, _ = digits()
    x = x / 255 if scaled else x
    layers = [dense(64, "relu"), dense(16, "relu"), dense(64, "relu"), dense(784, "sigmoid")]
    return Training(layers, x, x, "mse", rate, "Adam", epochs, metrics=(), enough=0.3)


PROGRAMS = {**REAL, **SAME}


# Training.


def optimizer_of(training):
    options = {"learning_rate": training.rate}
    if training.optimizer == "Nesterov":
        options |= {"momentum": 0.9, "nesterov": True}
        return keras.optimizers.SGD(**options)
    return getattr(keras.optimizers, training.optimizer)(**options)


def skill(training, model):
    """Return which share of the errors of the best constant answer the model avoids."""
    truth = np.asarray(training.y if training.truth is None else training.truth)
    outputs = model.predict(training.x, batch_size=500, verbose=0)
    if truth.dtype.kind == "f":
        truth = truth.reshape(outputs.shape)
        error, least = np.mean((outputs - truth) ** 2), np.mean(truth.var(axis=0))
    elif truth.ndim == 1 and outputs.shape[-1] > 1:
        error = np.mean(np.argmax(outputs, axis=1) != truth)
        least = 1 - np.bincount(truth).max() / len(truth)
    else:
        truth = truth.reshape(outputs.shape) > 0
        error = np.mean((outputs > training.cut) != truth)
        least = np.mean(np.minimum(truth.mean(axis=0), 1 - truth.mean(axis=0)))
    return float(1 - error / least) if np.isfinite(outputs).all() else -math.inf


def changed(program, variant):
    """Return the training of a variant: "buggy", "fixed", or verdicts whose advice is followed."""
    if variant == "buggy":
        return program.build()
    if variant == "fixed":
        return program.build(**program.fixed)
    changes = {}
    default = {k: p.default for k, p in inspect.signature(program.build).parameters.items()}
    for step in variant.split(" → "):
        fault, _, what = step.partition(": ")
        changes |= {} if what else program.advice[fault]
        for kind, factor in re.findall(r"(\w+) ([\d.]+)", what):
            changes[kind] = changes.get(kind, default[kind]) * float(factor)
    if "epochs" in changes:
        changes["epochs"] = round(changes["epochs"])
    return program.build(**changes)


FACTORS = {"a tenth": 0.1, "a hundredth": 0.01, "a thousandth": 0.001, "ten times": 10}
ARGUMENTS = {"the learning rate": "rate", "it": "penalty", "as long": "epochs"}


def advice_of(program, verdict):
    """Return what is done after a verdict, in the form that `changed` reads; "" if nothing is."""
    for words in program.advice:
        if words == verdict.fault or words in verdict.text:
            return words
    pattern = rf"({'|'.join(FACTORS)}|\d+ times) (?:of )?({'|'.join(ARGUMENTS)})\b"
    changes = [
        f"{ARGUMENTS[what]} {FACTORS.get(factor) or float(factor.split()[0]):g}"
        for factor, what in re.findall(pattern, verdict.text.lower())
    ]
    if " or with " in verdict.text:  # one of the two
        changes = changes[-1:]
    return f"{verdict.fault}: {', '.join(changes)}" if changes else ""


def judge(job):
    """Train one variant of a program and return its row."""
    name, variant, seed = job
    program = PROGRAMS[name]
    keras.utils.set_random_seed(int(seed))
    training = changed(program, variant)
    x, y = training.x[:PROBE], training.y[:PROBE]
    model = keras.Sequential([keras.Input(training.x.shape[1:]), *training.layers])
    model.compile(optimizer_of(training), training.loss, metrics=list(training.metrics))
    monitor = klo.EffectiveLearningRateMonitor(update_freq=10)
    options = {"epochs": training.epochs, "batch_size": training.batch, "verbose": 0}
    options |= {"shuffle": training.shuffle, "callbacks": [monitor]}
    steps = training.epochs * -(-len(training.x) // training.batch)
    with warnings.catch_warnings(action="ignore"):  # a softmax over one unit
        try:
            loss = model.fit(training.x, training.y, **options).history["loss"][-1]
        except (ValueError, tf.errors.InvalidArgumentError):  # Keras refuses the labels
            steps, loss, reached, verdicts = 0, math.nan, -math.inf, klo.check(model, x, y)
        else:
            reached, verdicts = skill(training, model), monitor.diagnose(x, y)
    keras.backend.clear_session()
    row = (name, variant, seed, steps, f"{loss:.4g}", f"{reached:.3f}")
    said = ", ".join(f"{v.fault} ({v.certainty})" for v in verdicts)
    advice = advice_of(program, verdicts[0]) if verdicts else ""
    return dict(zip(COLUMNS, (*row, said, advice), strict=True)), [v.text for v in verdicts]


def read_rows():
    return {tuple(row[c] for c in COLUMNS[:3]): row for row in rows_of(CSV)}


@functools.cache
def enough(name):
    return PROGRAMS[name].build().enough


def has_failed(row):
    return not float(row["skill"]) >= enough(row["program"])


def followed(rows, name, seed):
    """Return the rows of a program whose advice was followed, and the next variant or None."""
    row, variant, found = rows[name, "buggy", seed], "", []
    while row["advice"] and len(found) < ROUNDS and (not found or has_failed(found[-1])):
        if ":" not in row["advice"] and row["advice"] in variant.split(" → "):
            break  # it has been followed
        variant = " → ".join(filter(None, (variant, row["advice"])))
        if (name, variant, seed) not in rows:
            return found, variant
        row = rows[name, variant, seed]
        found.append(row)
    return found, None


def jobs_of(rows):
    """Return the trainings that are to be done next."""
    wanted = [
        (name, variant, str(seed))
        for name in PROGRAMS
        for variant in ("buggy", "fixed")
        for seed in SEEDS
    ]
    if missing := [job for job in wanted if job not in rows]:
        return missing
    found = []
    for name in PROGRAMS:
        for seed in map(str, SEEDS):
            if has_failed(rows[name, "buggy", seed]):
                variant = followed(rows, name, seed)[1]
                found += [(name, variant, seed)] if variant else []
    return found


# The page.


def faults(row):
    """Return pairs of a fault and its certainty."""
    return re.findall(r"([^,()]+?) \((\w+)\)", row["verdicts"].replace(", ", ","))


def alarms(row):
    return [fault for fault, certainty in faults(row) if certainty != "hint"]


def shown(rows):
    """Return the verdicts of some trainings, in their order, hints in italics, with counts."""
    counts = {}
    for row in rows:
        for fault, certainty in dict.fromkeys(faults(row)):
            text = f"*{fault}*" if certainty == "hint" else fault
            counts[text] = counts.get(text, 0) + 1
    return ", ".join(t if n == len(rows) else f"{t} ({n})" for t, n in counts.items()) or "—"


def share(part, whole):
    return f"{part} of {whole}"


def table(programs, rows):
    """Return the table of some programs, and the sentence that counts."""
    lines, totals = (
        [],
        dict.fromkeys(("failed", "named", "hinted", "alarms", "true", "cured", "later"), 0),
    )
    remarks = []
    for name, program in programs.items():
        buggy, fixed = ([rows[name, v, str(s)] for s in SEEDS] for v in ("buggy", "fixed"))
        failed = [row for row in buggy if has_failed(row)]
        named = [row for row in failed if {*program.named_by} & {*alarms(row), row["advice"]}]
        hinted = [
            row
            for row in failed
            if row not in named and {*program.named_by} & {fault for fault, _ in faults(row)}
        ]
        alarmed = [row for row in fixed if alarms(row)]
        rounds = [followed(rows, name, row["seed"])[0] for row in failed]
        first = [r for r in rounds if r and not has_failed(r[0])]
        later = [r for r in rounds if r[1:] and not has_failed(r[-1])]
        totals["failed"] += len(failed)
        totals["named"] += len(named)
        totals["hinted"] += len(hinted)
        totals["alarms"] += len(alarmed)
        totals["true"] += len([row for row in alarmed if has_failed(row)])
        totals["cured"] += len(first)
        totals["later"] += len(later)
        words = share(len(named), len(failed)) if failed else "—"
        words += f", {len(hinted)} by a hint" if hinted else ""
        cured = share(len(first), len(failed)) if failed and any(rounds) else "—"
        cured += f", {len(later)} later" if later else ""
        mark = " †" if alarmed and all(map(has_failed, alarmed)) else ""
        skills = [
            " / ".join(f"{max(float(row['skill']), -9.99):.2f}" for row in some)
            for some in (buggy, fixed)
        ]
        lines.append(
            [name, program.causes, *skills, shown(buggy), words, shown(fixed) + mark, cured]
        )
        if program.remark:
            remarks.append(f"- {name}: {program.remark}")
    head = ["program", "what was wrong", "skill, faulty", "skill, fixed", "verdicts on the faulty"]
    head += ["cause named", "verdicts on the fixed", "cured by the first advice"]
    trained = len(SEEDS) * len(programs)
    text = (
        f"Of {trained} faulty trainings {totals['failed']} failed. A verdict names a cause of "
        f"{totals['named']} of these, a hint of {totals['hinted']} more. Of {trained} fixed "
        f"trainings {totals['alarms']} have an alarm; {totals['true']} of these failed, too (†). "
        f"The first advice cured {totals['cured']} of {totals['failed']}; further advice "
        f"cured {totals['later']} more."
    )
    return "\n\n".join([text, markdown_table(head, lines), "\n".join(remarks)])


def write_page(rows):
    """Put the tables between the markers of the page."""
    tables = {
        f"{title}: written by docs/real_faults.py": f"{table(programs, rows)}\n"
        for title, programs in (("questions", REAL), ("kinds", SAME))
    }
    page = with_tables(PAGE.read_text(encoding="utf-8"), tables)
    PAGE.write_text(page, encoding="utf-8")


def main():
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    digits()  # built once, before there are two processes
    context = multiprocessing.get_context("spawn")
    os.environ["TF_NUM_INTRAOP_THREADS"] = "1"  # of each of the two
    with ProcessPoolExecutor(2, context) as pool:
        while jobs := jobs_of(read_rows()):
            for row, texts in pool.map(judge, jobs):
                append_rows(CSV, COLUMNS, [row])
                print(*row.values(), *texts, sep=" · ", flush=True)
    write_page(read_rows())


if __name__ == "__main__":
    _programs.run(main)
