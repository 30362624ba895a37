"""Pictures of descents: paths on a surface, losses, effective learning rates, and films.

Each function takes one `Descent`, several, or a dict from labels to descents; `training` takes what
monitors measured, `curves` and `sensitivity` a comparison. The title says what all descents share,
the labels say what differs. `figsize`, in inches, and `dpi` are matplotlib's: with
`figsize=(9.6, 5.4), dpi=200` a picture has 1920 x 1080 pixels. Needs the extra "plot" (`pip install
'.[plot]'` in the clone).
"""

import base64
import contextlib
import html
import os
import pathlib
import re
import string
import tempfile
import textwrap
import warnings
import zlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np

try:
    import imageio_ffmpeg
    import matplotlib as mpl
    import tqdm
    from matplotlib import animation
    from matplotlib import pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError(
        f"keras_lecture_opt.plots needs the extra 'plot', pip install '.[plot]' in the clone: "
        f"{error}"
    ) from error

from keras_lecture_opt._arguments import check_number, check_path, must_be
from keras_lecture_opt.comparison import Study
from keras_lecture_opt.comparison._report import plural
from keras_lecture_opt.landscapes import Descent, Pair, check_numbers
from keras_lecture_opt.monitor import EffectiveLearningRateMonitor, _pictures
from keras_lecture_opt.rates import inner_optimizers
from keras_lecture_opt.rules import RULES
from keras_lecture_opt.rules._hyperparameters import HYPERPARAMETERS

__all__ = ["paths", "panels", "losses", "rates", "animate", "training", "curves", "sensitivity"]
__all__ += ["color", "COLORS"]

# Loads the backend. In a notebook this switches the display of figures on, which the context of a
# style would undo.
plt.draw_if_interactive()

Descents = Descent | Iterable[Descent] | dict[Any, Descent]
Monitors = EffectiveLearningRateMonitor | Sequence[EffectiveLearningRateMonitor]

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
    known = [COLORS[ancestor] for ancestor in cls.__mro__ if ancestor in COLORS]
    # By its name: the same in every process, too.
    return known[0] if known else OTHERS[zlib.crc32(cls.__name__.encode()) % len(OTHERS)]


@contextlib.contextmanager
def canvas(ax, default, figsize, dpi, columns=1):
    """Yield the user's axes, or those of a new figure in this project's style."""
    check_axes(ax, columns)
    size = size_of(default, figsize, dpi)
    if ax is None:
        with style():
            yield plt.figure(**size).subplots(1, columns, sharey=True)
    elif figsize is None and dpi is None:
        yield ax
    else:
        raise ValueError("`figsize` and `dpi` must be left out with `ax`: its figure has a size.")


def size_of(default, figsize, dpi):
    """Return the arguments of a new figure: its size, and its resolution."""
    if figsize is not None:
        allowed = "a width and a height in inches, two numbers > 0"
        if min(check_numbers("figsize", figsize, (2,), allowed)) <= 0:
            raise ValueError(must_be("figsize", allowed, figsize))
    if dpi is not None:
        dpi = check_number("dpi", dpi, "a finite number > 0", lambda x: 0 < x < np.inf)
    return {"figsize": default if figsize is None else figsize, "dpi": dpi}


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
        dots = are_short(named)
        for (label, descent), line in styled(named):
            trace(axes, descent, dots, line, with_reason(label, descent))
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
            contours(ax, descent.surface)
            trace(ax, descent, are_short(named), lines([descent.optimizer])[0])
            own = [] if shared else [formula(descent.surface)]
            ax.set_title("\n".join([*own, with_reason(label, descent)]), fontsize=14)
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
        for (label, descent), line in styled(named):
            axes.plot(descent.losses, **line, label=wrap(label), markevery=marks(descent, line))
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
        ValueError: the effective learning rate of an optimizer is not known.
    """
    named = by_label(descents)
    for label, descent in named.items():
        if descent.rates is None:
            raise ValueError(
                f"{label}: the effective learning rate of {descent.rule} is not known. Register "
                "it with `keras_lecture_opt.effective_learning_rate.register`."
            )
    with canvas(ax, (12, 4.8), figsize, dpi, columns=2) as pair:
        for i, axes in enumerate(pair):
            for (label, descent), line in styled(named):
                steps = np.arange(1, descent.steps + 1)
                mark = {"label": wrap(label), "markevery": marks(descent, line)}
                axes.plot(steps, descent.rates[:, i], **line, **mark)
            log_scale(axes, [descent.rates[:, i] for descent in named.values()])
            axes.set(xlabel="step", title=f"$w_{i + 1}$")
        pair[0].set_ylabel("effective learning rate")
        legend(pair[1], beside=ax is None)
        if ax is None:
            pair[0].figure.suptitle(title(named))
    return pair


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
    size = size_of((2 + 5 * len(groups), high + 3.5), figsize, dpi)
    with style():
        figure = plt.figure(**size)
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


def curves(
    study: Study,
    quantity: str | None = None,
    ax: Axes | None = None,
    *,
    figsize: Pair | None = None,
    dpi: float | None = None,
) -> Axes:
    """Draw a comparison's training: each optimizer at its chosen learning rate.

    The line is the mean over the seeds, the band reaches from the lowest to the highest.

    Args:
        study: a `keras_lecture_opt.comparison.Study`.
        quantity: what to draw, such as "val_accuracy". Defaults to the quantity by which the
            study chose the rates.
        ax: the Axes to draw in. Defaults to those of a new figure.
        figsize, dpi: as in `paths`. Default to (10, 6) and matplotlib's.

    Returns:
        The Axes.

    Raises:
        TypeError: an argument is something else.
        ValueError: the study has not measured the quantity.
    """
    check_study(study)
    quantity = study.choose_by if quantity is None else quantity
    if quantity not in study.quantities:
        allowed = f"one of {', '.join(study.quantities)}"
        raise ValueError(must_be("quantity", allowed, quantity))
    with canvas(ax, (10, 6), figsize, dpi) as axes:
        drawn = []
        for name, line in zip(study.names, lines(study.optimizers.values()), strict=True):
            rate = study.learning_rates[name]
            if rate is None:
                continue
            runs = [study.results[name, rate, seed] for seed in study.seeds]
            epochs = np.arange(1, 1 + min(map(len, runs)))
            values = np.array([[row[quantity] for row in rows[: len(epochs)]] for rows in runs])
            over_seeds(axes, epochs, values, line, label=wrap(f"{name}, η {rate:g}"))
            drawn.append(values.ravel())
        if drawn:
            log_scale(axes, drawn)
            legend(axes, beside=ax is None)
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return axes


def sensitivity(
    study: Study,
    ax: Axes | None = None,
    *,
    figsize: Pair | None = None,
    dpi: float | None = None,
) -> Axes:
    """Draw what each learning rate reached in a comparison: what does a wrong one cost?

    Shows the quantity by which the rates were chosen at the end of the first rung, where all rates
    were trained: the mean over the seeds, and a band from the lowest to the highest. A cross at the
    edge is a rate at which a seed diverged. A ring is the rate that was chosen in the end.

    Args:
        study: a `keras_lecture_opt.comparison.Study`.
        ax: the Axes to draw in. Defaults to those of a new figure.
        figsize, dpi: as in `paths`. Default to (10, 6) and matplotlib's.

    Returns:
        The Axes.

    Raises:
        TypeError: an argument is something else.
    """
    check_study(study)
    rates = np.array(study.rates)
    with canvas(ax, (10, 6), figsize, dpi) as axes:
        styles = zip(study.names, lines(study.optimizers.values()), strict=True)
        drawn, edge = [], max(study.sign, 0)  # of the axes, where the worse values are
        for i, (name, line) in enumerate(styles):
            values = study.values(name, 0)
            values = study.sign * np.where(np.isfinite(values).all(axis=1)[:, None], values, np.nan)
            line["marker"] = line["marker"] or "o"  # each rate that was tried
            mean = over_seeds(axes, rates, values.T, line, label=wrap(name))
            drawn.append(values.ravel())
            ring = {"marker": "o", "markersize": 14, "markerfacecolor": "none"}
            chosen = rates == study.learning_rates[name]
            axes.plot(rates[chosen], mean[chosen], color=line["color"], linestyle="", **ring)
            out = rates[np.isnan(mean)]
            beside = edge + study.sign * 0.025 * (i + 1)
            crosses = {"marker": "X", "linestyle": "", "clip_on": False, "markersize": 8}
            crosses |= {"color": line["color"], "transform": axes.get_xaxis_transform()}
            axes.plot(out, np.full(len(out), beside), **crosses)
        if np.isnan(np.concatenate(drawn)).any():
            axes.plot([], [], "X", color="#000000", markersize=8, label="diverged")
        log_scale(axes, drawn)
        axes.set_xscale("log")
        label = f"{study.choose_by} after {plural(study.rungs[0][0], 'epoch')}"
        axes.set(xlabel="learning rate η", ylabel=label)
        legend(axes, beside=ax is None)
    return axes


def over_seeds(ax, x, values, line, **options):
    """Draw the mean of the rows, and a band from their lowest to their highest; return the mean."""
    mean = values.mean(axis=0)
    ax.plot(x, mean, **line, **options)
    band = values.min(axis=0), values.max(axis=0)
    ax.fill_between(x, *band, color=line["color"], alpha=0.2, linewidth=0)
    return mean


def check_study(study):
    """Raise a TypeError unless this is a study."""
    if not isinstance(study, Study):
        raise TypeError(must_be("study", "a keras_lecture_opt.comparison.Study", study))


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
    """What `animate` returns: a notebook shows it with the browser's player."""

    def _repr_html_(self) -> str:
        with mpl.rc_context({"savefig.dpi": "figure", **FFMPEG}):
            return self.to_html5_video()

    def __del__(self):
        """Do nothing: matplotlib would warn of a film that nobody has looked at."""


FFMPEG = {"animation.ffmpeg_path": imageio_ffmpeg.get_ffmpeg_exe(), "animation.writer": "ffmpeg"}
# The browser's own controls would cover the lower part of the picture.
PAGE = string.Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>$title</title>
<style>
  * { box-sizing: border-box; font: 1.2rem sans-serif; }
  video, input { display: block; max-width: 100%; }
  video { max-height: calc(100vh - 6rem); }  /* what follows stays in sight */
  input { width: ${width}px; }
</style>
<video autoplay muted loop src="data:video/mp4;base64,$video"></video>
<input type="range" max="$last" value="0" aria-label="frame">
<button>Play / pause</button> One frame: the slider, then ← or →
<script>
  const [film, slider, button] = ["video", "input", "button"].map((x) => document.querySelector(x));
  film.ontimeupdate = () => { if (!film.paused) slider.value = film.currentTime * $fps; };
  slider.oninput = () => { film.pause(); film.currentTime = (+slider.value + 0.5) / $fps; };
  button.onclick = () => film.paused ? film.play() : film.pause();
</script>
</html>
""")


def animate(
    descents: Descents,
    file: str | os.PathLike | None = None,
    fps: float = 20,
    spacing: str = "linear",
    *,
    figsize: Pair | None = None,
    dpi: float | None = None,
) -> Film:
    """Show descents on one surface step by step.

    A film has at most 100 different frames; in a longer descent each frame shows several steps. The
    last frame stays for a second.

    Args:
        descents: `Descent`s on one surface.
        file: where to write the film: a name that ends in .gif, .mp4 or .html, with `~` for the
            home folder. The page .html holds the film itself and needs no network. A progress bar
            is shown, and a file of that name is replaced when the film is complete. Defaults to no
            file.
        fps: frames per second, 1 to 100.
        spacing: of the frames on the axis of steps. "linear": each frame is as many steps on.
            "log": denser at the start, first a step in each frame, then more and more, to see rules
            at very different paces in one film.
        figsize, dpi: as in `paths`. Default to (9, 5.4) and 80.

    Returns:
        A `matplotlib.animation.Animation`. As the last line of a notebook's cell it is a player.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: `file` ends in something else, or another argument is not allowed.
        OSError: `file` cannot be written.
    """
    fps = check_number("fps", fps, "a number from 1 to 100", lambda x: 1 <= x <= 100)
    file = None if file is None else pathlib.Path(check_path("file", file))
    if file and file.suffix.lower() not in (".gif", ".mp4", ".html"):
        raise ValueError(f"`file` must end in .gif, .mp4 or .html, not {file.name!r}.")
    if spacing not in ("linear", "log"):
        raise ValueError(must_be("spacing", "'linear' or 'log'", spacing))
    size = size_of((9, 5.4), figsize, 80 if dpi is None else dpi)
    film, frames = make_film(by_label(descents), fps, spacing, size)
    if file:
        kind = file.suffix.lower()
        writer = (animation.PillowWriter if kind == ".gif" else animation.FFMpegWriter)(fps)
        with (
            replace_when_complete(file) as part,
            tempfile.TemporaryDirectory() as folder,
            mpl.rc_context(FFMPEG),
            tqdm.tqdm(total=frames, desc=file.name, unit="frame") as bar,
        ):
            video = pathlib.Path(folder, "film.mp4") if kind == ".html" else part
            film.save(video, writer, dpi="figure", progress_callback=lambda *_: bar.update())
            if kind == ".html":
                page = PAGE.substitute(
                    title=html.escape(file.stem),
                    video=base64.b64encode(video.read_bytes()).decode(),
                    width=writer.frame_size[0],
                    last=frames - 1,
                    fps=fps,
                )
                part.write_text(page, "utf-8")
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


def make_film(descents, fps, spacing, size):
    """Return the film, and its number of frames."""
    most = max(descent.steps for descent in descents.values())
    count = min(most + 1, 100)
    if spacing == "linear":
        frames = np.linspace(0, most, count)
    else:
        frames = np.geomspace(1, most + 1, count) - 1
    frames = np.unique(frames.round().astype(int))
    frames = np.append(frames, np.full(round(fps), most))  # time to read how it ends
    shared = title(descents)
    with style():
        # Not pyplot's: a notebook would show the last frame, too.
        fig = Figure(**size)
        ax = fig.add_subplot()
        contours(ax, one_surface(descents), lines=False)  # they make a frame three times as large
        heading = ax.set_title(f"{shared}\nstep {most}")
        trails, heads = [], []
        for (label, descent), line in styled(descents):
            markers = {**line, "markevery": marks(descent, line)}
            trails += ax.plot([], [], **markers, label=with_reason(label, descent))
            mark_start(ax, descent, line)
            heads += mark_end(ax, descent, line)
        texts = legend(ax).get_texts()
        # Place everything once, with room for the reasons: nothing moves while it plays.
        fig.draw_without_rendering()
        fig.set_layout_engine("none")

    def draw(step):
        heading.set_text(f"{shared}\nstep {step}")
        parts = zip(trails, heads, texts, descents.items(), strict=True)
        for trail, head, text, (label, descent) in parts:
            trail.set_data(*descent.path[: step + 1].T)
            ended = step >= descent.steps
            head.set_data(*np.transpose([end(descent) if ended else descent.path[step]]))
            if descent.stopped:
                head.set_marker("X" if ended else "o")
                text.set_text(with_reason(label, descent) if ended else f"{wrap(label)}\nrunning")
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
    """Return for each descent its rule and what differs: see `facts`."""
    names = []
    for descent in descents:
        own = [text for kind, text in facts(descent).items() if differs(kind, descent, descents)]
        name = ", ".join([descent.rule, *own])
        again = sum(n.partition(" #")[0] == name for n in names)
        names.append(f"{name} #{again + 1}" if again else name)
    return names


def facts(descent):
    """Return how the descent was made, as texts: its hyperparameters, its start, its velocity."""
    texts = {
        name: symbol(name) + ("(t)" if value is None else f" {value:.4g}")
        for name, value in descent.hyperparameters.items()
    }
    texts["start"] = f"from {point(descent.path[0])}"
    if np.any(descent.velocity):
        texts["velocity"] = f"v {point(descent.velocity)}"
    return texts


# What makes a picture of several rules a fair race, or not.
COMMON = ("start", "velocity", "learning_rate")


def differs(kind, descent, descents):
    """Return whether this fact is another one in another descent: for most, of the same rule."""
    others = [d for d in descents if kind in COMMON or d.rule == descent.rule]
    return len({facts(d).get(kind) for d in others}) > 1


def title(descents):
    """Return the surface, and below it what is the same in all descents."""
    descents = list(descents.values())
    surfaces = {formula(descent.surface) for descent in descents}
    known = facts(descents[0])
    kinds = [kind for kind in COMMON if not differs(kind, descents[0], descents)]
    shared = ", ".join(known[kind] for kind in kinds if kind in known)
    return "\n".join([*surfaces, shared] if len(surfaces) == 1 else [shared]).strip()


def point(pair):
    return "({:.4g}, {:.4g})".format(*pair).replace("-", "\N{MINUS SIGN}")


def symbol(name):
    """Return the hyperparameter's symbol on the slides."""
    return HYPERPARAMETERS[name].symbol


def wrap(label):
    """Break a label into lines that leave room for the picture, after commas if there are any."""
    if ", " in label:
        label = re.sub(r"(?<!,) | (?=[^(]*\))", "\N{NO-BREAK SPACE}", label)
    return textwrap.fill(label, 26).replace("\N{NO-BREAK SPACE}", " ")


def with_reason(label, descent):
    """Return the label, and why the descent ended early."""
    return f"{wrap(label)}\n{descent.stopped}" if descent.stopped else wrap(label)


def one_surface(descents):
    """Return the surface of all these descents; raise if there are several."""
    surfaces = {descent.surface.name: descent.surface for descent in descents.values()}
    if len(surfaces) > 1:
        names = ", ".join(sorted(surfaces))
        raise ValueError(f"`descents` must be on one surface, not on {names}.")
    [surface] = surfaces.values()
    return surface


def formula(surface):
    return f"${surface.formula}$" if surface.formula else surface.name


def styled(descents):
    """Return `((label, descent), line)` for each descent."""
    optimizers = [descent.optimizer for descent in descents.values()]
    return zip(descents.items(), lines(optimizers), strict=True)


def lines(optimizers):
    """Return for each optimizer a line in the color of its rule; repeats differ in shade, mark."""
    colors = [color(optimizer) for optimizer in optimizers]
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


def marks(descent, line):
    """Return at which steps a line is marked: about eight, and others for another mark."""
    every = max(descent.steps // 8, 1)
    return MARKS.index(line["marker"]) * every // len(MARKS), every


def are_short(descents):
    """Return whether a dot for each step can be seen."""
    return max(descent.steps for descent in descents.values()) <= 100


def trace(ax, descent, dots, line, label=None):
    """Draw a path: a ring at its start, a dot for each step if wanted, its end."""
    ax.plot(*descent.path.T, **line, markevery=marks(descent, line), label=label)
    if dots:
        ax.plot(*descent.path.T, "o", color=line["color"], markersize=line["linewidth"] + 2)
    mark_start(ax, descent, line)
    mark_end(ax, descent, line)


def mark_start(ax, descent, line):
    """Draw a ring at the start."""
    size = line["linewidth"] + 6
    ring = {"markersize": size, "markerfacecolor": "#FFFFFF", "markeredgewidth": 1.5, "zorder": 3}
    ax.plot(*descent.path[0], "o", color=line["color"], **ring)


def mark_end(ax, descent, line):
    """Draw a disk at the end, or a cross where the descent ended early."""
    disk = {"color": line["color"], "markersize": line["linewidth"] + 8, "zorder": 3}
    # Whole, at the edge of the domain.
    return ax.plot(*end(descent), "X" if descent.stopped else "o", **disk, clip_on=False)


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


def contours(ax, surface, lines=True):
    """Draw the surface: each shade, valleys darker, covers an equal part of the domain."""
    *grid, levels, greys = shades(surface)
    if greys:
        ax.contourf(*grid, levels, colors=greys)
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
    if not beside:
        return ax.legend()
    _, labels = ax.get_legend_handles_labels()
    # In heights of a letter. Many labels get smaller ones.
    tall = sum(1.2 * (label.count("\n") + 1) + 0.5 for label in labels)
    room = 72 * ax.figure.bbox.height / ax.figure.dpi - 100  # points, below a title
    size = min(STYLE["legend.fontsize"], room / tall)
    return ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=size)
