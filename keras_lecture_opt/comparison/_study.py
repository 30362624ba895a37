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
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_lecture_opt._arguments import check_integer, check_local_path, must_be
from keras_lecture_opt._files import replacing
from keras_lecture_opt.comparison import _differences, _report, _statistics
from keras_lecture_opt.comparison._identity import describe_optimizer, versions
from keras_lecture_opt.comparison._run import diverged, ended

if TYPE_CHECKING:  # drawing is imported when something is drawn
    from matplotlib.axes import Axes

Rows = list[dict[str, Any]]


class Study:
    """What `compare` returns: all results, and what follows from them.

    Attributes:
        names: names of the optimizers.
        rates: all learning rates, sorted.
        rungs: list of `(epochs, rates)`: so many rates were trained up to this epoch.
        seeds: list of the seeds.
        choose_by: the quantity by which rates were chosen.
        mode: "min" or "max", which of its values are better.
        average_last: over how many epochs its values are averaged. It may be set: what was trained
            stays, and the choice in the last rung, the ranking and the report follow.
        optimizers: dict from the names to descriptions: class and configuration.
        results: dict from `(name, learning_rate, seed)` to the rows of that run.
        alive: for each rung, a dict from the names to the rates that were trained in it.
    """

    def __init__(
        self,
        workload: Any,
        optimizers: dict[str, Any],
        rates: list[float],
        rungs: Sequence[tuple[int, int]],
        seeds: list[int],
        choose_by: str,
        mode: str,
        average_last: int = 1,
    ):
        self.names = list(optimizers)
        self.optimizers = {name: describe_optimizer(one) for name, one in optimizers.items()}
        self.rates, self.rungs, self.seeds = rates, rungs, seeds
        self.choose_by, self.mode, self.average_last = choose_by, mode, average_last
        self.results: dict[tuple[str, float, int], Rows] = {}
        self.target, self.description = workload.target, workload.description
        self.quantities = workload.quantities
        self.command, self.versions = shlex.join(["python", *sys.argv]), versions()
        self.sign = -1 if mode == "max" else 1  # times a value: less is better
        self.alive = [dict.fromkeys(self.names, rates)]

    @property
    def learning_rates(self) -> dict[str, float | None]:
        """Dict from the names to the chosen rates; None where every rate diverged."""
        return {name: self._chosen(name) for name in self.names}

    def _chosen(self, name):
        values = dict(zip(self.alive[-1][name], self.values(name, -1), strict=True))
        rate = min(values, key=lambda rate: _statistics.rank(values[rate]), default=None)
        return rate if rate is not None and np.isfinite(values[rate]).any() else None

    def runs(self, name: str) -> list[Rows]:
        """Return the rows at the chosen rate, a list for each seed; no list if none was chosen."""
        rate = self._chosen(name)
        return [] if rate is None else [self.results[name, rate, seed] for seed in self.seeds]

    def keys(self, rung: int) -> list[tuple[str, float, int]]:
        """Return the runs of a rung: list of `(name, learning_rate, seed)`."""
        return [(n, r, s) for n in self.names for r in self.alive[rung][n] for s in self.seeds]

    def add(self, results: dict[tuple[str, float, int], Rows]) -> None:
        """Add all results of a rung; the next one gets its better rates."""
        self.results |= results
        rung = len(self.alive) - 1
        if rung + 1 < len(self.rungs):
            count = self.rungs[rung + 1][1]
            self.alive.append({name: self._ranked(name, rung)[:count] for name in self.names})

    def values(self, name: str, rung: int) -> np.ndarray:
        """Return what an optimizer reached at the end of a rung, averaged over the last epochs.

        Returns:
            Array (rates of that rung, seeds) of the quantity by which rates are chosen. Infinity
            for runs that diverged; where more is better, values have the other sign, so that less
            is better.
        """
        epochs, _ = self.rungs[rung]
        return np.array(
            [
                [
                    self._measured(self.results[name, rate, seed], epochs, self.average_last)
                    for seed in self.seeds
                ]
                for rate in self.alive[rung][name]
            ]
        ).reshape(-1, len(self.seeds))

    def _measured(self, rows, epochs, average_last):
        if len(rows) < epochs or diverged(rows[:epochs]):
            return math.inf
        last = rows[max(0, epochs - average_last) : epochs]
        value = np.mean([row[self.choose_by] for row in last])
        return math.inf if math.isnan(value) else self.sign * value

    def _ranked(self, name, rung):
        """Return the rates of a rung that diverged with no seed and may go on, best first."""
        rates, means = self.alive[rung][name], self.values(name, rung).mean(axis=1)
        return [rates[i] for i in np.argsort(means, kind="stable") if means[i] < math.inf]

    def rows(self) -> Rows:
        """Return all results, for a CSV file or a table: a list of dicts, one for each epoch.

        `rung` is the one, from 1, in which the epoch was trained. `chosen` tells whether the rate
        is the one that was chosen in the end. `steps` and `seconds` are those from the begin of
        the run. `seconds` are of training alone.
        """
        result, chosen = [], self.learning_rates
        for (name, rate, seed), rows in self.results.items():
            seconds = 0.0
            for row in rows:
                seconds += row["seconds"]
                own = {"optimizer": name, "learning_rate": rate, "seed": seed}
                own["chosen"] = rate == chosen[name]
                own["rung"] = 1 + sum(row["epoch"] > epochs for epochs, _ in self.rungs)
                result.append({**own, **row, "seconds": seconds})
        return result

    def ranking(self) -> Rows:
        """Return what each optimizer reached, the best first, as a list of dicts.

        Keys: `optimizer`; `learning_rate`, the chosen one, None if no rate is left that did not
        diverge with all seeds; `values` of `choose_by` at the end, one for each seed, NaN for those
        that diverged; `mean`, the geometric one where all are positive; `diverged`, how many of the
        seeds; `difference` from the best, a `Difference` whose `first` is this optimizer, None of
        the best itself; `at_edge`, whether a better rate may lie beyond the grid; `at_inner_edge`,
        whether it is the lowest or the highest of at least three rates that were compared last;
        `same_choice`, how often the search, repeated with resampled seeds, chooses this rate;
        `to_target`, medians of the epochs, steps and seconds to the target over the seeds, infinity
        where no more than half reach it; `reached`, how many do; `epoch_seconds`, the median. The
        seconds to the target are epochs times the run's median epoch, so that a pause does not
        count.
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
        end, rate, runs = self._end(name), self.learning_rates[name], self.runs(name)
        entry = {"optimizer": name, "learning_rate": rate, "difference": difference}
        if rate is None:
            return entry
        targets = [self._to_target(rows) for rows in runs]
        rungs = (rates[name] for rates in reversed(self.alive))
        compared = next((rates for rates in rungs if len(rates) > 1), [])
        return entry | {
            "values": np.where(np.isfinite(end), self.sign * end, np.nan),
            "mean": mean(self.sign * end[np.isfinite(end)]),
            "diverged": int(np.isinf(end).sum()),
            "at_edge": len(self.rates) > 1 and rate in (self.rates[0], self.rates[-1]),
            "at_inner_edge": len(compared) > 2 and rate in (min(compared), max(compared)),
            "same_choice": _statistics.same_choice(
                [self.values(name, rung) for rung in range(len(self.rungs))],
                [alive[name].index(rate) for alive in self.alive],
                [count for _, count in self.rungs[1:]] + [1],
            ),
            "to_target": np.median(targets, axis=0),
            "reached": sum(epochs < math.inf for epochs, *_ in targets),
            "epoch_seconds": _median_seconds([row for rows in runs for row in rows]),
        }

    def _to_target(self, rows):
        """Return epochs, steps and seconds up to the target."""
        quantity, goal, mode = self.target or (None, None, None)
        for i, row in enumerate(rows if self.target else ()):
            value = row[quantity]
            if value >= goal if mode == "max" else value <= goal:
                return row["epoch"], row["steps"], (i + 1) * _median_seconds(rows)
        return math.inf, math.inf, math.inf

    def _end(self, name, average_last=None):
        """Return the last values at the chosen rate, one for each seed; less is better."""
        rate = self._chosen(name)
        if rate is None:
            return np.full(len(self.seeds), math.inf)
        epochs, _ = self.rungs[-1]
        last = self.average_last if average_last is None else average_last
        runs = [self.results[name, rate, seed] for seed in self.seeds]
        return np.array([self._measured(rows, epochs, last) for rows in runs])

    def differences(self) -> list[_differences.Difference]:
        """Return `comparison.differences` of the values at the end, for each pair of optimizers.

        The names are those of the ranking, the last one first: a ratio says how many times the
        value of the better one the other one reaches.
        """
        ends = self.ends()
        names = reversed(self._ranked_names())
        return _differences.differences({name: ends[name] for name in names}, self.mode)

    def ends(self, average_last: int | None = None) -> dict[str, np.ndarray]:
        """Return what `differences` compares: each name's values at the end, one for each seed.

        Args:
            average_last: over how many epochs. Defaults to the study's.
        """
        last = self.average_last if average_last is None else average_last
        return {name: self.sign * self._end(name, last) for name in self.names}

    def after_search(self, trials: int) -> dict[str, np.ndarray]:
        """Return what a search with few trials would have reached, for each optimizer.

        The search is repeated in every possible way, with `trials` of the learning rates and with
        resampled seeds, or in 10,000 ways by chance if there are more. Its results are those after
        the first rung, the only ones that all rates have.

        Args:
            trials: number of learning rates that a search tries, at most all of them.

        Returns:
            Dict from names to arrays of `choose_by`; infinity for runs that diverged, the sign
            changed where more is better.
        """
        trials = check_integer("trials", trials, 1, len(self.rates))
        return {
            name: _statistics.repeated_searches(self.values(name, 0), trials, seed)
            for seed, name in enumerate(self.names)
        }

    def table(self) -> str:
        """Return the ranking as a table in Markdown."""
        return _report.markdown_table(*_report.ranking_table(self, self.ranking()))

    def to_latex(self) -> str:
        """Return the ranking as a table in LaTeX, for the package booktabs."""
        return _report.latex_table(*_report.ranking_table(self, self.ranking()))

    def to_pandas(self) -> Any:
        """Return the ranking as a `pandas.DataFrame`, with numbers in its columns. Needs pandas."""
        import pandas

        return pandas.DataFrame(_report.flat(self.ranking()))

    def curves(
        self,
        quantity: str | None = None,
        ax: "Axes | None" = None,
        *,
        figsize: tuple[float, float] | None = None,
        dpi: float | None = None,
    ) -> "Axes":
        """Draw the training of each optimizer at its chosen learning rate.

        The line is the mean over the seeds that did not diverge. The band is its 95% interval, by
        the spread of all optimizers together and without what a seed does to all of them. Mean and
        interval are of logarithms where all values are positive.

        Args:
            quantity: what to draw, such as "val_accuracy". Defaults to the quantity by which the
                study chose the rates.
            ax: the Axes to draw in. Defaults to those of a new figure.
            figsize, dpi: matplotlib's, of a new figure. Default to (10, 6) and matplotlib's.

        Returns:
            The Axes.

        Raises:
            TypeError, ValueError: an argument is not valid, or the quantity was not measured.
        """
        from keras_lecture_opt.comparison import _pictures

        return _pictures.curves(self, quantity, ax, figsize, dpi)

    def sensitivity(
        self,
        ax: "Axes | None" = None,
        *,
        figsize: tuple[float, float] | None = None,
        dpi: float | None = None,
    ) -> "Axes":
        """Draw what each learning rate reached: what does a wrong one cost?

        Shows the quantity by which the rates were chosen at the end of the first rung, where all
        rates were trained: the mean over the seeds, and a dot for each seed. A cross at the edge is
        a rate at which a seed diverged. A ring is the rate that was chosen in the end.

        Args:
            ax: the Axes to draw in. Defaults to those of a new figure.
            figsize, dpi: matplotlib's, of a new figure. Default to (10, 6) and matplotlib's.

        Returns:
            The Axes.

        Raises:
            TypeError, ValueError: an argument is not valid.
        """
        from keras_lecture_opt.comparison import _pictures

        return _pictures.sensitivity(self, ax, figsize, dpi)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write protocol.json and results.csv, from which `load` makes the study again.

        Args:
            folder: a folder that exists.
        """
        place = check_local_path("folder", folder)
        protocol = {
            "command": self.command,
            "versions": self.versions,
            "workload": {
                "description": self.description,
                "quantities": self.quantities,
                "target": self.target,
            },
            "optimizers": self.optimizers,
            **{name: getattr(self, name) for name in (*PROTOCOL, "alive")},
        }
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
                sensitivity.png. They replace those of an earlier report, but no other files. `load`
                reads the folder.

        Returns:
            The folder, a `pathlib.Path`.

        Raises:
            FileExistsError: one of these files is there and is not of a report.
            ValueError: `folder` is a URL.
        """
        return _report.report(self, folder)


# What `Study` is made with; `alive` is what was trained, whatever `average_last` is set to later.
PROTOCOL = ("rates", "rungs", "seeds", "choose_by", "mode", "average_last")


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
            rows = [*csv.DictReader(file)]
    except FileNotFoundError as error:
        allowed = "a folder of `compare`, after its first rung, or of `Study.report`"
        raise FileNotFoundError(
            f"{must_be('folder', allowed, str(folder))} {error.filename} is not there."
        ) from error
    try:
        return _loaded(protocol, rows)
    except (KeyError, TypeError, ValueError) as error:
        text = f"`folder`: protocol.json or results.csv in {folder} is damaged"
        raise ValueError(f"{text} ({type(error).__name__}: {error}).") from error


def _loaded(protocol, rows):
    workload = types.SimpleNamespace(**protocol["workload"])
    study = Study(workload, protocol["optimizers"], **{name: protocol[name] for name in PROTOCOL})
    study.command, study.versions = protocol["command"], protocol["versions"]
    results, seconds = {}, {}  # results.csv counts seconds from the begin of a run
    for row in rows:
        key = row["optimizer"], float(row["learning_rate"]), int(row["seed"])
        until, before = float(row["seconds"]), seconds.get(key, 0.0)
        seconds[key] = until
        own = {"epoch": int(row["epoch"]), "steps": int(row["steps"]), "seconds": until - before}
        own |= {quantity: float(row[quantity]) for quantity in study.quantities}
        own |= {"diverged": row["diverged"] == "True", "device": row["device"]}
        results.setdefault(key, []).append(own)
    study.alive, complete = protocol["alive"], 0
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


def _median_seconds(rows):
    """Return how long an epoch took."""
    return np.median([row["seconds"] for row in rows])
