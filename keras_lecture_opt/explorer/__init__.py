"""The lecture's rules on its surfaces, as one interactive page of HTML that works offline.

`save` writes the page, `show` shows it in a notebook. Needs the extra "plot"
(`pip install '.[plot]'` in the clone).
"""

import base64
import gzip
import html
import inspect
import json
import os
import pathlib
import re
import unicodedata

try:
    from bokeh.document import Document
    from bokeh.embed import file_html
    from bokeh.events import DocumentReady
    from bokeh.models import Arrow, ColumnDataSource, CustomJS, LinearColorMapper, NormalHead
    from bokeh.plotting import figure
    from bokeh.resources import INLINE
except ImportError as error:
    raise ImportError(
        "keras_lecture_opt.explorer needs the extra 'plot', pip install '.[plot]' in the clone: "
        f"{error}"
    ) from error

from keras_lecture_opt._arguments import check_local_path
from keras_lecture_opt._files import replacing
from keras_lecture_opt.landscapes import SURFACES
from keras_lecture_opt.plots import color
from keras_lecture_opt.plots._style import shade
from keras_lecture_opt.plots._surface import CONTOUR, GREYS
from keras_lecture_opt.rules import RULES
from keras_lecture_opt.rules._hyperparameters import HYPERPARAMETERS

__all__ = ["save", "show"]

FOLDER = pathlib.Path(__file__).parent
FORMULAS = ("rules.js", "surfaces.js", "formula.js", "contours.js", "descend.js")
SCRIPTS = ("setting.js", "pictures.js", "page.js")
UUID = r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
# What the page's script draws. A row of a source fills the columns that its glyphs take.
SOURCES = (
    *("shades", "contours", "minima", "paths", "dots", "start", "gradients", "velocities", "ahead"),
    *("ends", "labels", "losses", "losses_marks", "losses_ends"),
    *("rates", "rates_marks", "rates_ends"),
)
COLUMNS = (
    *("image", "x", "y", "dw", "dh", "xs", "ys", "x_start", "y_start", "x_end", "y_end"),
    *("color", "edge", "alpha", "width", "dash", "marker"),
    *("text", "align", "dx", "dy", "x_label", "y_label"),
)

# The page for a notebook: a third of its size.
UNPACK = """<script type="module">
const bytes = Uint8Array.from(atob("{}"), (character) => character.charCodeAt(0));
const page = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
const text = await new Response(page).text();
document.open();
document.write(text);
document.close();
</script>"""
# The page covers the picture, unless the viewer has removed the page.
FRAME = """<div style="position: relative; height: 1000px; overflow: hidden">
<img src="data:image/png;base64,{picture}" style="max-width: 100%"
alt="The interactive page: paths on a surface, the loss, effective learning rates, sliders">
<iframe srcdoc="{packed}" title="Interactive page" style="position: absolute; top: 0; left: 0;
width: 100%; height: 100%; border: 0; background: white"></iframe>
</div>"""


def save(file: str | os.PathLike[str]) -> None:
    """Write the page: one file of HTML that needs nothing beside it.

    Args:
        file: where to write it, with `~` for the home folder. A file of that name is replaced.

    Raises:
        TypeError: `file` is not a string or a `pathlib.Path`.
        ValueError: `file` is a URL.
        OSError: `file` cannot be written.

    Example:

    >>> save("explorer.html")
    """
    with replacing(check_local_path("file", file), "`file` {} cannot be written: {}") as part:
        part.write_text(page(), encoding="utf-8")


def show() -> None:
    """Show the page below the cell of a notebook.

    There the page has no address that could hold the setting: to link a setting, `save` the page.
    It takes about 0.6 MB of the notebook. A viewer that runs no scripts shows a picture of it.
    """
    from IPython.display import HTML, display  # every notebook has it

    packed = base64.b64encode(gzip.compress(page().encode(), mtime=0)).decode()
    picture = base64.b64encode((FOLDER / "page.png").read_bytes()).decode()
    display(HTML(FRAME.format(packed=html.escape(UNPACK.format(packed)), picture=picture)))


def page():
    """Return the page as a string of HTML."""
    columns = {column: [] for column in COLUMNS}
    sources = {name: ColumnDataSource(columns, name=name) for name in SOURCES}
    figures = {
        "surface": surface_figure(sources),
        "loss": chart(sources, "losses", "loss", "linear"),
        "log_loss": chart(sources, "losses", "loss", "log"),
        "rates": chart(sources, "rates", "effective rate", "log"),
    }
    document = Document()
    for name, root in figures.items():
        root.name = name
        document.add_root(root)
    code = "\n".join(map(read, SCRIPTS))
    models = {"figures": figures, "sources": sources}
    document.js_on_event(DocumentReady, CustomJS(args=models, code=code))
    page = file_html(
        document,
        resources=INLINE,
        title="Seven update rules on five surfaces",
        template=read("page.html"),
        template_variables={
            "style": read("page.css"),
            "formulas": "\n".join(map(read, FORMULAS)),
            "lecture": json.dumps(lecture(), ensure_ascii=False),
        },
    )
    for i, name in enumerate(dict.fromkeys(re.findall(UUID, page))):  # new ones in each call
        page = page.replace(name, f"document-{i}")
    return page


def read(name):
    return (FOLDER / name).read_text(encoding="utf-8")


def lecture():
    """Return what the classes say of the rules, their hyperparameters and the surfaces."""
    return {
        "rules": {
            rule.__name__: {
                "colors": [shade(color(rule), share) for share in (0, 0.35, 0.65)],
                "defaults": defaults(rule),
            }
            for rule in RULES
        },
        "hyperparameters": {
            argument: {
                "symbol": known.symbol,
                "name": unicodedata.normalize("NFKC", known.symbol),  # β1: a script's β₁
                "allowed": known.allowed,
                "most": next(x for x in (1e6, 1, 0.9999) if known.is_allowed(x)),
            }
            for argument, known in HYPERPARAMETERS.items()
        },
        "surfaces": {
            surface.name.lower(): {
                key: getattr(surface, key) for key in ("domain", "start", "minima")
            }
            for surface in SURFACES
        },
    }


def defaults(rule):
    """Return the defaults of a rule's hyperparameters, by Keras's names."""
    parameters = inspect.signature(rule).parameters
    return {name: parameters[name].default for name in HYPERPARAMETERS if name in parameters}


def new_figure(x_label, y_label, **arguments):
    """Return an empty figure in this project's style, as large as the page makes it."""
    f = figure(
        x_axis_label=x_label,
        y_axis_label=y_label,
        tools="",
        toolbar_location=None,
        sizing_mode="stretch_both",
        min_border_right=10,
        min_border_top=8,
        outline_line_color=None,
        **arguments,
    )
    f.axis.axis_label_text_font_size = f.axis.major_label_text_font_size = "1rem"
    f.axis.axis_label_text_font_style = "normal"
    f.axis.axis_label_text_color = f.axis.major_label_text_color = "#000000"
    f.xaxis.ticker.desired_num_ticks = 4  # thousands of steps need room
    return f


def surface_figure(sources):
    """Return the figure of the surface and of the paths on it."""
    f = new_figure("w₁", "w₂", x_range=(0, 1), y_range=(0, 1))
    f.grid.visible = False
    mapper = LinearColorMapper(palette=GREYS, low=0, high=1, nan_color="#FFFFFF")
    f.image("image", "x", "y", "dw", "dh", source=sources["shades"], color_mapper=mapper)
    f.multi_line("xs", "ys", source=sources["contours"], color=CONTOUR, width=0.6)

    white = {"fill_color": "#FFFFFF", "line_color": "#000000"}
    f.scatter("x", "y", source=sources["minima"], marker="star", size=24, **white)
    f.multi_line("xs", "ys", source=sources["paths"], color="color", width="width")
    f.scatter("x", "y", source=sources["dots"], size=7, color="color")
    f.scatter("x", "y", source=sources["start"], size=14, line_width=2, **white)
    for name, width, dash in (("gradients", 3, [6, 4]), ("velocities", 5, "solid")):
        faded = {f"{part}_alpha": "alpha" for part in ("fill", "line")}
        head = NormalHead(size=14, fill_color="color", line_color="color", **faded)
        line = {"line_color": "color", "line_width": width, "line_dash": dash}
        f.add_layout(Arrow(source=sources[name], end=head, line_alpha="alpha", **line))
    ahead = {"source": sources["ahead"], "line_color": "color", "line_width": 3}
    f.segment("x_end", "y_end", "x", "y", line_dash="dotted", **ahead)
    f.scatter("x", "y", marker="diamond", size=18, fill_color="#FFFFFF", **ahead)
    add_ends(f, sources["ends"])
    f.segment("x", "y", "x_label", "y_label", source=sources["labels"], color="color")
    f.text(
        *("x", "y", "text"),
        source=sources["labels"],
        level="overlay",
        x_offset="dx",
        y_offset="dy",
        text_align="align",
        text_baseline="middle",
        text_font_size="1rem",
        text_font_style="bold",
        background_fill_color="#FFFFFF",
        background_fill_alpha=0.75,
    )
    return f


def add_ends(f, source):
    """Mark where each path is: the mark of its rule, or a cross where it has ended early."""
    line = {"line_color": "edge", "line_width": "width"}
    f.scatter("x", "y", source=source, marker="marker", size=15, fill_color="color", **line)


def chart(sources, name, y_label, scale):
    """Return a figure of curves against steps; a log axis shows none below 0."""
    f = new_figure("step", y_label, y_axis_type=scale, x_range=(0, 1), y_range=(0.1, 1))
    line = {"color": "color", "width": "width", "line_dash": "dash"}
    f.multi_line("xs", "ys", source=sources[name], **line)
    marks = {"marker": "marker", "color": "color"}  # which tell lines apart without colors
    f.scatter("x", "y", source=sources[f"{name}_marks"], size=9, **marks)
    add_ends(f, sources[f"{name}_ends"])
    return f
