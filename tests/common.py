"""What several test modules need, and what holds in every test: `conftest.py` loads it."""

import contextlib
import gc
import importlib.util
import os
import subprocess
import sys
import textwrap
import types

import quick  # noqa: F401, before TensorFlow

# isort: split
import keras
import matplotlib
import numpy as np
import pytest
import reference
import tensorflow as tf
from tensorflow.python.framework import config  # there is no public way to switch it off

import keras_lecture_opt
from keras_lecture_opt import Adam, SteepestDescent
from keras_lecture_opt.monitor import _pictures, _tensorboard
from keras_lecture_opt.rules import _compiled

matplotlib.use("Agg")  # no windows

# Two devices, to spread variables and strategies over.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

RULES = keras_lecture_opt.rules.RULES
LECTURE = {name: (rule.formula, rule.arguments) for name, rule in reference.RULES.items()}
OLDEST_KERAS = keras.version().startswith("3.12.")
MUON_WORKS = not OLDEST_KERAS  # whose own fails on TensorFlow
DRAWN = {}  # pictures of the monitor
RUN_EAGERLY = keras.Model.run_eagerly
COMPILE = {
    "eager": lambda function: function,
    "graph": tf.function,
    "xla": lambda function: tf.function(function, jit_compile=True),
}


def imported(script):
    """Import a script from outside the package."""
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_whole(figure):
    """Whether all that a matplotlib figure shows lies inside it, and no text on another."""
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    if min(box.x0, box.y0, width - box.x1, height - box.y1) < 0:
        return False
    texts = [*figure.texts]
    for ax in figure.axes:
        texts += [ax.title, *(ax.get_legend().get_texts() if ax.get_legend() else ())]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return not any(a.count_overlaps([b]) for i, a in enumerate(boxes) for b in boxes[:i])


def run_alone(script, *arguments):
    """Run Python code in a process of its own, which may import the test modules.

    Args:
        script: the code.
        *arguments: its `sys.argv[1:]`.
    """
    tests = os.path.dirname(__file__)
    paths = [tests, os.path.dirname(tests), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
    )


@contextlib.contextmanager
def keras_compiles():
    """In this context `jit_compile` works, which Keras refuses where op determinism is on."""
    config.disable_op_determinism()
    try:
        yield
    finally:
        config.enable_op_determinism()


@contextlib.contextmanager
def eager_models():
    """In this context `fit` traces nothing, which takes longer than a few steps.

    Runs of a comparison are compiled in `test_comparison_engines`, monitored fits in other files.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "run_eagerly", property(lambda self: True, lambda *given: None))
        yield


@pytest.fixture(scope="module")
def eagerly():
    with eager_models():
        yield


@pytest.fixture
def in_graphs(monkeypatch):
    """For single tests of a module that is otherwise tested `eagerly`."""
    monkeypatch.setattr(keras.Model, "run_eagerly", RUN_EAGERLY)


def pytest_generate_tests(metafunc):
    if "rule" in metafunc.fixturenames:
        # What treats all rules alike: two of them, and in `make test-full` the others.
        alike = metafunc.definition.get_closest_marker("alike")
        others = {*RULES} - {SteepestDescent, Adam} if alike else ()
        rules = [
            pytest.param(rule, marks=pytest.mark.full if rule in others else ()) for rule in RULES
        ]
        metafunc.parametrize("rule", rules, ids=[rule.__name__ for rule in RULES])
    if "mode" in metafunc.fixturenames:
        metafunc.parametrize("mode", COMPILE)


def pytest_collection_modifyitems(items):
    """Begin with the longest files: at the end, no process of pytest-xdist works alone."""
    few_tests = ("test_structure", "test_several_machines")  # but long ones
    items.sort(key=lambda item: (item.path.stem not in few_tests, -item.path.stat().st_size))


def make_reproducible():
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()


@pytest.fixture(autouse=True)
def _reproducible():
    make_reproducible()


@pytest.fixture(autouse=True)
def _pictures_drawn_once(monkeypatch):
    """Drawing is most of what the monitor does in a small training; `test_plots` looks closer."""

    def picture(history, quantity):
        names, steps, values = _pictures.layers(history, quantity)
        key = quantity, bool(names), len(steps) > 1, bool(np.isfinite(values).all())
        if key not in DRAWN:
            DRAWN[key] = _pictures.picture(history, quantity)
        return DRAWN[key]

    monkeypatch.setattr(_tensorboard, "_pictures", types.SimpleNamespace(picture=picture))


@pytest.fixture
def float64():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def compiled_updates():
    """For tests of the compiled update, whose networks are too small for it on a CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_compiled, "FEWEST_ON_CPU", 0)
        yield


@pytest.fixture(autouse=True, scope="module")
def _unseen_by_the_collector():
    """A full collection would walk through all that earlier modules traced: up to a minute."""
    gc.freeze()


@pytest.fixture(scope="module")
def rules(request):
    """The rules that the selected tests of a file ask about: one graph, one fit may serve them."""
    asked = {
        test.callspec.params["rule"]
        for test in request.session.items
        if test.path == request.path and {"rule", "rules"} <= {*test.fixturenames}
    }
    return tuple(rule for rule in RULES if rule in asked)
