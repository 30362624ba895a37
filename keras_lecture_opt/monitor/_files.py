"""The event files of a run, which TensorBoard reads."""

import itertools
import os
import socket
import time
import warnings

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event

OWN = ".effective_lr"  # how our files end, beside those of other callbacks
FRAME = 16  # bytes that a record takes beside its content
numbers = itertools.count()


class RunFile:
    """An event file in a run's folder. Each event can be read as soon as it is written.

    `tf.summary`'s writer hides a full disk until it is closed, or loses events silently.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder):
        self.folder = folder
        self.is_lost = False
        name = (
            f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}."
            f"{os.getpid()}.{next(numbers):06}{OWN}"  # TensorBoard reads them in this order
        )
        self.path = os.path.join(folder, name)
        self._size = 0
        try:
            tf.io.gfile.makedirs(folder)
            self._records = tf.io.TFRecordWriter(self.path)
            self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))
        except (OSError, tf.errors.OpError) as error:
            raise OSError(str(error)) from error

    def write(self, summary, step):
        """Write an event, unless the disk has been full before. Never raises."""
        if self.is_lost:
            return
        try:
            self._append(Event(wall_time=time.time(), step=step, summary=summary))
        except (OSError, tf.errors.OpError) as error:
            self.is_lost = True
            warnings.warn(
                f"EffectiveLearningRateMonitor cannot write to {self.folder!r} any more: what it "
                f"measures from step {step} on is not in TensorBoard. Training goes on. {error}",
                stacklevel=2,
            )

    def _append(self, event):
        content = event.SerializeToString()
        self._records.write(content)
        self._records.flush()
        self._size += len(content) + FRAME
        if (written := tf.io.gfile.stat(self.path).length) < self._size:
            raise OSError(f"The disk took {written} of {self._size} bytes.")

    def close(self):
        try:
            self._records.close()
        except (OSError, tf.errors.OpError):
            self.is_lost = True


def own_files(folder):
    """Return the paths of the files that monitors have written to this folder."""
    if not tf.io.gfile.isdir(folder):
        return []
    names = tf.io.gfile.listdir(folder)
    return [os.path.join(folder, name) for name in names if name.endswith(OWN)]


def last_step(paths):
    """Return the last step in some event files."""
    last = 0
    for path in paths:
        record = None
        try:
            for record in tf.data.TFRecordDataset(path):  # noqa: B007
                pass
        except tf.errors.OpError:  # the process was killed while it wrote
            pass
        if record is not None:
            last = max(last, Event.FromString(record.numpy()).step)
    return last
