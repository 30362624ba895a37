"""What a rule accepts, and what it says about what it does not."""

import inspect
import json

import keras
import numpy as np
import pytest

BAD = {
    "learning_rate": [-0.1, float("nan"), float("inf"), 1e300, 10**400, "0.1", None, True, [0.1]],
    "momentum": [1.5, -0.1, float("nan"), "0.9", None, False],
    "rho": [1.0, -0.1, float("nan"), "0.9", None],
    "beta_1": [1.0, -0.1, float("nan"), "0.9", 1j],
    "beta_2": [1, 1.5, float("nan"), "0.9", {}],
    "epsilon": [-1e-7, float("nan"), float("inf"), "1e-7", None],
    "weight_decay": [-1.0, float("nan"), "0.1"],
    "clipnorm": [0, -1.0, "1"],
    "clipvalue": [0.0, float("inf")],
    "global_clipnorm": [-1, float("nan")],
    "ema_momentum": [1.5, "0.9"],
    "ema_overwrite_frequency": [0, 2.5],
    "loss_scale_factor": [0, -2.0],
    "gradient_accumulation_steps": [1, 2.5, "2"],
}


@pytest.mark.parametrize("argument", BAD)
def test_bad_value_is_named(rule, argument):
    own = inspect.signature(rule).parameters
    if argument in ("momentum", "rho", "beta_1", "beta_2", "epsilon") and argument not in own:
        with pytest.raises(ValueError, match=f"not recognized.*{argument}"):
            rule(**{argument: 0.5})
        return
    for value in BAD[argument]:
        kind = ValueError if type(value) in (int, float) else TypeError
        with pytest.raises(kind) as error:
            rule(**{argument: value})
        message = str(error.value)
        assert f"`{argument}` must be a" in message
        assert repr(value) in message
        assert rule.__name__ in message


def test_class_of_a_schedule_is_refused(rule):
    """It is callable; without this check, training would fail at its first step."""
    with pytest.raises(TypeError, match="a schedule or a callable, not <class"):
        rule(learning_rate=keras.optimizers.schedules.ExponentialDecay)


def test_good_values_at_the_edges(rule):
    own = inspect.signature(rule).parameters
    for argument, values in {
        "learning_rate": [0, 1, np.float32(0.1), np.int64(2), 1e9],
        "momentum": [0, 1, 0.99],
        "rho": [0, 0.999],
        "beta_1": [0, np.float64(0.5)],
        "beta_2": [0, 0.9999999],
        "epsilon": [0, 1],
    }.items():
        for value in values if argument in own else []:
            optimizer = rule(**{argument: value})
            assert float(getattr(optimizer, argument)) == pytest.approx(float(value))
            json.dumps(optimizer.get_config())


@pytest.mark.parametrize(
    "rate",
    [
        keras.optimizers.schedules.InverseTimeDecay(0.5, decay_steps=1, decay_rate=1.0),
        lambda: 0.25,
    ],
)
def test_learning_rate_may_be_a_schedule_or_a_callable(rule, rate):
    g, variables = np.array([1.0, -2.0]), [keras.Variable([0.0, 0.0]) for _ in range(2)]
    followed, by_hand = rule(learning_rate=rate), rule(learning_rate=0.5)
    for i in range(3):
        by_hand.learning_rate = 0.5 / (1 + i) if hasattr(rate, "decay_steps") else 0.25
        followed.apply([g], [variables[0]])
        by_hand.apply([g], [variables[1]])
    np.testing.assert_array_equal(variables[0], variables[1])


def test_unknown_variable_is_refused(rule):
    optimizer = rule()
    optimizer.build([keras.Variable([0.0])])
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply([[1.0]], [keras.Variable([0.0])])
