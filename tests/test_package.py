"""What others install: the wheel away from the clone, the source archive, the type hints."""

import inspect
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import types

import pytest

import keras_lecture_opt as k
from keras_lecture_opt.monitor._history import History

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "keras_lecture_opt"
PUBLIC = [
    *(vars(k)[name] for name in k.rules.__all__),
    *(k.effective_learning_rate, k.effective_learning_rate.register, k.has_formula),
    *(k.EffectiveLearningRateMonitor, k.mnist.load, k.mnist.mlp, History),
    *(k.explorer.save, k.explorer.show, k.check, k.find_learning_rate),
    *(k.finder.FoundLearningRate, k.finder.ScaledSchedule, k.landscapes.Surface),
    *(k.landscapes.Descent, k.landscapes.descend, k.plots.color),
    *(vars(k.plots)[name] for name in k.plots.__all__ if name not in ("color", "COLORS")),
    *(vars(k.comparison)[name] for name in k.comparison.__all__),
    *(k.several_machines.is_chief, k.several_machines.DistributedModel, k.several_machines.Backup),
]

ELSEWHERE = """
import gzip, pathlib, sys
import numpy as np
import keras_lecture_opt as k
assert "keras_lecture_opt.plots" not in sys.modules  # matplotlib takes a second to load
assert {"landscapes", "plots", "comparison"} <= set(dir(k))
assert k.landscapes.descend and k.plots.color and k.comparison.compare
assert k.mnist.load and k.rules.RULES
import tensorflow as tf
[cpu] = tf.config.list_physical_devices("CPU")  # fails once TensorFlow has initialized them
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_lecture_opt import Adam, explorer, mnist

assert pathlib.Path(k.__file__).is_relative_to(sys.argv[1]), k.__file__
with gzip.open(mnist.ARCHIVES / "t10k-images-idx3-ubyte.gz") as file:
    x = np.frombuffer(file.read(), "uint8", offset=16).reshape(-1, 28, 28)[:128]
with gzip.open(mnist.ARCHIVES / "t10k-labels-idx1-ubyte.gz") as file:
    y = np.frombuffer(file.read(), "uint8", offset=8)[:128]
assert y[:5].tolist() == [7, 2, 1, 0, 4]
model = mnist.mlp(hidden=[32])
model.compile(Adam(0.01), "sparse_categorical_crossentropy", run_eagerly=True)
first, second = model.train_on_batch(x, y), model.train_on_batch(x, y)
assert second < first
explorer.save("page.html")
"""


def files_in(folder):
    """The files of a folder, by their paths in it, without what Python and tools put there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not {"__pycache__", "checkpoint"} & {*path.parts}
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the wheel and the source archive of a copy of this repository."""
    folder = tmp_path_factory.mktemp("built")
    # Without the list of files that an earlier build has left, and without anybody's runs.
    made = ("*.egg-info", "__pycache__", "build", "dist", "site", "tb_logs")
    ignored = shutil.ignore_patterns(".*", *made)
    shutil.copytree(ROOT, folder / "clone", ignore=ignored)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, folder / "clone"],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.mark.full
def test_wheel_works_away_from_the_clone_and_prints_nothing(built, tmp_path):
    [wheel] = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    subprocess.run([*pip, "--no-index", "--target", tmp_path / "site", wheel], check=True)
    assert files_in(tmp_path / "site" / PACKAGE.name) == files_in(PACKAGE)

    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "error", "-c", ELSEWHERE, tmp_path / "site"]
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert (tmp_path / "page.html").stat().st_size > 1e6


@pytest.mark.full
def test_source_archive_holds_the_tests_and_what_they_read(built):
    [archive] = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        held = {name.partition("/")[2] for name in file.getnames()}
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a clone")
    git = ["git", "ls-files", ":!.*", ":!tb_logs"]
    listed = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True)
    assert {*listed.stdout.split()} <= held


def public_functions(thing):
    """The function, or a class's `__init__` and its public methods.

    What overrides a method has its types: `update_step` looks as on the slide.
    """
    if inspect.isfunction(thing):
        return [thing]
    return [
        method.fget if isinstance(method, property) else inspect.unwrap(method)
        for name, method in vars(thing).items()
        if isinstance(method, (types.FunctionType, property)) and not name.startswith("_")
        if not any(hasattr(base, name) for base in thing.__mro__[1:])
    ] + [f for name, f in vars(thing).items() if name == "__init__"]


def missing_hints(function):
    """The parameters without a type; "return" if the result has none."""
    signature = inspect.signature(function)
    hints = {p.name: p.annotation for p in signature.parameters.values() if p.name != "self"}
    if function.__name__ != "__init__":
        hints["return"] = signature.return_annotation
    return {name for name, hint in hints.items() if hint is signature.empty}


@pytest.mark.parametrize("thing", PUBLIC, ids=lambda thing: thing.__qualname__)
def test_public_functions_have_type_hints(thing):
    functions = public_functions(thing)
    assert functions
    assert {f.__qualname__: missing_hints(f) for f in functions if missing_hints(f)} == {}
