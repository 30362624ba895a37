"""What every run of a comparison has in common: network, data, loss, batches, target."""

import contextlib
import hashlib
import math
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_lecture_opt import _batches
from keras_lecture_opt._arguments import check_integer, check_number, must_be
from keras_lecture_opt._keras_private import explicit_seeds, global_seed_state
from keras_lecture_opt.comparison._identity import describe, describe_callback, describe_model
from keras_lecture_opt.comparison._run import Run

# What the names of quantities contain of which more, or less, is better.
GROWING = ("acc", "auc", "precision", "recall", "f1", "iou", "io_u", "r2", "cosine_similarity")
SHRINKING = ("loss", "error", "entropy", "mae", "mse", "poisson", "divergence", "hinge", "cosh")
# What a result says beside them.
COLUMNS = ["epoch", "steps", "seconds", "diverged", "device"]
COLUMNS += ["optimizer", "trial", "learning_rate", "seed", "chosen", "rung"]


class Workload:
    """What to train, on which data, and when that is good enough.

    Args:
        build: function without arguments that makes an uncompiled `keras.Model`.
        data: `(x, y)` or `(x, y, sample_weight)` to train on: arrays, or lists, tuples or dicts of
            arrays, of one length. Or a function from an integer seed to a `tf.data.Dataset` of
            single examples. It is called for each epoch with another seed, and must return the
            same examples in the same order for the same seed.
        loss, metrics, steps_per_execution: as for `keras.Model.compile`; `metrics` is a list.
        validation: as `data`, evaluated after each epoch; a function is called with seed 0.
            Defaults to none.
        batch_size: examples per step, None if a function's datasets hold batches. Defaults to 32.
        target: `(quantity, value)` or `(quantity, value, "min" or "max")`: a run has reached its
            target after the first epoch whose quantity is at least as good. A quantity is "loss",
            the name of a metric, or one of these after "val_". "min" or "max" says which is
            better, where the name does not. Defaults to none.
        callbacks: function that returns a list of new callbacks for a run. What it gets has the
            attributes `optimizer` (its name), `learning_rate`, `hyperparameters`, `seed` and
            `folder`, the `pathlib.Path` where the run is kept. A run that a callback stops keeps
            its last results in all later epochs. Defaults to none.

    Keras's dtype policy is that of the moment at which the workload is made.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the data are empty, of several lengths, not finite, or labels lie beyond the
            outputs of the network; or another argument is not allowed.

    Example:

    >>> def build():
    ...     return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> x = np.random.default_rng(0).normal(size=(64, 3))
    >>> workload = Workload(build, data=(x, x.sum(axis=1)), loss="mse", target=("loss", 0.01))
    >>> workload.quantities
    ['loss']
    """

    def __init__(
        self,
        build: Callable[[], keras.Model],
        data: tuple[Any, ...] | Callable[[int], tf.data.Dataset],
        loss: Any,
        validation: tuple[Any, ...] | Callable[[int], tf.data.Dataset] | None = None,
        metrics: Iterable[Any] = (),
        batch_size: int | None = 32,
        target: tuple[str, float] | tuple[str, float, str] | None = None,
        steps_per_execution: int = 1,
        callbacks: Callable[[Any], list[keras.callbacks.Callback]] | None = None,
    ):
        if isinstance(build, (type, keras.Model)) or not callable(build):
            raise TypeError(must_be("build", "a function that makes a keras.Model", build))
        if isinstance(metrics, (str, dict)) or not hasattr(metrics, "__iter__"):
            raise TypeError(must_be("metrics", "a list of metrics", metrics))
        self.policy = keras.config.dtype_policy()
        self.build, self.loss, self.metrics = build, loss, list(metrics)
        self.batch_size = batch_size
        if batch_size is not None or not callable(data):
            self.batch_size = check_integer("batch_size", batch_size, 1)
        self.steps_per_execution = check_integer("steps_per_execution", steps_per_execution, 1)
        self.data = _check_data("data", data)
        self.validation = None if validation is None else _check_data("validation", validation)
        self.callbacks = callbacks
        self.description: dict[str, Any] = {}
        self.quantities: list[str] = []
        self._probe()
        self.target = None if target is None else self._check_target(target)

    def new_model(self, optimizer: str | keras.optimizers.Optimizer, seed: int) -> keras.Model:
        """Return a new compiled model; its layers draw weights and seeds from this seed alone."""
        with explicit_seeds(seed), contextlib.ExitStack() as after:
            after.callback(keras.config.set_dtype_policy, keras.config.dtype_policy())
            keras.config.set_dtype_policy(self.policy)
            model = self.build()
            if not isinstance(model, keras.Model):
                raise TypeError(must_be("build", "a function that returns a keras.Model", model))
            if not model.built:  # its layers are made by the first call
                x, *_ = keras.utils.unpack_x_y_sample_weight(next(iter(self.batches(0, 0))))
                model(x)
        options = {"metrics": self.metrics, "steps_per_execution": self.steps_per_execution}
        model.compile(optimizer, self.loss, **options)
        return model

    def new_callbacks(self, run: Any) -> list[keras.callbacks.Callback]:
        """Return the callbacks of a run."""
        if self.callbacks is None:
            return []
        allowed = "a function that returns a list of keras callbacks"
        if not callable(self.callbacks):
            raise TypeError(must_be("callbacks", allowed, self.callbacks))
        made, kind = self.callbacks(run), keras.callbacks.Callback
        if not isinstance(made, list) or not all(isinstance(part, kind) for part in made):
            raise TypeError(must_be("callbacks", allowed, made))
        return made

    def start(self, seed: int) -> tuple[list[np.ndarray], float]:
        """Return where all runs of a seed start.

        Returns:
            List of arrays, the values of `model.variables`, and the loss of that network.
        """
        model = self.new_model("sgd", seed)
        values = [v.numpy() for v in model.variables]
        before = global_seed_state().numpy()  # a random function may draw in a test, too
        loss = model.evaluate(self.batches(seed, 0).take(10), verbose=0, return_dict=True)["loss"]
        global_seed_state().assign(before)
        return values, loss

    def batches(self, seed: int, epoch: int) -> tf.data.Dataset:
        """Return the batches of an epoch; their order depends on seed and epoch alone."""
        if callable(self.data):
            mixed = np.random.SeedSequence([seed, epoch]).generate_state(1)[0] >> 1
            dataset = self.data(int(mixed))
            return dataset if self.batch_size is None else dataset.batch(self.batch_size)
        examples = len(keras.tree.flatten(self.data)[0])
        order = _batches.order(examples, seed, epoch)
        return _batches.gathered(order.batch(self.batch_size), self.data)

    def validation_batches(self) -> tf.data.Dataset:
        """Return the validation data in batches, always in one order."""
        if not callable(self.validation):
            return _batches.in_order(self.validation, self.batch_size or 32)  # as `fit` does
        dataset = self.validation(0)
        return dataset if self.batch_size is None else dataset.batch(self.batch_size)

    def _probe(self):
        """Try each thing that a run does once, so that mistakes show before anything trains."""
        model = self.new_model("sgd", seed=0)
        if callable(self.data):
            first, again = (keras.tree.flatten(next(iter(self.batches(0, 0)))) for _ in range(2))
            if not all(map(np.array_equal, first, again)):
                raise ValueError(
                    "`data` must return the same examples in the same order for the same seed. "
                    "Give its shuffle the seed that the function gets."
                )
        self._check_labels(model)
        tried = model.evaluate(self.batches(0, 0).take(1), verbose=0, return_dict=True)
        quantities = list(tried)
        for quantity, value in tried.items():
            if np.ndim(value):
                message = "metrics of one number each, such as an average over the classes"
                raise ValueError(must_be("metrics", message, f"{quantity!r} of {np.shape(value)}"))
        if taken := [quantity for quantity in quantities if quantity in COLUMNS]:
            raise ValueError(must_be("metrics", f"names other than {', '.join(COLUMNS)}", taken[0]))
        if self.validation is not None:
            try:
                model.evaluate(self.validation_batches().take(1), verbose=0)
            except Exception as error:
                error.add_note("This is an example of `validation`; one of `data` worked.")
                raise
            quantities += [f"val_{name}" for name in quantities]
        self.quantities = quantities
        self.description = {
            "network": describe_model(model),
            "dtype_policy": self.policy.name,
            "loss": describe(self.loss),
            "metrics": describe(self.metrics),
            "batch_size": self.batch_size,
            "steps_per_execution": self.steps_per_execution,
            "data": _fingerprint("data", self.data),
            "validation": _fingerprint("validation", self.validation),
        }
        if self.callbacks is not None:
            self.description["callbacks"] = self._describe_callbacks()

    def _describe_callbacks(self):
        path = pathlib.Path("run")
        run = Run("optimizer", (("learning_rate", 0.1),), 0, path, path)
        one, other = self.new_callbacks(run), self.new_callbacks(run)
        if {*map(id, one)} & {*map(id, other)}:
            message = "a function that makes new callbacks at each call"
            raise ValueError(must_be("callbacks", message, self.callbacks))
        return [describe_callback(callback) for callback in one]

    def _check_labels(self, model):
        name = self.loss if isinstance(self.loss, str) else type(self.loss).__name__
        outputs = keras.tree.flatten(model.output_shape) if hasattr(model, "output_shape") else []
        sparse = name in ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy")
        if not sparse or not outputs or not isinstance(outputs[-1], int):
            return
        for argument, data in (("data", self.data), ("validation", self.validation)):
            if data is None or callable(data):
                continue
            labels = np.asarray(data[1])
            labels = labels[labels != getattr(self.loss, "ignore_class", None)]
            if np.any((labels < 0) | (labels >= outputs[-1]) | (labels % 1 != 0)):
                allowed = f"labels from 0 to {outputs[-1] - 1}, for the network's {outputs[-1]}"
                found = f"{labels.min():g} to {labels.max():g}"
                raise ValueError(f"`{argument}` must have {allowed} outputs, not {found}.")

    def _check_target(self, target):
        allowed = '(quantity, value) or (quantity, value, "min" or "max")'
        if not isinstance(target, (tuple, list)) or len(target) not in (2, 3):
            raise TypeError(must_be("target", allowed, target))
        quantity, value, *mode = target
        if mode and mode[0] not in ("min", "max"):
            raise ValueError(must_be("target", allowed, target))
        value = check_number("target", value, "a finite number", math.isfinite)
        return quantity, value, mode[0] if mode else self.better("target", quantity)

    def better(self, argument: str, quantity: str) -> str:
        """Return "min" or "max": which values of a quantity are better.

        Args:
            argument: name of the argument that names the quantity, for messages.
            quantity: one of `quantities`.
        """
        if quantity not in self.quantities:
            raise ValueError(must_be(argument, f"one of {', '.join(self.quantities)}", quantity))
        name = quantity.removeprefix("val_")
        target = getattr(self, "target", None)
        if target and target[0] == quantity:
            return target[2]
        # What ends last in the name decides: "classifier2_loss" has an "r2", and is a loss.
        more, less = (max(map(name.rfind, parts)) for parts in (GROWING, SHRINKING))
        if more != less:
            return "max" if more > less else "min"
        raise ValueError(
            f"`{argument}`: nothing says whether more of {quantity!r} is better. Say so with "
            f'`target=({quantity!r}, value, "min" or "max")`.'
        )


def _check_data(argument, data):
    """Return the data as a function or as a tuple of NumPy arrays; raise if it is not valid."""
    if callable(data):
        dataset = data(0)
        if not isinstance(dataset, tf.data.Dataset):
            allowed = "arrays, or a function from a seed to a tf.data.Dataset"
            raise TypeError(must_be(argument, allowed, data))
        if not [*dataset.take(1)]:
            raise ValueError(f"`{argument}` must return at least one example.")
        return data
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        allowed = "(x, y), (x, y, sample_weight) or a function from a seed to a tf.data.Dataset"
        raise TypeError(must_be(argument, allowed, type(data).__name__))
    data = keras.tree.map_structure(np.asarray, _tuples(data))
    arrays = keras.tree.flatten(data)
    for array in arrays:
        if array.dtype.kind not in "biufSU" or not array.ndim:
            allowed = "arrays of numbers, or lists, tuples or dicts of such arrays"
            raise TypeError(f"`{argument}` must be {allowed}; it has {array.dtype} {array.shape}.")
        _check_finite(argument, array)
    lengths = sorted({len(array) for array in arrays})
    if len(lengths) > 1 or not lengths[0]:
        raise ValueError(f"`{argument}` must have one length >= 1, not {lengths}.")
    return data


def _check_finite(argument, array):
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"`{argument}` must be finite: it has NaN or infinity.")


def _tuples(data):
    """Return nested data with tuples for lists, which tf.data would take for one tensor."""
    if isinstance(data, dict):
        return {key: _tuples(value) for key, value in data.items()}
    return tuple(map(_tuples, data)) if isinstance(data, (tuple, list)) else data


def _fingerprint(argument, data):
    """Return a hash of all examples, if any; those of a function are the ones of seed 0."""
    if data is None:
        return None
    digest = hashlib.sha256()
    for example in data(0).as_numpy_iterator() if callable(data) else [data]:
        for array in keras.tree.flatten(example):
            array = np.asarray(array)
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
            if callable(data):  # arrays were checked already
                _check_finite(argument, array)
    return digest.hexdigest()
