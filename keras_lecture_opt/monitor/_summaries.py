"""The summaries that the monitor writes, as TensorBoard reads them."""

import hashlib
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

from keras_lecture_opt.monitor._measure import EDGES, QUANTILES

# TensorBoard shows them behind a card's "i". Written with every event, so they are short.
DESCRIPTIONS = {
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
    png = tf.io.encode_png(pixels.astype("uint8"))
    metadata = image_metadata.create_summary_metadata(
        display_name=None, description=DESCRIPTIONS[kind]
    )
    summary = Summary()
    value = summary.value.add(tag=f"{kind}/{name}", metadata=metadata)
    set_tensor(value, [str(width), str(height), png.numpy()], tf.string)
    return summary


def set_tensor(value, content, dtype):
    # TensorBoard has a copy of TensorFlow's message type.
    tensor = tf.make_tensor_proto(content, dtype=dtype)
    value.tensor.ParseFromString(tensor.SerializeToString())


def margin_chart_layout(names):
    """Return a layout for Custom Scalars: for each variable the median in a band of quantiles."""

    def chart(name):
        tags = {q: f"effective_lr_quantiles/{name}/{q}" for q in QUANTILES}
        series = layout_pb2.MarginChartContent.Series(
            value=tags["median"], lower=tags["p05"], upper=tags["p95"]
        )
        return layout_pb2.Chart(title=name, margin=layout_pb2.MarginChartContent(series=[series]))

    charts = [chart(name) for name in reversed(names)]  # TensorBoard draws the last first
    title = "Effective learning rate: median, and the band from the 5th to the 95th percentile"
    category = layout_pb2.Category(title=title, chart=charts)
    return custom_scalar.pb(layout_pb2.Layout(category=[category]))


def describe_configuration(optimizers):
    """Return the optimizers' classes and arguments, each a number, a string or a boolean."""
    configuration = {}
    for optimizer in optimizers:
        prefix = f"{optimizer.name}/" if len(optimizers) > 1 else ""
        package = type(optimizer).__module__.partition(".")[0]
        configuration[f"{prefix}optimizer"] = f"{package}.{type(optimizer).__name__}"
        with warnings.catch_warnings(action="ignore"):  # of a learning rate that is a lambda
            arguments = optimizer.get_config()
        for argument, value in arguments.items():
            if isinstance(value, float):
                value = float(f"{value:.7g}")  # Keras keeps the learning rate in float32
            elif isinstance(value, dict) and value.get("class_name") == "__lambda__":
                value = "a lambda"
            elif isinstance(value, dict):  # a serialized schedule
                value = f"{value.get('class_name')} {value.get('config')}"
            elif not isinstance(value, (bool, int)):
                value = str(value)
            configuration[prefix + argument] = value
    return configuration


def configuration_summary(configuration):
    """Return a table of the configuration, in Markdown, for the Text tab."""
    rows = [f"| {argument} | {value} |" for argument, value in configuration.items()]
    return text_pb(
        "optimizer/configuration", "\n".join(["| argument | value |", "| --- | --- |", *rows])
    )


def hparams_summaries(configuration, given):
    """Yield a run for the HParams tab: what the configuration sets, what is given, the losses."""
    chosen = {}
    for argument, value in configuration.items():
        is_off = value == "None" or value is False or argument.endswith(("name", "jit_compile"))
        if not is_off and (argument != "ema_momentum" or configuration["use_ema"]):
            chosen[argument] = value
    chosen |= given
    metrics = [
        hparams.Metric("epoch_loss", group=group, display_name=f"{group} loss")
        for group in ("train", "validation")
    ]
    # TensorBoard shows the name first. Runs of equal configuration are one trial.
    digest = hashlib.sha256(repr(chosen).encode()).hexdigest()[:6]
    name = f"{configuration.get('name', 'several')}-{digest}"
    columns = [hparams.HParam(argument) for argument in chosen]
    yield hparams.hparams_config_pb(hparams=columns, metrics=metrics)
    yield hparams.hparams_pb(chosen, trial_id=name)
