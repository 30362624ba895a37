"""The tables of a study, as rows of text, and what its numbers look like in them."""

import math

from keras_lecture_opt.comparison import _search
from keras_lecture_opt.comparison._differences import probability

LATEX = {"\\": r"\textbackslash{}", "η": r"$\eta$", "≥": r"$\geq$", "≤": r"$\leq$"}
LATEX |= {"<": r"$<$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}


def markdown_table(head, rows):
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def latex_table(head, rows):
    """Return a table in LaTeX, for the package booktabs."""
    escape = str.maketrans(LATEX)
    first, *others = (" & ".join(str(c).translate(escape) for c in line) for line in [head, *rows])
    lines = [f"\\begin{{tabular}}{{{'l' * len(head)}}}", r"\toprule", rf"{first} \\", r"\midrule"]
    lines += [rf"{line} \\" for line in others]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def ranking_table(study, ranking):
    """Return the head and the rows of the ranking."""
    chosen = "η" if study.is_grid else "η, hyperparameters"
    head = ["", "optimizer", chosen, study.choose_by, "ratio to the best [95%]", "p", "carries"]
    rows = []
    for place, entry in enumerate(ranking, start=1):
        rows.append(row := [place, entry["optimizer"]])
        pair = entry["difference"]
        if entry["learning_rate"] is None:
            row += ["none", f"every {'η' if study.is_grid else 'trial'} diverged", ""]
        else:
            out = entry["diverged"]
            lost = f", {out} of {len(study.seeds)} diverged" if out else ""
            edge = f", the {'grid' if study.is_grid else 'range'}'s edge" * entry["at_edge"]
            value = f"{entry['mean']:.4g}" if out < len(study.seeds) else "all diverged"
            row += [f"{_search.text(entry['hyperparameters'])}{edge}", f"{value}{lost}"]
            row.append(size(pair) if pair else "")
        row += [p_value(pair), carries(pair, entry["optimizer"])] if pair else ["", ""]
    return head, rows


def flat(ranking):
    """Return the ranking with one number, text or truth in each field, for a table."""
    result = []
    for entry in ranking:
        pair = entry["difference"]
        row = {key: entry[key] for key in ("optimizer", "learning_rate")}
        row |= entry["hyperparameters"] or {}
        keys = ("mean", "diverged", "at_edge", "at_inner_edge", "same_choice", "reached")
        row |= {key: entry.get(key) for key in (*keys, "epoch_seconds")}
        names = ("epochs_to_target", "steps_to_target", "seconds_to_target")
        row |= dict(zip(names, entry.get("to_target", (None,) * 3), strict=True))
        row |= {key: getattr(pair, key, None) for key in ("ratio", "difference", "p", "carries")}
        low, high = pair.interval if pair else (None, None)
        result.append({**row, "low": low, "high": high})
    return result


def pairs(differences):
    """Return the table of all pairs, the better optimizer first."""
    rows = []
    for d in reversed(differences):
        out = f"{d.diverged[1]}, {d.diverged[0]}" if any(d.diverged) else ""
        told = carries(d, d.first)
        rows.append([d.second, d.first, size(d), p_value(d), told, f"{1 - d.share:.0%}", out])
    head = ["A", "B", "B over A [95%]", "p", "carries", "A better", "diverged"]
    return markdown_table(head, rows)


def size(difference):
    """Return the ratio or the difference of a pair and its interval, in words."""
    is_ratio = difference.ratio is not None
    value, bounds = difference.ratio if is_ratio else difference.difference, difference.interval
    if math.isnan(value):
        return "no seed in common"
    write = ratio if is_ratio else "{:+.3g}".format
    if math.isinf(bounds[1]):
        return write(value)
    return f"{write(value)} [{', '.join(map(write, bounds))}]"


def ratio(value):
    """Return a ratio in words, with one digit more where it is close to 1."""
    return f"{value:.3f}" if 0.9 < value < 1.1 else f"{value:.3g}"


def carries(difference, other):
    """Return whether a difference carries, and whether it does so for the other optimizer."""
    if not difference.carries:
        return "no"
    return f"yes, {other} is better" if difference.better == other else "yes"


def p_value(difference):
    return "< 0.001" if difference.p < 0.001 else f"{difference.p:.2g}"


def matrix(names, values):
    """Return a table of the probabilities that the row's value is less than the column's."""
    rows = []
    for i, one in enumerate(names, start=1):
        cells = ["" if a == one else f"{probability(values[one], values[a]):.0%}" for a in names]
        rows.append([f"{i} {one}", *cells])
    return markdown_table(["", *range(1, len(names) + 1)], rows)


def at_end(study, rung):
    """Return in words what is compared at the end of a rung, such as "loss in epoch 3"."""
    return moment(study.choose_by, study.rungs[rung][0], study.average_last)


def moment(quantity, epochs, average_last):
    """Return a quantity and when it was measured: training quantities are means over an epoch."""
    is_after, first = quantity.startswith("val_"), max(1, epochs - average_last + 1)
    if first < epochs:
        return f"mean {quantity} {'after' if is_after else 'in'} epochs {first} to {epochs}"
    when = f"after {plural(epochs, 'epoch')}" if is_after else f"in epoch {epochs}"
    return f"{quantity} {when}"


def plural(count, noun, several=None):
    return f"{count} {noun if count == 1 else several or noun + 's'}"


def listed(names):
    """Return names as a sentence lists them."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
