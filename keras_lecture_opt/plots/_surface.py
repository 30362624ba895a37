"""Surfaces in shades, and paths on them."""

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from keras_lecture_opt.plots._style import MARKS, color, line_styles, wrap

CONTOUR = "#8F8F8F"


def greys(number):
    """Return so many shades, the darkest first."""
    return [mpl.colors.to_hex(grey) for grey in plt.get_cmap("gray")(np.linspace(0.72, 1, number))]


GREYS = greys(15)  # for a surface whose losses all differ


def contours(ax, surface, lines=True):
    """Draw the surface: each shade, valleys darker, covers an equal part of the domain."""
    *grid, levels, colors = shades(surface)
    if colors:
        ax.contourf(*grid, levels, colors=colors)
        if lines:
            ax.contour(*grid, levels, colors=CONTOUR, linewidths=0.6, linestyles="-")
    for minimum in surface.minima:  # above the paths, which it does not hide
        star = {"markerfacecolor": "none", "markeredgecolor": "#000000", "markersize": 18}
        ax.plot(*minimum, "*", **star, zorder=4)
    xlim, ylim = surface.domain
    ax.set(xlim=xlim, ylim=ylim, xlabel="$w_1$", ylabel="$w_2$")


def shades(surface, points=200):
    """Return w1, w2 and the loss on a grid, the levels between the shades, and the shades."""
    w1, w2 = np.meshgrid(*(np.linspace(*limits, points) for limits in surface.domain))
    loss = surface(w1, w2).numpy()
    finite = loss[np.isfinite(loss)]
    levels = np.unique(np.quantile(finite, np.linspace(0, 1, 16))) if finite.size else ()
    return w1, w2, loss, levels, greys(max(len(levels) - 1, 0))


def styled(descents):
    """Yield for each descent its line, with a label, and about eight marks at steps of its own."""
    styles = line_styles([color(descent.optimizer) for descent in descents.values()])
    for (label, descent), line in zip(descents.items(), styles, strict=True):
        every = max(descent.steps // 8, 1)
        first = MARKS.index(line["marker"]) * every // len(MARKS)
        yield descent, line | {"label": wrap(label), "markevery": (first, every)}


def with_reason(descent, line):
    """Return the label of a descent's line, and why the descent ended early."""
    return "\n".join(filter(None, (line["label"], descent.stopped)))


def trace(ax, descent, line, dots):
    """Draw a path: a ring at its start, a dot for each step if wanted, its end."""
    ax.plot(*descent.path.T, **line | {"label": with_reason(descent, line)})
    if dots:
        ax.plot(*descent.path.T, "o", color=line["color"], markersize=line["linewidth"] + 2)
    mark_ends(ax, descent, line)


def mark_ends(ax, descent, line):
    """Draw a ring at the start, and a disk at the end, or a cross where the descent ended early."""
    mark, width = {"color": line["color"], "zorder": 3}, line["linewidth"]
    ring = {"markersize": width + 6, "markerfacecolor": "#FFFFFF", "markeredgewidth": 1.5}
    ax.plot(*descent.path[0], "o", **mark, **ring)
    disk = {"markersize": width + 8, "clip_on": False}  # whole, at the edge of the domain
    return ax.plot(*end(descent), "X" if descent.stopped else "o", **mark, **disk)


def end(descent):
    """Return the last point of a path, or where it leaves the domain."""
    outside = descent.path[-1]
    edge = np.clip(outside, *np.transpose(descent.surface.domain))
    crossed = edge != outside
    if not crossed.any():
        return outside
    inside = descent.path[-2]
    shares = (edge - inside)[crossed] / (outside - inside)[crossed]
    return inside + (outside - inside) * shares.min()


def are_short(descents):
    """Return whether a dot for each step can be seen."""
    return max(descent.steps for descent in descents.values()) <= 100
