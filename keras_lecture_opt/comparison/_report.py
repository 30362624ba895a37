"""A study in words, tables and pictures, on one page."""

import csv
import math
import pathlib
import shlex
import sys

import numpy as np

from keras_lecture_opt._arguments import check_path
from keras_lecture_opt._programs import markdown_table
from keras_lecture_opt.comparison._identity import versions
from keras_lecture_opt.comparison._statistics import PROBABLE, REPEATS, SIGNIFICANT, probability

MARK = "<!-- Written by keras_lecture_opt.comparison -->"
FILES = ("README.md", "results.csv", "curves.png", "sensitivity.png")
BUDGETS = (1, 3, 10)  # learning rates that a search tries


def table(study, ranking):
    """Return the study's ranking as a table in Markdown."""
    head = ["optimizer", "η", study.choose_by, "diverged", "same η again"]
    if study.target:
        quantity, goal, mode = study.target
        sign = "≥" if mode == "max" else "≤"
        head += [f"{quantity} {sign} {goal:g}", "after epochs", "steps", "seconds"]
    rows = []
    for entry in ranking:
        if entry["learning_rate"] is None:
            rows.append([entry["optimizer"], "none", "diverged at every η"])
            rows[-1] += [""] * (len(head) - len(rows[-1]))
            continue
        edge = ", the grid's edge" if entry["at_edge"] else ""
        rows.append(
            [
                entry["optimizer"],
                f"{entry['learning_rate']:g}{edge}",
                spread(entry["values"]),
                f"{entry['diverged']} of {len(study.seeds)}",
                f"{entry['same_choice']:.0%}",
            ]
        )
        if study.target:
            epochs, steps, seconds = entry["to_target"]
            rows[-1].append(f"{entry['reached']} of {len(study.seeds)}")
            medians = [f"{epochs:g}", f"{steps:g}", f"{seconds:.1f}"]
            rows[-1] += medians if epochs < math.inf else ["not reached"] * 3
    return markdown_table(head, rows)


def report(study, folder):
    """Write the page; return its folder."""
    from keras_lecture_opt import plots  # needs an extra

    folder = pathlib.Path(check_path("folder", folder))
    page = folder / "README.md"
    there = [name for name in FILES if (folder / name).exists()]
    if there and not (page.exists() and page.read_bytes().startswith(MARK.encode())):
        names = ", ".join(there)
        raise FileExistsError(f"{folder} has {names}, not of a report. Use another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    page.write_text("\n\n".join([MARK, *sections(study)]) + "\n", encoding="utf-8")
    rows = study.rows()
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for name, draw in (("curves.png", plots.curves), ("sensitivity.png", plots.sensitivity)):
        draw(study).figure.savefig(folder / name, dpi=80)
    return folder


def sections(study):
    """Yield the paragraphs of the page."""
    epochs, _ = study.rungs[-1]
    ranking, pairs = study.ranking(), study.pairs()
    yield "# Which optimizer trains this network best?"
    yield " ".join(protocol(study))
    yield table(study, ranking).rstrip()
    yield (
        f"{study.choose_by} after {epochs} epochs: the mean over the seeds, and in brackets the "
        "lowest and the highest. *Same η again*: how often the search, repeated with seeds drawn "
        "anew, chooses this rate among those that were tried. To the target: how many seeds reach "
        "it, and the medians over all seeds. Seconds are of training, with the time in which "
        "TensorFlow traces it, and depend on what else ran on the machine."
    )
    yield f"![{study.choose_by} against epochs](curves.png)"
    yield "## Which differences are real?"
    yield verdicts(ranking, pairs)
    yield matrix(study.names, {(p.first, p.second): p.probability for p in pairs})
    yield (
        "The probability that a run of the row's optimizer ends better than a run of the column's, "
        f"over all pairs of seeds. With {plural(len(study.seeds), 'seed')} it is a coarse number. "
        f"So a verdict asks for at least {PROBABLE:.0%} and, in Welch's t-test of the means, for a "
        f"p-value below {SIGNIFICANT:.0%} after multiplication by the number of pairs."
    )
    yield "## What does a wrong learning rate cost?"
    yield f"![{study.choose_by} against the learning rate](sensitivity.png)"
    yield (
        "Lines are means over the seeds, bands reach from the lowest to the highest. A ring is the "
        "rate that was chosen in the end. A cross is a rate at which a seed diverged."
    )
    yield sensitivity(study)
    yield "## What if the search had been shorter?"
    yield from budgets(study)
    yield "## How this was made"
    yield " ".join(provenance(study))


def protocol(study):
    """Yield sentences on what was done."""
    # Layers that draw count their draws in an integer variable.
    variables = study.description["network"]["variables"]
    network = [shape for shape, dtype in variables if "float" in dtype]
    loss = study.description["loss"]
    loss = loss["class"] if isinstance(loss, dict) and "class" in loss else loss
    weights = sum(map(math.prod, network))
    yield f"A network of {len(network)} variables, {weights:,} weights, loss {loss}."
    steps = ", then ".join(
        f"{plural(count, 'rate')} up to epoch {epochs}" for epochs, count in study.rungs
    )
    seeds = f"{plural(len(study.seeds), 'seed')}: {', '.join(map(str, study.seeds))}"
    yield f"Each optimizer was trained with {steps}, each with {seeds}."
    yield f"Rates from {study.rates[0]:g} to {study.rates[-1]:g}, the same for all."
    best = "lowest" if study.mode == "min" else "highest"
    yield f"The rates with the {best} mean {study.choose_by} went on."
    yield "A run of one seed starts from the same weights and sees the same batches for every rule."
    yield (
        "A run has diverged, and ends, when its training loss over an epoch is not finite or twice "
        "that of the network without training. It counts as worse than every other."
    )


def verdicts(ranking, pairs):
    """Return what the pairs tell, as a list in Markdown."""
    told = [pair for pair in pairs if pair.verdict]
    lines = []
    for name in [entry["optimizer"] for entry in ranking]:
        worse = [
            pair.second if pair.first == name else pair.first
            for pair in told
            if pair.verdict == name
        ]
        if worse:
            lines.append(f"- {name} ends better than {', '.join(worse)}.")
    open_pairs = [f"{pair.first} and {pair.second}" for pair in pairs if not pair.verdict]
    if open_pairs:
        lines.append(f"- The data do not tell: {', '.join(open_pairs)}.")
    return "\n".join(lines) or "- There is only one optimizer."


def matrix(names, probabilities):
    """Return a table of the probabilities of pairs."""
    both = {**probabilities, **{(b, a): 1 - p for (a, b), p in probabilities.items()}}
    return markdown_table(
        ["", *names],
        [
            [one, *("" if one == other else f"{both[one, other]:.0%}" for other in names)]
            for one in names
        ],
    ).rstrip()


def sensitivity(study):
    """Return the table of the first rung: each optimizer at each rate."""
    rows = []
    for name in study.names:
        cells = []
        for values in study.values(name, 0):
            out = int(np.isinf(values).sum())
            mean = (
                f"{study.sign * values[np.isfinite(values)].mean():.4g}"
                if out < len(values)
                else ""
            )
            cells.append(f"{mean} ({out} of {len(values)} diverged)" if out else mean)
        rows.append([name, *cells, *neighbors(study, name)])
    epochs = plural(study.rungs[0][0], "epoch")
    text = (
        f"Mean {study.choose_by} after {epochs}, of the seeds that did not diverge. The last two "
        "columns divide the value one rate below the best one, and one above it, by its value.\n\n"
    )
    head = ["", *(f"η {rate:g}" for rate in study.rates), "one lower", "one higher"]
    return text + markdown_table(head, rows).rstrip()


def neighbors(study, name):
    """Return what the rates beside the best one of the first rung cost, as factors in words."""
    means = study.values(name, 0).mean(axis=1)
    best = int(means.argmin())
    for i in (best - 1, best + 1):
        if not np.isfinite(means[best]) or not 0 <= i < len(means):
            yield ""
        else:
            yield "diverged" if np.isinf(means[i]) else f"{means[i] / means[best]:.2f}"


def budgets(study):
    """Yield what searches of few trials would have found."""
    epochs, _ = study.rungs[0]
    yield (
        f"The search is repeated {REPEATS:,} times, with as many rates as said and with seeds "
        f"drawn by chance. What it reaches after {plural(epochs, 'epoch')}, where every rate was "
        "trained: the median, and in brackets the 10% and the 90% quantile. This says nothing "
        "about later epochs, and no more than the seeds do."
    )
    sizes = sorted({min(size, len(study.rates)) for size in BUDGETS})
    found = {size: study.after_search(size) for size in sizes}

    def cell(values):
        ends = [
            "diverged" if np.isinf(value) else f"{study.sign * value:.4g}"
            for value in np.quantile(values, (0.1, 0.5, 0.9), method="lower")
        ]
        return f"{ends[1]} [{ends[0]}, {ends[2]}]"

    yield markdown_table(
        ["", *(plural(size, "rate") for size in sizes)],
        [[name, *(cell(found[size][name]) for size in sizes)] for name in study.names],
    ).rstrip()
    for size in sizes:
        yield f"Probability that the row's optimizer ends better, with {plural(size, 'rate')}:"
        yield matrix(
            study.names,
            {
                (one, other): probability(found[size][one], found[size][other])
                for i, one in enumerate(study.names)
                for other in study.names[i + 1 :]
            },
        )


def provenance(study):
    """Yield sentences on command, machine, versions and time."""
    rows = [row for rows in study.results.values() for row in rows]
    devices = ", ".join(dict.fromkeys(row["device"] for row in rows))
    named = ", ".join(f"{name} {version}" for name, version in versions().items())
    hours = sum(row["seconds"] for row in rows) / 3600
    yield f"`{shlex.join(['python', *sys.argv])}`, on {devices}; {named}."
    yield f"Training alone took {hours:.2f} hours. All results: [results.csv](results.csv)."
    yield (
        "The seeds that chose the rates are those that are reported, so the reported values are "
        "slightly too good."
    )


def plural(count, noun):
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def spread(values):
    """Return the mean of the values that are not NaN, and the lowest and the highest."""
    low, mean, high = (f"{f(values):.4g}" for f in (np.nanmin, np.nanmean, np.nanmax))
    return f"{mean} [{low}, {high}]" if len(values) > 1 else mean
