"""Names of variables that are the same in every run, so that TensorBoard overlays the runs."""

import collections
import re

import keras


def canonical_names(model):
    """Return names such as `dense_1/kernel` for the variables of a model.

    In one process Keras calls the first model's variable `sequential/dense_1/kernel` and the
    second's `sequential_1/dense_3/kernel`. So the model's own name is dropped, and automatic names
    are numbered within the model. Names that the user gave stay, unless they look like automatic
    ones: nothing tells these apart.

    Returns:
        Dict from the `id` of each of the model's weights to its name, unique in the model.
    """
    automatic = automatic_names()
    names, taken = {}, set()
    renamed = {}  # (path of the parent, name) -> new name
    used = collections.Counter()  # (path of the parent, automatic name without its number)
    for weight in model.weights:
        parts = weight.path.split("/")
        if parts[0] == model.name and len(parts) > 1:
            del parts[0]
        for i, part in enumerate(parts):
            place = (*parts[:i], part)
            base = re.sub(r"_\d+$", "", part)
            # Bidirectional calls its layers forward_lstm_1 and backward_lstm_1.
            inner = re.sub(r"^(forward|backward)_", "", base) if i else base
            if inner in automatic and place not in renamed:
                n = used[*parts[:i], base]
                used[*parts[:i], base] += 1
                renamed[place] = f"{base}_{n}" if n else base
        name = "/".join(renamed.get((*parts[: i + 1],), part) for i, part in enumerate(parts))
        unique, n = name, 0
        while unique in taken:  # a user may give one name twice
            n += 1
            unique = f"{name}_{n}"
        taken.add(unique)
        names[id(weight)] = unique
    return names


def automatic_names():
    """Return what Keras may call a layer or a weight that the user gave no name."""
    classes, names = [keras.Layer], {"variable"}
    while classes:
        cls = classes.pop()
        classes += cls.__subclasses__()
        words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", cls.__name__)
        names.add(re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower())
    return names
