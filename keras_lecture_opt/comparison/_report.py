"""A study in words, tables and pictures, on one page."""

import csv
import itertools
import math
import shlex
import sys

import numpy as np

from keras_lecture_opt._arguments import check_local_path
from keras_lecture_opt._files import replacing
from keras_lecture_opt.comparison import _costs, _search
from keras_lecture_opt.comparison._engine import duration
from keras_lecture_opt.comparison._identity import versions
from keras_lecture_opt.comparison._run import diverged
from keras_lecture_opt.comparison._statistics import MOST, PROBABLE, SIGNIFICANT, probability

MARK = "<!-- Written by keras_lecture_opt.comparison -->"
FILES = ("README.md", "results.csv", "curves.png", "sensitivity.png", "costs.png")
BUDGETS = (1, 3, 10, 20)  # trials of a search


def markdown_table(head, rows):
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def table(study, ranking):
    """Return the study's ranking as a table in Markdown."""
    head = ["optimizer", "η", study.choose_by, "diverged", "same η again"]
    if study.target:
        quantity, goal, mode = study.target
        sign = "≥" if mode == "max" else "≤"
        head += [f"{quantity} {sign} {goal:g}", "after epochs", "steps", "seconds"]
    rows = []
    for entry in ranking:
        rows.append(row := [entry["optimizer"]])
        if entry["learning_rate"] is None:
            row += ["none", "no η is left that did not diverge", *[""] * (len(head) - 3)]
            continue
        edge = ", an edge of the last choice" if entry["at_inner_edge"] else ""
        edge = ", the grid's edge" if entry["at_edge"] else edge
        row += [f"{_search.text(entry['hyperparameters'])}{edge}", spread(entry["values"])]
        row += [f"{entry['diverged']} of {len(study.seeds)}", f"{entry['same_choice']:.0%}"]
        if study.target:
            epochs, steps, seconds = entry["to_target"]
            row.append(f"{entry['reached']} of {len(study.seeds)}")
            medians = [f"{epochs:g}", f"{steps:g}", f"{seconds:.1f}"]
            row += medians if epochs < math.inf else ["not reached"] * 3
    return markdown_table(head, rows)


def report(study, folder):
    """Write the page; return its folder."""
    from keras_lecture_opt import plots  # needs an extra

    folder = check_local_path("folder", folder)
    page = folder / "README.md"
    there = [name for name in FILES if (folder / name).exists()]
    if there and not (page.exists() and page.read_bytes().startswith(MARK.encode())):
        names = ", ".join(there)
        raise FileExistsError(f"{folder} has {names}, not of a report. Use another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(page) as part:
        part.write_text("\n\n".join([MARK, *sections(study)]) + "\n", encoding="utf-8")
    rows = study.rows()
    results = folder / "results.csv"
    with replacing(results) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    pictures = {"curves.png": lambda: plots.curves(study).figure}
    if study.is_grid:
        pictures["sensitivity.png"] = lambda: plots.sensitivity(study).figure
    else:
        pictures["costs.png"] = study.costs
    for name, draw in pictures.items():
        with replacing(folder / name) as part:
            draw().savefig(part, format="png", dpi=80)
    return folder


def sections(study):
    """Yield the paragraphs of the page."""
    ranking, pairs = study.ranking(), study.pairs()
    yield "# Which optimizer trains this network best?"
    yield " ".join(protocol(study))
    yield table(study, ranking).rstrip()
    yield " ".join(legend(study))
    yield "The other quantities at the end of the last epoch, and how long an epoch trains:"
    yield others(study, ranking)
    yield f"![{study.choose_by} against epochs](curves.png)"
    yield "## Which differences are real?"
    yield verdicts(ranking, pairs)
    yield matrix(study.names, {(p.first, p.second): p.probability for p in pairs})
    yield (
        "The probability that a run of the row's optimizer ends better than a run of the column's, "
        "over all pairs of seeds, as if runs of one seed had nothing in common. "
        f"With {plural(len(study.seeds), 'seed')} it is a coarse number. "
        f"So a verdict asks for at least {PROBABLE:.0%} and for a p below {SIGNIFICANT:.0%}. "
        "p is that of a t-test of the means, times the number of pairs. It is of logarithms, if "
        "less is better and all values are positive. The spread of each optimizer counts as at "
        "least that of all of them together. An optimizer of which no rate is left, or whose runs "
        "all diverged, is worse without a test."
    )
    if study.is_grid:
        yield from rates(study)
    else:
        yield "## What does a wrong hyperparameter cost?"
        yield "![What each hyperparameter costs](costs.png)"
        yield from _costs.sections(study, markdown_table)
    yield "## What if the search had been shorter?"
    yield from budgets(study)
    yield "## The optimizers"
    yield configurations(study)
    yield "## How this was made"
    yield " ".join(provenance(study))


def rates(study):
    """Yield paragraphs on what each learning rate of a grid reached."""
    yield "## What does a wrong learning rate cost?"
    yield f"![{study.choose_by} against the learning rate](sensitivity.png)"
    yield (
        "Lines are means over the seeds, bands reach from the lowest to the highest. A ring is the "
        "rate that was chosen in the end, in a later rung perhaps. A cross is a rate at which a "
        "seed diverged. In the tables are means of the seeds that did not diverge. The last two "
        "columns divide the value one rate below the best one, and one above it, by its value."
    )
    for rung, (epochs, count) in enumerate(study.rungs):
        if count > 1:
            yield f"Mean {moment(study.choose_by, epochs)}:"
            yield sensitivity(study, rung)


def protocol(study):
    """Yield sentences on what was done."""
    # Layers that draw count their draws in an integer variable.
    variables = study.description["network"]["variables"]
    network = [shape for shape, dtype in variables if "float" in dtype]
    loss = study.description["loss"]
    loss = loss["class"] if isinstance(loss, dict) and "class" in loss else loss
    weights = sum(map(math.prod, network))
    yield f"A network of {len(network)} variables, {weights:,} weights, loss {loss}."
    yield from layers(study.description["network"]["config"])
    size, rows = study.description["batch_size"], next(iter(study.results.values()))
    examples = f" of {size} examples" if size else ""
    yield f"An epoch has {plural(rows[0]['steps'], 'batch', 'batches')}{examples}."
    noun = "rate" if study.is_grid else "trial"
    steps = ", then ".join(
        f"{plural(count, noun)} up to epoch {epochs}" for epochs, count in study.rungs
    )
    seeds = f"{plural(len(study.seeds), 'seed')}: {', '.join(map(str, study.seeds))}"
    yield f"Each optimizer was trained with {steps}, each with {seeds}."
    if study.is_grid:
        yield f"Rates from {study.rates[0]:g} to {study.rates[-1]:g}, the same for all."
    else:
        searched = ", ".join(_costs.searched(study))
        yield f"Trials are quasi-random values of {searched}, where an optimizer has these."
    if study.stopped is not None:
        yield f"Training stopped after {duration(study.stopped)}: more was planned."
    best = "lowest" if study.mode == "min" else "highest"
    yield f"The {noun}s with the {best} mean {study.choose_by} went on."
    compared = [epochs for epochs, count in study.rungs if count > 1]
    if compared and compared[-1] < study.rungs[-1][0]:
        yield f"{noun.capitalize()}s are not compared after epoch {compared[-1]}."
    yield "A run of one seed starts from the same weights and sees the same batches for every rule."
    yield (
        "A run has diverged, and ends, when its training loss over an epoch is not finite or more "
        "than twice that of the untrained network on 10 batches. It counts as worse than every "
        "other, even if its first steps explode and it recovers within the epoch."
    )


def layers(config):
    """Yield a sentence on the layers, where the configuration is that of a few in a list."""
    listed = config.get("config", {}).get("layers", []) if isinstance(config, dict) else []
    if 0 < len(listed) <= 20:
        named = []
        for layer in listed:
            own = layer.get("config", {})
            sizes = [own.get(key) for key in ("filters", "units", "rate")]
            sizes = [f"{size:g}" for size in sizes if isinstance(size, (int, float))]
            named.append(" ".join([layer.get("class_name", "?"), *sizes]))
        yield f"Its layers: {', '.join(named)}."


def legend(study):
    """Yield sentences on the columns of the table."""
    epochs, _ = study.rungs[-1]
    yield (
        f"{moment(study.choose_by, epochs)}: the mean over the seeds, and in brackets the lowest "
        "and the highest."
    )
    if not study.choose_by.startswith("val_"):
        yield (
            "It is the mean over the epoch's batches, while the weights change, with dropout where "
            "the network has it."
        )
    yield (
        "*Same η again*: how often the search chooses this rate, among those that were tried, if "
        "the seeds are resampled."
    )
    if study.target:
        quantity, *_ = study.target
        yield (
            f"To the target {quantity}: how many seeds reach it, and the medians over all seeds; "
            "not reached, if no more than half do. Seconds are epochs times the median epoch, and "
            "depend on the machine and on what else ran there. "
            f"η was chosen for {study.choose_by}, not for the target."
        )


def others(study, ranking):
    """Return the table of the quantities by which no rate was chosen."""
    names = [name for name in study.quantities if name != study.choose_by]
    rows = []
    for entry in ranking:
        name = entry["optimizer"]
        ends = [rows[-1] for rows in study.runs(name) if not diverged(rows)]
        if not ends:
            continue
        values = [np.array([row[quantity] for row in ends]) for quantity in names]
        rows.append([name, *map(spread, values), f"{entry['epoch_seconds']:.1f}"])
    return markdown_table(["optimizer", *names, "s per epoch"], rows).rstrip()


def configurations(study):
    """Return a list in Markdown: each optimizer's class, and its arguments but a constant rate."""
    lines = []
    for name, optimizer in study.optimizers.items():
        try:
            config = optimizer.get_config()
        except NotImplementedError:  # of the user's own
            config = {}
        rate = config.get("learning_rate")
        given = [f"η: {rate['class_name']}"] if isinstance(rate, dict) else []
        unsaid = {"name", "learning_rate", "jit_compile"}
        if not config.get("use_ema"):
            unsaid.add("ema_momentum")
        given += [
            f"{argument} {value}"
            for argument, value in config.items()
            if argument not in unsaid and value is not None and value is not False
        ]
        kind = f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"
        lines.append(f"- {name}: {', '.join([f'`{kind}`', *given])}.")
    return "\n".join(lines)


def verdicts(ranking, pairs):
    """Return what the pairs tell, as a list in Markdown."""
    lines = []
    for name in [entry["optimizer"] for entry in ranking]:
        won = [pair for pair in pairs if pair.verdict == name]
        worse = [with_p(p.second if p.first == name else p.first, p) for p in won]
        if worse:
            lines.append(f"- {name} ends better than {', '.join(worse)}.")
    untold = [with_p(f"{p.first} and {p.second}", p) for p in pairs if not p.verdict]
    if untold:
        lines.append(f"- The data do not tell: {', '.join(untold)}.")
    return "\n".join(lines) or "- There is only one optimizer."


def with_p(text, pair):
    if np.isnan(pair.p_value):
        return text
    return f"{text} (p {'< 0.001' if pair.p_value < 0.001 else f'{pair.p_value:.1g}'})"


def matrix(names, probabilities):
    """Return a table of the probabilities of pairs."""
    both = {**probabilities, **{(b, a): 1 - p for (a, b), p in probabilities.items()}}
    rows = [
        [one, *("" if one == other else f"{both[one, other]:.0%}" for other in names)]
        for one in names
    ]
    return markdown_table(["", *names], rows).rstrip()


def sensitivity(study, rung):
    """Return the table of a rung: each optimizer at each rate that was trained so far."""
    trained = {
        name: dict(zip(study.alive[rung][name], study.values(name, rung), strict=True))
        for name in study.names
    }
    rates = sorted({rate for of_name in trained.values() for rate in of_name})
    rows = []
    for name, of_name in trained.items():
        cells = []
        for rate in rates:
            values = of_name.get(rate, np.empty(0))
            out = int(np.isinf(values).sum())
            ended = study.sign * values[np.isfinite(values)]
            mean = f"{ended.mean():.4g}" if len(ended) else ""
            cells.append(f"{mean} ({out} of {len(values)} diverged)" if out else mean)
        rows.append([name, *cells, *neighbors(of_name, study.rates)])
    head = ["", *(f"η {rate:g}" for rate in rates), "one lower", "one higher"]
    return markdown_table(head, rows).rstrip()


def neighbors(values, rates):
    """Yield what the rates of the study beside the best one cost, as factors in words."""
    means = {rate: of_rate.mean() for rate, of_rate in values.items()}
    best = min(means, key=means.get, default=rates[0])  # nothing is beside it if there is none
    for i in (rates.index(best) - 1, rates.index(best) + 1):
        beside = means.get(rates[i]) if 0 <= i < len(rates) else None
        if beside is None or not np.isfinite(means[best]):
            yield ""
        elif np.isinf(beside):
            yield "diverged"
        else:  # zero, or another sign, makes no factor
            yield f"{beside / means[best]:.2f}" if beside * means[best] > 0 else ""


def budgets(study):
    """Yield what searches of few trials would have found."""
    epochs, _ = study.rungs[0]
    noun = "rate" if study.is_grid else "trial"
    yield (
        f"The search is repeated in every possible way, with as many of the {noun}s as said and "
        f"with the seeds resampled; in {MOST:,} ways by chance, where there are more. What it "
        f"reaches ({moment(study.choose_by, epochs)}, where every {noun} was trained): the median, "
        "and in brackets the 10% and the 90% quantile. This says nothing about later epochs, and "
        f"no more than the seeds do. Other {noun}s give other numbers. If both diverge, that "
        "counts one half."
    )
    sizes = sorted({min(size, len(study.rates)) for size in BUDGETS})
    found = {size: study.after_search(size) for size in sizes}

    def cell(values):
        ends = [
            "diverged" if np.isinf(value) else f"{study.sign * value:.4g}"
            for value in np.quantile(values, (0.1, 0.5, 0.9), method="lower")
        ][:: study.sign]
        return f"{ends[1]} [{ends[0]}, {ends[2]}]"

    rows = [[name, *(cell(found[size][name]) for size in sizes)] for name in study.names]
    yield markdown_table(["", *(plural(size, noun) for size in sizes)], rows).rstrip()
    for size in sizes:
        yield f"Probability that the row's optimizer ends better, with {plural(size, noun)}:"
        pairs = itertools.combinations(study.names, 2)
        likely = {pair: probability(*(found[size][name] for name in pair)) for pair in pairs}
        yield matrix(study.names, likely)


def provenance(study):
    """Yield sentences on command, machine, versions and time."""
    rows = [row for rows in study.results.values() for row in rows]
    devices = ", ".join(dict.fromkeys(row["device"] for row in rows))
    named = ", ".join(f"{name} {version}" for name, version in versions().items())
    hours = sum(row["seconds"] for row in rows) / 3600
    yield f"`{shlex.join(['python', *sys.argv])}`, on {devices}; {named}."
    yield (
        f"The seconds of all epochs of training add up to {hours:.2f} hours, with pauses and other "
        "load. All results: [results.csv](results.csv)."
    )
    yield (
        "The seeds that chose the rates are those that are reported, so the reported values are "
        "slightly too good."
    )


def moment(quantity, epochs):
    """Return a quantity and when it was measured: training quantities are means over an epoch."""
    if quantity.startswith("val_"):
        return f"{quantity} after {plural(epochs, 'epoch')}"
    return f"{quantity} in epoch {epochs}"


def plural(count, noun, several=None):
    return f"{count} {noun if count == 1 else several or noun + 's'}"


def spread(values):
    """Return the mean of the values that are not NaN, and the lowest and the highest."""
    if np.isnan(values).all():
        return "NaN"
    low, mean, high = (f"{f(values):.4g}" for f in (np.nanmin, np.nanmean, np.nanmax))
    return f"{mean} [{low}, {high}]" if len(values) > 1 else mean
