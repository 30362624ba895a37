"""Saving, loading and resuming: an optimizer comes back with its class, arguments and state."""

import copy
import json
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(64, 5)).astype("float32"), RNG.normal(size=(64, 1)).astype("float32")


def model_with(optimizer):
    keras.utils.set_random_seed(1)
    layers = [keras.Input((5,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)]
    model = keras.Sequential(layers, name="model")
    model.compile(optimizer=optimizer, loss="mse")
    return model


def fit(model, epochs):
    model.fit(X, Y, batch_size=16, epochs=epochs, shuffle=False, verbose=0)
    return model


def assert_equal(model, other):
    """Weights and the optimizer's whole state, bit for bit."""
    a, b = (m.weights + m.optimizer.variables for m in (model, other))
    assert [v.shape for v in a] == [v.shape for v in b]
    for v, w in zip(a, b, strict=True):
        np.testing.assert_array_equal(v.numpy(), w.numpy())


# Each as a user may set it: everything that differs from the default must come back.
OWN = {"momentum": 0.75, "rho": 0.5, "beta_1": 0.5, "beta_2": 0.75, "epsilon": 0.25}
BASE = {
    "learning_rate": 0.125,
    "name": "mine",
    "weight_decay": 0.5,
    "clipnorm": 2.0,
    "use_ema": True,
    "ema_momentum": 0.5,
    "ema_overwrite_frequency": 3,
    "loss_scale_factor": 4.0,
    "gradient_accumulation_steps": 2,
}


def unusual(rule):
    default = rule().get_config()
    return rule(**BASE, **{k: v for k, v in OWN.items() if k in default})


def test_config_comes_back(rule):
    config = json.loads(json.dumps(unusual(rule).get_config()))
    assert rule.from_config(config).get_config() == unusual(rule).get_config()
    assert config.items() >= BASE.items()
    assert {k: v for k, v in config.items() if k in OWN} == {
        k: v for k, v in OWN.items() if k in config
    }


def test_schedule_comes_back(rule):
    optimizer = rule(keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9))
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()


def test_keras_finds_our_class_by_its_registered_name(rule):
    """Keras has an Adam, an Adagrad and an RMSprop, too, and ignores case."""
    serialized = keras.optimizers.serialize(unusual(rule))
    assert serialized["registered_name"] == f"keras_lecture_opt>{rule.__name__}"
    again = keras.optimizers.deserialize(json.loads(json.dumps(serialized)))
    assert type(again) is rule
    assert again.get_config() == unusual(rule).get_config()


def test_saved_model_resumes_bit_for_bit(rule, tmp_path):
    uninterrupted = fit(model_with(rule(0.01)), 4)
    fit(model_with(rule(0.01)), 2).save(tmp_path / "model.keras")
    resumed = keras.models.load_model(tmp_path / "model.keras")
    assert type(resumed.optimizer) is rule
    assert_equal(fit(resumed, 2), uninterrupted)


def test_checkpoint_resumes_bit_for_bit(rule, tmp_path):
    uninterrupted = fit(model_with(rule(0.01)), 4)
    half = fit(model_with(rule(0.01)), 2)
    path = tf.train.Checkpoint(model=half, optimizer=half.optimizer).save(tmp_path / "checkpoint")
    resumed = model_with(rule(0.5))
    resumed.optimizer.build(resumed.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=resumed, optimizer=resumed.optimizer)
    checkpoint.restore(path).assert_consumed()
    assert_equal(fit(resumed, 2), uninterrupted)


def test_saved_weights_resume_bit_for_bit(rule, tmp_path):
    uninterrupted = fit(model_with(rule(0.01)), 4)
    fit(model_with(rule(0.01)), 2).save_weights(tmp_path / "model.weights.h5")
    resumed = model_with(rule(0.5))
    resumed.optimizer.build(resumed.trainable_variables)
    resumed.load_weights(tmp_path / "model.weights.h5")
    assert_equal(fit(resumed, 2), uninterrupted)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copied_model_resumes_bit_for_bit(rule, duplicate):
    uninterrupted = fit(model_with(rule(0.01)), 4)
    copied = duplicate(fit(model_with(rule(0.01)), 2))
    assert type(copied.optimizer) is rule
    assert_equal(fit(copied, 2), uninterrupted)


def test_untrained_optimizer_pickles(rule):
    again = pickle.loads(pickle.dumps(unusual(rule)))
    assert type(again) is rule
    assert again.get_config() == unusual(rule).get_config()


SLOTS = {
    "SteepestDescent": [],
    "Momentum": ["velocity"],
    "Nesterov": ["velocity"],
    "AdaGrad": ["sum_of_squares"],
    "RMSProp": ["mean_of_squares"],
    "SimplifiedAdam": ["first_moment", "second_moment"],
    "Adam": ["first_moment", "second_moment"],
}


def test_order_and_names_of_the_state_are_a_file_format(rule):
    """Files hold the state by position: what changes here makes old files load wrongly."""
    optimizer = rule()
    optimizer.build([keras.Variable(np.zeros(2), name=name) for name in ("a", "b")])
    name = optimizer.name
    assert [v.path for v in optimizer.variables] == [
        f"{name}/iteration",
        f"{name}/learning_rate",
        *(f"{name}/{v}_{slot}" for v in ("a", "b") for slot in SLOTS[rule.__name__]),
    ]
