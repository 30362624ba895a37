"""Reduces the rates of millions of weights to a few numbers, fast.

A positive float32, read as an integer, grows with its value. Its upper half is therefore the number
of a bin, 128 bins to a factor of 2: that takes no logarithm and no sorting, and every quantile can
be read from the counts, to 0.4%. The sign bit is free to mark the weights never updated.
"""

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


def summarize(rate, ever_updated):
    """Count the rates of one variable.

    Args:
        rate: float tensor, the effective learning rate of each weight.
        ever_updated: boolean tensor of the same shape: which weights have ever been updated.

    Returns:
        Dict of small tensors: "quantiles" of the finite rates of the weights that have been
        updated, in the order of `QUANTILES`, NaN if there are none; "never_updated", the share of
        the others; "not_finite", how many rates are NaN or infinite; "bars", how many of the
        finite rates lie between each two `EDGES`.
    """
    rate, ever_updated, size = tf.reshape(rate, [-1]), tf.reshape(ever_updated, [-1]), tf.size(rate)
    chunks = []
    for i in range(0, rate.shape[0], CHUNK):
        with tf.control_dependencies(chunks[-1] if chunks else []):
            chunks.append(count(rate[i : i + CHUNK], ever_updated[i : i + CHUNK]))
    counts, smallest, largest = zip(*chunks, strict=True)
    smallest = tf.bitcast(tf.reduce_min(smallest), tf.float32)
    largest = tf.bitcast(tf.reduce_max(largest), tf.float32)

    with tf.device("CPU:0"):
        updated, never_updated = tf.unstack(tf.reshape(tf.add_n(counts), [2, BINS]))
        finite = (updated + never_updated)[:INFINITE]
        up_to = tf.cumsum(updated[:INFINITE])
        ranks = tf.math.ceil(tf.cast(up_to[-1], tf.float64) * list(QUANTILES.values()))
        bins = tf.searchsorted(up_to, tf.cast(ranks, tf.int32))
        quantiles = tf.bitcast(bins * (1 << SHIFT) + (1 << SHIFT - 1), tf.float32)  # their middles
        largest = tf.where(tf.math.is_finite(largest), largest, quantiles[-1])
        quantiles = tf.clip_by_value(quantiles, smallest, largest)  # exact where all are equal
        quantiles = tf.concat([[smallest], quantiles[1:-1], [largest]], axis=0)
        return {
            "quantiles": tf.where(up_to[-1] > 0, quantiles, np.nan),
            "never_updated": tf.reduce_sum(never_updated) / size,
            "not_finite": size - tf.reduce_sum(finite),
            "bars": tf.reduce_sum(tf.reshape(finite, [-1, BINS_PER_BAR]), axis=1),
        }


def count(rate, ever_updated):
    """Return how many rates are in each bin, and the bits of the smallest and the largest."""
    sign = tf.bitwise.bitwise_and(
        tf.cast(ever_updated, tf.int32) - 1, -(1 << 31)
    )  # set if never updated
    rate = tf.abs(tf.cast(rate, tf.float32))  # NaN often has its sign bit set
    bits = tf.bitwise.bitwise_or(tf.bitcast(rate, tf.int32), sign)
    unsigned = tf.bitcast(bits, tf.uint32)
    bins = tf.bitcast(tf.bitwise.right_shift(unsigned, SHIFT), tf.int32)
    with tf.device("CPU:0"):  # TensorFlow has no deterministic way to count on a GPU
        counts = tf.math.bincount(bins, minlength=2 * BINS, maxlength=2 * BINS)
    # The sign bit makes a signed integer small and an unsigned one large: neither is ever chosen.
    return counts, tf.reduce_min(unsigned), tf.reduce_max(bits)


def map_rates(rate, ever_updated, shape):
    """Return the mean of log10(rate) over the weights that belong to a pixel.

    Args:
        rate: float tensor, the effective learning rate of each weight.
        ever_updated: boolean tensor of the same shape: which weights have ever been updated.
        shape: (height, width), whose product divides the number of weights.

    Returns:
        Float tensor of at most `LARGEST_MAP` pixels a side, NaN where no weight has been updated.
    """
    usable = ever_updated & tf.math.is_finite(rate) & (rate > 0)
    logs = tf.where(usable, tf.math.log(rate) / np.log(10), 0)

    def pixels(values):
        values = tf.reduce_sum(tf.reshape(tf.cast(values, tf.float32), [1, *shape, -1]), axis=3)
        size = [min(side, LARGEST_MAP) for side in shape]
        return tf.image.resize(values[..., tf.newaxis], size, method="area")[0, :, :, 0]

    return pixels(logs) / pixels(usable)
