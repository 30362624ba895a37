"""Descriptions that are equal in every process if, and only if, the things are."""

import inspect
import json
import re

import keras
import numpy as np
import tensorflow as tf

import keras_lecture_opt
from keras_lecture_opt.monitor._names import automatic_names


def describe(thing):
    """Return a loss, a metric, an optimizer or a list of them as a structure for JSON.

    Classes and functions that are not Keras's or ours are described by their source, too.
    """
    if isinstance(thing, (list, tuple)):
        return [describe(part) for part in thing]
    if isinstance(thing, dict):
        return {str(key): describe(value) for key, value in sorted(thing.items(), key=str)}
    if isinstance(thing, (str, int, float, bool, type(None))):
        return thing
    try:
        config = thing.get_config()
    except (AttributeError, NotImplementedError, TypeError):  # it has none
        config = _without_addresses(repr(thing))
    kind = thing if inspect.isroutine(thing) else type(thing)
    description = {"class": f"{kind.__module__}.{kind.__qualname__}", "config": as_json(config)}
    if not kind.__module__.startswith(("keras.", "keras_lecture_opt.")):
        description["source"] = _source(kind)
    return description


def describe_optimizer(optimizer):
    """Return an optimizer's description without its names, which Keras may number."""

    def without_names(value):
        if isinstance(value, dict):
            return {key: without_names(part) for key, part in value.items() if key != "name"}
        return [without_names(part) for part in value] if isinstance(value, list) else value

    return without_names(describe(optimizer))


def describe_model(model):
    """Return a model's configuration, with names that do not depend on models made before."""
    try:
        config = keras.saving.serialize_keras_object(model)
        config.pop("compile_config", None)
    except (NotImplementedError, TypeError, ValueError):  # a class without `get_config`
        config = describe(model)
    shapes = [[list(v.shape), v.dtype] for v in model.variables]
    return {"config": _renumbered(as_json(config)), "variables": shapes}


def versions():
    """Return the versions that may decide a run's numbers."""
    return {
        "keras": keras.__version__,
        "keras_lecture_opt": keras_lecture_opt.__version__,
        "numpy": np.__version__,
        "tensorflow": tf.__version__,
    }


def differences(one, other, path=""):
    """Return where two descriptions differ: a list of texts, each with both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys([*one, *other])
        return [
            text
            for key in keys
            for text in differences(one.get(key), other.get(key), f"{path}.{key}".lstrip("."))
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            text
            for i, pair in enumerate(zip(one, other, strict=True))
            for text in differences(*pair, f"{path}[{i}]")
        ]
    return [] if one == other else [f"`{path}` is {_short(one)} there and {_short(other)} here"]


def as_json(config):
    """Return a configuration as JSON has it; of an object that JSON has not, its description."""

    def default(value):
        if isinstance(value, (np.generic, np.ndarray)):
            return value.tolist()
        return describe(value)

    return json.loads(json.dumps(config, default=default, sort_keys=True))


def _renumbered(config):
    """Return the configuration with Keras's automatic names numbered in the order of their use."""
    automatic, new = automatic_names(), {}

    def rename(value):
        if isinstance(value, dict):
            return {key: rename(part) for key, part in value.items()}
        if isinstance(value, list):
            return [rename(part) for part in value]
        if isinstance(value, str) and re.sub(r"_\d+$", "", value) in automatic:
            return new.setdefault(value, f"{re.sub(r'_[0-9]+$', '', value)}#{len(new)}")
        return value

    return rename(config)


def _source(kind):
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # typed at a prompt
        return None


def _without_addresses(text):
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _short(value):
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
