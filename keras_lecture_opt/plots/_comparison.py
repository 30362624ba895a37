"""Pictures of a comparison: its training, and what a wrong learning rate costs."""

import numpy as np
from matplotlib.axes import Axes

from keras_lecture_opt._arguments import must_be
from keras_lecture_opt.comparison import Study
from keras_lecture_opt.comparison._report import moment
from keras_lecture_opt.comparison._run import diverged
from keras_lecture_opt.comparison._search import text
from keras_lecture_opt.landscapes import Pair
from keras_lecture_opt.plots._style import canvas, legend, lines, log_scale, wrap


def curves(
    study: Study,
    quantity: str | None = None,
    ax: Axes | None = None,
    *,
    over: str = "epoch",
    figsize: Pair | None = None,
    dpi: float | None = None,
) -> Axes:
    """Draw a comparison's training: each optimizer at its chosen learning rate.

    The line is the mean over the seeds that did not diverge, the band reaches from the lowest to
    the highest.

    Args:
        study: a `keras_lecture_opt.comparison.Study`.
        quantity: what to draw, such as "val_accuracy". Defaults to the quantity by which the
            study chose the rates.
        ax: the Axes to draw in. Defaults to those of a new figure.
        over: "epoch", "steps" or "seconds", along which to draw. An optimizer whose steps take
            longer pays for it over seconds. They depend on the machine and on what else ran there.
            Defaults to "epoch".
        figsize, dpi: as in `paths`. Default to (10, 6) and matplotlib's.

    Returns:
        The Axes.

    Raises:
        TypeError: an argument is something else.
        ValueError: the study has not measured the quantity.
    """
    check_study(study)
    quantity = study.choose_by if quantity is None else quantity
    if quantity not in study.quantities:
        allowed = f"one of {', '.join(study.quantities)}"
        raise ValueError(must_be("quantity", allowed, quantity))
    if over not in ("epoch", "steps", "seconds"):
        raise ValueError(must_be("over", '"epoch", "steps" or "seconds"', over))
    with canvas(ax, (10, 6), figsize, dpi) as axes:
        drawn = []
        for name, line in zip(study.names, lines(study.optimizers.values()), strict=True):
            chosen = study.hyperparameters[name]
            if chosen is None:
                continue
            runs = study.runs(name)
            whole = [[row[quantity] for row in rows] for rows in runs if not diverged(rows)]
            out = len(runs) - len(whole)
            label = f"{name}, η {text(chosen)}" + f", {out} of {len(runs)} diverged" * bool(out)
            values = np.array(whole)
            ends = study.ends_of_epochs(name, over)
            over_seeds(axes, ends, values, line, label=wrap(label))
            drawn.append(values.ravel())
        if drawn:
            log_scale(axes, drawn)
            legend(axes, beside=ax is None)
        axes.set(xlabel=over, ylabel=quantity)
        if over != "seconds":
            axes.xaxis.get_major_locator().set_params(integer=True)
    return axes


def sensitivity(
    study: Study,
    ax: Axes | None = None,
    *,
    figsize: Pair | None = None,
    dpi: float | None = None,
) -> Axes:
    """Draw what each learning rate reached in a comparison: what does a wrong one cost?

    Shows the quantity by which the rates were chosen at the end of the first rung, where all rates
    were trained: the mean over the seeds, and a band from the lowest to the highest. A cross at the
    edge is a rate at which a seed diverged. A ring is the rate that was chosen in the end.

    Args:
        study: a `keras_lecture_opt.comparison.Study`.
        ax: the Axes to draw in. Defaults to those of a new figure.
        figsize, dpi: as in `paths`. Default to (10, 6) and matplotlib's.

    Returns:
        The Axes.

    Raises:
        TypeError: an argument is something else.
    """
    check_study(study)
    rates = np.array(study.rates)
    with canvas(ax, (10, 6), figsize, dpi) as axes:
        styles = zip(study.names, lines(study.optimizers.values()), strict=True)
        drawn, edge = [], max(study.sign, 0)  # of the axes, where the worse values are
        for i, (name, line) in enumerate(styles):
            values = study.values(name, 0)
            values = study.sign * np.where(np.isfinite(values).all(axis=1)[:, None], values, np.nan)
            line["marker"] = line["marker"] or "o"  # each rate that was tried
            mean = over_seeds(axes, rates, values.T, line, label=wrap(name))
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
        label = moment(study.choose_by, study.rungs[0][0])
        axes.set(xlabel="learning rate η", ylabel=label)
        legend(axes, beside=ax is None)
    return axes


def over_seeds(ax, x, values, line, **options):
    """Draw the mean of the rows, and a band from their lowest to their highest; return the mean."""
    mean = values.mean(axis=0)
    ax.plot(x, mean, **line, **options)
    band = values.min(axis=0), values.max(axis=0)
    ax.fill_between(x, *band, color=line["color"], alpha=0.2, linewidth=0)
    return mean


def check_study(study):
    if not isinstance(study, Study):
        raise TypeError(must_be("study", "a keras_lecture_opt.comparison.Study", study))
