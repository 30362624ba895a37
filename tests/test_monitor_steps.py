"""The step that the monitor logs is the difference of the weights, for any optimizer."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import MUON_WORKS, RULES
from keras import optimizers
from monitored import VARIABLES, Log, data, detailed, fit, network

import keras_lecture_opt
from keras_lecture_opt import EffectiveLearningRateMonitor

pytestmark = pytest.mark.usefixtures("eagerly")


class Weights(keras.callbacks.Callback):
    """Keeps the weights before and after each batch, and after which step they were taken."""

    def __init__(self):
        super().__init__()
        self.before, self.after, self.steps = [], [], []

    def weights(self):
        return [w.astype("float64") for w in self.model.get_weights()]

    def on_train_batch_begin(self, batch, logs=None):
        self.before.append(self.weights())

    def on_train_batch_end(self, batch, logs=None):
        self.after.append(self.weights())
        self.steps.append(int(self.model.optimizer.iterations))


def rms(w):
    return np.sqrt(np.mean(w**2))


def by_hand(watched, taken):
    """(step, variable, quantity) -> value, of the batches in which a step was taken."""
    values = {}
    for i in taken:
        for name, a, b in zip(VARIABLES, watched.before[i], watched.after[i], strict=True):
            step = watched.steps[i], name
            values[*step, "step"] = rms(b - a)
            values[*step, "weight"] = rms(b)
            if rms(a):
                values[*step, "step_to_weight"] = rms(b - a) / rms(a)
    return values


def of_history(monitor, *quantities):
    rows = [row for row in monitor.history if row.quantity in quantities]
    return {(row.step, row.variable, row.quantity): row.value for row in rows}


def assert_steps(monitor, watched, taken):
    true = by_hand(watched, taken)
    measured = of_history(monitor, "step", "weight", "step_to_weight")
    assert measured.keys() == true.keys()
    for key, value in true.items():
        assert measured[key] == pytest.approx(value, rel=2e-6), key


class Unknown(optimizers.SGD):
    """An optimizer without a formula."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(tf.sign(gradient), variable, learning_rate)


OPTIMIZERS = {rule.__name__: rule for rule in RULES} | {
    f"keras.{name}": getattr(optimizers, name)
    for name in (
        *("SGD", "Adagrad", "RMSprop", "Adadelta", "Adam", "AdamW", "Nadam", "Adamax"),
        *("Lamb", "Lion", "Ftrl", "Adafactor", "Muon"),
    )
}
if not MUON_WORKS:
    del OPTIMIZERS["keras.Muon"]
OPTIMIZERS |= {
    "unknown": Unknown,
    "everything": lambda: keras_lecture_opt.Nesterov(
        0.25, clipnorm=0.5, weight_decay=0.125, use_ema=True, ema_overwrite_frequency=2
    ),
}


# The monitor measures the steps of all optimizers alike: `make test` asks about these.
SOME = {"SteepestDescent", "Adam", "unknown", "everything"}
SOME |= {"keras.Lamb", "keras.Adafactor", "keras.Muon"}
NAMES = [pytest.param(name, marks=() if name in SOME else pytest.mark.full) for name in OPTIMIZERS]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:.*Not logged in effective_lr")
def test_step_is_the_difference_of_the_weights(name):
    watched, monitor = Weights(), EffectiveLearningRateMonitor(update_freq="batch")
    fit(network(OPTIMIZERS[name](), run_eagerly=True), watched, monitor, epochs=1)
    assert_steps(monitor, watched, range(7))


def test_steps_that_are_not_taken():
    """While gradients accumulate and after an overflow the weights stay, and nothing is logged."""
    watched, monitor = Weights(), EffectiveLearningRateMonitor(update_freq="batch")
    fit(network(keras_lecture_opt.Adam(gradient_accumulation_steps=3)), watched, monitor)
    assert_steps(monitor, watched, [2, 5, 8, 11])

    watched, monitor = Weights(), EffectiveLearningRateMonitor(update_freq="batch")
    scaled = optimizers.LossScaleOptimizer(keras_lecture_opt.Adam(), initial_scale=2.0**126)
    x, y = data()
    network(scaled).fit(x, 2.0**8 * y, batch_size=8, verbose=0, callbacks=[watched, monitor])
    skipped = watched.steps.count(0)
    assert 0 < skipped < 7
    assert_steps(monitor, watched, range(skipped, 7))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float64"])
def test_precisions(policy):
    watched, monitor = Weights(), EffectiveLearningRateMonitor(update_freq="batch")
    keras.config.set_dtype_policy(policy)
    try:
        fit(network(keras_lecture_opt.AdaGrad()), watched, monitor, epochs=1)
    finally:
        keras.config.set_dtype_policy("float32")
    assert_steps(monitor, watched, range(7))


def test_steps_that_vanish_in_float32():
    """Their squares do: a step of 1e-30, and weights that do not move at all."""
    for rate, size in ((1e-30, 1e-30), (0.0, 0.0)):
        optimizer = keras_lecture_opt.SteepestDescent(rate)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
        model.set_weights([np.zeros((3, 1))])
        monitor = EffectiveLearningRateMonitor(update_freq="batch")
        monitor.watch(model, optimizer)
        with monitor.step():
            optimizer.apply([tf.ones((3, 1))], model.trainable_variables)
        monitor.close()
        [row] = monitor.history.select("step")
        assert row.value == pytest.approx(size, rel=1e-6)
        assert not monitor.history.select("step_to_weight")  # they were zeros


def test_several_steps_in_one_execution_are_no_step(tmp_path):
    watched, monitor = Weights(), detailed(tmp_path, "batch")
    fit(network(optimizers.SGD(), steps_per_execution=3), watched, monitor, epochs=1)
    assert watched.steps == [3, 6, 7]
    for name in ("execution", "step"):
        steps = [row.step for row in monitor.history.select(name, "dense/kernel")]
        assert steps == ([3, 6] if name == "execution" else [7])  # the last has one step
    moved = rms(watched.after[1][0] - watched.before[1][0])
    assert Log(tmp_path / "train").values["execution/dense/kernel"][1][1] == pytest.approx(moved)
    ratio = moved / rms(watched.before[1][0])
    logged = Log(tmp_path / "train").values["execution_to_weight/dense/kernel"][1][1]
    assert logged == pytest.approx(ratio)


def test_default_is_three_tags_for_each_variable(tmp_path):
    monitor = EffectiveLearningRateMonitor(tmp_path, 7)
    fit(network(keras_lecture_opt.Adam()), monitor)
    log = Log(tmp_path / "train")
    kinds = ("effective_lr", "step", "step_to_weight")
    assert {tag for tag in log.tags if tag.endswith(("kernel", "bias"))} == {
        f"{kind}/{name}" for kind in kinds for name in VARIABLES
    }
    assert log.steps("step/dense/bias") == [7, 14]
    measured = of_history(monitor, *kinds)
    for kind in kinds:
        assert log.last(f"{kind}/dense/kernel") == pytest.approx(
            measured[14, "dense/kernel", kind], rel=1e-6
        )


def test_history_is_a_table(tmp_path):
    monitor = EffectiveLearningRateMonitor(update_freq=7)
    fit(network(optimizers.SGD(0.25)), monitor)
    assert not [*tmp_path.iterdir()]  # without a folder nothing is written
    assert {row.step for row in monitor.history} == {1, 2, 5, 7, 10, 14}
    assert {row.epoch for row in monitor.history if row.step > 7} == {1}
    [row] = [r for r in monitor.history.select("effective_lr", "dense/bias") if r.step == 14]
    assert row == (14, 1, "dense/bias", "effective_lr", 0.25)
    assert len(monitor.history.select("loss")) == 6
    monitor.history.to_csv(tmp_path / "history.csv")
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["quantity"] for row in rows] == [row.quantity for row in monitor.history]
    assert float(rows[-1]["value"]) == monitor.history[-1].value
    with pytest.raises(TypeError, match=r"`path` must be a string or a pathlib\.Path, not 1"):
        monitor.history.to_csv(1)
    with pytest.raises(OSError, match=f"`path`: {tmp_path} cannot be written: "):
        monitor.history.to_csv(tmp_path)


def test_chosen_variables():
    for variables in ("kernel$", ["dense/kernel", "dense_1/kernel"]):
        monitor = EffectiveLearningRateMonitor(update_freq=7, variables=variables)
        fit(network(optimizers.SGD()), monitor, epochs=1)
        names = {row.variable for row in monitor.history if row.variable}
        assert names == {"dense/kernel", "dense_1/kernel"}
    monitor = EffectiveLearningRateMonitor(update_freq=7, variables="nothing")
    with pytest.warns(UserWarning, match=r"`variables`: 'nothing' matches none of dense/kernel"):
        fit(network(optimizers.SGD()), monitor, epochs=1)


def test_generator_and_discriminator_in_a_custom_loop(tmp_path):
    """Two models, two optimizers, one step of the loop."""
    layers = keras.layers
    generator = keras.Sequential([keras.Input((2,)), layers.Dense(4)], name="generator")
    critic = keras.Sequential([keras.Input((4,)), layers.Dense(1)], name="discriminator")
    steps = optimizers.SGD(0.25), keras_lecture_opt.Adam()
    monitor = EffectiveLearningRateMonitor(tmp_path, update_freq=2)
    real = tf.constant(data()[0])

    @tf.function
    def train_step():
        with tf.GradientTape(persistent=True) as tape:
            fake = critic(generator(tf.ones((8, 2))))
            losses = tf.reduce_mean(fake), tf.reduce_mean(critic(real)) - tf.reduce_mean(fake)
        for optimizer, model, loss in zip(steps, (generator, critic), losses, strict=True):
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)

    monitor.watch([generator, critic], [*steps])
    for _ in range(4):
        before = generator.get_weights()
        with monitor.step():
            train_step()
    monitor.close()
    log = Log(tmp_path / "train")
    assert log.steps("step/generator/dense/kernel") == [2, 4]
    assert log.steps("effective_lr/discriminator/dense/kernel") == [2, 4]
    assert log.last("effective_lr/generator/dense/kernel") == 0.25
    moved = rms(generator.get_weights()[0].astype("float64") - before[0])
    assert log.last("step/generator/dense/kernel") == pytest.approx(moved)


def test_custom_loop_is_told_what_is_wrong():
    monitor = EffectiveLearningRateMonitor(update_freq="batch")
    with pytest.raises(RuntimeError, match=r"`monitor.watch\(models, optimizers\)`"):
        monitor.step().__enter__()
    model = network(optimizers.SGD())
    with pytest.raises(TypeError, match=r"`optimizers` must be .*not 'adam'"):
        monitor.watch(model, "adam")
    with pytest.raises(TypeError, match=r"`models` must be one Model or a list of them"):
        monitor.watch([], model.optimizer)
    with pytest.raises(ValueError, match=r"`update_freq` must be 'batch' or an integer"):
        EffectiveLearningRateMonitor().watch(model, model.optimizer)
    monitor.watch(model, model.optimizer)
    with pytest.raises(RuntimeError, match=r"outside of a tf\.function"):
        tf.function(lambda: monitor.step().__enter__(), autograph=False)()
