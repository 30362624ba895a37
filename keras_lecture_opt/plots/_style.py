"""What all pictures share: colors, marks, sizes, axes and legends."""

import contextlib
import re
import textwrap
import zlib
from contextlib import AbstractContextManager

import keras
import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from keras_lecture_opt._arguments import check_number, check_numbers, must_be
from keras_lecture_opt.rates import inner_optimizers
from keras_lecture_opt.rules import RULES

# Loads the backend. In a notebook this switches the display of figures on, which the context of a
# style would undo.
plt.draw_if_interactive()

# One color per rule, in every picture of this project: Okabe and Ito's, which color-blind readers
# can tell apart. Those that are left are for rules to come and for other optimizers.
PALETTE = (
    *("#000000", "#E69F00", "#D55E00", "#56B4E9", "#0072B2", "#CC79A7", "#009E73"),
    *("#8C564B", "#7F7F7F", "#B8A100", "#7A5FD0"),
)
COLORS = dict(zip(RULES, PALETTE, strict=False))
for rule in RULES:
    # A class of Keras has the color of the rule that it is nearest to, or of the last such rule.
    if rule.nearest_keras and not rule.nearest_keras[1]:
        COLORS[rule.nearest_keras[0]] = COLORS[rule]
OTHERS = PALETTE[len(RULES) :]
# In this order where a color repeats: the first line has no marks.
MARKS = ("", "s", "^", "o", "D", "v", "P", "p", "<", ">", "h", "d")
STYLE = {  # legible from the last row
    "axes.formatter.limits": (-3, 4),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 14,
    "legend.fontsize": 14,
}


def style() -> AbstractContextManager:
    """Return the context of this project's style, whatever the user's is."""
    return plt.style.context(["default", STYLE])


def color(optimizer: keras.optimizers.Optimizer | type) -> str:
    """Return the color of an optimizer, or of an optimizer's class: the same in every picture."""
    cls = optimizer if isinstance(optimizer, type) else type(inner_optimizers(optimizer)[0])
    if not issubclass(cls, keras.optimizers.Optimizer):
        allowed = "a keras.optimizers.Optimizer or such a class"
        raise TypeError(must_be("optimizer", allowed, optimizer))
    known = [COLORS[ancestor] for ancestor in cls.__mro__ if ancestor in COLORS]
    # By its name: the same in every process, too.
    return known[0] if known else OTHERS[zlib.crc32(cls.__name__.encode()) % len(OTHERS)]


@contextlib.contextmanager
def canvas(ax, default, figsize, dpi, columns=1):
    """Yield the user's axes, if they are plain ones, or those of a new figure in this style."""
    size = size_of(default, figsize, dpi)
    if ax is None:
        with style():
            yield plt.figure(**size).subplots(1, columns, sharey=True)
        return
    given = [ax] if columns == 1 else ax
    right_number = isinstance(given, (list, tuple, np.ndarray)) and len(given) == columns
    if not right_number or not all(isinstance(a, Axes) and a.name == "rectilinear" for a in given):
        allowed = "a matplotlib Axes" if columns == 1 else "two matplotlib Axes"
        raise TypeError(must_be("ax", f"{allowed}, neither polar nor 3D", ax))
    if figsize is not None or dpi is not None:
        raise ValueError("`figsize` and `dpi` must be left out with `ax`: its figure has a size.")
    yield ax


def size_of(default, figsize, dpi):
    """Return the arguments of a new figure: its size, and its resolution."""
    if figsize is not None:
        allowed = "a width and a height in inches, two numbers > 0"
        if min(check_numbers("figsize", figsize, (2,), allowed)) <= 0:
            raise ValueError(must_be("figsize", allowed, figsize))
    if dpi is not None:
        dpi = check_number("dpi", dpi, "a finite number > 0", lambda x: 0 < x < np.inf)
    return {"figsize": default if figsize is None else figsize, "dpi": dpi}


def line_styles(colors):
    """Return a line for each color; where a color repeats, shade and mark differ."""
    widths = 2.2 + min(0.9, 5.4 / len(colors)) * np.arange(len(colors))[::-1]
    again = [colors[:i].count(c) for i, c in enumerate(colors)]
    return [
        {
            "color": shade(c, 0.8 * k / colors.count(c)),
            "linewidth": width,  # what lies below stays visible
            "marker": MARKS[k % len(MARKS)],
            "markersize": width + 5,
        }
        for c, k, width in zip(colors, again, widths, strict=True)
    ]


def shade(color, share):
    """Return the color, or a darker one, or a lighter one of a dark color."""
    rgb = np.array(mpl.colors.to_rgb(color))
    far = 0 if rgb.sum() > 0.5 else 0.9
    return mpl.colors.to_hex(rgb + share * (far - rgb)).upper()


def wrap(label):
    """Break a label into lines that leave room for the picture, after commas if there are any."""
    if ", " in label:
        label = re.sub(r"(?<!,) | (?=[^(]*\))", "\N{NO-BREAK SPACE}", label)
    return textwrap.fill(label, 26).replace("\N{NO-BREAK SPACE}", " ")


def log_scale(ax, values):
    """Use a log axis if no value is negative; zeros, as at a minimum met exactly, are left out."""
    values = np.concatenate(values)
    values = values[np.isfinite(values)]
    if np.any(values > 0) and np.all(values >= 0):
        ax.set_yscale("log", nonpositive="mask")


def legend(ax, beside=True):
    """Put the legend beside the axes, where it hides no path, or inside axes of the user."""
    if not beside:
        return ax.legend()
    _, labels = ax.get_legend_handles_labels()
    # In heights of a letter. Many labels get smaller ones.
    tall = sum(1.2 * (label.count("\n") + 1) + 0.5 for label in labels)
    room = 72 * ax.figure.bbox.height / ax.figure.dpi - 100  # points, below a title
    size = min(STYLE["legend.fontsize"], room / tall)
    return ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=size)
