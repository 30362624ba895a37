"""EffectiveLearningRateMonitor: what it writes, read back; and that training does not notice it."""

import collections
import json
import pathlib
import urllib.parse
import urllib.request

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import imported, run_alone
from keras import optimizers
from keras_lecture_opt._names import canonical_names
from keras_lecture_opt._watched import map_shapes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util import tensor_util

import keras_lecture_opt
from keras_lecture_opt import EffectiveLearningRateMonitor, _measure

screenshots = imported(pathlib.Path(__file__).parents[1] / "docs" / "screenshots.py")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(56, 4)).astype("float32")
X[:, 0] = 0  # a dead input: its weights never get a gradient
Y = RNG.normal(size=(56, 2)).astype("float32")
BATCH = 8  # 7 batches an epoch
QUANTILES = {"min": 0, "p05": 0.05, "median": 0.5, "p95": 0.95, "max": 1}
VARIABLES = ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]


def network(optimizer, **arguments):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(optimizer, "mse", **arguments)
    return model


def fit(model, *callbacks, epochs=2, **arguments):
    arguments = {"batch_size": BATCH, "verbose": 0, **arguments}
    return model.fit(X, Y, epochs=epochs, callbacks=[*callbacks], **arguments)


class Log:
    """What a run's folder holds: tag -> [(step, value), ...]."""

    def __init__(self, folder):
        events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
        self.tags = events.Tags()["tensors"]
        self.values = {
            tag: [(e.step, tensor_util.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)]
            for tag in self.tags
        }
        self.metadata = {t: events.SummaryMetadata(t).plugin_data for t in self.tags}
        self.plugins = {t: data.plugin_name for t, data in self.metadata.items()}

    def steps(self, tag):
        return [step for step, _ in self.values[tag]]

    def last(self, tag):
        return self.values[tag][-1][1]


def expected_tags(names=VARIABLES):
    tags = {"optimizer/configuration": "text", "custom_scalars__config__": "custom_scalars"}
    for name in names:
        tags[f"effective_lr/{name}"] = "scalars"
        tags[f"effective_lr_histogram/{name}"] = "histograms"
        tags[f"never_updated/{name}"] = "scalars"
        tags |= {f"effective_lr_quantiles/{name}/{q}": "scalars" for q in QUANTILES}
    return tags


def test_exact_tags_steps_and_files(tmp_path):
    fit(network(keras_lecture_opt.Adam()), EffectiveLearningRateMonitor(tmp_path))
    log = Log(tmp_path / "train")
    assert log.plugins == expected_tags()
    for tag in log.tags:
        assert log.steps(tag) == ([0] if "config" in tag else [7, 14])
    assert Log(tmp_path).plugins == {
        "_hparams_/experiment": "hparams",
        "_hparams_/session_start_info": "hparams",
    }
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(str(path.parent) for path in files) == [".", "train"]
    assert all(path.name.startswith("events.out.tfevents.") for path in files)


def adam_by_hand(optimizer):
    """The rates of the variables, from the names of the optimizer's variables, in NumPy."""
    rates = []
    for v in optimizer.variables:
        if v.path.endswith("second_moment"):
            v_hat = v.numpy().astype("float64") / (1 - 0.999 ** int(optimizer.iterations))
            rates.append(0.001 / (np.sqrt(v_hat) + 1e-8))
    return rates


def keras_adam_by_hand(optimizer):
    t = int(optimizer.iterations)
    return [
        0.001 * np.sqrt(1 - 0.999**t) / (np.sqrt(v.numpy().astype("float64")) + 1e-7)
        for v in optimizer.variables
        if v.path.endswith("velocity")
    ]


def sgd_by_hand(optimizer):
    return [np.full(shape, 0.25) for shape in ((4, 8), (8,), (8, 2), (2,))]


BY_HAND = {
    "ours": (keras_lecture_opt.Adam, adam_by_hand),
    "Keras's": (optimizers.Adam, keras_adam_by_hand),
    "without state": (lambda: optimizers.SGD(0.25), sgd_by_hand),
}


@pytest.mark.parametrize("whose", BY_HAND)
def test_values_are_those_of_the_formula(whose, tmp_path):
    make, by_hand = BY_HAND[whose]
    model = network(make())
    fit(model, EffectiveLearningRateMonitor(tmp_path))
    log = Log(tmp_path / "train")
    for name, rate in zip(VARIABLES, by_hand(model.optimizer), strict=True):
        never = rate[0].size if name == "dense/kernel" else 0  # the weights of the dead input
        assert log.last(f"never_updated/{name}") == pytest.approx(never / rate.size)
        others = rate[1:] if never else rate
        for q, share in QUANTILES.items():
            # The smallest rate that so many are not above; of the bins, 0.4% wide.
            true = np.quantile(others, share, method="inverted_cdf")
            exact = share in (0, 1) or whose == "without state"
            logged = log.last(f"effective_lr_quantiles/{name}/{q}")
            assert logged == pytest.approx(true, rel=2e-5 if exact else 4e-3), (name, q)
        assert log.last(f"effective_lr/{name}") == logged_median(log, name)
        for _, bars in log.values[f"effective_lr_histogram/{name}"]:
            assert bars[:, 2].sum() == rate.size
        logs = np.log10(rate)
        for left, right, count in bars:
            assert count == ((logs >= left) & (logs < right)).sum()


def logged_median(log, name):
    return log.last(f"effective_lr_quantiles/{name}/median")


@pytest.mark.parametrize("part", [_measure.PART, 1000])
def test_quantiles_of_many_weights(part, monkeypatch):
    """Thirty orders of magnitude, counted at once or in parts."""
    monkeypatch.setattr(_measure, "PART", part)
    rates = np.exp(RNG.normal(-3, 8, size=(300, 101))).astype("float32")
    seen = RNG.random(rates.shape) < 0.75
    seen[:30] = False  # some parts have none
    measured = _measure.summarized(tf.constant(rates), tf.constant(seen))
    true = np.quantile(rates[seen], [*QUANTILES.values()], method="inverted_cdf")
    np.testing.assert_allclose(measured["quantiles"], true, rtol=4e-3)
    np.testing.assert_array_equal(measured["quantiles"].numpy()[[0, -1]], true[[0, -1]])
    assert measured["never_updated"].numpy() == pytest.approx(1 - seen.mean())
    assert measured["bars"].numpy().sum() == rates.size
    assert measured["not_finite"] == 0


FREQUENCIES = {  # update_freq, arguments of compile -> steps of two epochs of 7 batches
    "epoch": ("epoch", {}, [7, 14]),
    "batch": ("batch", {}, [*range(1, 15)]),
    "every 3": (3, {}, [3, 6, 9, 12]),
    "every 7": (7, {}, [7, 14]),
    "more than there are": (100, {}, []),
    "executions": ("batch", {"steps_per_execution": 3}, [3, 6, 7, 10, 13, 14]),
    "every 5, in executions": (5, {"steps_per_execution": 3}, [6, 10]),
    "epochs of executions": ("epoch", {"steps_per_execution": 3}, [7, 14]),
    "eager": (4, {"run_eagerly": True}, [4, 8, 12]),
}


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_update_freq(frequency, tmp_path):
    update_freq, arguments, steps = FREQUENCIES[frequency]
    model = network(keras_lecture_opt.AdaGrad(), **arguments)
    fit(model, EffectiveLearningRateMonitor(tmp_path, update_freq))
    log = Log(tmp_path / "train")
    assert (
        log.steps("effective_lr/dense/bias") == steps if steps else "effective_lr" not in log.tags
    )


@pytest.mark.parametrize("update_freq", ["epoch", 4])
def test_two_fits_and_initial_epoch(update_freq, tmp_path):
    model, monitor = (
        network(optimizers.Adagrad()),
        EffectiveLearningRateMonitor(tmp_path, update_freq),
    )
    fit(model, monitor, epochs=1)
    fit(model, monitor, epochs=3, initial_epoch=1)
    log = Log(tmp_path / "train")
    assert log.plugins == expected_tags()
    steps = [7, 14, 21] if update_freq == "epoch" else [4, 8, 12, 16, 20]
    assert log.steps("effective_lr/dense/bias") == steps
    assert log.steps("optimizer/configuration") == [0]
    assert len([*tmp_path.rglob("events*")]) == 3


def test_second_fit_does_not_retrace(tmp_path, monkeypatch):
    traced, formula = [], keras_lecture_opt.AdaGrad.effective_learning_rate

    def counting(self, *arguments):
        if not tf.executing_eagerly():
            traced.append(1)
        return formula(self, *arguments)

    model, monitor = network(keras_lecture_opt.AdaGrad()), EffectiveLearningRateMonitor(tmp_path, 2)
    fit(model, monitor)
    monkeypatch.setattr(keras_lecture_opt.AdaGrad, "effective_learning_rate", counting)
    fit(model, monitor)
    assert not traced


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("update_freq", ["epoch", "batch", 3])
def test_beside_keras_own_callback(order, update_freq, tmp_path):
    model = network(keras_lecture_opt.Adam())
    monitor = EffectiveLearningRateMonitor(tmp_path / "both", 2)
    own = keras.callbacks.TensorBoard(tmp_path / "both", update_freq=update_freq)
    fit(model, *[monitor, own][::order])
    log = Log(tmp_path / "both" / "train")
    assert expected_tags().items() <= log.plugins.items()
    assert log.steps("effective_lr/dense/bias") == [2, 4, 6, 8, 10, 12, 14]

    fit(
        network(keras_lecture_opt.Adam()),
        keras.callbacks.TensorBoard(tmp_path / "alone", update_freq=update_freq),
    )
    alone = Log(tmp_path / "alone" / "train")
    assert {t for t in log.tags if t not in expected_tags()} == set(alone.tags)
    if update_freq != 3:  # Keras's own then leaves it out, alone or not
        np.testing.assert_array_equal(log.values["epoch_loss"], alone.values["epoch_loss"])


def test_training_does_not_notice(tmp_path, rule):
    monitor = EffectiveLearningRateMonitor(tmp_path, "batch", write_images=True, tracked_weights=2)
    models = [network(rule()), network(rule())]
    histories = [fit(models[0]), fit(models[1], monitor)]
    assert histories[0].history == histories[1].history
    for a, b in zip(*(m.weights + m.optimizer.variables for m in models), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert Log(tmp_path / "train").steps("never_updated/dense/bias") == [*range(1, 15)]


class Stop(keras.callbacks.Callback):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 5:
            raise self.error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_was_logged_survives_an_error(error, tmp_path):
    model, monitor = (
        network(keras_lecture_opt.Adam()),
        EffectiveLearningRateMonitor(tmp_path, "batch"),
    )
    with pytest.raises(error):
        fit(model, monitor, Stop(error))
    assert Log(tmp_path / "train").steps("effective_lr/dense/bias") == [1, 2, 3, 4]
    fit(model, monitor, epochs=1)
    steps = Log(tmp_path / "train").steps("effective_lr/dense/bias")
    assert steps == [1, 2, 3, 4, *range(6, 13)]


def test_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    model = network(keras_lecture_opt.Adam())
    monitor = EffectiveLearningRateMonitor(tmp_path / "file" / "run")
    with pytest.raises(OSError, match=r"`log_dir` '.*file/run' cannot be written to"):
        fit(model, monitor)
    assert int(model.optimizer.iterations) == 0


BAD = {
    "update_freq": [("epochs", TypeError), (0, ValueError), (2.0, TypeError), (True, TypeError)],
    "write_images": [(1, TypeError)],
    "tracked_weights": [(-1, ValueError), ("2", TypeError)],
    "seed": [(-1, ValueError), (None, TypeError)],
    "hparams": [(3, TypeError), ({"batch_size": None}, TypeError), ({1: 2}, TypeError)],
}


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [(argument, *case) for argument, cases in BAD.items() for case in cases],
)
def test_bad_argument(argument, value, error, tmp_path):
    with pytest.raises(error, match=f"`{argument}` must be .*not {value!r}"):
        EffectiveLearningRateMonitor(tmp_path, **{argument: value})


@pytest.mark.parametrize(
    ("tracked", "message"),
    [
        (
            {"dense/weights": [(0, 0)]},
            r"no variable 'dense/weights' is trained; there are 'dense/kernel'",
        ),
        ({"dense/kernel": [(0, 8)]}, r"'dense/kernel', of shape \(4, 8\), has no weight \(0, 8\)"),
        ({"dense/kernel": [(-1, 0)]}, r"has no weight \(-1, 0\)"),
        ({"dense/kernel": [(0,)]}, r"has no weight \(0,\)"),
        ({"dense/bias": [1.0]}, r"has no weight \(1.0,\)"),
        ({"dense/kernel": (0, 1)}, r"has no weight \(0,\)"),
        ({"dense/bias": ["a"]}, r"has no weight \('a',\)"),
        ({"dense/bias": 1}, r"'dense/bias' needs a list of indices, not 1"),
    ],
)
def test_weight_that_does_not_exist(tracked, message, tmp_path):
    model = network(keras_lecture_opt.Adam())
    with pytest.raises((TypeError, ValueError), match=message):
        fit(model, EffectiveLearningRateMonitor(tmp_path, tracked_weights=tracked))
    assert int(model.optimizer.iterations) == 0


class OwnRule(optimizers.SGD):
    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate)


def test_unknown_optimizer_is_refused_before_the_first_step(tmp_path):
    model = network(OwnRule())
    with pytest.raises(TypeError, match="OwnRule is not known"):
        fit(model, EffectiveLearningRateMonitor(tmp_path))
    assert int(model.optimizer.iterations) == 0
    assert not [*tmp_path.iterdir()]


FORGETFUL = {
    "Momentum": keras_lecture_opt.Momentum,
    "RMSProp": keras_lecture_opt.RMSProp,
    "SGD": lambda: optimizers.SGD(momentum=0.9),
    "RMSprop": lambda: optimizers.RMSprop(weight_decay=0.0),
}


@pytest.mark.parametrize("name", FORGETFUL)
def test_what_was_updated_once_stays_updated(name, tmp_path):
    """Whatever the state forgets until the next event."""
    x = np.zeros((1200, 2), "float32")
    x[0, 0] = 1  # the first input is alive in the first batch only, the second never
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(FORGETFUL[name](), "mse", steps_per_execution=100)
    monitor = EffectiveLearningRateMonitor(tmp_path)
    model.fit(x, 9 * x[:, :1], batch_size=1, shuffle=False, callbacks=[monitor], verbose=0)
    log = Log(tmp_path / "train")
    assert log.last("never_updated/dense/kernel") == 0.5
    assert log.steps("effective_lr/dense/kernel") == [1200]


def test_weight_decay_is_not_taken_for_an_update(tmp_path):
    for name, optimizer in (
        ("adam", keras_lecture_opt.Adam(weight_decay=0.5)),
        ("momentum", optimizers.SGD(momentum=0.5, weight_decay=0.5)),
        ("sgd", optimizers.SGD(weight_decay=0.5)),
    ):
        fit(network(optimizer), EffectiveLearningRateMonitor(tmp_path / name))
        log = Log(tmp_path / name / "train")
        if name == "sgd":  # it does not remember whose gradient was 0
            assert "never_updated/dense/kernel" not in log.tags
        else:
            assert log.last("never_updated/dense/kernel") == 0.25


class Odd(keras.layers.Layer):
    """A scalar, a variable without elements, and two of one name."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")
        self.empty = self.add_weight(shape=(0,), name="empty")
        self.twins = [self.add_weight(shape=(1,), name="twin") for _ in range(2)]
        self.other = self.add_weight(shape=(1,), name="twin_1")

    def call(self, x):
        return (
            x * self.scale + self.twins[0] + self.twins[1] + self.other + tf.reduce_sum(self.empty)
        )


def test_odd_variables(tmp_path):
    inputs = [keras.Input((4,)), keras.Input((None, 3)), keras.Input((2, 2))]
    pooled = [keras.layers.GlobalAveragePooling1D()(x) for x in inputs[1:]]
    x = keras.layers.Concatenate()([inputs[0], *pooled])
    x = Odd()(keras.layers.Dense(2)(x))
    model = keras.Model(inputs, x)
    model.compile(keras_lecture_opt.Adam(), "mse")
    monitor = EffectiveLearningRateMonitor(tmp_path, write_images=True, tracked_weights=1)
    data = [X, np.ones((56, 5, 3)), np.ones((56, 2, 2))]
    model.fit(data, Y, callbacks=[monitor], verbose=0)
    log = Log(tmp_path / "train")
    names = {tag.partition("/")[2] for tag in log.tags if tag.startswith("effective_lr/")}
    twins = {"odd/twin", "odd/twin_1", "odd/twin_1_1"}
    assert names == {"dense/kernel", "dense/bias", "odd/scale"} | twins
    assert "tracked_weights/odd/scale[]" in log.tags
    assert "effective_lr_map/dense/kernel" in log.tags


@pytest.mark.parametrize("shape", [(None, 3), (None, None, 3), (4,), (3, 4, 5, 6)])
def test_maps_of_inputs_that_are_no_images_or_of_any_size(shape):
    class Model:
        input_shape = (None, *shape)

    variable = keras.Variable(np.ones((12, 2)))
    assert map_shapes([variable], Model) == {id(variable): (12, 2)}


def test_optimizer_of_some_variables_and_optimizers_unseen(tmp_path):
    class Own(keras.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x) - y) ** 2)
            variables = self.trained
            self.own.apply(tape.gradient(loss, variables), variables)
            return {"loss": loss}

    def model(optimizer):
        inputs = keras.Input((4,))
        hidden = keras.layers.Dense(3, name="hidden")(inputs)
        model = Own(inputs, keras.layers.Dense(2, name="output")(hidden))
        model.compile(optimizer, "mse")
        model.trained = model.layers[-1].trainable_variables
        return model

    some = model(keras_lecture_opt.Adam())
    some.own = some.optimizer
    some.own.build(some.trained)
    with pytest.warns(UserWarning, match="Not logged: .* does not update 'kernel'"):
        fit(some, EffectiveLearningRateMonitor(tmp_path / "some"))
    tags = Log(tmp_path / "some" / "train").tags
    assert "effective_lr/output/kernel" in tags
    assert "effective_lr/hidden/kernel" not in tags

    unseen = model("adam")
    unseen.own = keras_lecture_opt.Adam()
    with pytest.warns(UserWarning, match="has logged nothing: `model.optimizer` has taken no step"):
        fit(unseen, EffectiveLearningRateMonitor(tmp_path / "unseen"))


def test_tracked_weights(tmp_path):
    chosen = {"dense/kernel": [(0, 3), (2, 5)], "dense_1/bias": [1]}
    model = network(keras_lecture_opt.Adam())
    fit(model, EffectiveLearningRateMonitor(tmp_path / "chosen", tracked_weights=chosen))
    log = Log(tmp_path / "chosen" / "train")
    tracked = {tag for tag in log.tags if tag.startswith("tracked")}
    # The first chosen weight stands behind the dead input: it is never updated.
    assert tracked == {"tracked_weights/dense/kernel[2,5]", "tracked_weights/dense_1/bias[1]"}
    kernel, *_, bias = adam_by_hand(model.optimizer)
    assert log.last("tracked_weights/dense/kernel[2,5]") == pytest.approx(kernel[2, 5], rel=1e-5)
    assert log.last("tracked_weights/dense_1/bias[1]") == pytest.approx(bias[1], rel=1e-5)

    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        monitor = EffectiveLearningRateMonitor(tmp_path / name, tracked_weights=3, seed=seed)
        fit(network(optimizers.SGD(momentum=0.5)), monitor, epochs=1)
        tags = Log(tmp_path / name / "train").tags
        found.append({tag for tag in tags if tag.startswith("tracked")})
    assert found[0] == found[1] != found[2]
    count = collections.Counter(tag.partition("[")[0] for tag in found[0])
    assert count["tracked_weights/dense_1/kernel"] == 3
    assert count["tracked_weights/dense_1/bias"] == 2  # it has no more


def pixels(log, tag):
    width, height, png = log.last(tag)
    image = tf.io.decode_png(png).numpy()
    assert image.shape == (int(height), int(width), 3)
    return image


def test_maps(tmp_path):
    images = RNG.integers(1, 255, size=(16, 6, 5), dtype="uint8")
    images[:, 0] = 0  # a dead row of pixels
    layers = [keras.layers.Flatten(), keras.layers.Dense(300), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((6, 5)), keras.layers.Rescaling(1 / 255), *layers])
    model.compile(keras_lecture_opt.SteepestDescent(0.01), "mse")
    monitor = EffectiveLearningRateMonitor(tmp_path, write_images=True)
    model.fit(images, np.ones((16, 2)), callbacks=[monitor], verbose=0)
    log = Log(tmp_path / "train")
    maps = {tag for tag, plugin in log.plugins.items() if plugin == "images"}
    assert maps == {"effective_lr_map/dense/kernel", "effective_lr_map/dense_1/kernel"}
    first = pixels(log, "effective_lr_map/dense/kernel")
    assert first.shape == (6, 5, 3)
    np.testing.assert_array_equal(first[0], np.full((5, 3), 128))
    # 0.01 is 3 of the scale's 10 decades up: between the second and the third of its five colours.
    np.testing.assert_array_equal(first[1:], np.broadcast_to([53, 94, 139], (5, 5, 3)))
    assert pixels(log, "effective_lr_map/dense_1/kernel").shape == (64, 2, 3)


@pytest.mark.parametrize("rate", [np.nan, np.inf])
def test_rates_that_are_not_finite_are_counted(rate, tmp_path):
    fit(network(optimizers.SGD(float(rate))), EffectiveLearningRateMonitor(tmp_path))
    log = Log(tmp_path / "train")
    assert log.last("effective_lr_not_finite/dense/kernel") == 32
    assert "effective_lr/dense/kernel" not in log.tags
    assert log.last("effective_lr_histogram/dense/kernel")[:, 2].sum() == 0


def test_rates_of_which_some_are_not_finite():
    rates = np.array([0.5, np.inf, -np.nan, 0.25, np.nan, 2.0, 0.0, 0.5], "float32")
    seen = np.array([1, 1, 1, 1, 0, 0, 1, 1], "bool")
    measured = _measure.summarized(tf.constant(rates), tf.constant(seen))
    assert measured["not_finite"] == 3
    assert measured["never_updated"] == 0.25
    np.testing.assert_allclose(measured["quantiles"], [0, 0, 0.25, 0.5, 0.5], rtol=4e-3)
    assert sum(measured["bars"]) == 5


def test_learning_rate_of_zero(tmp_path):
    fit(network(keras_lecture_opt.Adam(0.0)), EffectiveLearningRateMonitor(tmp_path))
    log = Log(tmp_path / "train")
    assert log.last("effective_lr/dense/kernel") == 0
    assert log.last("effective_lr_histogram/dense/kernel")[:, 2].sum() == 32


def test_rate_is_that_of_the_step_taken_whatever_callbacks_do(tmp_path):
    class Halve(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.optimizer.learning_rate = self.model.optimizer.learning_rate / 2

    for name, where in (("before", 1), ("after", -1)):
        monitor = EffectiveLearningRateMonitor(tmp_path / name, "batch")
        fit(network(optimizers.SGD(2.0**-4)), *[Halve(), monitor][::where], epochs=1)
        logged = Log(tmp_path / name / "train").values["effective_lr/dense/bias"]
        assert [(step, float(v)) for step, v in logged] == [
            (i + 1, 2.0 ** -(4 + i)) for i in range(7)
        ]

    monitor = EffectiveLearningRateMonitor(tmp_path / "plateau")
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=1e9)
    fit(network(optimizers.SGD(0.25)), plateau, monitor, epochs=3)
    logged = Log(tmp_path / "plateau" / "train").values["effective_lr/dense/bias"]
    assert [float(v) for _, v in logged] == [0.25, 0.25, 0.125]

    schedule = optimizers.schedules.PiecewiseConstantDecay([0, 1], [0.25, 0.125, 0.0625])
    monitor = EffectiveLearningRateMonitor(tmp_path / "schedule", "batch")
    fit(network(optimizers.SGD(schedule)), monitor, epochs=1)
    logged = Log(tmp_path / "schedule" / "train").values["effective_lr/dense/bias"]
    assert [float(v) for _, v in logged] == [0.25, 0.125, *[0.0625] * 5]


def test_accumulated_and_skipped_steps_are_not_logged_twice(tmp_path):
    model = network(keras_lecture_opt.Adam(gradient_accumulation_steps=3))
    fit(model, EffectiveLearningRateMonitor(tmp_path / "accumulation", "batch"))
    log = Log(tmp_path / "accumulation" / "train")
    assert log.steps("effective_lr/dense/bias") == [1, 2, 3, 4]  # of 14 batches

    optimizer = optimizers.LossScaleOptimizer(keras_lecture_opt.Adam(), initial_scale=np.inf)
    with pytest.warns(UserWarning, match="has logged nothing"):
        fit(network(optimizer), EffectiveLearningRateMonitor(tmp_path / "overflow", "batch"))
    assert not [t for t in Log(tmp_path / "overflow" / "train").tags if t.startswith("effective")]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float64"])
def test_other_precisions(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = network(keras_lecture_opt.AdaGrad())
        fit(model, EffectiveLearningRateMonitor(tmp_path, "batch"))
    finally:
        keras.config.set_dtype_policy("float32")
    log = Log(tmp_path / "train")
    assert log.plugins == expected_tags()
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    [G] = optimizer.slots(model.layers[-1].bias)
    rate = 0.01 / (np.sqrt(G.numpy().astype("float64")) + 1e-7)
    assert log.last("effective_lr_quantiles/dense_1/bias/max") == pytest.approx(
        rate.max(), rel=1e-5
    )


def test_frozen_and_thawed(tmp_path):
    model, monitor = network(optimizers.SGD(0.25)), EffectiveLearningRateMonitor(tmp_path)
    model.optimizer.build(model.trainable_variables)
    for frozen in (False, True, False):
        model.layers[0].trainable = not frozen
        model.compile(model.optimizer, "mse")
        fit(model, monitor, epochs=1)
    log = Log(tmp_path / "train")
    assert log.plugins == expected_tags()  # names do not change when others are frozen
    assert log.steps("effective_lr/dense/kernel") == [7, 21]
    assert log.steps("effective_lr/dense_1/kernel") == [7, 14, 21]
    assert log.last("never_updated/dense/kernel") == pytest.approx(0.25)


def test_model_that_its_first_batch_builds(tmp_path):
    for name, make in (("adam", keras_lecture_opt.Adam), ("sgd", optimizers.SGD)):
        monitor = EffectiveLearningRateMonitor(tmp_path / "before", 2)
        fit(network(make()), monitor, epochs=1)  # another model
        monitor.log_dir = tmp_path / name
        model = keras.Sequential([keras.layers.Dense(2)])
        model.compile(make(), "mse")
        fit(model, monitor)
        log = Log(tmp_path / name / "train")
        assert log.steps("effective_lr/dense/kernel") == [2, 4, 6, 8, 10, 12, 14]
        # Nobody knows with which weights it began: the state must tell what was updated.
        assert ("never_updated/dense/kernel" in log.tags) == (name == "adam")


def test_several_optimizers_in_one(tmp_path):
    if not hasattr(optimizers, "MultiOptimizer"):
        pytest.skip("This version of Keras has none.")
    parts = [optimizers.SGD(0.5, name="kernels"), keras_lecture_opt.AdaGrad(name="biases")]
    which = optimizers.MultiOptimizer(optimizers.OptimizerMap(parts[0], {".*bias": parts[1]}))
    fit(network(which), EffectiveLearningRateMonitor(tmp_path))
    log = Log(tmp_path / "train")
    assert log.plugins == expected_tags()
    assert log.last("effective_lr/dense/kernel") == 0.5
    assert log.last("effective_lr/dense/bias") != 0.5
    text = str(log.last("optimizer/configuration"))
    assert "kernels/learning_rate | 0.5" in text
    assert "biases/epsilon | 1e-07" in text


@pytest.mark.skipif(keras.version().startswith("3.12."), reason="its Muon fails on TensorFlow")
def test_variables_without_a_rate_are_left_out(tmp_path):
    with pytest.warns(UserWarning, match="Not logged: .*'kernel': it orthogonalizes"):
        fit(network(optimizers.Muon()), EffectiveLearningRateMonitor(tmp_path))
    biases = [name for name in VARIABLES if name.endswith("bias")]
    left = {"dense/kernel", "dense_1/kernel"} & {
        t.partition("/")[2] for t in Log(tmp_path / "train").tags
    }
    assert not left
    assert expected_tags(biases).items() <= Log(tmp_path / "train").plugins.items()


MIRRORED = """
    import sys
    import keras_lecture_opt
    import tensorflow as tf
    from test_monitor import EffectiveLearningRateMonitor, fit, network
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = network(keras_lecture_opt.Adam())
    fit(model, EffectiveLearningRateMonitor(sys.argv[1], 3), shuffle=False)
"""


def test_mirrored_strategy(tmp_path):
    """In a process of its own: TensorFlow mixes up the strategies of one process."""
    result = run_alone(MIRRORED, str(tmp_path / "two"))
    assert result.returncode == 0, result.stderr
    monitor = EffectiveLearningRateMonitor(tmp_path / "one", 3)
    fit(network(keras_lecture_opt.Adam()), monitor, shuffle=False)
    logs = [Log(tmp_path / name / "train") for name in ("one", "two")]
    assert logs[0].plugins == logs[1].plugins == expected_tags()
    assert logs[1].steps("effective_lr/dense/bias") == [3, 6, 9, 12]
    for tag in expected_tags():
        if tag.startswith(("effective_lr/", "never_updated/")):
            np.testing.assert_allclose(logs[0].last(tag), logs[1].last(tag), rtol=0.01)


WITH_XLA = """
    import sys
    import keras_lecture_opt
    from test_monitor import EffectiveLearningRateMonitor, fit, network
    model = network(keras_lecture_opt.Adam(), jit_compile=True)
    assert model.jit_compile
    fit(model, EffectiveLearningRateMonitor(sys.argv[1], 3))
"""


def test_with_jit_compile(tmp_path):
    """In a process of its own: Keras does not compile where op determinism is on, as it is here."""
    result = run_alone(WITH_XLA, str(tmp_path))
    assert result.returncode == 0, result.stderr
    log = Log(tmp_path / "train")
    assert log.plugins == expected_tags()
    assert log.steps("effective_lr/dense/bias") == [3, 6, 9, 12]


def test_configuration_is_shown(tmp_path):
    schedule = optimizers.schedules.ExponentialDecay(0.25, 4, 0.5)
    optimizer = keras_lecture_opt.AdaGrad(schedule, clipnorm=0.5, name="mine")
    fit(network(optimizer), EffectiveLearningRateMonitor(tmp_path))
    text = Log(tmp_path / "train").last("optimizer/configuration").item().decode()
    for row in (
        "| optimizer | keras_lecture_opt.AdaGrad |",
        "| clipnorm | 0.5 |",
        "| epsilon | 1e-07 |",
        "| learning_rate | ExponentialDecay {'initial_learning_rate': 0.25, 'decay_steps': 4,",
    ):
        assert row in text
    rate = optimizers.SGD(lambda: 0.125)
    fit(network(rate), EffectiveLearningRateMonitor(tmp_path / "callable"))
    assert Log(tmp_path / "callable" / "train").last("effective_lr/dense/bias") == 0.125


def test_hparams_are_shown_as_they_are_given(tmp_path):
    given = {"batch_size": 128, "dropout": 0.0, "augmented": False, "data_name": "mnist"}
    optimizer = keras_lecture_opt.Momentum(momentum=0.0)
    fit(network(optimizer), EffectiveLearningRateMonitor(tmp_path, hparams=given))
    [session] = [data for tag, data in Log(tmp_path).metadata.items() if "session" in tag]
    start = HParamsPluginData.FromString(session.content).session_start_info
    shown = {name: getattr(v, v.WhichOneof("kind")) for name, v in start.hparams.items()}
    assert shown == {
        "optimizer": "keras_lecture_opt.Momentum",
        "learning_rate": pytest.approx(0.01),
        "momentum": 0.0,
        **given,
    }
    text = Log(tmp_path / "train").last("optimizer/configuration").item().decode()
    assert "| momentum | 0.0 |" in text
    assert "| augmented | False |" in text


def test_bands_are_laid_out(tmp_path):
    fit(network(keras_lecture_opt.AdaGrad()), EffectiveLearningRateMonitor(tmp_path))
    log = Log(tmp_path / "train")
    layout = layout_pb2.Layout.FromString(log.last("custom_scalars__config__").item())
    [category] = layout.category
    assert [chart.title for chart in category.chart] == VARIABLES[::-1]  # drawn from the last
    for chart in category.chart:
        [series] = chart.margin.series
        assert {series.value, series.lower, series.upper} <= set(log.tags)


class Block(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.inner = keras.layers.Dense(4)

    def call(self, x):
        return self.inner(x)


def test_names_are_the_same_in_every_model_of_a_process():
    def names(named=()):
        inputs = keras.Input((4,))
        x = keras.layers.Dense(4)(inputs)
        x = Block()(Block()(x))
        x = keras.Sequential([keras.layers.Dense(4)])(x)
        for name in named:
            x = keras.layers.Dense(4, name=name)(x)
        model = keras.Model(inputs, keras.layers.BatchNormalization()(x))
        return [canonical_names(model)[id(w)] for w in model.weights if "bias" not in w.name]

    first, second = names(), names()
    assert first == second
    assert first[:4] == [
        "dense/kernel",
        "block/dense/kernel",
        "block_1/dense/kernel",
        "sequential/dense/kernel",
    ]
    assert "batch_normalization/gamma" in first
    assert names(["hidden_1", "hidden_2"])[4:6] == ["hidden_1/kernel", "hidden_2/kernel"]


def test_names_are_unique():
    class Twice(keras.Model):
        def __init__(self):
            super().__init__()
            self.weights_of_mine = [self.add_weight(shape=(1,), name="same") for _ in range(2)]

    model = Twice()
    assert sorted(canonical_names(model).values()) == ["same", "same_1"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real TensorBoard over two runs; gives its address."""
    folder = tmp_path_factory.mktemp("tensorboard")
    for optimizer in (keras_lecture_opt.Adam(), optimizers.Adam()):
        run = folder / type(optimizer).__module__.partition(".")[0]
        monitor = EffectiveLearningRateMonitor(run, 5, write_images=True)
        fit(network(optimizer), monitor, keras.callbacks.TensorBoard(run))
    return screenshots.serve(folder)


def get(server, path, **query):
    with urllib.request.urlopen(f"{server}{path}?{urllib.parse.urlencode(query)}") as answer:
        return json.load(answer)


def test_a_real_server_answers(server):
    runs = ["keras/train", "keras_lecture_opt/train"]
    tags = get(server, "data/plugin/scalars/tags")
    for run in runs:
        scalars = {tag for tag, plugin in expected_tags().items() if plugin == "scalars"}
        assert scalars <= tags[run].keys()
        query = {"run": run, "tag": "effective_lr/dense/kernel"}
        assert [step for _, step, _ in get(server, "data/plugin/scalars/scalars", **query)] == [
            5,
            10,
        ]
        query = {"run": run, "tag": "effective_lr_histogram/dense/kernel"}
        for _, _, bars in get(server, "data/plugin/histograms/histograms", **query):
            assert sum(count for _, _, count in bars) == 32
        query = {"run": run, "tag": "effective_lr_map/dense/kernel", "sample": 0}
        assert [i["step"] for i in get(server, "data/plugin/images/images", **query)] == [5, 10]
    layout = get(server, "data/plugin/custom_scalars/layout")
    assert [chart["title"] for chart in layout["category"][0]["chart"]] == VARIABLES[::-1]
    active = get(server, "data/plugins_listing")
    for plugin in ("scalars", "histograms", "images", "custom_scalars", "text", "hparams"):
        assert active[plugin]["enabled"], plugin


@pytest.mark.skipif(bool(screenshots.missing()), reason=f"not installed: {screenshots.missing()}")
def test_the_page_in_a_browser(server):
    kernel = "dense/kernel"
    with screenshots.browser(height=4000) as driver:  # it draws the cards in view
        driver.get(f"{server}?tagFilter=dense%2Fkernel#timeseries")
        kinds = ("effective_lr", "effective_lr_histogram", "effective_lr_map", "never_updated")
        screenshots.wait_for(driver, *(f"{kind}/{kernel}" for kind in kinds))
        driver.get(f"{server}#custom_scalars")
        screenshots.wait_for(driver, "from the 5th to the 95th percentile", *VARIABLES)
        driver.get(f"{server}#hparams")
        screenshots.wait_for(driver, "adam-", "validation loss")
