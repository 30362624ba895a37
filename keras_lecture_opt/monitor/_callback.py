"""The callback: Keras's calls, and the arguments. It wires the others and computes nothing."""

import contextlib
import numbers
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from keras_lecture_opt._arguments import (
    as_python,
    check_boolean,
    check_integer,
    check_path,
    must_be,
)
from keras_lecture_opt.monitor._clock import Clock
from keras_lecture_opt.monitor._configuration import contradiction
from keras_lecture_opt.monitor._history import History, Row
from keras_lecture_opt.monitor._measure import measure, number
from keras_lecture_opt.monitor._names import Names
from keras_lecture_opt.monitor._quantities import in_docstring
from keras_lecture_opt.monitor._tensorboard import RunWriter
from keras_lecture_opt.monitor._training import Training
from keras_lecture_opt.monitor._verdicts import ACCURACIES, Evidence, judge, summarize
from keras_lecture_opt.several_machines import is_chief
from keras_lecture_opt.verdicts import Verdict


class EffectiveLearningRateMonitor(keras.callbacks.Callback):
    """Show what step each weight takes: in TensorBoard, as a table, in pictures.

    For each trained variable, with names that are the same in every run (`dense/kernel` is the
    first dense layer's kernel, whatever its number in this process), at each logged step:

    QUANTITIES

    The step is measured, for any optimizer: momentum, clipping, decay, constraints and loss scaling
    are all in it. Of several steps in one call (`steps_per_execution`, or a `train_step` that calls
    an optimizer several times) only the sum can be seen: it is called `execution`.

    `keras_lecture_opt.effective_learning_rate` has each optimizer's formula. Medians and quantiles
    leave out weights that have never taken a step, such as those behind a dead input: an adaptive
    rule would give them the enormous `learning_rate / epsilon`. The optimizer's state shows them;
    where it forgets within 10,000 steps, `detail` keeps a copy of the weights before training. A
    median is that of at most 4,096 weights of a variable, chosen at random but always the same;
    with `detail`, a map or tracked weights, it is that of all.

    The monitor only reads: training with it equals training without it, bit for bit, and so do the
    files that are saved. (`docs/limits.md` has what it cannot see.) `history` also holds steps 1,
    2, 5, 10, 20, 50, … of each training, whatever `update_freq` is. Each `fit` or `watch` is a
    training, and `diagnose` judges the latest. Steps go on from one to the next, whatever is
    compiled, assigned or resumed. Optimizers are found in attributes of the model, and in lists and
    dicts there.

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
        history_limit: rows of `history`, some 140 bytes each, above which the older half is
            dropped, but for the early steps above; a warning says so. None keeps all. Defaults to
            1,000,000.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument has a value that is not allowed; when training starts: `hparams`
            contradict the optimizer.
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
        history_limit: int | None = 1_000_000,
    ):
        super().__init__()
        self.log_dir = log_dir if log_dir is None else check_path("log_dir", log_dir)
        if not isinstance(update_freq, str) or update_freq not in ("epoch", "batch"):
            others = "'epoch', 'batch' or "
            update_freq = check_integer("update_freq", update_freq, 1, otherwise=others)
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self.write_images = check_boolean("write_images", write_images)
        self.tracked_weights = _check_tracked_weights(tracked_weights)
        self.seed = check_integer("seed", seed, 0)
        self.hparams = _check_hparams(hparams)
        self.variables = _check_variables(variables)
        self.detail = check_boolean("detail", detail)
        if verbose not in (0, 1):
            raise ValueError(must_be("verbose", "0 or 1", verbose))
        self.verbose = verbose
        if history_limit is not None:
            history_limit = check_integer("history_limit", history_limit, 1, otherwise="None or ")
        self._history = History()
        self._history.limit = history_limit
        self._clock, self._training = Clock(self.update_freq), Training(self, self._warn)
        self._writer = None  # of the run's files, while they are open or may be opened again
        self._said: set[str] = set()  # what a warning has said
        self._rows: list[Row] = []  # of the latest event, of each variable
        self._metric_rows: list[Row] = []  # and of the whole model
        self._has_begun = False

    @property
    def history(self) -> History:
        """What was measured so far, in all trainings: a list of `Row`; see `History`."""
        return self._history

    def diagnose(self, x: Any = None, y: Any = None) -> list[Verdict]:
        """Say what is wrong with the latest training so far, as far as its numbers tell.

        `docs/verdicts.md` lists the faults, how often each was found and cured when it was planted,
        and what no number tells. `keras_lecture_opt.check` is included. With `steps_per_execution`
        above 1, most cannot be seen.

        Args:
            x: a batch of a few hundred inputs, as for the model. With it, the inputs, the outputs
                of ReLUs and those of the model are judged, too. Defaults to None.
            y: their labels, as for `fit`. With them, the labels and the loss of any kind are
                judged, too. Defaults to None.

        Returns:
            A list of `Verdict`, which may be printed: what is certain comes first, symptoms and
            hints come last. It is empty if nothing was found.

        Raises:
            RuntimeError: nothing has been measured yet.
            ValueError: `x` or `y` does not belong to the model; there is an `x`, and several
                models.

        Example:

        >>> model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(3, "softmax")])
        >>> model.compile(keras.optimizers.SGD(100.0), "sparse_categorical_crossentropy")
        >>> monitor = EffectiveLearningRateMonitor()
        >>> x, y = keras.random.normal((320, 32)), keras.ops.arange(320) % 3
        >>> fitted = model.fit(x, y, callbacks=[monitor], verbose=0)
        >>> [verdict.fault for verdict in monitor.diagnose()]
        ['steps too large']
        """
        if not self._history.latest:
            raise RuntimeError(
                "Nothing has been measured yet: call `diagnose` after training with this callback."
            )
        return self._judge(x, y)[0]

    def set_model(self, model):
        super().set_model(model)
        self._training.watch([model])

    # A custom loop with a `CallbackList` may call only some of what follows.

    def on_train_begin(self, logs=None):
        self._close()  # Keras does not end a training that Ctrl-C or an error interrupts
        self._open()

    def on_epoch_begin(self, epoch, logs=None):
        self._begin()
        self._clock.begin_epoch(epoch)

    def on_train_batch_begin(self, batch, logs=None):
        self._begin()
        self._before_step(batch, getattr(self.model, "steps_per_execution", 1))

    def on_train_batch_end(self, batch, logs=None):
        self._begin(steps_since=1)
        self._after_step(logs)

    def on_epoch_end(self, epoch, logs=None):
        self._begin()
        optimizers = self._training.optimizers.values()
        batches_per_step = max((o.gradient_accumulation_steps or 1 for o in optimizers), default=1)
        batches_per_call = getattr(self.model, "steps_per_execution", 1)
        if self._clock.end_epoch(self._training.counts(), batches_per_step, batches_per_call):
            self._show_state()
        rows = self._rows_of(logs or {})
        # A batch's logs are the epoch's so far, unless a `train_step` of one's own returns others.
        known = {*map(repr, self._metric_rows)}  # in which NaN equals NaN
        self._add([row for row in rows if repr(row) not in known], is_early=False)
        if self._writer:
            self._writer.write(rows)
            self._writer.write_configuration(self._training.optimizers, self._clock.step)
            self._writer.draw(self._history, self._clock.step)

    def on_train_end(self, logs=None):
        if self._has_begun:
            if not self._clock.age:
                self._warn("It has logged nothing: no optimizer that it can see has taken a step.")
            elif self._clock.end():
                self._show_state()
            if self._history.latest:
                self._conclude()
        self._close()

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
        self._training.watch(models, optimizers)
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
        self._before_step()
        yield
        self._after_step()

    def close(self) -> None:
        """End the log of a custom training loop."""
        self.on_train_end()

    # What the calls above have in common.

    def _open(self):
        """Raise before the first step if the folder is closed."""
        strategies = [model.distribute_strategy for model in self._training.models]
        if self.log_dir is None or not all(map(is_chief, strategies)):
            self._writer = None  # or another machine's monitor writes
        elif self._writer is None or self._writer.folder != self.log_dir:
            self._writer = RunWriter(self.log_dir, self.hparams, self.detail)
            self._clock.step = 0
        if self._writer:
            self._writer.open()

    def _close(self):
        if self._writer:
            self._writer.close()
        self._has_begun = False

    def _begin(self, steps_since=0):
        """Note where the training starts: only in the first epoch, when a backup is restored."""
        if self._has_begun:
            return
        self._open()
        counts = self._training.counts()
        taken = min(filter(None, counts.values()), default=steps_since) - steps_since
        if problem := contradiction(self.hparams, self._training.optimizers):
            if not taken:
                if self._writer:
                    self._writer.discard()
                raise ValueError(problem)
            self._warn(problem)  # its learning rate may have changed since
        self._has_begun = True
        written = self._writer.last_step if self._writer else 0
        if self._writer and self._writer.others and not (self._clock.step or taken):
            self._warn(
                f"`log_dir` {self.log_dir!r} holds what another monitor has written, up to step "
                f"{written}. TensorBoard shows both as one run: these curves go on after that "
                "step. If the other one still writes, the curves jump between the two. Give each "
                "training a folder of its own."
            )
        if self._clock.step:
            taken = self._clock.step + self._clock.missed(counts)
        params = self.params or {}
        known = {} if steps_since else counts
        self._clock.begin(max(taken, written), params.get("steps"), params.get("epochs"), known)
        self._history.begin()
        self._rows = []
        if self.detail:  # it needs the weights before training
            self._training.look(at_start=not any(counts.values()))

    def _before_step(self, batch=None, batches=1):
        """Copy what is to be measured, if it is time."""
        counts = self._training.counts()
        if self._clock.before(counts, batch, batches):
            self._training.look(at_start=not self._clock.age and not any(counts.values()))
            self._training.remember()

    def _after_step(self, logs=None):
        """Measure the step just taken, if it is time."""
        # The first step may have made its optimizer; later ones are found before they step.
        counts = self._training.counts(find=not self._clock.age)
        if event := self._clock.after(counts, self._training.has_moved):
            self._measure(event, logs)
            if event.is_shown:
                self._show()
        self._training.forget()

    def _measure(self, event=None, logs=None):
        self._training.look()
        trained, measured = measure(self._training, self.detail, event)
        self._training.tell_oddities(trained)
        is_first = not self._rows
        self._rows = [Row(self._clock.step, self._clock.epoch, *facts) for facts in measured]
        judged = {name: logs[name] for name in ("loss", *ACCURACIES) if name in (logs or {})}
        self._metric_rows = self._rows_of(judged)
        self._add([*self._rows, *self._metric_rows], event is not None and event.is_early)
        if self._writer and is_first:
            self._writer.write_configuration(self._training.optimizers, self._clock.step)

    def _rows_of(self, logs):
        """Return the rows of those losses and metrics that are one number."""
        rows = []
        for name, value in logs.items():
            if (one := number(value)) is None:
                self._warn(f"{name!r} in the logs is left out: it is not one number.")
            else:
                rows.append(Row(self._clock.step, self._clock.epoch, "", name, one))
        return rows

    def _add(self, rows, is_early):
        if self._history.add(rows, is_early):
            self._warn(
                f"`history` had more than {self._history.limit} rows: old ones are dropped, but "
                "for those of early steps. `history_limit=None` keeps all."
            )

    def _show_state(self):
        """Show the latest state, whose step nobody foresaw, unless it was measured."""
        if not self._rows or self._rows[-1].step != self._clock.step:
            self._measure()
        self._show()

    def _show(self):
        if self._writer:
            monitored = self._training.monitored
            names = [m.name for m in monitored if not m.is_frozen]
            self._writer.write_layout(names, self._clock.step)
            self._writer.write(self._rows)

    def _judge(self, x=None, y=None):
        models, optimizers = self._training.models, self._training.optimizers.values()
        names, start = Names(models).of, self._clock.start
        return judge(Evidence(self._history.latest, models, optimizers, names, start, x, y))

    def _conclude(self):
        """Say what the training was like, to whoever listens."""
        if self._writer:
            self._writer.write_configuration(self._training.optimizers, self._clock.step)
            self._writer.draw(self._history, self._clock.step, at_end=True)
        if self._writer or self.verbose:
            try:
                sentences = summarize(*self._judge(), self._clock.age)
            except Exception as error:  # a model or a loss that nobody thought of
                self._warn(f"It cannot judge this training: {error}")
                return
            if self._writer:
                self._writer.write_verdicts(sentences, self._clock.step)
            if self.verbose:
                print(*sentences, sep="\n")

    def _warn(self, message):
        """Say something once."""
        if message not in self._said:
            self._said.add(message)
            warnings.warn(f"EffectiveLearningRateMonitor: {message}", stacklevel=2)


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
            for name, value in checked.items():  # NaN equals nothing, and TensorBoard has floats
                if not (isinstance(value, str) or abs(value) <= sys.float_info.max):
                    raise ValueError(must_be("hparams", "finite numbers", {name: value}))
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
    if not isinstance(variables, (list, tuple)) or not all(isinstance(v, str) for v in variables):
        raise TypeError(must_be("variables", allowed, variables))
    if not variables:
        raise ValueError(must_be("variables", allowed, variables))
    return [*variables]


def _check_tracked_weights(tracked_weights):
    """Return a number, or a dict from names to lists of distinct tuples of integers."""
    if not isinstance(tracked_weights, dict):
        return check_integer("tracked_weights", tracked_weights, 0, otherwise="a dict or ")
    checked = {}
    for name, indices in tracked_weights.items():
        allowed = f"a list of indices for {name!r}"
        if not isinstance(name, str) or not isinstance(indices, (list, tuple, np.ndarray)):
            raise TypeError(must_be("tracked_weights", allowed, indices))
        indices = [tuple(np.ravel(index).tolist()) for index in indices]
        if not all(isinstance(i, numbers.Integral) and i >= 0 for index in indices for i in index):
            raise ValueError(must_be("tracked_weights", f"{allowed}, integers >= 0", indices))
        checked[name] = [*dict.fromkeys(indices)]
    return checked


def _check_all(argument, value, cls):
    """Return one or several instances of a class as a list."""
    values = [*value] if isinstance(value, (list, tuple)) else [value]
    if not values or not all(isinstance(one, cls) for one in values):
        raise TypeError(must_be(argument, f"one {cls.__name__} or a list of them", value))
    return values


EffectiveLearningRateMonitor.__doc__ = in_docstring(EffectiveLearningRateMonitor.__doc__)
