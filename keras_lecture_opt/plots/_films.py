"""Films of descents, for a notebook, a page or a file."""

import base64
import html
import os
import pathlib
import string
import tempfile

import matplotlib as mpl
import numpy as np
import tqdm
from matplotlib import animation
from matplotlib.figure import Figure

from keras_lecture_opt._arguments import check_local_path, check_number, must_be
from keras_lecture_opt._files import replacing
from keras_lecture_opt.landscapes import Pair
from keras_lecture_opt.plots._labels import Descents, by_label, one_surface, title
from keras_lecture_opt.plots._style import legend, size_of, style
from keras_lecture_opt.plots._surface import contours, end, mark_ends, styled, with_reason


class Film(animation.FuncAnimation):
    """What `animate` returns: a notebook shows it with the browser's player."""

    def _repr_html_(self) -> str:
        with mpl.rc_context({"savefig.dpi": "figure", **ffmpeg()}):
            # Browsers start a film by themselves only if it is muted.
            return self.to_html5_video().replace(" autoplay", " autoplay muted", 1)

    def __del__(self):
        """Do nothing: matplotlib would warn of a film that nobody has looked at."""


def ffmpeg():
    """Return the settings by which matplotlib finds the encoder."""
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise ImportError(
            "`animate` needs the extra 'plot', pip install '.[plot]' in the clone, for any film "
            f"but a .gif: {error}"
        ) from error
    path = imageio_ffmpeg.get_ffmpeg_exe()
    return {"animation.ffmpeg_path": path, "animation.writer": "ffmpeg"}


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
            home folder. An .html page holds the film and works offline. A progress bar is shown. A
            file of that name is replaced when the film is complete. Defaults to no file.
        fps: frames per second, 1 to 100.
        spacing: "linear": every frame takes the same number of steps. "log": the first frames take
            one step each, later ones more and more, which shows fast and slow rules in one film.
            Defaults to "linear".
        figsize, dpi: as in `paths`. Default to (9, 5.4) and 80.

    Returns:
        A `matplotlib.animation.Animation`. As the last line of a notebook's cell it is a player.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: `file` ends in something else, or another argument is not allowed.
        ImportError: the extra "plot" is not installed, which all but a .gif need.
        OSError: `file` cannot be written.
    """
    fps = check_number("fps", fps, "a number from 1 to 100", lambda x: 1 <= x <= 100)
    file = None if file is None else check_local_path("file", file)
    kind = file and file.suffix.lower()
    if file and kind not in (".gif", ".mp4", ".html"):
        raise ValueError(f"`file` must end in .gif, .mp4 or .html, not {file.name!r}.")
    if spacing not in ("linear", "log"):
        raise ValueError(must_be("spacing", "'linear' or 'log'", spacing))
    size = size_of((9, 5.4), figsize, 80 if dpi is None else dpi)
    encoder = {} if kind == ".gif" else ffmpeg()
    film, frames = make_film(by_label(descents), fps, spacing, size)
    if file:
        writer = (animation.PillowWriter if kind == ".gif" else animation.FFMpegWriter)(fps)
        with (
            replacing(file, "`file`: {} cannot be written: {}") as part,
            tempfile.TemporaryDirectory() as folder,
            mpl.rc_context(encoder),
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


def make_film(descents, fps, spacing, size):
    """Return the film, and its number of frames."""
    most = max(descent.steps for descent in descents.values())
    count = min(most + 1, 100)
    spread = {"linear": np.linspace, "log": np.geomspace}[spacing]
    frames = np.unique((spread(1, most + 1, count) - 1).round().astype(int))
    frames = np.append(frames, np.full(round(fps), most))  # time to read how it ends
    shared = title(descents)
    with style():
        # Not pyplot's: a notebook would show the last frame, too.
        fig = Figure(**size)
        ax = fig.add_subplot()
        contours(ax, one_surface(descents), lines=False)  # they make a frame three times as large
        heading = ax.set_title(f"{shared}\nstep {most}")
        drawn, trails, heads = list(styled(descents)), [], []
        for descent, line in drawn:
            trails += ax.plot([], [], **line | {"label": with_reason(descent, line)})
            heads += mark_ends(ax, descent, line)
        texts = legend(ax).get_texts()
        # Place everything once, with room for the reasons: nothing moves while it plays.
        fig.draw_without_rendering()
        fig.set_layout_engine("none")

    def draw(step):
        heading.set_text(f"{shared}\nstep {step}")
        for trail, head, text, (descent, line) in zip(trails, heads, texts, drawn, strict=True):
            trail.set_data(*descent.path[: step + 1].T)
            ended = step >= descent.steps
            head.set_data(*np.transpose([end(descent) if ended else descent.path[step]]))
            if descent.stopped:
                head.set_marker("X" if ended else "o")
                text.set_text(f"{line['label']}\n{descent.stopped if ended else 'running'}")
        return *trails, *heads

    return Film(fig, draw, frames, interval=1000 / fps), len(frames)
