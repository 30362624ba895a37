"""Pictures of a study: its training, and what a wrong learning rate costs."""

import sys

import keras
import numpy as np
from scipy import stats

from keras_lecture_opt._arguments import must_be
from keras_lecture_opt.comparison._differences import SIGNIFICANT, blocks
from keras_lecture_opt.comparison._report import moment
from keras_lecture_opt.comparison._run import diverged
from keras_lecture_opt.plots._style import (
    PALETTE,
    canvas,
    color,
    legend,
    line_styles,
    log_scale,
    wrap,
)


def curves(study, quantity, ax, figsize, dpi):
    """Draw `Study.curves`."""
    quantity = study.choose_by if quantity is None else quantity
    if quantity not in study.quantities:
        allowed = f"one of {', '.join(study.quantities)}"
        raise ValueError(must_be("quantity", allowed, quantity))
    names = [name for name in study.names if not all(map(diverged, study.runs(name)))]
    lines = dict(zip(study.names, lines_of(study), strict=True))
    with canvas(ax, (10, 6), figsize, dpi) as axes:
        if names:
            table = np.array([measured(study, name, quantity) for name in names])
            for name, runs, (mean, low, high) in zip(names, table, intervals(table), strict=True):
                out = int(np.isnan(runs[:, 0]).sum())
                label = f"{name}, η {study.learning_rates[name]:g}"
                label += f", {out} of {len(runs)} diverged" * bool(out)
                epochs = np.arange(1, 1 + len(mean))
                axes.plot(epochs, mean, **lines[name], label=wrap(label))
                band = {"color": lines[name]["color"], "alpha": 0.2, "linewidth": 0}
                axes.fill_between(epochs, low, high, **band)
            log_scale(axes, [table.ravel()])
            legend(axes, beside=ax is None)
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return axes


def measured(study, name, quantity):
    """Return a quantity at the chosen rate: a row for each seed, NaN where the run diverged."""
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
    rates = np.array(study.rates)
    with canvas(ax, (10, 6), figsize, dpi) as axes:
        drawn, edge = [], max(study.sign, 0)  # of the axes, where the worse values are
        for i, (name, line) in enumerate(zip(study.names, lines_of(study), strict=True)):
            values = study.values(name, 0)
            values = study.sign * np.where(np.isfinite(values).all(axis=1)[:, None], values, np.nan)
            line["marker"] = line["marker"] or "o"  # each rate that was tried
            mean = values.mean(axis=1)
            axes.plot(rates, mean, **line, label=wrap(name))
            axes.plot(rates, values, ".", color=line["color"], alpha=0.5)
            drawn.append(values.ravel())
            ring = {"color": line["color"], "markersize": 14, "markerfacecolor": "none"}
            chosen = rates == study.learning_rates[name]
            axes.plot(rates[chosen], mean[chosen], "o", **ring)
            out = rates[np.isnan(mean)]
            beside = np.full(len(out), edge + study.sign * 0.025 * (i + 1))
            cross = {"color": line["color"], "markersize": 8, "clip_on": False}
            axes.plot(out, beside, "X", **cross, transform=axes.get_xaxis_transform())
        if np.isnan(np.concatenate(drawn)).any():
            axes.plot([], [], "X", color="#000000", markersize=8, label="diverged")
        log_scale(axes, drawn)
        axes.set_xscale("log")
        label = moment(study.choose_by, study.rungs[0][0], study.average_last)
        axes.set(xlabel="learning rate η", ylabel=label)
        legend(axes, beside=ax is None)
    return axes


def lines_of(study):
    """Return for each optimizer a line: in the color of its class, or by position if some share it.

    The classes are those that are imported: a loaded study has their names alone.
    """
    colors = []
    for description in study.optimizers.values():
        module, _, name = description["class"].rpartition(".")
        cls = getattr(sys.modules.get(module), name, None)
        is_known = isinstance(cls, type) and issubclass(cls, keras.optimizers.Optimizer)
        colors.append(color(cls if is_known else type(name, (keras.optimizers.Optimizer,), {})))
    if len({*colors}) < len(colors):
        colors = [PALETTE[i % len(PALETTE)] for i in range(len(colors))]
    return line_styles(colors)
