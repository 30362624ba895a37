"""Pictures of descents: paths on a surface, losses, effective learning rates."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from keras_lecture_opt.landscapes import Pair
from keras_lecture_opt.plots._labels import Descents, by_label, formula, one_surface, title
from keras_lecture_opt.plots._style import canvas, legend, log_scale, size_of, style
from keras_lecture_opt.plots._surface import are_short, contours, styled, trace, with_reason
from keras_lecture_opt.rates import has_formula


def paths(
    descents: Descents,
    ax: Axes | None = None,
    *,
    figsize: Pair | None = None,
    dpi: float | None = None,
) -> Axes:
    """Draw descents on one surface over its contours: which way does each rule go?

    A ring marks the start and a disk the end. A cross marks the end of a path that ended early;
    its label says why. Stars mark the minima. Where paths coincide, the first is the widest. Dots
    mark the steps, unless a path has more than 100. Paths of one color have marks of their own.

    Args:
        descents: `Descent`s on one surface.
        ax: the `matplotlib.axes.Axes` to draw in. Defaults to those of a new figure.
        figsize, dpi: size in inches and resolution of a new figure. Default to (9, 5.4) and
            matplotlib's.

    Returns:
        The Axes. A notebook shows its figure. Elsewhere call `matplotlib.pyplot.show()` or
        `ax.figure.savefig(file)`.

    Raises:
        TypeError: an argument is something else.
        ValueError: the descents are on several surfaces, a label begins with "_", or a size is not
            allowed.

    Example:

    >>> from keras_lecture_opt import Momentum, SteepestDescent
    >>> from keras_lecture_opt.landscapes import descend, quadratic
    >>> rules = SteepestDescent(learning_rate=0.036), Momentum(learning_rate=0.036)
    >>> ax = paths(descend(quadratic, rule, steps=30) for rule in rules)
    >>> ax.figure.savefig("zigzag.png")
    """
    named = by_label(descents)
    surface = one_surface(named)
    with canvas(ax, (9, 5.4), figsize, dpi) as axes:
        contours(axes, surface)
        axes.set_title(title(named))
        for descent, line in styled(named):
            trace(axes, descent, line, are_short(named))
        legend(axes, beside=ax is None)
    return axes


def panels(
    descents: Descents, *, figsize: Pair | None = None, dpi: float | None = None
) -> list[Axes]:
    """Draw each descent over a contour of its own, side by side, at one scale.

    Args:
        descents: `Descent`s on one surface or several.
        figsize, dpi: size in inches and resolution of the figure. Default to 3.5 x 3.5 for each
            panel and matplotlib's.

    Returns:
        List of the Axes of a new figure, one per descent.
    """
    named = by_label(descents)
    columns = min(len(named), 4)
    rows = -(-len(named) // columns)
    size = size_of((max(3.5 * columns, 5), 3.5 * rows + 0.8), figsize, dpi)
    with style():
        fig = plt.figure(**size)
        axes = [fig.add_subplot(rows, columns, i + 1) for i in range(len(named))]
        shared = len({formula(descent.surface) for descent in named.values()}) == 1
        for ax, (label, descent) in zip(axes, named.items(), strict=True):
            [(_, line)] = styled({label: descent})
            contours(ax, descent.surface)
            trace(ax, descent, line, are_short(named))
            own = [] if shared else [formula(descent.surface)]
            ax.set_title("\n".join([*own, with_reason(descent, line)]), fontsize=14)
            ax.locator_params(nbins=5)
        fig.suptitle(title(named))
    return axes


def losses(
    descents: Descents,
    ax: Axes | None = None,
    *,
    figsize: Pair | None = None,
    dpi: float | None = None,
) -> Axes:
    """Draw the loss after each step, on a log axis unless a loss is negative.

    Args:
        descents: `Descent`s.
        ax: the Axes to draw in. Defaults to those of a new figure.
        figsize, dpi: as in `paths`. Default to (9, 4.8) and matplotlib's.

    Returns:
        The Axes.
    """
    named = by_label(descents)
    with canvas(ax, (9, 4.8), figsize, dpi) as axes:
        for descent, line in styled(named):
            axes.plot(descent.losses, **line)
        log_scale(axes, [descent.losses for descent in named.values()])
        axes.set(xlabel="step", ylabel="loss", title=title(named))
        legend(axes, beside=ax is None)
    return axes


def rates(
    descents: Descents,
    ax: Sequence[Axes] | np.ndarray | None = None,
    *,
    figsize: Pair | None = None,
    dpi: float | None = None,
) -> Sequence[Axes] | np.ndarray:
    """Draw the effective learning rate of each weight in each step, on a log axis.

    Args:
        descents: `Descent`s.
        ax: two Axes, for w1 and w2. Defaults to those of a new figure.
        figsize, dpi: as in `paths`. Default to (12, 4.8) and matplotlib's.

    Returns:
        The two Axes.

    Raises:
        ValueError: an optimizer has no effective learning rate, or none that is known.
    """
    named = by_label(descents)
    for label, descent in named.items():
        if descent.rates is None:
            reason = f"{descent.rule} with these arguments has no effective learning rate."
            if not has_formula(descent.optimizer):
                reason = (
                    f"the effective learning rate of {descent.rule} is not known. Register it "
                    "with `keras_lecture_opt.effective_learning_rate.register`."
                )
            raise ValueError(f"{label}: {reason}")
    with canvas(ax, (12, 4.8), figsize, dpi, columns=2) as pair:
        for i, axes in enumerate(pair):
            for descent, line in styled(named):
                axes.plot(np.arange(1, descent.steps + 1), descent.rates[:, i], **line)
            log_scale(axes, [descent.rates[:, i] for descent in named.values()])
            axes.set(xlabel="step", title=f"$w_{i + 1}$")
        pair[0].set_ylabel("effective learning rate")
        legend(pair[1], beside=ax is None)
        if ax is None:
            pair[0].figure.suptitle(title(named))
    return pair
