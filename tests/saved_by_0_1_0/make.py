"""Save one half-trained model of each rule: run with version 0.1.0 of the package, never again.

    python tests/saved_by_0_1_0/make.py

`RULE.keras` is a model after two epochs. `continued.npz` holds what version 0.1.0 made of it in two
more epochs: weights and optimizer variables, by rule and position. `mlp.keras` is a small
`mnist.mlp` with its predictions for one batch. `test_serialization.py` reads all of them.
"""

import pathlib

import keras
import numpy as np

import keras_lecture_opt

FOLDER = pathlib.Path(__file__).parent
SETTINGS = {"momentum": 0.75, "rho": 0.5, "beta_1": 0.5, "beta_2": 0.75, "epsilon": 0.25}
RULES = (
    "SteepestDescent",
    "Momentum",
    "Nesterov",
    "AdaGrad",
    "RMSProp",
    "SimplifiedAdam",
    "Adam",
)


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(64, 5)).astype("float32"), rng.normal(size=(64, 1)).astype("float32")


def pixels():
    return np.random.default_rng(1).integers(0, 256, size=(32, 28, 28), dtype="uint8")


def fit(model):
    model.fit(*data(), batch_size=16, epochs=2, shuffle=False, verbose=0)


def main():
    assert keras_lecture_opt.__version__ == "0.1.0"
    continued = {}
    for name in RULES:
        keras.utils.set_random_seed(1)
        rule = getattr(keras_lecture_opt, name)
        own = {k: v for k, v in SETTINGS.items() if k in rule().get_config()}
        layers = [keras.Input((5,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
        model = keras.Sequential(layers, name="model")
        model.compile(rule(0.125, **own, name="mine", weight_decay=0.01, clipnorm=2.0), "mse")
        fit(model)
        model.save(FOLDER / f"{name}.keras")
        fit(model)
        for i, variable in enumerate(model.weights + model.optimizer.variables):
            continued[f"{name}/{i}"] = variable.numpy()
    mlp = keras_lecture_opt.mnist.mlp(dropout=0.5, hidden=(3, 2))
    mlp.compile(keras_lecture_opt.Adam(), "sparse_categorical_crossentropy")
    mlp.fit(pixels(), np.arange(32) % 10, verbose=0)
    mlp.save(FOLDER / "mlp.keras")
    continued["mlp"] = mlp.predict(pixels(), verbose=0)
    np.savez_compressed(FOLDER / "continued.npz", **continued)


if __name__ == "__main__":
    main()
