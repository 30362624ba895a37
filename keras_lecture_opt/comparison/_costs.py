"""What each hyperparameter of a search costs when it is wrong, in numbers."""

import numpy as np

PARTS = 4  # of a range, with equally many trials


def searched(study):
    """Return the hyperparameters of which more than one value was tried, for some optimizer.

    Those are all of them where there is one trial only.
    """
    values = {}
    for trials in study.trials.values():
        for tried in trials.values():
            for name, value in tried.items():
                values.setdefault(name, set()).add(repr(value))
    return [name for name, different in values.items() if len(different) > 1] or [*values]


def parts(study, name, hyperparameter):
    """Return a list of `(values, best)` for each part of a hyperparameter's range, in their order.

    A part is a value, or a quarter of the trials where more than `PARTS` numbers were tried, so
    that no part has a better search than another. `best` is the mean over the seeds that its best
    trial has at the end of the first rung, where every trial was trained: less is better, infinity
    if a seed of each diverged. The list is empty if the optimizer has no such hyperparameter.
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
