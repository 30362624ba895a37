"""Pictures of descents: paths over a surface, losses, effective learning rates, and films.

Each function takes one `Descent`, several, or a dict from labels to descents. Needs the extra
"plot" (`pip install '.[plot]'` in the clone).
"""

import numbers
import pathlib
from collections.abc import Iterable

import numpy as np

try:
    import imageio_ffmpeg
    import matplotlib as mpl
    import tqdm
    from matplotlib import animation, figure
    from matplotlib import pyplot as plt
except ImportError as error:
    raise ImportError(
        f"keras_lecture_opt.plots needs the extra 'plot', pip install '.[plot]' in the clone: "
        f"{error}"
    ) from error

from keras_lecture_opt.landscapes import Descent
from keras_lecture_opt.rates import leaves

# Loads the backend. A notebook's switches the display of figures on when it is loaded, and inside
# `rc_context` that would be undone.
plt.draw_if_interactive()

# One colour per rule, in every picture of this project: Okabe and Ito's, which the colour-blind
# tell apart. A Keras class has that of the rule that it is nearest to.
COLORS = {
    "SteepestDescent": "#000000",
    "Momentum": "#E69F00",
    "Nesterov": "#D55E00",
    "AdaGrad": "#56B4E9",
    "RMSProp": "#0072B2",
    "SimplifiedAdam": "#CC79A7",
    "Adam": "#009E73",
    "SGD": "#000000",
    "Adagrad": "#56B4E9",
    "RMSprop": "#0072B2",
    "AdamW": "#009E73",
}
OTHERS = "#7F7F7F"
LINES = ("-", "--", ":", "-.")  # in this order where a colour comes again
STYLE = {  # legible from the last row
    "axes.formatter.limits": (-3, 4),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 14,
    "legend.fontsize": 14,
    "lines.linewidth": 2.5,
}
HYPERPARAMETERS = {
    "learning_rate": "η",
    "momentum": "μ",
    "rho": "γ",
    "beta_1": "β₁",
    "beta_2": "β₂",
    "epsilon": "ε",
}


@mpl.rc_context(STYLE)
def paths(descents, ax=None):
    """Draws descents on one surface over its contours: which way does each rule go?

    A ring marks the start, a disk the end, or a cross if the path ended early: then its label says
    why. Stars mark the minima.

    Args:
        descents: `Descent`s on one surface.
        ax: the `matplotlib.axes.Axes` to draw in. Defaults to those of a new figure.

    Returns:
        The Axes. A notebook shows its figure; elsewhere `matplotlib.pyplot.show()` does, or
        `ax.figure.savefig(file)`.

    Example:

    >>> from keras_lecture_opt import Momentum, SteepestDescent
    >>> from keras_lecture_opt.landscapes import descend, quadratic
    >>> rules = SteepestDescent(learning_rate=0.036), Momentum(learning_rate=0.036)
    >>> ax = paths(descend(quadratic, rule, steps=30) for rule in rules)
    >>> ax.figure.savefig("zigzag.png")
    """
    labelled = by_label(descents)
    ax = ax or plt.figure(figsize=(10, 6)).add_subplot()
    contours(ax, one_surface(labelled))
    for (label, descent), style in zip(labelled.items(), styles(labelled), strict=True):
        trace(ax, descent, label="\n".join(filter(None, (label, descent.stopped))), **style)
    legend(ax)
    return ax


@mpl.rc_context(STYLE)
def panels(descents):
    """Draws each descent over a contour of its own, side by side, at one scale.

    Args:
        descents: `Descent`s on one surface or several.

    Returns:
        List of the Axes, one per descent.
    """
    labelled = by_label(descents)
    columns = min(len(labelled), 4)
    rows = -(-len(labelled) // columns)
    fig = plt.figure(figsize=(4.6 * columns, 4.4 * rows))
    axes = []
    for i, (label, descent) in enumerate(labelled.items()):
        ax = fig.add_subplot(rows, columns, i + 1)
        contours(ax, descent.surface)
        trace(ax, descent, color=color(descent))
        ax.set_title("\n".join(filter(None, (label, descent.stopped))), fontsize=14)
        ax.locator_params(nbins=5)
        axes.append(ax)
    return axes


@mpl.rc_context(STYLE)
def losses(descents, ax=None):
    """Draws the loss after each step, on a log axis unless a loss is 0 or less.

    Args:
        descents: `Descent`s.
        ax: the Axes to draw in. Defaults to those of a new figure.

    Returns:
        The Axes.
    """
    labelled = by_label(descents)
    ax = ax or plt.figure(figsize=(10, 5)).add_subplot()
    for (label, descent), style in zip(labelled.items(), styles(labelled), strict=True):
        ax.plot(descent.losses, **style, label=label)
    if all(np.all(descent.losses > 0) for descent in labelled.values()):
        ax.set_yscale("log")
    ax.set(xlabel="step", ylabel="loss")
    legend(ax)
    return ax


@mpl.rc_context(STYLE)
def rates(descents, axes=None):
    """Draws the effective learning rate of each weight in each step, on a log axis.

    Args:
        descents: `Descent`s.
        axes: two Axes, for w1 and w2. Defaults to those of a new figure.

    Returns:
        The two Axes.

    Raises:
        ValueError: the effective learning rate of an optimizer is not known.
    """
    labelled = by_label(descents)
    for label, descent in labelled.items():
        if descent.rates is None:
            raise ValueError(
                f"{label}: the effective learning rate of {descent.rule} is not known. "
                "`keras_lecture_opt.effective_learning_rate.register` can tell it."
            )
    if axes is None:
        axes = plt.figure(figsize=(14, 5)).subplots(1, 2, sharey=True)
    for i, ax in enumerate(axes):
        for (label, descent), style in zip(labelled.items(), styles(labelled), strict=True):
            steps = np.arange(1, descent.steps + 1)
            ax.plot(steps, descent.rates[:, i], **style, label=label)
        ax.set_yscale("log")
        ax.set(xlabel="step", title=f"$w_{i + 1}$")
    axes[0].set_ylabel("effective learning rate")
    legend(axes[1])
    return axes


class Film(animation.FuncAnimation):
    """What `animate` returns: a notebook shows it with a player."""

    def _repr_html_(self):
        return self.to_jshtml()


@mpl.rc_context(STYLE)
def animate(descents, file=None, fps=20):
    """Shows descents on one surface step by step.

    A film has 100 frames at most: of longer descents each frame shows several steps.

    Args:
        descents: `Descent`s on one surface.
        file: where to write the film, with a progress bar: a name that ends in .gif, .mp4 or
            .html. Defaults to no file.
        fps: frames per second.

    Returns:
        A `matplotlib.animation.Animation`. As the last line of a notebook's cell it is a player.

    Raises:
        ValueError: `file` ends in something else, or `fps` is no number above 0.
        FileNotFoundError: its folder does not exist.
    """
    writers = {
        ".gif": lambda: animation.PillowWriter(fps),
        ".mp4": lambda: animation.FFMpegWriter(fps),
        ".html": lambda: animation.HTMLWriter(fps, embed_frames=True),
    }
    if isinstance(fps, bool) or not isinstance(fps, numbers.Real) or not 0 < fps < np.inf:
        raise ValueError(f"`fps` must be a number > 0, not {fps!r}.")
    if file is not None:
        file = pathlib.Path(file)
        if file.suffix not in writers:
            raise ValueError(f"`file` must end in {', '.join(writers)}, not {file.name!r}.")
        if not file.parent.is_dir():
            raise FileNotFoundError(f"`file`: there is no folder {str(file.parent)!r}.")
    labelled = by_label(descents)
    # Not pyplot's: a notebook would show the last frame, too.
    fig = figure.Figure(figsize=(10, 6), dpi=72)
    ax = fig.add_subplot()
    contours(ax, one_surface(labelled), lines=False)  # they make a frame three times as large
    lines = [
        ax.plot([], [], **style, label=label)[0]
        for label, style in zip(labelled, styles(labelled), strict=True)
    ]
    heads = [ax.plot([], [], "o", color=line.get_color(), markersize=10)[0] for line in lines]
    legend(ax)
    most = max(descent.steps for descent in labelled.values())
    frames = np.unique(np.linspace(0, most, min(most + 1, 100)).round().astype(int))

    def draw(step):
        ax.set_title(f"step {step}")
        for line, head, descent in zip(lines, heads, labelled.values(), strict=True):
            line.set_data(*descent.path[: step + 1].T)
            head.set_data(*descent.path[: step + 1][-1:].T)
        return *lines, *heads

    film = Film(fig, draw, frames, interval=1000 / fps)
    if file is not None:
        ffmpeg = {"animation.ffmpeg_path": imageio_ffmpeg.get_ffmpeg_exe()}
        with mpl.rc_context(ffmpeg), tqdm.tqdm(total=len(frames), desc=file.name) as bar:
            film.save(file, writers[file.suffix](), progress_callback=lambda *_: bar.update())
    return film


def by_label(descents):
    """The descents as a dict; labels, unless given, tell the rules and where they differ."""
    if isinstance(descents, Descent):
        descents = [descents]
    given = descents.values() if isinstance(descents, dict) else descents
    values = list(given) if isinstance(given, Iterable) else []
    if not values or not all(isinstance(value, Descent) for value in values):
        raise TypeError(f"`descents` must be one or more Descents, not {descents!r}.")
    return (
        descents if isinstance(descents, dict) else dict(zip(labels(values), values, strict=True))
    )


def labels(descents):
    """For each descent its rule, and those hyperparameters that others of that rule have not."""
    configs = [leaves(descent.optimizer)[0].get_config() for descent in descents]
    names = []
    for descent, config in zip(descents, configs, strict=True):
        same = [c for d, c in zip(descents, configs, strict=True) if d.rule == descent.rule]
        own = [
            f"{symbol}(t)" if isinstance(config[name], dict) else f"{symbol} {config[name]:.4g}"
            for name, symbol in HYPERPARAMETERS.items()
            if name in config and any(c[name] != config[name] for c in same)
        ]
        name = ", ".join([descent.rule, *own])
        again = sum(n.partition(" #")[0] == name for n in names)
        names.append(f"{name} #{again + 1}" if again else name)
    return names


def one_surface(labelled):
    """The surface of all these descents."""
    surfaces = {descent.surface for descent in labelled.values()}
    if len(surfaces) > 1:
        names = sorted(surface.name for surface in surfaces)
        raise ValueError(f"`descents` must be on one surface, not on {', '.join(names)}.")
    return surfaces.pop()


def color(descent):
    return COLORS.get(descent.rule, OTHERS)


def styles(labelled):
    """For each descent the colour of its rule, and another line if that has come before."""
    colors = [color(descent) for descent in labelled.values()]
    return [
        {"color": c, "linestyle": LINES[colors[:i].count(c) % len(LINES)]}
        for i, c in enumerate(colors)
    ]


def trace(ax, descent, **style):
    """Draws a path: a ring at its start, dots while they can be told apart, its end."""
    color = style["color"]
    ax.plot(*descent.path.T, **style, marker="." if descent.steps <= 100 else "", markersize=7)
    ax.plot(*descent.path[0], "o", color=color, markerfacecolor="#FFFFFF", markersize=9)
    # Where it left the domain, its last point is outside.
    end = np.clip(descent.path[-1], *np.transpose(descent.surface.domain))
    ax.plot(*end, "X" if descent.stopped else "o", color=color, markersize=10, clip_on=False)


def contours(ax, surface, lines=True):
    """Draws the surface: each shade, valleys darker, covers an equal part of the domain."""
    (left, right), (bottom, top) = surface.domain
    w1, w2 = np.meshgrid(np.linspace(left, right, 200), np.linspace(bottom, top, 200))
    loss = surface(w1, w2).numpy()
    levels = np.unique(np.quantile(loss[np.isfinite(loss)], np.linspace(0, 1, 16)))
    if len(levels) > 1:
        greys = plt.get_cmap("gray")(np.linspace(0.72, 1, len(levels) - 1))
        ax.contourf(w1, w2, loss, levels, colors=greys)
        if lines:
            ax.contour(w1, w2, loss, levels, colors="#8F8F8F", linewidths=0.6, linestyles="-")
    for minimum in surface.minima:
        ax.plot(*minimum, "*", color="#FFFFFF", markeredgecolor="#000000", markersize=16, zorder=3)
    ax.set(xlim=(left, right), ylim=(bottom, top), xlabel="$w_1$", ylabel="$w_2$")
    ax.set_title(f"${surface.formula}$" if surface.formula else surface.name)


def legend(ax):
    """Beside the axes, where it hides no path."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
