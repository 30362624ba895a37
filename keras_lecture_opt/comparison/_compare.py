"""The protocol: rungs of runs, the same for every optimizer, on any executor."""

import concurrent.futures
import contextlib
import hashlib
import itertools
import json
import math
import multiprocessing
import os
import pickle
import re
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence

import filelock
import keras
import numpy as np
import tqdm

from keras_lecture_opt._arguments import (
    as_python,
    check_integer,
    check_local_path,
    check_number,
    must_be,
)
from keras_lecture_opt._files import replacing
from keras_lecture_opt.comparison import _order, _run
from keras_lecture_opt.comparison._identity import describe_optimizer, differences, versions
from keras_lecture_opt.comparison._study import Study
from keras_lecture_opt.comparison._workload import Workload


def compare(
    workload: Workload,
    optimizers: dict[str, Callable[[float], keras.optimizers.Optimizer]],
    learning_rates: Iterable[float],
    rungs: Sequence[tuple[int, int]],
    folder: str | os.PathLike[str],
    seeds: int | Sequence[int] = 3,
    choose_by: str = "loss",
    executor: concurrent.futures.Executor | None = None,
    average_last: int = 1,
) -> Study:
    """Train every optimizer at several learning rates; find the best rate of each.

    In the first rung all rates are trained for a few epochs. The better ones go on in the next
    rung, for every optimizer equally many. Each finished epoch is saved: after an interruption,
    even a kill, the same call continues. Several processes may make the same call with one folder
    at the same time, on several machines, too: each run is trained by one of them.

    Args:
        workload: a `Workload`.
        optimizers: dict from names to functions that make an optimizer from a learning rate, such
            as classes of optimizers.
        learning_rates: the learning rates to try, the same for every optimizer.
        rungs: list of `(epochs, rates)`: so many rates of each optimizer are trained up to this
            epoch. The first rung has all rates. `[(20, len(learning_rates))]` is a plain grid.
        folder: where to keep the runs.
        seeds: number of seeds, or list of integers. Each rate is trained with each seed. Defaults
            to 3.
        choose_by: the quantity of the workload by which rates are chosen, as a mean over the
            seeds: "loss", the training loss of an epoch, or one of the validation, such as
            "val_loss". Defaults to "loss".
        executor: a `concurrent.futures.Executor` to run on, such as `process_pool()`, or Dask's
            `Client.get_executor()`. All processes must see the folder. Defaults to None: this
            process.
        average_last: over how many of a rung's last epochs `choose_by` is averaged, for the choice
            and for the results. One epoch may be as noisy as the seeds. Defaults to 1.

    Training needs TensorFlow's op determinism. It stays switched on in this process, where
    functions such as `tf.random.normal` then ask for a seed.

    Returns:
        A `Study`.

    Raises:
        TypeError, ValueError: an argument is not valid, or the folder belongs to another workload
            or to other versions.
        RuntimeError: a process of the executor does not see the folder.
        OSError: the folder cannot be written to, or the disk is full. What is saved stays.
        concurrent.futures.BrokenExecutor: a process of the executor died. What is saved stays.

    Example:

    >>> x = np.random.default_rng(0).normal(size=(64, 3))
    >>> workload = Workload(
    ...     lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]),
    ...     data=(x, x.sum(axis=1)),
    ...     loss="mse",
    ... )
    >>> study = compare(
    ...     workload,
    ...     {"SGD": keras.optimizers.SGD, "Adam": keras.optimizers.Adam},
    ...     learning_rates=[0.01, 0.1],
    ...     rungs=[(1, 2), (3, 1)],
    ...     seeds=2,
    ...     folder="runs/linear",
    ... )
    >>> study.learning_rates
    {'SGD': 0.1, 'Adam': 0.1}
    """
    if not isinstance(workload, Workload):
        raise TypeError(must_be("workload", "a Workload", workload))
    rates = _check_rates(learning_rates)
    optimizers = _check_optimizers(optimizers, rates)
    rungs = _check_rungs(rungs, len(rates))
    seeds = _check_seeds(seeds)
    mode = workload.better("choose_by", choose_by)
    average_last = check_integer("average_last", average_last, 1)
    if executor is not None and not isinstance(executor, concurrent.futures.Executor):
        raise TypeError(must_be("executor", "a concurrent.futures.Executor or None", executor))
    # A process of the executor may work in another directory.
    folder = check_local_path("folder", folder).absolute()
    _claim(folder, workload)
    runs = _make_runs(folder, workload, optimizers, rates, seeds)
    made = {name: make(rates[0]) for name, make in optimizers.items()}
    study = Study(workload, made, rates, rungs, seeds, choose_by, mode, average_last)
    with _Engine(folder, workload, optimizers, executor) as engine:
        for rung, (epochs, _) in enumerate(rungs):
            keys = study.keys(rung)
            engine.train([runs[key] for key in keys], epochs)
            study.add({key: runs[key].rows(epochs) for key in keys})
            study.save(folder)
            for key in {*keys} - {*study.keys(rung + 1)} if rung + 1 < len(rungs) else ():
                _run.keep_results(runs[key])
    return study


def log_grid(low: float, high: float, per_decade: int = 2) -> list[float]:
    """Return learning rates from `low` to `high` in equal steps on a log scale.

    Args:
        low: the smallest rate, > 0.
        high: the largest rate, > `low`; it is included to within half a step.
        per_decade: rates per power of ten. Defaults to 2.

    Returns:
        List of floats, rounded to two digits.

    Example:

    >>> log_grid(0.001, 0.1)
    [0.001, 0.0032, 0.01, 0.032, 0.1]
    """
    for argument, value in (("low", low), ("high", high)):
        check_number(argument, value, "a finite number > 0", lambda x: 0 < x < math.inf)
    if not low < high:
        raise ValueError(must_be("high", f"a number > `low`, {low}", high))
    per_decade = check_integer("per_decade", per_decade, 1)
    steps = round(math.log10(high / low) * per_decade)
    rates = [float(f"{low * 10 ** (i / per_decade):.2g}") for i in range(steps + 1)]
    return list(dict.fromkeys(rates))


def process_pool(workers: int | None = None) -> concurrent.futures.ProcessPoolExecutor:
    """Return an executor of processes on this machine; Ctrl-C reaches only the parent.

    A script that uses it needs `if __name__ == "__main__":` around what it does.

    Args:
        workers: number of processes. Defaults to the number of cores.

    Returns:
        A `concurrent.futures.ProcessPoolExecutor`.
    """
    workers = (os.cpu_count() or 1) if workers is None else check_integer("workers", workers, 1)
    spawn = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    pool = concurrent.futures.ProcessPoolExecutor(workers, spawn, initializer=_watch_parent)
    with _deaf_to_ctrl_c():
        for _ in range(workers):
            pool.submit(int)
    return pool


@contextlib.contextmanager
def _deaf_to_ctrl_c():
    """Ignore Ctrl-C; processes that start in this context ignore it for good."""
    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _watch_parent():
    """End this process when its parent ends, even by a kill."""

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)  # each finished epoch is saved

    threading.Thread(target=watch, daemon=True).start()


def _check_rates(learning_rates):
    allowed = "different finite numbers > 0"
    wrong_type = TypeError(must_be("learning_rates", f"a list of {allowed}", learning_rates))
    if not isinstance(learning_rates, Iterable):
        raise wrong_type
    rates = [as_python(rate) for rate in learning_rates]
    if not all(type(rate) in (int, float) for rate in rates):
        raise wrong_type
    if not rates or not all(0 < r < math.inf for r in rates) or len({*rates}) < len(rates):
        raise ValueError(must_be("learning_rates", allowed, learning_rates))
    return sorted(map(float, rates))


def _check_optimizers(optimizers, rates):
    allowed = "a dict from names to functions that make an optimizer from a learning rate"
    if not isinstance(optimizers, dict) or not optimizers:
        raise TypeError(must_be("optimizers", allowed, optimizers))
    for name, make in optimizers.items():
        if not isinstance(name, str) or not callable(make):
            raise TypeError(must_be("optimizers", allowed, {name: make}))
        if not name.strip() or "|" in name or not name.isprintable():
            names = "names that a table can show, on one line and without |"
            raise ValueError(must_be("optimizers", names, name))
        one, other = make(rates[0]), make(rates[0])
        if not isinstance(one, keras.optimizers.Optimizer):
            found = f"{name!r} makes {one!r}"
            raise TypeError(must_be("optimizers", "functions that make keras optimizers", found))
        if one is other:
            message = "functions that make a new optimizer at each call"
            raise ValueError(must_be("optimizers", message, f"{name!r} makes one twice"))
    return dict(optimizers)


def _check_rungs(rungs, rates):
    allowed = (
        f"(epochs, rates) pairs of integers >= 1, with more epochs and not more rates from rung to "
        f"rung, the first with all {rates} rates"
    )
    try:
        pairs = [(int(as_python(e)), int(as_python(n))) for e, n in rungs]
        exact = pairs == [tuple(pair) for pair in rungs]
    except (OverflowError, TypeError, ValueError) as error:
        raise TypeError(must_be("rungs", allowed, rungs)) from error
    growing = all(a < b and m >= n for (a, m), (b, n) in itertools.pairwise(pairs))
    if not pairs or not exact or not growing or min(map(min, pairs)) < 1 or pairs[0][1] != rates:
        raise ValueError(must_be("rungs", allowed, rungs))
    return pairs


def _check_seeds(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(as_python(seeds), (bool, int, float)):
        return list(range(check_integer("seeds", seeds, 1)))
    allowed = "a number of seeds or a list of different integers >= 0 and < 2**31"
    if isinstance(seeds, str) or not hasattr(seeds, "__iter__"):
        raise TypeError(must_be("seeds", allowed, seeds))
    checked = [check_integer("seeds", seed, 0, 2**31 - 1) for seed in seeds]
    if not checked or len({*checked}) < len(checked):
        raise ValueError(must_be("seeds", allowed, seeds))
    return checked


def _conditions(workload):
    """Return what all runs of a study have in common."""
    return {"workload": workload.description, "versions": versions()}


def _claim(folder, workload):
    """Make the folder this workload's, or raise a ValueError if it is another's."""
    path, description = folder / "study.json", _conditions(workload)
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / "lock"):
        if path.exists():
            try:
                found = differences(json.loads(path.read_text(encoding="utf-8")), description)
            except ValueError as error:
                raise ValueError(f"{path} is not, or not completely, a study's file.") from error
            if found:
                raise ValueError(
                    f"`folder` {folder} holds the study of another workload: {'; '.join(found)}. "
                    "Use another folder."
                )
        else:
            with replacing(path) as part:
                part.write_text(json.dumps(description, indent=1), encoding="utf-8")


def _make_runs(folder, workload, optimizers, rates, seeds):
    """Return all runs by (name, rate, seed); their folders' names hold all that determines them."""
    common, runs = _conditions(workload), {}
    starts = {seed: folder / "starts" / f"seed-{seed}.npz" for seed in seeds}
    hashes = {seed: _start(folder, starts[seed], workload, seed) for seed in seeds}
    for name, make in optimizers.items():
        for rate in rates:
            optimizer = describe_optimizer(make(rate))
            for seed in seeds:
                own = {"name": name, "optimizer": optimizer, "learning_rate": rate, "seed": seed}
                text = json.dumps({**own, "start": hashes[seed], **common}, sort_keys=True)
                known_by = hashlib.sha256(text.encode()).hexdigest()[:16]
                readable = re.sub(r"[^\w.]+", "-", name)[:40]
                place = folder / "runs" / f"{readable},eta={rate:g},seed={seed},{known_by}"
                runs[name, rate, seed] = _run.Run(name, rate, seed, place, starts[seed])
    return runs


def _start(folder, path, workload, seed):
    """Write the start of a seed, if it is not there; return its hash."""
    with filelock.FileLock(folder / "lock"):
        saved = _run.read(path)
        if not saved:
            if path.exists():
                raise ValueError(f"{path} is damaged, or not of a study. Move it away.")
            values, loss = workload.start(seed)
            _run.save(path, values, loss=loss)
            saved = _run.read(path)
        else:
            _check_start(path, saved, workload.new_model("sgd", seed))
    digest = hashlib.sha256()
    for name in sorted({*saved} - {"loss"}):  # the loss differs by a bit between kinds of CPUs
        digest.update(np.ascontiguousarray(saved[name]).data)
    return digest.hexdigest()


def _check_start(path, saved, model):
    """Raise a ValueError if the function `build` makes other weights than those of the folder."""
    for i, variable in enumerate(model.variables):
        # Another machine may round otherwise.
        if not np.allclose(saved[f"v{i}"], variable.numpy(), rtol=1e-3, atol=1e-6):
            raise ValueError(
                f"`build` makes a {variable.path} other than that in {path}, where the runs of "
                "this folder start. Use another folder. If `build` draws random numbers, let "
                "Keras draw them, from the seed."
            )


class _Engine:
    """Trains runs in this process or on an executor.

    While it is in use, a file in the folder holds what the processes of the executor need. They
    stop after the epoch in which it disappears.
    """

    def __init__(self, folder, workload, optimizers, executor):
        self.workload, self.optimizers, self.executor = workload, optimizers, executor
        self.order = folder / "orders" / f"{uuid.uuid4()}.pickle"
        self.lock = _lock_of(self.order)

    def __enter__(self):
        if self.executor is not None:
            order = _order.dumps(self.workload, self.optimizers)
            self.order.parent.mkdir(exist_ok=True)
            for left in self.order.parent.glob("*.pickle"):  # by parents that were killed
                _withdraw(left)
            self.lock.acquire()
            self.order.write_bytes(order)
        return self

    def __exit__(self, *error):
        if self.executor is not None:
            self.lock.release()
            _withdraw(self.order)

    def train(self, runs, epochs):
        """Train the runs up to an epoch; await those that another process trains."""
        rows = {run: run.rows(epochs) for run in runs}
        waiting = [run for run in runs if not _run.ended(rows[run], epochs)]
        total = sum(epochs - len(rows[run]) for run in waiting)
        with tqdm.tqdm(total=total, unit="epoch", desc=f"up to epoch {epochs}") as self.bar:
            while waiting:
                locked = (self._here if self.executor is None else self._there)(waiting, epochs)
                if len(locked) == len(waiting):
                    time.sleep(1)
                waiting = [run for run in locked if not run.is_complete(epochs)]

    def _here(self, runs, epochs):
        """Train in this process; return the runs that another process trains."""
        locked = []
        for run in runs:
            make = self.optimizers[run.optimizer]
            named = f"{run.optimizer}, η {run.learning_rate:g}, seed {run.seed}"
            self.bar.set_description(f"up to epoch {epochs}: {named}")
            if not _run.train(run, self.workload, make, epochs, progress=self.bar.update):
                locked.append(run)
        return locked

    def _there(self, runs, epochs):
        """Train on the executor; return the runs that another command trains."""
        before = sum(len(run.rows(epochs)) for run in runs)
        futures = {self.executor.submit(_train, self.order, run, epochs): run for run in runs}
        try:
            waiting, locked = set(futures), []
            while waiting:
                first = concurrent.futures.FIRST_COMPLETED
                done, waiting = concurrent.futures.wait(waiting, 1, first)
                locked += [futures[future] for future in done if not future.result()]
                self.bar.update(sum(len(run.rows(epochs)) for run in runs) - before - self.bar.n)
            trained = [run for run in runs if run not in locked]
            if lost := [run.folder for run in trained if not run.is_complete(epochs)]:
                raise RuntimeError(
                    f"{len(lost)} runs are not where they should be, such as {lost[0]}. "
                    "All processes of the executor must see `folder` at this path."
                )
            return locked
        except concurrent.futures.BrokenExecutor as error:
            error.add_note("What is saved stays: the same call with a new executor continues.")
            raise
        finally:
            for future in futures:
                future.cancel()


def _lock_of(order):
    return filelock.FileLock(f"{order}.lock")


def _withdraw(order):
    """Delete an order if its process has ended."""
    lock = _lock_of(order)
    with contextlib.suppress(filelock.Timeout, OSError):
        with lock.acquire(timeout=0):
            order.unlink(missing_ok=True)
        os.unlink(lock.lock_file)


def _train(order, run, epochs):
    """Train a run in a process of an executor."""
    try:
        workload, optimizers = pickle.loads(order.read_bytes())
    except FileNotFoundError:  # nobody waits for it now
        return True
    return _run.train(run, workload, optimizers[run.optimizer], epochs, wanted=order.exists)
