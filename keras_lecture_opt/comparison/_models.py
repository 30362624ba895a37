"""Models of runs: each is as new, and none is traced twice in a row."""

import contextlib
import json
import threading

import keras
import tensorflow as tf

from keras_lecture_opt._keras_private import learning_rate_or_schedule
from keras_lecture_opt.comparison._identity import describe_optimizer, is_own

_kept = threading.local()  # `last`: the model that this thread has trained last


@contextlib.contextmanager
def as_new(workload, optimizer, seed):
    """Yield a compiled model with a built optimizer, as if both were new.

    For a small network, tracing a training step takes as long as many epochs. So the model of the
    last run is used again if a constant learning rate is all that differs. It is not if the user's
    callbacks or optimizer may have changed it, nor if a variable was created for it that `model`
    and `optimizer` do not list: nothing resets that one. `model.variables` are left to the caller.
    """
    last, _kept.last = getattr(_kept, "last", None), None  # it is lost if the training fails
    key, created = _trace_key(workload, optimizer, seed), []

    def record(create, **options):
        created.append(create(**options))
        return created[-1]

    if last and last[0] == key is not None:
        _, model, values, created = last
        for variable, value in zip(model.optimizer.variables, values, strict=True):
            variable.assign(value)
        # An assignment to the attribute would add the other optimizer's variable.
        model.optimizer.learning_rate.assign(optimizer.learning_rate)
    else:
        with tf.variable_creator_scope(record):
            model = workload.new_model(optimizer, seed)
            model.optimizer.build(model.trainable_variables)
        values = [variable.numpy() for variable in model.optimizer.variables]
    with tf.variable_creator_scope(record):
        yield model
    listed = [*model.variables, *model.optimizer.variables]
    listed += [variable for metric in model.metrics for variable in metric.variables]
    if key and {*map(id, created)} <= {id(variable.value) for variable in listed}:
        _kept.last = key, model, values, created


def forget():
    """Free the model that this thread keeps."""
    _kept.last = None


def _trace_key(workload, optimizer, seed):
    """Return what a trained model depends on, but a constant learning rate; None if in doubt."""
    constant = isinstance(learning_rate_or_schedule(optimizer), keras.Variable)
    if workload.callbacks or is_own(type(optimizer).__module__) or not constant:
        return None
    description = describe_optimizer(optimizer)
    description["config"].pop("learning_rate", None)
    return workload, seed, json.dumps(description, sort_keys=True)
