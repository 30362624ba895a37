"""Measures the step that a training has just taken, and writes it down."""

import math
import os
import time
import warnings

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from keras_lecture_opt.monitor import _pictures, _summaries
from keras_lecture_opt.monitor._files import RunFile, holds_own_files
from keras_lecture_opt.monitor._history import History, Row
from keras_lecture_opt.monitor._measure import QUANTILES, copy, movement
from keras_lecture_opt.monitor._sample import medians
from keras_lecture_opt.monitor._variables import Names, choose, find_optimizers
from keras_lecture_opt.monitor._verdicts import ACCURACIES, STARTED, Evidence, judge
from keras_lecture_opt.rates import latest_learning_rate, next_learning_rate, steps_taken
from keras_lecture_opt.several_machines import is_chief


class Recorder:
    """What is trained, what was measured of it, and the run's files.

    It reads models and optimizers and never writes to them.

    Args:
        monitor: the callback, for its arguments.
    """

    def __init__(self, monitor):
        self.monitor = monitor
        self.history = History()
        self.models, self.given_optimizers = [], []
        self._judged_from = 0  # the first row in the history of these models
        self.epoch = None
        self.unseen_steps = 0  # batches after which weights had moved that no known optimizer moves
        self._folder = None  # of the run
        self._files = {}  # subfolder -> RunFile
        self._configuration = None  # as last written
        self._monitored, self._names_shown, self._chosen_for = [], [], None
        self._said = set()  # what has been said in a warning
        self._offset = self._last_step = 0  # steps go on when an optimizer starts anew
        self.forget()

    def watch(self, models, optimizers=()):
        if [*map(id, models)] != [*map(id, self.models)]:
            self._judged_from = len(self.history)
        self.models, self.given_optimizers = models, optimizers

    def optimizers(self):
        found = {id(o): o for o in self.given_optimizers}
        for model in self.models:
            found |= {id(o): o for o in find_optimizers(model)}
        return [*found.values()]

    def counts(self):
        """How many steps each optimizer has taken."""
        return [steps_taken(optimizer) for optimizer in self.optimizers()]

    def step(self):
        """The number of the latest step: the first optimizer's that has taken one.

        Where all are unseen, batches count.
        """
        return self._offset + next(filter(None, self.counts()), self.unseen_steps)

    def batches_taken(self):
        """How many batches the optimizer has had whose steps count, as far as it tells."""
        optimizers = self.optimizers()
        accumulation = getattr(optimizers[0], "gradient_accumulation_steps", 1) if optimizers else 1
        return self.step() * (accumulation or 1)

    def begin(self):
        """Open the run's files and note where a training starts.

        Raises:
            OSError: the folder cannot be written to.
        """
        self.forget()
        self.unseen_steps = 0
        folder = self.monitor.log_dir
        if not all(is_chief(model.distribute_strategy) for model in self.models):
            folder = None  # another machine's monitor writes
        if folder is not None and not self._files:
            if folder != self._folder:
                self._folder, self._last_step = folder, 0
            if not holds_own_files(os.path.join(folder, "train")):  # new, or removed meanwhile
                self._configuration = self._chosen_for = None
            try:
                self._files = {name: RunFile(os.path.join(folder, name)) for name in SUBFOLDERS}
            except OSError as error:
                raise OSError(
                    f"EffectiveLearningRateMonitor: `log_dir` {folder!r} cannot be written to: "
                    f"{error}"
                ) from error
        self._next_picture = time.monotonic() + FIRST_PICTURE
        self._offset = 0
        if not self.step():  # a training from the start
            self._judged_from = len(self.history)
        self._offset = max(0, self._last_step - self.step())
        self._describe()

    def start(self):
        """Note with which weights a training starts, where details need them."""
        if self.monitor.detail:
            self._choose_variables()

    def end(self):
        """Close the run's files."""
        self._last_step = max(self._last_step, self.step())
        for file in self._files.values():
            file.close()
        self._files = {}

    def before_step(self):
        """Copy the weights: the step to come will be logged."""
        self._choose_variables()
        self._counts = self.counts()
        self._rates = {id(o): next_learning_rate(o) for o in self.optimizers()}
        self._copies = {id(m.variable): copy(m.variable) for m in self._monitored}

    def has_stepped(self):
        """Whether an optimizer has stepped since `before_step`, or nobody can tell."""
        if self._counts is None or self._counts != self.counts():
            return True
        if any(self._counts):
            return False
        moved = [
            tf.reduce_any(self._copies[id(m.variable)] != tf.convert_to_tensor(m.variable))
            for m in self._monitored
            if id(m.variable) in self._copies
        ]
        return any(moved)

    def forget(self):
        """Free the copies."""
        self._counts, self._rates, self._copies = None, {}, {}

    def log(self, batches, shown, logs=None):
        """Measure the latest step.

        Args:
            batches: how many steps have been taken since the weights were copied.
            shown: whether to write it to TensorBoard, too.
            logs: Keras's dict of the losses.
        """
        self._describe()
        self._choose_variables()
        step = self.step()
        summary = Summary()
        moved = self._movements()
        monitored = [m for m in self._monitored if not m.is_frozen or moved.get(m.name, [0])[0]]
        self._say_what_is_odd(monitored)
        rates = self._measured_rates(monitored, moved)
        for m in monitored:
            values = {}
            if m.name in moved:
                values |= self._of_movement(moved[m.name], batches)
            if m.name in rates:
                median, details = self._of_rates(m, rates[m.name])
                values |= median
                summary.MergeFrom(details)
            for quantity, value in values.items():
                self.history.append(Row(step, self.epoch, m.name, quantity, value))
                if self.monitor.detail or quantity in DEFAULT:
                    summary.MergeFrom(_summaries.scalar(quantity, m.name, value))
        for name in ("loss", *ACCURACIES):
            if logs and name in logs:
                self.history.append(Row(step, self.epoch, "", name, float(logs[name])))
        if shown:
            self._write("train", summary, step)

    def draw(self, at_end=False):
        """Write the pictures of all layers, as often as they cost little of the training."""
        now = time.monotonic()
        if not self._files or not (at_end or now > self._next_picture):
            return
        for quantity in _pictures.SCALES:
            if picture := _pictures.picture(self.history, quantity):
                summary = _summaries.png_summary("all_layers", quantity, *picture)
                self._write("train", summary, self.step())
        taken = time.monotonic() - now
        self._next_picture = time.monotonic() + taken / DRAWING_SHARE

    def diagnose(self, x=None):
        rows = self.history[self._judged_from :]
        names = Names(self.models).of
        return judge(Evidence(rows, self.models, self.optimizers(), names), x)

    def conclude(self, shown):
        """Write the verdicts on a training that has ended, and print them if they are `shown`."""
        if not (self._files or shown):  # nobody would see them
            return
        try:
            verdicts = self.diagnose()
        except Exception as error:  # a model or a loss that nobody thought of
            self.warn(f"EffectiveLearningRateMonitor cannot judge this training: {error}")
            return
        nothing = NOTHING_FOUND if self.step() >= STARTED else TOO_FEW_STEPS
        sentences = [*map(str, verdicts)] or [nothing]
        self._write("train", _summaries.verdicts_summary(sentences), self.step())
        if shown:
            print("\n".join(sentences))

    def write_metrics(self, logs):
        """Write an epoch's metrics where the HParams tab looks for them."""
        summary = Summary()
        for name, value in logs.items():
            summary.MergeFrom(scalar_pb(name, float(value)))
        self._write("hparams", summary, self.step())

    def warn(self, message):
        """Say something once."""
        if message not in self._said:
            self._said.add(message)
            warnings.warn(message, stacklevel=2)

    def _movements(self):
        """Measure the steps, and free each copy as soon as it is used."""
        moved = {}
        for m in self._monitored:
            before = self._copies.pop(id(m.variable), None)
            if before is not None:
                moved[m.name] = movement(before, tf.convert_to_tensor(m.variable))
        self._copies = {}
        return moved

    def _of_movement(self, measured, batches):
        step, before, after = measured
        name = "step" if batches == 1 else "execution"
        values = {name: step, "weight": after}
        if before:  # a variable of zeros has no size to compare with
            values[f"{name}_to_weight"] = step / before
        return values

    def _measured_rates(self, monitored, moved):
        latest = {}
        for optimizer in self.optimizers():
            rate = self._rates.get(id(optimizer))
            rate = latest_learning_rate(optimizer) if rate is None else rate
            latest[id(optimizer)] = tf.cast(rate, tf.float64)
        # A rate that is not finite makes its weight NaN, and must be counted.
        finite = {name for name, (*_, after) in moved.items() if math.isfinite(after)}
        detail, groups, measured = self.monitor.detail, {}, {}
        with_rates = [m for m in monitored if m.missing_rate is None]
        for m in with_rates:
            if m.name in finite and m.can_be_sampled(detail):
                groups.setdefault((id(m.optimizer), m.variable.dtype), []).append(m)
        for (optimizer, _), group in groups.items():
            found = medians(group, latest[optimizer])
            measured |= {name: {"median": median} for name, median in found.items()}
        for m in with_rates:
            if m.name not in measured:
                measured[m.name] = m.measure_rates(latest[id(m.optimizer)], detail)
        return measured

    def _of_rates(self, m, measured):
        """Return the scalars and the other summaries of what was measured of a variable's rates."""
        values, details = {}, Summary()
        if not math.isnan(measured["median"]):
            values["effective_lr"] = measured["median"]
        if measured.get("not_finite"):
            values["effective_lr_not_finite"] = float(measured["not_finite"])
        for i, index in enumerate(m.tracked):
            if measured["tracked_updated"][i]:
                tag = f"{m.name}[{','.join(map(str, index))}]"
                rate = measured["tracked"][i]
                details.MergeFrom(_summaries.scalar("tracked_weights", tag, rate))
        if m.map_shape:
            with np.errstate(invalid="ignore"):  # 0 / 0 where no weight has been updated
                pixels = measured["logs"] / measured["mapped"]
            details.MergeFrom(_summaries.image(m.name, pixels))
        if self.monitor.detail:
            if "never_updated" in measured:
                values["never_updated"] = float(measured["never_updated"])
            if measured["updated"]:
                for quantile, value in zip(QUANTILES, measured["quantiles"], strict=True):
                    tag = f"{m.name}/{quantile}"
                    details.MergeFrom(_summaries.scalar("effective_lr_quantiles", tag, value))
            details.MergeFrom(_summaries.histogram(m.name, measured["bars"]))
        return values, details

    def _choose_variables(self):
        """Decide again what to log, if what is trained has changed."""
        key = [id(v) for model in self.models for v in model.trainable_variables]
        key += [(id(o), o.built) for o in self.optimizers()]
        if key == self._chosen_for:
            return
        is_new = self._chosen_for is None
        self._chosen_for = key
        self._monitored, problems = choose(
            self.models, self.optimizers(), self.monitor, self._monitored, not self.step()
        )
        for problem in problems:
            self.warn(problem)
        names = [m.name for m in self._monitored if not m.is_frozen]
        if names and (is_new or names != self._names_shown):
            self._names_shown = names
            layout = _summaries.layout(names, self.monitor.detail)
            self._write("train", layout, self.step())

    def _say_what_is_odd(self, monitored):
        if frozen := [m.name for m in monitored if m.is_frozen]:
            self.warn(
                f"Not trainable, but trained all the same: {', '.join(frozen)}. Keras notices that "
                "`trainable` was set when the model is compiled anew."
            )
        reasons = {}
        for m in monitored:
            if m.missing_rate:
                reasons.setdefault(m.missing_rate, []).append(m.name)
        for reason, names in reasons.items():
            end = "" if reason.endswith(".") else "."
            self.warn(f"Not logged in effective_lr: {', '.join(names)}: {reason}{end}")

    def _describe(self):
        """Write the optimizers' arguments, if they are known by now and new."""
        optimizers = self.optimizers()
        if not optimizers or not self._files:
            return
        configuration = _summaries.describe_configuration(optimizers)
        if configuration != self._configuration:
            self._configuration = configuration
            shown = {**configuration, **self.monitor.hparams}
            step = self.step()
            self._write("train", _summaries.configuration_summary(shown), step)
            session = _summaries.hparams_summary(configuration, self.monitor.hparams)
            self._write("hparams", session, step)

    def _write(self, subfolder, summary, step):
        if subfolder in self._files and summary.value:
            self._files[subfolder].write(summary, step)


DRAWING_SHARE = 0.02  # of the time of a training
FIRST_PICTURE = 30  # seconds: a short training draws when it ends only
SUBFOLDERS = ("train", "hparams")
NOTHING_FOUND = "Nothing found that tells broken trainings from healthy ones."
TOO_FEW_STEPS = f"A training of fewer than {STARTED} steps cannot be judged."
# The scalars of a variable that are written without `detail`.
DEFAULT = {
    *("step_to_weight", "step", "execution_to_weight", "execution"),
    *("effective_lr", "effective_lr_not_finite"),
}
