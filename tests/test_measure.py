"""How rates are counted: quantiles, shares, and the shapes of the maps."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import MUON_WORKS, RULES
from keras import optimizers
from monitored import QUANTILES, fit, network

from keras_lecture_opt import (
    EffectiveLearningRateMonitor,
    LectureOptimizer,
    effective_learning_rate,
)
from keras_lecture_opt._keras_formulas import FORMULAS
from keras_lecture_opt.monitor import _measure
from keras_lecture_opt.monitor._measure import indices, numbers_of_rates, rates_of, thin
from keras_lecture_opt.monitor._training import MonitoredVariable, map_shapes
from keras_lecture_opt.rates import missing_rate


def assert_quantiles(found, true):
    assert [*found] == [*QUANTILES]
    np.testing.assert_array_equal([*found.values()], true)


@pytest.mark.parametrize("rows", [300, 1])
def test_quantiles(rows):
    """Thirty orders of magnitude, of many weights or of few."""
    rng = np.random.default_rng(0)
    rates = np.exp(rng.normal(-3, 8, size=rows * 101)).astype("float32")
    updated = rng.random(rates.shape) < 0.75
    quantiles, bars, not_finite = _measure.summarize(rates, updated)
    true = np.quantile(rates[updated], [*QUANTILES.values()], method="inverted_cdf")
    assert_quantiles(quantiles, true)
    logs = np.log10(rates)
    for left, right, count in zip(_measure.EDGES[:-1], _measure.EDGES[1:], bars, strict=True):
        assert count == ((logs >= left) & (logs < right)).sum()
    assert not_finite == 0


@pytest.mark.parametrize("repeats", [1, 1000])
def test_rates_of_which_some_are_not_finite(repeats):
    rates = np.array([0.5, np.inf, -np.nan, 0.25, np.nan, 2.0, 0.0, 0.5], "float32")
    updated = np.array([1, 1, 1, 1, 0, 0, 1, 1], "bool")
    measured = _measure.summarize(np.tile(rates, repeats), np.tile(updated, repeats))
    quantiles, bars, not_finite = measured
    assert not_finite == 3 * repeats
    assert_quantiles(quantiles, [0, 0, 0.25, 0.5, 0.5])
    assert sum(bars) == 5 * repeats
    nothing = np.zeros(8 * repeats, "bool")
    assert _measure.summarize(np.tile(rates, repeats), nothing)[0] == {}


def test_maps_average_logarithms():
    rates = np.float32([[1, 10, 100, 0], [np.nan, 1000, 10, 1]]).ravel()
    updated = np.array([[1, 1, 1, 1], [1, 1, 1, 0]], "bool").ravel()
    np.testing.assert_allclose(
        _measure.map_rates(rates, updated, (2, 2)), [[0.5, 2], [3, 1]], rtol=1e-6
    )
    assert np.isnan(_measure.map_rates(rates, ~updated, (4, 2))[:3]).all()
    wide = _measure.map_rates(np.ones(200, "float32"), np.ones(200, "bool"), (200, 1))
    np.testing.assert_allclose(wide, np.zeros((64, 1)), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", [(), (7,), (150, 150)])
@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_steps_of_every_type_in_place_and_as_tensors(shape, dtype, scale):
    """Of a GPU's variables and of half precision the copy is a tensor."""
    rng = np.random.default_rng(0)
    variable = keras.Variable(rng.normal(size=shape), dtype=dtype)
    copies = [_measure.copy(variable), tf.identity(variable)]
    before = np.asarray(copies[1], "float64")
    variable.assign_add(tf.cast(scale * rng.normal(size=shape), dtype))
    after = np.asarray(tf.convert_to_tensor(variable), "float64")
    true = [np.sqrt(np.mean(np.square(w))) for w in (after - before, before, after)]
    tolerance = 1e-12 if dtype == "float64" or before.size < 100 else 1e-6
    for copy in copies:
        measured = _measure.movement(copy, tf.convert_to_tensor(variable))
        np.testing.assert_allclose(measured, true, rtol=tolerance)
    on_a_cpu = "CPU" in copies[1].device
    assert isinstance(copies[0], np.ndarray) == (on_a_cpu and dtype in ("float32", "float64"))


@pytest.mark.parametrize("as_it_is", [np.asarray, tf.convert_to_tensor])
def test_steps_whose_squares_float32_holds_badly(as_it_is):
    """1e-42, the square, has 10 bits there."""
    before, after = (np.full(1 << 15, 1e-21 * i, "float32") for i in (2, 3))
    measured = _measure.movement(as_it_is(before), tf.convert_to_tensor(after))
    np.testing.assert_allclose(measured, [1e-21, 2e-21, 3e-21], rtol=1e-6)


@pytest.mark.parametrize("shape", [(None, 3), (None, None, 3), (4,), (3, 4, 5, 6)])
def test_maps_of_inputs_that_are_no_images_or_of_any_size(shape):
    class Model:
        input_shape = (None, *shape)

    variable = keras.Variable(np.ones((12, 2)))
    assert map_shapes([variable], Model) == {id(variable): (12, 2)}


ELEMENTWISE = [*RULES, *(cls for cls in FORMULAS if FORMULAS[cls].elementwise)]
if not MUON_WORKS:
    ELEMENTWISE.remove(optimizers.Muon)


@pytest.mark.parametrize("cls", ELEMENTWISE, ids=lambda cls: cls.__name__)
def test_medians_of_all_variables_at_once(cls):
    rng = np.random.default_rng(0)
    shapes = [(300,), (2,), (5, 4), (4096, 10), (1,), ()]
    optimizer = cls(learning_rate=2.0**-6)
    variables = [keras.Variable(rng.normal(size=shape), dtype="float32") for shape in shapes]
    optimizer.build(variables)
    monitored = [MonitoredVariable(str(i), v, optimizer) for i, v in enumerate(variables)]
    monitored = [m for m in monitored if missing_rate(optimizer, m.variable) is None]
    for _ in range(2):
        gradients = [rng.normal(size=shape).astype("float32") for shape in shapes]
        gradients[3][:, 0] *= 100  # a column that is not like the others
        optimizer.apply([tf.constant(g) for g in gradients], variables)
        eta = {id(optimizer): tf.constant(2.0**-6, tf.float64)}
        measured = rates_of(monitored, eta, False, {m.name: {} for m in monitored})
        found = {m.name: numbers_of_rates(m, *rates, False) for m, *rates in measured}
        for m in monitored:
            rates = effective_learning_rate(optimizer, m.variable).numpy()
            true = np.quantile(rates, 0.5, method="inverted_cdf")
            [median] = found[m.name].values()
            assert median == pytest.approx(true, rel=1e-6 if rates.size < 4096 else 0.05)


class LayerWise(LectureOptimizer):
    """A rule of a user's own, which takes norms of matrices from the second step on."""

    slot_names = ("m",)

    def __init__(self, learning_rate=0.01, name="layer_wise"):
        super().__init__(learning_rate, name)

    def update_step(self, gradient, variable, learning_rate):
        [m] = self.slots(variable)
        self.assign(m, gradient)
        rate = self.effective_learning_rate(variable, learning_rate, self.iterations + 1)
        self.assign_sub(variable, rate * m)

    def effective_learning_rate(self, variable, learning_rate, t=None):
        [m] = self.slots(variable)
        eta = tf.cast(learning_rate, m.dtype)
        t = self.iterations if t is None else t
        return eta / tf.norm(m) if len(m.shape) > 1 and t > 1 else eta


@pytest.mark.parametrize("cls", [optimizers.Lamb, optimizers.Adafactor, LayerWise])
def test_medians_of_rules_that_take_norms(cls):
    """All rates are 0 at the first step, and alike."""
    model = network(cls(optimizers.schedules.PolynomialDecay(0.0, 100, 0.01)), run_eagerly=True)
    monitor = EffectiveLearningRateMonitor(update_freq="batch")
    true = []

    class Truth(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            for v in self.model.trainable_variables:
                rates = effective_learning_rate(self.model.optimizer, v).numpy()
                if v.shape == (4, 8) and cls is optimizers.Lamb:
                    rates = rates[1:]  # the first input is dead, which Lamb's state shows
                true.append(np.quantile(rates, 0.5, method="inverted_cdf"))

    fit(model, monitor, Truth(), epochs=1)
    found = [row.value for row in monitor.history.select("effective_lr")]
    assert found == pytest.approx(true, rel=1e-6)
    assert len({*found}) > 7


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_sample_has_the_chosen_weights(dtype):
    """TensorFlow gives NumPy no bfloat16 in place."""
    x = tf.cast(tf.reshape(tf.range(10_000), [100, 100]), dtype)
    np.testing.assert_array_equal(thin(x), x.numpy().ravel()[indices(10_000)])
    np.testing.assert_array_equal(thin(x[:2]), x[:2].numpy().ravel())
