"""What each process of `test_several_machines.py` runs: it answers all of its questions.

python worker.py FOLDER
"""

import os
import pathlib
import pickle
import signal
import sys

import quick  # noqa: F401 - before TensorFlow

# isort: split
import keras
import numpy as np
import tensorflow as tf

import keras_lecture_opt
from keras_lecture_opt import EffectiveLearningRateMonitor
from keras_lecture_opt.rules import _compiled
from keras_lecture_opt.several_machines import Backup, DistributedModel, is_chief

RATE = 2.0**-4
DTYPES = ("float64", "float32")


def inputs():
    """40 examples with two inputs and a label: 3 batches of 12 an epoch, and one of 4."""
    rng = np.random.default_rng(0)
    x = {"left": rng.normal(size=(40, 4)), "right": rng.normal(size=(40, 3))}
    return x, rng.integers(0, 3, 40)


@keras.saving.register_keras_serializable("tests")
class Drawing(keras.layers.Layer):
    """Draws random numbers as Dropout does, but changes nothing: one process must agree."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.seed_generator = keras.random.SeedGenerator(7)

    def call(self, x, training=False):
        if not training:
            return x
        return x + 0 * keras.random.uniform(keras.ops.shape(x), seed=self.seed_generator)


def two_inputs():
    """A network with two inputs, batch normalization, draws and a model inside the model."""
    keras.utils.set_random_seed(0)
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    both = keras.layers.Concatenate(name="both")([left, right])
    both = keras.layers.BatchNormalization(synchronized=True, name="norm")(both)
    both = Drawing(name="drawing")(both)
    inside = keras.layers.Dense(6, "tanh", name="dense")
    inner = keras.Sequential([keras.Input((7,)), inside], name="inner")
    output = keras.layers.Dense(3, "softmax", name="output")(inner(both))
    return keras.Model({"left": left, "right": right}, output, name="two_inputs")


LOSS = "sparse_categorical_crossentropy", None, ["accuracy"]


def adam():
    return keras_lecture_opt.Adam(RATE)


def fit(model, *callbacks, **arguments):
    arguments = {"epochs": 2, "batch_size": 12, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(*inputs(), callbacks=[*callbacks], **arguments).history


def state(model):
    """Copies of weights and the optimizer's state."""
    return [v.numpy() for v in (*model.trainable_variables, *model.optimizer.variables)]


def seed(model):
    """The seed of the layer that draws, and the number of its draws."""
    return model.get_layer("drawing").seed_generator.state.numpy().tolist()


class Killed(keras.callbacks.Callback):
    """Kills this process as `kill -9` does, in the middle of the second epoch."""

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations.numpy() == 6:
            os.kill(os.getpid(), signal.SIGKILL)


def distributed(strategy, make, optimizer=lambda: "sgd", *compile_arguments):
    """Make and compile a model as a user does."""
    with strategy.scope():
        network, optimizer = make(), optimizer()
    model = DistributedModel(network)
    model.compile(optimizer, *compile_arguments)
    return model


class SideBySide(DistributedModel):
    """One `fit` in which every optimizer trains a linear model of its own."""

    def train_step(self, data):
        x, y = data
        for optimizer, (W, b) in SideBySide.trained:
            with tf.GradientTape() as tape:
                error = tf.cast(x, W.dtype) @ W + b - tf.cast(y, W.dtype)
                loss = tf.reduce_mean(error**2) / self.distribute_strategy.num_replicas_in_sync
            optimizer.apply(tape.gradient(loss, [W.value, b.value]), [W, b])
        functions = tf.compat.v1.get_default_graph().as_graph_def().library.function
        SideBySide.clusters = sum(f.attr["_XlaMustCompile"].b for f in functions)
        return super().train_step(data)


def train_rules(strategy, x, y, start):
    """Train with every rule, in two types, on batches of 16; return weights and state."""
    with strategy.scope():
        network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        SideBySide.trained = [
            (rule(RATE), [keras.Variable(w, dtype=dtype) for w in start])
            for rule in keras_lecture_opt.rules.RULES
            for dtype in DTYPES
        ]
        for optimizer, variables in SideBySide.trained:
            optimizer.build(variables)
    model = SideBySide(network)
    model.compile("sgd", "mse")
    model.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
    rules = {}
    for optimizer, variables in SideBySide.trained:
        values = [(v.numpy(), [s.numpy() for s in optimizer.slots(v)]) for v in variables]
        rules.setdefault(type(optimizer).__name__, []).extend(values)
    return rules


def error_of_keras(strategy):
    """What Keras says to a model of its own there, or None."""
    with strategy.scope():
        model = two_inputs()
        model.compile(adam(), *LOSS)
    try:
        fit(model)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def main(folder):
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    keras.config.set_floatx("float64")
    chief = is_chief(strategy)
    answers = {"worker": strategy.cluster_resolver.task_id, "pid": os.getpid()}

    # A training whose second worker is killed once.
    started = folder / f"started-{answers['worker']}"
    killer = [] if started.exists() or chief else [Killed()]
    started.touch()
    model = distributed(strategy, two_inputs, adam, *LOSS)
    backup = Backup(model, folder / "backups")
    answers["epochs before"] = backup.restore()
    fit(model, backup, *killer, initial_epoch=answers["epochs before"])
    answers["interrupted"] = state(model)
    answers["interrupted seed"] = seed(model)

    # One that nothing disturbs.
    model = distributed(strategy, two_inputs, adam, *LOSS)
    monitor = EffectiveLearningRateMonitor(folder / "logs", "batch")
    callbacks = [monitor, keras.callbacks.TensorBoard(folder / "logs")] if chief else [monitor]
    answers["names"] = [v.path for v in model.trainable_variables]
    answers["history"] = fit(model, *callbacks, validation_data=inputs())
    answers["rows"] = [tuple(row) for row in monitor.history]
    answers["evaluated"] = model.evaluate(*inputs(), verbose=0, return_dict=True)
    answers["predicted"] = model.predict(inputs()[0], verbose=0)
    answers["state"] = state(model)
    answers["seed"] = seed(model)
    if chief:
        model.save(folder / "network.keras")

    answers["rules"] = train_rules(strategy, *pickle.loads((folder / "linear").read_bytes()))
    answers["clusters"] = SideBySide.clusters
    answers["keras"] = error_of_keras(strategy)
    (folder / f"answers-{answers['worker']}").write_bytes(pickle.dumps(answers))


if __name__ == "__main__":
    _compiled.FEWEST_ON_CPU = 0  # networks as small as these would not be compiled
    main(pathlib.Path(sys.argv[1]))
