"""A study in words, tables and pictures, on one page. What decides comes first."""

import math

import numpy as np
from matplotlib import pyplot as plt

from keras_lecture_opt._arguments import check_local_path
from keras_lecture_opt._files import make_folder, replacing
from keras_lecture_opt.comparison import _costs, _proposals, _search, _tables
from keras_lecture_opt.comparison._differences import POWER, SIGNIFICANT, seeds_for, spread, visible
from keras_lecture_opt.comparison._engine import duration
from keras_lecture_opt.comparison._run import diverged
from keras_lecture_opt.comparison._statistics import MOST, repeated_searches
from keras_lecture_opt.comparison._tables import at_end, listed, markdown_table, plural, size

MARK = "<!-- Written by keras_lecture_opt.comparison -->"
FILES = ("README.md", "protocol.json", "results.csv", "curves.png", "sensitivity.png", "costs.png")
BUDGETS = (1, 3, 10, 20)  # rates of a grid, or trials, that a search tries
RATIOS = (1.5, 1.2, 1.1, 1.05, 1.02, 1.01)  # ratios for which a number of seeds is recommended


def report(study, folder):
    """Write the page; return its folder."""
    folder = check_local_path("folder", folder)
    page = folder / "README.md"
    there = ", ".join(name for name in FILES if (folder / name).exists())
    if there and not (page.exists() and page.read_bytes().startswith(MARK.encode())):
        raise FileExistsError(f"{folder} has {there}, not of a report. Use another folder.")
    make_folder("folder", folder)
    with replacing(page) as part:
        parts = [part.rstrip() for part in (MARK, *sections(study))]
        part.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    study.save(folder)
    drawn = {"curves.png": study.curves}
    drawn |= {"sensitivity.png": study.sensitivity} if study.is_grid else {"costs.png": study.costs}
    for name, draw in drawn.items():
        figure = draw().figure
        with replacing(folder / name) as part:
            figure.savefig(part, format="png", dpi=80)
        plt.close(figure)
    return folder


def sections(study):
    """Yield the paragraphs of the page."""
    ranking, differences = study.ranking(), study.differences()
    yield "# Which optimizer trains this network best?"
    yield " ".join(answer(study, ranking))
    yield markdown_table(*_tables.ranking_table(study, ranking))
    if len(study.names) > 2:
        yield "\n".join(order(ranking, differences))
    if len(study.names) > 1:
        yield "**What would tell more?** " + " ".join(more(study))
    yield " ".join(legend(study, ranking))
    yield f"![{study.choose_by} against epochs](curves.png)"
    yield (
        "Lines are means over the seeds that did not diverge. Bands are their 95% intervals, by "
        "the spread of all optimizers together, without what a seed does to all of them alike."
    )
    yield from measured(study, [entry for entry in ranking if entry["hyperparameters"]])
    yield from rates(study) if study.is_grid else costs(study)
    yield "## What if the search had been shorter?"
    sizes = sorted({min(size, len(study.rates)) for size in BUDGETS})
    found = {size: after_search(study, size) for size in sizes}
    yield from budgets(study, found)
    yield "## What was done?"
    yield " ".join(protocol(study))
    yield configurations(study)
    yield " ".join(provenance(study))
    if len(study.names) > 1:
        yield from pairs(study, [entry["optimizer"] for entry in ranking], differences, found)


def answer(study, ranking):
    """Yield the sentences that answer the title."""
    best, *others = ranking
    name = best["optimizer"]
    if best["learning_rate"] is None or best["diverged"] == len(study.seeds):
        tried = "at every learning rate" if study.is_grid else "in every trial"
        yield f"No optimizer ended: each diverged with every seed {tried}."
        return
    chosen = _search.text(best["hyperparameters"])
    yield f"**{name}** ends best: {at_end(study, -1)} is {best['mean']:.4g}, at η {chosen}."
    told = [entry for entry in others if entry["difference"].carries]
    worse = [e["optimizer"] for e in told if e["difference"].better == name]
    untold = [e["optimizer"] for e in others if not e["difference"].carries]
    if worse:
        named = "all others" if len(worse) == len(others) > 1 else listed(worse)
        yield f"It ends better than {named}."
    if untold:
        named = "any other" if len(untold) == len(others) > 1 else listed(untold)
        yield f"The seeds do not tell whether it ends better than {named}."
    for entry in told:
        better = entry["difference"].better
        if better != name:  # fewer diverged runs decide the order, even if that does not carry
            out = f"{entry['diverged']} of its {len(study.seeds)} runs diverged"
            yield f"Where it ends, **{better}** is better ({size(entry['difference'])}), but {out}."


def order(ranking, differences):
    """Yield a list in Markdown: which differences carry between the optimizers below the best."""
    for entry in ranking[1:]:
        name = entry["optimizer"]
        carried = [d for d in reversed(differences) if d.carries and d.better == name]
        if carried:
            worse = [d.first if d.second == name else d.second for d in carried]
            yield f"- **{name}** ends better than {listed(worse)}."
    untold = sum(not d.carries for d in differences)
    if untold:
        yield f"- {untold} of the {len(differences)} differences do not carry."


def more(study):
    """Yield sentences on what this study could have seen, and how to see more."""
    optimizers, seeds = len(study.names), len(study.seeds)
    variance, in_logs = spread(study.ends())
    if seeds == 1:
        yield "More seeds: one says nothing about how far results spread. Take three or more."
        return
    if not variance > 0:
        yield "Nothing can be said: the results do not spread, or too few runs ended."
        return
    written = percent if in_logs else "{:.2g}".format
    found = visible(variance, optimizers, seeds)
    yield (
        f"With {plural(seeds, 'seed')}, a true difference of {written(found)} carries in "
        f"{POWER:.0%} of studies like this one, a smaller one less often."
    )
    smaller = [math.log(factor) for factor in RATIOS] if in_logs else [found / 2, found / 4]
    smaller = [size for size in smaller if size < 0.8 * found][:2]
    needed = [(written(size), seeds_for(variance, optimizers, size)) for size in smaller]
    needed = [f"for {size}: about {count}" for size, count in needed if count]
    if needed:
        yield f"Seeds to take {', '.join(needed)}."
    if seeds == 2:
        yield (
            "Two seeds are few: where one optimizer's results spread ten times as much as those of "
            "the others, a difference carries in 17% of studies of equal optimizers. With three "
            "seeds it is at most 5%."
        )
    last = study.rungs[-1][0] // 20  # few enough for a training that still improves
    if last > study.average_last:
        averaged = visible(spread(study.ends(last))[0], optimizers, seeds)
        if averaged < 0.8 * found:
            yield (
                f"Average over the last {last} epochs (`average_last={last}`): the same runs then "
                f"tell differences of {written(averaged)}."
            )


def percent(logarithm):
    share = math.expm1(min(logarithm, 7))
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def legend(study, ranking):
    """Yield sentences on the table, and on what limits it."""
    ends = np.concatenate([*study.ends().values()])
    kind = "geometric mean" if np.all(ends[np.isfinite(ends)] > 0) else "mean"
    yield f"{study.choose_by}: {at_end(study, -1)}, the {kind} over the seeds that did not diverge."
    if not study.choose_by.startswith("val_"):
        yield (
            "It is the mean over an epoch's batches, while the weights change, with dropout where "
            "the network has it."
        )
    if len(ranking) > 1:
        yield (
            "*Ratio to the best*: its value over that of the best, with a 95% interval; the "
            "difference, with a sign, where a value is not positive. A difference carries if its p "
            f"is below {SIGNIFICANT:.0%}. Interval and p are corrected for the number of pairs. "
            "Each interval misses the truth in less than 5% of studies, one of many more often."
        )
    inner = [entry["optimizer"] for entry in ranking if entry.get("at_inner_edge")]
    if inner:
        yield (
            f"Of the rates that were compared last, that of {listed(inner)} is the lowest or the "
            "highest: one beyond may be better, so let more rates go on."
        )
    again = [
        f"{entry['optimizer']} {entry['same_choice']:.0%}"
        for entry in ranking
        if entry.get("same_choice", 1) < 0.9
    ]
    if again:
        same, again = "η" if study.is_grid else "trial", ", ".join(again)
        yield f"With resampled seeds, the search chooses the same {same} less often: {again}."


def measured(study, ranking):
    """Yield paragraphs on the target, and on the quantities by which nothing was chosen."""
    yield "## How long does it take, and what else was measured?"
    if study.target:
        quantity, goal, mode = study.target
        reached = f"{quantity} {'≥' if mode == 'max' else '≤'} {goal:g}"
        rows = []
        for entry in ranking:
            epochs, steps, seconds = entry["to_target"]
            row = [entry["optimizer"], f"{entry['reached']} of {len(study.seeds)}"]
            row += [f"{epochs:g}", f"{steps:g}", f"{seconds:.1f}"]
            rows.append(row if epochs < math.inf else [*row[:2], *["not reached"] * 3])
        yield markdown_table(["optimizer", reached, "after epochs", "steps", "seconds"], rows)
        chosen = "η was" if study.is_grid else "Hyperparameters were"
        yield (
            "How many seeds reach the target, and the medians over all seeds; not reached, if no "
            "more than half do. Seconds are epochs times the median epoch, and depend on the "
            f"machine and on what else ran there. {chosen} chosen for {study.choose_by}, not for "
            "the target."
        )
    names = [name for name in study.quantities if name != study.choose_by]
    rows = []
    for entry in ranking:
        ends = [rows[-1] for rows in study.runs(entry["optimizer"]) if not diverged(rows)]
        if ends:
            values = [with_deviation([end[quantity] for end in ends]) for quantity in names]
            rows.append([entry["optimizer"], *values, f"{entry['epoch_seconds']:.1f}"])
    yield markdown_table(["optimizer", *names, "s per epoch"], rows)
    yield "Means over the seeds that did not diverge, and their standard deviations."


def with_deviation(values):
    """Return the mean of the values that are not NaN, and their standard deviation."""
    values = [value for value in values if not math.isnan(value)]
    if not values:
        return "NaN"
    deviation = f" ± {np.std(values, ddof=1):.1g}" if len(values) > 1 else ""
    return f"{np.mean(values):.4g}{deviation}"


def rates(study):
    """Yield paragraphs on what each learning rate of a grid reached."""
    yield "## What does a wrong learning rate cost?"
    yield f"![{study.choose_by} against the learning rate](sensitivity.png)"
    yield (
        "Lines are means over the seeds, and dots the seeds. A ring is the rate that was chosen in "
        "the end, in a later rung perhaps. A cross is a rate at which a seed diverged. In the "
        "tables are means of the seeds that did not diverge, and in brackets how many did."
    )
    yield f"Mean {at_end(study, 0)}, at each η:"
    rows = [[name, *map(cell, study.sign * study.values(name, 0))] for name in study.names]
    yield markdown_table(["η", *(f"{rate:g}" for rate in study.rates)], rows)
    for rung, (_, count) in enumerate(study.rungs):
        if count > 1:
            at = at_end(study, rung)
            yield f"The η with the best mean {at}, and the values of its neighbors over its own:"
            yield neighbors(study, rung)


def cell(values):
    """Return the mean of the seeds that did not diverge, and how many did, in words."""
    ended = values[np.isfinite(values)]
    mean, out = f"{ended.mean():.3g}" if len(ended) else "", len(values) - len(ended)
    return f"{mean} ({out} ✕)".strip() if out else mean


def neighbors(study, rung):
    """Return the table of the best rate of a rung, and of what the rates beside it cost."""
    rows = []
    for name in study.names:
        trained = zip(study.alive[rung][name], study.values(name, rung), strict=True)
        means = {rate: values.mean() for rate, values in trained}
        best = min(means, key=means.get, default=math.nan)
        if not np.isfinite(means.get(best, math.inf)):
            rows.append([name, "none", "", "", ""])
            continue
        i = study.rates.index(best)
        beside = [study.rates[k] if 0 <= k < len(study.rates) else None for k in (i - 1, i + 1)]
        costs = [factor(means.get(rate), means[best]) for rate in beside]
        rows.append([name, f"{best:g}", f"{study.sign * means[best]:.4g}", *costs])
    return markdown_table(["optimizer", "η", study.choose_by, "one η lower", "one η higher"], rows)


def factor(value, best):
    """Return a value over the best one, in words; None was not trained."""
    if value is None:
        return ""
    if np.isinf(value):
        return "diverged"
    return f"{value / best:.2f}" if value * best > 0 else ""  # zero, or another sign, makes none


def costs(study):
    """Yield paragraphs on what each hyperparameter of a search costs when it is wrong."""
    yield "## What does a wrong hyperparameter cost?"
    yield "![What each hyperparameter costs](costs.png)"
    yield (
        "A dot is a trial, and a cross one that diverged with a seed. Each range is cut into parts "
        "with equally many trials; each value of a list is a part. A cell is what the best trial "
        "of a part reached, over what the best trial of the optimizer reached: mean "
        f"{at_end(study, 0)}, where every trial was trained."
    )
    for hyperparameter in _costs.searched(study):
        rows = []
        for name in study.names:
            found = _costs.parts(study, name, hyperparameter)
            best = min((value for _, value in found), default=0)
            cells = [f"{part(values)}: {factor(value, best)}" for values, value in found]
            rows += [[name, *cells]] if found else []
        width = max(map(len, rows))
        rows = [row + [""] * (width - len(row)) for row in rows]
        yield markdown_table([hyperparameter, *[""] * (width - 1)], rows)


def part(values):
    """Return a part of a range in words."""
    first, last = (_search.text({"learning_rate": value}) for value in (values[0], values[-1]))
    return first if first == last else f"{first} to {last}"


def after_search(study, trials):
    """Return what a search with few trials would have reached: dict from names to arrays."""
    return {
        name: repeated_searches(study.values(name, 0), trials, seed)
        for seed, name in enumerate(study.names)
    }


def budgets(study, found):
    """Yield what searches of few trials would have found."""
    noun = unit(study)
    yield (
        f"The search is repeated in every possible way, with as many of the {noun}s as said and "
        f"with the seeds resampled; in {MOST:,} ways by chance, where there are more. What it "
        f"reaches ({at_end(study, 0)}, where every {noun} was trained): the median, and in "
        "brackets the 10% and the 90% quantile. This says nothing about later epochs, and no more "
        f"than the seeds do. Other {noun}s give other numbers."
    )

    def cell(values):
        ends = np.quantile(values, (0.1, 0.5, 0.9), method="lower")[:: study.sign]
        low, middle, high = ("diverged" if np.isinf(x) else f"{study.sign * x:.4g}" for x in ends)
        return f"{middle} [{low}, {high}]"

    rows = [[name, *(cell(values[name]) for values in found.values())] for name in study.names]
    yield markdown_table(["", *(plural(size, noun) for size in found)], rows)


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
    noun = unit(study)
    rungs = [f"{plural(count, noun)} up to epoch {epochs}" for epochs, count in study.rungs]
    seeds = f"{plural(len(study.seeds), 'seed')}: {', '.join(map(str, study.seeds))}"
    yield f"Each optimizer was trained with {', then '.join(rungs)}, each with {seeds}."
    if study.is_grid:
        yield f"Rates from {study.rates[0]:g} to {study.rates[-1]:g}, the same for all."
    elif study.proposals:
        found = [_proposals.text(name, one) for name, one in study.proposals.items()]
        most = max(one["steps"] for one in study.proposals.values())
        yield (
            "The rates lie around those that `find_learning_rate` found with the first seed, in "
            f"at most {most} steps each: {listed(found)}."
        )
    else:
        searched = ", ".join(_costs.searched(study))
        yield f"Trials are quasi-random values of {searched}, where an optimizer has these."
    if called := study.description.get("callbacks"):
        kinds = listed([one["class"].rpartition(".")[2] for one in called])
        yield f"Callbacks: {kinds}. A run that one of them stops keeps its last results."
    if study.stopped is not None:
        yield f"Training stopped after {duration(study.stopped)}: more was planned."
    best = "lowest" if study.mode == "min" else "highest"
    yield f"The {noun}s with the {best} mean {study.choose_by} went on."
    compared = [epochs for epochs, count in study.rungs if count > 1]
    if compared and compared[-1] < study.rungs[-1][0]:
        yield f"{noun.capitalize()}s are not compared after epoch {compared[-1]}."
    yield (
        "A run of one seed starts from the same weights and sees the same batches for every rule. "
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
            sizes = (own.get(key) for key in ("filters", "units", "rate"))
            sizes = [f"{size:g}" for size in sizes if isinstance(size, (int, float))]
            named.append(" ".join([layer.get("class_name", "?"), *sizes]))
        yield f"Its layers: {', '.join(named)}."


def configurations(study):
    """Return a list in Markdown: each optimizer's class, and its arguments that did not vary."""
    lines = []
    for name, optimizer in study.optimizers.items():
        # Text, where a class of the user's has no configuration.
        config = optimizer["config"] if isinstance(optimizer["config"], dict) else {}
        rate = config.get("learning_rate")
        given = [f"η: {rate['class_name']}"] if isinstance(rate, dict) else []
        unsaid = {"jit_compile", *next(iter(study.trials[name].values()))}
        if not config.get("use_ema"):
            unsaid.add("ema_momentum")
        given += [
            f"{argument} {value}"
            for argument, value in config.items()
            if argument not in unsaid and value is not None and value is not False
        ]
        kind = f"`{optimizer['class']}`"
        lines.append(f"- {name}: {', '.join([kind, *given])}.")
    return "\n".join(lines)


def provenance(study):
    """Yield sentences on command, machine, versions and time."""
    rows = [row for rows in study.results.values() for row in rows]
    devices = ", ".join(dict.fromkeys(row["device"] for row in rows))
    named = ", ".join(f"{name} {version}" for name, version in study.versions.items())
    hours = sum(row["seconds"] for row in rows) / 3600
    yield f"`{study.command}`, on {devices}; {named}."
    yield (
        f"The seconds of all epochs of training add up to {hours:.2f} hours, with pauses and other "
        "load. All results: [results.csv](results.csv). "
        f"The seeds that chose the {unit(study)}s are those that are reported, so the reported "
        "values are slightly too good."
    )


def pairs(study, names, differences, found):
    """Yield paragraphs on every pair of optimizers, by the results and after shorter searches."""
    yield "## Every pair"
    yield _tables.pairs(differences)
    yield (
        "*A better*: the share of all pairs of runs, whatever their seeds, in which A's ends "
        "better. Sizes and p are of `comparison.differences`: runs of one seed are compared, in "
        "logarithms where all values of the pair are positive. The spread is that of all pairs; if "
        "spreads differ, it is the pair's own, but no less than the common one. A second test, by "
        "the pair's own spread alone, gets a twentieth of the 5%. How many runs diverged is "
        "compared by Fisher's exact test, and decides if that carries. Holm's method corrects all "
        "p together, and the intervals with them."
    )
    yield "## Probabilities"
    yield (
        "The probability that a run of the row's optimizer ends better than one of the column's, "
        f"over all pairs of seeds. With {plural(len(study.seeds), 'seed')} it is a coarse number."
    )
    yield _tables.matrix(names, {name: study.sign * ends for name, ends in study.ends().items()})
    for trials, values in found.items():
        yield f"After a search of {plural(trials, unit(study))}, in epoch {study.rungs[0][0]}:"
        yield _tables.matrix(names, values)


def unit(study):
    """Return what a study tries: rates of a grid, or trials of a search."""
    return "rate" if study.is_grid else "trial"
