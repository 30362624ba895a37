r"""Which rule trains the MNIST network best? A reproduction of Figure 2(a) of Kingma & Ba (2015).

    python examples/compare_rules.py

For each rule and batch size, short runs on one log grid of learning rates, the same for all, find
the rate with the lowest training cost. Long runs over several seeds use it. Other hyperparameters
are the rule's defaults. The test images choose nothing. Finished epochs are kept: after an
interruption, even a kill, the same command continues and ends with the same results. The folder
gets results.csv, README.md, cost.png, and the long runs for TensorBoard.

The defaults take about 50 minutes on two CPU cores. The paper's 200 epochs, on a GPU:

    python examples/compare_rules.py --epochs 200

The lecture's mini-batch sizes:

    python examples/compare_rules.py SteepestDescent Adam --batch-sizes 32 64 128 --epochs 5 \
        --search-epochs 1 --log-dir tb_logs/batch_sizes
"""

import argparse
import itertools
import os
import pathlib
import shlex
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras_lecture_opt  # first: it keeps TensorFlow's start-up lines off the terminal

# isort: split
import numpy as np
import tqdm
from matplotlib import pyplot as plt
from matplotlib import ticker

from keras_lecture_opt import _programs, comparison, plots
from keras_lecture_opt._resolve import optimizer_class

TB_LOGS = pathlib.Path(__file__).resolve().parents[1] / "tb_logs"
RULES = [rule.__name__ for rule in keras_lecture_opt.rules.RULES]
FIGURE = ("AdaGrad", "RMSProp", "Nesterov", "keras.Adadelta", "Adam")  # the rules in the paper's
MARKERS = ("o", "s", "^", "D", "v", "P")
LEFT_OUT = "{}, batch size {}: it diverged at every rate of the grid and is left out."
DEFAULT = [*RULES, "keras.Adadelta"]


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "rules",
        nargs="*",
        type=_programs.optimizer_type,
        metavar="RULE",
        default=DEFAULT,
        help=f"{', '.join(RULES)} or keras.NAME; default: those and keras.Adadelta",
    )
    positive = _programs.positive_integer
    parser.add_argument("--epochs", type=positive, default=20, help="of long runs; default: 20")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1], metavar="S", help="default: 0 1"
    )
    parser.add_argument(
        "--batch-sizes", type=positive, nargs="+", default=[128], metavar="N", help="default: 128"
    )
    parser.add_argument("--dropout", type=float, default=0.5, help="share; default: 0.5")
    parser.add_argument("--hidden", type=positive, nargs="+", default=[1000, 1000], metavar="UNITS")
    search = parser.add_argument_group("the search for a learning rate")
    search.add_argument(
        "--grid",
        type=float,
        nargs="+",
        default=[float(f"{rate:.2g}") for rate in np.logspace(-4, 0.5, 10)],
        metavar="ETA",
        help="default: two per decade, 0.0001 to 3.2",
    )
    search.add_argument("--search-epochs", type=positive, default=3, help="default: 3")
    search.add_argument("--search-seed", type=int, default=1000, help="default: 1000")
    _programs.add_mnist_options(parser)
    parser.add_argument(
        "--log-dir",
        type=_programs.folder,
        default=TB_LOGS / "compare_rules",
        help="default: tb_logs/compare_rules",
    )
    args = parser.parse_args(argv)
    for name in ("rules", "seeds", "batch_sizes", "grid"):  # each once
        setattr(args, name, list(dict.fromkeys(getattr(args, name))))
    try:
        if not all(0 < rate < np.inf for rate in args.grid):
            raise ValueError(f"`--grid` must be numbers > 0, not {args.grid}")
        for rule in args.rules:  # before anything is trained
            for seed in (args.search_seed, *args.seeds):
                run_of(args, rule, args.grid[0], seed, args.batch_sizes[0], args.epochs)
        comparison.check_folder(args.log_dir)
        _programs.check_writable(args.log_dir)
    except (OSError, TypeError, ValueError) as error:
        parser.error(str(error))
    return args


def run_of(args, rule, learning_rate, seed, batch_size, epochs):
    return comparison.Run(
        rule,
        {"learning_rate": learning_rate},
        seed,
        tuple(args.hidden),
        args.dropout,
        batch_size,
        epochs,
    )


def main():
    args = parse()
    data, test = _programs.load_mnist(args)
    trained = {"search": [], "comparison": []}
    results = {phase: [] for phase in trained}
    settings = list(itertools.product(args.rules, args.batch_sizes))
    short_epochs = len(args.grid) * args.search_epochs
    long_epochs = len(args.seeds) * args.epochs
    with tqdm.tqdm(total=len(settings) * (short_epochs + long_epochs), unit="epoch") as bar:

        def write_csv():
            comparison.write_csv(
                args.log_dir / "results.csv", [*results["search"], *results["comparison"]]
            )

        def train(phase, run, **options):
            before = bar.n
            bar.set_description(f"{phase}: {run.rule}, η {run.hyperparameters['learning_rate']:g}")
            rows = comparison.train(
                run, data, args.log_dir / phase, progress=lambda row: bar.update(), **options
            )
            # Epochs of an earlier call, and those after a divergence, take no time.
            bar.total -= run.epochs - (bar.n - before)
            trained[phase].append((run, rows))
            results[phase] += comparison.csv_rows([(run, rows)], len(data[0]), phase)
            if bar.n > before:  # else the file may hold more than has been read again so far
                write_csv()

        for rule, batch_size in settings:
            tried = len(trained["search"])
            for rate in args.grid:
                run = run_of(args, rule, rate, args.search_seed, batch_size, args.search_epochs)
                train("search", run, brief=True)
            found = comparison.best(trained["search"][tried:])
            if found is None:
                bar.write(LEFT_OUT.format(rule, batch_size))
                bar.total -= long_epochs
                continue
            rate = found.hyperparameters["learning_rate"]
            bar.write(f"{rule}, batch size {batch_size}: η {rate:g}")
            for seed in args.seeds:
                run = run_of(args, rule, rate, seed, batch_size, args.epochs)
                train("comparison", run, test=test)
        write_csv()
    text = report(args, trained, len(data[0]))
    (args.log_dir / "README.md").write_text(text, encoding="utf-8")
    (args.log_dir / "cost.png").unlink(missing_ok=True)  # perhaps of another command
    print("\n" + text)
    if groups(trained["comparison"]):
        cost_curves(args, trained["comparison"]).savefig(args.log_dir / "cost.png", dpi=80)
    print(f"Wrote {_programs.shown(args.log_dir)}/")
    print(f"See the runs: {_programs.tensorboard_command(args.log_dir / 'comparison')}")


def groups(trained):
    """Return the long runs that did not diverge, by (rule, batch size); they differ in the seed."""
    result = {}
    for run, rows in trained:
        if not comparison.diverged(rows):
            result.setdefault((run.rule, run.batch_size), []).append((run, rows))
    return result


def report(args, trained, examples):
    """Return the results in words and tables, in Markdown."""
    runs_of = groups(trained["comparison"])
    costs = {group: [rows[-1]["cost"] for _, rows in runs] for group, runs in runs_of.items()}
    seconds = {
        group: np.median([row["seconds"] for _, rows in runs for row in rows])
        for group, runs in runs_of.items()
    }
    rates = {group: runs[0][0].hyperparameters["learning_rate"] for group, runs in runs_of.items()}
    finals, edges, verdicts, sizes = [], [], [], []
    for n in args.batch_sizes:
        order = sorted((g for g in costs if g[1] == n), key=lambda group: np.mean(costs[group]))
        for group in order:
            rule, _ = group
            accuracies = [100 * rows[-1]["test_accuracy"] for _, rows in runs_of[group]]
            finals.append(
                {
                    "rule": rule,
                    "batch size": n,
                    "η": f"{rates[group]:g}",
                    "seeds": len(accuracies),
                    "training cost": spread(costs[group], "{:.5f}"),
                    "test accuracy": spread(accuracies, "{:.2f} %"),
                    "s per epoch": f"{seconds[group]:.1f}",
                }
            )
            if rates[group] in (min(args.grid), max(args.grid)):
                edges.append(f"{rule} (batch size {n})")
        costs_of_rules = {}  # of all rules and seeds: a diverged seed counts as the highest cost
        for rule in args.rules:
            ended = costs.get((rule, n), [])
            costs_of_rules[rule] = ended + [np.inf] * (len(args.seeds) - len(ended))
        verdicts.append(f"Batch size {n}: {verdict(costs_of_rules)}")
    for rule in args.rules:
        of_rule = {n: (np.mean(costs[r, n]), seconds[r, n]) for r, n in costs if r == rule}
        if len(of_rule) > 1:
            sizes.append(mini_batches(rule, of_rule))
    rows = [row for phase in trained.values() for _, rows in phase for row in rows]
    hours = sum(row["seconds"] for row in rows) / 3600
    versions = [name for name in comparison.environment() if name != "device"]
    where = dict.fromkeys(
        ", ".join([row["device"], *(f"{name} {row[name]}" for name in versions)]) for row in rows
    )
    lines = [
        "# Which rule trains the MNIST network best?",
        f"Networks 784-{'-'.join(map(str, args.hidden))}-10 with dropout {args.dropout:g}, "
        f"{args.epochs} epochs of {examples} images. Training cost: mean cross-entropy of the "
        "training images during the last epoch, with dropout, as in Figure 2(a) of Kingma & Ba "
        "(2015). Means over the seeds, and in brackets the lowest and the highest. Time: the "
        "median epoch. Hyperparameters other than η are the rule's defaults.",
        *(["![Training cost against epochs](cost.png)"] if finals else []),
        _programs.markdown_table(list(finals[0]), [list(f.values()) for f in finals])
        if finals
        else "",
        *verdicts,
        *sizes,
        *(
            f"{run.rule} diverged with seed {run.seed}, batch size {run.batch_size}."
            for run, rows in trained["comparison"]
            if comparison.diverged(rows)
        ),
        *(
            LEFT_OUT.format(rule, n)
            for rule, n in itertools.product(args.rules, args.batch_sizes)
            if not any((run.rule, run.batch_size) == (rule, n) for run, _ in trained["comparison"])
        ),
        "## The search",
        f"Training cost after {args.search_epochs} epoch(s) with seed {args.search_seed}. The "
        "lowest was chosen. A run whose cost over an epoch, even the first, is not finite or above "
        f"{comparison.DIVERGED:.1f}, twice that of guessing, counts as diverged and ends there.",
        search_table(args, trained["search"]),
        f"At the grid's edge, so that a better rate may lie beyond: {', '.join(edges) or 'none'}.",
        f"Training alone took {hours:.2f} hours on {'; '.join(where)}.",
        f"Made by `{shlex.join(['python', 'examples/compare_rules.py', *sys.argv[1:]])}`.",
    ]
    return "\n\n".join(line.rstrip() for line in lines if line) + "\n"


def search_table(args, searched):
    costs = {
        (run.rule, run.batch_size, run.hyperparameters["learning_rate"]): (
            "diverged" if comparison.diverged(rows) else f"{rows[-1]['cost']:.4f}"
        )
        for run, rows in searched
    }
    return _programs.markdown_table(
        ["rule", "batch size", *(f"η {rate:g}" for rate in args.grid)],
        [
            [rule, n, *(costs[rule, n, rate] for rate in args.grid)]
            for rule, n in itertools.product(args.rules, args.batch_sizes)
        ],
    )


def verdict(costs):
    """Compare with the paper's figure, where Adam ends lowest, given each rule's last costs."""
    if not np.isfinite(costs.get("Adam", np.inf)).all():
        return "Adam, which ends lowest in the figure, is not here, or diverged."
    others = [rule for rule in costs if rule != "Adam"]
    below = [rule for rule in others if max(costs[rule]) < min(costs["Adam"])]
    above = [rule for rule in others if min(costs[rule]) > max(costs["Adam"])]

    def named(rules):
        return ", ".join(rules) or "none"

    in_figure = [rule for rule in others if rule in FIGURE]
    if not in_figure:
        held = "no other rule of the figure is here to compare Adam with"
    elif set(in_figure) & set(below):
        held = "what the figure shows, Adam ending lowest, did not hold here"
    elif set(in_figure) <= set(above):
        held = "what the figure shows, Adam ending lowest, held here"
    else:
        held = "the seeds do not decide whether Adam ended lowest, as in the figure"
    return (
        f"{held}. Lower than Adam with every seed: {named(below)}. Higher with every seed: "
        f"{named(above)}. Overlapping: {named([r for r in others if r not in (*below, *above)])}. "
        f"(Not in the figure: {named([r for r in others if r not in FIGURE])}; in the figure, but "
        f"not here: {named([r for r in FIGURE if r not in costs])}.)"
    )


def mini_batches(rule, sizes):
    """Compare batch sizes, given the mean cost and the seconds per epoch with each."""
    lowest = min(sizes, key=lambda n: sizes[n][0])
    fastest = min(sizes, key=lambda n: sizes[n][1])
    others = ", ".join(
        f"{sizes[n][1] / sizes[fastest][1]:.1f} times as long with {n}"
        for n in sizes
        if n != fastest
    )
    return (
        f"{rule}: after equal epochs the mean cost is lowest with batch size {lowest}; an epoch is "
        f"shortest with {fastest}, and takes {others}."
    )


def spread(values, form):
    if len(values) == 1:
        return form.format(*values)
    low, mean, high = (form.format(f(values)) for f in (min, np.mean, max))
    return f"{mean} [{low}, {high}]"


def cost_curves(args, trained):
    """Draw training cost against epochs: the mean over seeds, and a band from lowest to highest."""
    from_keras = [rule for rule in args.rules if rule.startswith("keras.")]
    with plots.style():
        fig, ax = plt.subplots(figsize=(10, 6))
        for (rule, batch_size), runs in groups(trained).items():
            costs = np.array([[row["cost"] for row in rows] for _, rows in runs])
            epochs = np.arange(1, costs.shape[1] + 1)
            color = plots.color(optimizer_class(rule))
            line = plots.LINES[args.batch_sizes.index(batch_size) % len(plots.LINES)]
            # Keras's classes may share a color, with one another or with a rule of ours.
            marker = MARKERS[from_keras.index(rule) % len(MARKERS)] if rule in from_keras else None
            sizes = len(args.batch_sizes) > 1
            label = f"{rule}, batch size {batch_size}" if sizes else rule
            mean = costs.mean(axis=0)
            ax.plot(epochs, mean, line, marker=marker, color=color, linewidth=2.5, label=label)
            ax.fill_between(epochs, costs.min(axis=0), costs.max(axis=0), color=color, alpha=0.2)
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(ticker.NullFormatter())
        title = f"MNIST, dropout {args.dropout:g}"
        ax.set(xlabel="epoch", ylabel="training cost", title=title)
        ax.xaxis.get_major_locator().set_params(integer=True)
        plots.legend(ax)
    return fig


if __name__ == "__main__":
    _programs.run(main, interrupted="Interrupted. The same command continues.")
