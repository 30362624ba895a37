"""`check`: what is wrong before training, from the configuration, the labels and the inputs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, losses

import keras_lecture_opt
from keras_lecture_opt import check
from keras_lecture_opt.verdicts import _check
from keras_lecture_opt.verdicts._objective import best_constant, loss_of, objectives

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype("float32")
CLASSES = np.arange(60) % 3
ONE_HOT = np.eye(3)[CLASSES]
SEVERAL = RNG.integers(0, 2, size=(60, 3))
TWO = (np.arange(60) % 2)[:, np.newaxis]


def network(units, activation=None, *middle):
    inputs = [keras.Input((4,)), layers.Dense(8, "relu", name="hidden"), *middle]
    return keras.Sequential([*inputs, layers.Dense(units, activation, name="last")])


def found(units, activation, loss, x=None, y=None):
    model = network(units, activation)
    model.compile("sgd", loss)
    return check(model, x, y)


def faults(*arguments, **options):
    return [verdict.fault for verdict in found(*arguments, **options)]


LOGITS = "loss takes logits or not"


@pytest.mark.parametrize(
    ("units", "activation", "loss", "fault", "certainty"),
    [
        (1, "softmax", "binary_crossentropy", "softmax over one unit", "certain"),
        (1, "softmax", "mse", "softmax over one unit", "certain"),
        (3, "softmax", "mse", "softmax with another loss", "certain"),
        (3, "softmax", losses.MeanAbsoluteError(), "softmax with another loss", "certain"),
        (3, "softmax", "binary_crossentropy", "softmax with another loss", "certain"),
        (3, None, "categorical_crossentropy", LOGITS, "certain"),
        (3, "relu", "sparse_categorical_crossentropy", LOGITS, "certain"),
        (3, "tanh", losses.CategoricalCrossentropy(), LOGITS, "certain"),
        (1, None, losses.BinaryCrossentropy(), LOGITS, "certain"),
        # On TensorFlow, Keras looks through the activation.
        (1, "sigmoid", losses.BinaryCrossentropy(from_logits=True), "logits twice", "hint"),
        (3, "softmax", losses.CategoricalCrossentropy(from_logits=True), "logits twice", "hint"),
        (3, "relu", losses.CategoricalCrossentropy(from_logits=True), LOGITS, "certain"),
        (1, "sigmoid", "categorical_crossentropy", "one unit for all classes", "certain"),
        (3, "sigmoid", "categorical_crossentropy", "sigmoid with categorical loss", "hint"),
        (3, "softmax", "categorical_crossentropy", None, None),
        (3, "softmax", losses.SparseCategoricalCrossentropy(), None, None),
        (3, "sigmoid", "binary_crossentropy", None, None),
        (3, None, "kl_divergence", "activation does not fit", "certain"),
        (3, "softmax", losses.KLDivergence(), None, None),
        (1, "tanh", "poisson", "activation does not fit", "certain"),
        (1, "softplus", losses.Poisson(), None, None),
        (1, "sigmoid", "hinge", "activation does not fit", "certain"),
        (1, "tanh", losses.SquaredHinge(), None, None),
        (1, None, losses.BinaryCrossentropy(from_logits=True), None, None),
        (1, None, "mse", None, None),
        (1, "relu", "mae", None, None),
        (3, None, lambda y, p: keras.ops.mean(p), None, None),
    ],
)
def test_configuration(units, activation, loss, fault, certainty):
    verdicts = found(units, activation, loss)
    assert [v.fault for v in verdicts] == ([fault] if fault else [])
    for verdict in verdicts:
        assert verdict.certainty == certainty
        assert verdict.where == ("last",)
        assert verdict.step == 0
        assert "last" in verdict.text


def test_each_advice_is_for_its_case():
    def advice(*arguments, **options):
        [verdict] = found(*arguments, **options)
        return verdict.text

    sparse = "sparse_categorical_crossentropy"
    from_logits = losses.SparseCategoricalCrossentropy(from_logits=True)
    assert "Use `from_logits=True`, or `softmax` as the activation." in advice(3, None, sparse)
    assert "Use `softmax` instead of relu." in advice(3, "relu", sparse)
    assert "Leave out one of the two." in advice(3, "softmax", from_logits)
    assert "Use no activation" in advice(3, "relu", from_logits)
    assert "categorical cross-entropy" in advice(3, "softmax", "mse", y=ONE_HOT)
    several = advice(3, "softmax", "mse", y=SEVERAL)
    assert several.endswith(
        "Several of the labels may be 1: use `sigmoid` and binary cross-entropy."
    )


@pytest.mark.parametrize(
    ("units", "activation", "loss", "y", "fault"),
    [
        (3, "softmax", "sparse_categorical_crossentropy", CLASSES / 255, "labels do not fit"),
        (3, "softmax", "sparse_categorical_crossentropy", CLASSES + 1, "labels do not fit"),
        (3, "softmax", "sparse_categorical_crossentropy", CLASSES - 1, "labels do not fit"),
        (3, "softmax", "sparse_categorical_crossentropy", ONE_HOT, "labels do not fit"),
        (3, "softmax", "sparse_categorical_crossentropy", CLASSES[:, np.newaxis], None),
        (3, "softmax", "categorical_crossentropy", SEVERAL, "labels do not fit"),
        (3, "softmax", "categorical_crossentropy", ONE_HOT * 0.9 + 0.1 / 3, None),
        (1, "sigmoid", "binary_crossentropy", 2 * TWO - 1, "labels do not fit"),
        (1, "sigmoid", "binary_crossentropy", CLASSES, "labels do not fit"),
        (1, "sigmoid", "binary_crossentropy", TWO * 0.9, None),
        (1, "sigmoid", "binary_crossentropy", np.eye(2)[TWO[:, 0]], "labels do not fit"),
        (3, None, "mse", CLASSES, "labels do not fit"),
        (3, None, "mse", ONE_HOT, None),
        (1, None, "mse", TWO[:, 0], None),
        (1, "sigmoid", "mse", TWO * 100 + 3, "labels do not fit"),
        (1, "relu", "mse", TWO - 0.5, "labels do not fit"),
        (1, "tanh", "mse", 2 * TWO - 1, None),
        (3, "softmax", losses.SparseCategoricalCrossentropy(ignore_class=-1), CLASSES - 1, None),
        (1, "sigmoid", "mse", TWO, None),
        (1, "sigmoid", "mae", TWO, "absolute error of classes"),
        (1, None, losses.Huber(), TWO, None),
        (1, "sigmoid", "mse", np.where(TWO, 1 + 1e-9, 0), None),
        (1, "sigmoid", "binary_crossentropy", np.arange(60)[:, np.newaxis] % 3 - 1, None),
        (3, None, lambda y, p: keras.ops.mean(p), TWO, None),
        (3, "softmax", losses.SparseCategoricalCrossentropy(ignore_class=7), 7 + 0 * CLASSES, None),
        (1, None, "mse", 1000 * TWO, "targets not scaled"),
        (1, None, "mse", 20.0 * TWO, None),
        (1, None, "mse", np.where(TWO, np.nan, 1.0), "labels not finite"),
    ],
)
def test_labels(units, activation, loss, y, fault):
    assert faults(units, activation, loss, y=y) == ([fault] if fault else [])


def scaled(factor, column=slice(None), shift=0.0):
    x = X.astype("float64")
    x[:, column] = x[:, column] * factor + shift
    return x


@pytest.mark.parametrize(
    ("x", "fault"),
    [
        (X, None),
        (scaled(10), None),
        (scaled(100), "inputs not scaled"),
        (scaled(1e-3), "inputs not scaled"),
        (np.zeros((60, 4)), None),
        (scaled(1e-6, 2), "inputs not scaled"),
        (scaled(0.1, shift=5), "inputs not scaled"),
        (scaled(1, shift=5), None),
        (np.where(X > 9, np.nan, X), None),
        (np.where(X > 2, np.inf, X), "inputs not finite"),
    ],
)
def test_inputs(x, fault):
    assert faults(1, None, "mse", x=x) == ([fault] if fault else [])


@pytest.mark.parametrize(("share", "is_fault"), [(0.95, False), (1.05, True)])
def test_inputs_just_below_and_above_a_threshold(share, is_fault):
    x = scaled(1)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    for odd in (
        30 * share * x,  # their size
        0.02 / share * x / np.abs(x).max(),  # the largest
        x / [1, 1, 1, 1e5 * share],  # the spread of a column
        0.1 * (x + 30 * share),  # the mean
    ):
        assert faults(1, None, "mse", x=odd) == ["inputs not scaled"] * is_fault


@pytest.mark.parametrize(
    "first",
    [
        [layers.Rescaling(1 / 255)],
        [layers.Normalization()],
        [layers.Lambda(lambda x: x / 255)],
        [layers.Dense(8), layers.BatchNormalization()],
        [layers.Dense(8), layers.GroupNormalization(4)],
    ],
)
def test_inputs_that_the_model_scales(first):
    model = keras.Sequential([keras.Input((4,)), *first, layers.Dense(8, "relu"), layers.Dense(1)])
    model.compile("sgd", "mse")
    assert check(model, 100 * X) == []


@pytest.mark.parametrize(
    "first", [layers.Flatten(), layers.GaussianNoise(0.1), layers.MaxPooling1D()]
)
def test_inputs_that_keep_their_scale(first):
    model = keras.Sequential([keras.Input((4, 1)), first, layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    assert [v.fault for v in check(model, 100 * X[..., None])] == ["inputs not scaled"]


def test_numbers_of_tokens_need_no_scale():
    tokens = layers.Embedding(5000, 4)
    model = keras.Sequential([keras.Input((6,)), tokens, layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    assert check(model, np.full((50, 6), 4000)) == []


def test_activations_are_found_wherever_they_stand():
    inputs = keras.Input((4,))
    hidden = layers.Dense(3)(inputs)
    for output in (
        layers.Activation("softmax")(hidden),
        layers.Softmax()(hidden),
        keras.ops.softmax(hidden),
        layers.Reshape((3,))(layers.Activation("linear")(layers.Softmax()(hidden))),
        keras.Model(inputs, layers.Softmax()(hidden))(inputs),
    ):
        model = keras.Model(inputs, output)
        model.compile("sgd", "mse")
        assert [v.fault for v in check(model)] == ["softmax with another loss"]


def test_a_model_that_nobody_can_see_into_is_judged_by_its_values():
    class Own(keras.Model):
        def __init__(self, activation):
            super().__init__()
            self.dense = layers.Dense(3, activation)

        def call(self, x):
            return self.dense(x)

    for activation, from_logits, is_right in (
        (None, False, False),
        ("softmax", False, True),
        ("softmax", True, True),  # Keras takes what goes into it
        (None, True, True),
    ):
        model = Own(activation)
        model.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=from_logits))
        with pytest.raises(ValueError, match=r"`model` must be built: let it begin with a"):
            check(model, X, CLASSES)
        assert not model.built
        model(X)
        assert [v.fault for v in check(model, X, CLASSES)] == [LOGITS] * (not is_right)


def test_lengths_that_nobody_knows_before():
    steps = layers.Embedding(20, 4)(inputs := keras.Input((None,)))
    steps = layers.Dense(1, "sigmoid")(layers.SimpleRNN(3, return_sequences=True)(steps))
    model = keras.Model(inputs, layers.Reshape((-1,))(steps))
    model.compile("sgd", "binary_crossentropy")
    x = RNG.integers(0, 20, size=(60, 12))
    assert check(model, x, x % 2) == []


def test_softmax_over_another_axis():
    steps = layers.Dense(1)(inputs := keras.Input((5, 2)))
    pointer = keras.Model(inputs, layers.Reshape((5,))(layers.Softmax(axis=1)(steps)))
    pointer.compile("sgd", "sparse_categorical_crossentropy")
    x = RNG.normal(size=(60, 5, 2))
    assert check(pointer, x, np.arange(60) % 5) == []

    channels = layers.Permute((2, 1))(layers.Dense(3)(inputs))
    model = keras.Model(inputs, layers.Softmax(axis=1)(channels))
    model.compile("sgd", losses.CategoricalCrossentropy(axis=1))
    one_hot = np.eye(3)[RNG.integers(0, 3, size=(60, 5))]
    assert check(model, x, np.swapaxes(one_hot, 1, 2)) == []


def test_own_loss_may_leave_missing_labels_out():
    y = np.where(TWO > 0, np.nan, TWO)
    assert faults(1, None, lambda y, outputs: keras.ops.mean(outputs), y=y) == []


def test_large_targets_make_large_gradients_of_the_squared_error_alone():
    for loss, is_said in (("mse", True), ("mae", False)):
        [verdict] = found(1, None, loss, y=1000 * RNG.normal(size=60))
        assert verdict.fault == "targets not scaled"
        assert ("gradients" in verdict.text) == is_said


def test_outputs_of_padded_sequences_are_not_judged():
    for mask_zero in (False, True):
        steps = layers.Embedding(20, 4, mask_zero=mask_zero)(inputs := keras.Input((12,)))
        steps = layers.SimpleRNN(3, return_sequences=True)(steps)
        model = keras.Model(inputs, layers.Dense(2, "softmax")(steps))
        model.compile("sgd", "sparse_categorical_crossentropy")
        x = RNG.integers(0, 20, size=(60, 12))
        [output] = _check.outputs(model, x, x % 2)
        assert (output.values is None) == mask_zero


def test_several_outputs_that_nobody_can_see():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.both = [layers.Dense(3, "softmax"), layers.Dense(1, "sigmoid")]

        def call(self, x):
            return [layer(x) for layer in self.both]

    model = Own()
    model(X)
    for loss in ("mse", ["sparse_categorical_crossentropy", "binary_crossentropy"]):
        model.compile("sgd", loss)
        assert check(model, X, [CLASSES, TWO]) == []


def test_one_class_only():
    model = network(1, "sigmoid")
    model.compile("sgd", "binary_crossentropy")
    assert [v.fault for v in check(model, y=np.zeros((100, 1)))] == ["one class only"]
    assert check(model, y=np.zeros((60, 1))) == []  # a rare class may be missing


def test_sequences_of_labels():
    steps = keras.Sequential([keras.Input((5, 2)), layers.LSTM(4, return_sequences=True)])
    for last, y, fault in (
        (layers.Dense(1), TWO, ["labels do not fit"]),
        (layers.Dense(1), np.zeros((60, 5)), []),
        (layers.Dense(3, "softmax"), np.concatenate([ONE_HOT[:, None]] * 5, axis=1), []),
    ):
        model = keras.Sequential([keras.Input((5, 2)), *steps.layers, last])
        model.compile("sgd", "mse" if last.units == 1 else "categorical_crossentropy")
        if y.ndim == 3:
            y[:, 4:] = 0  # the end of a sequence
        assert [v.fault for v in check(model, y=y)] == fault


@pytest.mark.parametrize(
    ("units", "loss", "y", "fits"),
    [
        (1, "mse", TWO[:, 0], False),
        (1, "mse", TWO, False),
        (1, "mse", np.zeros((60, 9)), True),
        (1, "mse", np.zeros((60, 9, 1)), True),
        (1, "mse", np.zeros((60, 8)), False),
        (3, "categorical_crossentropy", ONE_HOT, False),
        (3, "sparse_categorical_crossentropy", CLASSES, False),
        (3, "sparse_categorical_crossentropy", np.zeros((60, 9)), True),
        (3, "sparse_categorical_crossentropy", np.zeros((60, 9, 1)), True),
    ],
)
def test_labels_without_the_axes_of_the_outputs(units, loss, y, fits):
    last = layers.Dense(units, "softmax" if units > 1 else None)
    model = keras.Sequential([keras.Input((9, 2)), layers.Conv1D(4, 1, activation="relu"), last])
    model.compile("sgd", loss)
    found = [v for v in check(model, y=y) if v.fault == "labels do not fit"]
    assert [*map(str, found)] == [] if fits else "put a `Flatten`" in str(found[0])


def test_inputs_are_found_by_their_names():
    tokens, age = keras.Input((5,), name="text"), keras.Input((3,), name="age")
    parts = [layers.Flatten()(layers.Embedding(5000, 4)(tokens)), layers.Dense(4)(age)]
    model = keras.Model([tokens, age], layers.Dense(1, "sigmoid")(layers.Concatenate()(parts)))
    model.compile("sgd", "binary_crossentropy")
    ids, years = np.full((60, 5), 4000), RNG.normal(size=(60, 3))
    assert check(model, {"text": ids, "age": years}, TWO) == []
    [verdict] = check(model, {"text": ids, "age": 1e4 * years}, TWO)
    assert verdict.fault == "inputs not scaled"


def test_an_output_without_a_loss_is_left_out():
    inputs = keras.Input((4,))
    one, two = layers.Dense(3, "softmax", name="one")(inputs), layers.Dense(2, name="two")(inputs)
    model = keras.Model(inputs, [one, two])
    model.compile("sgd", ["sparse_categorical_crossentropy", None])
    for y in ([CLASSES + 1, TWO], [CLASSES + 1], {"one": CLASSES + 1}):
        assert [v.fault for v in check(model, X, y)] == ["labels do not fit"]
    single = keras.Model(inputs, one)
    single.compile("sgd", "sparse_categorical_crossentropy")
    assert check(single, X, [CLASSES]) == []


def test_batches_of_a_fixed_size():
    model = keras.Sequential([keras.Input(batch_shape=(16, 5, 2)), layers.LSTM(4, stateful=True)])
    model.add(layers.Dense(1))
    model.compile("sgd", "mse")
    assert check(model, RNG.normal(size=(60, 5, 2)), TWO) == []


def test_several_outputs_are_judged_one_by_one():
    inputs = keras.Input((4,))
    outputs = {"one": layers.Dense(1, "softmax", name="one")(inputs)}
    outputs["three"] = layers.Dense(3, "softmax", name="three")(inputs)
    two = {"one": "binary_crossentropy", "three": "sparse_categorical_crossentropy"}
    for given, loss, y in (
        ([*outputs.values()], [*two.values()], [TWO, CLASSES + 1]),
        (outputs, two, {"three": CLASSES + 1, "one": TWO}),
        (
            {"a": outputs["three"], "b": outputs["one"]},  # whose keys are no names of layers
            {"a": two["three"], "b": two["one"]},
            {"a": CLASSES + 1, "b": TWO},
        ),
    ):
        model = keras.Model(inputs, given)
        model.compile("sgd", loss)
        assert {(v.fault, v.where) for v in check(model, X, y)} == {
            ("softmax over one unit", ("one",)),
            ("labels do not fit", ("three",)),
        }
    with pytest.raises(ValueError, match=r"`y` must be a dict with keys among .*not \{'other'\}"):
        check(model, X, {"a": CLASSES, "other": TWO})
    with pytest.raises(ValueError, match="`y` must have labels for 2 outputs, not for 3"):
        check(model, X, [TWO, TWO, TWO])
    with pytest.raises(ValueError, match="`y` must have labels for one output, not for 2"):
        faults(3, "softmax", "sparse_categorical_crossentropy", y=[CLASSES, CLASSES])


def test_labels_may_be_a_list_of_numbers():
    y = (CLASSES + 1).tolist()
    assert faults(3, "softmax", "sparse_categorical_crossentropy", y=y) == ["labels do not fit"]


def test_linear_layers_in_a_row_are_a_hint():
    middle = [layers.Dense(8, name="linear"), layers.Dropout(0.1), layers.Activation("linear")]
    model = network(3, "softmax", *middle)
    model.compile("sgd", "categorical_crossentropy")
    [verdict] = check(model)
    assert verdict.certainty == "hint"
    assert verdict.where == ("linear", "last")
    for between in (layers.BatchNormalization(), layers.ReLU(), layers.Activation("tanh")):
        model = network(3, "softmax", layers.Dense(8), between)
        model.compile("sgd", "categorical_crossentropy")
        assert check(model) == []


@pytest.mark.parametrize(
    ("middle", "fault"),
    [
        ([layers.Dense(3), layers.ReLU(name="at")], "relu before the activation"),
        ([layers.Dense(3, "relu", name="at"), layers.Dropout(0.2)], "relu before the activation"),
        ([layers.Dense(3, "tanh")], None),
        ([layers.Dense(3, "softmax", name="at")], "softmax applied twice"),
        ([layers.Dropout(0.9, name="at"), layers.Dense(3)], "dropout too strong"),
        ([layers.Dropout(0.7), layers.Dense(3)], None),
    ],
)
def test_layers_that_hinder(middle, fault):
    first = [keras.Input((4,)), layers.Dense(8, "relu")]
    model = keras.Sequential([*first, *middle, layers.Softmax()])
    model.compile("sgd", "categorical_crossentropy")
    assert [(v.fault, v.where[0]) for v in check(model)] == ([(fault, "at")] if fault else [])


def test_softmax_inside_is_a_fault_and_attention_is_not():
    model = network(3, "softmax", layers.Dense(8, "softmax", name="inner"), layers.Dropout(0.1))
    model.compile("sgd", "categorical_crossentropy")
    [verdict] = check(model)
    assert (verdict.fault, verdict.where) == ("softmax inside", ("inner",))
    inputs = keras.Input((4,))
    gate = layers.Dense(4, "softmax")(inputs)
    model = keras.Model(inputs, layers.Dense(3, "softmax")(layers.Multiply()([gate, inputs])))
    model.compile("sgd", "categorical_crossentropy")
    assert check(model) == []


def test_a_softmax_that_keras_does_not_see_gets_its_logits_wrong():
    from_logits = losses.SparseCategoricalCrossentropy(from_logits=True)
    for last, fault in (([], "logits twice"), ([layers.Reshape((2, 3))], LOGITS)):
        first = [keras.Input((4,)), layers.Dense(6), layers.Reshape((2, 3)), layers.Softmax()]
        model = keras.Sequential([*first, *last])
        model.compile("sgd", from_logits)
        [verdict] = check(model)
        assert verdict.fault == fault
    assert "Leave out `from_logits=True`, or the softmax." in verdict.text


def test_what_is_certain_comes_first():
    model = network(3, "relu", layers.Dense(8))
    model.compile("sgd", "sparse_categorical_crossentropy")
    found = check(model, 100 * X, CLASSES)
    assert [v.certainty for v in found] == ["certain", "likely", "hint"]


def test_a_training_of_ones_own_may_use_its_loss_as_it_likes():
    class Own(keras.Sequential):
        def train_step(self, data):
            return super().train_step(data)

    model = Own([keras.Input((4,)), *network(3, "softmax").layers])
    model.compile("sgd", "mse")
    assert check(model, X, ONE_HOT) == []


def test_nothing_is_built_or_changed():
    model = network(3, "softmax", layers.BatchNormalization(), layers.Dropout(0.5))
    model.compile(keras_lecture_opt.Adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    before = [np.array(v) for v in model.variables]
    state = np.random.get_state()[1].copy()
    x, y = X.copy(), CLASSES.copy()
    check(model, x, y)
    check(model, tf.constant(x), tf.constant(y))
    assert not model.optimizer.built
    assert np.array_equal(x, X)
    assert np.array_equal(y, CLASSES)
    assert np.array_equal(np.random.get_state()[1], state)
    for old, new in zip(before, model.variables, strict=True):
        assert np.array_equal(old, np.array(new))


def test_labels_with_axes_that_outputs_do_not_have():
    """Keras would compare each output with the labels of every example."""
    y = RNG.normal(size=(60, 3))
    for labels, problem in (
        (y, None),
        (y[:, :, np.newaxis], None),  # which Keras drops
        (y[:, np.newaxis], "of shape (1, 3), and outputs are of shape (3,)"),
        (np.stack([y, y], axis=1), "of shape (2, 3)"),
    ):
        verdicts = found(3, None, "mse", y=labels)
        assert [v.fault for v in verdicts] == ["labels do not fit"] * bool(problem)
        assert (problem or "") in str(verdicts)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[:, :2], None, "`x` must be a batch of inputs, as the model takes it"),
        (X[:1], None, "`x` must have at least 2 examples, not 1"),
        (X[:0], CLASSES[:0], "`x` must have at least 2 examples, not 0"),
        (X, CLASSES[:50], "`x` and `y` must be equally long, not 60 and 50"),
        (X, np.array(["cat"] * 60), "`y` must be numbers"),
        (3.0, None, "`x` must be arrays or tensors"),
        (X, 3.0, "`y` must be arrays or tensors"),
    ],
)
def test_arrays_that_do_not_fit(x, y, message):
    with pytest.raises((TypeError, ValueError), match=message):
        found(3, "softmax", "sparse_categorical_crossentropy", x, y)


def test_models_that_cannot_be_checked():
    with pytest.raises(TypeError, match=r"`model` must be a keras\.Model, not 3"):
        check(3)
    with pytest.raises(ValueError, match="`model` must be compiled"):
        check(network(3))


@pytest.mark.parametrize(
    ("units", "loss", "y", "expected"),
    [
        (1, "mse", 3 * TWO, 2.25),
        (1, "mae", np.where(np.arange(60) < 15, 8.0, 0.0), 2.0),
        (1, losses.Huber(), 3 * TWO, 1.0),
        (1, "binary_crossentropy", TWO, np.log(2)),
        (1, losses.BinaryCrossentropy(from_logits=True), np.arange(60) < 15, 0.5623351446188083),
        (3, "sparse_categorical_crossentropy", CLASSES, np.log(3)),
        (3, losses.SparseCategoricalCrossentropy(ignore_class=2), CLASSES, np.log(2)),
        (3, losses.CategoricalCrossentropy(from_logits=True), ONE_HOT, np.log(3)),
        (3, "categorical_crossentropy", ONE_HOT, np.log(3)),
    ],
)
def test_loss_of_the_best_constant(units, loss, y, expected):
    model = network(units, "sigmoid" if units == 1 else "softmax")
    model.compile("sgd", loss)
    [objective] = objectives(model)
    y = np.asarray(y, "float64")
    found = loss_of(model, y, best_constant(model, objective, y))
    assert found == pytest.approx(expected, rel=1e-5)
