"""The summaries that the monitor writes, as TensorBoard reads them."""

import hashlib
import re
import warnings

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb

from keras_lecture_opt._keras_private import learning_rate_or_schedule
from keras_lecture_opt._resolve import optimizer_name
from keras_lecture_opt.monitor._measure import EDGES, QUANTILES
from keras_lecture_opt.rules._hyperparameters import HYPERPARAMETERS

# TensorBoard shows them behind a card's "i". Written with every event, so they are short.
DESCRIPTIONS = {
    "all_layers": "Layers against steps, both scales logarithmic. Grey: not measured.",
    "step_to_weight": "RMS(w after - w before) / RMS(w before) of a step. In a healthy run it is "
    "near 1e-3 for kernels; biases start at 0.",
    "step": "RMS(w after - w before) of a step: momentum, clipping, decay, all in it.",
    "execution_to_weight": "step_to_weight of all steps in one execution (steps_per_execution).",
    "execution": "RMS(w after - w before) of all steps in one execution (steps_per_execution).",
    "weight": "RMS(w) after the step.",
    "effective_lr": "Median over the weights that have ever been updated.",
    "effective_lr_quantiles": "Over the weights that have ever been updated.",
    "effective_lr_histogram": "log10 of the effective learning rates of all weights.",
    "effective_lr_map": "Dark 10^-5, bright 10^5, on a log scale; grey: never updated.",
    "effective_lr_not_finite": "How many rates are NaN or infinite.",
    "never_updated": "Share of the weights whose gradient has always been zero.",
    "tracked_weights": "Effective learning rate of one weight, from its first update.",
}
DECADES = (-5, 5)
# Five points of Viridis, which color-blind readers and grey prints keep apart.
VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]


def scalar(kind, name, value):
    return scalar_pb(f"{kind}/{name}", value, DESCRIPTIONS[kind])


def histogram(name, bars):
    """Return a histogram of log10(rate), given how many rates lie between each two `EDGES`."""
    kind = "effective_lr_histogram"
    summary = histogram_pb(f"{kind}/{name}", [], 1, DESCRIPTIONS[kind])  # for its metadata
    used = np.flatnonzero(bars)
    shown = slice(used[0], used[-1] + 1) if used.size else slice(0, 1)
    rows = np.stack([EDGES[:-1][shown], EDGES[1:][shown], bars[shown]], axis=1)
    set_tensor(summary.value[0], rows, tf.float64)
    return summary


def image(name, log10_rates):
    """Return a map of log10(rate) in colors; NaN is grey."""
    kind = "effective_lr_map"
    height, width = log10_rates.shape
    points = np.linspace(*DECADES, len(VIRIDIS))
    channels = [np.interp(log10_rates, points, channel) for channel in np.transpose(VIRIDIS)]
    pixels = np.where(np.isnan(log10_rates)[..., np.newaxis], 128, np.stack(channels, axis=-1))
    png = tf.io.encode_png(pixels.astype("uint8")).numpy()
    return png_summary(kind, name, png, width, height)


def png_summary(kind, name, png, width, height):
    """Return a summary of an image, given as a PNG."""
    metadata = image_metadata.create_summary_metadata(
        display_name=None, description=DESCRIPTIONS[kind]
    )
    summary = Summary()
    value = summary.value.add(tag=f"{kind}/{name}", metadata=metadata)
    set_tensor(value, [str(width), str(height), png], tf.string)
    return summary


def set_tensor(value, content, dtype):
    # TensorBoard has a copy of TensorFlow's message type.
    tensor = tf.make_tensor_proto(content, dtype=dtype)
    value.tensor.ParseFromString(tensor.SerializeToString())


def layout(names, detail):
    """Return a layout for Custom Scalars: all in one chart; with `detail`, bands for each."""

    def chart(name):
        tags = {q: f"effective_lr_quantiles/{name}/{q}" for q in QUANTILES}
        series = layout_pb2.MarginChartContent.Series(
            value=tags["median"], lower=tags["p05"], upper=tags["p95"]
        )
        return layout_pb2.Chart(title=name, margin=layout_pb2.MarginChartContent(series=[series]))

    def lines(kind, title):
        content = layout_pb2.MultilineChartContent(tag=[f"^{kind}/"])
        return layout_pb2.Chart(title=title, multiline=content)

    overview = layout_pb2.Category(
        title="All variables",
        chart=[
            lines("step_to_weight", "Step to weight, one curve for each variable"),
            lines("effective_lr", "Effective learning rate, one curve for each variable"),
        ],
    )
    bands = layout_pb2.Category(
        title="Effective learning rate: median, and the band from the 5th to the 95th percentile",
        chart=[chart(name) for name in reversed(names)],  # TensorBoard draws the last first
    )
    categories = [overview, bands] if detail else [overview]
    summary = custom_scalar.pb(layout_pb2.Layout(category=categories))
    return Summary.FromString(summary.SerializeToString())  # TensorBoard has two message types


def describe_configuration(optimizers):
    """Return the optimizers' classes and arguments, each a number, a string or a boolean."""
    configuration = {}
    for optimizer in optimizers:
        prefix = f"{optimizer.name}/" if len(optimizers) > 1 else ""
        configuration[f"{prefix}optimizer"] = optimizer_name(type(optimizer))
        for argument, value in arguments_of(optimizer).items():
            configuration[prefix + argument] = shown(value)
    return configuration


def arguments_of(optimizer):
    """Return the optimizer's arguments, as far as it tells them."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of a learning rate that is a lambda
            return optimizer.get_config()
    except Exception:  # a schedule without `get_config`, a callable without a source, …
        rate = learning_rate_or_schedule(optimizer)
        name = getattr(rate, "__qualname__", type(rate).__qualname__)
        known = {h: getattr(optimizer, h) for h in HYPERPARAMETERS if hasattr(optimizer, h)}
        return {"name": optimizer.name, **known, "learning_rate": name}


def shown(value):
    """Return a value as TensorBoard can show it: a number, a string or a boolean."""
    if isinstance(value, float):
        return float(f"{value:.7g}")  # Keras keeps the learning rate in float32
    if isinstance(value, dict) and value.get("class_name") == "__lambda__":
        return "a lambda"
    if isinstance(value, dict):  # a serialized schedule
        return f"{value.get('class_name')} {value.get('config')}"
    return value if isinstance(value, (bool, int)) else str(value)


def configuration_summary(configuration):
    """Return a table of the configuration, in Markdown, for the Text tab."""
    rows = [f"| {in_cell(name)} | {in_cell(value)} |" for name, value in configuration.items()]
    return text_pb(
        "optimizer/configuration", "\n".join(["| argument | value |", "| --- | --- |", *rows])
    )


def verdicts_summary(sentences):
    """Return a list, in Markdown, for the Text tab."""
    return text_pb("verdicts", "\n".join(f"- {in_cell(sentence)}" for sentence in sentences))


def in_cell(value):
    """Return text that Markdown shows as it is, in one cell of a table."""
    text = re.sub(r"\s+", " ", str(value))
    text = re.sub(r"[\\`*\[\]]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)
    return text.replace("<", "&lt;").replace("|", "&#124;")


def hparams_summary(configuration, given):
    """Return a run for the HParams tab: what the configuration sets, and what is given.

    No experiment summary stands beside it: TensorBoard would show the columns of one run only.
    Without it, it shows the columns of all.
    """
    chosen = {}
    for argument, value in configuration.items():
        is_off = value == "None" or value is False or argument.endswith(("name", "jit_compile"))
        if not is_off and (argument != "ema_momentum" or configuration["use_ema"]):
            chosen[argument] = value
    chosen |= given
    # TensorBoard shows the name first. Runs of equal configuration are one trial.
    digest = hashlib.sha256(repr(chosen).encode()).hexdigest()[:6]
    name = f"{configuration.get('name', 'several')}-{digest}"
    return hparams.hparams_pb(chosen, trial_id=name)
