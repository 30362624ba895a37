"""Batches of examples that lie in memory."""

import numpy as np

from keras_lecture_opt import _batches

X, Y = np.arange(30.0).reshape(10, 3), np.arange(10)


def labels(dataset):
    return [y.tolist() for _, y in dataset.as_numpy_iterator()]


def test_in_order():
    dataset = _batches.in_order(({"x": X}, Y), 4)
    x, y = zip(*dataset.as_numpy_iterator(), strict=True)
    assert [len(batch) for batch in y] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in x]), X)
    np.testing.assert_array_equal(np.concatenate(y), Y)
    assert len(dataset) == 3  # for the progress bar
    assert dataset.element_spec[0]["x"].dtype == X.dtype


def test_shuffled():
    dataset = _batches.shuffled((X, Y), 4, seed=0)
    epochs = [labels(dataset), labels(dataset)]
    again = _batches.shuffled((X, Y), 4, seed=0)
    assert epochs == [labels(again), labels(again)]
    assert epochs[0] != epochs[1] != labels(_batches.shuffled((X, Y), 4, seed=1))
    for epoch in epochs:
        assert sorted(np.concatenate(epoch)) == Y.tolist()
    for x, y in dataset.as_numpy_iterator():
        np.testing.assert_array_equal(x, X[y])


def test_no_iterator_waits_for_the_tuner():
    for dataset in (_batches.in_order(X, 4), _batches.shuffled(X, 4, seed=0)):
        assert dataset.options().autotune.enabled is False
