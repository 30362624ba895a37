"""A small network that the monitor's tests train, and what a run's folder then holds."""

import functools

import keras
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from keras_lecture_opt import EffectiveLearningRateMonitor

QUANTILES = {"min": 0, "p05": 0.05, "median": 0.5, "p95": 0.95, "max": 1}
VARIABLES = ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]


@functools.cache
def data():
    """56 examples: 7 batches of 8 an epoch."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(56, 4)).astype("float32")
    x[:, 0] = 0  # a dead input: its weights never get a gradient
    return x, rng.normal(size=(56, 2)).astype("float32")


def network(optimizer, **arguments):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(optimizer, "mse", **arguments)
    return model


def fit(model, *callbacks, epochs=2, **arguments):
    arguments = {"batch_size": 8, "verbose": 0, **arguments}
    return model.fit(*data(), epochs=epochs, callbacks=[*callbacks], **arguments)


detailed = functools.partial(EffectiveLearningRateMonitor, detail=True)


class Log:
    """What a run's folder holds: tag -> [(step, value), ...]."""

    def __init__(self, folder):
        events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
        self.tags = events.Tags()["tensors"]
        self.values = {
            tag: [(e.step, tensor_util.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)]
            for tag in self.tags
        }
        self.metadata = {t: events.SummaryMetadata(t).plugin_data for t in self.tags}
        self.plugins = {t: data.plugin_name for t, data in self.metadata.items()}

    def steps(self, tag):
        return [step for step, _ in self.values[tag]]

    def last(self, tag):
        return self.values[tag][-1][1]


SHARED_TAGS = {
    "optimizer/configuration": "text",
    "diagnosis": "text",
    "custom_scalars__config__": "custom_scalars",
    "all_layers/step_to_weight": "images",
    "all_layers/effective_lr": "images",
}


def expected_tags(names=VARIABLES):
    """The plugin of each tag that the monitor writes for these variables, with `detail`."""
    tags = dict(SHARED_TAGS)
    for name in names:
        for kind in ("effective_lr", "step", "step_to_weight", "weight"):
            tags[f"{kind}/{name}"] = "scalars"
        tags[f"effective_lr_histogram/{name}"] = "histograms"
        tags[f"never_updated/{name}"] = "scalars"
        tags |= {f"effective_lr_quantiles/{name}/{q}": "scalars" for q in QUANTILES}
    return tags
