"""What the monitor measures, one entry for each quantity. Tags, cards and tables come from it."""

import textwrap
from typing import NamedTuple

QUANTILES = {"min": 0.0, "p05": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
METRICS = "metrics"  # first part of the tags of the whole model's numbers


class Quantity(NamedTuple):
    """A quantity that is measured of each variable."""

    meaning: str  # TensorBoard shows it behind a card's "i"
    argument: str = ""  # the monitor's argument without which TensorBoard does not show it, if any
    tag: str = ""  # of its card, with NAME for the variable's name
    # Of the pictures of all layers: the values of the darkest and the brightest color, the title.
    scale: tuple[float, float] | None = None
    title: str = ""


def of_quantile(quantile, share):
    words = {0.0: "Smallest", 0.5: "Median", 1.0: "Largest"}.get(share, f"{share:.0%} quantile")
    meaning = f"{words} of the rates of the weights that have been updated."
    return Quantity(meaning, "detail", f"effective_lr_quantiles/NAME/{quantile}")


QUANTITIES = {
    "step_to_weight": Quantity(
        "RMS(w after - w before) / RMS(w before) of a step. In a healthy run it is near 1e-3 for "
        "kernels; biases start at 0.",
        scale=(1e-6, 1.0),
        title="RMS(step) / RMS(weights); healthy near 1e-3",
    ),
    "step": Quantity("RMS(w after - w before) of a step: momentum, clipping, decay, all in it."),
    "execution_to_weight": Quantity(
        "step_to_weight of several steps in one call, as with steps_per_execution.",
        scale=(1e-6, 1.0),
        title="RMS(change in one execution) / RMS(weights)",
    ),
    "execution": Quantity("RMS(w after - w before) of several steps in one call."),
    "effective_lr": Quantity(
        "Median effective learning rate of the weights that have ever been updated.",
        scale=(1e-6, 1e2),
        title="Median effective learning rate",
    ),
    "effective_lr_not_finite": Quantity("How many rates are NaN or infinite, if any are."),
    "weight": Quantity("RMS(w) after the step.", "detail"),
    **{f"effective_lr_{name}": of_quantile(name, share) for name, share in QUANTILES.items()},
    "effective_lr_histogram": Quantity("log10 of the rates of all weights.", "detail"),
    "never_updated": Quantity(
        "Share of the weights whose gradient has always been zero.", "detail"
    ),
    "effective_lr_map": Quantity(
        "Where in a kernel the rates are high. Dark 1e-5, bright 1e5, on a log scale; grey: never "
        "updated.",
        "write_images",
    ),
    "tracked_weights": Quantity(
        "Effective learning rate of one weight, NAME[i,j], from its first update.",
        "tracked_weights",
    ),
}
SCALES = {name: quantity.scale for name, quantity in QUANTITIES.items() if quantity.scale}


def tag(quantity, variable):
    """Return the tag of a quantity's card; "" as the variable means the whole model."""
    if not variable:
        return f"{METRICS}/{quantity}"
    return (QUANTITIES[quantity].tag or f"{quantity}/NAME").replace("NAME", variable)


def table():
    """Return the table of all tags, in Markdown, for the docstring and the page."""
    rows = ["| tag | what it shows | with |", "| --- | --- | --- |"]
    rows.append("| `all_layers/QUANTITY` | layers against steps, one picture: start here | |")
    for name, quantity in QUANTITIES.items():
        argument = f" `{quantity.argument}` " if quantity.argument else " "
        rows.append(f"| `{tag(name, 'NAME')}` | {quantity.meaning} |{argument}|")
    rows.append(f"| `{METRICS}/LOSS` | a loss or a metric at the end of each epoch | |")
    return "\n".join(rows)


def in_docstring(docstring):
    """Return a docstring with the table where it says QUANTITIES."""
    return docstring.replace("QUANTITIES", textwrap.indent(table(), 4 * " ").lstrip())
