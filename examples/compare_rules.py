"""Which rule trains the MNIST network best? Figure 2(a) of Kingma & Ba (2015), done anew.

    python examples/compare_rules.py

For each rule, a search on one log grid of learning rates, equal for all rules, by the training
cost after short runs; then long runs with the rate found, over several seeds. Nothing else is
tuned: other hyperparameters are the rule's defaults. The test images choose nothing. What has been
finished is kept: the same command continues after an interruption, even a kill, and ends with the
same numbers. The folder gets results.csv, README.md, cost.png, and the long runs for TensorBoard.

The defaults take about one hour on two CPU cores. The paper's 200 epochs, on a GPU:

    python examples/compare_rules.py --epochs 200
"""

import argparse
import itertools
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no CUDA errors where there is no GPU
import fit_mnist
import numpy as np
import tqdm
from lecture_figures import table
from matplotlib import pyplot as plt

from keras_lecture_opt import comparison, plots

RULES = [rule.__name__ for rule in fit_mnist.RULES.values()]
DEFAULT = [*RULES, "keras.Adadelta"]  # the paper's figure has it


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "rules",
        nargs="*",
        metavar="RULE",
        default=DEFAULT,
        help=f"{', '.join(RULES)} or keras.NAME; default: those and keras.Adadelta",
    )
    positive = fit_mnist.positive
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
    search.add_argument("--search-epochs", type=positive, default=1, help="default: 1")
    search.add_argument("--search-seed", type=int, default=1000, help="default: 1000")
    parser.add_argument("--train-examples", type=positive, metavar="N", help="the first N")
    parser.add_argument("--data-dir", help="where TFDS keeps MNIST; default: TFDS's own")
    parser.add_argument(
        "--log-dir",
        type=pathlib.Path,
        default=fit_mnist.TB_LOGS / "compare_rules",
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
        args.log_dir.mkdir(parents=True, exist_ok=True)
        if not os.access(args.log_dir, os.W_OK):
            raise PermissionError(f"{args.log_dir} cannot be written to")
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
    data, test = fit_mnist.load(args)
    trained = {"search": [], "comparison": []}
    results = {part: [] for part in trained}
    long_runs = len(args.rules) * len(args.seeds) * len(args.batch_sizes)
    epochs = len(args.rules) * len(args.grid) * args.search_epochs + long_runs * args.epochs
    with tqdm.tqdm(total=epochs, unit="epoch") as bar:

        def train(part, run, **options):
            before = bar.n
            bar.set_description(f"{part}: {run.rule}, η {run.hyperparameters['learning_rate']:g}")
            rows = comparison.train(
                run, data, args.log_dir / part, progress=lambda row: bar.update(), **options
            )
            # What was done before, or is left out after a divergence, takes no time.
            bar.total -= run.epochs - (bar.n - before)
            trained[part].append((run, rows))
            results[part] += comparison.table([(run, rows)], len(data[0]), part)
            comparison.write_csv(
                args.log_dir / "results.csv", [*results["search"], *results["comparison"]]
            )

        for rule in args.rules:
            tried = len(trained["search"])
            for rate in args.grid:
                run = run_of(
                    args, rule, rate, args.search_seed, args.batch_sizes[0], args.search_epochs
                )
                train("search", run, brief=True)
            found = comparison.best(trained["search"][tried:])
            if found is None:
                bar.write(f"{rule} diverged at every rate of the grid: it is left out.")
                bar.total -= args.epochs * len(args.seeds) * len(args.batch_sizes)
                continue
            rate = found.hyperparameters["learning_rate"]
            bar.write(f"{rule}: η {rate:g}")
            for batch_size, seed in itertools.product(args.batch_sizes, args.seeds):
                run = run_of(args, rule, rate, seed, batch_size, args.epochs)
                train("comparison", run, test=test)
    text = report(args, trained)
    (args.log_dir / "README.md").write_text(text)
    print("\n" + text)
    if trained["comparison"]:
        cost_curves(args, trained["comparison"]).savefig(args.log_dir / "cost.png", dpi=80)
    print(f"Wrote {fit_mnist.shown(args.log_dir)}/results.csv, README.md, cost.png")
    print(f"See the runs: {fit_mnist.tensorboard(args.log_dir / 'comparison')}")


def groups(trained):
    """The long runs that came to their end, by rule and batch size: they differ in their seeds."""
    result = {}
    for run, rows in trained:
        if not comparison.diverged(rows):
            result.setdefault((run.rule, run.batch_size), []).append((run, rows))
    return result


def report(args, trained):
    """The results in words and tables."""
    searched = {
        (run.rule, run.hyperparameters["learning_rate"]): rows for run, rows in trained["search"]
    }
    search_rows = [
        [
            rule,
            *(
                "diverged" if comparison.diverged(rows) else f"{rows[-1]['cost']:.4f}"
                for rows in (searched[rule, rate] for rate in args.grid)
            ),
        ]
        for rule in args.rules
    ]
    finals = []
    for (rule, batch_size), runs in groups(trained["comparison"]).items():
        last = [rows[-1] for _, rows in runs]
        costs = [row["cost"] for row in last]
        cells = {
            "rule": rule,
            "η": f"{runs[0][0].hyperparameters['learning_rate']:g}",
            "batch size": batch_size,
            "seeds": len(runs),
            "training cost": spread(costs, "{:.5f}"),
            "test accuracy": spread([100 * row["test_accuracy"] for row in last], "{:.2f} %"),
            "s per epoch": f"{np.median([r['seconds'] for _, rows in runs for r in rows]):.1f}",
        }
        finals.append((np.mean(costs), cells))
    finals = [cells for _, cells in sorted(finals, key=lambda final: final[0])]
    where = comparison.environment()
    hours = sum(r["seconds"] for part in trained.values() for _, rows in part for r in rows) / 3600
    edges = {f"{min(args.grid):g}", f"{max(args.grid):g}"}
    edges = dict.fromkeys(cells["rule"] for cells in finals if cells["η"] in edges)
    lines = [
        "# Which rule trains the MNIST network best?",
        f"Networks 784-{'-'.join(map(str, args.hidden))}-10 with dropout {args.dropout}, "
        f"{args.epochs} epochs. Training cost: mean cross-entropy of the training images during "
        "the last epoch, with dropout, as in Figure 2(a) of Kingma & Ba (2015). Means over the "
        "seeds, and in brackets the lowest and the highest. Time: the median epoch.",
        "![Training cost against epochs](cost.png)",
        table(list(finals[0]), [list(cells.values()) for cells in finals]) if finals else "",
        *(
            f"Batch size {n}: {verdict([c['rule'] for c in finals if c['batch size'] == n])}"
            for n in args.batch_sizes
        ),
        *(
            f"{run.rule} diverged with seed {run.seed}, batch size {run.batch_size}."
            for run, rows in trained["comparison"]
            if comparison.diverged(rows)
        ),
        "## The search",
        f"Training cost after {args.search_epochs} epoch(s) with seed {args.search_seed}, batch "
        f"size {args.batch_sizes[0]}. The lowest was chosen, for all batch sizes.",
        table(["rule", *(f"η {rate:g}" for rate in args.grid)], search_rows),
        f"At the grid's edge, so that a better rate may lie beyond: {', '.join(edges) or 'none'}.",
        f"Trained for {hours:.2f} hours on {where.pop('device')}, with "
        + ", ".join(f"{name} {version}" for name, version in where.items())
        + ".",
    ]
    return "\n\n".join(line.rstrip() for line in lines if line) + "\n"


def verdict(order):
    """What of the paper's figure held, given the rules from the lowest cost on."""
    if "Adam" not in order:
        return "Adam, which ends lowest in the figure, is not among the rules."
    if order[0] == "Adam":
        return "what the figure shows held here: Adam ends lowest."
    lower = ", ".join(order[: order.index("Adam")])
    return f"what the figure shows did not hold here: lower than Adam ended {lower}."


def spread(values, form):
    if len(values) == 1:
        return form.format(*values)
    low, mean, high = (form.format(f(values)) for f in (min, np.mean, max))
    return f"{mean} [{low}, {high}]"


def cost_curves(args, trained):
    """Training cost against epochs: the mean over seeds, and a band from lowest to highest."""
    with plots.style():
        fig, ax = plt.subplots(figsize=(10, 6))
        for (rule, batch_size), runs in groups(trained).items():
            costs = np.array([[row["cost"] for row in rows] for _, rows in runs])
            epochs = np.arange(1, costs.shape[1] + 1)
            name = rule.removeprefix("keras.")
            color = plots.COLORS.get(name, plots.OTHERS)
            i = args.batch_sizes.index(batch_size)
            sizes = len(args.batch_sizes) > 1
            label = f"{rule}, batch size {batch_size}" if sizes else rule
            line = "--" if rule != name else plots.LINES[i % len(plots.LINES)]
            ax.plot(epochs, costs.mean(axis=0), line, color=color, linewidth=2.5, label=label)
            ax.fill_between(epochs, costs.min(axis=0), costs.max(axis=0), color=color, alpha=0.2)
        ax.set_yscale("log")
        ax.set(xlabel="epoch", ylabel="training cost", title="MNIST, dropout")
        ax.xaxis.get_major_locator().set_params(integer=True)
        plots.legend(ax)
    return fig


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Interrupted: the same command continues.")
