"""`fit` on several machines, which Keras 3.12 to 3.15 cannot do (its issue 20585).

A model that is created in the scope of a `tf.distribute.MultiWorkerMirroredStrategy` reduces a
batch before training, which fails. And its logs are averaged over an axis that scalars do not have.
`DistributedModel` avoids both by public names of Keras.
"""

import inspect
import os
import pathlib
import shutil
import warnings
from typing import Any

import keras
import tensorflow as tf

from keras_lecture_opt._arguments import check_path, must_be
from keras_lecture_opt._resolve import optimizer_name

START_AGAIN = "Choose another folder, or delete this one to start again."


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Return whether this process is the one that writes logs and files.

    Args:
        strategy: a `tf.distribute.Strategy`. Without several machines every process is a chief.

    Raises:
        TypeError: `strategy` is something else.
    """
    if not hasattr(strategy, "cluster_resolver"):
        raise TypeError(must_be("strategy", "a tf.distribute.Strategy", strategy))
    return _worker_index(strategy) == 0


def _worker_index(strategy):
    """The number of this process in its cluster; 0 is the chief."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return 0
    follows_chief = resolver.task_type != "chief" and "chief" in resolver.cluster_spec().jobs
    return resolver.task_id + follows_chief


class DistributedModel(keras.Model):
    """A model whose `fit` and `evaluate` work under `tf.distribute.MultiWorkerMirroredStrategy`.

    It has the layers, the weights and the name of `network`. It is trained like any Keras model:
    metrics, validation data and callbacks included. All workers run the same program. Each computes
    the gradient of its share of the batch, and the mean of these gradients updates the same weights
    everywhere. `batch_size` is that of all workers together.

    Workers must shuffle alike, and they should be able to share each batch evenly. Callbacks that
    write files belong on the chief alone: see `is_chief`. `docs/scale.md` says more on this, and on
    dropout, `BatchNormalization` and saving.

    Args:
        network: a `keras.Sequential` or functional model, created in the strategy's scope. Its
            layers are used. A `call` of its own class is not.

    Raises:
        TypeError: `network` is neither sequential nor functional, or its class has a `train_step`
            or another method of training of its own, which would not be used.
        ValueError: `network` has no weights yet, or was not created in the scope of a
            `MultiWorkerMirroredStrategy`, or the process has more than one device: start one
            process for each GPU.
        RuntimeError: this call is in the scope of a strategy.

    Example:

    >>> strategy = tf.distribute.MultiWorkerMirroredStrategy()  # reads TF_CONFIG
    >>> with strategy.scope():
    ...     network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> model = DistributedModel(network)
    >>> with strategy.scope():
    ...     model.compile(keras_lecture_opt.Adam(), "mse")
    >>> x, y = keras.random.normal((320, 4)), keras.random.normal((320, 2))
    >>> history = model.fit(x, y, batch_size=32, verbose=0)
    >>> int(model.optimizer.iterations.numpy())
    10
    """

    def __init__(self, network: keras.Model):
        _check_network(network)
        if isinstance(network, keras.Sequential):
            super().__init__(network.inputs[0], network.outputs[0], name=network.name)
        else:
            super().__init__(network.input, network.output, name=network.name)
        self.network = network
        _shift_seeds(network)

    @property
    def distribute_strategy(self) -> tf.distribute.Strategy:
        """The strategy in whose scope the network was created."""
        return self.network.distribute_strategy

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer | None = "rmsprop",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Configure training as `keras.Model.compile` does, and create the optimizer's state.

        The lecture's rules compile their update in any case; `jit_compile` would be for the whole
        step.

        Args:
            optimizer: name of an optimizer, or one that was created in the strategy's scope. None
                for a model that is only evaluated.
            *args: other arguments of `keras.Model.compile`.
            **kwargs: other arguments of `keras.Model.compile`.

        Raises:
            ValueError: the optimizer was created outside of the strategy's scope, or an argument
                asks for what TensorFlow cannot do there: `steps_per_execution`, `jit_compile`, or
                the optimizer's `gradient_accumulation_steps` or `ema_overwrite_frequency`.
        """
        strategy = self.distribute_strategy
        given = inspect.signature(super().compile).bind(optimizer, *args, **kwargs).arguments
        if given.setdefault("jit_compile", "auto") == "auto":
            given["jit_compile"] = False
        _check_compile(strategy, given)
        with strategy.scope():
            super().compile(**given)
            self.network.compile(**{**given, "optimizer": self.optimizer})  # for `save`
            if self.optimizer is not None:
                self.optimizer.build(self.trainable_variables)

    def train_step(self, data):
        return self._with_axis(super().train_step(data))

    def test_step(self, data):
        return self._with_axis(super().test_step(data))

    def _with_axis(self, logs):
        """Give the logs the axis over which Keras averages those of several workers."""
        if self.distribute_strategy.num_replicas_in_sync == 1:
            return logs
        return {name: value[None] for name, value in logs.items()}

    def save(self, filepath: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save `network` as `keras.Model.save` does: the file needs no `DistributedModel`.

        The chief may do so alone.
        """
        self.network.save(filepath, **kwargs)


class Backup(keras.callbacks.Callback):
    """Save a training after each epoch, so that it can go on after a worker has died.

    The chief saves weights, the optimizer's state (its learning rate included) and the number of
    epochs. All workers read them, so the folder must be one that they share. The two latest backups
    are kept: if the latest one is damaged, the one before it is used. Any number of workers can
    go on with a backup, and all with the chief's moving averages of `BatchNormalization`. The
    training ends with the weights of one that never stopped, if the data of an epoch depend on its
    number alone.

    Args:
        model: the `DistributedModel`, or any model whose variables exist, compiled.
        folder: where the backups are, `~` for the home folder.

    Raises:
        TypeError: `model` is not a compiled model, or `folder` is not a path.
        ValueError: the folder's list of backups is damaged, or `folder` is a `pathlib.Path` that
            was made from a URL: give the URL as a string.
        OSError: the folder cannot be made or read.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> model.compile("sgd", "mse")
    >>> x, y = keras.random.normal((320, 4)), keras.random.normal((320, 2))
    >>> backup = Backup(model, "backups")
    >>> epochs = {"initial_epoch": backup.restore(), "epochs": 3}
    >>> history = model.fit(x, y, callbacks=[backup], verbose=0, **epochs)
    >>> backup.restore()
    3
    """

    def __init__(self, model: keras.Model, folder: str | os.PathLike[str]):
        super().__init__()
        folder = check_path("folder", folder)
        if getattr(model, "optimizer", None) is None:
            raise TypeError(must_be("model", "a compiled keras.Model", model))
        self._trained = model
        model.optimizer.build(model.trainable_variables)
        self._epochs = tf.Variable(0, dtype=tf.int64)
        self._rule = optimizer_name(type(model.optimizer))
        self._checkpoint = tf.train.Checkpoint(
            epochs=self._epochs,
            rule=tf.Variable(self._rule),
            weights=[variable.value for variable in model.variables],
            optimizer=[variable.value for variable in model.optimizer.variables],
        )
        _ = self._checkpoint.save_counter  # created here, on all workers: it may be a broadcast
        try:
            tf.io.gfile.makedirs(folder)  # fails now, not after the first epoch
            self._manager = tf.train.CheckpointManager(self._checkpoint, folder, max_to_keep=2)
            if not self._manager.checkpoints and any(pathlib.Path(folder).glob("ckpt-*.index")):
                raise ValueError("It lists none.")
        except tf.errors.OpError as error:
            raise OSError(f"`folder`: {folder!r} cannot be used: {error.message}") from error
        except ValueError as error:
            raise ValueError(
                f"There are backups in {folder!r}, but the file `checkpoint`, which lists them, is "
                f"damaged or missing. {START_AGAIN}"
            ) from error

    def restore(self) -> int:
        """Restore the latest backup, if there is one. All workers must call it.

        Returns:
            The number of epochs that have been trained, the `initial_epoch` for `fit`.

        Raises:
            ValueError: the backup is of another model or optimizer, or all backups are damaged.
            RuntimeError: the workers have found different backups: the folder is not shared.
        """
        for path in reversed(self._manager.checkpoints):
            try:
                self._read(path)
                break
            except (tf.errors.OpError, IndexError) as error:  # IndexError: a file that is too short
                warnings.warn(f"The backup {path} is damaged: {error}", stacklevel=2)
        else:
            if self._manager.checkpoints:
                raise ValueError(f"All backups in {self._manager.directory!r} are damaged.")
        epochs, strategy = int(self._epochs), self._trained.distribute_strategy
        if strategy.num_replicas_in_sync > 1:
            found = strategy.gather(tf.constant([epochs]), axis=0).numpy()
            if len({*found}) > 1:
                raise RuntimeError(
                    f"The workers have found backups of {found.tolist()} epochs in "
                    f"{self._manager.directory!r}: it must be a folder that all of them share."
                )
        return epochs

    def _read(self, path):
        other = f"The backup {path} is of another model or optimizer"
        rule = tf.train.load_checkpoint(path).get_tensor("rule/.ATTRIBUTES/VARIABLE_VALUE").decode()
        if rule != self._rule:
            raise ValueError(f"{other}: {rule}, not {self._rule}. {START_AGAIN}")
        try:
            self._checkpoint.restore(path).assert_existing_objects_matched().assert_consumed()
        except (AssertionError, ValueError) as error:
            raise ValueError(f"{other}. {START_AGAIN} {error}") from error
        _shift_seeds(self._trained)  # the chief's were saved

    def on_epoch_end(self, epoch, logs=None):
        self._epochs.assign(epoch + 1)
        if is_chief(self._trained.distribute_strategy):
            for unfinished in pathlib.Path(self._manager.directory).glob("ckpt-*_temp"):
                shutil.rmtree(unfinished)  # the process that wrote it was killed
            self._manager.save()


def _shift_seeds(network):
    """Make the seeds of the network's layers, the chief's on all workers, different on each."""
    shift = _worker_index(network.distribute_strategy)
    for variable in network.variables:
        if variable.path.endswith("seed_generator_state"):  # (seed, number of draws)
            variable.assign_add([shift, 0])


def _check_compile(strategy, arguments):
    optimizer, steps = arguments["optimizer"], arguments.get("steps_per_execution", 1)
    if arguments["jit_compile"]:
        raise ValueError("`jit_compile` must be False: XLA cannot compile the exchange.")
    if strategy.num_replicas_in_sync > 1 and steps != 1:
        raise ValueError(f"`steps_per_execution` must be 1 on several workers, not {steps!r}.")
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return
    for argument in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
        if getattr(optimizer, argument, None):
            raise ValueError(f"`{argument}` of {optimizer.name!r} must be None on several workers.")
    if not strategy.extended.variable_created_in_scope(optimizer.iterations.value):
        raise ValueError(
            f"The optimizer {optimizer.name!r} was created outside of the strategy's scope: "
            "create it in `with strategy.scope():`."
        )


def _check_network(network):
    message = must_be("network", "a `keras.Sequential` or functional model", network)
    if not isinstance(network, keras.Model):
        raise TypeError(message)
    for method in ("train_step", "test_step", "compute_loss", "compute_metrics"):
        if getattr(type(network), method) is not getattr(keras.Model, method):
            raise TypeError(f"`network`: `{type(network).__name__}.{method}` would not be used.")
    if tf.distribute.has_strategy():
        raise RuntimeError("Create the DistributedModel outside of the strategy's scope.")
    strategy = network.distribute_strategy
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        allowed = "created in the scope of a tf.distribute.MultiWorkerMirroredStrategy"
        raise ValueError(f"`network` must be {allowed}: {network.name!r} is not.")
    devices = strategy.extended.worker_devices
    if len(devices) > 1:
        raise ValueError(
            f"This process has {len(devices)} devices: start one process for each, for example "
            "with CUDA_VISIBLE_DEVICES. On one machine, tf.distribute.MirroredStrategy needs no "
            "DistributedModel."
        )
    if not network.built:
        raise ValueError(f"`network` {network.name!r} has no weights yet: give it a `keras.Input`.")
    if not getattr(network, "inputs", None):
        raise TypeError(message)
