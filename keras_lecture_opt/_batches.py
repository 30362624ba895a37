"""Batches of examples that lie in memory, as a `tf.data.Dataset` without tf.data's tuner.

The tuner's thread of an iterator wakes 10 ms after its start, then after twice as long each time.
On few cores, an iterator that ends often waits for it: epochs of 6 s last 10.3 s.
"""

import keras
import tensorflow as tf

UNTUNED = tf.data.Options()
UNTUNED.autotune.enabled = False


def gathered(indices, arrays):
    """Return the examples of (nested) arrays whose indices a dataset holds, batch by batch."""
    tensors = keras.tree.map_structure(tf.constant, arrays)

    def examples(i):
        return keras.tree.map_structure(lambda values: tf.gather(values, i), tensors)

    return indices.map(examples).prefetch(2).with_options(UNTUNED)


def order(examples, seed, epoch):
    """Return the indices of so many examples, in an order that depends on seed and epoch alone."""
    indices = tf.random.experimental.stateless_shuffle(tf.range(examples), seed=[seed, epoch])
    return tf.data.Dataset.from_tensor_slices(indices)


def in_order(arrays, batch_size):
    """Return the batches of an epoch that has no other order."""
    return gathered(_indices(arrays).batch(batch_size), arrays)


def shuffled(arrays, batch_size, seed):
    """Return the batches of an epoch, in another order each time."""
    indices = _indices(arrays)
    return gathered(indices.shuffle(len(indices), seed=seed).batch(batch_size), arrays)


def _indices(arrays):
    return tf.data.Dataset.range(len(keras.tree.flatten(arrays)[0]))
