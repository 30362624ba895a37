"""The callback: its arguments, and when it logs."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from keras_lecture_opt._arguments import (
    as_python,
    check_boolean,
    check_integer,
    check_path,
    must_be,
)
from keras_lecture_opt.monitor._history import History
from keras_lecture_opt.monitor._recorder import Recorder
from keras_lecture_opt.monitor._variables import check_tracked_weights
from keras_lecture_opt.monitor._verdicts import Verdict

# What goes wrong often shows in the first steps only: these are in the history, whatever
# `update_freq` is.
IN_HISTORY = {digit * 10**zeros for zeros in range(12) for digit in (1, 2, 5)}


class EffectiveLearningRateMonitor(keras.callbacks.Callback):
    """Show what step each weight takes: in TensorBoard, as a table, in pictures.

    For each trained variable, with names that are the same in every run (`dense/kernel` is the
    first dense layer's kernel, whatever its number in this process), at each logged step:

    | tag | what it shows |
    | --- | --- |
    | `all_layers/QUANTITY` | one picture of layers against steps: start here |
    | `step_to_weight/NAME` | RMS(w after - w before) / RMS(w before) |
    | `step/NAME` | RMS(w after - w before) |
    | `effective_lr/NAME` | the median of the effective learning rates |
    | `effective_lr_not_finite/NAME` | how many rates are NaN or infinite, if any are |

    The step is measured, for any optimizer: momentum, clipping, decay, constraints and loss scaling
    are all in it. In a healthy run `step_to_weight` is near 1e-3 for kernels. A variable of zeros
    has none; a bias starts at 0, so its first values are large and mean little. Of several steps in
    one call (`steps_per_execution`) only the sum can be seen: it is logged as `execution_to_weight`
    and `execution`.

    With `detail`, also:

    | tag | what it shows |
    | --- | --- |
    | `weight/NAME` | RMS(w) after the step |
    | `effective_lr_quantiles/NAME/min`, `p05`, `median`, `p95`, `max` | how the rates differ |
    | `effective_lr_histogram/NAME` | log10 of all rates |
    | `never_updated/NAME` | share of the weights whose gradient has always been zero |
    | `effective_lr_map/NAME` | with `write_images`: where in a kernel the rates are high |
    | `tracked_weights/NAME[i,j]` | with `tracked_weights`: the rate of single weights |

    `keras_lecture_opt.effective_learning_rate` has the definition and each optimizer's formula.
    Where no formula is known, a warning says so once, and the steps are logged all the same. Median
    and quantiles are over the weights that have ever been updated, as far as the optimizer's state
    shows: a weight behind a dead input has never taken a step, and an adaptive rule would give it
    the enormous `learning_rate / epsilon`. Without `detail`, the median of a variable of more than
    4,096 weights is that of 4,096 of them, chosen at random but always the same. With it, all are
    counted, in bins 0.4% wide, and the monitor remembers from event to event which weights have
    been updated; where the state forgets that within 10,000 steps (momentum, RMSProp, a small
    beta_2) or there is none, it keeps a copy of the weights before training.

    The monitor only reads: training with it equals training without it, bit for bit, and so do the
    files that are saved. (A learning rate that is a Python callable is called once more at each
    event.) The weights are copied before a step that will be logged, and the copy is freed after
    it; no other step pays. `history` also holds steps 1, 2, 5, 10, 20, 50, …, whatever
    `update_freq` is. Where the steps cannot be foreseen, in the first epoch of data of unknown
    length, the last one is logged without its size.

    Steps are the optimizer's iterations; they go on when a model is compiled anew. "Text" and
    "HParams" show the optimizer's configuration and `hparams`, "Custom Scalars" all variables in
    one chart and, with `detail`, the median of each in a band from the 5th to the 95th percentile.

    Args:
        log_dir: folder of the run, `~` for the home folder. Events go to its subfolder `train`,
            where `keras.callbacks.TensorBoard(log_dir)` puts its `epoch_loss`; both may be used
            together. None writes no files. Defaults to None.
        update_freq: `"epoch"`, `"batch"`, or an integer N: after every epoch, every batch, every
            N batches; if there are fewer, after the last. Defaults to `"epoch"`.
        write_images: whether to write a map of each 2-D variable, on one fixed color scale: the
            first kernel as the image that it takes, if it takes one, averaged over units, every
            other as a matrix of at most 64 x 64 pixels. Defaults to False.
        tracked_weights: which single weights to log: a number of weights of each variable, chosen
            at random, or a dict from variable names, as above or Keras's own, to lists of indices,
            such as `{"dense/kernel": [(0, 3), (5, 1)]}`. Defaults to 0.
        seed: integer that chooses the tracked weights. Defaults to 0.
        hparams: dict of what else distinguishes the run, such as `{"batch_size": 128}`, each a
            number, a string or a boolean: more columns in "HParams", more rows in "Text". Defaults
            to none.
        variables: which variables to log: a regular expression that is found in their names, or a
            list of names. Defaults to all that are trained.
        detail: whether to log more of each variable, as above. Defaults to False.
        verbose: 1 to print at the end of training what `diagnose` finds. Defaults to 0.

    Raises:
        TypeError, ValueError: an argument is invalid.
        OSError: when training starts: `log_dir` cannot be written to.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> model.compile(keras.optimizers.SGD(0.5), "mse")
    >>> monitor = EffectiveLearningRateMonitor("logs/sgd", update_freq=10)
    >>> x, y = keras.random.normal((320, 4)), keras.random.normal((320, 2))
    >>> fitted = model.fit(x, y, epochs=2, callbacks=[monitor], verbose=0)
    >>> [row.step for row in monitor.history.select("effective_lr", "dense/kernel")]
    [1, 2, 5, 10, 20]

    and then, in a terminal, `tensorboard --logdir logs`.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        update_freq: int | Literal["epoch", "batch"] = "epoch",
        write_images: bool = False,
        tracked_weights: int | dict[str, Sequence[tuple[int, ...]]] = 0,
        seed: int = 0,
        hparams: dict[str, bool | float | str] | None = None,
        variables: str | Sequence[str] | None = None,
        detail: bool = False,
        verbose: Literal[0, 1] = 0,
    ):
        super().__init__()
        self.log_dir = log_dir if log_dir is None else check_path("log_dir", log_dir)
        if not isinstance(update_freq, str) or update_freq not in ("epoch", "batch"):
            update_freq = check_integer(
                "update_freq", update_freq, 1, otherwise="'epoch', 'batch' or "
            )
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self.write_images = check_boolean("write_images", write_images)
        self.tracked_weights = check_tracked_weights(tracked_weights)
        self.seed = check_integer("seed", seed, 0)
        self.hparams = _check_hparams(hparams)
        self.variables = _check_variables(variables)
        self.detail = check_boolean("detail", detail)
        if verbose not in (0, 1):
            raise ValueError(must_be("verbose", "0 or 1", verbose))
        self.verbose = verbose
        self._recorder = Recorder(self)
        self._is_open = self._has_begun = False

    @property
    def history(self) -> History:
        """What was measured so far, in all trainings: a list of `Row`; see `History`."""
        return self._recorder.history

    def diagnose(self, x: Any = None) -> list[Verdict]:
        """Say what is wrong with the training so far, as far as its numbers tell.

        "Verdicts in words" in `docs/monitor.md` lists the faults, how often each was found when it
        was planted, and what no number tells. With `steps_per_execution` above 1, most cannot be
        seen.

        Args:
            x: a batch of a few hundred inputs, as for the model. With it, the outputs of ReLUs and
                of a classifier are judged, too. Defaults to None.

        Returns:
            A list of `Verdict`, which may be printed; its attributes are `fault`, `where`, `step`,
            `value` and `text`. It is empty if nothing was found.

        Raises:
            RuntimeError: nothing has been measured yet.
            ValueError: there is an `x`, and several models or one that is neither sequential nor
                functional.

        Example:

        >>> model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(3, "softmax")])
        >>> model.compile(keras.optimizers.SGD(100.0), "sparse_categorical_crossentropy")
        >>> monitor = EffectiveLearningRateMonitor()
        >>> x, y = keras.random.normal((320, 32)), keras.ops.arange(320) % 3
        >>> fitted = model.fit(x, y, callbacks=[monitor], verbose=0)
        >>> [verdict.fault for verdict in monitor.diagnose()]
        ['steps too large']
        """
        if not self.history:
            raise RuntimeError(
                "Nothing has been measured yet: call `diagnose` after training with this callback."
            )
        return self._recorder.diagnose(x)

    def set_model(self, model):
        super().set_model(model)
        self._recorder.watch([model])

    # A custom loop with a `CallbackList` may call only some of what follows.

    def on_train_begin(self, logs=None):
        self._open()

    def on_epoch_begin(self, epoch, logs=None):
        self._begin()
        self._recorder.epoch, self._batches_of_epoch = epoch, 0
        self._taken_before = self._recorder.batches_taken()

    def on_train_batch_begin(self, batch, logs=None):
        self._begin()
        batches = getattr(self.model, "steps_per_execution", 1)
        if steps := self._learned_steps:
            batches = max(1, min(batches, steps - batch))
        self._executed = batches
        self._before(batches, ends_epoch=batch + batches == steps)

    def on_train_batch_end(self, batch, logs=None):
        self._begin(steps_since=1)
        # Keras's number of the last batch goes beyond the end of the data.
        self._after(self._executed or 1, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._begin()
        if not self._learned_steps and (self._executed or 1) > 1:
            # Of data of unknown length, the last execution may have had fewer batches.
            taken = self._recorder.batches_taken() - self._taken_before
            missing = max(0, self._batches_of_epoch - taken) if taken else 0
            self._batches -= missing
            self._batches_of_epoch -= missing
        self._learned_steps = self._batches_of_epoch
        if self.update_freq == "epoch" and self._logged_at != self._batches:
            self._log(1, shown=True)  # nobody knew that the epoch would end here: not measured
        self._recorder.write_metrics(logs or {})
        self._recorder.draw()

    def on_train_end(self, logs=None):
        if self._has_begun:
            if not self._recorder.step():
                self._recorder.warn(
                    "EffectiveLearningRateMonitor has logged nothing: no optimizer that it can "
                    "see has taken a step."
                )
            elif self._logged_at is None:  # there were fewer batches than `update_freq`
                self._log(1, shown=True)
            self._recorder.draw(at_end=True)
            if self.history:
                self._recorder.conclude(shown=self.verbose)
        self._recorder.end()
        self._is_open = self._has_begun = False

    # A custom loop without callbacks calls what follows.

    def watch(
        self,
        models: keras.Model | Sequence[keras.Model],
        optimizers: keras.optimizers.Optimizer | Sequence[keras.optimizers.Optimizer],
    ) -> None:
        """Name what a custom training loop trains. `fit` needs no such call.

        Args:
            models: a `keras.Model`, or a list of them, whose variables exist.
            optimizers: the `keras.optimizers.Optimizer` that trains them, or a list.

        Raises:
            TypeError: an argument is something else.
            ValueError: `update_freq` is "epoch": a custom loop has none.
            OSError: `log_dir` cannot be written to.
        """
        if self.update_freq == "epoch":
            allowed = "'batch' or an integer in a custom loop"
            raise ValueError(must_be("update_freq", allowed, "epoch"))
        models = _check_all("models", models, keras.Model)
        optimizers = _check_all("optimizers", optimizers, keras.optimizers.Optimizer)
        self.close()
        self._recorder.watch(models, optimizers)
        self._begin()

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Surround one step of a custom training loop, outside of any `tf.function`.

        Raises:
            RuntimeError: nothing is watched, or the call is in a graph.

        Example:

        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> optimizer = keras_lecture_opt.SteepestDescent(0.25)
        >>> monitor = EffectiveLearningRateMonitor(update_freq="batch")
        >>> monitor.watch(model, optimizer)
        >>> with monitor.step():
        ...     optimizer.apply([keras.ops.ones((4, 2)), [1.0, 1.0]], model.trainable_variables)
        >>> monitor.close()
        >>> [row] = monitor.history.select("step", "dense/bias")
        >>> row.value
        0.25
        """
        if not tf.executing_eagerly():
            raise RuntimeError("`monitor.step()` must surround a step outside of a tf.function.")
        if not self._has_begun:
            raise RuntimeError("Call `monitor.watch(models, optimizers)` before the first step.")
        self._before(1, ends_epoch=False)
        yield
        self._after(1, None)

    def close(self) -> None:
        """End the log of a custom training loop."""
        self.on_train_end()

    # When.

    def _open(self):
        """Raise before the first step if the folder cannot be written to."""
        if not self._is_open:
            self._recorder.begin()
            self._is_open, self._has_begun = True, False

    def _begin(self, steps_since=0):
        """Note where the training starts: only in the first epoch, when a backup is restored."""
        self._open()
        if not self._has_begun:
            self._has_begun = True
            self._batches = max(0, self._recorder.step() - steps_since)
            self._batches_of_epoch = 0
            self._learned_steps = (self.params or {}).get("steps")  # batches of an epoch
            self._logged_at = None  # after how many batches
            self._is_due = self._is_awaited = False  # for TensorBoard, for the history
            self._executed = None  # batches in this execution
            self._taken_before = self._recorder.batches_taken()
            self._recorder.start()

    def _before(self, batches, ends_epoch):
        """Prepare to measure the step to come, if it is time."""
        self._plan(batches, ends_epoch)
        if self._is_due or self._is_awaited:
            self._recorder.before_step()

    def _after(self, batches, logs):
        """Log the step just taken, if it is time."""
        if self._executed is None:  # nobody called before the step
            self._plan(batches, ends_epoch=False)
        self._batches += batches
        self._batches_of_epoch += batches
        # If gradients accumulate or an overflow was skipped, the next step is due.
        if (self._is_due or self._is_awaited) and self._recorder.has_stepped():
            self._recorder.unseen_steps = self._batches
            self._log(batches, self._is_due, logs)
            self._is_due = self._is_awaited = False
        self._recorder.forget()

    def _plan(self, batches, ends_epoch):
        """Decide whether to log the step to come; once decided, it stays until one is logged."""
        self._is_due = self._is_due or self._will_be_due(batches, ends_epoch)
        self._is_awaited = self._is_awaited or self._is_in_history(batches)

    def _will_be_due(self, batches, ends_epoch):
        if self.update_freq == "epoch":
            return ends_epoch
        last_epoch = (self.params or {}).get("epochs", 0) - 1
        ends_training = ends_epoch and self._recorder.epoch == last_epoch
        done = self._batches
        is_multiple = (done + batches) // self.update_freq > done // self.update_freq
        return is_multiple or (ends_training and self._logged_at is None)

    def _is_in_history(self, batches):
        return batches == 1 and self._batches + 1 in IN_HISTORY

    def _log(self, batches, shown, logs=None):
        self._recorder.log(batches, shown, logs)
        if shown:
            self._logged_at = self._batches


def _check_hparams(hparams):
    """Return the dict with Python's own numbers, strings and booleans."""
    if hparams is None:
        return {}
    if isinstance(hparams, dict):
        checked = {name: as_python(value) for name, value in hparams.items()}
        if all(
            isinstance(name, str) and isinstance(value, (bool, int, float, str))
            for name, value in checked.items()
        ):
            return checked
    allowed = "a dict from names to numbers, strings and booleans"
    raise TypeError(must_be("hparams", allowed, hparams))


def _check_variables(variables):
    """Return the regular expression or the list of names."""
    if variables is None:
        return None
    allowed = "a regular expression or a list of names"
    if isinstance(variables, str):
        try:
            return re.compile(variables)
        except re.error as error:
            raise ValueError(f"{must_be('variables', allowed, variables)} {error}") from error
    if isinstance(variables, (list, tuple)) and all(isinstance(v, str) for v in variables):
        return [*variables]
    raise TypeError(must_be("variables", allowed, variables))


def _check_all(argument, value, cls):
    """Return one or several instances of a class as a list."""
    values = [*value] if isinstance(value, (list, tuple)) else [value]
    if not values or not all(isinstance(one, cls) for one in values):
        raise TypeError(must_be(argument, f"a {cls.__name__} or a list of them", value))
    return values
