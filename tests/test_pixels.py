"""Which pixels the network takes: raw ones in uint8. Others, which would be black, are refused."""

import keras
import numpy as np
import pytest

from keras_lecture_opt import mnist

MESSAGE = r"must be uint8, .*not {}\. It scales them to \[0, 1\] itself: do not divide them by 255"
CALLS = {
    "fit": lambda model, x, y: model.fit(x, y, verbose=0),
    "fit, validation": lambda model, x, y: model.fit(
        np.zeros((8, 28, 28), "uint8"), y, validation_data=(x, y), verbose=0
    ),
    "evaluate": lambda model, x, y: model.evaluate(x, y, verbose=0),
    "predict": lambda model, x, y: model.predict(x, verbose=0),
    "train_on_batch": lambda model, x, y: model.train_on_batch(x, y),
    "call": lambda model, x, y: model(x),
}


def each_call(test):
    """With a validation, `fit` takes what it takes alone."""
    calls = [pytest.param(name, marks=pytest.mark.full if name == "fit" else ()) for name in CALLS]
    return pytest.mark.parametrize("call", calls)(test)


def network():
    model = mnist.mlp(hidden=(16,))
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def digits():
    """Stripes instead of digits: quick to learn."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 256)
    x = rng.integers(0, 50, (256, 28, 28))
    x[y == 1, :, ::2] += 200
    return x.astype("uint8"), y


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The network, and what a file of it gives."""
    model, file = network(), tmp_path_factory.mktemp("saved") / "model.keras"
    model.optimizer.build(model.trainable_variables)  # else Keras warns when it loads
    model.save(file)
    return {"new": model, "loaded": keras.models.load_model(file)}


@pytest.mark.parametrize("which", ["new", pytest.param("loaded", marks=pytest.mark.full)])
@each_call
def test_other_pixels_are_refused(models, which, call):
    model, (x, y) = models[which], digits()
    x, y = x[:8], y[:8]
    with_nan = (x / 255).astype("float32")
    with_nan[0, 0, 0] = np.nan
    wrong = {
        "float32": [(x / 255).astype("float32"), x.astype("float32"), with_nan],
        "int32": [x.astype("int32")],
    }
    before = model.get_weights()
    for dtype, arrays in wrong.items():
        for pixels in arrays:
            with pytest.raises(TypeError, match=MESSAGE.format(dtype)):
                CALLS[call](model, pixels, y)
    if call != "fit, validation":  # which trains before it validates
        for was, weights in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(was, weights)


def test_raw_pixels_train_before_and_after_a_file(tmp_path):
    (x, y), model = digits(), network()
    history = model.fit(x, y, epochs=5, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert history["accuracy"][-1] > 0.95
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    np.testing.assert_allclose(model(x), model.predict(x, verbose=0), rtol=1e-5)
    assert loaded.evaluate(x, y, verbose=0)[1] > 0.95


@each_call
def test_right_pixels_work_after_a_refusal(call):
    """TensorFlow cannot call a function again whose first trace has failed."""
    (x, y), model = digits(), network()
    x, y = x[:8], y[:8]
    with pytest.raises(TypeError, match="must be uint8"):
        CALLS[call](model, x / 255, y)
    CALLS[call](model, x, y)
