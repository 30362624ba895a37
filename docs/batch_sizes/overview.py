"""Compare the sizes of the mini-batch: write README.md and cost.png from the results of each.

    for size in 32 64 128; do
        python examples/compare_rules.py SteepestDescent Momentum Nesterov AdaGrad RMSProp \
            SimplifiedAdam Adam --batch-size $size --rungs 1:10,3:3 --folder tb_logs/batch_$size
        cp -r tb_logs/batch_$size/page docs/batch_sizes/$size
    done
    python docs/batch_sizes/overview.py
"""

import argparse
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
from _pages import rows_of

from keras_lecture_opt import rules
from keras_lecture_opt.comparison._tables import markdown_table
from keras_lecture_opt.plots._style import canvas, color, legend, line_styles

HERE = pathlib.Path(__file__).parent
SIZES = (32, 64, 128)
INTRODUCTION = """\
# Does the size of the mini-batch matter?

The lecture's network (784-1000-1000-10, dropout 0.5) after 3 epochs of MNIST, with batches of 32,
64 and 128. The learning rate of each rule was chosen for each size: of 10 rates after 1 epoch, then
of the best 3 after 3 epochs. The numbers are the training cost in the last epoch: the mean of two
seeds, and in brackets the lowest and the highest. Bold is the size at which both seeds of a rule
end lower than at the other sizes.

![Training cost against the size of the batch](cost.png)
"""
END = """\
{best}
From its best to its worst size, the cost of a rule rises by: {effects}.
With two seeds and three epochs this is an observation, not a test. Neighboring rates of the grid
differ by a factor of 3.2. Beside the best rate, most of them change the cost by more than the size
does, so the best size may depend on where the rates lie. Small batches mean more steps in an epoch,
1,875, 938 and 469, and so more time.

Each size is a study of its own, with curves, learning rates and probabilities:
[32](32/README.md), [64](64/README.md), [128](128/README.md).

Made by the commands in [overview.py](overview.py).
"""


def last_losses(size):
    """Return for each rule its chosen learning rate and the losses of the seeds in the end."""
    chosen = {}
    for row in rows_of(HERE / str(size) / "results.csv"):
        if row["chosen"] == "True":
            of_rule = chosen.setdefault(row["optimizer"], (float(row["learning_rate"]), {}))
            of_rule[1][row["seed"]] = float(row["loss"])  # the last epoch's stays
    return {name: (rate, [*ends.values()]) for name, (rate, ends) in chosen.items()}


def best_sizes(results):
    """Return for each rule the size at which all seeds end lower than at the others, or None."""
    best = {}
    for rule in rules.RULES:
        losses = {size: results[size][rule.__name__][1] for size in SIZES}
        first, *others = sorted(SIZES, key=lambda size: np.mean(losses[size]))
        lowest_other = min(min(losses[size]) for size in others)
        best[rule.__name__] = first if max(losses[first]) < lowest_other else None
    return best


def table(results, best):
    """Return the rules against the sizes; the best size of a rule, if there is one, is bold."""
    rows = []
    for name, best_size in best.items():
        cells = []
        for size in SIZES:
            rate, losses = results[size][name]
            bold = "**" * (size == best_size)
            cells.append(f"{bold}{spread(losses)}, η {rate:g}{bold}")
        rows.append([name, *cells])
    return markdown_table(["rule", *(f"batch {size}" for size in SIZES)], rows)


def spread(losses):
    return f"{np.mean(losses):.4g} [{min(losses):.4g}, {max(losses):.4g}]"


def effects(results):
    """Return how much more each rule's worst size costs than its best one, largest first."""
    means = {
        rule.__name__: [np.mean(results[size][rule.__name__][1]) for size in SIZES]
        for rule in rules.RULES
    }
    costs = {name: max(of_sizes) / min(of_sizes) - 1 for name, of_sizes in means.items()}
    ordered = sorted(costs, key=costs.get, reverse=True)
    return ", ".join(f"{name} {costs[name]:.0%}" for name in ordered)


def in_words(best):
    """Return a sentence for each size on the rules that did best with it, and on the others."""
    rules_of = {size: [name for name in best if best[name] == size] for size in (*SIZES, None)}
    return "\n".join(
        f"{f'Best with {size}' if size else 'The sizes overlap'}: {', '.join(names)}."
        for size, names in rules_of.items()
        if names
    )


def picture(results, file):
    with canvas(None, (9, 6), None, 100) as ax:
        styles = line_styles([color(rule) for rule in rules.RULES])
        for rule, line in zip(rules.RULES, styles, strict=True):
            losses = np.transpose([results[size][rule.__name__][1] for size in SIZES])
            line["marker"] = "o"
            ax.plot(SIZES, losses.mean(axis=0), **line, label=rule.__name__)
            ax.plot(SIZES, losses.T, ".", color=line["color"], alpha=0.5)
        ax.set(xscale="log", xlabel="size of the batch", ylabel="training cost")
        ax.set_xticks(SIZES, map(str, SIZES))
        ax.minorticks_off()
        legend(ax)
    ax.figure.savefig(file)


def page(results):
    best = best_sizes(results)
    return "\n".join(
        [
            INTRODUCTION,
            table(results, best),
            END.format(best=in_words(best), effects=effects(results)),
        ]
    )


def main():
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    results = {size: last_losses(size) for size in SIZES}
    picture(results, HERE / "cost.png")
    (HERE / "README.md").write_text(page(results))


if __name__ == "__main__":
    main()
