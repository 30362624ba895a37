"""The trials of a search: values of several hyperparameters, equally many for every optimizer."""

import inspect
import math
from collections.abc import Iterable

from scipy.stats import qmc

from keras_lecture_opt._arguments import as_python, check_integer, must_be

RANGE = "a tuple (low, high) of finite numbers, low < high, or a list of different values"
# Points drawn for each trial: those that are there already, which values of lists make, do not
# count.
DRAWN = 64


def grid(learning_rates, optimizers):
    """Return the trials of a plain grid: for each optimizer, a dict from the rate to the values.

    Of a grid that is trained in this order, each part covers the whole range.
    """
    allowed = "different finite numbers > 0"
    wrong_type = TypeError(must_be("learning_rates", f"a list of {allowed}", learning_rates))
    if not isinstance(learning_rates, Iterable):
        raise wrong_type
    rates = [as_python(rate) for rate in learning_rates]
    if not all(type(rate) in (int, float) for rate in rates):
        raise wrong_type
    if not rates or not all(0 < r < math.inf for r in rates) or len({*rates}) < len(rates):
        raise ValueError(must_be("learning_rates", allowed, learning_rates))
    rates = sorted(map(float, rates))
    spread = sorted(range(len(rates)), key=lambda i: f"{i:064b}"[::-1])  # 0, 4, 2, 6, 1, 5, 3, 7
    return {name: {rates[i]: {"learning_rate": rates[i]} for i in spread} for name in optimizers}


def quasi_random(search, trials, optimizers):
    """Return the trials of a search: for each optimizer, a dict from their numbers to the values.

    More trials begin with those of fewer. An optimizer's learning rates do not depend on what else
    is searched.
    """
    allowed = f"a dict from hyperparameters, with 'learning_rate', to ranges: each {RANGE}"
    if not isinstance(search, dict):
        raise TypeError(must_be("search", allowed, search))
    trials = check_integer("trials", trials, 1)
    own = {name: search[name] for name in optimizers if isinstance(search.get(name), dict)}
    common = {name: values for name, values in search.items() if name not in own}
    taken = {name: _parameters(make) for name, make in optimizers.items()}
    for ranges, takers in [(common, taken), *((own[name], {name: taken[name]}) for name in own)]:
        found = "; ".join(f"{name} takes {', '.join(sorted(takers[name]))}" for name in takers)
        for hyperparameter in ranges:
            if not any(hyperparameter in names for names in takers.values()):
                raise ValueError(f"`search`: no optimizer takes {hyperparameter!r}. {found}.")
    result = {}
    for name in optimizers:
        ranges = {key: values for key, values in common.items() if key in taken[name]}
        ranges |= own.get(name, {})
        if "learning_rate" not in ranges:
            raise ValueError(must_be("search", allowed, search))
        ranges = {"learning_rate": ranges.pop("learning_rate"), **ranges}
        ranges = {key: _check_range(key, values) for key, values in ranges.items()}
        result[name] = dict(enumerate(_draw(name, ranges, trials)))
    return result


def text(hyperparameters):
    """Return hyperparameters as a text such as "0.01, beta_1 0.9": first the learning rate."""
    written = {k: f"{v:g}" if type(v) is float else f"{v}" for k, v in hyperparameters.items()}
    rate = written.pop("learning_rate")
    return ", ".join([rate, *(f"{name} {value}" for name, value in written.items())])


def _parameters(make):
    """Return the names of what a function takes; a class passes `**kwargs` on to its base.

    Whatever the name of its first parameter is, that is the learning rate.
    """
    names = {"learning_rate"}
    for kind in inspect.getmro(make) if isinstance(make, type) else [make]:
        function = kind.__init__ if isinstance(kind, type) else kind
        parameters = inspect.signature(function).parameters.values()
        by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        names |= {p.name for p in parameters if p.kind in by_name}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - {"self", "name", "hyperparameters"}


def _check_range(name, values):
    """Return a range with Python's numbers, or raise."""
    message = f"`search[{name!r}]` must be {RANGE}, not {values!r}."
    if not isinstance(values, (tuple, list)):
        raise TypeError(message)
    checked = type(values)(map(as_python, values))
    if not all(isinstance(value, (int, float, str, type(None))) for value in checked):
        raise TypeError(message)
    numbers = [v for v in checked if isinstance(v, (int, float)) and not isinstance(v, bool)]
    good = all(map(math.isfinite, numbers)) and len({*map(repr, checked)}) == len(checked) > 0
    if isinstance(checked, tuple):
        good = good and len(numbers) == len(checked) == 2 and checked[0] < checked[1]
    if name == "learning_rate":
        good = good and len(numbers) == len(checked) and min(numbers) > 0
        message = message.replace("finite numbers", "finite numbers > 0")
    if not good:
        raise ValueError(message)
    return checked


def _draw(optimizer, ranges, trials):
    """Return so many different points of the ranges, quasi-random ones."""
    points = qmc.Halton(len(ranges), rng=0).random(DRAWN * trials)
    drawn = (
        {name: _value(ranges[name], float(u)) for name, u in zip(ranges, point, strict=True)}
        for point in points
    )
    different = [*{repr(values): values for values in drawn}.values()]
    if len(different) < trials:
        allowed = f"at most {len(different)}, the different points that {optimizer!r} has"
        raise ValueError(must_be("trials", allowed, trials))
    return different[:trials]


def _value(values, u):
    """Return the value of a range at u, from 0 to 1."""
    if isinstance(values, list):
        return values[int(u * len(values))]
    low, high = values
    value = low * (high / low) ** u if low > 0 else low + (high - low) * u
    # The last bits of a power differ between machines, and the value decides which run this is.
    return float(min(max(float(f"{value:.4g}"), low), high))
