"""What each hyperparameter of a search costs when it is wrong, in numbers, tables and a picture."""

import numpy as np

from keras_lecture_opt.comparison import _search

PARTS = 4  # of a range, with equally many trials


def searched(study):
    """Return the hyperparameters of which more than one value was tried, for some optimizer."""
    values = {}
    for trials in study.trials.values():
        for tried in trials.values():
            for name, value in tried.items():
                values.setdefault(name, set()).add(repr(value))
    return [name for name, different in values.items() if len(different) > 1]


def parts(study, name, hyperparameter):
    """Return what an optimizer reached in each part of a hyperparameter's range.

    A part is a value, or a quarter of the trials where more than `PARTS` numbers were tried, so
    that no part has a better search than another. What it reached is the mean over the seeds that
    its best trial has at the end of the first rung, where every trial was trained.

    Returns:
        List of `(values, best)` for each part, in their order: the hyperparameter's values, and a
        number of which less is better, infinity if a seed of each trial diverged. It is empty if
        the optimizer has no such hyperparameter.
    """
    if hyperparameter not in study.trials[name][study.rates[0]]:
        return []
    means = study.values(name, 0).mean(axis=1)
    tried = [study.trials[name][trial][hyperparameter] for trial in study.rates]
    different = {repr(value): value for value in tried}
    is_number = all(type(value) in (int, float) for value in tried)
    if is_number and len(different) > PARTS:
        groups = np.array_split(np.argsort(tried, kind="stable"), PARTS)
    else:
        order = sorted(different, key=different.__getitem__) if is_number else different
        groups = [[i for i, value in enumerate(tried) if repr(value) == one] for one in order]
    return [([tried[i] for i in group], float(min(means[i] for i in group))) for group in groups]


def sections(study, table):
    """Yield paragraphs of a report; `table` makes one of a head and rows."""
    yield (
        "Each range is cut into parts with equally many trials; each value of a list is a part. A "
        "cell is what the best trial of a part reached, divided by what the best trial of the "
        f"optimizer reached: mean {study.choose_by} in epoch {study.rungs[0][0]}, where every "
        "trial was trained."
    )
    for hyperparameter in searched(study):
        rows = []
        for name in study.names:
            found = parts(study, name, hyperparameter)
            best = min((value for _, value in found), default=0)
            cells = [f"{_named(values)}: {_cost(value, best)}" for values, value in found]
            rows += [[name, *cells]] if found else []
        width = max(map(len, rows))
        rows = [row + [""] * (width - len(row)) for row in rows]
        yield table([hyperparameter, *[""] * (width - 1)], rows).rstrip()


def _named(values):
    texts = [_search.text({"learning_rate": value}) for value in (values[0], values[-1])]
    return texts[0] if len({*texts}) == 1 else f"{texts[0]} to {texts[1]}"


def _cost(value, best):
    if np.isinf(value):
        return "diverged"
    return f"{value / best:.3g}" if value * best > 0 else f"{value - best:+.3g}"


def draw(study, figsize, dpi):
    """Draw `Study.costs`."""
    from keras_lecture_opt.plots._style import canvas, legend, lines, log_scale, wrap

    names = searched(study)
    size = (4 + 3.5 * len(names), 5) if figsize is None else figsize
    with canvas(None, size, None, dpi, columns=len(names)) as panels:
        panels, drawn = np.atleast_1d(panels), []
        for hyperparameter, axes in zip(names, panels, strict=True):
            place = _places(study, hyperparameter, axes)
            for name, line in zip(study.names, lines(study.optimizers.values()), strict=True):
                line["marker"] = line["marker"] or "o"
                label = wrap(name) if axes is panels[-1] else None
                found = parts(study, name, hyperparameter)
                middles = [np.median([*map(place, values)]) for values, _ in found]
                best = study.sign * np.array([value for _, value in found])
                axes.plot(middles, _finite(best), **line, label=label)
                if found:
                    means = study.sign * study.values(name, 0).mean(axis=1)
                    tried = [study.trials[name][trial][hyperparameter] for trial in study.rates]
                    dots = {"color": line["color"], "alpha": 0.35, "markersize": 4}
                    axes.plot([*map(place, tried)], _finite(means), "o", **dots)
                    drawn.append(_finite(means))
            axes.set_xlabel(hyperparameter)
        log_scale(panels[0], drawn)
        panels[0].set_ylabel(f"{study.choose_by} in epoch {study.rungs[0][0]}")
        legend(panels[-1])
    return panels[0].figure


def _places(study, hyperparameter, axes):
    """Return the function that says where on an axis a value is; label the axis."""
    tried = [
        values[hyperparameter]
        for trials in study.trials.values()
        for values in trials.values()
        if hyperparameter in values
    ]
    if all(type(value) in (int, float) for value in tried):
        if min(tried) > 0 and max(tried) >= 10 * min(tried):
            axes.set_xscale("log")
        else:
            axes.locator_params(axis="x", nbins=5)
        return float
    shown = [*dict.fromkeys(map(str, tried))]
    axes.set_xticks(range(len(shown)), shown)
    return lambda value: shown.index(str(value))


def _finite(values):
    return np.where(np.isfinite(values), values, np.nan)
