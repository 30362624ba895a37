"""The median rates of all variables at once, from a sample of the weights of each.

In eager mode it is the number of operations that costs time: a network has hundreds of variables.
"""

import functools
import math

import numpy as np
import tensorflow as tf

from keras_lecture_opt._keras_private import index_of
from keras_lecture_opt.monitor._measure import in_place, median
from keras_lecture_opt.rates import factor_after_step, updated_mask

SAMPLE = 1 << 12  # weights of a variable that its median is taken of


def thin(x):
    """Return a sample of a tensor as an array of one axis; little leaves a GPU."""
    size = math.prod(x.shape)
    if size <= SAMPLE:
        return np.ravel(x)
    array = in_place(x)
    if array is not None:  # 10 times as fast as TensorFlow's gather
        return array.ravel()[indices(size)]
    return tf.gather(tf.reshape(x, [-1]), indices(size)).numpy()


@functools.cache
def indices(size):
    """Choose the weights at random, the same ones at each event: a grid would hit few columns."""
    chosen = np.random.default_rng(0).choice(size, SAMPLE, replace=False, shuffle=False)
    return np.sort(chosen)


def medians(monitored, learning_rate):
    """Return the median rates of variables of one optimizer, where all rates are finite.

    Args:
        monitored: list of `MonitoredVariable` of one type. Their optimizer computes the rate of a
            weight from the state of that weight alone.
        learning_rate: that of the latest step, a scalar.

    Returns:
        Dict from names to numbers, NaN if no weight has been updated.
    """
    optimizer, variables = monitored[0].optimizer, [m.variable for m in monitored]
    sample = Sample(optimizer, variables)
    rates = factor_after_step(optimizer, variables[0], learning_rate, sample).numpy()
    updated = updated_mask(optimizer, variables[0], sample) if rates.ndim else None
    sizes = [min(SAMPLE, math.prod(v.shape)) for v in variables]
    rates = np.broadcast_to(rates, [sum(sizes)])
    mask = np.ones_like(rates, bool) if updated is None else updated.numpy()
    ends = np.cumsum(sizes)[:-1]
    return {
        m.name: median(*of_variable)
        for m, *of_variable in zip(
            monitored, np.split(rates, ends), np.split(mask, ends), strict=True
        )
        if np.isfinite(of_variable[0]).all()
    }


class Sample:
    """An optimizer of which a formula sees the state of a sample of several variables.

    Whichever variable the formula asks for, it gets all of them, one after the other.
    """

    def __init__(self, optimizer, variables):
        self._whole, self._joined = optimizer, {}
        self._indices = [index_of(optimizer, variable) for variable in variables]

    def __getattr__(self, name):
        value = getattr(self._whole, name)
        if isinstance(value, list):
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
            samples = [thin(tf.convert_to_tensor(states[i])) for i in self._indices]
            self._joined[name] = tf.constant(np.concatenate(samples))
        return self._joined[name]
