"""The data loader: the original images, without a network, and clear errors."""

import contextlib
import resource
import shutil
import socket

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from digits import digits, small_build

from keras_lecture_opt import mnist


def in_one_order(images, labels):
    rows = np.column_stack([images.reshape(len(labels), 784), labels])
    return np.sort(rows.view("V785"), axis=0)


def assert_is_the_original(data, **sizes):
    """Every image with its label, as in the archives; only the order is TFDS's."""
    for (images, labels), (part, n) in zip(data, sizes.items(), strict=True):
        assert (images.shape, images.dtype) == ((n, 28, 28), np.uint8)
        assert (labels.shape, labels.dtype) == ((n,), np.uint8)
        np.testing.assert_array_equal(in_one_order(images, labels), in_one_order(*digits(part, n)))


@pytest.mark.full
def test_it_is_the_original_mnist():
    assert_is_the_original(mnist.load(), train=60_000, t10k=10_000)


@pytest.fixture(scope="module")
def small_dir(tmp_path_factory):
    """A folder with a small data set, built where there is no network."""

    def refuse(*args):
        raise AssertionError("the network was asked")

    folder = tmp_path_factory.mktemp("small")
    with small_build() as patch:
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.setattr(socket.socket, "connect", refuse)
        mnist.load(folder)
    return folder


def test_no_network_is_needed(small_dir):
    (x_train, _), (x_test, _) = mnist.load(small_dir)
    assert len(x_train) == 600
    assert len(x_test) == 100
    assert (small_dir / "mnist" / "3.0.1").is_dir()


def test_the_first_images_are_the_original_ones(small_dir):
    assert_is_the_original(mnist.load(small_dir), train=600, t10k=100)


def test_order_is_the_same_in_every_run(small_dir, tmp_path):
    with small_build():
        again = mnist.load(tmp_path)
    for one, other in zip(mnist.load(small_dir), again, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def examples(file):
    records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    return [tf.train.Example.FromString(record) for record in records]


def test_it_is_built_as_tfds_builds_it(small_dir, tmp_path):
    with small_build():
        official = tfds.builder("mnist:3.0.1", data_dir=tmp_path)
        config = tfds.download.DownloadConfig(manual_dir=mnist.ARCHIVES, try_download_gcs=False)
        official.download_and_prepare(download_config=config)
    ours = {file.name: file for file in small_dir.glob("mnist/3.0.1/*")}
    assert set(ours) == {file.name for file in tmp_path.glob("mnist/3.0.1/*")}
    for name, file in ours.items():
        other = tmp_path / "mnist" / "3.0.1" / name
        if ".tfrecord-" in name:  # whose bytes depend on the order of the features, which varies
            assert examples(file) == examples(other)
        else:
            assert file.read_bytes() == other.read_bytes()


def test_environment_variable_names_the_folder(small_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(small_dir))
    monkeypatch.setattr(mnist, "ARCHIVES", tmp_path)  # nothing there: it must not be built again
    assert mnist.load()[1][0].shape == (100, 28, 28)


def test_argument_comes_before_the_environment_variable(small_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    mnist.load(str(small_dir))
    assert not (tmp_path / "elsewhere").exists()


def test_home_folder_is_expanded(small_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(small_dir.parent))
    monkeypatch.setattr(mnist, "ARCHIVES", tmp_path)  # nothing there: it must not be built again
    assert len(mnist.load(f"~/{small_dir.name}")[1][1]) == 100
    monkeypatch.setenv("TFDS_DATA_DIR", f"~/{small_dir.name}")
    assert len(mnist.load()[1][1]) == 100


def test_folder_must_be_a_path():
    for folder, error in ((b"data", TypeError), (3, TypeError), ("", ValueError)):
        with pytest.raises(error, match=f"`data_dir` must be a .*not {folder!r}"):
            mnist.load(folder)


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """A copy of the archives that a test may damage."""
    copy = shutil.copytree(mnist.ARCHIVES, tmp_path / "archives")
    monkeypatch.setattr(mnist, "ARCHIVES", copy)
    return copy


def test_damaged_archive_is_named(archives, tmp_path):
    victim = archives / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(victim.read_bytes())
    content[1000] ^= 1
    victim.write_bytes(content)
    with pytest.raises(RuntimeError, match=r"t10k-labels.*damaged\. Install .* again"):
        mnist.load(tmp_path)


def test_missing_archive_is_named(archives, tmp_path):
    (archives / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(RuntimeError, match=r"train-images.*is missing"):
        mnist.load(tmp_path)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"(?s)cannot be built in .*file.*TFDS_DATA_DIR"):
        mnist.load(tmp_path / "file" / "folder")


@contextlib.contextmanager
def limit_file_size(limit):
    """Stands in for a full disk, which would need root."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_folder(tmp_path):
    message = f"MNIST cannot be built in {tmp_path}(?s:.*) 150 MB free"
    with small_build(), limit_file_size(2**16), pytest.raises(OSError, match=message):
        mnist.load(tmp_path)


def test_damaged_data_set(small_dir, tmp_path):
    shutil.copytree(small_dir / "mnist", tmp_path / "mnist")
    [records] = (tmp_path / "mnist").glob("3.0.1/*train*")
    records.write_bytes(records.read_bytes()[:-1000])
    with pytest.raises(OSError, match=r"(?s)cannot be read from .*delete that folder"):
        mnist.load(tmp_path)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_damaged_metadata(small_dir, tmp_path, name):
    shutil.copytree(small_dir / "mnist", tmp_path / "mnist")
    (tmp_path / "mnist" / "3.0.1" / name).write_text("{")
    with pytest.raises(OSError, match=r"(?s)cannot be read from .*3\.0\.1.*delete that folder"):
        mnist.load(tmp_path)


def test_another_process_builds_it_at_the_same_time(small_dir, tmp_path, monkeypatch):
    def too_late(*args, **kwargs):
        shutil.copytree(small_dir / "mnist", tmp_path / "mnist", dirs_exist_ok=True)
        raise FileExistsError("Cannot rename")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", too_late)
    assert mnist.load(tmp_path)[0][0].shape == (600, 28, 28)
