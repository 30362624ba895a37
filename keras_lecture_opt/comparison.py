"""Trains MNIST networks with several rules under equal conditions, resumably.

The harness of `examples/compare_rules.py`, which redraws Figure 2(a) of Kingma & Ba (2015).
"""

import csv
import dataclasses
import json
import math
import os
import pathlib
import platform
import time

import keras
import tensorflow as tf

import keras_lecture_opt
from keras_lecture_opt import mnist
from keras_lecture_opt._arguments import (
    as_python,
    check_integer,
    check_path,
    must_be,
)
from keras_lecture_opt._resolve import optimizer_class, optimizer_name

# Twice the cross-entropy of guessing among ten digits. A run whose cost over an epoch is above it
# has diverged.
DIVERGED = 2 * math.log(10)
SAVED = "saved"  # in a run's folder; of one called "checkpoint" TensorBoard complains


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run, described by everything that determines its results on one machine.

    Runs of one seed, network and batch size start from the same weights, see the same batches and
    drop the same units, whatever their rule.

    Args:
        rule: name of a rule of this package, such as "Adam", or keras.NAME for an optimizer of
            Keras, such as "keras.Adadelta"; or an optimizer class of your own.
        hyperparameters: dict of the rule's arguments, each a number, a string, a boolean or None.
            Defaults to the rule's defaults.
        seed: seed of weights, batches and dropout; an integer >= 0 and < 2**32.
        hidden: units of each hidden layer.
        dropout: share of each hidden layer that is dropped in training, in [0, 1).
        batch_size: images per step.
        epochs: passes over the training images.

    Raises:
        ValueError: an argument has a value that is not allowed, or there is no such rule.
        TypeError: an argument has the wrong type, or the rule does not take these hyperparameters.
            A schedule is refused: hyperparameters identify a run in every process.

    Example:

    >>> run = Run("Momentum", {"learning_rate": 0.1, "momentum": 0.5}, epochs=3)
    >>> run.optimizer().momentum
    0.5
    """

    rule: str | type
    hyperparameters: dict = dataclasses.field(default_factory=dict)
    seed: int = 0
    hidden: tuple = (1000, 1000)
    dropout: float = 0.5
    batch_size: int = 128
    epochs: int = 20

    def __post_init__(self):
        if not isinstance(self.hyperparameters, dict):
            raise TypeError(must_be("hyperparameters", "a dict", self.hyperparameters))
        hyperparameters = {k: as_python(v) for k, v in self.hyperparameters.items()}
        for name, value in hyperparameters.items():
            if not isinstance(value, (bool, int, float, str, type(None))):  # a schedule, say
                allowed = "numbers, strings, booleans or None"
                raise TypeError(must_be("hyperparameters", allowed, f"{name}={value!r}"))
        dropout, hidden = mnist.check_network(self.dropout, self.hidden)
        checked = {
            "hyperparameters": hyperparameters,
            "seed": check_integer("seed", self.seed, 0, 2**32 - 1),  # NumPy's limit
            "hidden": hidden,
            "dropout": dropout,
            "batch_size": check_integer("batch_size", self.batch_size, 1),
            "epochs": check_integer("epochs", self.epochs, 1),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        self.optimizer()

    @property
    def name(self):
        """Name of the rule, which differs between classes of one name in several modules."""
        return optimizer_name(self.rule) if isinstance(self.rule, type) else self.rule

    def optimizer(self):
        """Return a new optimizer of the rule."""
        cls = self.rule if isinstance(self.rule, type) else optimizer_class(self.rule)
        if not issubclass(cls, keras.optimizers.Optimizer):
            raise TypeError(must_be("rule", "a class of Keras optimizers, or its name", cls))
        # Keras would number the names, and equal optimizers would differ in HParams.
        return cls(**{"name": cls.__name__, **self.hyperparameters})

    def folder(self, examples):
        """Return the name of the folder for this run on so many images; more epochs continue it."""
        parts = {
            **self.hyperparameters,
            "seed": self.seed,
            "hidden": "x".join(map(str, self.hidden)),
            "dropout": self.dropout,
            "batch_size": self.batch_size,
            "examples": examples,
        }
        return ",".join([self.name, *(f"{name}={value}" for name, value in parts.items())])


def train(run, data, folder, test=None, brief=False, progress=lambda row: None):
    """Train a run, or continue it after the last complete epoch of an earlier, even killed, call.

    After each epoch weights, optimizer state and results are saved together. What is saved is
    identified by the run and the number of images. Use another folder after you change the data, a
    rule's code or its defaults, and to add `test` to a run that was trained without it.

    Args:
        run: a `Run`.
        data: `(images, labels)` to train on, uint8 arrays of shapes (n, 28, 28) and (n,).
        folder: where the run gets a folder of its own.
        test: `(images, labels)` to test on after each epoch. Defaults to none.
        brief: whether to keep only the results in the end: no weights to continue from, nothing
            for TensorBoard. Defaults to False.
        progress: function that is called after each epoch with its row.

    Returns:
        A list of dicts, one for each epoch: `epoch` (from 1), `cost` (mean cross-entropy of the
        training images during the epoch, with dropout), `test_cost`, `test_accuracy` (None
        without `test`), `seconds` (of training), `diverged`: whether the cost is not finite or
        above `DIVERGED`, which ends the run; and the `environment()` of that epoch.

    Raises:
        ValueError: the folder's name contains *, ?, [ or a backslash.
        OSError, tf.errors.OpError: the folder cannot be written to, or the disk is full. What has
            been saved stays.
    """
    folder = pathlib.Path(check_path("folder", folder)) / run.folder(len(data[0]))
    check_folder(folder)
    if brief:  # more epochs cannot continue it
        folder /= f"{run.epochs} epochs"
    rows = _saved_rows(folder)
    if rows and (len(rows) >= run.epochs or diverged(rows)):
        return rows[: run.epochs]

    keras.utils.set_random_seed(run.seed)
    tf.config.experimental.enable_op_determinism()
    model, optimizer = mnist.mlp(run.dropout, run.hidden), run.optimizer()
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = tf.Variable("[]")
    saved = tf.train.Checkpoint(
        history=history, variables=[v.value for v in model.variables + optimizer.variables]
    )
    manager = _manager(saved, folder)
    if rows:
        saved.restore(manager.latest_checkpoint).assert_existing_objects_matched()
    loggers = [] if brief else _loggers(run, optimizer, folder)
    model.fit(
        _batches(run, data, first_epoch=len(rows)),
        steps_per_epoch=math.ceil(len(data[0]) / run.batch_size),
        initial_epoch=len(rows),
        epochs=run.epochs,
        validation_data=test,
        validation_batch_size=1000,
        callbacks=[*loggers, _Recorder(rows, history, manager, progress)],  # logged, then done
        shuffle=False,  # they are
        verbose=0,
    )
    if brief:  # replaces the last checkpoint, weights and all, once it is written
        _manager(tf.train.Checkpoint(history=history), folder).save(run.epochs + 1)
    return rows


def check_folder(folder):
    """Raise if TensorFlow would take the folder's name for a pattern, and find nothing in it."""
    if set("*?[\\") & set(str(folder)):
        raise ValueError(f"`folder` must be without *, ?, [ and \\, not '{folder}'.")


def _manager(saved, folder):
    return tf.train.CheckpointManager(saved, folder / SAVED, max_to_keep=1)


def _saved_rows(folder):
    latest = tf.train.latest_checkpoint(folder / SAVED)
    if latest is None:
        return []
    history = tf.train.load_variable(latest, "history/.ATTRIBUTES/VARIABLE_VALUE")
    return json.loads(history)


def _batches(run, data, first_epoch):
    """Return all batches of the next epochs; an epoch's order depends on seed and epoch only."""
    images, labels = map(tf.constant, data)

    def epoch_of(epoch):
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(images)), seed=tf.stack([run.seed, epoch])
        )
        return tf.data.Dataset.from_tensor_slices(order).batch(run.batch_size)

    epochs = tf.data.Dataset.range(first_epoch, run.epochs).flat_map(epoch_of)
    return epochs.map(lambda i: (tf.gather(images, i), tf.gather(labels, i))).prefetch(2)


def _loggers(run, optimizer, folder):
    """Return what TensorBoard shows. The seeds of a configuration are one trial in HParams."""
    configuration = {
        "hidden": "x".join(map(str, run.hidden)),
        "dropout": run.dropout,
        "batch_size": run.batch_size,
    }
    monitor = keras_lecture_opt.EffectiveLearningRateMonitor(folder, hparams=configuration)
    return [keras.callbacks.TensorBoard(folder), monitor]


class _Recorder(keras.callbacks.Callback):
    """Adds a row after each epoch, and saves everything."""

    def __init__(self, rows, history, manager, progress):
        super().__init__()
        self.rows, self.history, self.manager, self.progress = rows, history, manager, progress

    def on_epoch_begin(self, epoch, logs=None):
        self.begun, self.seconds = time.perf_counter(), None

    def on_test_begin(self, logs=None):
        self.seconds = time.perf_counter() - self.begun

    def on_epoch_end(self, epoch, logs=None):
        cost = logs["loss"]
        row = {
            "epoch": epoch + 1,
            "cost": cost,
            "test_cost": logs.get("val_loss"),
            "test_accuracy": logs.get("val_accuracy"),
            "seconds": self.seconds or time.perf_counter() - self.begun,
            "diverged": not cost <= DIVERGED,
            **environment(),
        }
        self.rows.append(row)
        self.model.stop_training = row["diverged"]
        self.history.assign(json.dumps(self.rows))
        self.manager.save(epoch + 1)
        self.progress(row)


def best(trained):
    """Return the run whose last epoch has the lowest cost.

    Args:
        trained: list of `(run, rows)`.

    Returns:
        One of the runs, or None if all diverged.
    """
    costs = {i: rows[-1]["cost"] for i, (_, rows) in enumerate(trained) if not diverged(rows)}
    return trained[min(costs, key=costs.get)][0] if costs else None


def diverged(rows):
    """Return whether a run ended before its last epoch because it diverged."""
    return rows[-1]["diverged"]


def environment():
    """Return what else the results may depend on: a dict of the device and of versions."""
    gpus = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    return {
        "device": details.get("device_name", "GPU") if gpus else f"CPU, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "keras_lecture_opt": keras_lecture_opt.__version__,
    }


def csv_rows(runs, examples, phase):
    """Return one flat dict for each epoch of each run, for a CSV file.

    Args:
        runs: list of `(run, rows)`.
        examples: how many images they were trained on.
        phase: what the runs were for: "search" or "comparison", the column `part`.
    """
    result = []
    for run, rows in runs:
        arguments = {k: v for k, v in run.optimizer().get_config().items() if k != "name"}
        columns = {
            "part": phase,
            "rule": run.name,
            "learning_rate": run.hyperparameters.get("learning_rate"),
            "hyperparameters": json.dumps(arguments, sort_keys=True),  # the defaults, too
            "seed": run.seed,
            "hidden": "x".join(map(str, run.hidden)),
            "dropout": run.dropout,
            "batch_size": run.batch_size,
            "examples": examples,
        }
        result += [{**columns, **row} for row in rows]
    return result


def write_csv(path, rows):
    """Write all rows or none: a reader never sees a part of the file."""
    part = path.with_name(f"{path.name}.part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)
