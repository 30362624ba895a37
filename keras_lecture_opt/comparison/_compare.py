"""The protocol: rungs of runs, the same for every optimizer, on any executor."""

import concurrent.futures
import hashlib
import itertools
import json
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import filelock
import keras
import numpy as np

from keras_lecture_opt._arguments import (
    check_integer,
    check_local_path,
    check_number,
    check_text,
    must_be,
)
from keras_lecture_opt._files import make_folder, replacing
from keras_lecture_opt.comparison import _identity, _proposals, _run, _search
from keras_lecture_opt.comparison._engine import Engine, check_executor, say
from keras_lecture_opt.comparison._study import Study
from keras_lecture_opt.comparison._workload import Workload

# With a limit of time, runs of the later rungs are trained in so many parts: what all runs have of
# a part is not lost.
PARTS = 4


def compare(
    workload: Workload,
    optimizers: dict[str, Callable[..., keras.optimizers.Optimizer]],
    learning_rates: Iterable[float] | None = None,
    rungs: Sequence[tuple[int, int]] | None = None,
    folder: str | os.PathLike[str] | None = None,
    seeds: int | Sequence[int] = 3,
    choose_by: str = "loss",
    executor: concurrent.futures.Executor | None = None,
    *,
    average_last: int = 1,
    search: dict[str, Any] | None = None,
    trials: int | None = None,
    seconds: float | None = None,
) -> Study:
    """Train every optimizer with several hyperparameters; find the best ones of each.

    In the first rung all learning rates, or all trials of a search, are trained for a few epochs.
    The better ones go on in the next rung, for every optimizer equally many. Each finished epoch is
    saved: after an interruption, even a kill, the same call continues. Several processes, on
    several machines, too, may make the same call with one folder at the same time and share the
    runs. Training is deterministic: TensorFlow's op determinism is on while runs are trained.

    Args:
        workload: a `Workload`.
        optimizers: dict from names to functions that make an optimizer from a learning rate, such
            as classes of optimizers. In a search they get the other hyperparameters by name.
        learning_rates: the rates to try, the same for every optimizer. Defaults to None: those of
            `search`; without it five for each optimizer, half a power of ten apart, around the one
            that `find_learning_rate` finds with the first seed.
        rungs: list of `(epochs, trials)`: so many learning rates, or trials of a search, of each
            optimizer are trained up to this epoch. The first rung has all of them; alone it is a
            plain grid. Required.
        folder: where to keep the runs. Required.
        seeds: number of seeds, at most 1000, or list of integers; each trial is trained with each.
            Defaults to 3.
        choose_by: the quantity of the workload by which trials are chosen, as a mean over the
            seeds: "loss", the training loss of an epoch, or such as "val_loss". Defaults to "loss".
        executor: a `concurrent.futures.Executor` to run on, such as `process_pool()` or Dask's
            `Client.get_executor()`. All processes must see the folder. Defaults to this process.
        average_last: over how many of a rung's last epochs `choose_by` is averaged, for the choice
            and for the results. One epoch may be as noisy as the seeds. Defaults to 1.
        search: dict from names of hyperparameters, with "learning_rate", to what to try. A tuple
            `(low, high)` is a range, on a log scale if `low` > 0. A list has the values
            themselves. An optimizer gets those that its function takes by name. Ranges for one
            optimizer alone are a dict under the optimizer's name. Defaults to None.
        trials: in a search, how many points each optimizer gets: quasi-random ones, the first of
            Halton's sequence. More trials begin with those of fewer.
        seconds: stop after this time, finding rates included, and return what is complete: in the
            first rung the trials that every optimizer has with all seeds, later the epochs that all
            runs have. The same call continues. Defaults to None: no limit.

    Returns:
        A `Study`.

    Raises:
        TypeError, ValueError: an argument is not valid, or the folder belongs to another workload
            or to other versions.
        TimeoutError: after `seconds`, not every optimizer has a learning rate, or no trial is
            complete for every optimizer. After this and the next ones, what is saved stays.
        RuntimeError: a process of the executor does not see the folder.
        OSError: the folder cannot be written to, its file system has no locks, or the disk is full.
        concurrent.futures.BrokenExecutor: a process of the executor died.

    Example:

    >>> x = np.random.default_rng(0).normal(size=(64, 3))
    >>> workload = Workload(
    ...     lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]),
    ...     data=(x, x.sum(axis=1)),
    ...     loss="mse",
    ... )
    >>> optimizers = {"SGD": keras.optimizers.SGD, "Adam": keras.optimizers.Adam}
    >>> study = compare(
    ...     workload,
    ...     optimizers,
    ...     learning_rates=[0.01, 0.1],
    ...     rungs=[(1, 2), (3, 1)],
    ...     seeds=2,
    ...     folder="runs/linear",
    ... )
    >>> study.learning_rates
    {'SGD': 0.1, 'Adam': 0.1}

    With `search={"learning_rate": (0.01, 0.3), "momentum": [0.0, 0.9]}, trials=4` instead of
    `learning_rates`, `SGD` is trained at four points of both, and `Adam` at four rates.
    """
    begun = time.monotonic()
    if not isinstance(workload, Workload):
        raise TypeError(must_be("workload", "a Workload", workload))
    optimizers = _check_optimizers(optimizers)
    if learning_rates is not None and search is not None:
        raise TypeError("`compare` must get either `learning_rates` or `search`.")
    if search is not None:
        tried = _search.quasi_random(search, trials, optimizers)
    elif trials is not None:
        raise TypeError(must_be("trials", "None without a `search`", trials))
    elif learning_rates is not None:
        tried = _search.grid(learning_rates, optimizers)
    else:  # those around the proposals come later: the same number
        tried = {name: _proposals.around(_proposals.BASIS) for name in optimizers}
    made = _make_once(optimizers, tried)
    rungs = _check_rungs(rungs, len(tried[next(iter(tried))]))
    seeds = _check_seeds(seeds)
    mode = workload.better("choose_by", choose_by)
    average_last = check_integer("average_last", average_last, 1)
    check_executor(executor)
    seconds = math.inf if seconds is None else seconds
    seconds = check_number("seconds", seconds, "a number > 0 or None", lambda x: x > 0)
    # A process of the executor may work in another directory.
    folder = check_local_path("folder", folder).absolute()
    _claim(folder, workload)
    proposals = {}
    try:
        if learning_rates is None and search is None:
            end = begun + seconds
            proposals = _proposals.propose(workload, optimizers, made, seeds[0], folder, end)
            tried = {name: _proposals.around(found["rate"]) for name, found in proposals.items()}
        runs = _make_runs(folder, workload, optimizers, tried, seeds)
        study = Study(workload, made, tried, rungs, seeds, choose_by, mode, average_last)
        study.proposals = proposals
        with Engine(folder, workload, optimizers, executor, seconds, begun) as engine:
            _train(study, runs, engine, folder)
    except KeyboardInterrupt:
        text = f"Interrupted. {folder} keeps each epoch that ended: the same call continues."
        raise KeyboardInterrupt(text) from None
    return study


def _train(study, runs, engine, folder):
    """Train the rungs of a study; let it end earlier if there is no time."""
    rungs, parts = study.rungs, 1 if engine.seconds == math.inf else PARTS
    each = len(study.names) * len(study.seeds)
    growth = [b - a for a, b in itertools.pairwise([0, *(epochs for epochs, _ in rungs)])]
    planned = [each * count * more for (_, count), more in zip(rungs, growth, strict=True)]
    steps = ", then ".join(f"{each * count} up to epoch {epochs}" for epochs, count in rungs)
    say(f"Trainings: {steps}. At most {sum(planned):,} epochs.")
    order = {trial: i for i, trial in enumerate(study.trials[study.names[0]])}
    for rung, (epochs, _) in enumerate(rungs):
        keys = study.keys(rung)
        if engine.seconds < math.inf:  # the first trials of all optimizers, then the next ones
            inturn = sorted(keys, key=lambda key: order[key[1]])
        else:  # so runs that share a traced model follow each other
            inturn = sorted(keys, key=lambda key: (key[0], key[2]))
        for part in range(1, 1 + parts) if rung else [parts]:
            up_to = epochs - growth[rung] * (parts - part) // parts
            later = len(keys) * (epochs - up_to) + sum(planned[rung + 1 :])
            engine.train([runs[key] for key in inturn], up_to, later)
        rows = {key: runs[key].rows(epochs) for key in keys}
        if not all(_run.ended(of_run, epochs) for of_run in rows.values()):
            study.end_early(rows, engine.seconds)
            study.save(folder)
            return
        study.add(rows)
        study.save(folder)
        for key in {*keys} - {*study.keys(rung + 1)} if rung + 1 < len(rungs) else ():
            _run.keep_results(runs[key])


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
    begin, end = math.log10(low), math.log10(high)
    steps = round((end - begin) * per_decade)
    rates = [float(f"{10 ** (begin + i / per_decade):.2g}") for i in range(steps + 1)]
    return list(dict.fromkeys(rates))


def _check_optimizers(optimizers):
    allowed = "a dict from names to functions that make an optimizer from a learning rate"
    if not isinstance(optimizers, dict) or not optimizers:
        raise TypeError(must_be("optimizers", allowed, optimizers))
    for name, make in optimizers.items():
        if not isinstance(name, str) or not callable(make):
            raise TypeError(must_be("optimizers", allowed, {name: make}))
        names = "names that a table and a legend can show: a line without | that no _ begins"
        message = must_be("optimizers", names, name)
        if not name.strip() or "|" in name or not name.isprintable() or name.startswith("_"):
            raise ValueError(message)
        check_text(name, message)
    return dict(optimizers)


def _make_once(optimizers, tried):
    """Return an optimizer of each kind; raise if a function makes something else."""
    result = {}
    for name, make in optimizers.items():
        for values in tried[name].values():
            result.setdefault(name, one := _run.make_optimizer(make, values))
            if not isinstance(one, keras.optimizers.Optimizer):
                found = f"{name!r} makes {one!r}"
                message = "functions that make keras optimizers"
                raise TypeError(must_be("optimizers", message, found))
        if _run.make_optimizer(make, values) is one:
            message = "functions that make a new optimizer at each call"
            raise ValueError(must_be("optimizers", message, f"{name!r} makes one twice"))
    return result


def _check_rungs(rungs, trials):
    allowed = (
        f"(epochs, trials) pairs of integers >= 1, with more epochs and not more trials from rung "
        f"to rung, the first with all {trials} of them"
    )
    try:
        pairs = [(int(epochs), int(count)) for epochs, count in rungs]
        exact = pairs == [tuple(pair) for pair in rungs]
    except (OverflowError, TypeError, ValueError) as error:
        raise TypeError(must_be("rungs", allowed, rungs)) from error
    growing = all(a < b and m >= n for (a, m), (b, n) in itertools.pairwise(pairs))
    if not pairs or not exact or not growing or min(map(min, pairs)) < 1 or pairs[0][1] != trials:
        raise ValueError(must_be("rungs", allowed, rungs))
    return pairs


def _check_seeds(seeds: Any) -> list[int]:
    if isinstance(seeds, (int, float, np.generic, np.ndarray)) and not np.ndim(seeds):
        # Of more, someone has taken the argument for the seed itself.
        return list(range(check_integer("seeds", seeds, 1, 1000)))
    allowed = "a number of seeds or a list of different integers >= 0 and < 2**31"
    if isinstance(seeds, str) or not hasattr(seeds, "__iter__"):
        raise TypeError(must_be("seeds", allowed, seeds))
    checked = [check_integer("seeds", seed, 0, 2**31 - 1) for seed in seeds]
    if not checked or len({*checked}) < len(checked):
        raise ValueError(must_be("seeds", allowed, seeds))
    return checked


def _claim(folder, workload):
    """Make the folder this workload's, or raise a ValueError if it is another's."""
    path, here = folder / "study.json", _identity.conditions(workload)
    make_folder("folder", folder)
    _check_locks(folder)
    with filelock.FileLock(folder / "lock"):
        if path.exists():
            try:
                there = json.loads(path.read_text(encoding="utf-8"))
                found = _identity.differences(*map(_identity.without_comments, (there, here)))
            except ValueError as error:
                raise ValueError(f"{path} is not, or not completely, a study's file.") from error
            if found:
                raise ValueError(
                    f"`folder` {folder} holds the study of another workload: {'; '.join(found)}. "
                    "Use another folder."
                )
        else:
            with replacing(path) as part:
                part.write_text(json.dumps(here, indent=1), encoding="utf-8")


def _check_locks(folder):
    """Raise an OSError if the file system has no locks: two processes would train one run."""
    try:
        import fcntl
    except ImportError:  # Windows, which always has them
        return
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # another process has it
            return
        except OSError as error:
            message = f"The file system of `folder` {folder} has no locks (flock: {error.strerror})"
            raise OSError(error.errno, f"{message}. Use a folder on another one.") from error


def _make_runs(folder, workload, optimizers, tried, seeds):
    """Return all runs by (name, trial, seed); their folders' names hold all that determines them.

    Warns of those that are trained again because a function now makes another optimizer.
    """
    runs, again = {}, []
    starts = {seed: folder / "starts" / f"seed-{seed}.npz" for seed in seeds}
    hashes = {seed: _start(folder, starts[seed], workload, seed) for seed in seeds}
    there = {path.name for path in (folder / "runs").glob("*")}
    for name, make in optimizers.items():
        readable = re.sub(r"[^\w.]+", "-", name)[:40]
        for trial, values in tried[name].items():
            optimizer = _identity.describe_optimizer(_run.make_optimizer(make, values))
            (_, rate), *others = values.items()
            named = "".join(f",{key}={value}" for key, value in others)
            named = re.sub(r"[^\w.,=+-]+", "-", f"eta={rate:g}{named}")[:100]
            for seed in seeds:
                own = {"name": name, "optimizer": optimizer, "learning_rate": rate, "seed": seed}
                own |= {"hyperparameters": dict(others)} if others else {}
                own |= {"start": hashes[seed], **_identity.conditions(workload)}
                begin = f"{readable},{named},seed={seed},"
                place = begin + _identity.digest(own)
                if place not in there and any(other.startswith(begin) for other in there):
                    again.append(place)
                runs[name, trial, seed] = _run.Run(
                    name, (*values.items(),), seed, folder / "runs" / place, starts[seed]
                )
    if again:
        warnings.warn(
            f"{len(again)} of {len(runs)} runs are trained again: `folder` {folder} has them for "
            "other optimizers of the same names, with other arguments or other source. Those stay "
            f"there. One of the new ones is {again[0]}.",
            stacklevel=3,
        )
    return runs


def _start(folder, path, workload, seed):
    """Return the hash of a seed's start, which is written if it is not there."""
    with filelock.FileLock(folder / "lock"):
        saved = _run.read(path)
        if saved:
            for i, variable in enumerate(workload.new_model("sgd", seed).variables):
                # Another machine may round otherwise.
                if not np.allclose(saved[f"v{i}"], variable.numpy(), rtol=1e-3, atol=1e-6):
                    raise ValueError(
                        f"`build` makes a {variable.path} other than that in {path}, where the "
                        "runs of this folder start. Use another folder. If `build` draws random "
                        "numbers, let Keras draw them, from the seed."
                    )
        elif path.exists():
            raise ValueError(f"{path} is damaged, or not of a study. Move it away.")
        else:
            values, loss = workload.start(seed)
            _run.save(path, values, loss=loss)
            saved = _run.read(path)
    digest = hashlib.sha256()
    for name in sorted({*saved} - {"loss"}):  # the loss differs by a bit between kinds of CPUs
        digest.update(np.ascontiguousarray(saved[name]).data)
    return digest.hexdigest()
