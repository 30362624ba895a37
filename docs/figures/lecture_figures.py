"""Draw the lecture's pictures on surfaces: what the slides claim, with numbers.

    python docs/figures/lecture_figures.py

Writes the pictures, the film and README.md, which shows them with their captions, beside this
script or into FOLDER. Expect about 40 s. Nothing is random: two runs draw equal files.
"""

import argparse
import functools
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras_lecture_opt  # first: it keeps TensorFlow's start-up lines off the terminal

# isort: split
import numpy as np
from matplotlib import pyplot as plt

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "examples"))
import _programs

from keras_lecture_opt import (
    AdaGrad,
    Adam,
    Momentum,
    Nesterov,
    RMSProp,
    SimplifiedAdam,
    plots,
)
from keras_lecture_opt.comparison._tables import markdown_table
from keras_lecture_opt.landscapes import beale, descend, quadratic, saddle
from keras_lecture_opt.plots._style import legend, style

ETA = 0.01
FILM = """\
![The seven rules, each on its path from the same start](saddle.gif)

[All seven from the saddle](#all-seven-from-the-saddle): a path that leaves sooner escaped the \
saddle sooner. The film runs faster and faster."""
POLICY = f"""\
One rate policy for all: within a picture every rule has the same learning rate η, which is {ETA} \
unless the caption gives another, and every other hyperparameter is the lecture's default. Nothing \
is tuned for a rule."""


def zigzag():
    """Steepest descent zigzags, and what momentum does to that"""
    eta = 0.036

    def momenta(eta, steps):
        return {
            f"Momentum, μ {mu}" if mu else "steepest descent, μ 0": descend(
                quadratic, Momentum(eta, momentum=mu), steps=steps
            )
            for mu in (0, 0.5, 0.9, 0.99)
        }

    descents = momenta(eta, 60)
    at_zigzag, at_default = momenta(eta, 5000), momenta(ETA, 5000)
    counts = markdown_table(
        ["", f"η {eta}", f"η {ETA}"],
        [
            [label, settles(at_zigzag[label], 1e-3), settles(at_default[label], 1e-3)]
            for label in descents
        ],
    )
    turns = np.sum(np.diff(np.sign(descents["steepest descent, μ 0"].path[:, 1])) != 0)
    settings = f"Momentum on w₁² + 25 w₂² from (−1, −1), η {eta}, 60 steps"
    caption = f"""\
Any η between 1/50 and 2/50 makes steepest descent (μ 0) jump over the valley in every step: w₂ \
changes its sign {turns} times in 60 steps, while w₁ creeps. Above 2/50 it diverges. A moderate \
μ damps this; a large one overshoots. Steps until the loss stays below 0.001:

{counts}
At η {ETA} steepest descent creeps and a μ of 0.5 or 0.9 is faster; 0.99 overshoots for a long \
time. At η {eta}, a rate that suits steepest descent on this bowl, 0.9 is also too large."""
    pictures = {"zigzag_paths": plots.panels(descents)[0], "zigzag_losses": plots.losses(descents)}
    return pictures, settings, caption


def lookahead():
    """Nesterov looks ahead"""
    velocity = (0.3, 0.15)
    descents = [
        descend(quadratic, rule(ETA), start=(0, 0), velocity=velocity, steps=60)
        for rule in (Momentum, Nesterov)
    ]
    ax = plots.paths(descents)
    nesterov = descents[1]
    ax.plot(
        *nesterov.lookahead[:20].T, "1", color=plots.color(Nesterov), ms=12, label="its look-ahead"
    )
    with style():
        legend(ax)
    ax.set(xlim=(-1.2, 1.6), ylim=(-0.35, 0.35))
    farthest = markdown_table(
        ["", "w₁", "w₂"],
        [[d.rule, *(f"{x:.3f}" for x in np.abs(d.path).max(axis=0))] for d in descents],
    )
    settings = f"w is already optimal, (0, 0), but v = {velocity}; μ 0.9, η {ETA}, 60 steps"
    caption = f"""\
Nesterov takes the gradient where its velocity leads (marked for the first 20 steps), and so it \
is pulled back sooner. Largest distance from the optimum:

{farthest}"""
    return {"lookahead": ax}, settings, caption


def adagrad():
    """AdaGrad takes the diagonal, and stops; RMSProp forgets"""
    descents = [descend(quadratic, rule(ETA), steps=400) for rule in (AdaGrad, RMSProp)]
    first = markdown_table(
        ["", "first step", f"path length in {descents[0].steps} steps", "loss after them"],
        [
            [
                d.rule,
                "({:+.6f}, {:+.6f})".format(*d.path[1] - d.path[0]),
                f"{np.linalg.norm(np.diff(d.path, axis=0), axis=1).sum():.3f}",
                f"{d.losses[-1]:.2g}",
            ]
            for d in descents
        ],
    )
    settings = f"w₁² + 25 w₂² from (−1, −1), η {ETA}, ε 1e-7, RMSProp with γ 0.9, 400 steps"
    caption = f"""\
The gradient at the start is (−2, −50); each weight's own rate makes the first step of AdaGrad \
(+η, +η), the diagonal. Its rates only fall: "Stop learning!" RMSProp's rise again as gradients \
fall, until it jumps back and forth over the minimum, η far in each step.

{first}"""
    pictures = {
        "adagrad_paths": plots.panels(descents)[0],
        "adagrad_rates": plots.rates(descents)[0],
    }
    return pictures, settings, caption


@functools.cache
def from_saddle():
    return [descend(saddle, rule(ETA), steps=5000) for rule in keras_lecture_opt.rules.RULES]


def saddle_point():
    """All seven from the saddle"""
    descents = from_saddle()
    ax = plots.losses(descents)
    ax.set_xscale("log")
    ax.set_xlim(left=1)
    left = markdown_table(
        ["", "steps until it leaves"],
        [[d.rule, d.steps if d.stopped else f"stays for {d.steps}"] for d in descents],
    )
    settings = f"w₁³ + w₂² from (−0.01, −1), η {ETA}, all else the lecture's defaults"
    caption = f"""\
The gradient at the start is (0.0003, −2). The loss has no minimum: it falls without end as w₁ \
does, and (0, 0) is a saddle. To leave is to reach w₁ < −1.5. Rules with one rate for all \
weights first run down w₂ and then wait at the saddle until w₁, whose gradient is 6667 times \
smaller, has grown; rules with a rate for each weight move along both from the first step.

{left.rstrip()}"""
    pictures = {"saddle_paths": plots.panels(descents)[0], "saddle_losses": ax}
    return pictures, settings, caption


def bias_correction():
    """Adam with and without bias correction"""
    descents = [descend(quadratic, rule(ETA), steps=50) for rule in (SimplifiedAdam, Adam)]
    first = markdown_table(
        ["", "first step", "in units of η"],
        [
            [d.rule, "({:+.6f}, {:+.6f})".format(*step), f"{step[0] / ETA:.4f}"]
            for d in descents
            for step in [d.path[1] - d.path[0]]
        ],
    )
    settings = (
        f"The first 50 steps on w₁² + 25 w₂² from (−1, −1), η {ETA}, β₁ 0.9, β₂ 0.999, ε 1e-8"
    )
    caption = f"""\
Both averages start at 0, m leaves it faster than v, so without correction the first step is 0.1 \
/ √0.001 times η; with it, η.

{first}"""
    pictures = {
        "bias_correction_paths": plots.panels(descents)[0],
        "bias_correction_rates": plots.rates(descents)[0],
    }
    return pictures, settings, caption


def too_long():
    """Why does Adam need bias correction?"""
    eta, shorter = 0.3, 0.3 * np.sqrt(0.001) / 0.1
    rules = (SimplifiedAdam, eta), (Adam, eta), (SimplifiedAdam, shorter)
    first, descents = (
        [descend(beale, rule(rate), steps=steps) for rule, rate in rules] for steps in (60, 1000)
    )
    axes = plots.panels(first)
    for ax in axes:
        ax.set(xlim=(0.5, 4.5), ylim=(-1.2, 1.6))
    t = np.array([1, 12, 100, 1000])
    factors = (1 - 0.9**t) / np.sqrt(1 - 0.999**t)
    times = markdown_table(
        ["step", *t], [["times as long without correction", *(f"{x:.2f}" for x in factors)]]
    )
    ends = markdown_table(
        ["", "η", "steps", "loss at the end"],
        [
            [
                d.rule,
                f"{d.hyperparameters['learning_rate']:.3g}",
                f"{d.steps}, then it leaves" if d.stopped else d.steps,
                f"{d.losses[-1]:.2g}" if d.losses[-1] > 1e-20 else "below 1e-20",
            ]
            for d in descents
        ],
    )
    settings = f"The first {first[1].steps} steps on Beale's function, η {eta} and {eta} / 3.16"
    caption = f"""\
For equal gradients, step t without correction is (1 − β₁ᵗ) / √(1 − β₂ᵗ) times as long as with it, \
and that is most at the start, before anything is known about the surface. At η {eta} these steps \
throw SimplifiedAdam out of the domain, while Adam, whose first step is η long, ends in the minimum.

{times}
{ends}
The factor does not depend on the problem, so a search for η makes up for most of it. [On \
MNIST](../comparison/README.md) the best rate after 3 epochs is 0.00032 for SimplifiedAdam and \
0.001 for Adam, after 20 epochs 0.00032 for both."""
    return {"bias_correction_beale_paths": axes[0]}, settings, caption


def settles(descent, loss):
    """Return the step from which on the loss stays below that."""
    at_or_above = np.flatnonzero(descent.losses >= loss)[-1]
    return at_or_above + 1 if at_or_above < descent.steps else "never"


def draw_all(folder):
    """Draw every picture, and the page that shows them."""
    policy = f"Drawn by `make lecture-figures`. {POLICY}"
    pages = [f"# The lecture's pictures\n\n{FILM}\n\n{policy}\n"]
    for draw in (zigzag, lookahead, adagrad, saddle_point, bias_correction, too_long):
        pictures, settings, caption = draw()
        for name, ax in pictures.items():
            ax.figure.savefig(folder / f"{name}.png", dpi=80)
            plt.close(ax.figure)
        links = "\n\n".join(f"![{settings}]({name}.png)" for name in pictures)
        pages.append(f"## {draw.__doc__}\n\n{links}\n\n{settings}. {caption.rstrip()}\n")
        print(f"{draw.__doc__}: {', '.join(f'{name}.png' for name in pictures)}")
    (folder / "README.md").write_text("\n".join(pages), encoding="utf-8")


def draw_film(folder):
    """Film the seven from the saddle."""
    plots.animate(from_saddle(), folder / "saddle.gif", fps=12, spacing="log")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "folder",
        nargs="?",
        type=_programs.folder,
        metavar="FOLDER",
        default=pathlib.Path(__file__).parent,
    )
    folder = parser.parse_args().folder
    _programs.check_writable(folder)
    draw_all(folder)
    draw_film(folder)
    print(f"Wrote {_programs.shorten_path(folder)}")


if __name__ == "__main__":
    _programs.run(main)
