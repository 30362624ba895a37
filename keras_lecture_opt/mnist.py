"""The lecture's last example: the MNIST data set, and the network 784-1000-1000-10."""

import contextlib
import hashlib
import io
import os
import pathlib
from collections.abc import Iterable

import keras
import numpy as np

from keras_lecture_opt._arguments import check_integer, check_number, check_path, must_be

__all__ = ["load", "mlp"]

Arrays = tuple[np.ndarray, np.ndarray]  # images, labels
ARCHIVES = pathlib.Path(__file__).with_name("mnist_archives")


def load(data_dir: str | os.PathLike[str] | None = None) -> tuple[Arrays, Arrays]:
    """Load MNIST as `keras.datasets.mnist.load_data` does, but offline.

    The first call builds the official TensorFlow Datasets data set (`mnist:3.0.1`) from the four
    original archives, which this package contains. That takes about 10 s and 80 MB of disk. Both
    parts are in TFDS's order, which is fixed but differs from that of the archives. TensorFlow
    reads them, after which its devices can no longer be configured: configure them first.

    Args:
        data_dir: folder in which TFDS keeps its data sets, `~` for the home folder. Defaults to
            the environment variable `TFDS_DATA_DIR`, or else to `~/tensorflow_datasets`.

    Returns:
        NumPy arrays of uint8, `(x_train, y_train), (x_test, y_test)`. The images have shapes
        `(60000, 28, 28)` and `(10000, 28, 28)` and values from 0 to 255, the labels `(60000,)`
        and `(10000,)` and values from 0 to 9.

    Raises:
        TypeError: `data_dir` is not a string or a `pathlib.Path`.
        ValueError: `data_dir` is empty, or holds a null character.
        RuntimeError: an archive of this installation is missing or damaged.
        OSError: the data set cannot be built or read in the folder: it is read-only, full, or
            holds a damaged copy.
    """
    import tensorflow_datasets as tfds  # slow, and needed by nobody else

    if data_dir is None:
        data_dir = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    data_dir = check_path("data_dir", data_dir)
    folder = os.path.join(data_dir, "mnist", "3.0.1")

    def builder():
        with _reading(folder):  # it reads what is there already
            return tfds.builder("mnist:3.0.1", data_dir=data_dir)

    if not builder().is_prepared():
        _check_archives()
        try:
            config = tfds.download.DownloadConfig(manual_dir=ARCHIVES, try_download_gcs=False)
            _first_builder(data_dir).download_and_prepare(download_config=config)
        except Exception as error:  # TFDS passes on any exception
            if not builder().is_prepared():  # another process may have built it
                raise OSError(
                    f"MNIST cannot be built in {folder}: {error}\n"
                    "Choose a writable folder with 150 MB free: "
                    "`load(data_dir=...)` or the environment variable TFDS_DATA_DIR."
                ) from error
    options = {"split": ["train", "test"], "batch_size": -1, "as_supervised": True}
    prepared = builder()
    with _reading(folder):
        parts = tfds.as_numpy(prepared.as_dataset(**options))
    train, test = ((images[..., 0], labels.astype("uint8")) for images, labels in parts)
    return train, test


def _first_builder(data_dir):
    """Return TFDS's builder, but encoding all images in one call, which halves the time."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    official = tfds.image_classification.MNIST

    class MNIST(official, skip_registration=True):
        __module__ = official.__module__  # the data set's metadata name it

        def _generate_examples(self, **files):
            keys, examples = zip(*super()._generate_examples(**files), strict=True)
            images = tf.io.encode_png(np.stack([example["image"] for example in examples]))
            for key, example, png in zip(keys, examples, images.numpy(), strict=True):
                yield key, {**example, "image": io.BytesIO(png)}

    return MNIST(version="3.0.1", data_dir=data_dir)


@contextlib.contextmanager
def _reading(folder):
    try:
        yield
    except Exception as error:
        raise OSError(
            f"`data_dir`: MNIST cannot be read from {folder}: {error}\n"
            "If its files are damaged, delete that folder: the next call builds it again."
        ) from error


def _check_archives():
    """Raise before TFDS searches the network for a missing archive, for over three minutes."""
    for line in (ARCHIVES / "SHA256SUMS").read_text().splitlines():
        expected, name = line.split()
        archive = ARCHIVES / name
        if not archive.exists() or hashlib.sha256(archive.read_bytes()).hexdigest() != expected:
            raise RuntimeError(
                f"{archive} is missing or damaged. Install keras_lecture_opt again: the package "
                "contains the original file."
            )


@keras.saving.register_keras_serializable(package="keras_lecture_opt")
class PixelNetwork(keras.Sequential):
    """A `keras.Sequential` that refuses pixels of any type but uint8.

    Keras would convert other pixels to uint8 silently: those from 0 to 1 would become black.
    """

    @property
    def input_dtype(self):
        """The type to which Keras converts floats before `call` sees them: not uint8."""
        return self.compute_dtype

    def call(self, inputs, training=None, mask=None):
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        if dtype != "uint8":
            # TensorFlow cannot trace these again once a trace has failed; Keras makes new ones.
            self.train_function = self.test_function = None
            raise TypeError(
                f"{self.name}: its pixels must be uint8, from 0 to 255 as `mnist.load()` returns "
                f"them, not {dtype}. It scales them to [0, 1] itself: do not divide them by 255. "
                "Whole numbers of another type: `x.astype('uint8')`."
            )
        return super().call(inputs, training=training, mask=mask)


def check_network(dropout, hidden):
    """Return the arguments of `mlp` as a Python number and a tuple; raise if they are not valid."""
    dropout = check_number("dropout", dropout, "a number in [0, 1)", lambda x: 0 <= x < 1)
    try:
        return dropout, tuple(check_integer("hidden", units, 1) for units in hidden)
    except TypeError as error:
        raise TypeError(must_be("hidden", "integers >= 1, one for each layer", hidden)) from error


def mlp(dropout: float = 0.0, hidden: Iterable[int] = (1000, 1000)) -> keras.Sequential:
    """Build the lecture's network: 28x28 pixels, two layers of 1000 ReLUs, 10 softmax outputs.

    Layers and model are named, so that variables have the same names in every run.

    Args:
        dropout: share of each hidden layer that is dropped in training, in [0, 1). The paper
            behind the slide's figure (Kingma & Ba, 2015, Figure 2a) trains with dropout but
            does not give the rate; 0.5 is usual. Defaults to 0, no dropout.
        hidden: units of each hidden layer. Defaults to the lecture's.

    Returns:
        An uncompiled `keras.Sequential`; the lecture's has 1,796,010 weights. It takes
        `(batch, 28, 28)` raw pixels in uint8, 0 to 255, and refuses others with a TypeError. It
        scales them to [0, 1] itself, so that a pixel travels to a GPU as one byte. It returns
        `(batch, 10)` probabilities.

    Raises:
        TypeError: `dropout` is not a number, or `hidden` has no integers.
        ValueError: `dropout` is not in [0, 1), or a layer has fewer than 1 unit.

    Example:

    >>> model = keras_lecture_opt.mnist.mlp()
    >>> [weights.path for weights in model.trainable_variables[:2]]
    ['mlp/hidden_1/kernel', 'mlp/hidden_1/bias']
    """
    dropout, hidden = check_network(dropout, hidden)
    layers = [
        keras.Input((28, 28), dtype="uint8", name="pixels"),
        keras.layers.Rescaling(1 / 255, name="scale"),
        keras.layers.Flatten(name="flatten"),
    ]
    for i, units in enumerate(hidden, start=1):
        layers.append(keras.layers.Dense(units, activation="relu", name=f"hidden_{i}"))
        if dropout:
            layers.append(keras.layers.Dropout(dropout, name=f"dropout_{i}"))
    layers.append(keras.layers.Dense(10, activation="softmax", name="output"))
    return PixelNetwork(layers, name="mlp")
