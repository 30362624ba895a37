"""The search: which rates are tried, for how long, and what follows from their losses."""

import dataclasses
import itertools
import math
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_lecture_opt._arguments import check_integer, must_be
from keras_lecture_opt._keras_private import learning_rate_or_schedule, random_numbers_kept
from keras_lecture_opt._resolve import optimizer_name
from keras_lecture_opt.finder._batches import batches_of
from keras_lecture_opt.finder._schedule import peak_of, scaled
from keras_lecture_opt.finder._search import (
    DIAGNOSIS,
    HIGHEST,
    TOLERANCE,
    Search,
    index_of,
    rate_of,
)
from keras_lecture_opt.finder._trials import Trials
from keras_lecture_opt.monitor import EffectiveLearningRateMonitor
from keras_lecture_opt.monitor._training import optimizers_of
from keras_lecture_opt.monitor._verdicts import OTHER_ROWS
from keras_lecture_opt.rates import inner_optimizers
from keras_lecture_opt.verdicts import Verdict, check
from keras_lecture_opt.verdicts._check import check_model
from keras_lecture_opt.verdicts._inside import are_unrelated
from keras_lecture_opt.verdicts._objective import best_constant, is_mean_alone, loss_of, objectives

EXAMPLES = 1000  # that a diagnosis gets
ANSWERED = ("steps too large", "steps too small", "too few steps")  # faults, by the search itself


@dataclasses.dataclass(frozen=True)
class FoundLearningRate:
    """A learning rate, and what was measured to find it.

    Attributes:
        optimizer: the name of the optimizer.
        learning_rate: what to assign to `optimizer.learning_rate`: a number; or, where the
            optimizer has a schedule, this schedule with `rate` as its highest rate. (A model that
            has trained keeps its schedule: compile it again with the new one.)
        rate: the number.
        low, high: the lowest and the highest of the tried rates whose losses are close to the best:
            by 5% of the fall of the loss. `rate` is below them where the next higher one learns
            hardly anything. They tell little if it is not sure.
        diverges: the lowest tried rate above these with which the loss rises or is not finite, if
            only for some steps; or None.
        losses: dict from rates to arrays: the loss of each step that was trained at a rate.
        start: the loss before training.
        steps: how many steps all this took.
        is_sure: whether the measured losses tell the rate.
        verdicts: what the diagnosis says, if they do not.
        text: sentences that say all this, and what to do for a long training.
    """

    optimizer: str
    learning_rate: Any
    rate: float
    low: float
    high: float
    diverges: float | None
    losses: dict[float, np.ndarray]
    start: float
    steps: int
    is_sure: bool
    verdicts: tuple[Verdict, ...]
    text: str

    def __repr__(self):
        found = f"learning_rate {self.rate:g}"
        if self.is_sure and self.high > self.low:
            found += f"; {self.low:g} to {self.high:g} are within {TOLERANCE:.0%}"
        if self.diverges:
            found += f"; {self.diverges:g} diverges"
        return f"<{self.optimizer}: {'' if self.is_sure else 'unsure, '}{found}>"


def find_learning_rate(
    model: keras.Model,
    x: Any,
    y: Any = None,
    batch_size: int | None = None,
    *,
    sample_weight: Any = None,
    class_weight: dict[int, float] | None = None,
    steps: int = 500,
    verbose: int | str = "auto",
) -> FoundLearningRate:
    """Find the learning rate of a model's optimizer: short trainings at several rates decide.

    All rates, half a power of ten apart, are trained from the model's weights as they are now, on
    the same batches, in rounds: fewer and fewer rates, longer and longer. Chosen is the rate with
    the lowest loss, or the next one below if that is nearly as good (within 5% of the fall of the
    loss below that of guessing; 25% where the next one above learns hardly anything): it suits
    longer trainings, too.

    Nothing of this is left: weights, optimizer, metrics, random numbers and the order of the data
    are as before. (What a model keeps in a `tf.Variable` or in Python goes on, and so do generators
    of its own, such as those of `tf.random` in a model that runs eagerly.)

    Args:
        model: a compiled `keras.Model` that is built. Of its optimizer, all but the learning rate
            stays: decay, clipping, the state of an earlier training.
        x, y: data as for `fit`: arrays, or nested ones, a `tf.data.Dataset` or a
            `keras.utils.PyDataset`. Arrays are shuffled.
        batch_size: of arrays, as for `fit`. Defaults to 32.
        sample_weight, class_weight: as for `fit`.
        steps: how many training steps to take at most, of all rates together; at least 100. The
            last candidates get about a quarter each: more steps tell more about long trainings.
        verbose: 0 for no progress bar. Defaults to "auto".

    Returns:
        A `FoundLearningRate`. Print it, or its `text`. If the losses do not tell the rate,
        `is_sure` is False, and a warning says why.

    Raises:
        TypeError: an argument has the wrong type, or the data can be read only once.
        ValueError: a value is not allowed; the model is not compiled or not built, has several
            optimizers or replicas; or its loss rises or is not finite at every rate.

    Example:

    >>> keras.utils.set_random_seed(0)
    >>> x = np.random.default_rng(0).normal(size=(640, 3))
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> model.compile(keras_lecture_opt.SteepestDescent(), "mse")
    >>> found = keras_lecture_opt.find_learning_rate(model, x, x.sum(axis=1), verbose=0)
    >>> found
    <SteepestDescent: learning_rate 0.1; 0.1 to 0.32 are within 5%; 1 diverges>
    >>> model.optimizer.learning_rate = found.learning_rate
    """
    optimizer, given = _check(model)
    steps = check_integer("steps", steps, 100)
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(must_be("verbose", '"auto", 0, 1 or 2', verbose))
    each = optimizer.gradient_accumulation_steps or 1
    bar = keras.utils.Progbar(steps, verbose=1 if verbose == "auto" else verbose)
    peak, name = peak_of(optimizer), optimizer_name(type(optimizer))
    if not 0 <= peak < math.inf or (peak == 0 and not isinstance(given, keras.Variable)):
        allowed = "an optimizer whose highest learning rate is finite, and > 0 where it changes"
        raise ValueError(must_be("model.optimizer", allowed, peak))
    with random_numbers_kept():
        batches = batches_of(x, y, batch_size, sample_weight, class_weight, steps * each // 2)
    examples = _examples(x, y, batches)
    with Trials(model, batches, each, lambda: bar.add(1)) as trials:
        search = Search(trials, steps, _to_reach(model, *examples))
        search.run(index_of(peak))
        if search.best is None:
            said = " ".join(map(str, check(model, *examples)))
            raise ValueError(f"At every learning rate the loss rises or is not finite. {said}")
        is_sure, sentences = search.is_sure, _sentences(search, given, name)
        verdicts = [] if is_sure else _causes(model, trials, search, steps, examples)
    bar.update(search.used, finalize=True)
    rate = rate_of(search.best)
    found = FoundLearningRate(
        optimizer=name,
        learning_rate=rate if isinstance(given, keras.Variable) else scaled(given, rate / peak),
        rate=rate,
        low=rate_of(search.close[0]),
        high=rate_of(search.close[-1]),
        diverges=None if search.too_high is None else rate_of(search.too_high),
        losses={rate: np.array(losses) for rate, losses in sorted(trials.losses.items())},
        start=search.start,
        steps=search.used,
        is_sure=is_sure,
        verdicts=tuple(verdicts),
        text=" ".join([*sentences, *map(str, verdicts)]),
    )
    if not is_sure:
        warnings.warn(found.text, stacklevel=2)
    return found


def _check(model):
    """Return the one inner optimizer and its learning rate; raise if none can be found."""
    compiled = "compiled with an optimizer"
    check_model(model, compiled)
    if model.optimizer is None:
        raise ValueError(must_be("model", compiled, model))
    if model.distribute_strategy.num_replicas_in_sync > 1:
        allowed = "trained by one replica here; a rate for it fits several with the same batches"
        raise ValueError(must_be("model", allowed, model))
    if not model.trainable_variables:
        raise ValueError(must_be("model", "one with weights that are trained", model))
    inner = inner_optimizers(model.optimizer)
    others = {id(o) for _, held in optimizers_of(model) for o in inner_optimizers(held)}
    if others != {id(inner[0])}:
        raise ValueError(must_be("model", "trained by one optimizer", model))
    if "learning_rate" not in inner[0].get_config():
        allowed = "one whose `get_config` has a learning rate"
        raise ValueError(must_be("model.optimizer", allowed, inner[0]))
    return inner[0], learning_rate_or_schedule(inner[0])


def _to_reach(model, x, y):
    """Return the loss below which a training has learned something, or None if it is unknown.

    That is the loss of the best constant output; 90% of it if the labels go with their inputs no
    more than with any others: a part of them may be learned by heart.
    """
    known = objectives(model) if isinstance(y, np.ndarray) and is_mean_alone(model) else []
    constant = best_constant(model, known[0], y) if len(known) == 1 else None
    guessing = None if constant is None else loss_of(model, y, constant)
    return guessing and guessing * (0.9 if are_unrelated(x, y, known[0].kind == "sparse") else 1)


def _causes(model, trials, search, steps, examples):
    """Return the verdicts on a training that learned nothing at any rate."""
    left = steps - search.used
    if left >= 0.5 * DIAGNOSIS * steps:
        monitor = EffectiveLearningRateMonitor(update_freq="batch")
        monitor.watch(model, model.optimizer)
        # Where nothing is learned, a high rate may be as good as any. It would be the cause found.
        trials.train(rate_of(min(search.finals)), left, around=monitor.step)
        found = monitor.diagnose(*examples)
    else:
        found = check(model, *examples)
    found = [v for v in found if v.certainty != "hint" and v.fault not in ANSWERED]
    known = objectives(model)
    if not found and known and are_unrelated(*examples, known[0].kind == "sparse"):
        text = f"Nothing has been learned. Likely cause: {OTHER_ROWS}"
        found = [Verdict("no learning", (), 0, 0.0, text)]
    return found


def _examples(x, y, batches):
    """Return some inputs and labels, in the order of the arrays; None for what is not of arrays."""
    parts = [(x, y)]
    if isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)):
        sizes = (keras.tree.flatten(batch)[0].shape[0] for batch in batches)
        needed = sum(before < EXAMPLES for before in itertools.accumulate(sizes, initial=0))
        parts = [keras.utils.unpack_x_y_sample_weight(batch)[:2] for batch in batches[:needed]]
    found = []
    for part in zip(*parts, strict=True):
        are_arrays = all(
            hasattr(leaf, "shape") and not isinstance(leaf, tf.RaggedTensor)
            for leaf in keras.tree.flatten(part[0])
        )
        joined = lambda *some: np.concatenate([a[:EXAMPLES] for a in some])[:EXAMPLES]  # noqa: E731
        found.append(keras.tree.map_structure(joined, *part) if are_arrays else None)
    return found


def _sentences(search, given, optimizer):
    """Return what the losses say, and what to do for a long training."""
    rate, (fall, error) = rate_of(search.best), search.fall(search.best)
    close = [rate_of(k) for k in search.close]
    verb = "falls" if fall > 0 else "goes"
    said = [
        f"With {rate:g} the loss {verb} from {search.start:.4g} to {search.start - fall:.4g} in "
        f"{search.longest} steps of {optimizer}."
    ]
    if search.too_high is None:
        said.append(
            f"This tells no learning rate: even {rate_of(HIGHEST):g} does not diverge, so the loss "
            "hardly depends on the rate."
        )
    elif search.was_short:
        said.append(
            "This tells no learning rate: higher ones were good until they diverged, and few steps "
            "were left for this one. Take more `steps`. Later batches may be harder, or sorted."
        )
    elif not search.is_sure:
        said.append(
            f"This tells no learning rate: a fall of {fall:.2g} ± {2 * error:.1g} does not clearly "
            "get below the first loss and that of guessing. Take more `steps` or larger batches, "
            "unless nothing can be learned as it is."
        )
    if not search.is_sure:
        return said
    if len(close) > 1:
        span = f"{close[0]:g} to {close[-1]:g}"
        said.append(f"Rates from {span} are within {TOLERANCE:.0%} of that fall.")
    if rate < close[0]:
        said.append(
            f"With {close[0]:g} it fell further, but so close to rates that learn nothing it may "
            "not last."
        )
    said.append(f"With {rate_of(search.too_high):g} it rises.")
    if isinstance(given, keras.Variable):
        said.append(
            "For a much longer training let the rate decay to 0, as "
            f"`keras.optimizers.schedules.CosineDecay({rate:g}, steps)` does, or take a third."
        )
    else:
        said.append("Compile the model again with it if it has trained: Keras keeps a schedule.")
    return said
