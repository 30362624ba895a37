"""Several trainings, several optimizers, several models, and whatever stands in `logs`."""

import math
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, optimizers
from monitored import Log, data, fit, network
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import keras_lecture_opt
from keras_lecture_opt import EffectiveLearningRateMonitor
from keras_lecture_opt.monitor import _quantities
from keras_lecture_opt.monitor._history import History, Row
from keras_lecture_opt.monitor._measure import number


def classifier(rate):
    model = keras.Sequential([keras.Input((32,)), layers.Dense(3, "softmax")])
    model.compile(keras_lecture_opt.Momentum(rate), "sparse_categorical_crossentropy")
    return model


@pytest.fixture(scope="module")
def classes():
    x = np.random.default_rng(0).normal(size=(320, 32)).astype("float32")
    return x, x[:, :3].argmax(axis=1)


def faults(monitor):
    return [verdict.fault for verdict in monitor.diagnose()]


def steps(monitor, quantity="step", variable="dense/kernel"):
    return [row.step for row in monitor.history.select(quantity, variable)]


def test_folds_with_one_monitor_are_judged_as_by_new_ones(classes):
    monitor = EffectiveLearningRateMonitor()
    for fold, rate in enumerate((0.05, 50.0, 0.05)):
        new = EffectiveLearningRateMonitor()
        classifier(rate).fit(*classes, epochs=2, verbose=0, callbacks=[monitor, new])
        assert faults(monitor) == faults(new) == (["steps too large"] if fold == 1 else [])
        assert steps(monitor)[-1] == 20 * (fold + 1)
        assert [s - 20 * fold for s in steps(monitor) if s > 20 * fold] == steps(new)


def test_healthy_training_after_a_range_test_to_nan(classes):
    model, monitor = classifier(0.05), EffectiveLearningRateMonitor(update_freq=5)
    weights = model.get_weights()
    model.optimizer.learning_rate = 1e38
    model.fit(*classes, epochs=2, verbose=0, callbacks=[monitor])
    assert "not finite" in faults(monitor)
    model.set_weights(weights)
    for variable in model.optimizer.variables:
        variable.assign(tf.zeros_like(variable))
    model.optimizer.learning_rate = 0.05
    model.fit(*classes, epochs=2, verbose=0, callbacks=[monitor])
    assert faults(monitor) == []


def test_warm_restarts_within_a_fit(tmp_path):
    class Restart(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.optimizer.iterations.assign(0)

    monitor = EffectiveLearningRateMonitor(tmp_path, 3)
    fit(network(keras_lecture_opt.Adam()), Restart(), monitor, epochs=3)
    assert steps(monitor) == [1, 2, 3, 5, 6, 9, 10, 12, 15, 18, 20, 21]
    assert Log(tmp_path / "train").steps("step/dense/kernel") == [3, 6, 9, 12, 15, 18, 21]


@pytest.mark.parametrize("is_first", [False, True], ids=["monitor last", "monitor first"])
def test_resumed_from_a_backup_by_another_process(is_first, tmp_path):
    class Crash(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 10:
                raise RuntimeError

    def train(*more):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        hparams = {"learning_rate": 0.01}
        monitor = EffectiveLearningRateMonitor(tmp_path / "run", "batch", hparams=hparams)
        callbacks = [backup, monitor][:: -1 if is_first else 1]
        fit(network(optimizers.SGD(0.01)), *callbacks, *more, epochs=3)

    with pytest.raises(RuntimeError):
        train(Crash())
    train()
    # Epoch 1 is repeated: steps 8 to 10 of the crash are there, and 14 follow.
    assert Log(tmp_path / "run" / "train").steps("step/dense/kernel") == [*range(1, 25)]


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_steps_that_nobody_told_of_count():
    model, monitor = network(optimizers.SGD(0.01)), EffectiveLearningRateMonitor(update_freq=7)
    fit(model, monitor, epochs=1)
    fit(model, epochs=1)
    fit(model, monitor, epochs=1)
    assert steps(monitor)[-1] == 21
    model, monitor = network(optimizers.SGD(0.01)), EffectiveLearningRateMonitor()
    unknown = tf.data.Dataset.from_tensor_slices(data()).filter(lambda x, y: True).batch(8)
    for epoch in (1, 2):  # Keras counts one step more at the end of each
        model.fit(unknown, callbacks=[monitor], verbose=0, shuffle=False)
        assert monitor.history[-1].step == 7 * epoch


def test_two_monitors_on_one_folder_are_told(tmp_path):
    monitors = [EffectiveLearningRateMonitor(tmp_path, 7) for _ in range(2)]
    with pytest.warns(UserWarning, match="curves jump between the two") as said:
        fit(network(optimizers.SGD()), *monitors, epochs=1)
    assert len([w for w in said if "Monitor" in str(w.message)]) == 1
    monitor = EffectiveLearningRateMonitor(tmp_path, 7)
    with pytest.warns(UserWarning, match="up to step 7.* go on after that step"):
        fit(network(optimizers.SGD()), monitor, epochs=1)
    assert steps(monitor)[-1] == 14
    fit(network(optimizers.SGD()), monitor, epochs=1)  # it knows its own files
    assert steps(monitor)[-1] == 21


class Wgan(keras.Model):
    """Three critic steps and one generator step in each batch."""

    def __init__(self, order):
        super().__init__()
        self.gen, self.critic = layers.Dense(8, name="gen"), layers.Dense(1, name="critic")
        self.gen.build((None, 4))
        self.critic.build((None, 8))
        self.built = True
        for name in order:
            setattr(self, name, keras_lecture_opt.Momentum(0.05))

    def call(self, x):
        return self.critic(self.gen(x))

    def train_step(self, batch):
        z, real = batch
        for _ in range(3):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(self(z)) - tf.reduce_mean(self.critic(real))
            variables = self.critic.trainable_variables
            self.d_opt.apply(tape.gradient(loss, variables), variables)
        with tf.GradientTape() as tape:
            fake = -tf.reduce_mean(self(z))
        variables = self.gen.trainable_variables
        self.g_opt.apply(tape.gradient(fake, variables), variables)
        return {"loss": loss}


def session(folder):
    """The arguments in HParams, and the name of the run."""
    content = Log(folder / "hparams").metadata["_hparams_/session_start_info"].content
    start = HParamsPluginData.FromString(content).session_start_info
    shown = {name: getattr(v, v.WhichOneof("kind")) for name, v in start.hparams.items()}
    return shown, start.group_name


def test_critic_steps_whatever_the_order_of_attributes(tmp_path):
    histories = []
    for order in (("d_opt", "g_opt"), ("g_opt", "d_opt")):
        keras.utils.set_random_seed(0)
        model, monitor = Wgan(order), EffectiveLearningRateMonitor(tmp_path / order[0], "batch")
        model.compile(run_eagerly=True)
        rng = np.random.default_rng(0)
        z, real = rng.normal(size=(2, 12, 4)).astype("float32"), rng.normal(size=(12, 8))
        model.fit(z[0], real.astype("float32"), batch_size=4, verbose=0, callbacks=[monitor])
        histories.append([*monitor.history])
        assert steps(monitor, "execution", "critic/kernel") == [1, 2, 3]
        assert steps(monitor, "step", "critic/kernel") == []
        assert steps(monitor, "step", "gen/kernel") == [1, 2, 3]
    assert histories[0] == histories[1]
    shown, _ = session(tmp_path / "d_opt")
    # The compiled optimizer trains nothing.
    assert {name.partition("/")[0] for name in shown} == {"d_opt", "g_opt"}
    assert shown["g_opt/learning_rate"] == pytest.approx(0.05)


def test_ten_steps_in_one_call():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    optimizer = keras_lecture_opt.SteepestDescent(0.1)
    optimizer.build(model.trainable_variables)
    monitor = EffectiveLearningRateMonitor(update_freq="batch")
    monitor.watch(model, optimizer)
    for _ in range(2):
        with monitor.step():
            for _ in range(10):
                optimizer.apply([tf.ones((4, 2)), tf.ones(2)], model.trainable_variables)
    monitor.close()
    rows = monitor.history.select("execution", "dense/bias")
    assert [(row.step, row.value) for row in rows] == [
        (10, pytest.approx(1.0)),
        (20, pytest.approx(1.0)),
    ]
    assert not monitor.history.select("step")


def test_generator_that_steps_in_every_third_batch():
    """Between its steps it rests: a step of 0 would be an invention."""
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    both = [optimizers.SGD(0.1), optimizers.SGD(0.1)]
    kernel, bias = model.trainable_variables
    both[0].build([kernel])
    both[1].build([bias])
    monitor = EffectiveLearningRateMonitor(update_freq="batch")
    monitor.watch(model, both)
    for batch in range(6):
        with monitor.step():
            both[0].apply([tf.ones((4, 2))], [kernel])
            if batch % 3 == 0:
                both[1].apply([tf.ones(2)], [bias])
    monitor.close()
    assert steps(monitor) == [*range(1, 7)]
    assert steps(monitor, variable="dense/bias") == [1, 4]
    assert steps(monitor, "effective_lr", "dense/bias") == [1, 4]


def twins():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    return [model, keras.models.clone_model(model)]


def test_twins_lose_nothing_and_are_called_the_same_in_every_process(tmp_path):
    found = []
    for name in "ab":
        models, both = twins(), [keras_lecture_opt.Adam(0.1), keras_lecture_opt.Adam(0.2)]
        monitor = EffectiveLearningRateMonitor(tmp_path / name, "batch")
        monitor.watch(models, both)
        with monitor.step():
            for model, optimizer in zip(models, both, strict=True):
                optimizer.apply([tf.ones((4, 2)), tf.ones(2)], model.trainable_variables)
        monitor.close()
        found.append({row.variable: row.value for row in monitor.history.select("effective_lr")})
    assert found[0] == found[1]
    ends = [f"dense/{end}" for end in ("kernel", "bias")]
    assert [*found[0]] == [f"{m}/{end}" for m in ("sequential", "sequential_1") for end in ends]
    shown = [session(tmp_path / name)[0] for name in "ab"]
    assert shown[0] == shown[1]
    assert shown[0]["adam/learning_rate"] == pytest.approx(0.1)
    assert shown[0]["adam_1/learning_rate"] == pytest.approx(0.2)


def test_each_run_is_a_row_and_equal_runs_look_equal(tmp_path):
    for name in ("a/run", "b/run"):
        fit(network("adam"), EffectiveLearningRateMonitor(tmp_path / name), epochs=1)
    (first, name_1), (second, name_2) = (session(tmp_path / name) for name in ("a/run", "b/run"))
    assert first == second
    assert name_1 != name_2
    texts = [
        Log(tmp_path / name / "train").last("optimizer/configuration")
        for name in ("a/run", "b/run")
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ({"learning_rate": 0.1}, r"'learning_rate' is 0\.1 there and 0\.001 in"),
        ({"optimizer": "sgd"}, r"'optimizer' is 'sgd' there and 'Adam' in"),
        ({"beta_1": "high"}, r"'beta_1' is 'high' there and 0\.9 in"),
    ],
)
def test_hparams_that_contradict_the_optimizer(hparams, message, tmp_path):
    model = network(keras_lecture_opt.Adam(0.001))
    monitor = EffectiveLearningRateMonitor(tmp_path, hparams=hparams)
    with pytest.raises(ValueError, match=message):
        fit(model, monitor)
    assert int(model.optimizer.iterations) == 0
    # The corrected call finds no files, of which it would warn.
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_hparams_that_agree_or_cannot_be_compared():
    agreeing = {"learning_rate": 0.001, "optimizer": "adam", "weight_decay": 0.0, "batch_size": 8}
    agreeing["name"] = "of the run, not of the optimizer"
    model = network(keras_lecture_opt.Adam(0.001))
    fit(model, EffectiveLearningRateMonitor(hparams=agreeing), epochs=1)
    model.optimizer.learning_rate = 0.0005  # as a callback does: the next part of a training
    with pytest.warns(UserWarning, match="0.001 there and 0.0005 in"):
        fit(model, EffectiveLearningRateMonitor(hparams=agreeing), epochs=1)
    schedule = optimizers.schedules.CosineDecay(0.1, 10)
    hparams = {"learning_rate": 0.1, "optimizer": "keras.optimizers.SGD"}
    fit(network(optimizers.SGD(schedule)), EffectiveLearningRateMonitor(hparams=hparams))


def test_optimizers_in_containers_are_found():
    class Parts(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = layers.Dense(2, name="one"), layers.Dense(2, name="two")
            self._pairs = [(optimizers.SGD(0.1), self.one)]
            self.by_name = {"second": {"two": optimizers.SGD(0.5)}}

        def call(self, x):
            return self.two(self.one(x))

        def train_step(self, batch):
            x, y = batch
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x) - y) ** 2)
            parts = self.one.trainable_variables, self.two.trainable_variables
            gradients = tape.gradient(loss, parts)
            self._pairs[0][0].apply(gradients[0], parts[0])
            self.by_name["second"]["two"].apply(gradients[1], parts[1])
            return {"loss": loss}

    model, monitor = Parts(), EffectiveLearningRateMonitor(update_freq="batch")
    model.compile(loss="mse")
    fit(model, monitor, epochs=1)
    rates = {row.variable: row.value for row in monitor.history.select("effective_lr")}
    assert rates == pytest.approx(
        {f"{n}/{v}": lr for n, lr in (("one", 0.1), ("two", 0.5)) for v in ("kernel", "bias")}
    )


class Returns(keras.Sequential):
    def train_step(self, batch):
        return {**super().train_step(batch), **self.more(batch[0])}


ODD = {
    "f1": lambda model, x: {"f1": tf.ones(2)},
    "matrix": lambda model, x: {"matrix": model(x)},
    "loss": lambda model, x: {"loss": tf.reduce_mean(model(x), 1)},
    "accuracy": lambda model, x: {"accuracy": tf.reduce_mean(model(x), 0)},
    "phase": lambda model, x: {"phase": "warmup"},
    "nothing": lambda model, x: {"nothing": None},
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_not_one_number_is_left_out(name, tmp_path):
    for log_dir in (None, tmp_path):
        model = Returns([keras.Input((4,)), layers.Dense(2)])
        model.more = lambda x, model=model: ODD[name](model, x)
        model.compile("sgd", "mse", run_eagerly=True)
        monitor = EffectiveLearningRateMonitor(log_dir, "batch")
        with pytest.warns(UserWarning, match=f"{name!r} in the logs is left out") as said:
            fit(model, monitor, epochs=1)
        assert len([w for w in said if "Monitor" in str(w.message)]) == 1
        assert steps(monitor)[-1] == 7
        assert name == "loss" or not monitor.history.select(
            name
        )  # Keras's at the epoch's end is one
    metrics = {tag for tag in Log(tmp_path / "hparams").tags if tag.startswith("metrics/")}
    assert metrics == {"metrics/loss"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.ones((1, 1)), 1.0),
        (tf.constant([2.0]), 2.0),
        (tf.constant(3.0, "bfloat16"), 3.0),
        (keras.Variable(4.0), 4.0),
        (True, 1.0),
        (1e300, 1e300),
        ("5", None),
        (b"5", None),
        (np.array(["5"]), None),
        ([1, [2]], None),
        (1j, None),
    ],
)
def test_what_is_one_number(value, expected):
    assert number(value) == expected


def test_numbers_that_float32_cannot_hold_end_nothing(tmp_path):
    class Huge(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["huge"] = 1e300

    monitor = EffectiveLearningRateMonitor(tmp_path, "batch", detail=True, write_images=True)
    with np.errstate(all="raise"):
        fit(network(optimizers.SGD(1e38)), Huge(), monitor)
    assert {row.value for row in monitor.history.select("huge")} == {1e300}
    shown = Log(tmp_path / "hparams").values["metrics/huge"]
    assert [value for _, value in shown] == [math.inf] * 2


def test_losses_of_validation_are_rows_too():
    monitor = EffectiveLearningRateMonitor()
    fitted = fit(network("sgd"), monitor, validation_data=data())
    rows = monitor.history.select("val_loss")
    assert [(row.step, row.value) for row in rows] == [
        *zip((7, 14), fitted.history["val_loss"], strict=True)
    ]
    losses = [row.step for row in monitor.history.select("loss")]
    assert losses == sorted({*losses})  # none twice


def test_history_keeps_early_and_latest_rows_of_each_training():
    history = History()
    history.limit, dropped = 60, 0
    for training in range(3):
        history.begin()
        for age in range(1, 201):
            row = Row(200 * training + age, 0, "w", "step", float(age))
            dropped += history.add([row], is_early=age in (1, 2, 5, 10, 20, 50, 100, 200))
    assert dropped
    assert len(history) <= 60 + 8 * 3 + 15
    for training in range(3):
        assert {200 * training + age for age in (1, 2, 5, 10)} <= {row.step for row in history}
    assert [row.step for row in history][-20:] == [*range(581, 601)]
    assert {row.step > 400 for row in history.latest} == {True}
    assert history.latest[0].step == 401


def test_limit_of_the_history_is_said_once():
    monitor = EffectiveLearningRateMonitor(update_freq="batch", history_limit=100)
    with pytest.warns(
        UserWarning, match="more than 100 rows.*`history_limit=None` keeps all"
    ) as said:
        fit(network("sgd"), monitor, epochs=4)
    assert len([w for w in said if "Monitor" in str(w.message)]) == 1
    assert {1, 2, 5, 28} <= {*steps(monitor)}
    assert len(monitor.history) < 28 * 17
    with pytest.raises(ValueError, match="`history_limit` must be None or an integer >= 1, not 0"):
        EffectiveLearningRateMonitor(history_limit=0)


def test_healthy_run_says_which_checks_were_made(classes, tmp_path, capsys):
    monitor = EffectiveLearningRateMonitor(tmp_path, verbose=1)
    classifier(0.05).fit(*classes, epochs=2, verbose=0, callbacks=[monitor])
    said = capsys.readouterr().out.strip()
    assert said.startswith("No fault found: ")
    count, named = int(said.split()[3]), said[said.index("(") + 1 : said.index(")")].split(", ")
    assert len(named) == count > 3
    assert {"steps too large", "bad start", "not finite"} <= {*named}
    assert "no learning" not in named  # after 150 steps
    texts = Log(tmp_path / "train")
    assert texts.last("diagnosis").item().decode() == f"- {said}"
    assert sorted(t for t, plugin in texts.plugins.items() if plugin == "text")[0] == "diagnosis"


def test_page_and_docstring_have_the_table_of_quantities():
    table = _quantities.table()
    assert table in (pathlib.Path(__file__).parents[1] / "docs" / "monitor.md").read_text()
    assert all(line in EffectiveLearningRateMonitor.__doc__ for line in table.splitlines())


def test_fit_after_an_interruption_is_a_new_training(classes, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 12:
                raise KeyboardInterrupt

    monitor = EffectiveLearningRateMonitor(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        classifier(50.0).fit(*classes, epochs=2, verbose=0, callbacks=[monitor, Stop()])
    classifier(0.05).fit(*classes, epochs=2, verbose=0, callbacks=[monitor])
    assert faults(monitor) == []
    assert steps(monitor) == [1, 2, 5, 10, 13, 14, 17, 22, 32]
