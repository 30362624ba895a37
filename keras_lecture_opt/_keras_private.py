"""Every private name of Keras and TensorFlow that this package uses, each with the reason.

No other file uses one: a test searches them for private names. The names are the same in Keras
3.12.0 and 3.15.1.
"""

import contextlib
import random
import threading

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute
from keras.src.backend.common.masking import get_keras_mask
from keras.src.random.seed_generator import global_seed_generator
from keras.src.trainers.compile_utils import CompileLoss
from keras.src.utils.tracking import DotNotTrackScope
from tensorflow.python.eager import context as tf_context
from tensorflow.python.framework import config as tf_config

from keras_lecture_opt._arguments import must_be

_RANDINT = threading.Lock()  # held by the one context that has replaced `random.randint`
_DETERMINISM = threading.Lock()  # held while `_deterministic` changes
_deterministic: list[bool] = []  # what each context in use found


class UpdateHook(keras.optimizers.Optimizer):
    """Gives public names to the places where Keras's TensorFlow backend handles all variables.

    The only public one, `update_step`, gets one variable at a time. This is the way of the
    gradients in a step, with what is changed here at the left margin::

        apply
        sparse gradients become dense
            loss scale, accumulation
        clip_all
            weight decay
        sum over the replicas, if there is a strategy
        update_all
        update_averages (use_ema)
            constraints
    """

    def _filter_empty_gradients(self, grads, vars):
        grads, variables = super()._filter_empty_gradients(grads, vars)
        return [densify(g, v) for g, v in zip(grads, variables, strict=True)], variables

    def _clip_gradients(self, grads):
        return self.clip_all(grads)

    def clip_all(self, gradients):
        """Return the gradients, clipped as the optimizer's arguments say."""
        return super()._clip_gradients(gradients)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        # Without a strategy there is nothing to add up. TensorFlow would trace an identity for each
        # gradient, a third of the time that steepest descent takes to trace.
        if tf.distribute.has_strategy():
            return super()._all_reduce_sum_gradients(grads_and_vars)
        return [(tf.convert_to_tensor(g), v) for g, v in grads_and_vars]

    def _distributed_tf_update_step(self, distribution, grads_and_vars, learning_rate):
        self.update_all(distribution, grads_and_vars, learning_rate)

    def update_all(self, distribution, grads_and_vars, learning_rate):
        """Update each `tf.Variable` with its gradient, a tensor: a list of these pairs.

        This is the cross-replica context of the `tf.distribute.Strategy`, the default one included.
        """
        super()._distributed_tf_update_step(distribution, grads_and_vars, learning_rate)

    def _update_model_variables_moving_average(self, trainable_variables):
        self.update_averages(trainable_variables)

    def update_averages(self, variables):
        """Update the moving averages (`use_ema`) of the variables."""
        super()._update_model_variables_moving_average(variables)


def densify(gradient, variable):
    """A sparse gradient as a tensor, repeated rows summed; any other as it is."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, indices = gradient.values, gradient.indices
    dense = tf.math.unsorted_segment_sum(rows, indices, variable.shape[0])
    return tf.ensure_shape(dense, variable.shape)


def index_of(optimizer, variable):
    """The variable's position in the optimizer's lists of state, or None.

    There is no public way; Keras's guide to custom optimizers uses this method.
    """
    if not isinstance(variable, (keras.Variable, tf.Variable)):
        raise TypeError(must_be("variable", "a keras.Variable", variable))
    try:
        return optimizer._get_variable_index(variable)
    except KeyError:
        return None


def state_of(optimizer, name, variable):
    """The optimizer's state `name` for the variable, a `keras.Variable`, or None if there is none.

    Most of Keras's lists of state have private names (`_velocities`), some public ones.
    """
    states = getattr(optimizer, f"_{name}", None) or getattr(optimizer, name, None)
    return states[index_of(optimizer, variable)] if states else None


def learning_rate_or_schedule(optimizer):
    """The `keras.Variable`, schedule or callable whose number the public `learning_rate` is."""
    return optimizer._learning_rate


def is_masked(tensor):
    """Whether Keras leaves steps of this output of a model out of the loss."""
    return get_keras_mask(tensor) is not None


def is_overwritten(variable):
    """Whether the optimizer replaces the variable by its gradient, as it does float8's scales."""
    return getattr(variable, "overwrite_with_gradient", False)


@contextlib.contextmanager
def explicit_seeds(seed):
    """Within this context and thread, Keras draws the seeds of new layers from this seed alone.

    Keras draws them with `random.randint`, as any other thread may, and no argument replaces it.
    """
    thread, own = threading.get_ident(), random.Random(seed)

    def randint(a, b):
        return (own.randint if threading.get_ident() == thread else before)(a, b)

    with _RANDINT:
        before, random.randint = random.randint, randint
        try:
            yield
        finally:
            random.randint = before


def global_seed_state():
    """Return what Keras's unseeded functions draw from in this thread; no checkpoint has it."""
    return global_seed_generator().state


@contextlib.contextmanager
def deterministic_ops():
    """Within this context, TensorFlow's ops are deterministic, in all threads.

    No public function switches this off. While it is on, ops that draw random numbers ask for a
    seed, even those with which `fit` shuffles arrays.
    """
    with _DETERMINISM:
        _deterministic.append(tf_config.is_op_determinism_enabled())
        tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        with _DETERMINISM:  # contexts end in any order: what the first one found is popped last
            if not _deterministic.pop():
                tf_config.disable_op_determinism()


@contextlib.contextmanager
def borrowed(model, optimizer):
    """Within this context, the model trains with another optimizer, and without its metrics.

    Keras builds losses and metrics in the first step, and no public function undoes that. So those
    of the context are new ones, and the model gets its own back.
    """
    compiled = model._compile_loss
    if compiled is not None:
        compiled = CompileLoss(
            compiled._user_loss, compiled._user_loss_weights, output_names=compiled.output_names
        )
    new = {
        "optimizer": optimizer,
        "_compile_loss": compiled,
        "_compile_metrics": None,
        "_loss_tracker": keras.metrics.Mean(name="loss"),
    }
    before = {name: getattr(model, name) for name in new}
    losses = [(layer, [*layer._losses]) for layer in model._flatten_layers()]

    def give(attributes):
        with DotNotTrackScope():
            for name, value in attributes.items():
                setattr(model, name, value)

    try:
        give(new)
        yield
    finally:
        give(before)
        for layer, of_layer in losses:
            layer._losses[:] = of_layer


def share_exclusions(optimizer, copy):
    """Let a copy exclude the same variables from weight decay, which no configuration says."""
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(optimizer, name):
            setattr(copy, name, getattr(optimizer, name))


@contextlib.contextmanager
def random_numbers_kept():
    """After this context, Python, NumPy, Keras and TensorFlow draw the numbers of before it.

    Keras makes its global generator at its first use, from a number of Python's. TensorFlow draws
    the seeds of eager operations from a generator of its context, and an operation with seeds that
    were drawn before goes on where that one was: within this context they are others.
    """
    generator = get_global_attribute("global_seed_generator")
    keras_state = generator and generator.state.numpy()
    context = tf_context.context()
    seeds = getattr(context, "_rng", None)
    if seeds:
        context._rng = random.Random(0)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        set_global_attribute("global_seed_generator", generator)
        if generator:
            generator.state.assign(keras_state)
        if seeds:
            context._rng = seeds
        random.setstate(python_state)
        np.random.set_state(numpy_state)
