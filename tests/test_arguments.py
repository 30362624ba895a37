"""Which arguments a rule accepts, and what it says of others."""

import functools
import inspect
import json
import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lecture_opt
from keras_lecture_opt._arguments import check_local_path, check_path
from keras_lecture_opt.rules import _hyperparameters

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
    "use_ema": ["yes", 1, None],
    "jit_compile": ["auto", 0],
    "gradient_accumulation_steps": [1, 2.5, "2"],
}


def set_later(optimizer, **arguments):
    for argument, value in arguments.items():
        setattr(optimizer, argument, value)


@pytest.mark.parametrize("argument", BAD)
def test_bad_value_is_named(rule, argument):
    """In the constructor, and when it is set later."""
    optimizer = rule()
    if not hasattr(optimizer, argument):
        with pytest.raises(ValueError, match=f"{rule.__name__}: argument `{argument}` is not rec"):
            rule(**{argument: 0.5})
        return
    before = optimizer.get_config()
    for value in BAD[argument]:
        kind = ValueError if type(value) in (int, float) else TypeError
        if argument in ("use_ema", "jit_compile"):
            kind = TypeError
        if argument.endswith(("_steps", "_frequency")) and isinstance(value, float):
            kind = TypeError
        for give in (rule, functools.partial(set_later, optimizer)):
            with pytest.raises(kind) as error:
                give(**{argument: value})
            message = str(error.value)
            assert f"`{argument}` must be " in message
            assert repr(value) in message
            assert rule.__name__ in message
    assert optimizer.get_config() == before


def test_what_is_set_later_counts(rule):
    optimizer = rule()
    for rate in (np.float32(0.5), np.array(0.25), tf.constant(0.125), keras.Variable(0.5), 1):
        optimizer.learning_rate = rate
        assert float(optimizer.learning_rate) == float(rate)
    optimizer.clipnorm = np.int64(2)
    assert type(optimizer.clipnorm) is int
    optimizer.clipnorm = None
    assert optimizer.get_config()["clipnorm"] is None


def test_what_needs_state_is_not_switched_on_after_build():
    optimizer = keras_lecture_opt.Adam(use_ema=True)
    optimizer.build([keras.Variable([0.0])])
    with pytest.raises(ValueError, match="Adam: `gradient_accumulation_steps` must be set before"):
        optimizer.gradient_accumulation_steps = 2
    assert optimizer.gradient_accumulation_steps is None
    optimizer.use_ema = True  # it is on already
    optimizer.use_ema = False
    with pytest.raises(ValueError, match="Adam: `use_ema` must be set before `build`"):
        optimizer.use_ema = True


def test_slots_are_those_of_a_variable(rule):
    with pytest.raises(TypeError, match=r"`variable` must be a keras\.Variable, not 5"):
        rule().slots(5)


UNKNOWN = [  # class, argument, what is suggested
    ("SteepestDescent", "lr", "Did you mean `learning_rate`?"),
    ("Adam", "clip_norm", "Did you mean `clipnorm`?"),
    ("Adam", "weight_decay_rate", "Did you mean `weight_decay`?"),
    ("Adam", "beta1", "Did you mean `beta_1`?"),
    ("Adam", "betas", "Did you mean `beta_1` or `beta_2`?"),
    ("Adam", "alpha", "Did you mean `learning_rate`?"),
    ("Adam", "amsgrad", "`keras.optimizers.Adam` has it."),
    ("Momentum", "mu", "Did you mean `momentum`?"),
    ("Momentum", "nesterov", "`Nesterov` is a rule of its own."),
    ("RMSProp", "gamma", "Did you mean `rho`?"),
    ("RMSProp", "alpha", "Did you mean `rho` or `learning_rate`?"),  # PyTorch's, a lecture's
    (
        *("RMSProp", "decay"),  # Keras 1's, or Optax's
        "A learning rate that decays is a schedule: pass one as `learning_rate`. The memory of its "
        "average is `rho`.",
    ),
    ("Adam", "decay", "A learning rate that decays is a schedule: pass one as `learning_rate`."),
    ("Adam", "LR", "Did you mean `learning_rate`?"),
    ("Adam", "BETA_1", "Did you mean `beta_1`?"),
    ("Momentum", "beta", "Did you mean `momentum`?"),
    ("Nesterov", "use_nesterov", "`Nesterov` is a rule of its own."),
    ("RMSProp", "momentum", "The rules `Momentum` and `Nesterov` have it."),
    ("SteepestDescent", "momentum", "The rules `Momentum` and `Nesterov` have it."),
]


@pytest.mark.parametrize(("name", "argument", "suggested"), UNKNOWN)
def test_unknown_argument_is_refused_with_what_was_meant(name, argument, suggested):
    """In the constructor, and when it is set later, where nobody would read it."""
    cls = getattr(keras_lecture_opt, name)
    message = re.escape(f"{name}: argument `{argument}` is not recognized. {suggested} Its arg")
    for give in (cls, functools.partial(set_later, cls())):
        with pytest.raises(ValueError, match=message):
            give(**{argument: 0.5})


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        *(("Momentum", name) for name in ("nesterov_momentum", "momentum_decay", "gradient_clip")),
        *(("Adam", name) for name in ("clipnorm_global", "learning_rate_power", "ema_decay")),
    ],
)
def test_nothing_is_suggested_that_means_something_else(name, argument):
    message = f"{name}: argument `{argument}` is not recognized. Its arguments are learning_rate, "
    with pytest.raises(ValueError, match=message):
        getattr(keras_lecture_opt, name)(**{argument: 0.5})


def test_what_only_other_rules_have_is_refused_later_too():
    for name, arguments in (
        ("SteepestDescent", ("beta1", "mu", "eps", "rho", "beta_1", "epsilon")),
        ("RMSProp", ("mu", "beta_1", "betas")),
        ("Adam", ("rho", "mu", "MU", "gamma")),
    ):
        for argument in arguments:
            with pytest.raises(ValueError, match=f"{name}: argument `{argument}` is not recogn"):
                setattr(getattr(keras_lecture_opt, name)(), argument, 0.5)


def test_attributes_that_are_no_arguments_may_be_set():
    with pytest.raises(ValueError, match=r"argument `nonsense` is not recognized\. Its arg"):
        keras_lecture_opt.Adam(nonsense=1)
    keras_lecture_opt.Adam().note = "nobody takes this for an argument"

    class Own(keras_lecture_opt.Adam):
        def __init__(self):
            super().__init__()
            self.gamma = self.lr = 0.5

    assert Own().lr == 0.5


def test_type_checkers_know_keras_arguments():
    of_keras = {*keras.optimizers.Optimizer(0.1).get_config()} - {"learning_rate", "name"}
    assert {*_hyperparameters.KerasArguments.__annotations__} == of_keras | {"jit_compile"}


def test_hyperparameter_of_a_rule_of_ones_own_must_be_a_finite_number():
    class Own(keras_lecture_opt.LectureOptimizer):
        def __init__(self, slope=1.0):
            super().__init__(0.1, "own", {"slope": slope})

    assert Own(np.float32(-2)).get_config()["slope"] == -2
    with pytest.raises(ValueError, match="Own: `slope` must be a finite number, not inf"):
        Own(float("inf"))
    with pytest.raises(TypeError, match="Own: `slope` must be a finite number, not 'steep'"):
        Own().slope = "steep"


@pytest.mark.parametrize("url", ["gs://bucket/run", "ram://run", "s3a://bucket/a:/b"])
def test_path_that_was_made_from_a_url_is_refused(url, tmp_path, monkeypatch):
    """pathlib makes one slash of two, and writing would make a local folder "gs:"."""
    monkeypatch.chdir(tmp_path)
    path = pathlib.Path(url)
    message = (
        f"`folder` must be a string with two slashes if it is a URL, not {path!r}. Pass {url!r}."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        check_path("folder", path)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`folder` must be a string with two slashes if it is"):
        keras_lecture_opt.several_machines.Backup(model, path)
    with pytest.raises(ValueError, match="`file` must be a path in a local file system, not '"):
        check_local_path("file", url)
    for one_slash in (path, str(path)):
        with pytest.raises(ValueError, match="`file` must be a path in a local file system, not "):
            check_local_path("file", one_slash)
    with pytest.raises(ValueError, match="with two slashes if it is a URL"):
        check_path("folder", str(path))
    with pytest.raises(ValueError, match="Pass 'file:///runs'"):
        check_path("folder", pathlib.Path("file:///runs"))
    assert list(tmp_path.iterdir()) == []
    assert check_path("folder", url) == url


@pytest.mark.parametrize("local", ["runs/a:/b", "C:/runs", "/data/gs:/run", "η:/run"])
def test_path_with_a_colon_is_a_path(local):
    assert check_path("folder", pathlib.Path(local)) == local
    assert check_local_path("folder", local) == pathlib.Path(local)


def test_class_of_a_schedule_is_refused(rule):
    """It is callable; without this check, training would fail at its first step."""
    with pytest.raises(TypeError, match="a callable without arguments, not <function"):
        keras_lecture_opt.Adam(lambda step: 0.1)
    with pytest.raises(TypeError, match="a schedule or a callable without arguments, not <class"):
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
