"""What monitors measured in a training, in one picture."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from keras_lecture_opt._arguments import must_be
from keras_lecture_opt.landscapes import Pair
from keras_lecture_opt.monitor import EffectiveLearningRateMonitor, _pictures
from keras_lecture_opt.monitor._quantities import QUANTITIES, SCALES
from keras_lecture_opt.plots._labels import labeled
from keras_lecture_opt.plots._style import legend, size_of, style

ROW = 0.2  # inches that the name of a layer needs
Monitors = EffectiveLearningRateMonitor | Sequence[EffectiveLearningRateMonitor]


def training(
    runs: Monitors | dict[Any, Monitors],
    quantity: str = "step_to_weight",
    *,
    figsize: Pair | None = None,
    dpi: float | None = None,
) -> Figure:
    """Draw what monitors measured: which layer takes what steps, and since when?

    Above, one map of layers against steps for each run, in the colors of TensorBoard's
    `all_layers`. Below, a curve for each run: the median over the layers. Of several seeds, the
    first is mapped; the curve is their median, in a band from their lowest to their highest.

    Args:
        runs: an `EffectiveLearningRateMonitor` after training, or a dict from labels to monitors
            or to lists of monitors, one for each seed.
        quantity: what to draw: "step_to_weight", "execution_to_weight" or "effective_lr".
        figsize, dpi: size in inches and resolution of the figure. Default to what the names of the
            layers need and matplotlib's.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        TypeError: an argument is something else.
        ValueError: the quantity is none of these, a monitor has not measured it, or a size is not
            allowed.

    Example:

    >>> import keras
    >>> from keras_lecture_opt import EffectiveLearningRateMonitor, RMSProp
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> model.compile(RMSProp(), "mse")
    >>> monitor = EffectiveLearningRateMonitor(update_freq=2)
    >>> x, y = keras.random.normal((64, 4)), keras.random.normal((64, 2))
    >>> fitted = model.fit(x, y, batch_size=4, verbose=0, callbacks=[monitor])
    >>> training(monitor).savefig("steps.png")
    """
    if quantity not in SCALES:
        allowed = f"one of {', '.join(map(repr, SCALES))}"
        raise ValueError(must_be("quantity", allowed, quantity))
    groups = {
        label: [_pictures.layers(history, quantity) for history in histories]
        for label, histories in histories_by_label(runs).items()
    }
    for label, tables in groups.items():
        if not all(names for names, *_ in tables):
            raise ValueError(f"{label or 'The monitor'} has not measured {quantity!r}.")
    high = 1.4 + ROW * max(3, *(len(names) for (names, *_), *_ in groups.values()))
    size = size_of((2 + 5 * len(groups), high + 3.5), figsize, dpi)
    with style():
        figure = plt.figure(**size)
        above, below = figure.subfigures(2, height_ratios=[high, 3.5])
        axes = above.subplots(1, len(groups), squeeze=False)[0]
        for ax, (label, tables) in zip(axes, groups.items(), strict=True):
            mesh = _pictures.draw_layers(ax, tables[0], quantity)
            ax.set_title(label or QUANTITIES[quantity].title, fontsize=14)
        above.colorbar(mesh, ax=axes)
        ax = below.subplots()
        for label, tables in groups.items():
            steps, curves = medians(tables)
            [line] = ax.plot(steps, np.median(curves, axis=0), label=label)
            if len(curves) > 1:
                band = curves.min(axis=0), curves.max(axis=0)
                ax.fill_between(steps, *band, color=line.get_color(), alpha=0.25, linewidth=0)
        ax.set(xscale="log", yscale="log", xlabel="step", ylabel="median over layers")
        if any(groups):
            legend(ax)
    return figure


def medians(tables):
    """Return the steps that all tables have, and the median over layers, a row for each."""
    curves = []
    for _, steps, values in tables:
        with warnings.catch_warnings(action="ignore"):  # a step at which no layer has a value
            curves.append(dict(zip(steps, np.nanmedian(values, axis=0), strict=True)))
    common = sorted(set.intersection(*map(set, curves)))
    return common, np.array([[curve[step] for step in common] for curve in curves])


def histories_by_label(runs):
    """Return the histories of monitors as a dict of lists; one monitor has the label ""."""
    labels, given = labeled("runs", runs) if isinstance(runs, dict) else ([""], [runs])
    groups = [group if isinstance(group, (list, tuple)) else [group] for group in given]
    monitors = [monitor for group in groups for monitor in group]
    are_monitors = all(isinstance(m, EffectiveLearningRateMonitor) for m in monitors)
    if not (groups and all(groups) and are_monitors):
        allowed = "a monitor, or a dict from labels to monitors or to lists of them"
        raise TypeError(must_be("runs", allowed, runs))
    histories = [[monitor.history for monitor in group] for group in groups]
    return dict(zip(labels, histories, strict=True))
