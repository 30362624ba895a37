"""Which variables the monitor logs, and how it calls them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import MUON_WORKS
from keras import optimizers
from monitored import VARIABLES, Log, data, detailed, expected_tags, fit, network
from own_rules import SignDescent

import keras_lecture_opt
from keras_lecture_opt import EffectiveLearningRateMonitor
from keras_lecture_opt.monitor._names import canonical_names

pytestmark = pytest.mark.usefixtures("eagerly")


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
    monitor = detailed(tmp_path, write_images=True, tracked_weights=1)
    x, y = data()
    model.fit([x, np.ones((56, 5, 3)), np.ones((56, 2, 2))], y, callbacks=[monitor], verbose=0)
    log = Log(tmp_path / "train")
    names = {tag.partition("/")[2] for tag in log.tags if tag.startswith("effective_lr/")}
    twins = {"odd/twin", "odd/twin_1", "odd/twin_1_1"}
    assert names == {"dense/kernel", "dense/bias", "odd/scale"} | twins
    assert "tracked_weights/odd/scale[]" in log.tags
    assert "effective_lr_map/dense/kernel" in log.tags


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
    with pytest.warns(
        UserWarning,
        match="Not logged in effective_lr: hidden/kernel, hidden/bias: no optimizer that",
    ):
        fit(some, detailed(tmp_path / "some"))
    log = Log(tmp_path / "some" / "train")
    assert "effective_lr/output/kernel" in log.tags
    assert "effective_lr/hidden/kernel" not in log.tags
    assert log.last("step/hidden/kernel") == 0

    seen = model("adam")
    seen.own = keras_lecture_opt.Adam()
    with pytest.warns(UserWarning, match="Not logged in effective_lr: hidden/kernel"):
        fit(seen, detailed(tmp_path / "seen"))
    assert "effective_lr/output/kernel" in Log(tmp_path / "seen" / "train").tags

    unseen = model("adam")
    hidden = [keras_lecture_opt.Adam()]
    type(unseen).own = property(lambda self: hidden[0])
    with pytest.warns(UserWarning, match="Not logged in effective_lr: output/kernel, .*bias"):
        fit(unseen, detailed(tmp_path / "unseen"))
    log = Log(tmp_path / "unseen" / "train")
    assert log.steps("step/output/kernel") == [7, 14]  # batches, where no steps can be seen
    assert log.last("step/output/kernel") > 0


def test_frozen_and_thawed(tmp_path):
    model, monitor = network(optimizers.SGD(0.25)), detailed(tmp_path)
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
        monitor = detailed(tmp_path / f"before_{name}", 2)
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
    fit(network(which), detailed(tmp_path))
    log = Log(tmp_path / "train")
    assert log.plugins == expected_tags()
    assert log.last("effective_lr/dense/kernel") == 0.5
    assert log.last("effective_lr/dense/bias") != 0.5
    text = str(log.last("optimizer/configuration"))
    assert "kernels/learning_rate | 0.5" in text
    assert "biases/epsilon | 1e-07" in text


@pytest.mark.skipif(not MUON_WORKS, reason="this Keras's Muon fails on TensorFlow")
def test_variables_without_a_rate_are_left_out(tmp_path):
    with pytest.warns(
        UserWarning, match="Not logged in effective_lr: dense/kernel, dense_1/kernel: muon orth"
    ):
        fit(network(optimizers.Muon(name="muon")), detailed(tmp_path))
    log = Log(tmp_path / "train")
    biases = [name for name in VARIABLES if name.endswith("bias")]
    assert expected_tags(biases).items() <= log.plugins.items()
    kernels = {tag.partition("/")[0] for tag in log.tags if tag.endswith("dense/kernel")}
    assert kernels == {"step", "step_to_weight", "weight"}


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


@pytest.mark.usefixtures("in_graphs")
def test_float8_variables_are_left_out_with_one_sentence(tmp_path):
    """Their scales have no state: the optimizer overwrites them with their gradient."""
    model = network(keras_lecture_opt.Adam())
    for layer in model.layers:
        layer.quantize("float8")
    model.compile(keras_lecture_opt.Adam(), "mse")
    with pytest.warns(UserWarning, match="Not logged") as warned:
        fit(model, detailed(tmp_path))
    [message] = [str(w.message) for w in warned if "Not logged" in str(w.message)]
    assert message.endswith("they are overwritten with their gradient.")
    assert "dense/inputs_scale, " in message
    assert not set(message.replace(":", ",").split(", ")) & set(VARIABLES)
    assert Log(tmp_path / "train").plugins == expected_tags()
    scale = model.layers[0].inputs_scale
    with pytest.raises(ValueError, match=r"'inputs_scale.*adam overwrites it with its gradient"):
        keras_lecture_opt.effective_learning_rate(model.optimizer, scale)


def test_rule_of_a_user(tmp_path):
    fit(network(SignDescent(0.125, scale=2.0)), detailed(tmp_path))
    log = Log(tmp_path / "train")
    assert log.plugins == expected_tags()
    assert log.last("effective_lr/dense/kernel") == 0.25
    assert log.last("never_updated/dense/kernel") == 0.25
    assert "| scale | 2.0 |" in str(log.last("optimizer/configuration"))


def test_names_of_any_letters_are_drawn(tmp_path):
    """Those of TeX too, which graphs refuse."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="$\\x$")])
    model.compile("sgd", "mse", run_eagerly=True)
    fit(model, EffectiveLearningRateMonitor(tmp_path), epochs=1)
    assert "all_layers/step_to_weight" in Log(tmp_path / "train").tags


@pytest.mark.parametrize("result", [ValueError("no"), np.ones(3, "float32")])
def test_formula_that_fails_ends_no_training(result):
    class Own(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            self.assign_sub(variable, 0.5 * gradient)

    def factor(state, variable, learning_rate, t):
        if isinstance(result, Exception):
            raise result
        return result * variable

    keras_lecture_opt.effective_learning_rate.register(Own)(factor)
    monitor = EffectiveLearningRateMonitor(update_freq="batch")
    with pytest.warns(UserWarning, match=r"Not logged in effective_lr: .*: its formula fails: "):
        fit(network(Own()), monitor, epochs=1)
    assert monitor.history.select("effective_lr") == []
    assert monitor.history.select("step", "dense/kernel")


def test_small_gradients_beside_the_first_value_of_adagrad():
    model = network(optimizers.Adagrad(0.1), loss_weights=1e-5)
    monitor = EffectiveLearningRateMonitor(update_freq="batch")
    fit(model, monitor, epochs=1)
    rates = [row.value for row in monitor.history.select("effective_lr", "dense_1/kernel")]
    np.testing.assert_allclose(rates, 0.1 / np.sqrt(0.1), rtol=1e-5)


def test_loss_of_an_epoch_is_what_fit_returns():
    class Batchwise(keras.Sequential):
        """Returns the loss of each batch, and Keras takes the mean of the metric at the end."""

        def train_step(self, data):
            logs = super().train_step(data)
            return {"loss": 2 * logs["loss"]}

    model = Batchwise([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    monitor = EffectiveLearningRateMonitor(update_freq="batch")
    fitted = fit(model, monitor)
    of_steps = {row.step: row.value for row in monitor.history.select("loss")}  # the last counts
    assert [of_steps[7], of_steps[14]] == fitted.history["loss"]
