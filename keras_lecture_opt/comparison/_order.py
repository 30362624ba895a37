"""What the processes of an executor get: workload and optimizers as bytes."""

import copyreg
import io

import cloudpickle
import keras

from keras_lecture_opt.comparison._identity import describe, differences


def dumps(workload, optimizers):
    """Return bytes from which `pickle.loads` makes them in another process.

    Raises a TypeError if a loss or a metric of the workload would be another one there.
    """
    for argument, own in (("loss", workload.loss), ("metrics", workload.metrics)):
        try:
            lost = differences(describe(cloudpickle.loads(_dumps(own))), describe(own))
        except TypeError as error:  # the class does not take what its configuration has
            lost = [str(error)]
        if lost:
            raise TypeError(
                f"`{argument}` cannot be copied to other processes: {'; '.join(lost)}. Its "
                "`get_config` must return all arguments of its class."
            )
    return _dumps((workload, optimizers))


def _dumps(thing):
    file = io.BytesIO()
    _Pickler(file).dump(thing)
    return file.getvalue()


class _Pickler(cloudpickle.Pickler):
    """Copies losses and metrics together with their classes.

    Keras copies them by the names of their classes, and another process does not know the name of
    a class in a script or a notebook.
    """

    def reducer_override(self, obj):
        if isinstance(obj, keras.losses.Loss):
            return copyreg.__newobj__, (type(obj),), vars(obj)
        if isinstance(obj, keras.metrics.Metric):
            return type(obj).from_config, (obj.get_config(),)
        return super().reducer_override(obj)
