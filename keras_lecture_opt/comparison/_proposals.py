"""Learning rates around what `find_learning_rate` proposes for each optimizer."""

import json
import time
import warnings

import filelock

from keras_lecture_opt._files import replacing
from keras_lecture_opt._keras_private import deterministic_ops
from keras_lecture_opt.comparison import _run
from keras_lecture_opt.comparison._engine import say
from keras_lecture_opt.comparison._identity import conditions, describe_optimizer, digest
from keras_lecture_opt.finder import find_learning_rate
from keras_lecture_opt.finder._schedule import peak_of

RATES = 5  # half decades, the proposal in their middle
BASIS = 0.001  # the rate with which an optimizer's function is called before any is known


def propose(workload, optimizers, made, seed, folder, end):
    """Return for each optimizer what is found: a dict with its `rate` and the `steps` it took.

    It is found once, whatever other processes do, and kept in the folder. `made` has an optimizer
    of each kind; `end` is the `time.monotonic()` after which nothing more is begun.
    """
    say("First, a learning rate is found for each optimizer, in at most 500 steps.")
    path, result = folder / "proposals.json", {}
    for name, make in optimizers.items():
        if time.monotonic() >= end:
            raise TimeoutError(
                f"`seconds` were too few: {len(result)} of {len(optimizers)} learning rates are "
                "found. They are saved: the same call continues."
            )
        own = {"optimizer": describe_optimizer(made[name]), "seed": seed, **conditions(workload)}
        key = digest(own)
        with filelock.FileLock(folder / "proposals.lock"):
            known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            if key not in known:
                known[key] = _find(workload, make, seed)
                with replacing(path) as part:
                    part.write_text(json.dumps(known, indent=1), encoding="utf-8")
        result[name] = known[key]
        say(text(name, known[key]))
    return result


def _find(workload, make, seed):
    optimizer = _run.make_optimizer(make, {"learning_rate": BASIS})
    model = workload.new_model(optimizer, seed)
    with deterministic_ops(), warnings.catch_warnings(action="ignore"):
        found = find_learning_rate(model, workload.batches(seed, 0), verbose=0)
    # What the function gets need not be the rate: a schedule may lie in between.
    rate = found.rate * BASIS / peak_of(optimizer)
    return {"rate": rate, "steps": found.steps, "is_sure": found.is_sure, "text": found.text}


def text(name, found):
    """Return a proposal in words."""
    return f"{name} {found['rate']:.2g}{'' if found['is_sure'] else ' (unsure)'}"


def around(rate):
    """Return the trials: a dict from numbers to hyperparameters."""
    exponents = range(-(RATES // 2), RATES // 2 + 1)
    return {
        i: {"learning_rate": float(f"{rate * 10 ** (e / 2):.2g}")} for i, e in enumerate(exponents)
    }
