"""The user's callbacks: one training for them, though each epoch is a `fit` of its own."""

import contextlib
import io
import pickle

import cloudpickle
import keras
import numpy as np
import tensorflow as tf


class Callbacks:
    """The callbacks of one run, which trains a model up to an epoch."""

    def __init__(self, callbacks, model, epochs):
        self.callbacks = callbacks
        self.all = keras.callbacks.CallbackList(callbacks, model=model, epochs=epochs, verbose=0)
        self.model = model
        # What happens within an epoch, not that each `fit` begins and ends.
        names = ("on_epoch_begin", "on_train_batch_begin", "on_train_batch_end")
        within = {name: getattr(self.all, name) for name in names}
        self.of_fit = [keras.callbacks.LambdaCallback(**within)] if callbacks else []
        self.of_evaluate = self.all if callbacks else None

    def end_epoch(self, row):
        """Tell them the results of an epoch; return whether one of them stops the training."""
        if self.callbacks:
            logs = {name: value for name, value in row.items() if type(value) is float}
            self.all.on_epoch_end(row["epoch"] - 1, logs)
        return bool(self.callbacks) and self.model.stop_training

    def state(self):
        """Return a dict for `restore`: the states of those that can be copied.

        Others, such as those that write files, begin anew when a run goes on.
        """
        states = {}
        for i, callback in enumerate(self.callbacks):
            own = {
                name: value
                for name, value in vars(callback).items()
                if value is not self.model and name != "params"
            }
            file = io.BytesIO()
            with contextlib.suppress(AttributeError, TypeError, pickle.PicklingError):
                _Pickler(file).dump(own)
                states[f"callback{i}"] = np.frombuffer(file.getvalue(), np.uint8)
        return states

    def restore(self, saved):
        """Give them the states that `state` returned."""
        for i, callback in enumerate(self.callbacks):
            if f"callback{i}" in saved:
                vars(callback).update(pickle.loads(saved[f"callback{i}"].tobytes()))


class _Pickler(cloudpickle.Pickler):
    """Refuses parts of the model: a copy would no longer be trained."""

    def reducer_override(self, obj):
        parts = (keras.Layer, keras.Optimizer, keras.Variable, keras.metrics.Metric, tf.Variable)
        if isinstance(obj, parts):
            raise pickle.PicklingError
        return super().reducer_override(obj)
