"""Layers against time: which layer is off, and since when?"""

import io
import math

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from keras_lecture_opt.monitor._quantities import SCALES

TITLES = {
    "step_to_weight": "RMS(step) / RMS(weights); healthy near 1e-3",
    "execution_to_weight": "RMS(change in one execution) / RMS(weights)",
    "effective_lr": "Median effective learning rate",
}
COLORS = colormaps["viridis"].with_extremes(bad="0.6")  # not measured, or not finite
ROW = 0.2  # inches
LETTER = 0.08
ROWS_OF_A_COLUMN = 30
MOST_COLUMNS = 4


def layer_of(variable):
    return variable.rpartition("/")[0] or variable


def layers(history, quantity):
    """Return layers, steps, and a matrix of values with NaN where nothing was measured.

    A layer is shown by the first of its variables that has such values: the kernel where there is
    one.
    """
    rows = history.select(quantity)
    shown = {}  # layer -> variable
    for row in rows:
        shown.setdefault(layer_of(row.variable), row.variable)
    names = [*shown]
    steps = sorted({row.step for row in rows})
    column = {step: i for i, step in enumerate(steps)}
    line = {variable: i for i, variable in enumerate(shown.values())}
    values = np.full((len(names), len(steps)), np.nan)
    for row in rows:
        if row.variable in line:
            values[line[row.variable], column[row.step]] = row.value
    return names, steps, values


def draw_layers(ax, table, quantity):
    """Draw what `layers` returned, which is not empty; return the mesh, for a color bar."""
    names, steps, values = table
    # From one event to the next a value stands, on a logarithmic axis: what goes wrong does it
    # early.
    edges = [*steps, steps[-1] * (steps[-1] / steps[-2] if len(steps) > 1 else 2)]
    low, high = SCALES[quantity]
    shown = np.ma.masked_invalid(np.where(np.isfinite(values), np.clip(values, low, high), np.nan))
    mesh = ax.pcolormesh(
        edges, np.arange(len(names) + 1), shown, norm=LogNorm(low, high), cmap=COLORS
    )
    ax.set_xscale("log")
    ax.set_xlim(edges[0], edges[-1])
    # Measured steps, spread over the axis, as plain numbers: those of a decade run together.
    spread = np.geomspace(steps[0], steps[-1], 3)
    ticks = sorted({min(steps, key=lambda step: abs(math.log(step / x))) for x in spread})
    ax.set_xticks(ticks, ticks)
    ax.minorticks_off()
    ax.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=9)
    ax.invert_yaxis()
    ax.set_xlabel("Step")
    return mesh


def height(names):
    """The inches that a map needs for legible names."""
    return 1.4 + ROW * max(3, len(names))


def picture(history, quantity):
    """Return the map as a PNG, its width and its height; None if there is nothing to draw.

    TensorBoard's card is low and wide: many layers are drawn in columns, from left to right.
    """
    names, steps, values = layers(history, quantity)
    if not names:
        return None
    columns = min(MOST_COLUMNS, math.ceil(len(names) / ROWS_OF_A_COLUMN))
    rows = math.ceil(len(names) / columns)
    parts = [slice(start, start + rows) for start in range(0, len(names), rows)]
    width = 1.6 + LETTER * max(map(len, names))
    size = (max(9, width * len(parts)), height(names[:rows]))
    figure = Figure(figsize=size, dpi=90, layout="constrained")
    axes = figure.subplots(1, len(parts), squeeze=False)[0]
    for ax, part in zip(axes, parts, strict=True):
        mesh = draw_layers(ax, (names[part], steps, values[part]), quantity)
        ax.set_ylim(rows, 0)  # the last column may be shorter
    figure.suptitle(TITLES[quantity], fontsize=11)
    figure.colorbar(mesh, ax=axes, aspect=30 * math.sqrt(figure.get_figheight() / 5))
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue(), *figure.canvas.get_width_height()
