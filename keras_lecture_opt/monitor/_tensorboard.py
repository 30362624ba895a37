"""Writes rows to TensorBoard's event files: cards, pictures, Text and HParams."""

import contextlib
import hashlib
import itertools
import os
import re
import socket
import time
import warnings

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto import types_pb2
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.hparams import api as hparams_api
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util.tensor_util import make_tensor_proto

from keras_lecture_opt.monitor import _configuration, _pictures
from keras_lecture_opt.monitor._quantities import QUANTITIES, SCALES, tag

OWN = ".effective_lr"  # how our files end, beside those of other callbacks
FRAME = 16  # bytes that a record takes beside its content
numbers = itertools.count()
DRAWING_SHARE = 0.02  # of the time of a training
FIRST_PICTURE = 30  # seconds: a short training draws when it ends only
SUBFOLDERS = ("train", "hparams")
DECADES = (-5, 5)
# Five points of Viridis, which color-blind readers and grey prints keep apart.
VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]


class RunWriter:
    """The event files of one run, open from the beginning of a training to its end."""

    def __init__(self, folder, hparams, detail):
        self.folder = folder
        self._hparams, self._detail = hparams, detail
        self._own, self._files = set(), {}

    def open(self):
        """Open new files, unless they are open; an OSError says that this cannot be done."""
        if self._files:
            return
        folder = os.path.join(self.folder, "train")
        names = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
        found = [os.path.join(folder, name) for name in names if name.endswith(OWN)]
        self.others = [path for path in found if path not in self._own]  # of other monitors
        self.last_step = last_step(self.others)
        if not found or not self._own:  # the folder is new to us, or was removed meanwhile
            self._laid_out = self._configuration = None
        try:
            self._files = {name: RunFile(os.path.join(self.folder, name)) for name in SUBFOLDERS}
        except (OSError, tf.errors.OpError) as error:
            raise OSError(
                f"EffectiveLearningRateMonitor: `log_dir` {self.folder!r} cannot be written to: "
                f"{error}"
            ) from error
        self._own.add(self._files["train"].path)
        self._described = set()  # tags whose card is described in these files
        self._next_picture = time.monotonic() + FIRST_PICTURE

    def close(self):
        for file in self._files.values():
            file.close()
        self._files = {}

    def discard(self):
        """Close the files and remove them: nothing has been written."""
        paths = [file.path for file in self._files.values()]
        self.close()
        for path in paths:
            tf.io.gfile.remove(path)

    @np.errstate(all="ignore")  # of a number beyond float32
    def write(self, rows):
        """Write the rows of one step: scalars, histograms and maps."""
        summaries = {name: Summary() for name in SUBFOLDERS}
        for row in rows:
            if not row.variable:
                self._add(summaries["hparams"], row, None)
            elif self._detail or QUANTITIES[row.quantity].argument != "detail":
                self._add(summaries["train"], row, QUANTITIES[row.quantity].meaning)
        for name, summary in summaries.items():
            self._write(name, summary, rows[-1].step if rows else 0)

    def _add(self, summary, row, meaning):
        name = tag(row.quantity, row.variable)
        if row.quantity == "effective_lr_histogram":
            metadata = histogram_metadata.create_summary_metadata(None, meaning)
            tensor = make_tensor_proto(row.value, "float64")
            summary.value.add(tag=name, metadata=metadata, tensor=tensor)
        elif row.quantity == "effective_lr_map":
            add_png(summary, name, meaning, *image(row.value))
        # TensorBoard wants a card's metadata once, and building it takes most of the time.
        elif name in self._described:
            tensor = TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[row.value])
            summary.value.add(tag=name, tensor=tensor)
        else:
            self._described.add(name)
            summary.MergeFrom(scalar_pb(name, row.value, meaning))

    @np.errstate(all="ignore")
    def draw(self, history, step, at_end=False):
        """Write the pictures of all layers, as often as they cost little of the training."""
        now = time.monotonic()
        if not (at_end or now > self._next_picture):
            return
        for quantity in SCALES:
            if picture := _pictures.picture(history, quantity):
                summary, name = Summary(), f"all_layers/{quantity}"
                meaning = "Layers against steps, both scales logarithmic. Grey: not measured."
                add_png(summary, name, meaning, *picture)
                self._write("train", summary, step)
        taken = time.monotonic() - now
        self._next_picture = time.monotonic() + taken / DRAWING_SHARE

    def write_layout(self, names, step):
        """Write what the Custom Scalars tab shows, if it is new."""
        if names and names != self._laid_out:
            self._laid_out = names
            self._write("train", layout(names, self._detail), step)

    def write_configuration(self, optimizers, step):
        """Write the arguments of the optimizers that train, if they are new."""
        optimizers = _configuration.of_those_that_train(optimizers)
        configuration = _configuration.describe(optimizers)
        if not configuration or configuration == self._configuration:
            return
        self._configuration = configuration
        table = ["| argument | value |", "| --- | --- |"]
        for name, value in {**configuration, **self._hparams}.items():
            table.append(f"| {in_cell(name)} | {in_cell(value)} |")
        self._write("train", text_pb("optimizer/configuration", "\n".join(table)), step)
        # No experiment summary: TensorBoard would show the columns of one run only. Runs of one
        # name are averaged, so the name has the folder in it.
        path = os.path.abspath(self.folder)
        digest = hashlib.sha256(path.encode()).hexdigest()[:6]
        name = f"{os.path.basename(path)}-{digest}"
        arguments = {**_configuration.chosen(configuration), **self._hparams}
        self._write("hparams", hparams_api.hparams_pb(arguments, trial_id=name), step)

    def write_verdicts(self, sentences, step):
        """Write a list of sentences under a tag that the Text tab shows first."""
        text = "\n".join(f"- {in_cell(sentence)}" for sentence in sentences)
        self._write("train", text_pb("diagnosis", text), step)

    def _write(self, subfolder, summary, step):
        if summary.value:
            self._files[subfolder].write(summary, step)


class RunFile:
    """An event file in a run's folder. Each event can be read as soon as it is written.

    `tf.summary`'s writer hides a full disk until it is closed, or loses events silently.
    """

    def __init__(self, folder):
        self.folder, self._size, self._is_lost = folder, 0, False
        name = (
            f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}."
            f"{os.getpid()}.{next(numbers):06}{OWN}"  # TensorBoard reads them in this order
        )
        self.path = os.path.join(folder, name)
        tf.io.gfile.makedirs(folder)
        self._records = tf.io.TFRecordWriter(self.path)
        self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def write(self, summary, step):
        """Write an event, unless the disk has been full before. Never raises."""
        if self._is_lost:
            return
        try:
            self._append(Event(wall_time=time.time(), step=step, summary=summary))
        except (OSError, tf.errors.OpError) as error:
            self._is_lost = True
            warnings.warn(
                f"EffectiveLearningRateMonitor cannot write to {self.folder!r} any more: what it "
                f"measures from step {step} on is not in TensorBoard. Training goes on. {error}",
                stacklevel=2,
            )

    def _append(self, event):
        content = event.SerializeToString()
        self._records.write(content)
        self._records.flush()
        self._size += len(content) + FRAME
        if (written := tf.io.gfile.stat(self.path).length) < self._size:
            raise OSError(f"The disk took {written} of {self._size} bytes.")

    def close(self):
        with contextlib.suppress(OSError, tf.errors.OpError):
            self._records.close()


def last_step(paths):
    """Return the last step in some event files."""
    last = 0
    for path in paths:
        record = None
        with contextlib.suppress(tf.errors.OpError):  # the process was killed while it wrote
            for record in tf.data.TFRecordDataset(path):  # noqa: B007
                pass
        if record is not None:
            last = max(last, Event.FromString(record.numpy()).step)
    return last


def image(logs):
    """Return a map of log10(rate) in colors as a PNG, its width and its height; NaN is grey."""
    points = np.linspace(*DECADES, len(VIRIDIS))
    channels = [np.interp(logs, points, channel) for channel in np.transpose(VIRIDIS)]
    pixels = np.where(np.isnan(logs)[..., np.newaxis], 128, np.stack(channels, axis=-1))
    return tf.io.encode_png(pixels.astype("uint8")).numpy(), *logs.T.shape


def add_png(summary, name, meaning, png, width, height):
    metadata = image_metadata.create_summary_metadata(None, meaning)
    tensor = make_tensor_proto([str(width), str(height), png], np.object_)
    summary.value.add(tag=name, metadata=metadata, tensor=tensor)


def layout(names, detail):
    """Return a layout for Custom Scalars: all in one chart; with `detail`, bands for each."""
    titles = {
        "^(step|execution)_to_weight/": "Step to weight, one curve for each variable",
        "^effective_lr/": "Effective learning rate, one curve for each variable",
    }
    lines = [{"title": t, "multiline": {"tag": [pattern]}} for pattern, t in titles.items()]
    categories, bands = [{"title": "All variables", "chart": lines}], []
    for name in reversed(names):  # TensorBoard draws the last first
        ends = {"value": "median", "lower": "p05", "upper": "p95"}
        series = {end: tag(f"effective_lr_{quantile}", name) for end, quantile in ends.items()}
        bands.append({"title": name, "margin": {"series": [series]}})
    if detail:
        title = "Effective learning rate: median, and the band from the 5th to the 95th percentile"
        categories.append({"title": title, "chart": bands})
    summary = custom_scalar.pb(layout_pb2.Layout(category=categories))
    return Summary.FromString(summary.SerializeToString())  # TensorBoard has two message types


def in_cell(value):
    """Return text that Markdown shows as it is, in one cell of a table."""
    text = re.sub(r"\s+", " ", str(value))
    text = re.sub(r"[\\`*\[\]]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)
    return text.replace("<", "&lt;").replace("|", "&#124;")
