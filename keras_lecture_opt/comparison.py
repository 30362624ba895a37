"""Train MNIST networks with several rules under equal conditions, resumably.

The harness of `examples/compare_rules.py`, which redraws Figure 2(a) of Kingma & Ba (2015).
"""

import csv
import dataclasses
import json
import math
import numbers
import os
import pathlib
import platform
import time

import keras
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

import keras_lecture_opt
from keras_lecture_opt import mnist
from keras_lecture_opt.rates import formula_of

# Twice the cross-entropy of guessing among ten digits: what ends an epoch above has diverged.
DIVERGED = 2 * math.log(10)
SAVED = "saved"  # in a run's folder; of one called "checkpoint" TensorBoard complains


@dataclasses.dataclass(frozen=True)
class Run:
    """One training: all that decides its numbers, on one machine to the last bit.

    Runs of one seed, network and batch size start from the same weights, see the same batches and
    drop the same units, whatever their rule.

    Args:
        rule: a class of this package, such as "Adam", or keras.NAME for one of Keras, such as
            "keras.Adadelta".
        hyperparameters: dict of the rule's arguments, each a number, a string, a boolean or None.
            Defaults to none: the rule's defaults.
        seed: of weights, batches and dropout; an integer >= 0 and < 2**32.
        hidden: units of each hidden layer.
        dropout: share of each hidden layer that is dropped in training, in [0, 1).
        batch_size: images per step.
        epochs: passes over the training images.

    Raises:
        ValueError: an argument is not allowed, or there is no such rule.
        TypeError: the rule does not take these hyperparameters, or not from here: a run is known
            by them, and must be found again in another process.

    Example:

    >>> run = Run("Momentum", {"learning_rate": 0.1, "momentum": 0.5}, epochs=3)
    >>> run.optimizer().momentum
    0.5
    """

    rule: str
    hyperparameters: dict = dataclasses.field(default_factory=dict)
    seed: int = 0
    hidden: tuple = (1000, 1000)
    dropout: float = 0.5
    batch_size: int = 128
    epochs: int = 20

    def __post_init__(self):
        for argument, least in (("seed", 0), ("batch_size", 1), ("epochs", 1)):
            _check_integer(argument, getattr(self, argument), least)
        if self.seed >= 2**32:  # NumPy's limit
            raise ValueError(f"`seed` must be an integer < 2**32, not {self.seed!r}.")
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for units in self.hidden:
            _check_integer("hidden", units, 1)
        if not isinstance(self.dropout, numbers.Real) or not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must be a number in [0, 1), not {self.dropout!r}.")
        for name, value in self.hyperparameters.items():
            if not isinstance(value, (numbers.Real, str, type(None))):  # a schedule, say
                raise TypeError(
                    "`hyperparameters` must be numbers, strings, booleans or None, not "
                    f"{name}={value!r}."
                )
        self.optimizer()

    def optimizer(self):
        """A new optimizer of that rule."""
        module, _, name = self.rule.rpartition(".")
        modules = {"": keras_lecture_opt, "keras": keras.optimizers}
        rule = getattr(modules.get(module), name, None)
        base = keras.optimizers.Optimizer
        if not (isinstance(rule, type) and issubclass(rule, base) and rule is not base):
            raise ValueError(
                "`rule` must be a rule of this package, such as 'Adam', or keras.NAME, not "
                f"{self.rule!r}."
            )
        # Keras would number the names, and HParams would tell equal optimizers apart by them.
        return rule(**{"name": name, **self.hyperparameters})

    def folder(self, examples):
        """The name of the folder for this run on so many images; more epochs continue it."""
        parts = {
            **self.hyperparameters,
            "seed": self.seed,
            "hidden": "x".join(map(str, self.hidden)),
            "dropout": self.dropout,
            "batch_size": self.batch_size,
            "examples": examples,
        }
        return ",".join([self.rule, *(f"{name}={value}" for name, value in parts.items())])


def _check_integer(argument, value, least):
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"`{argument}` must be an integer >= {least}, not {value!r}.")


def train(run, data, folder, test=None, brief=False, progress=lambda row: None):
    """Trains, or continues where an earlier call was ended, even killed, after its last epoch.

    After each epoch weights, state of the optimizer and numbers are saved as one. What is saved is
    known by the run and the number of images: after a change of the data, of a rule's code or of
    its defaults, and to test what was trained without `test`, take another folder.

    Args:
        run: a `Run`.
        data: `(images, labels)` to train on, uint8 arrays of shapes (n, 28, 28) and (n,).
        folder: where the run gets a folder of its own.
        test: `(images, labels)` to test on after each epoch. Defaults to none.
        brief: whether only the numbers are kept in the end: no weights to continue from, nothing
            for TensorBoard. Defaults to False.
        progress: is called after each epoch with its row.

    Returns:
        A list of dicts, one for each epoch: `epoch` (from 1), `cost` (mean cross-entropy of the
        training images during the epoch, with dropout), `test_cost`, `test_accuracy` (None
        without `test`), `seconds` (of training), `diverged`: whether the cost is not finite or
        above `DIVERGED`, which ends the run; and the `environment()` of that epoch.

    Raises:
        ValueError: the folder's name has one of the characters *, ?, [ and a backslash.
        OSError, tf.errors.OpError: the folder cannot be written to, or the disk is full. What has
            been saved stays.
    """
    folder = pathlib.Path(folder) / run.folder(len(data[0]))
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
    """Raises if TensorFlow would take the folder's name for a pattern, and find nothing in it."""
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
    """All batches of the epochs to come; an epoch's order depends on seed and epoch only."""
    images, labels = map(tf.constant, data)

    def epoch_of(epoch):
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(images)), seed=tf.stack([run.seed, epoch])
        )
        return tf.data.Dataset.from_tensor_slices(order).batch(run.batch_size)

    epochs = tf.data.Dataset.range(first_epoch, run.epochs).flat_map(epoch_of)
    return epochs.map(lambda i: (tf.gather(images, i), tf.gather(labels, i))).prefetch(2)


def _loggers(run, optimizer, folder):
    """What TensorBoard shows. HParams has one trial for the seeds of a configuration."""
    configuration = {
        "hidden": "x".join(map(str, run.hidden)),
        "dropout": run.dropout,
        "batch_size": run.batch_size,
    }
    try:
        formula_of(optimizer)
    except TypeError:  # its effective learning rate is not known
        given = {k: v for k, v in run.hyperparameters.items() if v is not None}
        configuration = {"optimizer": run.rule, **given, **configuration}
        monitor = hparams.KerasCallback(os.fspath(folder), configuration)
    else:
        monitor = keras_lecture_opt.EffectiveLearningRateMonitor(folder, hparams=configuration)
    return [keras.callbacks.TensorBoard(folder), monitor]


class _Recorder(keras.callbacks.Callback):
    """Adds a row after each epoch, and saves all."""

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
    """The run whose last epoch has the lowest cost.

    Args:
        trained: list of `(run, rows)`.

    Returns:
        One of the runs, or None if all diverged.
    """
    costs = {i: rows[-1]["cost"] for i, (_, rows) in enumerate(trained) if not diverged(rows)}
    return trained[min(costs, key=costs.get)][0] if costs else None


def diverged(rows):
    """Whether a run did not come to its end."""
    return rows[-1]["diverged"]


def environment():
    """What else the numbers may depend on: a dict of the device and of versions."""
    gpus = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    return {
        "device": details.get("device_name", "GPU") if gpus else f"CPU, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "keras_lecture_opt": keras_lecture_opt.__version__,
    }


def table(runs, examples, part):
    """One flat dict for each epoch of each run, for a CSV file.

    Args:
        runs: list of `(run, rows)`.
        examples: how many images they were trained on.
        part: what the runs were for, the first column.
    """
    result = []
    for run, rows in runs:
        arguments = {k: v for k, v in run.optimizer().get_config().items() if k != "name"}
        what = {
            "part": part,
            "rule": run.rule,
            "learning_rate": run.hyperparameters.get("learning_rate"),
            "hyperparameters": json.dumps(arguments, sort_keys=True),  # the defaults, too
            "seed": run.seed,
            "hidden": "x".join(map(str, run.hidden)),
            "dropout": run.dropout,
            "batch_size": run.batch_size,
            "examples": examples,
        }
        result += [{**what, **row} for row in rows]
    return result


def write_csv(path, rows):
    """Writes rows as a whole or not at all: a reader never sees a part."""
    part = path.with_name(f"{path.name}.part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)
