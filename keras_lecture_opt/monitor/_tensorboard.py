"""Writes rows to TensorBoard's event files: cards, pictures, Text and HParams."""

import hashlib
import os
import re
import time

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto import types_pb2
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams import api as hparams_api
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb

from keras_lecture_opt.monitor import _configuration, _pictures
from keras_lecture_opt.monitor._files import RunFile, last_step, own_files
from keras_lecture_opt.monitor._quantities import QUANTITIES, SCALES, tag

DRAWING_SHARE = 0.02  # of the time of a training
FIRST_PICTURE = 30  # seconds: a short training draws when it ends only
SUBFOLDERS = ("train", "hparams")
DECADES = (-5, 5)
# Five points of Viridis, which color-blind readers and grey prints keep apart.
VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]


class RunWriter:
    """The event files of one run, open from the beginning of a training to its end.

    Args:
        folder: of the run.
        hparams: dict of the run's own hyperparameters.
        detail: whether quantities of `detail` are shown.

    Attributes:
        last_step: the last step in the folder when it was opened.
        others: files of other monitors that were there then.
    """

    def __init__(self, folder, hparams, detail):
        self.folder = folder
        self._hparams, self._detail = hparams, detail
        self._own, self._files = set(), {}
        self._forget()

    def _forget(self):
        self._laid_out = self._configuration = None

    def open(self):
        """Open new files.

        Raises:
            OSError: the folder cannot be written to.
        """
        found = own_files(os.path.join(self.folder, "train"))
        self.others = [path for path in found if path not in self._own]
        self.last_step = last_step(self.others)
        if not found:  # the folder is new, or was removed meanwhile
            self._forget()
        try:
            self._files = {name: RunFile(os.path.join(self.folder, name)) for name in SUBFOLDERS}
        except OSError as error:
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

    @np.errstate(all="ignore")  # of a number beyond float32
    def write(self, rows):
        """Write the rows of one step: scalars, histograms and maps."""
        summaries = {name: Summary() for name in SUBFOLDERS}
        for row in rows:
            if not row.variable:
                self._add_scalar(summaries["hparams"], row)
            elif row.quantity == "effective_lr_histogram":
                summaries["train"].MergeFrom(histogram(row))
            elif row.quantity == "effective_lr_map":
                summaries["train"].MergeFrom(image(row))
            elif self._detail or QUANTITIES[row.quantity].argument != "detail":
                self._add_scalar(summaries["train"], row)
        for name, summary in summaries.items():
            self._write(name, summary, rows[-1].step if rows else 0)

    def _add_scalar(self, summary, row):
        """TensorBoard wants a card's metadata once, and building it takes most of the time."""
        name = tag(row.quantity, row.variable)
        if name in self._described:
            tensor = TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[row.value])
            summary.value.add(tag=name, tensor=tensor)
        else:
            self._described.add(name)
            meaning = QUANTITIES[row.quantity].meaning if row.variable else None
            summary.MergeFrom(scalar_pb(name, row.value, meaning))

    @np.errstate(all="ignore")
    def draw(self, history, step, at_end=False):
        """Write the pictures of all layers, as often as they cost little of the training."""
        now = time.monotonic()
        if not (at_end or now > self._next_picture):
            return
        for quantity in SCALES:
            if picture := _pictures.picture(history, quantity):
                meaning = "Layers against steps, both scales logarithmic. Grey: not measured."
                summary = png_summary(f"all_layers/{quantity}", meaning, *picture)
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
        table = configuration_table({**configuration, **self._hparams})
        self._write("train", text_pb("optimizer/configuration", table), step)
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


def histogram(row):
    """Return a histogram of log10(rate), given rows of left edge, right edge and count."""
    name = tag(row.quantity, row.variable)
    summary = histogram_pb(name, [], 1, QUANTITIES[row.quantity].meaning)  # for its metadata
    set_tensor(summary.value[0], row.value, tf.float64)
    return summary


def image(row):
    """Return a map of log10(rate) in colors; NaN is grey."""
    height, width = row.value.shape
    points = np.linspace(*DECADES, len(VIRIDIS))
    channels = [np.interp(row.value, points, channel) for channel in np.transpose(VIRIDIS)]
    pixels = np.where(np.isnan(row.value)[..., np.newaxis], 128, np.stack(channels, axis=-1))
    png = tf.io.encode_png(pixels.astype("uint8")).numpy()
    name, meaning = tag(row.quantity, row.variable), QUANTITIES[row.quantity].meaning
    return png_summary(name, meaning, png, width, height)


def png_summary(name, meaning, png, width, height):
    """Return a summary of an image, given as a PNG."""
    metadata = image_metadata.create_summary_metadata(display_name=None, description=meaning)
    summary = Summary()
    value = summary.value.add(tag=name, metadata=metadata)
    set_tensor(value, [str(width), str(height), png], tf.string)
    return summary


def set_tensor(value, content, dtype):
    # TensorBoard has a copy of TensorFlow's message type.
    tensor = tf.make_tensor_proto(content, dtype=dtype)
    value.tensor.ParseFromString(tensor.SerializeToString())


def layout(names, detail):
    """Return a layout for Custom Scalars: all in one chart; with `detail`, bands for each."""

    def band(name):
        value, lower, upper = (
            tag(f"effective_lr_{quantile}", name) for quantile in ("median", "p05", "p95")
        )
        series = layout_pb2.MarginChartContent.Series(value=value, lower=lower, upper=upper)
        return layout_pb2.Chart(title=name, margin=layout_pb2.MarginChartContent(series=[series]))

    def lines(pattern, title):
        content = layout_pb2.MultilineChartContent(tag=[pattern])
        return layout_pb2.Chart(title=title, multiline=content)

    overview = layout_pb2.Category(
        title="All variables",
        chart=[
            lines("^(step|execution)_to_weight/", "Step to weight, one curve for each variable"),
            lines("^effective_lr/", "Effective learning rate, one curve for each variable"),
        ],
    )
    bands = layout_pb2.Category(
        title="Effective learning rate: median, and the band from the 5th to the 95th percentile",
        chart=[band(name) for name in reversed(names)],  # TensorBoard draws the last first
    )
    categories = [overview, bands] if detail else [overview]
    summary = custom_scalar.pb(layout_pb2.Layout(category=categories))
    return Summary.FromString(summary.SerializeToString())  # TensorBoard has two message types


def configuration_table(configuration):
    """Return a table of the configuration, in Markdown."""
    rows = [f"| {in_cell(name)} | {in_cell(value)} |" for name, value in configuration.items()]
    return "\n".join(["| argument | value |", "| --- | --- |", *rows])


def in_cell(value):
    """Return text that Markdown shows as it is, in one cell of a table."""
    text = re.sub(r"\s+", " ", str(value))
    text = re.sub(r"[\\`*\[\]]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)
    return text.replace("<", "&lt;").replace("|", "&#124;")
