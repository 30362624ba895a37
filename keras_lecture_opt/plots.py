"""Pictures of descents: paths over a surface, losses, effective learning rates, and films.

Each function takes one `Descent`, several, or a dict from labels to descents. Needs the extra
"plot" (`pip install '.[plot]'` in the clone).
"""

import contextlib
import functools
import numbers
import os
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

from keras_lecture_opt.landscapes import HYPERPARAMETERS, Descent

# Loads the backend. A notebook's switches the display of figures on when it is loaded, and inside
# the context of a style that would be undone.
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
}
SYMBOLS = dict(zip(HYPERPARAMETERS, ("η", "μ", "γ", "β₁", "β₂", "ε"), strict=True))


def style():
    """Ours, whatever the user's is."""
    return plt.style.context(["default", STYLE])


def styled(draw):
    """Draws in our style on a new figure, or in the user's style in the user's axes."""

    @functools.wraps(draw)
    def drawn(descents, ax=None):
        with style() if ax is None else contextlib.nullcontext():
            return draw(by_label(descents), ax)

    return drawn


@styled
def paths(descents, ax=None):
    """Draws descents on one surface over its contours: which way does each rule go?

    A ring marks the start, a disk the end, or a cross if the path ended early: then its label says
    why. Stars mark the minima. Where paths coincide, the first is the widest.

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
    surface = one_surface(descents)
    ours = ax is None
    ax = plt.figure(figsize=(9, 5.4)).add_subplot() if ours else ax
    contours(ax, surface)
    ax.set_title(title(surface))
    for (label, descent), line in zip(descents.items(), lines(descents), strict=True):
        trace(ax, descent, label=labelled(label, descent), **line)
    legend(ax, beside=ours)
    return ax


def panels(descents):
    """Draws each descent over a contour of its own, side by side, at one scale.

    Args:
        descents: `Descent`s on one surface or several.

    Returns:
        List of the Axes of a new figure, one per descent.
    """
    descents = by_label(descents)
    titles = {title(descent.surface) for descent in descents.values()}
    columns = min(len(descents), 4)
    rows = -(-len(descents) // columns)
    with style():
        fig = plt.figure(figsize=(3.5 * columns, 3.5 * rows + 0.4))
        axes = [fig.add_subplot(rows, columns, i + 1) for i in range(len(descents))]
        for ax, (label, descent) in zip(axes, descents.items(), strict=True):
            contours(ax, descent.surface)
            trace(ax, descent, color=color(descent), linewidth=2.5)
            own = [title(descent.surface)] if len(titles) > 1 else []
            ax.set_title("\n".join([*own, labelled(label, descent)]), fontsize=14)
            ax.locator_params(nbins=5)
        if len(titles) == 1:
            fig.suptitle(*titles)
    return axes


@styled
def losses(descents, ax=None):
    """Draws the loss after each step, on a log axis unless a loss is negative.

    Args:
        descents: `Descent`s.
        ax: the Axes to draw in. Defaults to those of a new figure.

    Returns:
        The Axes.
    """
    ours = ax is None
    ax = plt.figure(figsize=(9, 4.5)).add_subplot() if ours else ax
    for (label, descent), line in zip(descents.items(), lines(descents), strict=True):
        ax.plot(descent.losses, **line, label=label)
    log_scale(ax, [descent.losses for descent in descents.values()])
    ax.set(xlabel="step", ylabel="loss")
    legend(ax, beside=ours)
    return ax


@styled
def rates(descents, ax=None):
    """Draws the effective learning rate of each weight in each step, on a log axis.

    Args:
        descents: `Descent`s.
        ax: two Axes, for w1 and w2. Defaults to those of a new figure.

    Returns:
        The two Axes.

    Raises:
        ValueError: the effective learning rate of an optimizer is not known.
    """
    for label, descent in descents.items():
        if descent.rates is None:
            raise ValueError(
                f"{label}: the effective learning rate of {descent.rule} is not known. "
                "`keras_lecture_opt.effective_learning_rate.register` can tell it."
            )
    ours = ax is None
    axes = plt.figure(figsize=(12, 4.5)).subplots(1, 2, sharey=True) if ours else ax
    for i, ax in enumerate(axes):
        for (label, descent), line in zip(descents.items(), lines(descents), strict=True):
            ax.plot(np.arange(1, descent.steps + 1), descent.rates[:, i], **line, label=label)
        log_scale(ax, [descent.rates[:, i] for descent in descents.values()])
        ax.set(xlabel="step", title=f"$w_{i + 1}$")
    axes[0].set_ylabel("effective learning rate")
    legend(axes[1], beside=ours)
    return axes


class Film(animation.FuncAnimation):
    """What `animate` returns: a notebook shows it with a player."""

    def _repr_html_(self):
        with mpl.rc_context({"savefig.dpi": "figure"}):
            return self.to_jshtml()

    def __del__(self):
        """Matplotlib would warn of a film that nobody has looked at."""


def animate(descents, file=None, fps=20):
    """Shows descents on one surface step by step.

    A film has 100 frames at most: of longer descents each frame shows several steps.

    Args:
        descents: `Descent`s on one surface.
        file: where to write the film, with a progress bar: a name that ends in .gif, .mp4 or
            .html. A file of that name is replaced when the film is complete. Defaults to no file.
        fps: frames per second, 1 to 100.

    Returns:
        A `matplotlib.animation.Animation`. As the last line of a notebook's cell it is a player.

    Raises:
        ValueError: `file` ends in something else, or `fps` is not allowed.
        OSError: `file` cannot be written.
    """
    writers = {
        ".gif": animation.PillowWriter,
        ".mp4": animation.FFMpegWriter,
        ".html": functools.partial(animation.HTMLWriter, embed_frames=True),
    }
    if isinstance(fps, bool) or not isinstance(fps, numbers.Real) or not 1 <= fps <= 100:
        raise ValueError(f"`fps` must be a number from 1 to 100, not {fps!r}.")
    file = None if file is None else pathlib.Path(file).expanduser()
    if file and file.suffix.lower() not in writers:
        raise ValueError(f"`file` must end in {', '.join(writers)}, not {file.name!r}.")
    film, frames = filmed(by_label(descents), fps)
    if file:
        ffmpeg = {"animation.ffmpeg_path": imageio_ffmpeg.get_ffmpeg_exe()}
        with (
            completed(file) as part,
            mpl.rc_context(ffmpeg),
            tqdm.tqdm(total=frames, desc=file.name, unit="frame") as bar,
        ):
            writer = writers[file.suffix.lower()](fps)
            film.save(part, writer, dpi="figure", progress_callback=lambda *_: bar.update())
    return film


@contextlib.contextmanager
def completed(file):
    """A name to write to; what is written gets the file's name if nothing goes wrong."""
    part = file.with_name(f"part.{os.getpid()}.{file.name}")
    try:
        if file.is_dir():
            raise IsADirectoryError("it is a folder")
        part.touch()
    except OSError as error:  # before minutes of drawing
        raise OSError(f"`file`: {file} cannot be written: {error}") from error
    try:
        yield part
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def filmed(descents, fps):
    """The film, and its number of frames."""
    most = max(descent.steps for descent in descents.values())
    frames = np.unique(np.linspace(0, most, min(most + 1, 100)).round().astype(int))
    with style():
        # Not pyplot's: a notebook would show the last frame, too.
        fig = figure.Figure(figsize=(9, 5.4), dpi=80)
        ax = fig.add_subplot()
        contours(ax, one_surface(descents), lines=False)  # they make a frame three times as large
        counter = ax.set_title("step 0")
        trails, heads = [], []
        for (label, descent), line in zip(descents.items(), lines(descents), strict=True):
            trails += ax.plot([], [], **line, label=labelled(label, descent))
            heads += ax.plot([], [], "o", color=line["color"], markersize=10)
        legend(ax)

    def draw(step):
        counter.set_text(f"step {step}")
        for trail, head, descent in zip(trails, heads, descents.values(), strict=True):
            trail.set_data(*descent.path[: step + 1].T)
            ended = step >= descent.steps
            head.set_data(*np.transpose([end(descent) if ended else descent.path[step]]))
            head.set_marker("X" if ended and descent.stopped else "o")
        return *trails, *heads

    return Film(fig, draw, frames, interval=1000 / fps), len(frames)


def by_label(descents):
    """The descents as a dict; labels, unless given, tell the rules and where they differ."""
    if isinstance(descents, Descent):
        descents = [descents]
    given = descents.values() if isinstance(descents, dict) else descents
    values = list(given) if isinstance(given, Iterable) else []
    if not values or not all(isinstance(value, Descent) for value in values):
        raise TypeError(f"`descents` must be one or more Descents, not {descents!r}.")
    names = map(str, descents) if isinstance(descents, dict) else names_of(values)
    return dict(zip(names, values, strict=True))


def names_of(descents):
    """For each descent its rule, and those hyperparameters that others of that rule have not."""
    names = []
    for descent in descents:
        same = [d.hyperparameters for d in descents if d.rule == descent.rule]
        own = [
            f"{SYMBOLS[name]}(t)" if value is None else f"{SYMBOLS[name]} {value:.4g}"
            for name, value in descent.hyperparameters.items()
            if any(other.get(name) != value for other in same)
        ]
        name = ", ".join([descent.rule, *own])
        again = sum(n.partition(" #")[0] == name for n in names)
        names.append(f"{name} #{again + 1}" if again else name)
    return names


def labelled(label, descent):
    return f"{label}\n{descent.stopped}" if descent.stopped else label


def one_surface(descents):
    """The surface of all these descents."""
    surfaces = {descent.surface.name: descent.surface for descent in descents.values()}
    if len(surfaces) > 1:
        names = ", ".join(sorted(surfaces))
        raise ValueError(f"`descents` must be on one surface, not on {names}.")
    [surface] = surfaces.values()
    return surface


def title(surface):
    return f"${surface.formula}$" if surface.formula else surface.name


def color(descent):
    return COLORS.get(descent.rule, OTHERS)


def lines(descents):
    """For each descent the colour of its rule, and another line if that has come before."""
    colors = [color(descent) for descent in descents.values()]
    return [
        {
            "color": c,
            "linestyle": LINES[colors[:i].count(c) % len(LINES)],
            "linewidth": 2.5 + 0.6 * (len(colors) - 1 - i),  # what lies below looks out
        }
        for i, c in enumerate(colors)
    ]


def trace(ax, descent, **line):
    """Draws a path: a ring at its start, dots while they can be told apart, its end."""
    color = line["color"]
    ax.plot(*descent.path.T, **line, marker="." if descent.steps <= 100 else "", markersize=7)
    ax.plot(*descent.path[0], "o", color=color, markerfacecolor="#FFFFFF", markersize=9)
    [last] = ax.plot(*end(descent), "o", color=color, markersize=11)
    if descent.stopped:
        last.set(marker="X", clip_on=False, in_layout=False)  # whole, at the edge of the domain


def end(descent):
    """The last point of a path, or where it leaves the domain."""
    outside = descent.path[-1]
    edge = np.clip(outside, *np.transpose(descent.surface.domain))
    crossed = edge != outside
    if not crossed.any():
        return outside
    inside = descent.path[-2]
    return inside + (outside - inside) * np.min(((edge - inside) / (outside - inside))[crossed])


def contours(ax, surface, lines=True):
    """Draws the surface: each shade, valleys darker, covers an equal part of the domain."""
    (left, right), (bottom, top) = surface.domain
    w1, w2 = np.meshgrid(np.linspace(left, right, 200), np.linspace(bottom, top, 200))
    loss = surface(w1, w2).numpy()
    finite = loss[np.isfinite(loss)]
    levels = np.unique(np.quantile(finite, np.linspace(0, 1, 16))) if finite.size else ()
    if len(levels) > 1:
        greys = plt.get_cmap("gray")(np.linspace(0.72, 1, len(levels) - 1))
        ax.contourf(w1, w2, loss, levels, colors=greys)
        if lines:
            ax.contour(w1, w2, loss, levels, colors="#8F8F8F", linewidths=0.6, linestyles="-")
    for minimum in surface.minima:  # below the paths
        star = {"color": "#FFFFFF", "markeredgecolor": "#000000", "markersize": 18, "zorder": 1.5}
        ax.plot(*minimum, "*", **star)
    ax.set(xlim=(left, right), ylim=(bottom, top), xlabel="$w_1$", ylabel="$w_2$")


def log_scale(ax, values):
    """Zeros, which a descent that meets the minimum may have, are left out."""
    values = np.concatenate(values)
    values = values[np.isfinite(values)]
    if np.any(values > 0) and np.all(values >= 0):
        ax.set_yscale("log", nonpositive="mask")


def legend(ax, beside=True):
    """Beside the axes, where it hides no path; or, where that may be another picture, inside."""
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)} if beside else {}
    ax.legend(frameon=not beside, **place)
