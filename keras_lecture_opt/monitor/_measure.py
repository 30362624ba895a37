"""Reduces the steps and the rates of millions of weights to a few numbers, fast.

A positive float32, read as an integer, grows with its value. Its upper half is therefore the number
of a bin, 128 bins to a factor of 2: that takes no logarithm and no sorting, and every quantile can
be read from the counts, to 0.4%. A second half of the bins counts the weights never updated.
"""

import math

import numpy as np
import tensorflow as tf

QUANTILES = {"min": 0.0, "p05": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
SHIFT = 16  # drops the lower half of the 32 bits
BINS = 1 << 31 - SHIFT
INFINITE = 0x7F800000 >> SHIFT  # the bin of infinity; those of NaN follow
BINS_PER_BAR = 32  # bins to a bar of the histogram: 4 bars to a factor of 2
# The bars' edges, as log10 of the rate. A rate of 0 belongs to the first bar.
EDGES = (np.arange(0, INFINITE + 1, BINS_PER_BAR, dtype="int32") << SHIFT).view("float32")
EDGES = np.log10(np.clip(EDGES, np.finfo("float32").tiny, np.finfo("float32").max))
LARGEST_MAP = 64  # pixels
CHUNK = 1 << 20  # weights counted at once, which bounds the memory
HUGE = np.finfo("float32").max
TINY = 1e-30  # below it, a float32 sum of squares has lost digits
BLOCK = 1 << 14  # weights that NumPy reduces at once: they stay in the cache


def copy(variable):
    """Return a variable's weights, as they are now: an array if a CPU keeps them, else a tensor.

    A tensor shares the variable's memory until the next step, which then is slower.
    """
    weights = tf.convert_to_tensor(variable)
    array = in_place(weights)
    return tf.identity(weights) if array is None else array.copy()


def movement(before, after):
    """Measure the step that a variable took.

    Args:
        before: a `copy` of the weights before it, or a tensor.
        after: the weights after it, a floating-point tensor of the same shape.

    Returns:
        Root mean squares of the step, of the weights before it and of those after it: three
        Python numbers, exact to about 1e-6, and to 1e-12 for float64.
    """
    size = math.prod(before.shape)
    if size <= BLOCK:  # operations on a tensor would take longer
        before, after = np.asarray(before, "float64"), np.asarray(after, "float64")
        sums = sums_of_squares(before, after, "float64")
    else:
        if isinstance(before, np.ndarray):
            after = in_place(after)
        sums = sums_of_squares(before, after, "float64" if before.dtype == "float64" else "float32")
        if not all(TINY < s < HUGE for s in sums):  # a square left the range of float32
            sums = sums_of_squares(before, after, "float64")
    with np.errstate(invalid="ignore"):  # of no weights
        return np.sqrt(np.divide(sums, size)).tolist()


def sums_of_squares(before, after, dtype):
    """Sum the squares of the step and of the weights, of arrays or of tensors."""
    if isinstance(before, tf.Tensor):
        before, after = tf.cast(before, dtype), tf.cast(after, dtype)
        halves = [tf.nn.l2_loss(w) for w in (after - before, before, after)]
        return 2 * tf.stack(halves).numpy()
    before, after, sums = before.ravel(), after.ravel(), np.zeros(3)
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf; a square beyond float32
        for start in range(0, before.size, BLOCK):
            block = slice(start, start + BLOCK)
            old, new = (w[block].astype(dtype, copy=False) for w in (before, after))
            sums += [np.dot(w, w) for w in (new - old, old, new)]
    return sums


def in_place(x):
    """Return the array in which a CPU keeps a tensor, None if it lies elsewhere.

    It must not be written to. NumPy reads it faster than TensorFlow's operations do.
    """
    if "CPU" in x.device and x.dtype in (tf.float32, tf.float64):
        return np.asarray(memoryview(x))


def median(rates, ever_updated):
    """Return the median rate of the weights that have been updated.

    Args:
        rates: float array, the effective learning rates of some weights.
        ever_updated: boolean array of the same shape: which of these have ever been updated.

    Returns:
        A Python number: the smallest rate that half of these weights do not exceed, NaN if there
        are none.
    """
    rates = rates[ever_updated]
    if not rates.size:
        return math.nan
    middle = (rates.size - 1) // 2
    return float(np.partition(rates, middle)[middle])


# Traced once in a process, whatever the shapes of the variables.
@tf.function(
    autograph=False,
    input_signature=[tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.bool)],
)
def summarize(rate, ever_updated):
    """Count the rates of one variable, where they are: only small results leave a GPU.

    Args:
        rate: float32 vector, the effective learning rate of each weight; at least one.
        ever_updated: boolean vector: which weights have ever been updated.

    Returns:
        Dict of small tensors: "quantiles" of the finite rates of the weights that have been
        updated, in the order of `QUANTILES`; "updated", how many these are; "never_updated", the
        share of the weights that have not been; "not_finite", how many rates are NaN or infinite;
        "bars", how many of the finite rates lie between each two `EDGES`.
    """
    size = tf.size(rate)

    def count_chunk(start, counts, smallest, largest):
        chunk = slice(start, start + CHUNK)
        more, low, high = count(rate[chunk], ever_updated[chunk])
        return start + CHUNK, counts + more, tf.minimum(smallest, low), tf.maximum(largest, high)

    # Counts are in float64, exact up to 2^53: TensorFlow sums integers of 32 bits on the CPU.
    nothing = tf.zeros([2 * BINS], tf.float64)
    _, counts, smallest, largest = tf.while_loop(
        lambda start, *_: start < size,
        count_chunk,
        (0, nothing, tf.constant(HUGE), tf.constant(0.0)),
        parallel_iterations=1,  # one chunk at a time bounds the memory
    )
    updated, never_updated = tf.unstack(tf.reshape(counts, [2, BINS]))
    finite = (updated + never_updated)[:INFINITE]
    up_to = tf.cumsum(updated[:INFINITE])
    ranks = tf.math.ceil(up_to[-1] * list(QUANTILES.values()))
    bins = tf.minimum(tf.searchsorted(up_to, ranks), INFINITE - 1)
    quantiles = tf.bitcast(bins * (1 << SHIFT) + (1 << SHIFT - 1), tf.float32)  # their middles
    quantiles = tf.minimum(tf.maximum(quantiles, smallest), largest)  # exact where all are equal
    size = tf.cast(size, tf.float64)
    return {
        "quantiles": tf.concat([[smallest], quantiles[1:-1], [largest]], axis=0),
        "updated": up_to[-1],
        "never_updated": tf.reduce_sum(never_updated) / size,
        "not_finite": size - tf.reduce_sum(finite),
        "bars": tf.reduce_sum(tf.reshape(finite, [-1, BINS_PER_BAR]), axis=1),
    }


def count(rate, ever_updated):
    """Return how many rates are in each bin, and the smallest and the largest finite rate."""
    never = tf.cast(tf.logical_not(ever_updated), tf.float32)
    rate = tf.abs(rate)  # NaN often has its sign bit set
    bins = tf.bitwise.right_shift(tf.bitcast(rate, tf.int32), SHIFT)
    # Both halves of the bins, of the weights updated and of the others, are exact in float32.
    bins = tf.cast(bins, tf.float32) + BINS * never
    counts = tf.histogram_fixed_width(bins, [0.0, 2.0 * BINS], nbins=2 * BINS)
    shown = ever_updated & tf.math.is_finite(rate)
    smallest = tf.reduce_min(tf.where(shown, rate, HUGE))
    largest = tf.reduce_max(tf.where(shown, rate, 0))
    return tf.cast(counts, tf.float64), smallest, largest


def map_rates(rate, ever_updated, shape):
    """Return the mean of log10(rate) over the weights that belong to a pixel.

    Args:
        rate: float tensor, the effective learning rate of each weight.
        ever_updated: boolean tensor of the same shape: which weights have ever been updated.
        shape: (height, width), whose product divides the number of weights.

    Returns:
        Two float tensors of at most `LARGEST_MAP` pixels a side: the sum of the logarithms, and the
        number of weights that have been updated; a weight on an edge belongs to both pixels.
    """
    usable = ever_updated & tf.math.is_finite(rate) & (rate > 0)
    logs = tf.math.log(tf.where(usable, rate, 1)) / np.log(10)
    down, across = (shares(side, min(side, LARGEST_MAP)) for side in shape)

    def pixels(values):
        values = tf.reduce_sum(tf.reshape(tf.cast(values, tf.float32), [*shape, -1]), axis=2)
        return down @ values @ tf.transpose(across)

    return pixels(logs), pixels(usable)


def shares(rows, pixels):
    """The share of each row that belongs to each pixel, a matrix of shape (pixels, rows)."""
    edges = np.linspace(0, rows, pixels + 1)
    start, end = edges[:-1, np.newaxis], edges[1:, np.newaxis]
    row = np.arange(rows)
    overlap = np.minimum(end, row + 1) - np.maximum(start, row)
    return tf.constant(np.maximum(overlap, 0), tf.float32)
