"""Layers against time: which layer is off, and since when?"""

import io
import math

import matplotlib.style
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from keras_lecture_opt.monitor._quantities import QUANTITIES, SCALES

COLORS = colormaps["viridis"].with_extremes(bad="0.6")  # not measured, or not finite
# TensorBoard shows a picture in 350 x 215 pixels until one asks for more: it has twice as many, for
# sharp screens, and few names, in letters of 10 of those pixels.
SIZE = 4.375, 2.6875  # inches
DPI = 160
FONT = 9
MOST_NAMES = 14
LONGEST_NAME = 20  # letters


def layer_of(variable):
    return variable.rpartition("/")[0] or variable


def layers(history, quantity):
    """Return layers, steps, and a matrix of values with NaN where nothing was measured.

    A layer is shown by the first of its variables that has such values: the kernel where there is
    one.
    """
    rows = history.select(quantity)
    variables = {}  # of each layer, the one that stands for it
    for row in rows:
        variables.setdefault(layer_of(row.variable), row.variable)
    steps = sorted({row.step for row in rows})
    found = {(row.variable, row.step): row.value for row in rows}
    values = [[found.get((name, step), np.nan) for step in steps] for name in variables.values()]
    return [*variables], steps, np.array(values)


def draw_layers(ax, table, quantity, most_names=None):
    """Draw what `layers` returned, which is not empty; return the mesh, for a color bar.

    Every layer is drawn. The first, the last and some between are named, if names are many.
    """
    names, steps, values = table
    # A value stands until the next event, on a logarithmic axis: what goes wrong does it early.
    edges = [*steps, steps[-1] * (steps[-1] / steps[-2] if len(steps) > 1 else 2)]
    low, high = SCALES[quantity]
    clipped = np.where(np.isfinite(values), np.clip(values, low, high), np.nan)
    rows = np.arange(len(names) + 1)
    mesh = ax.pcolormesh(edges, rows, clipped, norm=LogNorm(low, high), cmap=COLORS)
    ax.set(xscale="log", xlim=(edges[0], edges[-1]), xlabel="Step")
    # Measured steps, spread over the axis, as plain numbers: those of a decade run together.
    spread = np.geomspace(steps[0], steps[-1], 3)
    ticks = sorted({min(steps, key=lambda step: abs(math.log(step / x))) for x in spread})
    ax.set_xticks(ticks, ticks)
    ax.minorticks_off()
    named = np.linspace(0, len(names) - 1, min(len(names), most_names or len(names))).astype(int)
    labels = [names[i] for i in named]  # a layer may be called anything
    ax.set_yticks(named + 0.5, labels, fontsize=FONT, parse_math=False)
    ax.invert_yaxis()
    return mesh


def picture(history, quantity):
    """Return the map as a PNG, its width and its height; None if there is nothing to draw."""
    names, steps, values = layers(history, quantity)
    if not names:
        return None
    with matplotlib.style.context(["default", {"font.size": FONT}]):  # not the user's
        figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
        ax = figure.subplots()
        mesh = draw_layers(ax, ([*map(shorten, names)], steps, values), quantity, MOST_NAMES)
        figure.suptitle(QUANTITIES[quantity].title, fontsize=FONT)
        figure.colorbar(mesh, aspect=15, pad=0.03)
        file = io.BytesIO()
        figure.savefig(file, format="png")
    return file.getvalue(), *figure.canvas.get_width_height()


def shorten(name):
    """Return a name that fits, with both ends of its last parts, which tell blocks apart."""
    if len(name) <= LONGEST_NAME:
        return name
    parts = name.split("/")[-4:]
    room = (LONGEST_NAME + 1) // len(parts) - 1
    head, tail = (room - 1) // 2, room // 2
    return "/".join(p if len(p) <= room else f"{p[:head]}…{p[-tail:]}" for p in parts)
