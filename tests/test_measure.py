"""How rates are counted: quantiles, shares, and the shapes of the maps."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import Muon
from monitored import QUANTILES

from keras_lecture_opt import effective_learning_rate
from keras_lecture_opt._keras_formulas import FORMULAS
from keras_lecture_opt.monitor import _measure, _sample
from keras_lecture_opt.monitor._variables import MonitoredVariable, map_shapes
from keras_lecture_opt.rates import missing_rate
from keras_lecture_opt.rules import RULES


@pytest.mark.parametrize("chunk", [_measure.CHUNK, 1000])
def test_quantiles_of_many_weights(chunk, monkeypatch):
    """Thirty orders of magnitude, counted at once or in chunks."""
    monkeypatch.setattr(_measure, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    rates = np.exp(rng.normal(-3, 8, size=(300, 101))).astype("float32")
    updated = rng.random(rates.shape) < 0.75
    updated[:30] = False  # some chunks have none
    # Called as Python: the traced function keeps the chunks that it was traced with.
    summarize = _measure.summarize.python_function
    measured = summarize(tf.constant(rates.ravel()), tf.constant(updated.ravel()))
    true = np.quantile(rates[updated], [*QUANTILES.values()], method="inverted_cdf")
    np.testing.assert_allclose(measured["quantiles"], true, rtol=4e-3)
    np.testing.assert_array_equal(measured["quantiles"].numpy()[[0, -1]], true[[0, -1]])
    assert measured["never_updated"].numpy() == pytest.approx(1 - updated.mean())
    assert measured["bars"].numpy().sum() == rates.size
    assert measured["not_finite"] == 0


def test_rates_of_which_some_are_not_finite():
    rates = np.array([0.5, np.inf, -np.nan, 0.25, np.nan, 2.0, 0.0, 0.5], "float32")
    updated = np.array([1, 1, 1, 1, 0, 0, 1, 1], "bool")
    measured = _measure.summarize(tf.constant(rates), tf.constant(updated))
    assert measured["not_finite"] == 3
    assert measured["never_updated"] == 0.25
    np.testing.assert_allclose(measured["quantiles"], [0, 0, 0.25, 0.5, 0.5], rtol=4e-3)
    assert sum(measured["bars"]) == 5


@pytest.mark.parametrize("shape", [(None, 3), (None, None, 3), (4,), (3, 4, 5, 6)])
def test_maps_of_inputs_that_are_no_images_or_of_any_size(shape):
    class Model:
        input_shape = (None, *shape)

    variable = keras.Variable(np.ones((12, 2)))
    assert map_shapes([variable], Model) == {id(variable): (12, 2)}


# Keras 3.12's own Muon fails on TensorFlow.
OF_KERAS = [cls for cls in FORMULAS if cls is not Muon or not keras.version().startswith("3.12.")]
WITH_NORMS = ("Lamb", "Adafactor")


@pytest.mark.parametrize("cls", [*RULES, *OF_KERAS], ids=lambda cls: cls.__name__)
def test_medians_of_samples(cls):
    """Of all variables at once, and only where that comes to the same."""
    rng = np.random.default_rng(0)
    shapes = [(300,), (2,), (5, 4), (70, 3, 70), (1,), ()]
    optimizer = cls(learning_rate=2.0**-6)
    variables = [keras.Variable(rng.normal(size=shape), dtype="float32") for shape in shapes]
    optimizer.build(variables)
    monitored = [MonitoredVariable(str(i), v, optimizer) for i, v in enumerate(variables)]
    monitored = [m for m in monitored if missing_rate(optimizer, m.variable) is None]
    for _ in range(2):  # at first it tries what can be sampled
        gradients = [rng.normal(size=shape).astype("float32") for shape in shapes]
        optimizer.apply([tf.constant(g) for g in gradients], variables)
        eta = {id(optimizer): tf.constant(2.0**-6, tf.float64)}
        sizes = {m.name: np.sqrt(np.mean(m.variable.numpy() ** 2)) for m in monitored}
        measured = _sample.measure_all_rates(monitored, eta, False, sizes)
        for m in monitored:
            rates = effective_learning_rate(optimizer, m.variable).numpy().ravel()
            rates = rates[:: -(-rates.size // 2048)]
            median = np.quantile(rates, 0.5, method="inverted_cdf")
            assert measured[m.name]["median"] == pytest.approx(median, rel=1e-6)
    assert {m.can_sample for m in monitored} == {cls.__name__ not in WITH_NORMS}
