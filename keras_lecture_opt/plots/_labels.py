"""What a picture of descents says: what they share in its title, what differs in their labels."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_lecture_opt._arguments import check_text, must_be
from keras_lecture_opt.landscapes import Descent
from keras_lecture_opt.rules._hyperparameters import HYPERPARAMETERS

Descents = Descent | Iterable[Descent] | dict[Any, Descent]


def by_label(descents):
    """Return the descents as a dict; labels, unless given, name the rules and what differs."""
    labels, values = labeled("descents", [descents] if isinstance(descents, Descent) else descents)
    values = list(values) if isinstance(values, Iterable) else []
    if not values or not all(isinstance(value, Descent) for value in values):
        raise TypeError(must_be("descents", "one or more Descents", descents))
    return dict(zip(labels or names_of(values), values, strict=True))


def labeled(argument, given):
    """Return a dict's labels as texts, which matplotlib shows in legends, and its values.

    What is no dict has no labels.
    """
    if not isinstance(given, dict):
        return [], given
    labels = list(map(str, given))
    for label in labels:
        if not label or label.startswith("_") or labels.count(label) > 1:
            allowed = 'a dict from different labels that are not empty and do not begin with "_"'
            raise ValueError(must_be(argument, allowed, label))
        check_text(label, must_be(argument, "a dict from labels that can be drawn", label))
    return labels, list(given.values())


def names_of(descents):
    """Return for each descent its rule and what differs: see `facts`."""
    names = []
    for descent in descents:
        own = [text for kind, text in facts(descent).items() if differs(kind, descent, descents)]
        name = ", ".join([descent.rule, *own])
        again = sum(n.partition(" #")[0] == name for n in names)
        names.append(f"{name} #{again + 1}" if again else name)
    return names


def facts(descent):
    """Return how the descent was made, as texts: its hyperparameters, its start, its velocity."""
    texts = {
        name: HYPERPARAMETERS[name].symbol + ("(t)" if value is None else f" {value:.4g}")
        for name, value in descent.hyperparameters.items()
    }
    texts["start"] = f"from {point(descent.path[0])}"
    if np.any(descent.velocity):
        texts["velocity"] = f"v {point(descent.velocity)}"
    return texts


# Facts that are compared across rules; others are compared among descents of one rule.
COMMON = ("start", "velocity", "learning_rate")


def differs(kind, descent, descents):
    """Return whether the descents that this one is compared with differ in a fact."""
    others = [d for d in descents if kind in COMMON or d.rule == descent.rule]
    return len({facts(d).get(kind) for d in others}) > 1


def title(descents):
    """Return the surface, and below it what is the same in all descents."""
    descents = list(descents.values())
    surfaces = {formula(descent.surface) for descent in descents}
    known = facts(descents[0])
    kinds = [kind for kind in COMMON if not differs(kind, descents[0], descents)]
    shared = ", ".join(known[kind] for kind in kinds if kind in known)
    return "\n".join([*surfaces, shared] if len(surfaces) == 1 else [shared]).strip()


def point(pair):
    return "({:.4g}, {:.4g})".format(*pair).replace("-", "\N{MINUS SIGN}")


def one_surface(descents):
    """Return the surface of all these descents; raise if there are several."""
    surfaces = {descent.surface.name: descent.surface for descent in descents.values()}
    if len(surfaces) > 1:
        names = ", ".join(sorted(surfaces))
        raise ValueError(f"`descents` must be on one surface, not on {names}.")
    [surface] = surfaces.values()
    return surface


def formula(surface):
    return f"${surface.formula}$" if surface.formula else surface.name
