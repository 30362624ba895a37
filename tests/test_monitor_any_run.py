"""The monitor in runs that are not the textbook's: it observes, and never ends or alters them."""

import pathlib
import resource
import shutil
import signal
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, optimizers
from monitored import Log, data, detailed, fit, network
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugin_util import markdown_to_safe_html
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment

import keras_lecture_opt
from keras_lecture_opt import EffectiveLearningRateMonitor

pytestmark = pytest.mark.usefixtures("eagerly")


def names_in(folder, kind="effective_lr"):
    tags = Log(folder / "train").tags
    return {tag.removeprefix(f"{kind}/") for tag in tags if tag.startswith(f"{kind}/")}


class Gan(keras.Model):
    """`optimizer` trains the generator, another one the critic."""

    def __init__(self):
        super().__init__()
        self.generator, self.critic = layers.Dense(2, name="gen"), layers.Dense(1, name="critic")
        self.critic_optimizer = optimizers.SGD(0.125)

    def call(self, z):
        return self.critic(self.generator(z))

    def train_step(self, real):
        with tf.GradientTape(persistent=True) as tape:
            fake = tf.reduce_mean(self(tf.ones((4, 3))))
            difference = fake - tf.reduce_mean(self.critic(real))
            deception = -fake
        for optimizer, layer, loss in (
            (self.critic_optimizer, self.critic, difference),
            (self.optimizer, self.generator, deception),
        ):
            gradients = tape.gradient(loss, layer.trainable_variables)
            optimizer.apply(gradients, layer.trainable_variables)
        return {"fake": fake}


def test_other_optimizer_in_a_train_step(tmp_path):
    model = Gan()
    model(np.ones((1, 3), "float32"))
    model.compile(keras_lecture_opt.Momentum(0.5))
    model.fit(np.ones((16, 2), "float32"), batch_size=4, verbose=0, callbacks=[detailed(tmp_path)])
    assert len(model.optimizer.slots(model.generator.kernel)) == 1
    assert not any("critic" in v.path for v in model.optimizer.variables)
    log = Log(tmp_path / "train")
    assert log.last("effective_lr/critic/kernel") == 0.125
    assert log.last("effective_lr/gen/kernel") == 0.5
    assert log.steps("step/critic/kernel") == [4]


class OnlyNamed(keras.Model):
    """Built without its layers, which the first call builds."""

    def build(self, input_shape):
        self.hidden, self.out = layers.Dense(5), layers.Dense(2)
        self.built = True

    def call(self, x):
        return self.out(self.hidden(x))


def test_layers_that_the_first_call_builds(tmp_path):
    model = OnlyNamed()
    model.compile(optimizers.Adam(), "mse")
    model.build((None, 4))
    fit(model, EffectiveLearningRateMonitor(tmp_path, "batch"), epochs=1)
    assert names_in(tmp_path) == {"dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"}
    assert Log(tmp_path / "train").steps("step/dense/kernel") == [*range(2, 8)]


class Warmup(optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.5 * tf.minimum(1.0, tf.cast(step + 1, "float32") / 4)


def test_learning_rates_that_nobody_can_write_down(tmp_path):
    namespace = {}
    exec("def rate(): return 0.125", namespace)  # whose source Python does not find
    shown = {"Warmup": Warmup(), "rate": namespace["rate"]}
    for name, rate in shown.items():
        folder = tmp_path / name
        fit(network(keras_lecture_opt.Adam(rate)), EffectiveLearningRateMonitor(folder), epochs=1)
        log = Log(folder / "train")
        assert log.steps("step/dense/kernel") == [7]
        text = log.last("optimizer/configuration").item().decode()
        assert name in text.split("learning_rate | ")[1].splitlines()[0]


def test_optimizer_that_is_set_later_or_never(tmp_path):
    class Late(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.mine = optimizers.SGD(0.25)

    class Own(keras.Sequential):
        def train_step(self, batch):
            x, y = batch
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x) - y) ** 2)
            self.mine.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
            return {"loss": loss}

    model = Own([keras.Input((4,)), layers.Dense(2)])
    model.compile(optimizer=None, run_eagerly=True)
    fit(model, Late(), EffectiveLearningRateMonitor(tmp_path, 5), epochs=1)
    log = Log(tmp_path / "train")
    assert log.steps("step/dense/kernel") == [5]
    assert log.last("effective_lr/dense/kernel") == 0.25
    assert "keras.SGD" in str(log.last("optimizer/configuration"))


def columns(folder):
    """The columns of the HParams tab, as TensorBoard's server answers."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder)).Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
    context = backend_context.Context(
        base_plugin.TBContext(logdir=str(folder), data_provider=provider)
    )
    request = api_pb2.GetExperimentRequest()
    experiment = get_experiment.Handler(RequestContext(), context, "", request).run()
    metrics = {(info.name.group, info.name.tag) for info in experiment.metric_infos}
    return {info.name for info in experiment.hparam_infos}, metrics


def test_hparams_have_the_columns_of_all_runs(tmp_path):
    runs = {
        "a": (keras_lecture_opt.Momentum(), None),
        "b": (keras_lecture_opt.RMSProp(), {"batch_size": 8}),
        "c": (optimizers.Adam(), {"dropout": 0.5}),
    }
    x, y = data()
    for name, (optimizer, hparams) in runs.items():
        monitor = EffectiveLearningRateMonitor(tmp_path / name, hparams=hparams)
        fit(network(optimizer), monitor, epochs=1, validation_data=(x, y))
    hparams, metrics = columns(tmp_path)
    assert hparams >= {"optimizer", "learning_rate", "momentum", "rho", "epsilon", "beta_2"}
    assert hparams >= {"batch_size", "dropout"}
    assert metrics == {("", "metrics/loss"), ("", "metrics/val_loss")}


def test_folder_that_is_removed_between_two_fits(tmp_path):
    model, monitor = network(keras_lecture_opt.Adam()), EffectiveLearningRateMonitor(tmp_path / "a")
    for _ in range(2):
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
        fit(model, monitor, epochs=1)
        written = {"optimizer/configuration", "custom_scalars__config__"}
        assert written <= {*Log(tmp_path / "a" / "train").tags}
        assert Log(tmp_path / "a" / "hparams").plugins["_hparams_/session_start_info"] == "hparams"


def test_layers_that_thaw_within_a_fit(tmp_path):
    class Thaw(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.layers[0].trainable = True
                self.model.make_train_function(force=True)

    model = network(keras_lecture_opt.Adam())
    model.optimizer.build(model.trainable_variables)
    model.layers[0].trainable = False
    model.compile(model.optimizer, "mse")
    fit(model, Thaw(), EffectiveLearningRateMonitor(tmp_path), epochs=3)
    log = Log(tmp_path / "train")
    assert log.steps("step/dense/kernel") == log.steps("effective_lr/dense/kernel") == [14, 21]
    assert log.steps("step/dense_1/kernel") == [7, 14, 21]


@pytest.mark.usefixtures("in_graphs")
def test_layers_that_freeze_within_a_fit_are_trained_on():
    """Keras has made its train step by then."""

    class Freeze(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.layers[0].trainable = False
            if epoch == 2:
                self.model.make_train_function(force=True)

    monitor = EffectiveLearningRateMonitor(update_freq="epoch")
    with pytest.warns(UserWarning, match="Not trainable, but trained .*: dense/kernel, dense/bias"):
        fit(network(keras_lecture_opt.Adam()), Freeze(), monitor, epochs=4)
    for variable, last in (("dense/kernel", 14), ("dense_1/kernel", 28)):
        for quantity in ("step", "effective_lr"):
            logged = [row.step for row in monitor.history.select(quantity, variable)]
            assert [step for step in logged if step % 7 == 0] == [*range(7, last + 1, 7)]


def test_steps_go_on_when_a_model_is_compiled_anew(tmp_path):
    monitor = EffectiveLearningRateMonitor(tmp_path, 5)
    model = network(optimizers.Adam())
    fit(model, monitor, epochs=2)
    model.compile(optimizers.Adam(1e-5), "mse")
    fit(model, monitor, epochs=4, initial_epoch=2)
    assert Log(tmp_path / "train").steps("step/dense/kernel") == [5, 10, 15, 20, 25]
    measured = monitor.history.select("step", "dense/kernel")
    early = [1, 2, 5, 10], [15, 16, 19, 24]  # of each training
    assert [row.step for row in measured] == sorted({*early[0], *early[1], 15, 20, 25})


def batches(count):
    x, y = data()
    for i in range(count):
        yield x[8 * i : 8 * i + 8], y[8 * i : 8 * i + 8]


@pytest.mark.parametrize("per_execution", [1, 3])
def test_data_of_unknown_length(per_execution, tmp_path):
    """Nobody foresees the last step of the first epoch; then its length is known."""
    signature = tuple(tf.TensorSpec([None, n], "float32") for n in (4, 2))
    dataset = tf.data.Dataset.from_generator(lambda: batches(7), output_signature=signature)
    for name, update_freq in (("epochs", "epoch"), ("fives", 5)):
        model = network(optimizers.SGD(), steps_per_execution=per_execution)
        monitor = EffectiveLearningRateMonitor(tmp_path / name, update_freq)
        with warnings.catch_warnings(action="ignore"):  # Keras's, that the data ran out
            model.fit(dataset, epochs=3, verbose=0, callbacks=[monitor])
    ends, fives = [7, 14, 21], {1: [5, 10, 15, 20], 3: [6, 10, 17, 20]}[per_execution]
    log = Log(tmp_path / "epochs" / "train")
    assert log.steps("effective_lr/dense/kernel") == ends
    assert log.steps("step/dense/kernel") == ends[1:]
    assert Log(tmp_path / "fives" / "train").steps("effective_lr/dense/kernel") == fives


def test_training_that_stops_early(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 3

    for name, update_freq in (("epoch", "epoch"), ("hundred", 100)):
        monitor = EffectiveLearningRateMonitor(tmp_path / name, update_freq)
        fit(network(optimizers.SGD()), Stop(), monitor, epochs=3)
        assert Log(tmp_path / name / "train").steps("effective_lr/dense/kernel") == [4]


def test_names_of_wrappers_are_the_same_in_every_model_of_a_process(tmp_path):
    found = []
    for name in "ab":
        inner = layers.Bidirectional(layers.LSTM(2))
        model = keras.Sequential([keras.Input((6, 3)), inner, layers.Dense(1)])
        model.compile("sgd", "mse", run_eagerly=True)
        model.fit(
            np.ones((2, 6, 3)),
            np.ones((2, 1)),
            verbose=0,
            callbacks=[EffectiveLearningRateMonitor(tmp_path / name)],
        )
        found.append(names_in(tmp_path / name))
    assert found[0] == found[1]
    assert "bidirectional/backward_lstm/lstm_cell/kernel" in found[0]


def test_names_of_keras_are_understood(tmp_path):
    """Names that look automatic are numbered anew, but a user may know Keras's only."""
    first, second = layers.Dense(3, name="dense_1"), layers.Dense(2, name="dense_2")
    model = keras.Sequential([keras.Input((4,)), first, second])
    model.compile("sgd", "mse")
    tracked = {"dense_1/kernel": [(3, 2)], "dense_2/kernel": [(2, 1)]}
    monitor = EffectiveLearningRateMonitor(tmp_path, tracked_weights=tracked)
    with pytest.warns(UserWarning, match="'dense_1/kernel' is taken for Keras's name.*as 'dense/k"):
        fit(model, monitor, epochs=1)
    assert names_in(tmp_path, "tracked_weights") == {"dense/kernel[3,2]", "dense_1/kernel[2,1]"}


def test_hparams_of_odd_characters_stay_in_their_cell(tmp_path):
    odd = {"note": "a|b\nc **d** <i> `e` _f_ g_h"}
    fit(network(optimizers.SGD()), EffectiveLearningRateMonitor(tmp_path, hparams=odd), epochs=1)
    text = Log(tmp_path / "train").last("optimizer/configuration").item().decode()
    html = markdown_to_safe_html(text)
    assert "<td>a&#124;b c **d** &lt;i&gt; `e` _f_ g_h</td>" in html


def test_disk_that_fills_up(tmp_path):
    """A limit on the size of files stands for it."""
    monitor = EffectiveLearningRateMonitor(tmp_path, "batch")
    model = network(optimizers.SGD())

    class Fill(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.warns(UserWarning, match="cannot write to '.*' any more") as said:
            fit(model, Fill(), monitor, epochs=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert len([w for w in said if "train" in str(w.message)]) == 1
    assert int(model.optimizer.iterations) == 7
    assert 0 < len(Log(tmp_path / "train").steps("step/dense/kernel")) < 7
    assert len(monitor.history.select("step", "dense/kernel")) == 7


def test_loop_that_calls_some_hooks_only(tmp_path):
    x, y = data()
    for name, hooks in {
        "batches": ["on_train_batch_begin", "on_train_batch_end"],
        "ends": ["on_train_batch_end"],
    }.items():
        model = network(optimizers.SGD(0.25), run_eagerly=True)
        monitor = EffectiveLearningRateMonitor(tmp_path / name, 2)
        callbacks = keras.callbacks.CallbackList([monitor], model=model)
        for batch in range(4):
            if "on_train_batch_begin" in hooks:
                callbacks.on_train_batch_begin(batch)
            model.train_on_batch(x[:8], y[:8])
            callbacks.on_train_batch_end(batch)
        log = Log(tmp_path / name / "train")
        assert log.steps("effective_lr/dense/kernel") == [2, 4]
        assert ("step/dense/kernel" in log.tags) == (name == "batches")


@pytest.mark.parametrize("make", [keras_lecture_opt.Adam, optimizers.Adagrad])
def test_files_saved_are_those_of_unmonitored_training(make, tmp_path):
    saved = []
    for monitors in ([], [detailed(tmp_path / "log", "batch", tracked_weights=1)]):
        keras.utils.set_random_seed(0)
        hidden, output = layers.Dense(8, name="hidden"), layers.Dense(2, name="output")
        model = keras.Sequential([keras.Input((4,)), hidden, output], name="network")
        model.compile(make(name="optimizer"), "mse")
        file = tmp_path / f"{len(saved)}.weights.h5"
        fit(model, *monitors, epochs=1)
        model.save_weights(file)
        checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        path = pathlib.Path(checkpoint.write(str(tmp_path / f"checkpoint_{len(saved)}")))
        shards = sorted(path.parent.glob(path.name + ".data*"))
        saved.append([file.read_bytes(), *(shard.read_bytes() for shard in shards)])
    assert saved[0] == saved[1]


def test_numeric_checks_find_nothing(tmp_path):
    tf.debugging.enable_check_numerics()
    try:
        model = network(keras_lecture_opt.Adam(jit_compile=False))
        monitor = detailed(tmp_path, 4, tracked_weights=1, write_images=True)
        fit(model, monitor, epochs=1)
    finally:
        tf.debugging.disable_check_numerics()
    assert Log(tmp_path / "train").steps("step/dense/kernel") == [4]
