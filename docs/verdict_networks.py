"""The networks of the study of verdicts: small ones, on data that any machine can make.

`train` trains one of them, with what `Plan` asks for planted in it. `reached` says how far the
training came.
"""

import dataclasses
import functools
import math

import keras_lecture_opt as klo  # first: it keeps TensorFlow's start-up lines off the terminal

# isort: split
import keras
import numpy as np

from keras_lecture_opt import mnist

EXAMPLES, BATCH, STEPS = 6400, 128, 300
FIRST, SECOND = 0, 1  # kernels
LAYERS = keras.layers


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, its data, and what a healthy training of it reaches.

    Attributes:
        task: "classes" (one of several is right), "binary", "labels" (each is 0 or 1), "pixels"
            (from 0 to 1, each by itself) or "quantity".
        data: function that returns inputs and labels.
        body: function that adds the hidden layers to a tensor.
        loss: at most this share of the loss of the best constant.
        score: at least this accuracy; for pixels and quantities, this share of the variance.
        rates: dict from the names of rules to good learning rates.
    """

    task: str
    data: object
    body: object
    loss: float
    score: float
    rates: dict = dataclasses.field(default_factory=lambda: RATES)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How one training differs from a good one. Each default is that of a good training."""

    rate: float = 1.0  # factor of the learning rate
    decays_to_0: bool = False
    warms_up: bool = False
    clipnorm: float | None = None
    decay: float = 0.0  # share of a weight that a step takes away
    penalty: float | None = None  # factor of Σw²
    batch: int = BATCH
    steps: int = STEPS
    # data
    # "255": 0 to 255; "1/255": to 1/255; "columns": of very different scales; "far": mean 100
    inputs: str = ""
    standardized: bool = False
    nan: bool = False
    shuffled: bool = False
    targets: str = ""  # "large": not scaled; "-1": −1 and 1; "far": around 5
    class_weight: bool = False
    smoothing: float = 0.0
    soft: bool = False  # labels: two examples are mixed
    # network
    start: tuple = ()  # of pairs: index of a kernel, its factor
    recurrent_start: float = 1.0  # the same of recurrent kernels
    uniform: bool = False  # kernels start within ±0.05
    initializer: str = "glorot_uniform"
    first_bias: float = 0.0
    frozen: tuple = ()  # indices of layers
    cut: bool = False  # gradients
    activation: str = ""
    depth: int = 2
    width: float = 1.0  # factor
    dropout: float = 0.0
    normalization: bool = False
    # output and loss
    last: str | None = None  # activation; None: the right one
    loss: str = ""
    from_logits: bool = False
    passed_on: bool = False  # a layer after the last activation, which changes nothing
    twice: bool = False  # a second softmax
    softmax_unit: bool = False  # one unit for two classes, with a softmax


RATES = {
    "SteepestDescent": 0.2,
    "Momentum": 0.05,
    "Nesterov": 0.05,
    "AdaGrad": 0.01,
    "RMSProp": 0.001,
    "SimplifiedAdam": 0.001,
    "Adam": 0.001,
    "keras.Adam": 0.001,
    "keras.SGD": 0.02,
    "keras.AdamW": 0.001,
    "keras.RMSprop": 0.001,
}
# The mean over so many pixels has small gradients.
PIXEL_RATES = {
    **RATES,
    "SteepestDescent": 5.0,
    "Momentum": 1.0,
    "Nesterov": 1.0,
    "AdaGrad": 0.03,
    "keras.SGD": 0.5,
}
# Without a warm-up.
ATTENTION_RATES = {**RATES, "Momentum": 0.02, "Nesterov": 0.02}
# What people take to fine-tune a trained network.
SMALL_RATES = {
    "Momentum": 1e-4,
    "Adam": 1e-5,
    "keras.Adam": 1e-5,
    "keras.SGD": 1e-4,
    "keras.AdamW": 2e-5,
}


# Data.


@functools.cache
def images():
    (x, y), _ = mnist.load()
    return x[:EXAMPLES, ..., np.newaxis].astype("float32") / 255, y[:EXAMPLES].astype("int32")


def copies():
    x, _ = images()
    return x, x.reshape(len(x), -1)


def large_digits():
    x, y = images()
    return x, (y[:, None] >= 5).astype("float32")


@functools.cache
def tokens():
    """Sequences of 20 tokens out of 50. Each of 5 classes has 10 tokens that it likes more."""
    random = np.random.default_rng(0)
    y = random.integers(5, size=EXAMPLES)
    favorites = y[:, None] * 10 + random.integers(10, size=(EXAMPLES, 20))
    others = random.integers(50, size=(EXAMPLES, 20))
    x = np.where(random.random((EXAMPLES, 20)) < 0.4, favorites, others)
    return x.astype("int32"), y.astype("int32")


@functools.cache
def waves():
    """Sequences of 16 values of 2 noisy waves. Each of 3 classes has a frequency."""
    random = np.random.default_rng(0)
    y = random.integers(3, size=EXAMPLES)
    frequency = np.array([0.3, 0.7, 1.2])[y][:, None]
    phase = random.uniform(0, 2 * np.pi, (EXAMPLES, 1))
    angle = frequency * np.arange(16) + phase
    x = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    x = x + 0.3 * random.standard_normal(x.shape)
    return x.astype("float32"), y.astype("int32")


@functools.cache
def columns():
    random = np.random.default_rng(0)
    return random.standard_normal((EXAMPLES, 10)).astype("float32")


@functools.cache
def hidden_quantities(number):
    """Functions of the columns that are not linear, of mean 0 and standard deviation 1."""
    random = np.random.default_rng(1)
    first, second = (random.standard_normal((10, number)) / np.sqrt(10) for _ in range(2))
    y = np.tanh(2 * columns() @ first) + 0.7 * (columns() @ second) ** 2
    return ((y - y.mean(axis=0)) / y.std(axis=0)).astype("float32")


def quantity():
    return columns(), hidden_quantities(1)


def two_classes():
    return columns(), (hidden_quantities(1) > 0).astype("float32")


def several_labels():
    return columns(), (hidden_quantities(6) > 0.3).astype("float32")


# Networks.


def activated(y, plan, default="relu"):
    if plan.normalization:
        y = LAYERS.BatchNormalization(momentum=0.9)(y)
    return LAYERS.Activation(plan.activation or default)(y)


def options(plan, index=None):
    """Return the arguments of a layer's kernel and bias."""
    initializer = keras.initializers.get(plan.initializer)
    if plan.uniform:
        initializer = keras.initializers.RandomUniform(-0.05, 0.05)
    found = {"kernel_initializer": initializer}
    if plan.penalty is not None:
        found["kernel_regularizer"] = keras.regularizers.L2(plan.penalty)
    if index == FIRST:
        found["bias_initializer"] = keras.initializers.Constant(plan.first_bias)
    return found


def dense(units):
    """Return a function that adds dense layers of so many units each."""

    def body(y, plan):
        if len(y.shape) > 2:
            y = LAYERS.Flatten()(y)
        for i in range(plan.depth):
            y = LAYERS.Dense(int(units * plan.width), **options(plan, i))(y)
            y = activated(y, plan)
        return y

    return body


def convolutions(y, plan):
    for i in range(plan.depth):
        strides = 2 if i < 2 else 1
        filters = int(8 * plan.width)
        y = LAYERS.Conv2D(filters, 3, strides, padding="same", **options(plan, i))(y)
        y = activated(y, plan)
    return LAYERS.Flatten()(y)


def normalized_convolutions(y, plan):
    return convolutions(y, dataclasses.replace(plan, normalization=True))


def transformer(y, plan):
    positions = keras.ops.arange(20)
    y = LAYERS.Embedding(50, 32)(y) + LAYERS.Embedding(20, 32)(positions)
    for i in range(plan.depth):
        attended = LAYERS.MultiHeadAttention(4, 8)(y, y)
        y = LAYERS.LayerNormalization()(y + attended)
        hidden = activated(LAYERS.Dense(64, **options(plan, i))(y), plan)
        y = LAYERS.LayerNormalization()(y + LAYERS.Dense(32, **options(plan))(hidden))
    return LAYERS.GlobalAveragePooling1D()(y)


def lstm(y, plan):
    return LAYERS.LSTM(32, **options(plan))(y)


def simple_rnn(y, plan):
    return LAYERS.SimpleRNN(32, plan.activation or "tanh", **options(plan))(y)


def autoencoder(y, plan):
    y = LAYERS.Flatten()(y)
    for i, units in enumerate((128, 32, 128)):
        y = activated(LAYERS.Dense(units, **options(plan, i))(y), plan)
    return y


NETWORKS = {
    "mlp": Network("classes", images, dense(200), 0.2, 0.9),
    "cnn": Network("classes", images, convolutions, 0.2, 0.88),
    "cnn with BatchNormalization": Network("classes", images, normalized_convolutions, 0.2, 0.88),
    "transformer": Network("classes", tokens, transformer, 0.2, 0.9, ATTENTION_RATES),
    "LSTM": Network("classes", waves, lstm, 0.2, 0.93),
    "SimpleRNN": Network("classes", waves, simple_rnn, 0.2, 0.93),
    "regression": Network("quantity", quantity, dense(64), 0.08, 0.92),
    "autoencoder": Network("pixels", copies, autoencoder, 0.75, 0.4, PIXEL_RATES),
    "fine-tuning": Network("binary", large_digits, dense(200), 0.95, 0.65, SMALL_RATES),
    "binary head": Network("binary", two_classes, dense(64), 0.25, 0.92),
    "several labels": Network("labels", several_labels, dense(64), 0.5, 0.85),
}
ENDINGS = {
    "classes": ("softmax", "sparse_categorical_crossentropy", "sparse_categorical_accuracy"),
    "binary": ("sigmoid", "binary_crossentropy", "binary_accuracy"),
    "labels": ("sigmoid", "binary_crossentropy", "binary_accuracy"),
    "pixels": ("sigmoid", "binary_crossentropy", None),
    "quantity": ("linear", "mean_squared_error", None),
}


def build(name, plan, shape, units):
    """Build a network, with what is asked for planted in it."""
    network = NETWORKS[name]
    inputs = keras.Input(shape, dtype="int32" if network.data is tokens else "float32")
    hidden = network.body(inputs, plan)
    if plan.dropout:
        hidden = LAYERS.Dropout(plan.dropout)(hidden)
    if plan.cut:
        hidden = LAYERS.Lambda(keras.ops.stop_gradient)(hidden)
    last = "softmax" if plan.softmax_unit else plan.last or ENDINGS[network.task][0]
    outputs = LAYERS.Dense(units, last, **options(plan))(hidden)
    if plan.passed_on:
        outputs = LAYERS.Reshape((units,))(outputs)
    if plan.twice:
        outputs = LAYERS.Softmax()(outputs)
    model = keras.Model(inputs, outputs)
    if name == "fine-tuning":
        weighted = [layer for layer in model.layers if layer.weights]
        for layer, weights in zip(weighted, learned(), strict=False):
            layer.set_weights(weights)
    weighted = [layer for layer in model.layers if kernel_of(layer) is not None]
    for i, factor in plan.start:
        kernel_of(weighted[i]).assign(factor * kernel_of(weighted[i]))
    for layer in weighted:
        if isinstance(layer, keras.layers.RNN):
            kernel = layer.cell.recurrent_kernel
            kernel.assign(plan.recurrent_start * kernel)
    for i in plan.frozen:
        weighted[i].trainable = False
    return model


def kernel_of(layer):
    layer = layer.cell if isinstance(layer, keras.layers.RNN) else layer
    return getattr(layer, "kernel", None)


@functools.cache
def learned():
    """Return the weights of the hidden layers of a network that has learned the ten digits."""
    model = train("mlp", "Adam", 7, Plan())[1]
    return [layer.get_weights() for layer in model.layers if layer.weights][:-1]


# Training.


def data_for(name, plan, seed=0):
    """Return inputs as the plan has them, those that are trained on, labels, the true labels.

    The first are free of NaN.
    """
    x, y = NETWORKS[name].data()
    right = y
    random = np.random.default_rng(seed)
    if plan.inputs == "255":
        x = 255 * x
    elif plan.inputs == "1/255":
        x = x / 255
    elif plan.inputs == "columns":
        x = x * 10.0 ** np.linspace(-3, 3, x.shape[-1], dtype="float32")
    elif plan.inputs == "far":
        x = x + 100 * x.std()
    if plan.standardized and x.dtype.kind == "f":
        axes = None if x.ndim == 4 else (*range(x.ndim - 1),)
        x = (x - x.mean(axes)) / x.std(axes)
    if plan.targets == "large":
        y = right = 5000 + 1000 * y
    elif plan.targets == "-1":
        y = 2 * y - 1
    elif plan.targets == "far":
        y = right = 5 + 3 * y
    if plan.smoothing or plan.soft:
        y = np.eye(int(y.max()) + 1, dtype="float32")[y]
    if plan.smoothing:
        y = y * (1 - plan.smoothing) + plan.smoothing / y.shape[1]
    if plan.soft:
        y = 0.9 * y + 0.1 * random.permutation(y)
    if plan.shuffled:
        y = random.permutation(y)
    clean = x
    if plan.nan:
        x = x.copy()
        x[1234].flat[3] = np.nan
    return clean, x, y, right


def optimizer_for(name, rule, plan):
    rate = plan.rate * NETWORKS[name].rates[rule]
    arguments = {"clipnorm": plan.clipnorm}
    if plan.decay:  # Keras's argument is a factor of the learning rate
        arguments["weight_decay"] = plan.decay / rate
    if plan.decays_to_0:
        rate = keras.optimizers.schedules.CosineDecay(rate, plan.steps)
    elif plan.warms_up:
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 100, plan.steps, warmup_target=rate, warmup_steps=plan.steps // 5
        )
    if rule == "keras.SGD":
        arguments["momentum"] = 0.9
    library, _, short = rule.rpartition(".")
    return getattr(keras.optimizers if library else klo, short)(rate, **arguments)


def loss_for(name, plan):
    task = NETWORKS[name].task
    loss = plan.loss or ENDINGS[task][1]
    if not plan.loss and (plan.smoothing or plan.soft):
        loss = "categorical_crossentropy"
    if not plan.from_logits:
        return loss
    losses = {
        "classes": keras.losses.SparseCategoricalCrossentropy,
        "binary": keras.losses.BinaryCrossentropy,
        "labels": keras.losses.BinaryCrossentropy,
        "pixels": keras.losses.BinaryCrossentropy,
    }
    return losses[task](from_logits=True)


def compiled(name, rule, seed, plan):
    """Return a compiled model, and the data of `data_for`."""
    if name == "fine-tuning":
        learned()  # with a seed of its own
    keras.utils.set_random_seed(seed)
    task = NETWORKS[name].task
    clean, x, y, right = data_for(name, plan, seed)
    units = int(right.max()) + 1 if task == "classes" else right.shape[-1]
    model = build(name, plan, x.shape[1:], units)
    metric = ENDINGS[task][2]
    if metric and y.ndim > 1 and task == "classes":
        metric = "categorical_accuracy"
    model.compile(
        optimizer_for(name, rule, plan),
        loss_for(name, plan),
        metrics=[metric] if metric else None,
        jit_compile=False,
    )
    return model, clean, x, y, right


def train(name, rule, seed, plan, look=None):
    """Train a network.

    Args:
        name: of the network.
        rule: of the optimizer.
        seed: an integer.
        plan: a `Plan`.
        look: function of the compiled model, the inputs and the labels, before the training.

    Returns:
        The monitor, the model, the inputs and the labels that it was trained on, and what was
        `reached`.
    """
    model, clean, x, y, right = compiled(name, rule, seed, plan)
    if look:
        look(model, x, y)
    if plan.steps * plan.batch < len(x):
        few = plan.steps * plan.batch
        epochs, given = 1, (x[:few], y[:few])
    else:
        epochs, given = -(-plan.steps * plan.batch // len(x)), (x, y)
    weights = None
    if plan.class_weight:
        weights = {c: 10.0 if c == 0 else 1.0 for c in range(int(right.max()) + 1)}
    monitor = klo.EffectiveLearningRateMonitor(update_freq=50)
    model.fit(
        *given, plan.batch, epochs=epochs, callbacks=[monitor], class_weight=weights, verbose=0
    )
    outputs = np.asarray(model(clean, training=False), "float64")  # `predict` would be traced
    ends_open = plan.last == "linear" and not plan.twice
    return monitor, model, x, y, reached(NETWORKS[name].task, outputs, right, ends_open)


def reached(task, outputs, y, are_logits=False):
    """Return the loss over that of the best constant, and the accuracy or the share of variance.

    The loss is the right one for the task, whatever was trained.
    """
    if task == "quantity":
        share = float(np.mean((outputs - y) ** 2) / np.mean(y.var(axis=0)))
        return share, 1 - share
    if not np.isfinite(outputs).all():
        return math.nan, math.nan
    if task == "classes":
        if are_logits:
            outputs = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        p = np.clip(outputs, 1e-7, None)
        p = p / p.sum(axis=1, keepdims=True)
        loss = -np.mean(np.log(p[np.arange(len(y)), y]))
        shares = np.bincount(y) / len(y)
        return float(loss / entropy(shares)), float(np.mean(p.argmax(axis=1) == y))
    p = np.clip(1 / (1 + np.exp(-outputs)) if are_logits else outputs, 1e-7, 1 - 1e-7)
    loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    means = np.mean(y, axis=0)
    best = np.mean([entropy(np.array([m, 1 - m])) for m in means])
    if task == "pixels":
        score = 1 - np.mean((p - y) ** 2) / np.mean(y.var(axis=0))
    else:
        score = np.mean((p > 0.5) == (y > 0.5))
    return float(loss / best), float(score)


def entropy(shares):
    shares = shares[shares > 0]
    return float(-np.sum(shares * np.log(shares)))


def is_harmed(name, loss, score):
    """Whether a training did not reach what a healthy one of its network reaches."""
    return not (loss <= NETWORKS[name].loss and score >= NETWORKS[name].score)
