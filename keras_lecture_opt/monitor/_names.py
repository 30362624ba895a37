"""Names that are the same in every run, so that TensorBoard overlays the runs."""

import collections
import itertools
import re

import keras

from keras_lecture_opt._resolve import snake_case

NUMBER = re.compile(r"_\d+$")


def canonical_names(model):
    """Return unique names such as `dense_1/kernel` for the weights of a model, by their `id`.

    In one process Keras calls the first model's variable `sequential/dense_1/kernel` and the
    second's `sequential_1/dense_3/kernel`. So the model's own name is dropped, and automatic names
    are numbered within the model. Names that the user gave stay, unless they look like automatic
    ones: nothing tells these apart.
    """
    automatic = automatic_names()
    names, renamed = {}, {}  # by the weight's id; by the parts of a path
    taken = collections.defaultdict(set)  # by the parts of the parent's path
    for weight in model.weights:
        parts, new = weight.path.removeprefix(f"{model.name}/").split("/"), []
        for i, part in enumerate(parts):
            place = (*parts[:i], part)
            base = NUMBER.sub("", part)
            # Bidirectional calls its layers forward_lstm_1 and backward_lstm_1.
            inner = re.sub(r"^(forward|backward)_", "", base) if i else base
            if inner in automatic and place not in renamed:
                renamed[place] = unique(base, taken[place[:-1]])
            new.append(renamed.get(place, part))
        names[id(weight)] = unique("/".join(new), taken["whole names"])
    return names


def automatic_names():
    """Return what Keras may call a layer or a weight that the user gave no name."""
    classes, names = [keras.Layer], {"variable"}
    while classes:
        cls = classes.pop()
        classes += cls.__subclasses__()
        names.add(snake_case(cls))
    return names


def own_name(thing):
    """Return the name of a model or an optimizer, without Keras's automatic number."""
    base = NUMBER.sub("", thing.name)
    classes = type(thing).__mro__
    return base if base in map(snake_case, classes) else thing.name


def unique(name, taken):
    """Return a name that is not taken, and take it: a user may give one name twice."""
    for n in itertools.count():
        found = f"{name}_{n}" if n else name
        if found not in taken:
            taken.add(found)
            return found


class Names:
    """The names of variables: ours, which are the same in every run, and Keras's own.

    The names of several models' variables begin with the model's.
    """

    def __init__(self, models):
        self.of = {}  # id of the variable -> our name
        self.from_keras = {}  # Keras's name, with and without the model's -> our name
        taken = set()
        for model in models:
            prefix = f"{unique(own_name(model), taken)}/" if len(models) > 1 else ""
            ours = canonical_names(model)
            for variable in model.weights:
                name = self.of.setdefault(id(variable), prefix + ours[id(variable)])
                for path in (variable.path, variable.path.removeprefix(f"{model.name}/")):
                    self.from_keras.setdefault(path, name)

    def find(self, name, variables, argument, warn):
        """Return our name of what a user calls by our name or by Keras's, or None.

        If each means another variable, Keras's counts, which the user's own code shows.
        """
        ours = self.from_keras.get(name, name)
        if ours in variables:
            if ours != name and name in variables:
                mapping = ", ".join(f"{own} -> {our}" for own, our in self.from_keras.items())
                warn(
                    f"`{argument}`: {name!r} is taken for Keras's name, which the monitor logs as "
                    f"{ours!r}: names that look automatic are numbered anew. {mapping}."
                )
            return ours
        known = ", ".join(map(repr, variables))
        warn(f"`{argument}`: no variable {name!r} is trained; there are {known}.")
