"""Pictures of descents: paths on a surface, losses, effective learning rates, and films.

Each function takes one `Descent`, several, or a dict from labels to descents; `training` takes what
monitors measured. Needs the extra
"plot" (`pip install '.[plot]'` in the clone).
"""

import contextlib
import functools
import os
import pathlib
import warnings
import zlib
from collections.abc import Iterable

import numpy as np

try:
    import imageio_ffmpeg
    import matplotlib as mpl
    import tqdm
    from matplotlib import animation, figure
    from matplotlib import pyplot as plt
    from matplotlib.axes import Axes
except ImportError as error:
    raise ImportError(
        f"keras_lecture_opt.plots needs the extra 'plot', pip install '.[plot]' in the clone: "
        f"{error}"
    ) from error

from keras_lecture_opt._arguments import check_number, check_path, must_be
from keras_lecture_opt.comparison import Study
from keras_lecture_opt.comparison._report import plural
from keras_lecture_opt.landscapes import Descent
from keras_lecture_opt.monitor import EffectiveLearningRateMonitor, _pictures
from keras_lecture_opt.rates import inner_optimizers
from keras_lecture_opt.rules import RULES
from keras_lecture_opt.rules._hyperparameters import HYPERPARAMETERS

__all__ = ["paths", "panels", "losses", "rates", "animate", "training", "curves", "sensitivity"]
__all__ += ["color", "COLORS"]

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
    # A Keras class has the color of its rule: SGD that of steepest descent, Adam that of `Adam`,
    # the last of two.
    if rule.nearest_keras and not rule.nearest_keras[1]:
        COLORS[rule.nearest_keras[0]] = COLORS[rule]
OTHERS = PALETTE[len(RULES) :]
CONTOUR = "#8F8F8F"
LINES = ("-", "--", ":", "-.")  # in this order where a color repeats
STYLE = {  # legible from the last row
    "axes.formatter.limits": (-3, 4),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 14,
    "legend.fontsize": 14,
}


def style():
    """Return the context of this project's style, whatever the user's is."""
    return plt.style.context(["default", STYLE])


def color(optimizer):
    """Return the color of an optimizer, or of an optimizer's class: the same in every picture."""
    cls = optimizer if isinstance(optimizer, type) else type(inner_optimizers(optimizer)[0])
    known = [COLORS[ancestor] for ancestor in cls.__mro__ if ancestor in COLORS]
    # By its name: the same in every process, too.
    return known[0] if known else OTHERS[zlib.crc32(cls.__name__.encode()) % len(OTHERS)]


def in_style(draw):
    """Make a function draw in this project's style, unless the user gives axes of their own."""

    @functools.wraps(draw)
    def draw_in_style(descents, ax=None):
        descents = by_label(descents)
        check_axes(ax, 2 if draw.__name__ == "rates" else 1)
        with style() if ax is None else contextlib.nullcontext():
            return draw(descents, ax)

    return draw_in_style


def check_axes(ax, count):
    """Raise a TypeError if the user gave something else than that many plain Axes."""
    given = [ax] if count == 1 else ax
    if ax is None:
        return
    if (
        not isinstance(given, (list, tuple, np.ndarray))
        or len(given) != count
        or not all(isinstance(a, Axes) and a.name == "rectilinear" for a in given)
    ):
        allowed = "a matplotlib Axes" if count == 1 else "two matplotlib Axes"
        raise TypeError(must_be("ax", f"{allowed}, neither polar nor 3D", ax))


@in_style
def paths(descents, ax=None):
    """Draw descents on one surface over its contours: which way does each rule go?

    A ring marks the start and a disk the end. A cross marks the end of a path that ended early;
    its label says why. Stars mark the minima. Where paths coincide, the first is the widest.

    Args:
        descents: `Descent`s on one surface.
        ax: the `matplotlib.axes.Axes` to draw in. Defaults to those of a new figure.

    Returns:
        The Axes. A notebook shows its figure. Elsewhere call `matplotlib.pyplot.show()` or
        `ax.figure.savefig(file)`.

    Raises:
        TypeError: `descents` or `ax` is something else.
        ValueError: the descents are on several surfaces, or a label begins with "_".

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
    for (label, descent), line in styled(descents):
        trace(ax, descent, label=with_reason(label, descent), **line)
    legend(ax, beside=ours)
    return ax


def panels(descents):
    """Draw each descent over a contour of its own, side by side, at one scale.

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
            trace(ax, descent, color=color(descent.optimizer), linewidth=2.5)
            own = [title(descent.surface)] if len(titles) > 1 else []
            ax.set_title("\n".join([*own, with_reason(label, descent)]), fontsize=14)
            ax.locator_params(nbins=5)
        if len(titles) == 1:
            fig.suptitle(*titles)
    return axes


@in_style
def losses(descents, ax=None):
    """Draw the loss after each step, on a log axis unless a loss is negative.

    Args:
        descents: `Descent`s.
        ax: the Axes to draw in. Defaults to those of a new figure.

    Returns:
        The Axes.
    """
    ours = ax is None
    ax = plt.figure(figsize=(9, 4.5)).add_subplot() if ours else ax
    for (label, descent), line in styled(descents):
        ax.plot(descent.losses, **line, label=label)
    log_scale(ax, [descent.losses for descent in descents.values()])
    ax.set(xlabel="step", ylabel="loss")
    legend(ax, beside=ours)
    return ax


@in_style
def rates(descents, ax=None):
    """Draw the effective learning rate of each weight in each step, on a log axis.

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
                f"{label}: the effective learning rate of {descent.rule} is not known. Register "
                "it with `keras_lecture_opt.effective_learning_rate.register`."
            )
    ours = ax is None
    pair = plt.figure(figsize=(12, 4.5)).subplots(1, 2, sharey=True) if ours else ax
    for i, ax in enumerate(pair):
        for (label, descent), line in styled(descents):
            ax.plot(np.arange(1, descent.steps + 1), descent.rates[:, i], **line, label=label)
        log_scale(ax, [descent.rates[:, i] for descent in descents.values()])
        ax.set(xlabel="step", title=f"$w_{i + 1}$")
    pair[0].set_ylabel("effective learning rate")
    legend(pair[1], beside=ours)
    return pair


def training(runs, quantity="step_to_weight"):
    """Draw what monitors measured: which layer takes what steps, and since when?

    Above, one map of layers against steps for each run, in the colors of TensorBoard's
    `all_layers`. Below, a curve for each run: the median over the layers. Of several seeds, the
    first is mapped; the curve is their median, in a band from their lowest to their highest.

    Args:
        runs: an `EffectiveLearningRateMonitor` after training, or a dict from labels to monitors
            or to lists of monitors, one for each seed.
        quantity: what to draw: "step_to_weight", "execution_to_weight" or "effective_lr".

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        TypeError: `runs` is something else.
        ValueError: the quantity is none of these, or a monitor has not measured it.

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
    if quantity not in _pictures.SCALES:
        allowed = f"one of {', '.join(map(repr, _pictures.SCALES))}"
        raise ValueError(must_be("quantity", allowed, quantity))
    groups = {
        label: [_pictures.layers(history, quantity) for history in histories]
        for label, histories in histories_by_label(runs).items()
    }
    for label, tables in groups.items():
        if not all(names for names, *_ in tables):
            raise ValueError(f"{label or 'The monitor'} has not measured {quantity!r}.")
    high = max(_pictures.height(names) for (names, *_), *_ in groups.values())
    with style():
        figure = plt.figure(figsize=(2 + 5 * len(groups), high + 3.5))
        above, below = figure.subfigures(2, height_ratios=[high, 3.5])
        axes = above.subplots(1, len(groups), squeeze=False)[0]
        for ax, (label, tables) in zip(axes, groups.items(), strict=True):
            mesh = _pictures.draw_layers(ax, tables[0], quantity)
            ax.set_title(label or _pictures.TITLES[quantity], fontsize=14)
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


def curves(study, quantity=None, ax=None):
    """Draw a comparison's training: each optimizer at its chosen learning rate.

    The line is the mean over the seeds, the band reaches from the lowest to the highest.

    Args:
        study: a `keras_lecture_opt.comparison.Study`.
        quantity: what to draw, such as "val_accuracy". Defaults to the quantity by which the
            study chose the rates.
        ax: the Axes to draw in. Defaults to those of a new figure.

    Returns:
        The Axes.

    Raises:
        TypeError: `study` or `ax` is something else.
        ValueError: the study has not measured the quantity.
    """
    check_study(study, ax)
    quantity = study.choose_by if quantity is None else quantity
    if quantity not in study.quantities:
        allowed = f"one of {', '.join(study.quantities)}"
        raise ValueError(must_be("quantity", allowed, quantity))
    with style() if ax is None else contextlib.nullcontext():
        ours = ax is None
        ax = plt.figure(figsize=(10, 6)).add_subplot() if ours else ax
        drawn = []
        for name, line in zip(study.names, lines(study.optimizers.values()), strict=True):
            rate = study.learning_rates[name]
            if rate is None:
                continue
            runs = [study.results[name, rate, seed] for seed in study.seeds]
            epochs = np.arange(1, 1 + min(map(len, runs)))
            values = np.array([[row[quantity] for row in rows[: len(epochs)]] for rows in runs])
            over_seeds(ax, epochs, values, line, label=f"{name}, η {rate:g}")
            drawn.append(values.ravel())
        if drawn:
            log_scale(ax, drawn)
            legend(ax, beside=ours)
        ax.set(xlabel="epoch", ylabel=quantity)
        ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


def sensitivity(study, ax=None):
    """Draw what each learning rate reached in a comparison: what does a wrong one cost?

    Shows the quantity by which the rates were chosen at the end of the first rung, where all rates
    were trained: the mean over the seeds, and a band from the lowest to the highest. A cross at the
    edge is a rate at which a seed diverged. A ring is the rate that was chosen in the end.

    Args:
        study: a `keras_lecture_opt.comparison.Study`.
        ax: the Axes to draw in. Defaults to those of a new figure.

    Returns:
        The Axes.

    Raises:
        TypeError: `study` or `ax` is something else.
    """
    check_study(study, ax)
    rates = np.array(study.rates)
    with style() if ax is None else contextlib.nullcontext():
        ours = ax is None
        ax = plt.figure(figsize=(10, 6)).add_subplot() if ours else ax
        styles = zip(study.names, lines(study.optimizers.values()), strict=True)
        drawn, edge = [], max(study.sign, 0)  # of the axes, where the worse values are
        for i, (name, line) in enumerate(styles):
            values = study.values(name, 0)
            values = study.sign * np.where(np.isfinite(values).all(axis=1)[:, None], values, np.nan)
            mean = over_seeds(ax, rates, values.T, line, marker=".", markersize=9, label=name)
            drawn.append(values.ravel())
            ring = {"marker": "o", "markersize": 14, "markerfacecolor": "none"}
            chosen = rates == study.learning_rates[name]
            ax.plot(rates[chosen], mean[chosen], color=line["color"], linestyle="", **ring)
            out = rates[np.isnan(mean)]
            beside = edge + study.sign * 0.025 * (i + 1)
            crosses = {"marker": "X", "linestyle": "", "clip_on": False, "markersize": 8}
            place = np.full(len(out), beside)
            ax.plot(out, place, color=line["color"], transform=ax.get_xaxis_transform(), **crosses)
        if np.isnan(np.concatenate(drawn)).any():
            ax.plot([], [], "X", color="#000000", markersize=8, label="diverged")
        log_scale(ax, drawn)
        ax.set_xscale("log")
        label = f"{study.choose_by} after {plural(study.rungs[0][0], 'epoch')}"
        ax.set(xlabel="learning rate η", ylabel=label)
        legend(ax, beside=ours)
    return ax


def over_seeds(ax, x, values, line, **options):
    """Draw the mean of the rows, and a band from their lowest to their highest; return the mean."""
    mean = values.mean(axis=0)
    ax.plot(x, mean, **line, **options)
    band = values.min(axis=0), values.max(axis=0)
    ax.fill_between(x, *band, color=line["color"], alpha=0.2, linewidth=0)
    return mean


def check_study(study, ax):
    """Raise a TypeError unless these are a study and plain Axes or None."""
    if not isinstance(study, Study):
        raise TypeError(must_be("study", "a keras_lecture_opt.comparison.Study", study))
    check_axes(ax, 1)


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
    groups = runs if isinstance(runs, dict) else {"": runs}
    groups = {
        str(label): list(group) if isinstance(group, (list, tuple)) else [group]
        for label, group in groups.items()
    }
    monitors = [monitor for group in groups.values() for monitor in group]
    if not all(groups.values()) or not all(
        isinstance(m, EffectiveLearningRateMonitor) for m in monitors
    ):
        allowed = "a monitor, or a dict from labels to monitors or to lists of them"
        raise TypeError(must_be("runs", allowed, runs))
    return {label: [monitor.history for monitor in group] for label, group in groups.items()}


class Film(animation.FuncAnimation):
    """What `animate` returns: a notebook shows it with a player."""

    def _repr_html_(self):
        with mpl.rc_context({"savefig.dpi": "figure"}):
            return self.to_jshtml()

    def __del__(self):
        """Do nothing: matplotlib would warn of a film that nobody has looked at."""


def animate(descents, file=None, fps=20):
    """Show descents on one surface step by step.

    A film has at most 100 frames; in a longer descent each frame shows several steps.

    Args:
        descents: `Descent`s on one surface.
        file: where to write the film: a name that ends in .gif, .mp4 or .html, with `~` for the
            home folder. A progress bar is shown, and a file of that name is replaced when the film
            is complete. Defaults to no file.
        fps: frames per second, 1 to 100.

    Returns:
        A `matplotlib.animation.Animation`. As the last line of a notebook's cell it is a player.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: `file` ends in something else, or `fps` is not allowed.
        OSError: `file` cannot be written.
    """
    writers = {
        ".gif": animation.PillowWriter,
        ".mp4": animation.FFMpegWriter,
        ".html": functools.partial(animation.HTMLWriter, embed_frames=True),
    }
    fps = check_number("fps", fps, "a number from 1 to 100", lambda x: 1 <= x <= 100)
    file = None if file is None else pathlib.Path(check_path("file", file))
    if file and file.suffix.lower() not in writers:
        raise ValueError(f"`file` must end in {', '.join(writers)}, not {file.name!r}.")
    film, frames = make_film(by_label(descents), fps)
    if file:
        ffmpeg = {"animation.ffmpeg_path": imageio_ffmpeg.get_ffmpeg_exe()}
        with (
            replace_when_complete(file) as part,
            mpl.rc_context(ffmpeg),
            tqdm.tqdm(total=frames, desc=file.name, unit="frame") as bar,
        ):
            writer = writers[file.suffix.lower()](fps)
            film.save(part, writer, dpi="figure", progress_callback=lambda *_: bar.update())
    return film


@contextlib.contextmanager
def replace_when_complete(file):
    """Yield a name to write to; what is written there gets the file's name if nothing fails."""
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


def make_film(descents, fps):
    """Return the film, and its number of frames."""
    most = max(descent.steps for descent in descents.values())
    frames = np.unique(np.linspace(0, most, min(most + 1, 100)).round().astype(int))
    with style():
        # Not pyplot's: a notebook would show the last frame, too.
        fig = figure.Figure(figsize=(9, 5.4), dpi=80)
        ax = fig.add_subplot()
        contours(ax, one_surface(descents), lines=False)  # they make a frame three times as large
        counter = ax.set_title("step 0")
        trails, heads = [], []
        for (label, descent), line in styled(descents):
            trails += ax.plot([], [], **line, label=with_reason(label, descent))
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
    """Return the descents as a dict; labels, unless given, name the rules and what differs."""
    if isinstance(descents, Descent):
        descents = [descents]
    given = descents.values() if isinstance(descents, dict) else descents
    values = list(given) if isinstance(given, Iterable) else []
    if not values or not all(isinstance(value, Descent) for value in values):
        raise TypeError(f"`descents` must be one or more Descents, not {descents!r}.")
    names = list(map(str, descents)) if isinstance(descents, dict) else names_of(values)
    for name in names:
        if name.startswith("_"):
            allowed = 'labels that do not begin with "_", which matplotlib leaves out of legends'
            raise ValueError(must_be("descents", allowed, name))
    return dict(zip(names, values, strict=True))


def names_of(descents):
    """Return for each descent its rule, and the hyperparameters that differ within the rule."""
    names = []
    for descent in descents:
        same = [d.hyperparameters for d in descents if d.rule == descent.rule]
        own = [
            symbol(name) + ("(t)" if value is None else f" {value:.4g}")
            for name, value in descent.hyperparameters.items()
            if any(other.get(name) != value for other in same)
        ]
        name = ", ".join([descent.rule, *own])
        again = sum(n.partition(" #")[0] == name for n in names)
        names.append(f"{name} #{again + 1}" if again else name)
    return names


def symbol(name):
    """Return the hyperparameter's symbol on the slides."""
    return HYPERPARAMETERS[name].symbol


def with_reason(label, descent):
    """Return the label, and why the descent ended early."""
    return f"{label}\n{descent.stopped}" if descent.stopped else label


def one_surface(descents):
    """Return the surface of all these descents; raise if there are several."""
    surfaces = {descent.surface.name: descent.surface for descent in descents.values()}
    if len(surfaces) > 1:
        names = ", ".join(sorted(surfaces))
        raise ValueError(f"`descents` must be on one surface, not on {names}.")
    [surface] = surfaces.values()
    return surface


def title(surface):
    return f"${surface.formula}$" if surface.formula else surface.name


def styled(descents):
    """Return `((label, descent), line)` for each descent."""
    optimizers = [descent.optimizer for descent in descents.values()]
    return zip(descents.items(), lines(optimizers), strict=True)


def lines(optimizers):
    """Return for each optimizer the color of its rule, and a style that tells repeats apart."""
    colors = [color(optimizer) for optimizer in optimizers]
    return [
        {
            "color": c,
            "linestyle": LINES[colors[:i].count(c) % len(LINES)],
            "linewidth": 2.5 + 0.6 * (len(colors) - 1 - i),  # what lies below stays visible
        }
        for i, c in enumerate(colors)
    ]


def trace(ax, descent, **line):
    """Draw a path: a ring at its start, a dot for each step of a short one, its end."""
    ax.plot(*descent.path.T, **line, marker="." if descent.steps <= 100 else "", markersize=7)
    ends = {"marker": "o", "color": line["color"]}
    ax.plot(*descent.path[0], **ends, markerfacecolor="#FFFFFF", markersize=9)
    [last] = ax.plot(*end(descent), **ends, markersize=11)
    if descent.stopped:
        last.set(marker="X", clip_on=False, in_layout=False)  # whole, at the edge of the domain


def end(descent):
    """Return the last point of a path, or where it leaves the domain."""
    outside = descent.path[-1]
    edge = np.clip(outside, *np.transpose(descent.surface.domain))
    crossed = edge != outside
    if not crossed.any():
        return outside
    inside = descent.path[-2]
    return inside + (outside - inside) * np.min(((edge - inside) / (outside - inside))[crossed])


def contours(ax, surface, lines=True):
    """Draw the surface: each shade, valleys darker, covers an equal part of the domain."""
    *grid, levels, greys = shades(surface)
    if greys:
        ax.contourf(*grid, levels, colors=greys)
        if lines:
            ax.contour(*grid, levels, colors=CONTOUR, linewidths=0.6, linestyles="-")
    for minimum in surface.minima:  # below the paths
        star = {"color": "#FFFFFF", "markeredgecolor": "#000000", "markersize": 18, "zorder": 1.5}
        ax.plot(*minimum, "*", **star)
    xlim, ylim = surface.domain
    ax.set(xlim=xlim, ylim=ylim, xlabel="$w_1$", ylabel="$w_2$")


def shades(surface, points=200):
    """Return w1, w2 and the loss on a grid, the levels between the shades, and the shades."""
    w1, w2 = np.meshgrid(*(np.linspace(*limits, points) for limits in surface.domain))
    loss = surface(w1, w2).numpy()
    finite = loss[np.isfinite(loss)]
    levels = np.unique(np.quantile(finite, np.linspace(0, 1, 16))) if finite.size else ()
    greys = plt.get_cmap("gray")(np.linspace(0.72, 1, max(len(levels) - 1, 0)))
    return w1, w2, loss, levels, [mpl.colors.to_hex(grey) for grey in greys]


def log_scale(ax, values):
    """Use a log axis if no value is negative; zeros, as at a minimum met exactly, are left out."""
    values = np.concatenate(values)
    values = values[np.isfinite(values)]
    if np.any(values > 0) and np.all(values >= 0):
        ax.set_yscale("log", nonpositive="mask")


def legend(ax, beside=True):
    """Put the legend beside the axes, where it hides no path, or inside axes of the user."""
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)} if beside else {}
    ax.legend(frameon=not beside, **place)
