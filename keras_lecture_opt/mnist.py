"""The lecture's last example: its data, MNIST, and its network, 784-1000-1000-10."""

import hashlib
import os
import pathlib

import keras

ARCHIVES = pathlib.Path(__file__).with_name("mnist_archives")


def load(data_dir=None):
    """Loads MNIST as `keras.datasets.mnist.load_data` does, but needs no network.

    The official TensorFlow Datasets builder (`mnist:3.0.1`) makes the data set, once, from the
    four original archives that come with this package; that takes some 10 s and 80 MB of disk.
    Both parts are in TFDS's order, which is fixed but not that of the archives.

    Args:
        data_dir: folder in which TFDS keeps its data sets. Defaults to the environment variable
            `TFDS_DATA_DIR`, or else to `~/tensorflow_datasets`.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: NumPy arrays of uint8. The images have shapes
        `(60000, 28, 28)` and `(10000, 28, 28)` and values from 0 to 255, the labels `(60000,)`
        and `(10000,)` and values from 0 to 9.

    Raises:
        RuntimeError: an archive of this installation is missing or damaged.
        OSError: the data set cannot be made or read in the folder: it is read-only, full, or
            holds a damaged copy.
    """
    import tensorflow_datasets as tfds  # only those who load data wait for this import

    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR")
    builder = _builder(data_dir)
    if not builder.is_prepared():
        _check_archives()
        try:
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(
                    manual_dir=ARCHIVES, try_download_gcs=False
                )
            )
        except Exception as error:  # TFDS passes on whatever was raised, wherever it was
            builder = _builder(data_dir)
            if not builder.is_prepared():  # nor has another process just made it
                raise OSError(
                    f"MNIST cannot be made in {builder.data_dir}: {error}\n"
                    "Name a folder that can be written to and has 150 MB free: "
                    "`load(data_dir=...)` or the environment variable TFDS_DATA_DIR."
                ) from error
    try:
        parts = tfds.as_numpy(
            builder.as_dataset(split=["train", "test"], batch_size=-1, as_supervised=True)
        )
    except Exception as error:
        raise _unreadable(builder.data_dir, error) from error
    return tuple((images[..., 0], labels.astype("uint8")) for images, labels in parts)


def _builder(data_dir):
    import tensorflow_datasets as tfds

    try:
        return tfds.builder("mnist:3.0.1", data_dir=data_dir)
    except Exception as error:  # it reads what is there already
        folder = pathlib.Path(data_dir or "~/tensorflow_datasets", "mnist", "3.0.1")
        raise _unreadable(folder, error) from error


def _unreadable(folder, error):
    return OSError(
        f"MNIST cannot be read from {folder}: {error}\n"
        "If the files there are damaged, delete that folder: it will be made anew."
    )


def _check_archives():
    """Raises before TFDS looks for a missing archive on the network, for over three minutes."""
    for line in (ARCHIVES / "SHA256SUMS").read_text().splitlines():
        expected, name = line.split()
        archive = ARCHIVES / name
        if not archive.exists() or hashlib.sha256(archive.read_bytes()).hexdigest() != expected:
            raise RuntimeError(
                f"{archive} is missing or damaged. Install keras_lecture_opt again: "
                "its packages hold the original file."
            )


def mlp(dropout=0.0, hidden=(1000, 1000)):
    """The lecture's network: 28x28 pixels, two hidden layers of 1000 ReLUs, 10 softmax outputs.

    Layers and model are named, so that variables have the same names in every run.

    Args:
        dropout: share of each hidden layer that is dropped in training, from 0 to 1. The paper
            behind the slide's figure (Kingma & Ba, 2015, Figure 2a) trains with dropout but
            does not give the rate; 0.5 is usual. Defaults to 0, no dropout.
        hidden: units of each hidden layer. Defaults to the lecture's.

    Returns:
        An uncompiled `keras.Sequential`; the lecture's has 1,796,010 weights. It takes
        `(batch, 28, 28)` raw pixels, 0 to 255, which it scales to [0, 1] itself so that they
        travel to a GPU as one byte each, and returns `(batch, 10)` probabilities.

    Example:

    >>> model = keras_lecture_opt.mnist.mlp()
    >>> [weights.path for weights in model.trainable_variables[:2]]
    ['mlp/hidden_1/kernel', 'mlp/hidden_1/bias']
    """
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
    return keras.Sequential(layers, name="mlp")
