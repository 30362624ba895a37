"""Verdicts: each fault is named, healthy trainings are not accused, and nothing is disturbed."""

import math
import pathlib
import re

import keras
import numpy as np
import pytest
from common import imported
from digits import digits
from monitored import Log

import keras_lecture_opt
from keras_lecture_opt import EffectiveLearningRateMonitor
from keras_lecture_opt._keras_private import global_seed_state
from keras_lecture_opt.monitor._history import History, Row
from keras_lecture_opt.monitor._verdicts import CHECKS, Evidence, judge
from keras_lecture_opt.verdicts import _check
from keras_lecture_opt.verdicts._inside import are_unrelated

ROOT = pathlib.Path(__file__).parents[1]
KERNELS = ("first/kernel", "second/kernel", "output/kernel")
STEPS = (1, 2, 5, 10, 20, 50, 100, 200)
SIZE = 0.3  # of all kernels; Glorot's would be 0.05, 0.18, 0.22
layers = keras.layers


def network(**options):
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(32, "relu", name="first", **options),
            layers.Dense(32, "relu", name="second"),
            layers.Dense(10, "softmax", name="output"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def model():
    return network()


def history(pace=None, size=None, loss=None, accuracy=None, steps=STEPS):
    """Rows of a healthy training, but for what is given: dicts from kernels or steps to numbers."""
    rows = History()
    for step in steps:
        for name in KERNELS:
            ratio = (pace or {}).get(name, 0.01)
            ratio = ratio(step) if callable(ratio) else ratio
            weight = (size or {}).get(name, 1.0) if step > 1 else 1.0
            for quantity, value in (
                ("step", ratio * SIZE),
                ("weight", SIZE * weight),
                ("step_to_weight", ratio),
            ):
                rows.append(Row(step, 0, name, quantity, value))
        rows.append(Row(step, 0, "", "loss", (loss or {}).get(step, 2.3 / step**0.3)))
        rows.append(Row(step, 0, "", "accuracy", (accuracy or {}).get(step, 0.9)))
    return rows


def faults(model, x=None, y=None, decay=0.01, **changes):
    names = {id(v): "/".join(v.path.split("/")[-2:]) for v in model.weights}
    optimizers = [keras.optimizers.SGD(weight_decay=decay)]
    verdicts, _ = judge(Evidence(history(**changes), [model], optimizers, names, x=x, y=y))
    return {v.fault: v for v in verdicts}


GUESSING = math.log(10)


@pytest.mark.parametrize(
    ("changes", "fault", "where"),
    [
        ({}, None, ()),
        ({"pace": {"second/kernel": 0.31}}, "steps too large", ("second/kernel",)),
        ({"pace": {"second/kernel": 0.29}}, None, ()),
        (
            {"pace": {"second/kernel": 0.06}, "size": {"second/kernel": 6}, "loss": {200: 1.2}},
            "steps too large",
            ("second/kernel",),
        ),
        ({"pace": {"second/kernel": 0.06}, "size": {"second/kernel": 6}}, None, ()),  # it learned
        (
            {"pace": {"second/kernel": 0.06}, "size": {"second/kernel": 4}, "loss": {200: 1.2}},
            None,
            (),
        ),
        (
            {"pace": {"second/kernel": 0.04}, "size": {"second/kernel": 6}, "loss": {200: 1.2}},
            None,
            (),
        ),
        # AdaGrad's first steps are large.
        ({"pace": {"second/kernel": lambda step: 0.6 / step**0.6}}, None, ()),
        ({"loss": {1: 5.1 * GUESSING, 200: 1.2}}, "bad start", ()),
        ({"loss": {1: 5.1 * GUESSING}}, None, ()),  # it has learned all the same
        ({"loss": {1: 4.9 * GUESSING, 200: 1.2}}, None, ()),
        ({"size": {"first/kernel": math.nan}}, "not finite", ("first/kernel",)),
        ({"loss": {20: math.inf}}, "not finite", ()),
        ({"pace": {"first/kernel": 0.0}}, "no gradient", ("first/kernel",)),
        ({"pace": {"first/kernel": lambda step: 0.01 * (step < 100)}}, None, ()),
        (
            {"pace": dict.fromkeys(KERNELS, 0.9e-4), "loss": dict.fromkeys(STEPS, 1.2)},
            "steps too small",
            KERNELS,
        ),
        ({"pace": dict.fromkeys(KERNELS, 1.1e-4)}, None, ()),
        # It was trained before.
        ({"pace": dict.fromkeys(KERNELS, 0.9e-4), "loss": dict.fromkeys(STEPS, 1.1)}, None, ()),
        # A learning rate that has decayed to almost nothing.
        ({"pace": dict.fromkeys(KERNELS, 1e-6), "steps": (5000, 6000)}, None, ()),
        ({"pace": {"first/kernel": 1.9e-4}, "loss": {200: 1.2}}, "layer lags", ("first/kernel",)),
        ({"pace": {"first/kernel": 2.1e-4}, "loss": {200: 1.2}}, None, ()),
        ({"pace": {"first/kernel": 1.9e-4}}, None, ()),
        ({"size": {"output/kernel": 0.69}}, "decay too strong", ("output/kernel",)),
        ({"size": {"output/kernel": 0.71}}, None, ()),
        ({"size": {"output/kernel": 0.1}, "decay": None}, None, ()),
        ({"loss": {200: 0.91 * GUESSING}, "accuracy": {200: 0.18}}, "no learning", ()),
        ({"loss": {200: 0.89 * GUESSING}, "accuracy": {200: 0.1}}, None, ()),
        ({"loss": {200: 0.95 * GUESSING}, "accuracy": {200: 0.2}}, None, ()),  # soft labels
        # The mean of an epoch with a bad first batch.
        ({"loss": {1: 4.9 * GUESSING, 200: 0.95 * GUESSING}, "accuracy": {200: 0.1}}, None, ()),
        # Too early to say.
        ({"loss": {100: 2.3}, "accuracy": {100: 0.1}, "steps": STEPS[:-1]}, None, ()),
        ({"loss": {200: 1.47}, "accuracy": {200: 0.86}}, "probabilities squashed", ()),
        ({"loss": {200: 1.47}, "accuracy": {200: 0.84}}, None, ()),
        ({"loss": {200: 1.35}, "accuracy": {200: 0.86}}, None, ()),
    ],
)
def test_what_is_said(changes, fault, where, model):
    found = faults(model, **changes)
    assert [*found] == ([fault] if fault else [])
    for verdict in found.values():
        assert verdict.where == tuple(where)
        assert str(verdict) == verdict.text
        assert "Likely cause: " in verdict.text
        assert all(name in verdict.text for name in where[:1])


def test_every_verdict_has_its_number(model):
    large = faults(model, pace={"second/kernel": lambda step: 0.4 if step == 20 else 0.01})
    assert large["steps too large"][2:4] == (20, 0.4)
    assert "Step 20 changed second/kernel by 40% of its size" in str(large["steps too large"])
    shrunk = faults(model, size={"first/kernel": 0.5, "output/kernel": 0.25})["decay too strong"]
    assert shrunk.value == 0.25
    assert "output/kernel has shrunk to 0.25" in str(shrunk)
    assert "(and 1 more)" in str(shrunk)


def died(step):
    """A kernel's pace: it is healthy, and then exactly 0."""
    return lambda now: 0.01 * (now < step)


def test_a_kernel_that_died_is_not_slow(model):
    paces, flat = dict.fromkeys(KERNELS, died(10)), dict.fromkeys(STEPS, 2.0)
    found = faults(model, pace=paces, loss=flat, accuracy=dict.fromkeys(STEPS, 0.3))
    assert [*found] == ["no gradient"]
    assert found["no gradient"].where == KERNELS
    assert found["no gradient"].value == 5
    assert "since step 5" in str(found["no gradient"])
    assert "ten times" not in str(found["no gradient"])
    # A loss of 0 has no gradient: it has learned all that there is.
    assert not faults(model, pace=paces, loss=dict.fromkeys(STEPS, 0.0), accuracy={})
    # A training that never moved a kernel is told, even if the others have learned.
    assert [*faults(model, pace={KERNELS[0]: 0.0})] == ["no gradient"]


def test_a_kernel_that_starts_tiny_may_grow_to_its_usual_size():
    tiny = {"pace": {"first/kernel": 0.4}, "size": {"first/kernel": 8}}
    rows = history(**tiny)
    small = [
        row._replace(value=row.value / 200)
        if row.variable == "first/kernel" and row.quantity in ("step", "weight")
        else row
        for row in rows
    ]
    model = network()
    names = {id(v): "/".join(v.path.split("/")[-2:]) for v in model.weights}
    assert "steps too large" in faults(model, **tiny)
    verdicts, _ = judge(Evidence(small, [model], [], names))
    assert verdicts == []


def test_the_first_steps_of_an_explosion_are_told():
    model = keras.Sequential(
        [keras.Input((5, 8)), layers.SimpleRNN(8), layers.Dense(10, "softmax")]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    names = {id(v): "/".join(v.path.split("/")[-2:]) for v in model.weights}
    name = next(name for name in names.values() if name.endswith("recurrent_kernel"))
    rows = [
        Row(1, 0, name, "step", 2.9e26),
        Row(1, 0, name, "step_to_weight", 1e27),
        Row(1, 0, name, "weight", 2.9e26),
        Row(1, 0, "", "loss", 3.98e17),
    ]
    found = {v.fault: v for v in judge(Evidence(rows, [model], [], names))[0]}
    assert [*found] == ["bad start", "steps too large"]
    assert {v.certainty for v in found.values()} == {"likely"}
    assert "Try `clipnorm=1`" in str(found["steps too large"])
    assert "1.73e+17 times" in str(found["bad start"])


def test_weights_that_start_too_large(model):
    large = [
        row._replace(value=8 * row.value) if row.quantity in ("step", "weight") else row
        for row in history(loss=dict.fromkeys(STEPS, 2.0), accuracy={})
    ]
    names = {id(v): "/".join(v.path.split("/")[-2:]) for v in model.weights}
    [verdict] = [
        v for v in judge(Evidence(large, [model], [], names))[0] if v.fault.startswith("weights")
    ]
    assert KERNELS[2] in verdict.where
    assert "Try its initializer's default" in str(verdict)


def test_clipping_is_suspected_where_there_is_any(model):
    slow = {"pace": dict.fromkeys(KERNELS, 2e-5), "accuracy": dict.fromkeys(STEPS, 0.3)}
    names = {id(v): "/".join(v.path.split("/")[-2:]) for v in model.weights}
    rows = history(**slow, loss=dict.fromkeys(STEPS, 2.0))
    for clipnorm, said in ((None, "Try 1000 times"), (1e-4, "Try without clipping, or 1000 times")):
        optimizer = keras.optimizers.SGD(clipnorm=clipnorm)
        found = {v.fault: v for v in judge(Evidence(rows, [model], [optimizer], names))[0]}
        assert said in str(found["steps too small"])


def test_how_much_less_or_more_is_said(model):
    for pace, factor in ((0.31, "a tenth"), (3.0, "a hundredth"), (3e6, "a thousandth")):
        said = str(faults(model, pace={KERNELS[1]: pace})["steps too large"])
        assert f"Try {factor} of the learning rate" in said
    flat = dict.fromkeys(STEPS, 1.9)
    for pace, factor in ((9e-5, 100), (1e-5, 1000), (1e-9, 1000)):
        said = str(faults(model, pace=dict.fromkeys(KERNELS, pace), loss=flat)["steps too small"])
        assert f"Try {factor} times the learning rate" in said


def test_fine_tuning_takes_small_steps(model):
    small = {"pace": dict.fromkeys(KERNELS, 2e-5), "accuracy": dict.fromkeys(STEPS, 0.6)}
    assert not faults(model, **small, loss={1: 2.0, 200: 1.5})
    flat = {**dict.fromkeys(STEPS, 2.0), 200: 1.7}
    assert [*faults(model, **small, loss=flat)] == ["steps too small"]


def test_attention_may_stay_uniform():
    attention = layers.MultiHeadAttention(2, 8, name="attention")
    inputs = keras.Input((6, 16))
    hidden = layers.GlobalAveragePooling1D()(attention(inputs, inputs))
    model = keras.Model(inputs, layers.Dense(10, "softmax")(layers.Dense(16, "relu")(hidden)))
    model.compile("sgd", "sparse_categorical_crossentropy")
    names = {id(v): "/".join(v.path.split("/")[-2:]) for v in model.weights}
    kernels = [name for name in names.values() if name.endswith("kernel")]
    for slow, fault in (("query/kernel", []), ("value/kernel", ["layer lags"])):
        rows = []
        for step in STEPS:
            for name in kernels:
                ratio = 1e-5 if name == slow else 0.01
                facts = {"step": ratio, "weight": 1.0, "step_to_weight": ratio}
                rows += [Row(step, 0, name, quantity, v) for quantity, v in facts.items()]
            rows.append(Row(step, 0, "", "loss", 1.5))
        found = judge(Evidence(rows, [model], [], names))[0]
        assert [v.fault for v in found] == fault


def binary(activation="sigmoid"):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1, activation)])
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    return model


def test_losses_of_two_classes():
    flat = dict.fromkeys(STEPS, math.log(2))
    half = dict.fromkeys(STEPS, 0.5)
    assert [*faults(binary(), loss=flat, accuracy=half)] == ["no learning"]
    low = {**flat, 200: 0.02}
    assert not faults(binary(), loss=low, accuracy=half)  # the labels may be no classes
    model, x = binary("softmax"), np.random.default_rng(0).normal(size=(200, 4)).astype("float32")
    found = faults(model, loss=low, y=np.arange(200)[:, None] % 2, accuracy=half)
    assert [*found] == ["softmax over one unit", "accuracy contradicts the loss"]
    assert "accuracy contradicts the loss" not in faults(
        model, x, loss=low, y=np.arange(200)[:, None] % 2, accuracy=half
    )  # sample weights made the loss small
    found = faults(binary(), loss={200: -1354.0})
    assert [*found] == ["negative loss"]
    assert found["negative loss"].certainty == "certain"
    both = faults(binary("softmax"), loss=flat, accuracy=half)
    assert [v.certainty for v in both.values()] == ["certain", "symptom"]
    assert str(both["no learning"]).endswith("This follows from what is said above.")


def test_any_loss_is_compared_with_that_of_the_best_constant():
    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    y = x @ [[1.0], [2.0], [0.5], [0.0]] + 5
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    for loss in ("mse", "mae", keras.losses.MeanSquaredError()):
        model.compile("sgd", loss)
        model.set_weights([np.zeros((4, 1)), np.median(y, axis=0)])
        assert [*faults(model, x, y=y)] == ["outputs alike", "no learning"]
        assert not faults(model, x)  # nobody knows the labels
        model.set_weights([np.array([[1.0], [2.0], [0.5], [0.0]]), np.array([5.0])])
        assert not faults(model, x, y=y)
        model.set_weights([np.array([[-1.0], [2.0], [3.0], [0.0]]), np.array([5.0])])
        assert [*faults(model, np.tile(x, (20, 1)), y=np.tile(y, (20, 1)))] == ["no learning"]
        assert [*faults(model, x, y=y)] == ["no learning"]
        few = {"steps": STEPS[:5], "loss": dict.fromkeys(STEPS, 9.0)}
        assert [*faults(model, x, y=y, **few)] == ["too few steps"]


@pytest.mark.parametrize(
    ("first", "pace", "faster"),
    [(20.0, 1e-3, False), (9.5, 1e-3, True), (9.5, 0.01, False)],  # x has a loss of 9
)
def test_a_loss_that_hardly_moves_needs_larger_steps_too(first, pace, faster):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(20), layers.Dense(1)])
    model.compile("sgd", "mse")
    y = model(x).numpy() + 3
    names = {id(v): "/".join(v.path.split("/")[-2:]) for v in model.weights}
    [kernel] = [name for name in names.values() if name.endswith("kernel")][:1]
    rows = History()
    for step in STEPS[:5]:
        for quantity in ("step", "step_to_weight"):
            rows.append(Row(step, 0, kernel, quantity, pace))
        rows.append(Row(step, 0, "", "loss", first))
    few = Evidence(rows, [model], [keras.optimizers.SGD()], names, x=x, y=y)
    [verdict] = [v for v in judge(few)[0] if v.fault == "too few steps"]
    assert ("with ten times the learning rate" in verdict.text) is faster


def test_labels_of_other_rows_are_suspected_where_similar_inputs_have_different_ones():
    images, labels = digits("train", 400)
    x, shuffled = images.astype("float32"), np.random.default_rng(0).permutation(labels)
    model = network()  # has learned nothing
    for y, cause in ((labels, "by heart"), (shuffled, "where one of the two is shuffled")):
        first, *_ = faults(model, x, y=y, **FLAT | {"loss": dict.fromkeys(STEPS, 2.3)}).values()
        assert cause in first.text
    known = {"x": x.reshape(400, -1), "are_classes": True}
    assert are_unrelated(y=shuffled, **known)
    assert not are_unrelated(y=labels, **known)
    quantities = x.reshape(400, -1)[:, 300:310]
    assert not are_unrelated(known["x"], quantities, False)
    assert are_unrelated(known["x"], np.random.default_rng(0).permutation(quantities), False)
    few = np.tile(known["x"][:50], (8, 1)), np.tile(shuffled[:50], 8)  # different ones
    assert not are_unrelated(*few, True)
    assert not are_unrelated(images.reshape(400, -1), shuffled, True)  # may be numbers of tokens
    assert not are_unrelated(np.where(known["x"] > 9, np.nan, known["x"]), shuffled, True)


def test_little_that_is_learned_may_be_all():
    random = np.random.default_rng(0)
    x = random.normal(size=(500, 1)).astype("float32")
    y = 0.3 * x + random.normal(size=x.shape)
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    kernel, bias = model.weights
    kernel.assign([[0.3]])
    assert not faults(model, x, y=y, loss=dict.fromkeys(STEPS, 1.0))
    kernel.assign([[-0.02]])
    none = faults(model, x, y=y, loss=dict.fromkeys(STEPS, 1.0))["no learning"]
    assert "nothing has been learned" in none.text
    bias.assign([2.0])
    far = faults(model, x, y=y, loss=dict.fromkeys(STEPS, 4.8))["no learning"]
    assert "Try a tenth of the learning rate" in far.text


def test_a_linear_network_is_told_where_it_fails():
    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    for hidden, given in ((None, {"linear network"}), ("tanh", set())):
        model = keras.Sequential([keras.Input((4,)), layers.Dense(8, hidden), layers.Dense(1)])
        model.compile("sgd", "mse")
        y = np.asarray(model(x))
        assert not faults(model, x, y=y).keys() - {"nothing nonlinear between"}
        found = {*faults(model, x, y=np.random.default_rng(1).permutation(2 * y))}
        assert found - {"bad start", "no learning"} == given


@pytest.mark.parametrize(
    ("loss", "activation", "y", "expected"),
    [
        ("sparse_categorical_crossentropy", "softmax", [[0, 1, 2, 0], [0, 1, 0, 0]], 0.5),
        ("categorical_crossentropy", "softmax", [[0, 1, 2, 0], [0, 1, 0, 0]], 0.5),
        # Several labels, of which one is right.
        ("binary_crossentropy", "sigmoid", [[0, 1, 2, 0], [0, 1, 0, 0]], 0.5),
        ("binary_crossentropy", "sigmoid", [[1, 0, 1, 0], [1, 0, 1, 1]], 0.5),
        (keras.losses.BinaryCrossentropy(from_logits=True), None, [[1, 0] * 2, [1, 0, 0, 0]], 0.5),
    ],
)
def test_skill_is_the_share_of_errors_that_are_avoided(loss, activation, y, expected):
    right, answered = np.array(y) * 1
    units = 3 if activation == "softmax" or right.max() > 1 else 1
    scores = 6.0 * (np.eye(3)[answered] if units == 3 else answered[:, np.newaxis]) - 3
    if units == 3 and "sparse" not in str(loss):
        right = np.eye(3)[right]
    model = keras.Sequential(
        [keras.Input((units,)), layers.Dense(units, activation, kernel_initializer="identity")]
    )
    model.compile("sgd", loss)
    evidence = Evidence(History(), [model], [], {}, x=scores.astype("float32"), y=right)
    assert evidence.skill == pytest.approx(expected)


def test_the_order_of_outputs_is_skill_where_no_answer_is():
    x = np.linspace(-1, 1, 100, dtype="float32")[:, np.newaxis]
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    model.set_weights([np.ones((1, 1)), np.full(1, -3.0)])  # nothing is above 0.5
    for y, expected in ((x > 0.9, 1), (x > -2, 0), (np.abs(x) > 0.9, 0)):
        evidence = Evidence(History(), [model], [], {}, x=x, y=y * 1)
        assert evidence.skill == pytest.approx(expected)


def test_a_loss_that_soars_names_the_rate():
    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    y = 2 * np.random.default_rng(1).normal(size=(60, 1))
    for highest, given in ((50.0, {"steps too large"}), (20.0, set())):
        loss = dict.fromkeys(STEPS, 4.0) | {5: highest}
        found = {*faults(model, x, y=y, loss=loss)}
        assert found - {"no learning", "bad start"} == given


def test_what_was_given_is_not_suspected(model):
    images, labels = digits("train", 100)
    x = images.astype("float32")
    nan = {"size": {KERNELS[0]: math.nan}}
    assert "NaN in the data, or" in str(faults(model, **nan)["not finite"])
    assert "that are not in `x`" in str(faults(model, x, y=labels, **nan)["not finite"])
    start = {"loss": {1: 30.0, **dict.fromkeys(STEPS[1:], 2.0)}}
    assert "inputs" in str(faults(model, **start)["bad start"])
    assert "inputs" not in str(faults(model, x, y=labels, **start)["bad start"])


def test_why_there_is_no_gradient():
    _, labels = digits("train", 600)
    for options, said in (
        ({"kernel_initializer": "zeros"}, "first/kernel is all zeros, which stay alike"),
        ({"bias_initializer": keras.initializers.Constant(-100)}, "the ReLUs of first are 0 for"),
    ):
        monitor, x = train(network(**options), epochs=3)
        found = {v.fault: v for v in monitor.diagnose(x[:100], labels[:100])}
        assert said in str(found["no gradient"])
        assert found["no gradient"].certainty == "likely"


def test_saturated_units_and_gradients_that_fade():
    inner = [layers.Dense(16, "sigmoid", name=f"inner_{i}") for i in range(5)]
    first = [keras.Input((28, 28)), layers.Rescaling(1 / 255), layers.Flatten()]
    model = keras.Sequential([*first, *inner, layers.Dense(10, "softmax")])
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    monitor, _ = train(model, epochs=9)
    assert "Try `relu`" in str({v.fault: v for v in monitor.diagnose()}["layer lags"])

    large = keras.initializers.RandomNormal(stddev=100)
    outer = [layers.Dense(32, "tanh", kernel_initializer=large, name="outer")]
    model = keras.Sequential([*first, *outer, layers.Dense(10, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.get_layer("outer").bias.assign(-1e6 * np.ones(32))
    monitor, x = train(model, epochs=9)
    found = {v.fault: v for v in monitor.diagnose(x[:100])}
    assert found["saturated units"].where == ("outer",)
    assert found["saturated units"].value == 1


def test_small_variables_that_are_not_finite_are_named(model):
    rows = history()
    rows.append(Row(200, 0, "first/bias", "weight", math.nan))
    names = {id(v): "/".join(v.path.split("/")[-2:]) for v in model.weights}
    [verdict], _ = judge(Evidence(rows, [model], [keras.optimizers.SGD()], names))
    assert (verdict.fault, verdict.where, verdict.step) == ("not finite", ("first/bias",), 200)


def test_loss_of_0_needs_no_gradient():
    """Of the hinge loss nobody knows what guessing costs."""
    model = network()
    model.layers[-1].activation = keras.activations.linear
    model.compile("sgd", "hinge")
    pace = {"first/kernel": lambda step: 0.01 * (step < 20)}
    for loss, found in ((0.0, []), (1.0, ["no gradient"])):
        assert [*faults(model, pace=pace, loss=dict.fromkeys(STEPS[1:], loss))] == found


def test_loss_with_penalties_tells_no_softmax():
    model = network(kernel_regularizer="l2")
    assert not faults(model, loss={200: 1.47}, accuracy={200: 0.86})


def test_outputs_of_an_own_loss_are_not_compared_with_its_labels():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    model.set_weights([np.zeros((4, 1)), np.zeros(1)])
    x = np.random.default_rng(0).normal(size=(60, 4))
    for loss, found in (("mse", True), (lambda y, outputs: keras.ops.mean(outputs), False)):
        model.compile("sgd", loss)
        assert ("outputs alike" in faults(model, x, y=x.sum(axis=1))) == found


def test_moving_averages_that_lag_are_named():
    x, y = digits("train", 300)
    for momentum, is_said in ((0.99, True), (0.5, False)):
        model = network()
        flat = layers.BatchNormalization(momentum=momentum)(model.layers[1].output)
        model = keras.Model(model.inputs, layers.Dense(10, "softmax", name="output")(flat))
        model.compile("sgd", "sparse_categorical_crossentropy")
        found = faults(model, x, y=y, loss={200: 1.0})
        assert ("moving averages" in str(found["no learning"])) == is_said


def test_outputs_of_exactly_0_are_alike():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, "relu")])
    model.compile("sgd", "mse")
    model.set_weights([-np.ones((4, 3)), -np.ones(3)])
    x = np.random.default_rng(0).uniform(size=(60, 4)).astype("float32")
    found = faults(model, x, y=x[:, :3])
    assert "exactly 0" in str(found["outputs alike"])
    assert found["outputs alike"].value == 0
    assert "dead units" not in found  # of the last layer, it is the activation's fault


def test_what_is_odd_and_does_no_harm_is_not_told():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8), layers.Dense(1)])
    model.compile("sgd", "mse")
    x = 40 * np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    y = model(x).numpy()
    assert not faults(model, x, y=y)
    assert [*faults(model, x, y=np.random.default_rng(1).permutation(1.2 * y))] == [
        "inputs not scaled",
        "linear network",
        "no learning",
    ]


class Weighted(keras.losses.SparseCategoricalCrossentropy):
    def call(self, y_true, y_pred):
        return 10 * super().call(y_true, y_pred)


class OwnLoss(keras.Sequential):
    def compute_loss(self, *arguments, **options):
        return 10 * super().compute_loss(*arguments, **options)


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.SparseCategoricalCrossentropy(reduction="sum"),
        Weighted(),
        lambda y_true, y_pred: keras.ops.mean(y_pred),
        None,
    ],
)
def test_other_losses_are_not_compared_with_guessing(loss):
    model = network()
    model.compile("sgd", loss)
    assert not faults(model, **FLAT)


FLAT = {"loss": dict.fromkeys(STEPS, 20.0), "accuracy": dict.fromkeys(STEPS, 0.1)}


def test_losses_with_more_in_them_are_not_compared_with_guessing():
    model = network()
    assert {*faults(model, **FLAT)} == {"bad start", "no learning"}
    assert not faults(network(kernel_regularizer="l2"), **FLAT)
    nothing = network(kernel_regularizer=keras.regularizers.L2(0))  # a penalty of 0 is none
    assert {*faults(nothing, **FLAT)} == {"bad start", "no learning"}
    model.compile("sgd", "sparse_categorical_crossentropy", loss_weights=10.0)
    assert not faults(model, **FLAT)
    own = OwnLoss(model.layers)
    own.compile("sgd", "sparse_categorical_crossentropy")
    assert not faults(own, **FLAT)


def train(model, log_dir=None, x=None, epochs=3, verbose=0):
    """Train on 600 digits, about 20 steps an epoch."""
    images, labels = digits("train", 600)
    monitor = EffectiveLearningRateMonitor(log_dir, update_freq=10, verbose=verbose)
    x = images.astype("float32") if x is None else x
    model.fit(x, labels, epochs=epochs, callbacks=[monitor], verbose=0)
    return monitor, x


def test_real_trainings():
    healthy = network()
    healthy.compile(keras_lecture_opt.Adam(), "sparse_categorical_crossentropy")
    monitor, x = train(healthy)
    assert monitor.diagnose() == monitor.diagnose(x[:100]) == []

    healthy.compile(keras_lecture_opt.Momentum(5.0), "sparse_categorical_crossentropy")
    assert "steps too large" in {v.fault for v in train(healthy)[0].diagnose()}

    x[3, 10, 10] = np.nan
    bad, _ = train(network(), x=x)
    [verdict] = bad.diagnose()
    assert verdict.fault == "not finite"
    assert verdict.step <= 20
    # A verdict is about the model that the monitor saw last.
    images, labels = digits("train", 600)
    network().fit(images, labels, callbacks=[bad], verbose=0)
    assert "not finite" not in {v.fault for v in bad.diagnose()}


def test_layer_that_is_dead_is_named_when_a_batch_is_given():
    dead = network(bias_initializer=keras.initializers.Constant(-100))
    monitor, x = train(dead, epochs=10)
    assert "dead units" not in {v.fault for v in monitor.diagnose()}
    found = {v.fault: v for v in monitor.diagnose(x[:100])}
    assert found["no gradient"].where == KERNELS
    assert found["dead units"].where == ("first", "second")
    assert found["dead units"].value == 1
    assert found["outputs alike"].certainty == "symptom"


def test_dead_layer_below_two_outputs_is_named():
    """Of several losses nobody knows the parts."""
    inputs = keras.Input((28, 28))
    dead = keras.initializers.Constant(-100)
    hidden = layers.Dense(32, "relu", bias_initializer=dead, name="first")(layers.Flatten()(inputs))
    both = [layers.Dense(10, "softmax", name=name)(hidden) for name in ("a", "b")]
    model = keras.Model(inputs, both)
    model.compile("sgd", ["sparse_categorical_crossentropy"] * 2, run_eagerly=True)
    monitor, (x, y) = EffectiveLearningRateMonitor(), digits("train", 320)
    model.fit(x / 255, [y, y], callbacks=[monitor], verbose=0)
    [verdict] = [v for v in monitor.diagnose(x[:100] / 255) if v.fault == "dead units"]
    assert "100% of the ReLUs of first are 0 for all 100 examples" in verdict.text


def test_frozen_with_random_weights_is_a_fault_and_with_trained_ones_is_not():
    model = network()
    model.get_layer("first").trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    monitor, _ = train(model, epochs=1)
    [verdict] = [v for v in monitor.diagnose() if v.fault == "frozen"]
    assert verdict.where == ("first/kernel",)
    solved = {"loss": {200: 0.1 * GUESSING}}
    assert not faults(model, **solved)  # random features may suffice
    assert {*faults(model, loss={200: 0.2 * GUESSING})} == {"frozen"}

    model.get_layer("first").trainable = True
    model.compile("adam", "sparse_categorical_crossentropy")
    train(model, epochs=1)
    model.get_layer("first").trainable = False  # fine-tuning
    model.compile("adam", "sparse_categorical_crossentropy")
    assert "frozen" not in {v.fault for v in train(model, epochs=1)[0].diagnose()}


def test_text_card_and_printed_lines(tmp_path, capsys):
    model = network()
    model.compile(keras_lecture_opt.Momentum(5.0), "sparse_categorical_crossentropy")
    monitor, _ = train(model, tmp_path, epochs=2, verbose=1)
    texts = [str(verdict) for verdict in monitor.diagnose()]
    assert texts
    assert capsys.readouterr().out.splitlines() == texts
    log = Log(tmp_path / "train")
    assert log.plugins["diagnosis"] == "text"
    assert log.last("diagnosis").item().decode().count("\n- ") == len(texts) - 1
    assert "Likely cause" in log.last("diagnosis").item().decode()


def test_diagnosis_alters_nothing():
    model = network()
    model.compile(keras_lecture_opt.Adam(), "sparse_categorical_crossentropy")
    monitor, x = train(model, epochs=1)
    state = [*model.weights, *model.optimizer.variables]
    before = [np.array(v) for v in state]
    seed = global_seed_state().numpy()
    expected = keras.random.uniform((2,))
    global_seed_state().assign(seed)  # Keras 3.12's `set_random_seed` does not begin again
    monitor.diagnose(x[:100])
    assert np.array_equal(keras.random.uniform((2,)), expected)
    for old, new in zip(before, state, strict=True):
        assert np.array_equal(old, np.array(new))


def test_what_only_a_call_of_the_model_could_change_stays():
    """States of recurrent layers and of random generators, and Keras's automatic names."""

    class Noise(layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed_generator = keras.random.SeedGenerator(1)

        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x), seed=self.seed_generator)

    inputs = keras.Input(batch_shape=(50, 28, 28))
    x = layers.LSTM(8, stateful=True)(inputs)
    model = keras.Model(inputs, layers.Dense(10, "softmax")(layers.ReLU()(Noise()(x))))
    model.compile("sgd", "sparse_categorical_crossentropy")
    monitor = EffectiveLearningRateMonitor()
    images, labels = digits("train", 600)
    model.fit(images, labels, batch_size=50, callbacks=[monitor], verbose=0)
    before = [np.array(v) for v in model.variables]
    assert len(before) > len(model.weights)
    functional = int(keras.Model(inputs, x).name.removeprefix("functional_"))
    monitor.diagnose(images[:50].astype("float32"))
    for old, new in zip(before, model.variables, strict=True):
        assert np.array_equal(old, np.array(new))
    assert keras.Model(inputs, x).name == f"functional_{functional + 1}"


def test_layers_taken_from_another_model_and_odd_attributes():
    class Odd(layers.Layer):
        layers = 2

        def call(self, x):
            return x

    old = network()
    model = keras.Sequential([keras.Input((28, 28)), Odd(), *old.layers[:-1], layers.Dense(10)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    monitor, x = train(model, epochs=1)
    assert monitor.diagnose(x[:100]) == []


def test_leaky_units_are_not_dead():
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Flatten(),
            layers.Dense(32, bias_initializer=keras.initializers.Constant(-1e5)),
            layers.ReLU(negative_slope=0.1),
            layers.Dense(10, "softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    monitor, x = train(model, epochs=1)
    assert "dead units" not in {v.fault for v in monitor.diagnose(x[:100])}


def test_too_few_steps_and_a_training_from_the_start(capsys):
    images, labels = digits("train", 96)
    model, monitor = network(), EffectiveLearningRateMonitor(verbose=1)
    model.fit(images, labels, epochs=1, callbacks=[monitor], verbose=0)
    assert "fewer than 10 steps cannot be judged" in capsys.readouterr().out
    model.compile(keras.optimizers.SGD(1e6), "sparse_categorical_crossentropy")
    model.fit(images, labels, epochs=4, callbacks=[monitor], verbose=0)
    assert monitor.diagnose()
    model.set_weights(network().get_weights())
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images, labels, epochs=4, callbacks=[monitor], verbose=0)
    assert monitor.diagnose() == []


def test_errors():
    monitor = EffectiveLearningRateMonitor()
    with pytest.raises(RuntimeError, match="Nothing has been measured yet"):
        monitor.diagnose()
    with pytest.raises(ValueError, match="`verbose` must be 0 or 1, not 2"):
        EffectiveLearningRateMonitor(verbose=2)

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(10, "softmax")

        def call(self, x):
            return self.dense(keras.ops.reshape(x, (-1, 784)))

    model = Subclassed()
    model.compile("sgd", "sparse_categorical_crossentropy")
    monitor, x = train(model, epochs=1)
    assert isinstance(monitor.diagnose(), list)
    assert isinstance(monitor.diagnose(x), list)
    monitor, x = train(network(), epochs=1)
    with pytest.raises(ValueError, match="`x` must have at least 2 examples, not 1"):
        monitor.diagnose(x[:1])
    with pytest.raises(ValueError, match="`x` must be a batch of inputs"):
        monitor.diagnose(x[:100, :5])


def test_a_model_that_cannot_be_judged_is_trained_all_the_same(monkeypatch, tmp_path):
    def fail(*arguments):
        raise TypeError("a strange loss")

    monkeypatch.setattr("keras_lecture_opt.monitor._callback.judge", fail)
    with pytest.warns(UserWarning, match="cannot judge this training: a strange loss"):
        train(network(), tmp_path, epochs=1)


def test_the_page_lists_every_verdict():
    _, _, page = (ROOT / "docs" / "verdicts.md").read_text().partition("## Every verdict")
    listed = re.findall(r"^\| ([a-z][^|]+) \|.*\| (\w+) \|$", page, flags=re.MULTILINE)
    listed = {(fault, certainty) for faults, certainty in listed for fault in faults.split(", ")}
    checks = [*_check.OUTPUTS, *_check.INPUTS, *CHECKS]
    assert {(fault, certainty) for fault, _, certainty, _ in checks} == listed


def numbers(text):
    return [*map(int, re.findall(r"\d+", text))]


def lead(page):
    """The numbers of a page's first sentences, which are bold."""
    return numbers(re.search(r"\*\*(.*?)\*\*", page, re.DOTALL)[1])


def test_the_page_shows_what_was_measured():
    verdicts = imported(ROOT / "docs" / "verdicts.py")
    rows = verdicts.read_rows()
    assert [tuple(row[c] for c in verdicts.KEY) for row in rows] == [
        tuple(map(str, job)) for job in verdicts.all_jobs()
    ]
    assert verdicts.tables(rows) in verdicts.PAGE.read_text()
    healthy = [row for row in rows if row["kind"] == "healthy" and row["harmed"] == "0"]
    assert len(healthy) >= 150
    assert not [row for row in healthy if verdicts.counted(row["verdicts_with_xy"])]
    harmed = [row for row in rows if row["kind"] == "fault" and row["harmed"] == "1"]
    found = [row for row in harmed if verdicts.counted(row["verdicts_with_xy"])]
    assert len(found) >= 0.95 * len(harmed)
    tried = [row for row in found if row["tried"]]
    assert sum(row["cured"] == "1" for row in tried) >= 0.8 * len(tried)
    page = verdicts.PAGE.read_text()
    _, harmed, found, first, tried, cured = numbers(re.search(r"\| \*\*all\*\* .*", page)[0])
    learned = sum(row["harmed"] == "0" for row in rows if row["kind"] == "healthy")
    assert lead(page) == [harmed, found, first, cured, tried, learned]


def test_the_page_of_real_faults_shows_what_was_measured(monkeypatch):
    real = imported(ROOT / "docs" / "real_faults.py")
    monkeypatch.setattr(real, "load", lambda: (digits("train", 10_000), None))  # is not trained
    rows, page = real.read_rows(), real.PAGE.read_text()
    assert real.jobs_of(rows) == []
    for programs in (real.REAL, real.SAME):
        assert real.table(programs, rows) in page
    counts = np.array([numbers(line) for line in re.findall(r"^Of \d+ faulty .*", page, re.M)])
    _, failed, named, _, _, _, _, cured, *_ = counts.sum(axis=0)
    assert lead(page) == [failed, named, cured]
