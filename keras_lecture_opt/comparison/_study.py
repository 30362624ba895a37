"""What a comparison found."""

import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_lecture_opt._arguments import check_integer
from keras_lecture_opt.comparison import _costs, _statistics
from keras_lecture_opt.comparison._report import report, table
from keras_lecture_opt.comparison._run import diverged, ended
from keras_lecture_opt.comparison._workload import Workload

Rows = list[dict[str, Any]]


class Study:
    """What `compare` returns: all results, and what follows from them.

    Attributes:
        names: names of the optimizers.
        trials: for each name, a dict from what identifies a trial to its hyperparameters, a dict.
            In a plain grid the learning rate identifies a trial, in a search its number.
        rates: all learning rates, sorted; in a search all numbers of trials.
        rungs: list of `(epochs, rates)`: so many rates were trained up to this epoch.
        seeds: list of the seeds.
        choose_by: the quantity by which rates were chosen.
        mode: "min" or "max", which of its values are better.
        results: dict from `(name, rate, seed)` to the rows of that run.
        alive: for each rung, a dict from the names to the rates that were trained in it.
        stopped: after how many seconds training was stopped before its end; None if it was not.
    """

    def __init__(
        self,
        workload: Workload,
        optimizers: dict[str, keras.optimizers.Optimizer],
        trials: dict[str, dict[Any, dict[str, Any]]],
        rungs: Sequence[tuple[int, int]],
        seeds: list[int],
        choose_by: str,
        mode: str,
    ):
        self.optimizers, self.names = optimizers, list(optimizers)
        self.trials, self.rates = trials, sorted(trials[self.names[0]])
        self.rungs, self.seeds = rungs, seeds
        self.choose_by, self.mode = choose_by, mode
        self.results: dict[tuple[str, Any, int], Rows] = {}
        self.target, self.description = workload.target, workload.description
        self.quantities = workload.quantities
        self.sign = -1 if mode == "max" else 1  # times a value: less is better
        self.alive = [dict.fromkeys(self.names, self.rates)]
        self.stopped: float | None = None

    @property
    def learning_rates(self) -> dict[str, float | None]:
        """Dict from the names to the chosen rates; None where every rate diverged."""
        return {name: values and values["learning_rate"] for name, values in self._best.items()}

    @property
    def hyperparameters(self) -> dict[str, dict[str, Any] | None]:
        """Dict from the names to the chosen hyperparameters; None where every trial diverged."""
        return {name: values and dict(values) for name, values in self._best.items()}

    @property
    def is_grid(self) -> bool:
        """Whether learning rates alone were tried, and not trials of a search."""
        return isinstance(self.rates[0], float)

    @property
    def _best(self):
        return {name: self.trials[name].get(self._chosen(name)) for name in self.names}

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
            count = self.rungs[rung + 1][1]
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
                f"`seconds`, {seconds:g}, were too few: no trial has {epochs} epochs with every "
                f"optimizer and seed. {trained} of {len(results) * epochs} epochs of the first "
                "rung are saved: the same call continues."
            )
        self.rungs = [(epochs, len(self.rates))]
        self.alive = [dict.fromkeys(self.names, self.rates)]
        self.results = {key: results[key] for key in self.keys(0)}

    def values(self, name: str, rung: int) -> np.ndarray:
        """Return what an optimizer reached at the end of a rung.

        Returns:
            Array (rates of that rung, seeds) of the quantity by which rates are chosen. Infinity
            for runs that diverged; where more is better, values have the other sign, so that less
            is better.
        """
        epochs, _ = self.rungs[rung]
        return np.array(
            [
                [self._measured(self.results[name, rate, seed], epochs) for seed in self.seeds]
                for rate in self.alive[rung][name]
            ]
        ).reshape(-1, len(self.seeds))

    def _measured(self, rows, epochs):
        if len(rows) < epochs or diverged(rows[:epochs]):
            return math.inf
        value = rows[epochs - 1][self.choose_by]
        return math.inf if math.isnan(value) else self.sign * value

    def _ranked(self, name, rung):
        """Return the rates of a rung that diverged with no seed and may go on, best first."""
        rates, means = self.alive[rung][name], self.values(name, rung).mean(axis=1)
        return [rates[i] for i in np.argsort(means, kind="stable") if means[i] < math.inf]

    def rows(self) -> Rows:
        """Return all results, for a CSV file or a table: a list of dicts, one for each epoch.

        `rung` is the one, from 1, in which the epoch was trained. `chosen` tells whether the rate
        is the one that was chosen in the end. `steps` and `seconds` are those from the begin of
        the run. `seconds` are of training alone. In a search, `trial` is its number, and each
        hyperparameter has a column.
        """
        result, chosen = [], {name: self._chosen(name) for name in self.names}
        searched = {
            key: "" for trials in self.trials.values() for key in next(iter(trials.values()))
        }
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

        Keys: `optimizer`; `learning_rate`, the chosen one, None if no rate is left that did not
        diverge with all seeds; `hyperparameters`, a dict of all that were chosen; `values` of
        `choose_by` after the last epoch, one for each seed, NaN for those that diverged;
        `diverged`, how many of the seeds; `at_edge`, whether a better rate may lie beyond the grid;
        `at_inner_edge`, whether it is the lowest or the highest of the rates of a grid that were
        compared last; `same_choice`, how often the search, repeated with resampled seeds, chooses
        this rate; `to_target`, medians of the epochs, steps and seconds to the target over the
        seeds, infinity where no more than half reach it; `reached`, how many do; `epoch_seconds`,
        the median. The seconds to the target are epochs times the run's median epoch, so that a
        pause does not count.
        """
        result = []
        for name, chosen in self.hyperparameters.items():
            entry = {"optimizer": name, "learning_rate": chosen and chosen["learning_rate"]}
            if chosen is not None:
                entry |= {"hyperparameters": chosen, **self._reached(name, self._chosen(name))}
            result.append(entry)
        return sorted(result, key=lambda entry: _statistics.rank(self._end(entry["optimizer"])))

    def _reached(self, name, rate):
        runs = self.runs(name)
        values = self.sign * self._end(name)
        targets = [self._to_target(rows) for rows in runs]
        rungs = (rates[name] for rates in reversed(self.alive))
        compared = next((rates for rates in rungs if len(rates) > 1), None)
        return {
            "values": np.where(np.isfinite(values), values, np.nan),
            "diverged": int(np.isinf(values).sum()),
            "at_edge": self._at_edge(name, rate, self.rates),
            "at_inner_edge": self.is_grid and self._at_edge(name, rate, compared or []),
            "same_choice": _statistics.same_choice(
                [self.values(name, rung) for rung in range(len(self.rungs))],
                [alive[name].index(rate) for alive in self.alive],
                [count for _, count in self.rungs[1:]] + [1],
            ),
            "to_target": np.median(targets, axis=0),
            "reached": sum(epochs < math.inf for epochs, *_ in targets),
            "epoch_seconds": _median_seconds([row for rows in runs for row in rows]),
        }

    def _at_edge(self, name, chosen, among):
        """Return whether the chosen learning rate is the lowest or the highest of several."""
        rates = {rate: self.trials[name][rate]["learning_rate"] for rate in among}
        return len(rates) > 1 and rates[chosen] in (min(rates.values()), max(rates.values()))

    def _to_target(self, rows):
        """Return epochs, steps and seconds up to the target."""
        quantity, goal, mode = self.target or (None, None, None)
        for i, row in enumerate(rows if self.target else ()):
            value = row[quantity]
            if value >= goal if mode == "max" else value <= goal:
                return row["epoch"], row["steps"], (i + 1) * _median_seconds(rows)
        return math.inf, math.inf, math.inf

    def _end(self, name):
        """Return the last values at the chosen rate, one for each seed; less is better."""
        rate = self._chosen(name)
        if rate is None:
            return np.full(len(self.seeds), math.inf)
        return self.values(name, -1)[self.alive[-1][name].index(rate)]

    def pairs(self) -> list[_statistics.Pair]:
        """Return the comparison of each pair of optimizers after the last epoch.

        Returns:
            List of objects with the names `first` and `second`; `probability` that a run of the
            first ends better than a run of the second, over all pairs of seeds; `p_value` of a
            t-test of the means, times the number of pairs, NaN with one seed, without any spread or
            where a run diverged; and `verdict`: the name of the better one, where the probability
            is at least 95% and the p-value below 5%, or where all runs of the other diverged (or no
            rate of it is left) and none of its own; else None: the data do not tell.
        """
        return _statistics.pairs({name: self._end(name) for name in self.names})

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

    def costs(self, *, figsize: tuple[float, float] | None = None, dpi: float | None = None) -> Any:
        """Draw what each hyperparameter of a search costs when it is wrong. Needs the extra "plot".

        A panel for each hyperparameter: a dot is a trial, the mean over the seeds at the end of the
        first rung. The line is the best trial of each part of the range: of each quarter of the
        trials, or of each value where few values were tried.

        Args:
            figsize, dpi: as in `plots.paths`.

        Returns:
            A matplotlib Figure.
        """
        return _costs.draw(self, figsize, dpi)

    def ends_of_epochs(self, name: str, unit: str) -> np.ndarray:
        """Return when the epochs of an optimizer end, at its chosen hyperparameters.

        Args:
            name: of the optimizer.
            unit: "epoch", "steps" or "seconds". Seconds are epochs times the median epoch of all
                seeds, so that neither tracing nor a pause counts.
        """
        rows = max(self.runs(name), key=len)
        if unit == "seconds":
            each = _median_seconds([row for rows in self.runs(name) for row in rows])
            return each * np.arange(1, 1 + len(rows))
        return np.array([row[unit] for row in rows])

    def table(self) -> str:
        """Return the ranking as a table in Markdown."""
        return table(self, self.ranking())

    def report(self, folder: str | os.PathLike[str]) -> pathlib.Path:
        """Write a page with tables, pictures and all results. Needs the extra "plot".

        Args:
            folder: where to write README.md, results.csv, curves.png and sensitivity.png (of a
                search costs.png). They replace those of an earlier report, but no other files.

        Returns:
            The folder, a `pathlib.Path`.

        Raises:
            FileExistsError: one of these files is there and is not of a report.
            ValueError: `folder` is a URL.
        """
        return report(self, folder)


def _median_seconds(rows):
    """Return how long an epoch took."""
    return np.median([row["seconds"] for row in rows])
