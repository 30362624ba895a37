"""Pictures of a study: its training, and what wrong hyperparameters cost."""

import sys

import keras
import numpy as np
from scipy import stats

from keras_lecture_opt._arguments import must_be
from keras_lecture_opt.comparison import _costs
from keras_lecture_opt.comparison._differences import SIGNIFICANT, blocks
from keras_lecture_opt.comparison._run import diverged, median_seconds
from keras_lecture_opt.comparison._search import text
from keras_lecture_opt.comparison._tables import at_end
from keras_lecture_opt.plots import _style


def curves(study, quantity, ax, over, figsize, dpi):
    """Draw `Study.curves`."""
    quantity = study.choose_by if quantity is None else quantity
    if quantity not in study.quantities:
        allowed = f"one of {', '.join(study.quantities)}"
        raise ValueError(must_be("quantity", allowed, quantity))
    if over not in ("epoch", "steps", "seconds"):
        raise ValueError(must_be("over", '"epoch", "steps" or "seconds"', over))
    names = [name for name in study.names if not all(map(diverged, study.runs(name)))]
    lines = lines_of(study)
    with _style.canvas(ax, (10, 6), figsize, dpi) as axes:
        if names:
            table = np.array([measured(study, name, quantity) for name in names])
            for name, runs, (mean, low, high) in zip(names, table, intervals(table), strict=True):
                out = int(np.isnan(runs[:, 0]).sum())
                label = f"{name}, η {text(study.hyperparameters[name])}"
                label += f", {out} of {len(runs)} diverged" * bool(out)
                ends = ends_of_epochs(study, name, over)
                axes.plot(ends, mean, **lines[name], label=_style.wrap(label))
                band = {"color": lines[name]["color"], "alpha": 0.2, "linewidth": 0}
                axes.fill_between(ends, low, high, **band)
            _style.log_scale(axes, [table.ravel()])
            _style.legend(axes, beside=ax is None)
        axes.set(xlabel=over, ylabel=quantity)
        if over != "seconds":
            axes.xaxis.get_major_locator().set_params(integer=True)
    return axes


def ends_of_epochs(study, name, unit):
    """Return when the epochs of an optimizer end, at its chosen hyperparameters.

    Seconds are epochs times the median epoch of all seeds: neither tracing nor a pause counts.
    """
    runs = study.runs(name)
    rows = max(runs, key=len)
    if unit == "seconds":
        each = median_seconds([row for rows in runs for row in rows])
        return each * np.arange(1, 1 + len(rows))
    return np.array([row[unit] for row in rows])


def measured(study, name, quantity):
    """Return a quantity with what was chosen: a row for each seed, NaN where the run diverged."""
    epochs, _ = study.rungs[-1]
    missing = [np.nan] * epochs
    return [missing if diverged(rows) else [r[quantity] for r in rows] for rows in study.runs(name)]


def intervals(table):
    """Return means over the seeds and their 95% intervals, as an array (names, 3, epochs).

    The spread is that of all optimizers together, without what a seed does to all of them, as in
    `differences`. Where all values are positive, means and spread are of logarithms.
    """
    in_logs = not np.any(table <= 0)
    table = np.log(table) if in_logs else table
    mean, count = np.nanmean(table, axis=1), np.isfinite(table).sum(axis=1)
    spread = [blocks(table[:, :, epoch])[:2] for epoch in range(table.shape[2])]
    half = [np.sqrt(v) * stats.t.isf(SIGNIFICANT / 2, f) if f else np.nan for v, f in spread]
    half = np.array(half) / np.sqrt(np.maximum(count, 1))
    result = np.stack([mean, mean - half, mean + half], axis=1)
    return np.exp(result) if in_logs else result


def sensitivity(study, ax, figsize, dpi):
    """Draw `Study.sensitivity`."""
    if not study.is_grid:
        raise ValueError("`sensitivity` shows one grid for all optimizers. Call `costs`.")
    rates = np.array(study.rates)
    with _style.canvas(ax, (10, 6), figsize, dpi) as axes:
        drawn = []
        for i, (name, line) in enumerate(lines_of(study).items()):
            values = study.values(name, 0)
            values = study.sign * np.where(np.isfinite(values).all(axis=1)[:, None], values, np.nan)
            line["marker"] = line["marker"] or "o"  # each rate that was tried
            mean = values.mean(axis=1)
            axes.plot(rates, mean, **line, label=_style.wrap(name))
            axes.plot(rates, values, ".", color=line["color"], alpha=0.5)
            drawn.append(values.ravel())
            ring = {"color": line["color"], "markersize": 14, "markerfacecolor": "none"}
            chosen = rates == study.learning_rates[name]
            axes.plot(rates[chosen], mean[chosen], "o", **ring)
            draw_diverged(axes, rates[np.isnan(mean)], i, line, study.sign)
        if np.isnan(np.concatenate(drawn)).any():
            axes.plot([], [], "X", color="#000000", markersize=8, label="diverged")
        _style.log_scale(axes, drawn)
        axes.set_xscale("log")
        axes.set(xlabel="learning rate η", ylabel=at_end(study, 0))
        _style.legend(axes, beside=ax is None)
    return axes


def draw_diverged(axes, places, i, line, sign):
    """Draw crosses beyond the worst values, those of each optimizer in a row of their own."""
    if not len(places):  # which would confuse the layout of log axes
        return
    beside = np.full(len(places), max(sign, 0) + sign * 0.025 * (i + 1))
    cross = {"color": line["color"], "markersize": 8, "clip_on": False}
    axes.plot(places, beside, "X", **cross, transform=axes.get_xaxis_transform())


def costs(study, figsize, dpi):
    """Draw `Study.costs`."""
    names = _costs.searched(study)
    with _style.canvas(None, (4 + 3.5 * len(names), 5), figsize, dpi, columns=len(names)) as panels:
        panels, drawn = np.atleast_1d(panels), []
        for hyperparameter, axes in zip(names, panels, strict=True):
            place = places(study, hyperparameter, axes)
            for i, (name, line) in enumerate(lines_of(study).items()):
                line["marker"] = line["marker"] or "o"
                label = _style.wrap(name) if axes is panels[-1] else None
                found = _costs.parts(study, name, hyperparameter)
                middles = [np.median([*map(place, values)]) for values, _ in found]
                best = study.sign * np.array([value for _, value in found])
                axes.plot(middles, finite(best), **line, label=label)
                if found:
                    means = study.sign * study.values(name, 0).mean(axis=1)
                    tried = [study.trials[name][trial][hyperparameter] for trial in study.rates]
                    dots = {"color": line["color"], "alpha": 0.35, "markersize": 4}
                    at = np.array([*map(place, tried)])
                    axes.plot(at, finite(means), "o", **dots)
                    draw_diverged(axes, at[~np.isfinite(means)], i, line, study.sign)
                    drawn.append(finite(means))
            axes.set_xlabel(hyperparameter)
        _style.log_scale(panels[0], drawn)
        panels[0].set_ylabel(at_end(study, 0))
        _style.legend(panels[-1])
    return panels[0].figure


def places(study, hyperparameter, axes):
    """Return the function that says where on an axis a value is; label the axis."""
    trials = [values for trials in study.trials.values() for values in trials.values()]
    tried = [values[hyperparameter] for values in trials if hyperparameter in values]
    if all(type(value) in (int, float) for value in tried):
        if min(tried) > 0 and max(tried) >= 10 * min(tried):
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter("")  # its labels would overlap
        else:
            axes.locator_params(axis="x", nbins=5)
        return float
    shown = [*dict.fromkeys(map(str, tried))]
    axes.set_xticks(range(len(shown)), shown)
    return lambda value: shown.index(str(value))


def finite(values):
    return np.where(np.isfinite(values), values, np.nan)


def lines_of(study):
    """Return each optimizer's line: in the color of its class, or by position if some share it.

    The classes are those that are imported: a loaded study has their names alone.
    """
    colors = []
    for description in study.optimizers.values():
        module, _, name = description["class"].rpartition(".")
        cls = getattr(sys.modules.get(module), name, None)
        if not isinstance(cls, type) or not issubclass(cls, keras.optimizers.Optimizer):
            cls = type(name, (keras.optimizers.Optimizer,), {})
        colors.append(_style.color(cls))
    if len({*colors}) < len(colors):
        colors = [_style.PALETTE[i % len(_style.PALETTE)] for i in range(len(colors))]
    return dict(zip(study.names, _style.line_styles(colors), strict=True))
