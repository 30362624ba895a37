"""The data loader: the original images, without a network, and clear errors."""

import gzip
import resource
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from keras_lecture_opt import mnist


def original(name, header):
    return np.frombuffer(gzip.open(mnist.ARCHIVES / name).read(), np.uint8, offset=header)


def in_one_order(images, labels):
    rows = np.column_stack([images.reshape(len(labels), 784), labels])
    return rows[np.lexsort(rows.T[::-1])]


@pytest.mark.parametrize(("part", "prefix", "n"), [(0, "train", 60_000), (1, "t10k", 10_000)])
def test_it_is_the_original_mnist(mnist_data, part, prefix, n):
    """Every image with its label, as in the archives; only the order is TFDS's."""
    images, labels = mnist_data[part]
    assert (images.shape, images.dtype) == ((n, 28, 28), np.uint8)
    assert (labels.shape, labels.dtype) == ((n,), np.uint8)
    expected = original(f"{prefix}-images-idx3-ubyte.gz", 16).reshape(n, 28, 28)
    expected_labels = original(f"{prefix}-labels-idx1-ubyte.gz", 8)
    np.testing.assert_array_equal(
        in_one_order(images, labels), in_one_order(expected, expected_labels)
    )


def test_order_is_the_same_in_every_run(mnist_data, mnist_dir):
    (x, y), _ = mnist.load(mnist_dir)
    np.testing.assert_array_equal(x, mnist_data[0][0])
    np.testing.assert_array_equal(y, mnist_data[0][1])


def test_no_network_is_needed(tmp_path, monkeypatch):
    def refuse(*args):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    (x_train, _), (x_test, _) = mnist.load(tmp_path)
    assert len(x_train) == 60_000
    assert len(x_test) == 10_000
    assert (tmp_path / "mnist" / "3.0.1").is_dir()


def test_environment_variable_names_the_folder(mnist_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(mnist_dir))
    monkeypatch.setattr(mnist, "ARCHIVES", tmp_path)  # nothing there: it must not be made anew
    assert mnist.load()[1][0].shape == (10_000, 28, 28)


def test_argument_comes_before_the_environment_variable(mnist_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    mnist.load(str(mnist_dir))
    assert not (tmp_path / "elsewhere").exists()


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
    with pytest.raises(OSError, match=r"(?s)cannot be made in .*file.*TFDS_DATA_DIR"):
        mnist.load(tmp_path / "file" / "folder")


def test_full_folder(tmp_path):
    """A limit on the size of files stands in for a full disk, which would need root."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from keras_lecture_opt import mnist; mnist.load({str(tmp_path)!r})",
        ],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"OSError: MNIST cannot be made in {tmp_path}" in done.stderr
    assert "has 150 MB free" in done.stderr


def test_damaged_data_set(mnist_dir, tmp_path):
    shutil.copytree(mnist_dir / "mnist", tmp_path / "mnist")
    [records] = (tmp_path / "mnist").glob("3.0.1/*train*")
    records.write_bytes(records.read_bytes()[:-1000])
    with pytest.raises(OSError, match=r"(?s)cannot be read from .*delete that folder"):
        mnist.load(tmp_path)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_damaged_metadata(mnist_dir, tmp_path, name):
    shutil.copytree(mnist_dir / "mnist", tmp_path / "mnist")
    (tmp_path / "mnist" / "3.0.1" / name).write_text("{")
    with pytest.raises(OSError, match=r"(?s)cannot be read from .*3\.0\.1.*delete that folder"):
        mnist.load(tmp_path)


def test_another_process_makes_it_at_the_same_time(mnist_dir, tmp_path, monkeypatch):
    def too_late(*args, **kwargs):
        shutil.copytree(mnist_dir / "mnist", tmp_path / "mnist", dirs_exist_ok=True)
        raise FileExistsError("Cannot rename")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", too_late)
    assert mnist.load(tmp_path)[0][0].shape == (60_000, 28, 28)
