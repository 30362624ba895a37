"""Turns tensors into numbers: before a step, and after it.

NumPy does it, on views that copy nothing: of small variables, it is the number of TensorFlow's
eager operations that costs time, and of large ones it is as fast.
"""

import functools
import math

import numpy as np
import tensorflow as tf

from keras_lecture_opt._keras_private import index_of
from keras_lecture_opt.monitor._quantities import QUANTILES
from keras_lecture_opt.rates import (
    factor_after_step,
    formula_of,
    latest_learning_rate,
    steps_taken,
    updated_mask,
)

SAMPLE = 1 << 12  # weights of a variable that its median is taken of, without details
# The edges of a histogram's bars, 4 to a factor of 2, as log10 of the rate. A rate of 0 belongs to
# the first bar.
BITS = 21
EDGES = (np.arange(0, (0x7F800000 >> BITS) + 1, dtype="int32") << BITS).view("float32")
EDGES = np.log10(np.clip(EDGES, np.finfo("float32").tiny, np.finfo("float32").max))
LARGEST_MAP = 64  # pixels
HUGE = np.finfo("float32").max
TINY = 1e-30  # below it, a float32 sum of squares has lost digits
BLOCK = 1 << 14  # weights that NumPy reduces at once: they stay in the cache


def number(value):
    """Return a value as a Python number, None if it is not one number."""
    try:
        one = np.asarray(value).item() if np.ndim(value) else value
        return None if isinstance(one, (str, bytes)) else float(one)
    except Exception:  # anything may stand in a dict of logs
        return None


@np.errstate(all="ignore")  # whatever a user has set, numbers that are not finite are measured
def measure(training, detail, event=None):
    """Measure a step; only the state if there is no `event`, because nobody foresaw the step.

    Returns:
        A list of those of the variables that are trained, and one of tuples of variable's name,
        quantity and value: a number, or an array.
    """
    trained, found, learning_rates = [], {}, {}
    for m in training.monitored:
        steps = event and event.steps_of(id(m.optimizer))
        moved = () if m.before is None else movement(m.before, read(m.variable))
        m.before = None  # frees the memory
        has_moved = moved and moved[0]
        if not m.is_frozen or has_moved:
            trained.append(m)
            is_known = moved and (steps != 0 or has_moved)
            found[m.name] = numbers_of_step(*moved, steps) if is_known else {}
    for optimizer in training.optimizers.values():
        is_resting = event and event.steps_of(id(optimizer)) == 0
        if steps_taken(optimizer) and not is_resting:
            rate = training.learning_rates.get(id(optimizer))
            rate = latest_learning_rate(optimizer) if rate is None else rate
            learning_rates[id(optimizer)] = tf.cast(rate, tf.float64)
    # A rate that is not finite makes its weight NaN, and must be counted.
    known = [m for m in trained if m.missing_rate is None and id(m.optimizer) in learning_rates]
    for m, rate, updated in rates_of(known, learning_rates, detail, found):
        has_moved = any(found[m.name].get(quantity) for quantity in ("step", "execution"))
        if has_moved and updated is not None and not updated.any():
            updated = None  # small squares are lost beside the first value of Keras's Adagrad
        found[m.name] |= numbers_of_rates(m, rate, updated, detail)
    measured = []
    for name, values in found.items():
        for index, rate in values.pop("tracked_weights", {}).items():
            measured.append((f"{name}{index}", "tracked_weights", rate))
        measured += [(name, quantity, value) for quantity, value in values.items()]
    return trained, measured


def numbers_of_step(step, before, after, steps):
    """Return the numbers of a variable's `movement`."""
    name = "execution" if steps and steps > 1 else "step"
    ratio = {f"{name}_to_weight": step / before} if before else {}  # a variable of zeros has none
    return {name: step, "weight": after, **ratio}


def rates_of(monitored, learning_rates, detail, found):
    """Yield variables, their rates, and which weights have been updated, None if unknown.

    These are arrays of one axis: of all weights, or of a sample where a median is enough.
    """
    groups, alone = {}, []
    for m in monitored:
        is_finite = math.isfinite(found[m.name].get("weight", 0.0))
        is_enough = not needs_all(m, detail) or math.prod(m.variable.shape) <= SAMPLE
        if is_finite and is_enough and formula_of(m.optimizer).elementwise:
            groups.setdefault((id(m.optimizer), m.variable.dtype), []).append(m)
        else:
            alone.append(m)
    for (optimizer, _), group in groups.items():
        try:
            sampled = sample_rates(group, learning_rates[optimizer], detail)
        except Exception:  # of a formula that a user has registered: told below
            alone += group
            continue
        for m, rate, updated in sampled:
            if np.isfinite(rate).all():
                yield m, rate, updated
            else:
                alone.append(m)
    for m in alone:
        try:
            yield m, *rates_alone(m, learning_rates[id(m.optimizer)], detail)
        except Exception as error:
            reason = str(error).partition("\n")[0]
            m.missing_rate = f"its formula fails: {reason}"


def rates_alone(m, learning_rate, detail):
    """Return the rates of one variable, and which weights have been updated."""
    rate = factor_after_step(m.optimizer, m.variable, learning_rate)
    is_finite = math.isfinite(tf.reduce_sum(rate))
    if rate.shape.rank == 0 and is_finite and not needs_all(m, detail):
        return np.reshape(rate, 1), None
    flatten = np.ravel if needs_all(m, detail) or not is_finite else thin
    updated = updated_mask(m.optimizer, m.variable)
    rate = flatten(tf.broadcast_to(rate, m.variable.shape))
    return rate, updated if updated is None else flatten(updated)


def needs_all(m, detail):
    """Whether an event needs the rates of all weights of a variable."""
    return detail or m.tracked or m.map_shape


def numbers_of_rates(m, rate, updated, detail):
    """Return what an event has of a variable's rates: a dict from quantities to values."""
    if m.start is not None:
        moved = np.ravel(read(m.variable) != m.start)
        updated = moved if updated is None else updated | moved
    if updated is not None and m.ever_updated is not None:
        updated = m.ever_updated = updated | m.ever_updated
    mask = np.ones(rate.shape, "bool") if updated is None else updated
    if not needs_all(m, detail) and np.isfinite(rate).all():
        rates = rate[mask]  # its median as in `summarize`, in half the time of a sort
        middle = (rates.size - 1) // 2
        return {"effective_lr": float(np.partition(rates, middle)[middle])} if rates.size else {}
    rate = rate.astype("float32", copy=False)
    quantiles, counts, not_finite = summarize(rate, mask)
    values = {"effective_lr": quantiles["median"]} if quantiles else {}
    if not_finite:
        values["effective_lr_not_finite"] = float(not_finite)
    shape = m.variable.shape
    values["tracked_weights"] = {
        f"[{','.join(map(str, index))}]": float(rate.reshape(shape)[index])
        for index in m.tracked
        if mask.reshape(shape)[index]
    }
    if m.map_shape:
        values["effective_lr_map"] = map_rates(rate, mask, m.map_shape)
    if detail:
        if updated is not None:
            values["never_updated"] = 1 - np.count_nonzero(mask) / mask.size
        values |= {f"effective_lr_{name}": value for name, value in quantiles.items()}
        used = np.flatnonzero(counts)
        filled = slice(used[0], used[-1] + 1) if used.size else slice(0, 1)
        bars = [EDGES[:-1][filled], EDGES[1:][filled], counts[filled]]
        values["effective_lr_histogram"] = np.stack(bars, axis=1)
    return values


def sample_rates(monitored, learning_rate, detail):
    """Return variables with the rates of a sample of each, and the masks, as `rates_of` does.

    They are of one optimizer, whose rate of a weight depends on its state alone, and of one type.
    """
    optimizer, variables = monitored[0].optimizer, [m.variable for m in monitored]
    state, updated = SampledState(optimizer, variables), None
    ends = np.cumsum([min(SAMPLE, math.prod(v.shape)) for v in variables])
    rates = factor_after_step(optimizer, variables[0], learning_rate, state).numpy()
    if rates.ndim or any(needs_all(m, detail) for m in monitored):
        updated = updated_mask(optimizer, variables[0], state)
    masks = [None] * len(ends) if updated is None else np.split(updated.numpy(), ends[:-1])
    rates = np.split(np.broadcast_to(rates, ends[-1]), ends[:-1])
    return zip(monitored, rates, masks, strict=True)


class SampledState:
    """What a formula reads of an optimizer, for a sample of the weights of several variables.

    Whichever variable the formula asks for, it gets all of them, one after the other.
    """

    def __init__(self, optimizer, variables):
        self._whole, self._joined = optimizer, {}
        self._indices = [index_of(optimizer, variable) for variable in variables]

    def __getattr__(self, name):
        value = getattr(self._whole, name)
        if isinstance(value, list) and value:  # it may have no state
            return dict.fromkeys(self._indices, self._join(name, value))
        return value

    def slots(self, variable):
        return self

    def __getitem__(self, i):
        """Return one of the rule's slots: a formula that takes one does not wait for the others."""
        name = self._whole.slot_names[i]
        return self._join(name, getattr(self._whole, name))

    def _join(self, name, states):
        """Return the samples of a list of states; the formula and the mask read the same one."""
        if name not in self._joined:
            samples = [thin(read(states[i])) for i in self._indices]
            self._joined[name] = tf.constant(np.concatenate(samples))
        return self._joined[name]


def thin(x):
    """Return a sample of a tensor as an array of one axis; little leaves a GPU."""
    size = math.prod(x.shape)
    array = in_place(x)
    if size <= SAMPLE:
        return np.ravel(x if array is None else array)
    if array is not None:  # 10 times as fast as TensorFlow's gather
        return array.ravel()[indices(size)]
    return tf.gather(tf.reshape(x, [-1]), indices(size)).numpy()


@functools.cache
def indices(size):
    """Choose the weights at random, the same ones at each event: a grid would hit few columns."""
    chosen = np.random.default_rng(0).choice(size, SAMPLE, replace=False, shuffle=False)
    return np.sort(chosen)


def read(variable):
    """Return a Keras variable's tensor, in a third of the time that a conversion takes."""
    value = variable.value
    if isinstance(value, tf.Variable) and not isinstance(value, tf.distribute.DistributedValues):
        return tf.raw_ops.ReadVariableOp(resource=value.handle, dtype=value.dtype)
    return tf.convert_to_tensor(value)


def copy(variable):
    """Return a variable's weights, as they are now: an array if a CPU keeps them, else a tensor.

    A tensor shares the variable's memory until the next step, which then is slower.
    """
    weights = read(variable)
    array = in_place(weights)
    return tf.identity(weights) if array is None else array.copy()


def movement(before, after):
    """Return the root mean squares of a step, of the weights before it and of those after it.

    They are exact to about 1e-6, and to 1e-12 for float64. `before` is a `copy` of the weights or
    a tensor, `after` a tensor.
    """
    size = math.prod(before.shape)
    if size <= BLOCK:  # operations on a tensor would take longer
        before, after = np.asarray(before, "float64"), np.asarray(after, "float64")
    elif isinstance(before, np.ndarray):
        after = in_place(after)
    dtype = "float64" if before.dtype == "float64" else "float32"
    sums = sums_of_squares(before, after, dtype)
    if dtype == "float32" and not all(TINY < s < HUGE for s in sums):  # a square left its range
        sums = sums_of_squares(before, after, "float64")
    return [math.sqrt(s / size) for s in sums]


def sums_of_squares(before, after, dtype):
    """Sum the squares of the step and of the weights, of arrays or of tensors."""
    if isinstance(before, tf.Tensor):
        before, after = tf.cast(before, dtype), tf.cast(after, dtype)
        halves = [tf.nn.l2_loss(w) for w in (after - before, before, after)]
        return 2 * tf.stack(halves).numpy()
    before, after, sums = before.ravel(), after.ravel(), np.zeros(3)
    for start in range(0, before.size, BLOCK):
        block = slice(start, start + BLOCK)
        old, new = (w[block].astype(dtype, copy=False) for w in (before, after))
        sums += [np.dot(w, w) for w in (new - old, old, new)]
    return sums


def in_place(x):
    """Return the array in which a CPU keeps a tensor, None if it lies elsewhere.

    It must not be written to. NumPy reads it faster than TensorFlow's operations do.
    """
    if x.dtype in (tf.float32, tf.float64, tf.bool) and "CPU" in x.device:
        return np.asarray(memoryview(x))


def summarize(rate, mask):
    """Count the rates of one variable: a float32 vector, and a mask of the updated weights.

    Return the quantiles of the updated ones that are finite, each the smallest rate that so many do
    not exceed, an empty dict if there are none; how many finite rates lie between each two `EDGES`;
    how many rates are NaN or infinite.
    """
    finite = np.isfinite(rate)
    # A positive float32, read as an integer, grows with its value: its upper bits number the bars.
    # The sign of a zero may be set.
    bars = np.bincount(np.abs(rate[finite]).view("int32") >> BITS, minlength=EDGES.size - 1)
    ordered = np.sort(rate[finite & mask])
    ranks = [max(0, math.ceil(share * ordered.size) - 1) for share in QUANTILES.values()]
    values = ordered[ranks].tolist() if ordered.size else ()
    return dict(zip(QUANTILES, values, strict=False)), bars, np.count_nonzero(~finite)


def map_rates(rate, mask, shape):
    """Return the mean of log10(rate) over the updated weights that belong to a pixel, NaN if none.

    The product of `shape`, height and width, divides the number of weights. The map has at most
    `LARGEST_MAP` pixels a side; a weight on an edge belongs to both.
    """
    usable = mask & np.isfinite(rate) & (rate > 0)
    down, across = (shares(side, min(side, LARGEST_MAP)) for side in shape)
    logs, weights = (
        down @ values.reshape(*shape, -1).sum(axis=2, dtype="float32") @ across.T
        for values in (np.log10(np.where(usable, rate, 1)), usable)
    )
    return np.divide(logs, weights, out=np.full_like(logs, np.nan), where=weights > 0)


def shares(rows, pixels):
    """The share of each row that belongs to each pixel, a matrix of shape (pixels, rows)."""
    edges = np.linspace(0, rows, pixels + 1)
    start, end = edges[:-1, np.newaxis], edges[1:, np.newaxis]
    row = np.arange(rows)
    overlap = np.minimum(end, row + 1) - np.maximum(start, row)
    return np.maximum(overlap, 0).astype("float32")
