"""What was measured to find a learning rate, in one picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from keras_lecture_opt._arguments import must_be
from keras_lecture_opt._resolve import known_optimizers
from keras_lecture_opt.finder import FoundLearningRate
from keras_lecture_opt.finder._search import end
from keras_lecture_opt.landscapes import Pair
from keras_lecture_opt.plots._labels import labeled
from keras_lecture_opt.plots._style import OTHERS, canvas, color, legend, line_styles, log_scale

Found = FoundLearningRate | Sequence[FoundLearningRate]


def learning_rates(
    found: Found | dict[Any, FoundLearningRate],
    *,
    ax: Axes | None = None,
    figsize: Pair | None = None,
    dpi: float | None = None,
) -> Axes:
    """Draw what `find_learning_rate` measured: the loss against the learning rate.

    A point is the loss with which the training at a rate ended, a mean over the last third of its
    steps: the better a rate, the longer it was trained. The ring is the rate that was found, the
    thick line the range that is nearly as good. Crosses at the top mark rates with which the loss
    rises.

    Args:
        found: what `find_learning_rate` returned, several of them, or a dict from labels to them.
        ax: plain matplotlib `Axes` to draw into. Defaults to those of a new figure.
        figsize, dpi: size in inches and resolution of a new figure. Default to 10 x 6 and
            matplotlib's.

    Returns:
        The `matplotlib.axes.Axes`.

    Raises:
        TypeError: an argument is something else.
        ValueError: there is nothing to draw, or a size is not allowed.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from keras_lecture_opt import Adam, find_learning_rate
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> model.compile(Adam(), "mse")
    >>> x = np.random.default_rng(0).normal(size=(640, 3))
    >>> found = find_learning_rate(model, x, x.sum(axis=1), verbose=0)
    >>> learning_rates(found).figure.savefig("rates.png")
    """
    labels, given = labeled("found", found)
    several = given if isinstance(given, (list, tuple)) else [given]
    allowed = "what `find_learning_rate` returned, several of them, or a dict of them"
    if not all(isinstance(one, FoundLearningRate) for one in several):
        raise TypeError(must_be("found", allowed, found))
    if not several:
        raise ValueError(must_be("found", allowed, found))
    labels = labels or [one.optimizer for one in several]
    classes = known_optimizers()
    colors = [color(classes[f.optimizer]) if f.optimizer in classes else OTHERS[0] for f in several]
    with canvas(ax, (10, 6), figsize, dpi) as axes:
        for one, label, style in zip(several, labels, line_styles(colors), strict=True):
            # All but the lowest, which is tried as no training.
            points = {rate: float(end(one.losses[rate]).mean()) for rate in [*one.losses][1:]}
            top = np.inf if one.diverges is None else one.diverges
            good = {rate: loss for rate, loss in points.items() if rate < top}
            style = style | {"marker": ".", "linewidth": 1.5}
            label = f"{label}, {one.rate:g}{'' if one.is_sure else ', unsure'}"
            axes.plot(good.keys(), good.values(), **style, label=label)
            close = [rate for rate in good if one.low <= rate <= one.high]
            wide = {"color": style["color"], "alpha": 0.4, "solid_capstyle": "round"}
            axes.plot(close, [good[rate] for rate in close], linewidth=9, **wide)
            ring = {"markersize": 15, "markerfacecolor": "none", "markeredgewidth": 2.5}
            axes.plot(one.rate, good[one.rate], "o", color=style["color"], **ring)
            bad = [rate for rate in points if rate >= top]
            ends = {"transform": axes.get_xaxis_transform(), "clip_on": False}
            axes.plot(bad, [1] * len(bad), "x", color=style["color"], markersize=10, **ends)
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss at the end")
        log_scale(axes, [[*(line.get_ydata())] for line in axes.lines if len(line.get_xdata()) > 1])
        legend(axes, beside=ax is None)
    return axes
