"""A callback that shows in TensorBoard what step each weight really takes."""

import numbers
import os
import warnings

import keras
import tensorflow as tf

from keras_lecture_opt import _cards
from keras_lecture_opt._watched import measurement, watch
from keras_lecture_opt.rates import (
    formula_of,
    latest_learning_rate,
    leaves,
    next_learning_rate,
    steps_taken,
)


class EffectiveLearningRateMonitor(keras.callbacks.Callback):
    """Logs every weight's effective learning rate for TensorBoard.

    For each trainable variable, with names that are the same in every run (`dense/kernel` is the
    first dense layer's kernel, whatever its number in this process):

    | tag | card |
    | --- | --- |
    | `effective_lr/NAME` | the median, one curve for a run: start here |
    | `effective_lr_quantiles/NAME/min`, `p05`, `median`, `p95`, `max` | how they differ |
    | `effective_lr_histogram/NAME` | log10 of all rates |
    | `effective_lr_map/NAME` | with `write_images`: where in a kernel the rates are high |
    | `effective_lr_not_finite/NAME` | how many rates are NaN or infinite, if any are |
    | `never_updated/NAME` | share of the weights that have never had a gradient but 0 |
    | `tracked_weights/NAME[i,j]` | with `tracked_weights`: single weights |

    Median and quantiles are over the weights that have ever been updated, within 0.4% (minimum
    and maximum are exact): a weight behind a dead input has never taken a step, and an adaptive
    rule would give it the enormous `learning_rate / epsilon`. The "Custom Scalars" tab shows, for
    each variable, the median in a band from the 5th to the 95th percentile; "Text" and "HParams"
    show the optimizer's configuration, and `hparams`. Steps are the optimizer's iterations. The
    definition, and the formula of each optimizer, are those of
    `keras_lecture_opt.effective_learning_rate`.

    It only reads: training with it is, bit for bit, the training without it. (A learning rate that
    is a Python callable is called once more at each event.) It logs after a step, outside of it,
    and writes to the disk each time. A callback that changes the learning rate is followed; one
    that does so in `on_train_batch_begin` must come before this one.

    Which weights have been updated is told by the optimizer's state, or, where that forgets within
    an epoch (momentum, RMSProp) or there is none, by comparing the weights with a copy of those
    before training. `never_updated` is left out where neither is possible: `SGD` with weight decay,
    or a model that only its first batch has built. A name that you gave a layer is taken for an
    automatic one, and numbered anew, if it looks like one: `dense_7`.

    Args:
        log_dir: folder of the run. Rates go to its subfolder `train`, where
            `keras.callbacks.TensorBoard(log_dir)` puts its `epoch_loss`; both may be used together.
        update_freq: `"epoch"`, `"batch"`, or an integer N: after every epoch, every batch, every
            N batches. The first event takes some time to trace, the others cost about as much as
            a training step each. Defaults to `"epoch"`.
        write_images: whether to write a map of each 2-D variable, on one fixed scale of colours:
            the first kernel as the image that it takes, if it takes one, averaged over units,
            every other as a matrix of at most 64 x 64 pixels. Defaults to False.
        tracked_weights: which single weights to log: a number of weights of each variable, chosen
            at random, or a dict from variable names, as above, to lists of indices, such as
            `{"dense/kernel": [(0, 3), (5, 1)]}`. Defaults to 0.
        seed: integer that chooses the tracked weights. Defaults to 0.
        hparams: dict of what else distinguishes the run, such as `{"batch_size": 128}`, each a
            number, a string or a boolean: further columns of "HParams", further lines of "Text".
            Defaults to none.

    Raises:
        TypeError, ValueError: an argument is not what it may be; a tracked weight does not exist;
            at the begin of training: the optimizer's formula is not known.
        OSError: at the begin of training: `log_dir` cannot be written to.

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
        if update_freq not in ("epoch", "batch"):
            _check_integer("update_freq", update_freq, 1, "'epoch', 'batch' or ")
        if not isinstance(write_images, bool):
            raise TypeError(f"`write_images` must be True or False, not {write_images!r}.")
        if not isinstance(tracked_weights, dict):
            _check_integer("tracked_weights", tracked_weights, 0, "a dict or ")
        _check_integer("seed", seed, 0)
        hparams = {} if hparams is None else hparams
        if not isinstance(hparams, dict) or not all(
            isinstance(name, str) and isinstance(value, (bool, int, float, str))
            for name, value in hparams.items()
        ):
            raise TypeError(
                "`hparams` must be a dict from names to numbers, strings and booleans, not "
                f"{hparams!r}."
            )
        self.log_dir = os.fspath(log_dir)
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self.write_images = write_images
        self.tracked_weights = tracked_weights
        self.seed = seed
        self.hparams = dict(hparams)
        self._watched = []
        self._watched_model = None  # its optimizer and variables
        self._configuration = None  # as last written
        self._writer = None
        self._is_first_epoch = True

    def on_train_begin(self, logs=None):
        optimizer = self.model.optimizer
        if self.model.built and not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        for leaf in leaves(optimizer):
            formula_of(leaf)
        self._open()
        if not self.model.built:  # whatever was watched before, it was another model
            self._watched_model = None
        self._is_first_epoch = True
        self._logged_step = 0

    def on_epoch_begin(self, epoch, logs=None):
        if self._is_first_epoch:  # at the begin of training a backup may yet be restored
            self._is_first_epoch = False
            self._batches = steps_taken(self.model.optimizer)
            if self.model.built:
                self._watch(at_start=True)
        self._batches_before_epoch = self._batches
        self._begun = 0

    def on_train_batch_begin(self, batch, logs=None):
        # Here the batch before is logged. At its end, a callback may have changed the learning
        # rate; and Keras, which starts the next batch without waiting, would wait for us.
        self._count(batch)
        self._begun = batch + self.model.steps_per_execution
        self._rates = {id(o): next_learning_rate(o) for o in leaves(self.model.optimizer)}

    def on_epoch_end(self, epoch, logs=None):
        if self.update_freq == "epoch":
            self._log()
        else:
            in_epoch = (self.params or {}).get("steps") or self._begun
            self._count(min(self._begun, in_epoch))

    def on_train_end(self, logs=None):
        if self._writer is not None:  # it is None if an interruption came before the begin
            self._writer.close()
        if not self._is_first_epoch and not steps_taken(self.model.optimizer):
            warnings.warn(
                "EffectiveLearningRateMonitor has logged nothing: `model.optimizer` has taken no "
                "step. Other optimizers, of a `train_step` of your own, it does not see.",
                stacklevel=2,
            )

    def _count(self, batches):
        """Takes note that so many batches of this epoch are finished; logs if it is time."""
        before, self._batches = self._batches, self._batches_before_epoch + batches
        freq = self.update_freq
        if freq != "epoch" and self._batches // freq > before // freq:
            self._log()

    def _open(self):
        """Opens the run; raises before the first step if it cannot be written to."""
        try:
            self._writer = self._writer_to("train")
            configuration = _cards.configuration_of(leaves(self.model.optimizer))
            if configuration != self._configuration:
                self._configuration = configuration
                self._write(_cards.table({**configuration, **self.hparams}))
                # In the folder of the run itself: HParams' table then has one row for the run.
                writer = self._writer_to("")
                for summary in _cards.trial(configuration, self.hparams):
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
        # Another callback may have told TensorFlow not to record just now. At its end the context
        # flushes the writer: what has been logged can be read, whatever happens next.
        with (writer or self._writer).as_default(), tf.summary.record_if(True):
            tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=step)

    def _watch(self, at_start):
        """Decides what to log, now that the variables exist."""
        optimizer, variables = self.model.optimizer, self.model.trainable_variables
        model = [optimizer, *variables]
        if self._watched_model is not None and [*map(id, model)] == [*map(id, self._watched_model)]:
            return  # another `fit`
        self._watched, refused = watch(
            self.model, self._watched, at_start, self.tracked_weights, self.seed, self.write_images
        )
        if refused:
            warnings.warn("Not logged: " + " ".join(refused), stacklevel=2)
        self._watched_model = model
        self._measure = measurement(self._watched)
        self._write(_cards.bands([w.name for w in self._watched]))

    def _log(self):
        """Writes the rates of the latest step, unless that has been done."""
        step = steps_taken(self.model.optimizer)
        if step in (0, self._logged_step):  # an overflow was skipped, or gradients accumulate
            return
        if self._watched_model is None:  # the model has been built by its first batch
            self._watch(at_start=False)
        latest = {}
        for optimizer in leaves(self.model.optimizer):
            rate = self._rates.get(id(optimizer))
            rate = latest_learning_rate(optimizer) if rate is None else rate
            latest[id(optimizer)] = tf.cast(rate, tf.float64)
        rates = [latest[id(watched.optimizer)] for watched in self._watched]
        results = self._measure(rates, [watched.seen for watched in self._watched])
        summary = _cards.Summary()
        for watched, measured in zip(self._watched, results, strict=True):
            watched.seen = measured.pop("seen")
            for card in watched.cards({key: value.numpy() for key, value in measured.items()}):
                summary.MergeFrom(card)
        self._write(summary)
        self._logged_step = step


def _check_integer(argument, value, least, otherwise=""):
    message = f"`{argument}` must be {otherwise}an integer >= {least}, not {value!r}."
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(message)
    if value < least:
        raise ValueError(message)
