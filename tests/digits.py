"""MNIST without the minute that its build as a data set of TFDS takes."""

import contextlib
import functools
import gzip

import numpy as np
import pytest
from tensorflow_datasets.image_classification import mnist as tfds_mnist

from keras_lecture_opt import mnist


def original(name, header, count):
    """Return so many bytes of an archive, without its header."""
    with gzip.open(mnist.ARCHIVES / name) as file:
        return np.frombuffer(file.read(header + count), np.uint8)[header:]


@functools.cache
def digits(part, count):
    """Return the first images, and their labels, of "train" or "t10k", in the archives' order."""
    images = original(f"{part}-images-idx3-ubyte.gz", 16, 784 * count)
    labels = original(f"{part}-labels-idx1-ubyte.gz", 8, count)
    return images.reshape(count, 28, 28), labels


@contextlib.contextmanager
def small_build(train=600, test=100):
    """What is built in this context has so many images; later it is read like any other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfds_mnist, "_TRAIN_EXAMPLES", train)
        patch.setattr(tfds_mnist, "_TEST_EXAMPLES", test)
        yield patch
