"""What a comparison found."""

import csv
import json
import math
import os
import pathlib
import shlex
import sys
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_lecture_opt._arguments import check_integer, check_local_path, must_be
from keras_lecture_opt._files import replacing
from keras_lecture_opt.comparison import _differences, _report, _search, _statistics, _tables
from keras_lecture_opt.comparison._identity import describe_optimizer, versions
from keras_lecture_opt.comparison._run import diverged, ended, median_seconds

Rows = list[dict[str, Any]]
# What a study is made with, what it has of its workload, and what was trained, whatever
# `average_last` is set to later.
PROTOCOL = ("rungs", "seeds", "choose_by", "mode", "average_last")
WORKLOAD = ("description", "quantities", "target")
TRAINED = ("command", "versions", "rates", "alive", "stopped")


class Study:
    """What `compare` returns: all results, and what follows from them.

    Attributes:
        names: names of the optimizers.
        trials: for each name, a dict from what identifies a trial to its hyperparameters, a dict.
            In a grid that is the learning rate. In a search, or with rates that were found for each
            optimizer, it is the trial's number.
        rates: all learning rates of a grid, sorted; else all numbers of trials.
        rungs: list of `(epochs, rates)`: so many rates were trained up to this epoch.
        seeds: list of the seeds.
        choose_by: the quantity by which rates were chosen.
        mode: "min" or "max", which of its values are better.
        average_last: over how many epochs its values are averaged. It may be set: what was trained
            stays, and the choice in the last rung, the ranking and the report follow.
        optimizers: dict from the names to descriptions: class and configuration.
        results: dict from `(name, rate, seed)` to the rows of that run.
        alive: for each rung, a dict from the names to the rates that were trained in it.
        stopped: after how many seconds training was stopped before its end; None if it was not.
        proposals: what `find_learning_rate` found for each name, if the rates lie around that: a
            dict with `rate`, the `steps` that it took, and its `text`.
    """

    def __init__(
        self,
        workload: Any,
        optimizers: dict[str, Any],
        trials: dict[str, dict[Any, dict[str, Any]]],
        rungs: Sequence[tuple[int, int]],
        seeds: list[int],
        choose_by: str,
        mode: str,
        average_last: int = 1,
    ):
        self.names = list(optimizers)
        self.optimizers = {name: describe_optimizer(one) for name, one in optimizers.items()}
        self.trials, self.rates = trials, sorted(trials[self.names[0]])
        self.rungs, self.seeds = rungs, seeds
        self.choose_by, self.mode, self.average_last = choose_by, mode, average_last
        self.results: dict[tuple[str, Any, int], Rows] = {}
        self.target, self.description = workload.target, workload.description
        self.quantities = workload.quantities
        self.command, self.versions = shlex.join(["python", *sys.argv]), versions()
        self.sign = -1 if mode == "max" else 1  # times a value: less is better
        self.alive = [dict.fromkeys(self.names, self.rates)]
        self.stopped: float | None = None
        self.proposals: dict[str, dict[str, Any]] = {}

    @property
    def average_last(self) -> int:
        return self._average_last

    @average_last.setter
    def average_last(self, epochs):
        self._average_last = check_integer("average_last", epochs, 1)

    @property
    def learning_rates(self) -> dict[str, float | None]:
        """Dict from the names to the chosen rates; None where every rate diverged."""
        chosen = self.hyperparameters
        return {name: own["learning_rate"] if own else None for name, own in chosen.items()}

    @property
    def hyperparameters(self) -> dict[str, dict[str, Any] | None]:
        """Dict from the names to the chosen hyperparameters; None where every trial diverged."""
        chosen = {name: self.trials[name].get(self._chosen(name)) for name in self.names}
        return {name: values and dict(values) for name, values in chosen.items()}

    @property
    def is_grid(self) -> bool:
        """Whether one grid of learning rates was tried, the same for every optimizer."""
        return isinstance(self.rates[0], float)

    def _chosen(self, name):
        values = dict(zip(self.alive[-1][name], self.values(name, -1), strict=True))
        rate = min(values, key=lambda rate: _statistics.rank(values[rate]), default=None)
        return rate if rate is not None and np.isfinite(values[rate]).any() else None

    def runs(self, name: str) -> list[Rows]:
        """Return the rows at the chosen rate, a list for each seed; no list if none was chosen."""
        rate = self._chosen(name)
        return [] if rate is None else [self.results[name, rate, seed] for seed in self.seeds]

    def keys(self, rung: int) -> list[tuple[str, Any, int]]:
        """Return the runs of a rung: list of `(name, rate, seed)`."""
        return [(n, r, s) for n in self.names for r in self.alive[rung][n] for s in self.seeds]

    def add(self, results: dict[tuple[str, Any, int], Rows]) -> None:
        """Add all results of a rung; the next one gets its better rates."""
        self.results |= results
        rung = len(self.alive) - 1
        if rung + 1 < len(self.rungs):
            _, count = self.rungs[rung + 1]
            self.alive.append({name: self._ranked(name, rung)[:count] for name in self.names})

    def end_early(self, results: dict[tuple[str, Any, int], Rows], seconds: float) -> None:
        """Make of an incomplete rung what is the same for every optimizer, and end there.

        Args:
            results: what the runs of the rung have, up to its last epoch.
            seconds: how long was trained.

        Raises:
            TimeoutError: there is nothing.
        """
        rung = len(self.alive) - 1
        epochs, count = self.rungs[rung]
        self.stopped = seconds
        if rung:
            epochs = min([epochs, *(len(rows) for rows in results.values() if not diverged(rows))])
            self.rungs = [*self.rungs[:rung], (epochs, count)]
            if epochs > self.rungs[rung - 1][0]:
                self.results |= {key: rows[:epochs] for key, rows in results.items()}
            else:
                del self.rungs[rung], self.alive[rung]
            return
        lacking = {key[1] for key, rows in results.items() if not ended(rows, epochs)}
        self.rates = [rate for rate in self.rates if rate not in lacking]
        if not self.rates:
            trained = sum(map(len, results.values()))
            raise TimeoutError(
                f"`seconds`, {seconds:g}, were too few: no trial is at epoch {epochs} with every "
                f"optimizer and seed. {trained} of {len(results) * epochs} epochs of the first "
                "rung are saved: the same call continues."
            )
        self.rungs = [(epochs, len(self.rates))]
        self.alive = [dict.fromkeys(self.names, self.rates)]
        self.results = {key: results[key] for key in self.keys(0)}

    def values(self, name: str, rung: int, average_last: int | None = None) -> np.ndarray:
        """Return what an optimizer reached at the end of a rung, averaged over the last epochs.

        Args:
            name, rung: of the optimizer, and the position in `rungs`.
            average_last: over how many epochs. Defaults to the study's.

        Returns:
            Array (rates of that rung, seeds) of `choose_by`, of which less is better: infinity for
            runs that diverged, the sign changed where more is better.
        """
        epochs, _ = self.rungs[rung]
        if average_last is not None:
            average_last = check_integer("average_last", average_last, 1)
        begin = max(0, epochs - (average_last or self.average_last))

        def value(rate, seed):
            rows = self.results[name, rate, seed][:epochs]
            if len(rows) < epochs or diverged(rows):
                return math.inf
            mean = self.sign * np.mean([row[self.choose_by] for row in rows[begin:]])
            return math.inf if math.isnan(mean) else mean

        table = [[value(rate, seed) for seed in self.seeds] for rate in self.alive[rung][name]]
        return np.array(table).reshape(-1, len(self.seeds))

    def _ranked(self, name, rung):
        """Return the rates of a rung that diverged with no seed and may go on, best first."""
        rates, means = self.alive[rung][name], self.values(name, rung).mean(axis=1)
        return [rates[i] for i in np.argsort(means, kind="stable") if means[i] < math.inf]

    def rows(self) -> Rows:
        """Return all results, for a CSV file or a table: a list of dicts, one for each epoch.

        `rung` is the one, from 1, in which the epoch was trained, and `chosen` whether the rate was
        chosen in the end. `steps` and `seconds`, of training alone, count from the run's begin. If
        no grid was tried, `trial` is its number, and each hyperparameter has a column.
        """
        result, chosen = [], {name: self._chosen(name) for name in self.names}
        searched = {key: "" for trials in self.trials.values() for key in trials[self.rates[0]]}
        for (name, rate, seed), rows in self.results.items():
            seconds = 0.0
            for row in rows:
                seconds += row["seconds"]
                own = {"optimizer": name} | ({} if self.is_grid else {"trial": rate})
                own |= {**searched, **self.trials[name][rate], "seed": seed}
                own["chosen"] = rate == chosen[name]
                own["rung"] = 1 + sum(row["epoch"] > epochs for epochs, _ in self.rungs)
                result.append({**own, **row, "seconds": seconds})
        return result

    def ranking(self) -> Rows:
        """Return what each optimizer reached, the best first, as a list of dicts.

        Keys: `optimizer`; `learning_rate`, the chosen one, None if each rate diverged with all
        seeds; `hyperparameters`, a dict of all that were chosen, or None; `values` of `choose_by`
        at the end, one for each seed, NaN for those that diverged; `mean`, the geometric one where
        all are positive; `diverged`, how many of the seeds; `difference` from the best, a
        `Difference` whose `first` is this optimizer, None of the best itself; `at_edge`, whether a
        better rate may lie beyond those that were tried; `at_inner_edge`, whether it is the lowest
        or the highest of at least three rates of a grid that were compared last; `same_choice`, how
        often the search, repeated with resampled seeds, chooses the same; `to_target`, medians over
        the seeds of epochs, steps and seconds (epochs times the run's median epoch) to the target,
        infinity where no more than half reach it; `reached`, how many do; `epoch_seconds`, the
        median.
        """
        differences = {(d.first, d.second): d for d in self.differences()}
        names = self._ranked_names()
        return [self._reached(name, differences.get((name, names[0]))) for name in names]

    def _ranked_names(self):
        def key(name):
            end = self._end(name)
            finite = end[np.isfinite(end)]
            return len(finite) == 0, len(end) - len(finite), self.sign * mean(self.sign * finite)

        return sorted(self.names, key=key)

    def _reached(self, name, difference):
        end, rate, runs = self._end(name), self._chosen(name), self.runs(name)
        entry = {"optimizer": name, "learning_rate": self.learning_rates[name]}
        entry |= {"hyperparameters": self.hyperparameters[name], "difference": difference}
        if rate is None:
            return entry
        targets = [self._to_target(rows) for rows in runs]
        rungs = (rates[name] for rates in reversed(self.alive))
        compared = next((rates for rates in rungs if len(rates) > 1), [])
        is_inner = self.is_grid and len(compared) > 2
        return entry | {
            "values": np.where(np.isfinite(end), self.sign * end, np.nan),
            "mean": mean(self.sign * end[np.isfinite(end)]),
            "diverged": int(np.isinf(end).sum()),
            "at_edge": self._at_edge(name, rate, self.rates),
            "at_inner_edge": is_inner and self._at_edge(name, rate, compared),
            "same_choice": _statistics.same_choice(
                [self.values(name, rung) for rung in range(len(self.rungs))],
                [alive[name].index(rate) for alive in self.alive],
                [count for _, count in self.rungs[1:]] + [1],
            ),
            "to_target": np.median(targets, axis=0),
            "reached": sum(epochs < math.inf for epochs, *_ in targets),
            "epoch_seconds": median_seconds([row for rows in runs for row in rows]),
        }

    def _at_edge(self, name, chosen, among):
        """Return whether the chosen learning rate is the lowest or the highest of several.

        Of a few trials of a search one is so often the lowest that it says nothing.
        """
        rates = {rate: self.trials[name][rate]["learning_rate"] for rate in among}
        several = len(rates) > (1 if self.is_grid else 4)
        return several and rates[chosen] in (min(rates.values()), max(rates.values()))

    def _to_target(self, rows):
        """Return epochs, steps and seconds up to the target."""
        quantity, goal, mode = self.target or (None, None, None)
        for i, row in enumerate(rows if self.target else ()):
            value = row[quantity]
            if value >= goal if mode == "max" else value <= goal:
                return row["epoch"], row["steps"], (i + 1) * median_seconds(rows)
        return math.inf, math.inf, math.inf

    def _end(self, name, average_last=None):
        """Return the last values at the chosen rate, one for each seed; less is better."""
        rate = self._chosen(name)
        if rate is None:
            return np.full(len(self.seeds), math.inf)
        return self.values(name, -1, average_last)[self.alive[-1][name].index(rate)]

    def differences(self) -> list[_differences.Difference]:
        """Return `comparison.differences` of the values at the end, for each pair of optimizers.

        The names are those of the ranking, the last one first: a ratio says how many times the
        value of the better one the other one reaches.
        """
        ends, names = self.ends(), reversed(self._ranked_names())
        return _differences.differences({name: ends[name] for name in names}, self.mode)

    def ends(self, average_last: int | None = None) -> dict[str, np.ndarray]:
        """Return what `differences` compares: each name's values at the end, one for each seed.

        Args:
            average_last: over how many epochs. Defaults to the study's.
        """
        return {name: self.sign * self._end(name, average_last) for name in self.names}

    def table(self) -> str:
        """Return the ranking as a table in Markdown."""
        return _tables.markdown_table(*_tables.ranking_table(self, self.ranking()))

    def to_latex(self) -> str:
        """Return the ranking as a table in LaTeX, for the package booktabs."""
        return _tables.latex_table(*_tables.ranking_table(self, self.ranking()))

    def to_pandas(self) -> Any:
        """Return the ranking as a `pandas.DataFrame`; this package does not install pandas."""
        import pandas

        return pandas.DataFrame(_tables.flat(self.ranking()))

    def curves(
        self,
        quantity: str | None = None,
        ax: Axes | None = None,
        *,
        over: str = "epoch",
        figsize: tuple[float, float] | None = None,
        dpi: float | None = None,
    ) -> Axes:
        """Draw the training of each optimizer with its chosen hyperparameters.

        The line is the mean over the seeds that did not diverge. The band is its 95% interval, by
        the spread of all optimizers together and without what a seed does to all of them. Mean and
        interval are of logarithms where all values are positive.

        Args:
            quantity: what to draw, such as "val_accuracy". Defaults to the quantity by which the
                study chose the rates.
            ax: the Axes to draw in. Defaults to those of a new figure.
            over: "epoch", "steps" or "seconds". Seconds show what slow steps cost, and depend on
                the machine and on what else ran there. Defaults to "epoch".
            figsize, dpi: matplotlib's, of a new figure. Default to (10, 6) and matplotlib's.

        Returns:
            The Axes.

        Raises:
            TypeError, ValueError: an argument is not valid, or the quantity was not measured.
        """
        from keras_lecture_opt.comparison import _pictures  # it loads the backend

        return _pictures.curves(self, quantity, ax, over, figsize, dpi)

    def sensitivity(
        self,
        ax: Axes | None = None,
        *,
        figsize: tuple[float, float] | None = None,
        dpi: float | None = None,
    ) -> Axes:
        """Draw what each learning rate of a grid reached: what does a wrong one cost?

        Shows `choose_by` at the end of the first rung, where all rates were trained: the mean over
        the seeds, and a dot for each. A cross at the edge is a rate at which a seed diverged, and a
        ring the rate that was chosen in the end.

        Args:
            ax: the Axes to draw in. Defaults to those of a new figure.
            figsize, dpi: matplotlib's, of a new figure. Default to (10, 6) and matplotlib's.

        Returns:
            The Axes.

        Raises:
            TypeError, ValueError: an argument is not valid, or no grid was tried.
        """
        from keras_lecture_opt.comparison import _pictures

        return _pictures.sensitivity(self, ax, figsize, dpi)

    def costs(
        self, *, figsize: tuple[float, float] | None = None, dpi: float | None = None
    ) -> Figure:
        """Draw what each hyperparameter of a search costs when it is wrong.

        A panel for each hyperparameter: a dot is a trial, the mean over the seeds at the end of the
        first rung. The line is the best trial of each part of the range: of each quarter of the
        trials, or of each value where few values were tried.

        Args:
            figsize, dpi: matplotlib's. By default the panels have room.

        Returns:
            A matplotlib Figure.
        """
        from keras_lecture_opt.comparison import _pictures

        return _pictures.costs(self, figsize, dpi)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write protocol.json and results.csv, from which `load` makes the study again.

        Args:
            folder: a folder that exists.
        """
        place = check_local_path("folder", folder)
        saved = (*TRAINED, *PROTOCOL, "optimizers", "proposals")
        protocol = {name: getattr(self, name) for name in saved}
        protocol["workload"] = {name: getattr(self, name) for name in WORKLOAD}
        # The numbers of trials are their positions; the rates of a grid are saved as `rates`.
        trials = {name: [*of_name.values()] for name, of_name in self.trials.items()}
        protocol["trials"] = None if self.is_grid else trials
        with replacing(place / "protocol.json") as part:
            part.write_text(json.dumps(protocol, indent=1), encoding="utf-8")
        rows = self.rows()
        with (
            replacing(place / "results.csv") as part,
            part.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def report(self, folder: str | os.PathLike[str]) -> pathlib.Path:
        """Write a page with tables, pictures and all results.

        Args:
            folder: where to write README.md, protocol.json, results.csv, curves.png and
                sensitivity.png (of a search costs.png). They replace those of an earlier report,
                but no other files. `load` reads the folder.

        Returns:
            The folder, a `pathlib.Path`.

        Raises:
            FileExistsError: one of these files is there and is not of a report.
            ValueError: `folder` is a URL.
        """
        return _report.report(self, folder)


def load(folder: str | os.PathLike[str]) -> Study:
    """Return the study in a folder of `compare` or of `Study.report`, without its workload.

    Args:
        folder: the folder. `compare` writes its results after each rung.

    Returns:
        A `Study`, with the results of all rungs that were complete.

    Raises:
        FileNotFoundError: no study is there.
        ValueError: the files are damaged, or `folder` is a URL.
    """
    place: pathlib.Path = check_local_path("folder", folder)
    try:
        protocol = json.loads((place / "protocol.json").read_text(encoding="utf-8"))
        with (place / "results.csv").open(newline="", encoding="utf-8") as file:
            return _loaded(protocol, [*csv.DictReader(file)])
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        allowed = "a folder of `compare`, after its first rung, or of `Study.report`"
        raise FileNotFoundError(
            f"{must_be('folder', allowed, str(folder))} {error.filename} is not there."
        ) from error
    except (AttributeError, LookupError, TypeError, ValueError, csv.Error) as error:
        text = f"`folder`: protocol.json or results.csv in {folder} is damaged"
        raise ValueError(f"{text} ({type(error).__name__}: {error}).") from error


def _loaded(protocol, rows):
    workload = types.SimpleNamespace(**protocol["workload"])
    optimizers, trials = protocol["optimizers"], protocol["trials"]
    if trials is None:
        trials = _search.grid(protocol["rates"], optimizers)
    else:
        trials = {name: dict(enumerate(of_name)) for name, of_name in trials.items()}
    study = Study(workload, optimizers, trials, **{name: protocol[name] for name in PROTOCOL})
    vars(study).update({name: protocol[name] for name in TRAINED})
    study.proposals = protocol.get("proposals", {})  # older studies have none
    results, seconds = {}, {}  # results.csv counts seconds from the begin of a run
    for row in rows:
        rate = float(row["learning_rate"]) if study.is_grid else int(row["trial"])
        key = row["optimizer"], rate, int(row["seed"])
        until, before = float(row["seconds"]), seconds.get(key, 0.0)
        seconds[key] = until
        own = {"epoch": int(row["epoch"]), "steps": int(row["steps"]), "seconds": until - before}
        own |= {quantity: float(row[quantity]) for quantity in study.quantities}
        own |= {"diverged": row["diverged"] == "True", "device": row["device"]}
        results.setdefault(key, []).append(own)
    complete = 0
    for rung, (epochs, _) in enumerate(study.rungs[: len(study.alive)]):
        if not all(ended(results.get(key, []), epochs) for key in study.keys(rung)):
            break
        complete += 1
    if not complete:
        raise ValueError("no rung is complete")
    study.results = results
    study.rungs, study.alive = study.rungs[:complete], study.alive[:complete]
    return study


def mean(values):
    """Return the geometric mean where all values are positive, else the arithmetic one."""
    if len(values) and np.min(values) > 0:
        return float(np.exp(np.mean(np.log(values))))
    return float(np.mean(values)) if len(values) else math.nan
