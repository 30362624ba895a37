"""Saving, loading and resuming: an optimizer comes back with its class, arguments and state."""

import copy
import itertools
import json
import pathlib
import pickle

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from common import OLDEST_KERAS, imported
from linear import SideBySide

import keras_lecture_opt

pytestmark = pytest.mark.usefixtures("compiled_updates")


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(64, 5)).astype("float32"), rng.normal(size=(64, 1)).astype("float32")


def model_with(optimizer):
    keras.utils.set_random_seed(1)
    layers = [keras.Input((5,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)]
    model = keras.Sequential(layers, name="model")
    model.compile(optimizer=optimizer, loss="mse")
    return model


def fit(models, **arguments):
    arguments = {"batch_size": 16, "shuffle": False, "verbose": 0, **arguments}
    SideBySide(list(models)).fit(*data(), **arguments)


def state(model):
    """Weights and the optimizer's whole state."""
    return [v.numpy() for v in model.weights + model.optimizer.variables]


def assert_equal(state, other):
    """Bit for bit."""
    for v, w in zip(state, other, strict=True):
        np.testing.assert_array_equal(v, w, strict=True)


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


def saved_as_a_model(rule, half, folder):
    half.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def saved_as_a_checkpoint(rule, half, folder):
    path = tf.train.Checkpoint(model=half, optimizer=half.optimizer).save(folder / "checkpoint")
    resumed = model_with(rule(0.5))
    resumed.optimizer.build(resumed.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=resumed, optimizer=resumed.optimizer)
    checkpoint.restore(path).assert_consumed()
    return resumed


def saved_as_weights(rule, half, folder):
    half.save_weights(folder / "model.weights.h5")
    resumed = model_with(rule(0.5))
    resumed.optimizer.build(resumed.trainable_variables)
    resumed.load_weights(folder / "model.weights.h5")
    return resumed


def copied(rule, half, folder):
    return copy.deepcopy(half)


def pickled(rule, half, folder):
    return pickle.loads(pickle.dumps(half))


WAYS = [saved_as_a_model, saved_as_a_checkpoint, saved_as_weights, copied, pickled]


@pytest.fixture(scope="module")
def trained(rules, tmp_path_factory):
    """The state after four epochs, by rule; and by rule and way, what resumed after two of them.

    That is the resumed model, its state before it was trained, and the state it should have had.
    """
    models = {rule: model_with(rule(0.01)) for rule in rules}
    resumed = {}

    def save(epoch, logs):
        if epoch == 1:
            for rule, way in itertools.product(rules, WAYS):
                model = way(rule, models[rule], tmp_path_factory.mktemp("saved"))
                resumed[rule, way] = model, state(model), state(models[rule])

    fit(models.values(), epochs=4, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=save)])
    full = {rule: state(model) for rule, model in models.items()}
    fit([model for model, *_ in resumed.values()], epochs=2)
    return full, resumed


@pytest.mark.alike
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_training_resumes_bit_for_bit(rule, way, trained):
    full, resumed = trained
    model, loaded, half = resumed[rule, way]
    assert type(model.optimizer) is rule
    assert_equal(loaded, half)
    assert_equal(state(model), full[rule])


SAVED = pathlib.Path(__file__).parent / "saved_by_0_1_0"
make = imported(SAVED / "make.py")
saved_by_a_newer_keras = pytest.mark.skipif(
    OLDEST_KERAS, reason="Keras 3.12 loads no layers that 3.15 has saved"
)


@pytest.fixture(scope="module")
def continued():
    """Load the models saved by version 0.1.0, and train them on."""
    models = {name: keras.models.load_model(SAVED / f"{name}.keras") for name in make.RULES}
    assert all(model.optimizer.iterations == 8 for model in models.values())
    make.fit(SideBySide(list(models.values())))
    return models


@saved_by_a_newer_keras
@pytest.mark.parametrize("name", make.RULES)
def test_model_saved_by_version_0_1_0_loads_and_continues(name, continued):
    """XLA may round a product and a sum once instead of twice."""
    expected = np.load(SAVED / "continued.npz")
    model = continued[name]
    assert type(model.optimizer) is getattr(keras_lecture_opt, name)
    variables = state(model)
    assert len(variables) == sum(key.startswith(f"{name}/") for key in expected)
    for i, v in enumerate(variables):
        np.testing.assert_allclose(v, expected[f"{name}/{i}"], rtol=1e-5, atol=1e-6)


@saved_by_a_newer_keras
def test_network_saved_by_version_0_1_0_predicts_the_same():
    model = keras.models.load_model(SAVED / "mlp.keras")
    expected = np.load(SAVED / "continued.npz")["mlp"]
    np.testing.assert_allclose(model.predict(make.pixels(), verbose=0), expected, rtol=1e-5)
    assert model.optimizer.iterations == 1


def test_untrained_optimizer_pickles(rule):
    again = pickle.loads(pickle.dumps(unusual(rule)))
    assert type(again) is rule
    assert again.get_config() == unusual(rule).get_config()


def test_order_and_names_of_the_state_are_a_file_format(rule):
    """Files hold the state by position: what changes here makes old files load wrongly."""
    optimizer = rule()
    optimizer.build([keras.Variable(np.zeros(2), name=name) for name in ("a", "b")])
    name = optimizer.name
    assert [v.path for v in optimizer.variables] == [
        f"{name}/iteration",
        f"{name}/learning_rate",
        *(
            f"{name}/{v}_{slot}"
            for v in ("a", "b")
            for slot in reference.RULES[rule.__name__].slots
        ),
    ]
