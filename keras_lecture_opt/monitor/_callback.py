"""When the monitor logs, and where it writes."""

import os
import warnings

import keras
import tensorflow as tf

from keras_lecture_opt._arguments import (
    as_python,
    check_boolean,
    check_integer,
    check_path,
    must_be,
)
from keras_lecture_opt.monitor import _summaries
from keras_lecture_opt.monitor._variables import monitored_variables
from keras_lecture_opt.rates import (
    inner_optimizers,
    latest_learning_rate,
    next_learning_rate,
    require_formula,
    steps_taken,
)


class EffectiveLearningRateMonitor(keras.callbacks.Callback):
    """Log every weight's effective learning rate for TensorBoard.

    For each trainable variable, with names that are the same in every run (`dense/kernel` is the
    first dense layer's kernel, whatever its number in this process):

    | tag | card |
    | --- | --- |
    | `effective_lr/NAME` | the median, one curve for a run: start here |
    | `effective_lr_quantiles/NAME/min`, `p05`, `median`, `p95`, `max` | how they differ |
    | `effective_lr_histogram/NAME` | log10 of all rates |
    | `effective_lr_map/NAME` | with `write_images`: where in a kernel the rates are high |
    | `effective_lr_not_finite/NAME` | how many rates are NaN or infinite, if any are |
    | `never_updated/NAME` | share of the weights whose gradient has always been zero |
    | `tracked_weights/NAME[i,j]` | with `tracked_weights`: single weights |

    Median and quantiles are over the weights that have ever been updated, within 0.4% (minimum
    and maximum are exact): a weight behind a dead input has never taken a step, and an adaptive
    rule would give it the enormous `learning_rate / epsilon`. The "Custom Scalars" tab shows, for
    each variable, the median in a band from the 5th to the 95th percentile. "Text" and "HParams"
    show the optimizer's configuration and `hparams`. Steps are the optimizer's iterations.
    `keras_lecture_opt.effective_learning_rate` has the definition and each optimizer's formula.

    The monitor only reads: training with it equals training without it, bit for bit. (A learning
    rate that is a Python callable is called once more at each event.) It logs between steps and
    writes to the disk each time. It follows a callback that changes the learning rate; one that
    does so in `on_train_batch_begin` must come before the monitor.

    The optimizer's state shows which weights have been updated. Where it forgets that within
    10,000 steps (momentum, RMSProp, a small beta_2) or there is no state, the monitor compares the
    weights with a copy of those before training. It omits `never_updated` where neither is
    possible: for `SGD` with weight decay, or for a model that is built by its first batch.

    A layer that you named like an automatic name (`dense_7`) is numbered like one.

    Args:
        log_dir: folder of the run, `~` for the home folder. Rates go to its subfolder `train`,
            where `keras.callbacks.TensorBoard(log_dir)` puts its `epoch_loss`; both may be used
            together.
        update_freq: `"epoch"`, `"batch"`, or an integer N: after every epoch, every batch, every
            N batches. An event costs about as much as a training step. Defaults to `"epoch"`.
        write_images: whether to write a map of each 2-D variable, on one fixed color scale: the
            first kernel as the image that it takes, if it takes one, averaged over units, every
            other as a matrix of at most 64 x 64 pixels. Defaults to False.
        tracked_weights: which single weights to log: a number of weights of each variable, chosen
            at random, or a dict from variable names, as above, to lists of indices, such as
            `{"dense/kernel": [(0, 3), (5, 1)]}`. Defaults to 0.
        seed: integer that chooses the tracked weights. Defaults to 0.
        hparams: dict of what else distinguishes the run, such as `{"batch_size": 128}`, each a
            number, a string or a boolean: more columns in "HParams", more rows in "Text". Defaults
            to none.

    Raises:
        TypeError, ValueError: an argument is invalid. When training starts: a tracked weight does
            not exist, or the optimizer's formula is not known.
        OSError: when training starts: `log_dir` cannot be written to.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> model.compile(keras.optimizers.Adam(), "mse")
    >>> monitor = EffectiveLearningRateMonitor("logs/adam", update_freq=10)
    >>> x, y = keras.random.normal((320, 4)), keras.random.normal((320, 2))
    >>> history = model.fit(x, y, epochs=2, callbacks=[monitor], verbose=0)

    and then, in a terminal, `tensorboard --logdir logs`.
    """

    def __init__(
        self,
        log_dir,
        update_freq="epoch",
        write_images=False,
        tracked_weights=0,
        seed=0,
        hparams=None,
    ):
        super().__init__()
        self.log_dir = check_path("log_dir", log_dir)
        if not isinstance(update_freq, str) or update_freq not in ("epoch", "batch"):
            update_freq = check_integer(
                "update_freq", update_freq, 1, otherwise="'epoch', 'batch' or "
            )
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self.write_images = check_boolean("write_images", write_images)
        if not isinstance(tracked_weights, dict):
            tracked_weights = check_integer(
                "tracked_weights", tracked_weights, 0, otherwise="a dict or "
            )
        self.tracked_weights = tracked_weights
        self.seed = check_integer("seed", seed, 0)
        self.hparams = _check_hparams(hparams)
        self._monitored = []
        self._monitored_model = None  # its optimizer and variables
        self._configuration = None  # as last written
        self._writer = None
        self._is_first_epoch = True

    def on_train_begin(self, logs=None):
        optimizer = self.model.optimizer
        if self.model.built and not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        require_formula(optimizer)
        self._open()
        if not self.model.built:  # whatever was monitored before, it was another model
            self._monitored_model = None
        self._is_first_epoch = True
        self._logged_step = 0

    def on_epoch_begin(self, epoch, logs=None):
        if self._is_first_epoch:  # only now: when training starts, a backup may be restored
            self._is_first_epoch = False
            self._batches = steps_taken(self.model.optimizer)
            if self.model.built:
                self._choose_variables(at_start=True)
        self._batches_before_epoch = self._batches
        self._begun = 0

    def on_train_batch_begin(self, batch, logs=None):
        # The batch before is logged here. At its end, a callback may have changed the learning
        # rate; and Keras, which starts the next batch without waiting, would wait for the monitor.
        self._count(batch)
        self._begun = batch + self.model.steps_per_execution
        self._rates = {id(o): next_learning_rate(o) for o in inner_optimizers(self.model.optimizer)}

    def on_epoch_end(self, epoch, logs=None):
        if self.update_freq == "epoch":
            self._log()
        else:
            in_epoch = (self.params or {}).get("steps") or self._begun
            self._count(min(self._begun, in_epoch))

    def on_train_end(self, logs=None):
        if self._writer is not None:  # it is None if training was interrupted before it started
            self._writer.close()
        if not self._is_first_epoch and not steps_taken(self.model.optimizer):
            warnings.warn(
                "EffectiveLearningRateMonitor has logged nothing: `model.optimizer` has taken no "
                "step. It cannot see other optimizers used in a custom `train_step`.",
                stacklevel=2,
            )

    def _count(self, batches):
        """Note that so many batches of this epoch are finished; log if it is time."""
        before, self._batches = self._batches, self._batches_before_epoch + batches
        freq = self.update_freq
        if freq != "epoch" and self._batches // freq > before // freq:
            self._log()

    def _open(self):
        """Open the run; raise before the first step if it cannot be written to."""
        try:
            self._writer = self._writer_to("train")
            optimizers = inner_optimizers(self.model.optimizer)
            configuration = _summaries.describe_configuration(optimizers)
            if configuration != self._configuration:
                self._configuration = configuration
                shown = {**configuration, **self.hparams}
                self._write(_summaries.configuration_summary(shown))
                # In the folder of the run itself: the HParams tab then has one row for the run.
                writer = self._writer_to("")
                for summary in _summaries.hparams_summaries(configuration, self.hparams):
                    self._write(summary, writer)
                writer.close()
        except (OSError, tf.errors.OpError) as error:
            raise OSError(
                f"EffectiveLearningRateMonitor: `log_dir` {self.log_dir!r} cannot be written to: "
                f"{error}"
            ) from error

    def _writer_to(self, folder):
        path = os.path.join(self.log_dir, folder)
        return tf.summary.create_file_writer(path, filename_suffix=".effective_lr")

    def _write(self, summary, writer=None):
        step = steps_taken(self.model.optimizer)
        # Another callback may have switched recording off. When the context ends it flushes the
        # writer: what has been logged can be read, whatever happens next.
        with (writer or self._writer).as_default(), tf.summary.record_if(True):
            tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=step)

    def _choose_variables(self, at_start):
        """Decide what to log, now that the variables exist."""
        optimizer, variables = self.model.optimizer, self.model.trainable_variables
        model = [optimizer, *variables]
        known = self._monitored_model
        if known is not None and [*map(id, model)] == [*map(id, known)]:
            return  # another `fit`
        self._monitored, left_out = monitored_variables(
            self.model,
            self._monitored,
            at_start,
            self.tracked_weights,
            self.seed,
            self.write_images,
        )
        for reason, names in left_out.items():
            warnings.warn(f"Not logged: {', '.join(names)}: {reason}.", stacklevel=2)
        self._monitored_model = model
        self._write(_summaries.margin_chart_layout([m.name for m in self._monitored]))

    def _log(self):
        """Write the rates of the latest step, unless that has been done."""
        step = steps_taken(self.model.optimizer)
        if step in (0, self._logged_step):  # an overflow was skipped, or gradients accumulate
            return
        if self._monitored_model is None:  # the model has been built by its first batch
            self._choose_variables(at_start=False)
        latest = {}
        for optimizer in inner_optimizers(self.model.optimizer):
            rate = self._rates.get(id(optimizer))
            rate = latest_learning_rate(optimizer) if rate is None else rate
            latest[id(optimizer)] = tf.cast(rate, tf.float64)
        summary = _summaries.Summary()
        for m in self._monitored:
            for one in m.summaries(m.measure(latest[id(m.optimizer)])):
                summary.MergeFrom(one)
        self._write(summary)
        self._logged_step = step


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
