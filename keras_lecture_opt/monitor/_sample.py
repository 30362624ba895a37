"""The rates of a sample of the weights, of all variables at once.

In eager mode it is the number of operations that costs time: a network has hundreds of variables.
"""

import math

import numpy as np
import tensorflow as tf

from keras_lecture_opt._keras_private import index_of
from keras_lecture_opt.monitor._measure import median
from keras_lecture_opt.rates import factor_after_step, updated_mask

SAMPLE = 1 << 11  # weights of a variable that its median is taken of


def thin(x):
    """Return a sample of a tensor, spread evenly, as an array of one axis."""
    if (stride := stride_of(x)) > 1:  # little leaves a GPU
        x = tf.reshape(x, [-1])[::stride]
    return np.ravel(x)


def stride_of(x):
    return -(-math.prod(x.shape) // SAMPLE)


def measure_all_rates(monitored, learning_rates, detail, sizes):
    """Return what an event logs of the effective learning rates.

    Args:
        monitored: list of `MonitoredVariable`, each of which has rates.
        learning_rates: dict from the id of an optimizer to its learning rate in the latest step.
        detail: whether all rates are counted.
        sizes: dict from names to the RMS of the weights, where it is known.

    Returns:
        Dict from names to what `MonitoredVariable.measure_rates` returns.
    """
    groups = {}
    for m in monitored:
        # A rate that is not finite makes its weight NaN, and must be counted.
        is_finite = math.isfinite(sizes.get(m.name, math.nan))
        if is_finite and not m.counts(detail) and m.can_sample is not False:
            groups.setdefault((id(m.optimizer), m.variable.dtype), []).append(m)
    measured = {}
    for (optimizer, _), group in groups.items():
        group.sort(key=lambda m: sizes[m.name])
        measured |= medians_of_samples(group, learning_rates[optimizer])
    return {
        m.name: measured.get(m.name) or m.measure_rates(learning_rates[id(m.optimizer)], detail)
        for m in monitored
    }


def medians_of_samples(group, learning_rate):
    """Return the median rates, by name, of variables of one optimizer, where samples give them.

    Args:
        group: list of `MonitoredVariable` of one type, the smallest weights first.
        learning_rate: that of the latest step, a scalar.
    """
    try:
        samples = sampled_rates(group, learning_rate)
        if any(m.can_sample is None for m in group):
            # Some formulas take norms, of the state or of the variable. These differ if half of the
            # weights are there, and another variable comes first.
            halves = sampled_rates(group[::-1], learning_rate, step=2)[::-1]
            for m, sample, half in zip(group, samples, halves, strict=True):
                m.can_sample = is_half(half, sample)
    except Exception:  # the formula wants the optimizer itself, or state of another shape
        for m in group:
            m.can_sample = False
        return {}
    return {
        m.name: {"median": median(rates, mask)}
        for m, (rates, mask) in zip(group, samples, strict=True)
        if m.can_sample and np.isfinite(rates).all()
    }


def is_half(half, sample):
    (rates, mask), (of_all, mask_of_all) = half, (x[::2] for x in sample)
    # TensorFlow's powers differ in the last digit with the position in the vector.
    alike = np.allclose(rates, of_all, rtol=1e-6, atol=0, equal_nan=True)
    return alike and np.array_equal(mask, mask_of_all)


def sampled_rates(group, learning_rate, step=1):
    """Return the rates of a sample of each variable, and which of these weights were updated."""
    optimizer, variables = group[0].optimizer, [m.variable for m in group]
    sample = Sample(optimizer, variables, step)
    rates = factor_after_step(optimizer, variables[0], learning_rate, sample).numpy()
    updated = updated_mask(optimizer, variables[0], sample) if rates.ndim else None
    sizes = [-(-math.prod(v.shape) // (step * stride_of(v))) for v in variables]
    rates = np.broadcast_to(rates, [sum(sizes)])
    mask = np.ones_like(rates, bool) if updated is None else updated.numpy()
    ends = np.cumsum(sizes)[:-1]
    return [*zip(np.split(rates, ends), np.split(mask, ends), strict=True)]


class Sample:
    """An optimizer of which a formula sees the state of a sample of several variables.

    Whichever variable the formula asks for, it gets all of them, one after the other.
    """

    def __init__(self, optimizer, variables, step):
        self._whole, self._step, self._joined = optimizer, step, {}
        self._indices = [index_of(optimizer, variable) for variable in variables]

    def __getattr__(self, name):
        value = getattr(self._whole, name)
        if isinstance(value, list):
            return dict.fromkeys(self._indices, self._join(name, value))
        return value

    def slots(self, variable):
        names = self._whole.slot_names
        return [self._join(name, getattr(self._whole, name)) for name in names]

    def _join(self, name, states):
        """Return the samples of a list of states; the formula and the mask read the same one."""
        if name not in self._joined:
            states = [tf.convert_to_tensor(states[i]) for i in self._indices]
            self._joined[name] = tf.constant(
                np.concatenate([thin(state)[:: self._step] for state in states])
            )
        return self._joined[name]
