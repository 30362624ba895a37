"""One training run, saved after each epoch, resumed after the last one."""

import contextlib
import dataclasses
import errno
import functools
import json
import os
import pathlib
import platform
import threading
import time
import warnings
import zipfile
import zlib
from typing import Any

import filelock
import keras
import numpy as np
import tensorflow as tf

from keras_lecture_opt._files import replacing
from keras_lecture_opt._keras_private import deterministic_ops, global_seed_state
from keras_lecture_opt.comparison._callbacks import Callbacks
from keras_lecture_opt.comparison._models import as_new
from keras_lecture_opt.comparison._search import text

# A run has diverged when its loss over an epoch is not finite, or this many times the loss of the
# network without training.
DIVERGED = 2
STOPPED = "stopped by a callback"  # what the last row says of a run
WATCH = 0.5  # seconds from one look to the next whether a run is still wanted
# What reading a file raises that is damaged or cut off: NumPy, zipfile, zlib, JSON.
DAMAGED: tuple[type[Exception], ...] = (ValueError, KeyError, EOFError, NotImplementedError)
DAMAGED += (RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of a study."""

    optimizer: str  # the name that the study gives to it
    hyperparameters: tuple[tuple[str, Any], ...]  # names, and what the optimizer's function gets
    seed: int  # on which alone weights, order of the batches and dropout depend
    folder: pathlib.Path  # of this run alone
    start: pathlib.Path  # file of the seed's start, as `save` wrote it

    @property
    def learning_rate(self):
        """The one of its hyperparameters that each run has."""
        return dict(self.hyperparameters)["learning_rate"]

    def __str__(self):
        return f"{self.optimizer}, {text(dict(self.hyperparameters))}, seed {self.seed}"

    @property
    def state(self):
        """The file of all that is saved of it."""
        return self.folder / "state.npz"

    def rows(self, epochs):
        """Return the saved results of the first epochs: a list of dicts, one for each epoch.

        A run that a callback stopped stays where it is.
        """
        rows = rows_of(read(self.state, only="rows"))[:epochs]
        if rows and rows[-1].pop(STOPPED, False):
            later = range(len(rows), epochs)
            rows += [{**rows[-1], "epoch": epoch + 1, "seconds": 0.0} for epoch in later]
        return rows


def rows_of(saved):
    """Return the results in what `read` returned."""
    return json.loads(str(saved["rows"])) if saved else []


def ended(rows, epochs):
    """Return whether these are all results of a run of so many epochs."""
    return len(rows) >= epochs or diverged(rows) or (bool(rows) and STOPPED in rows[-1])


def median_seconds(rows):
    """Return how long an epoch took; those after a callback stopped the run took no time."""
    return np.median([row["seconds"] for row in rows if row["seconds"]] or [0.0])


def diverged(rows):
    """Return whether a run diverged, which ended it."""
    return bool(rows) and rows[-1]["diverged"]


def make_optimizer(make, hyperparameters):
    """Return the optimizer that a function makes: it gets the learning rate first."""
    others = dict(hyperparameters)
    return make(others.pop("learning_rate"), **others)


def train(run, workload, make, epochs, wanted=lambda: True, progress=lambda: None):
    """Train a run up to an epoch, from where it was saved last.

    After each epoch `progress` is called. When `wanted` says no, the run ends within a step, and
    the epoch that has begun is lost. Returns False if another process trains the run now.
    """
    with lock(run.folder) as free:
        if not free:
            return False
        saved = read(run.state)
        rows = rows_of(saved)
        if ended(rows, epochs):
            return True
        if "v0" not in saved:  # the results alone were kept, or nothing
            rows = []
        optimizer = make_optimizer(make, dict(run.hyperparameters))
        # Without determinism the last bits may differ from call to call.
        with deterministic_ops(), as_new(workload, optimizer, run.seed) as model:
            variables = [*model.variables, *model.optimizer.variables, global_seed_state()]
            callbacks = Callbacks(workload.new_callbacks(run), model, epochs)
            first = read(run.start)
            if rows and not all(f"v{i}" in saved for i in range(len(variables))):
                warnings.warn(f"{run.state} lacks variables: its run is repeated.", stacklevel=2)
                rows = []
            assign(model.variables, first)
            global_seed_state().assign([run.seed, 0])
            callbacks.all.on_train_begin()
            if rows:
                assign(variables, saved)
                callbacks.restore(saved)
            limit = DIVERGED * first["loss"] if first["loss"] > 0 else np.inf
            while not ended(rows, epochs) and wanted():
                with stopping(model, wanted) as stopped:
                    row = train_epoch(model, workload, run.seed, len(rows), limit, callbacks)
                if stopped.is_set():
                    break
                if callbacks.end_epoch(row) and not row["diverged"]:
                    row[STOPPED] = True
                rows.append(row)
                save(run.state, variables, rows=json.dumps(rows), **callbacks.state())
                progress()
            callbacks.all.on_train_end()
        return True


@contextlib.contextmanager
def stopping(model, wanted):
    """Let the model stop, within a step, when it is not wanted; yield an event that says so."""
    stopped, ended = threading.Event(), threading.Event()

    def watch():
        while not ended.wait(WATCH):
            if not wanted():
                stopped.set()
                model.stop_training = model.stop_evaluating = True

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield stopped
    finally:
        ended.set()
        watcher.join()


def train_epoch(model, workload, seed, epoch, limit, callbacks):
    """Train one epoch; return its row."""
    batches = workload.batches(seed, epoch)
    begun = time.perf_counter()
    options = {"initial_epoch": epoch, "epochs": epoch + 1, "shuffle": False, "verbose": 0}
    history = model.fit(batches, callbacks=callbacks.of_fit, **options).history
    row = {"epoch": epoch + 1, "steps": int(model.optimizer.iterations)}
    row["seconds"] = time.perf_counter() - begun
    row |= {name: values[0] for name, values in history.items()}
    if workload.validation is not None:
        batches = workload.validation_batches()
        logs = model.evaluate(batches, verbose=0, return_dict=True, callbacks=callbacks.of_evaluate)
        row |= {f"val_{name}": value for name, value in logs.items()}
    row["diverged"] = not (np.isfinite(row["loss"]) and row["loss"] <= limit)
    row["device"] = f"{gpu_name() or machine()}, Python {platform.python_version()}"
    return row


@functools.cache
def gpu_name():
    """Return the name of the first GPU that TensorFlow sees, or None."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return None
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")


def machine():
    """Return the processor, the cores and, where the system tells it, the memory."""
    name, memory = platform.machine(), ""
    with contextlib.suppress(OSError):  # only Linux has this file
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        name = next(named, name)
    with contextlib.suppress(AttributeError, OSError, ValueError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        memory = f", {memory:.0f} GiB"
    return f"{name}, {os.cpu_count()} cores{memory}"


@contextlib.contextmanager
def lock(folder):
    """Yield whether the folder was free; it is this process's within the context."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder / "lock", timeout=0):
            yield True
    except filelock.Timeout:
        yield False


def save(path, variables, **facts):
    """Write variables and facts into one file, all or nothing."""
    values = {f"v{i}": np.asarray(v) for i, v in enumerate(variables)}
    path.parent.mkdir(parents=True, exist_ok=True)
    hint = "What was saved before stays: the same call continues there"
    with replacing(path, f"{{}} cannot be written: {{}}. {hint}") as part, part.open("wb") as file:
        np.savez(file, **facts, **values)


def read(path, only=None):
    """Return what `save` wrote, or only one part of it, as a dict.

    It is empty if there is no such file, and, after a warning, if the file is damaged.
    """
    try:
        with path.open("rb") as binary, np.load(binary) as file:
            return {name: file[name] for name in ([only] if only else file.files)}
    except FileNotFoundError:
        return {}
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a wrong offset
            raise
        warnings.warn(f"{path} is damaged ({error}): its run is repeated.", stacklevel=2)
        return {}


def assign(variables, saved):
    """Give variables the values that were saved, in their order."""
    for i, variable in enumerate(variables):
        value = saved[f"v{i}"]
        if value.dtype.kind == "V":  # NumPy's files know no bfloat16
            dtype = keras.backend.standardize_dtype(variable.dtype)
            value = value.view(tf.as_dtype(dtype).as_numpy_dtype)
        variable.assign(value)


def keep_results(run):
    """Delete the weights of a run that does not go on."""
    with lock(run.folder) as free:
        saved = read(run.state)
        if free and "v0" in saved:
            save(run.state, [], rows=saved["rows"])
