"""Learning rates around what `find_learning_rate` proposes for each optimizer."""

import json
import warnings

import filelock

from keras_lecture_opt._files import replacing
from keras_lecture_opt._keras_private import deterministic_ops
from keras_lecture_opt.comparison import _run
from keras_lecture_opt.finder import find_learning_rate
from keras_lecture_opt.finder._schedule import peak_of

RATES = 5  # half decades, the proposal in their middle
BASIS = 0.001  # the rate with which an optimizer's function is called before any is known


def propose(workload, make, seed, folder, key):
    """Return what was found for an optimizer: a dict with its `rate` and the `steps` it took.

    It is found once for each key, whatever other processes do, and kept in the folder.
    """
    path = folder / "proposals.json"
    with filelock.FileLock(folder / "proposals.lock"):
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if key not in known:
            optimizer = _run.make_optimizer(make, {"learning_rate": BASIS})
            model = workload.new_model(optimizer, seed)
            with deterministic_ops(), warnings.catch_warnings(action="ignore"):
                found = find_learning_rate(model, workload.batches(seed, 0), verbose=0)
            # What the function gets need not be the rate: a schedule may lie in between.
            rate = found.rate * BASIS / peak_of(optimizer)
            said = {name: getattr(found, name) for name in ("steps", "is_sure", "text")}
            known[key] = {"rate": rate, **said}
            with replacing(path) as part:
                part.write_text(json.dumps(known, indent=1), encoding="utf-8")
    return known[key]


def text(name, found):
    """Return a proposal in words."""
    return f"{name} {found['rate']:.2g}{'' if found['is_sure'] else ' (unsure)'}"


def around(rate):
    """Return the trials: a dict from numbers to hyperparameters."""
    exponents = range(-(RATES // 2), RATES // 2 + 1)
    return {
        i: {"learning_rate": float(f"{rate * 10 ** (e / 2):.2g}")} for i, e in enumerate(exponents)
    }
