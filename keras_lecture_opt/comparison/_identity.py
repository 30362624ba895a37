"""Descriptions that are equal in every process if, and only if, the things are."""

import ast
import contextlib
import functools
import hashlib
import inspect
import io
import json
import re
import sys
import textwrap
import tokenize

import keras
import numpy as np
import tensorflow as tf

import keras_lecture_opt
from keras_lecture_opt.monitor._names import automatic_names


def describe(thing):
    """Return a loss, a metric, an optimizer or a list of them as a structure for JSON.

    Classes and functions that are not Keras's or ours are described by their source, too. What
    these call is not seen.
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
        config = re.sub(r" at 0x[0-9a-f]+", "", repr(thing))
    kind = thing if inspect.isroutine(thing) else type(thing)
    description = {"class": f"{kind.__module__}.{kind.__qualname__}", "config": as_json(config)}
    if is_own(kind.__module__):
        # What the class was given may be missing in its configuration.
        numbers = {k: v for k, v in sorted(vars(thing).items()) if type(v) in (int, float, str)}
        description |= {"source": _source(kind), "numbers": numbers}
    return description


def describe_optimizer(optimizer):
    """Return an optimizer's description without its names, which Keras may number."""
    text = json.dumps(describe(optimizer))
    return json.loads(text, object_hook=lambda part: {k: part[k] for k in part if k != "name"})


def describe_callback(callback):
    """Return a callback's class, and of its attributes numbers, texts and functions."""
    kind = type(callback)
    own = {
        name: describe(value)
        for name, value in sorted(vars(callback).items())
        if type(value) in (bool, int, float, str) or inspect.isroutine(value)
    }
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "attributes": as_json(own),
        "source": _source(kind),
    }


def describe_model(model):
    """Return a model's configuration, with names that do not depend on models made before."""
    try:
        config = keras.saving.serialize_keras_object(model)
        config.pop("compile_config", None)
    except (NotImplementedError, TypeError, ValueError):  # a class without `get_config`
        config = {"source": _source(type(model))}
    shapes = [[list(v.shape), v.dtype] for v in model.variables]
    description = {"config": _renumbered(as_json(config)), "variables": shapes}
    # The configuration of a subclass of keras.Model does not name its layers.
    own = {type(layer) for layer in _layers(model) if is_own(type(layer).__module__)}
    if own:
        named = {f"{kind.__module__}.{kind.__qualname__}": _source(kind) for kind in own}
        description["layers"] = dict(sorted(named.items()))
    return description


def _layers(model):
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers(layer)


def conditions(workload):
    """Return what all runs of a study have in common."""
    return {"workload": workload.description, "versions": versions()}


def versions():
    """Return the versions that may decide a run's numbers."""
    packages = (keras, keras_lecture_opt, np, tf)
    return {package.__name__: package.__version__ for package in packages}


def differences(one, other, path=""):
    """Return where two descriptions differ: a list of texts, each with both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one | other
        parts = {f"{path}.{key}".lstrip("."): (one.get(key), other.get(key)) for key in keys}
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        parts = {f"{path}[{i}]": pair for i, pair in enumerate(zip(one, other, strict=True))}
    else:
        return [] if one == other else [f"`{path}` is {_short(one)} there and {_short(other)} here"]
    return [text for place, pair in parts.items() for text in differences(*pair, place)]


def as_json(config):
    """Return a configuration as JSON has it; of an object that JSON has not, its description."""

    def default(value):
        return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else describe(value)

    text = json.dumps(config, default=default, sort_keys=True)
    return json.loads(text, object_hook=_with_source)


def _with_source(config):
    """Add its source to the configuration, a dict, if that names a class of the user's."""
    module, name = config.get("module"), config.get("class_name")
    if module is None and isinstance(getattr(sys.modules["__main__"], str(name), None), type):
        module = "__main__"  # Keras leaves it out
    if isinstance(module, str) and isinstance(name, str) and is_own(module):
        config["source"] = _source(getattr(sys.modules.get(module), name, None))
    return config


def is_own(module):
    """Return whether a module is of none of `versions`, which stand for the code of theirs."""
    return module.partition(".")[0] not in {*versions(), "builtins"}


def _renumbered(config):
    """Return the configuration with Keras's automatic names numbered in the order of their use."""
    automatic, new = automatic_names(), {}

    def collect(part):
        name = part.get("name")
        base = re.sub(r"_\d+$", "", name) if isinstance(name, str) else None
        if base in automatic:
            new.setdefault(name, f"{base}#{len(new)}")

    def rename(value):
        if isinstance(value, dict):
            return {key: rename(part) for key, part in value.items()}
        if isinstance(value, list):
            return [rename(part) for part in value]
        return new.get(value, value) if isinstance(value, str) else value

    json.loads(json.dumps(config), object_hook=collect)  # it gets all dicts, inner ones first
    return rename(config)


def _source(kind):
    """Return the source of a function, or of a class and its ancestors, as far as it is known."""
    sources = []
    for part in inspect.getmro(kind) if isinstance(kind, type) else [kind]:
        if part is None or not is_own(part.__module__):
            continue
        try:
            sources.append(inspect.getsource(part))
        except (OSError, TypeError):  # a notebook's classes have none, but their functions do
            for function in filter(inspect.isfunction, getattr(part, "__dict__", {}).values()):
                with contextlib.suppress(OSError):  # typed at a prompt
                    sources.append(inspect.getsource(function))
    return sources


def without_comments(description):
    """Return a description in which sources have no comments, docstrings and empty lines."""
    if isinstance(description, list):
        return [without_comments(part) for part in description]
    if not isinstance(description, dict):
        return description
    result = {key: without_comments(value) for key, value in description.items()}
    if isinstance(sources := description.get("source"), list):
        result["source"] = [*map(_code, sources)]
    if isinstance(layers := description.get("layers"), dict):  # a model's own ones
        result["layers"] = {kind: [*map(_code, sources)] for kind, sources in layers.items()}
    return result


def digest(description):
    """Return a short hash of what determines a run."""
    text = json.dumps(without_comments(description), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def _code(source):
    """Return a source without comments, docstrings and empty lines, the same on every Python."""
    text = textwrap.dedent(source)
    lines = text.splitlines()
    try:
        nodes = ast.walk(ast.parse(text))
        tokens = [*tokenize.generate_tokens(io.StringIO(text).readline)]
    except (SyntaxError, tokenize.TokenError):  # a lambda within another expression
        return source
    for node in nodes:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            if is_text and not lines[first.lineno - 1][: first.col_offset].strip():
                lines[first.lineno - 1 : first.end_lineno] = [""] * (
                    first.end_lineno - first.lineno + 1
                )
    for token in tokens:
        if token.type == tokenize.COMMENT and lines[token.start[0] - 1]:
            lines[token.start[0] - 1] = lines[token.start[0] - 1][: token.start[1]]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _short(value):
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
