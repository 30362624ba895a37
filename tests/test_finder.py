"""`find_learning_rate`: what it finds, that it leaves no trace, and what it says when it cannot."""

import contextlib
import itertools
import math
import random
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import is_whole
from keras import layers
from linear import mirrored
from matplotlib import pyplot as plt

import keras_lecture_opt as klo
from keras_lecture_opt import comparison, find_learning_rate, plots
from keras_lecture_opt._keras_private import global_seed_state
from keras_lecture_opt.finder import ScaledSchedule, _find, _search
from keras_lecture_opt.finder._batches import batches_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(320, 4)).astype("float32")
Y = (np.tanh(X @ RNG.normal(size=(4, 1))) + X[:, :1] ** 2).astype("float32")
CLASSES = (X[:, 0] > 0).astype("int32") + (X[:, 1] > 0)


def regression(optimizer=None, **compiled):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "tanh"), layers.Dense(1)])
    model.compile(optimizer or klo.SteepestDescent(), "mse", **compiled)
    return model


def few(model, *data, **options):
    """Find a rate in few steps, whether they tell it or not."""
    with warnings.catch_warnings(action="ignore"):
        return find_learning_rate(model, *data, steps=100, verbose=0, **options)


# What it finds.


class Curves:
    """Trainings whose losses are known: what `Trials` is to the search."""

    def __init__(self, loss):
        self.losses, self._loss, self._states = {}, loss, set()

    def train(self, rate, steps):
        losses = self.losses.setdefault(rate, [])
        assert not losses or rate in self._states  # or it would begin anew
        for _ in range(steps):
            losses.append(self._loss(rate, len(losses)))
            if not math.isfinite(losses[-1]):
                return
        self._states.add(rate)

    def keep(self, rates):
        self._states &= {*rates}

    def search(self, begin=-4, steps=500, guessing=None):
        search = _search.Search(self, steps, guessing)
        search.run(begin)
        return search

    @property
    def steps(self):
        return sum(map(len, self.losses.values()))


def bowl(curvature):
    """The losses of steepest descent on a bowl of one weight, with noise that all rates share."""
    noise = 0.01 * np.random.default_rng(0).normal(size=1000)

    def loss(rate, step):
        w = (1 - rate * curvature) ** step
        return float(0.5 * w * w + abs(noise[step])) if abs(w) < 1e100 else math.nan

    return loss


@pytest.mark.parametrize("curvature", [1e-3, 0.1, 1, 30, 1e4, 1e7])
@pytest.mark.parametrize("begin", [-12, -4, 2])
@pytest.mark.parametrize("steps", [100, 500, 2000])
def test_search_finds_the_rate_of_a_bowl(curvature, begin, steps):
    """On a bowl, rates above 2 over the curvature diverge, and half of that is best."""
    curves = Curves(bowl(curvature))
    search = curves.search(begin, steps)
    assert search.is_sure
    assert 0.01 < _search.rate_of(search.best) * curvature < 2
    # One that is hardly too high still falls, or has not risen yet.
    assert 2 <= _search.rate_of(search.too_high) * curvature < 20
    assert curves.steps <= steps
    assert search.best in search.close


def test_search_proposes_the_next_lower_rate_if_it_is_nearly_as_good():
    """It is farther from the one that diverges."""

    def loss(rate, step):
        return math.nan if rate > 0.5 else 1 + math.exp(-step * rate)

    search = Curves(loss).search()
    assert (_search.rate_of(search.best), _search.rate_of(search.too_high)) == (0.1, 1.0)


@pytest.mark.parametrize(("guessing", "proposed"), [(None, 0.1), (0.3, 0.32)])
def test_search_measures_what_is_nearly_as_good_below_guessing(guessing, proposed):
    """All rates soon guess: what counts is the fall from there."""
    levels = {0.032: 0.9, 0.1: 0.22, 0.32: 0.2, 1.0: 0.4}

    def loss(rate, step):
        return 1.0 if step < 4 else levels.get(rate, 0.9 if rate < 0.1 else math.nan)

    assert _search.rate_of(Curves(loss).search(guessing=guessing).best) == proposed


@pytest.mark.parametrize(("lower", "proposed"), [(0.2, 0.1), (0.4, 0.32)])
def test_search_keeps_away_from_a_rate_that_learns_nothing(lower, proposed):
    """One that is good after 100 steps may fail after 200, if the next higher one has failed."""
    levels = {0.1: lower, 0.32: 0.0, 1.0: 1.01}

    def loss(rate, step):
        return 1.0 if step < 4 else levels.get(rate, 0.9 if rate < 0.1 else math.nan)

    search = Curves(loss).search()
    assert _search.rate_of(search.best) == proposed
    assert [_search.rate_of(k) for k in search.close] == [0.32]
    text = " ".join(_find._sentences(search, keras.Variable(1.0), "SGD"))
    assert ("With 0.32 it fell further" in text) == (proposed < 0.32)


def test_search_goes_on_with_the_highest_rates_where_no_loss_falls_at_first():
    """A plateau: the rates that change least have the lowest loss for the first 30 steps."""

    def loss(rate, step):
        if rate > 0.5:
            return math.nan
        return 1 + 0.01 * rate - (step > 30) * rate * (1 - math.exp(-(step - 30) / 10))

    search = Curves(loss).search()
    assert search.is_sure
    assert _search.rate_of(search.best) >= 0.1


@pytest.mark.parametrize("guessing", [None, 0.5])
def test_search_is_not_sure_where_nothing_is_learned(guessing):
    noise = np.random.default_rng(0).normal(size=1000)

    def loss(rate, step):  # with a bound to guess by, it falls to 0.6 at once
        return 1 + 0.1 * float(noise[step]) if guessing is None else 0.6 + 0.4 * (step < 4)

    curves = Curves(loss)
    search = curves.search(guessing=guessing)
    assert not search.is_sure
    assert curves.steps <= 500 * (1 - _search.DIAGNOSIS)  # the rest is for a diagnosis


def test_search_without_any_finite_loss_has_no_best():
    search = Curves(lambda rate, step: math.nan).search()
    assert search.best is None


def test_range_has_no_gap():
    """A rate between two good ones gets worse at the end: the range ends there."""
    levels = {0.01: 0.21, 0.032: 0.1, 0.1: 0.2}

    def loss(rate, step):
        level = levels.get(rate, 0.9 if rate < 0.01 else math.nan)
        return 1.0 if step < 4 else 0.5 if (rate, step > 80) == (0.032, True) else level

    search = Curves(loss).search()
    assert {_search.rate_of(k) for k in search.finals} == {0.01, 0.032, 0.1}
    assert [_search.rate_of(k) for k in search.close] == [0.1]


def test_search_looks_again_at_a_rate_whose_loss_rises_at_first():
    """A spike in the first steps, or a high loss that falls again, is no divergence."""

    def loss(rate, step):
        if rate > 0.5:
            return math.nan
        return math.exp(-step * rate / 10) + 5 * rate * (8 <= step < 20)

    search = Curves(loss).search()
    assert _search.rate_of(search.best) >= 0.1
    assert 0.3 < _search.rate_of(search.too_high) <= 1.0


def anything(rng):
    """Losses with noise, a spike, a plateau, and rates that diverge, some of them late."""
    best, edge = 10 ** rng.uniform(-8, 3), 10 ** rng.uniform(0, 3)
    plateau, spike, soars = rng.integers(0, 60), rng.integers(0, 40), rng.integers(1, 200)
    start, floor, height = rng.choice([0, 1e-9, 1, 100]), rng.uniform(-1, 1), rng.uniform(0, 20)
    noise = rng.choice([0, 0.01, 0.3]) * rng.normal(size=2000)
    rises = rng.choice([math.nan, 1e6, 3.0, 1.0])

    def loss(rate, step):
        if rate > best * edge or (rate > best * 3 and step >= soars):
            return start + rises
        fall = (1 - floor) * (1 - math.exp(-max(0, step - plateau) * rate / best / 30))
        high = height * min(1, rate / best) * (spike <= step < spike + 15)
        return start - fall + high + noise[step]

    return loss


@pytest.mark.parametrize("steps", [100, 500, 2000])
def test_search_keeps_its_promises_whatever_the_losses_are(steps):
    sure = 0
    for seed in range(20_000 // steps):
        rng = np.random.default_rng([steps, seed])
        curves = Curves(anything(rng))
        search = curves.search(int(rng.integers(-15, 6)), steps)
        rates = [rate for rate in curves.losses if rate > _search.rate_of(_search.LOWEST)]
        assert curves.steps <= steps
        assert max(rates) <= _search.rate_of(_search.HIGHEST)
        if search.best is None:
            continue
        close, high = search.close, search.too_high
        assert math.isfinite(curves.losses[_search.rate_of(search.best)][-1])
        assert {*close} <= {*search.finals}
        assert high is None or high > max(search.best, *close)
        if search.is_sure:
            assert search.best <= close[-1]
            assert search.longest >= round(0.08 * steps)
            sure += 1
    assert sure > 5


def test_search_goes_on_below_rates_whose_loss_rises_later():
    """They rise by less than would be hopeless, but they rise."""

    def loss(rate, step):
        if rate > 0.5:
            return math.nan
        return 3.0 if rate > 0.02 and step >= 13 else math.exp(-step * rate)

    search = Curves(loss).search(-6)
    assert _search.rate_of(search.best) == 0.01
    assert search.is_sure


@pytest.mark.parametrize("level", [0.1, 0.7, 0.0])
def test_search_is_not_sure_of_a_constant_loss(level):
    assert not Curves(lambda rate, step: math.nan if rate > 0.5 else level).search().is_sure


def test_search_says_that_the_loss_rises_at_every_rate():
    search = Curves(lambda rate, step: 1.0 + 2 * (rate > 1e-10) * (step > 3)).search()
    assert search.best is None


@pytest.mark.parametrize("soars", [13, 41, 90])
def test_search_leaves_rates_that_soar_later(soars):
    """All those that go on may: then lower ones do."""

    def loss(rate, step):
        if rate > 0.5:
            return math.nan
        return math.inf if rate > 2e-3 and step >= soars else math.exp(-step * rate)

    curves = Curves(loss)
    search = curves.search()
    assert math.isfinite(curves.losses[_search.rate_of(search.best)][-1])
    assert search.is_sure == (search.longest >= 40)


def test_search_is_not_sure_where_no_rate_diverges():
    search = Curves(lambda rate, step: 1 / (1 + step)).search()
    assert not search.is_sure
    assert search.too_high is None


def test_search_takes_negative_losses():
    """A loss that begins at 0 and falls, as a negated similarity does."""

    def loss(rate, step):
        return math.nan if rate > 2 else -(1 - math.exp(-rate * step))

    search = Curves(loss).search()
    assert 0.03 < _search.rate_of(search.best) < 2


def test_found_rate_is_near_the_best_and_does_not_diverge():
    model = regression()
    found = find_learning_rate(model, X, Y, steps=300, verbose=0)
    assert found.is_sure
    assert (found.optimizer, found.learning_rate) == ("SteepestDescent", found.rate)
    assert found.low <= found.rate <= found.high < found.diverges
    assert found.steps == sum(map(len, found.losses.values())) <= 300
    start = model.get_weights()

    def loss_at(rate):
        model.set_weights(start)
        model.optimizer.learning_rate = rate
        return model.fit(X, Y, epochs=10, verbose=0, shuffle=False).history["loss"][-1]

    losses = {k: loss_at(_search.rate_of(k)) for k in range(-6, 2)}
    best = min(losses.values())
    assert loss_at(found.rate) - best < 0.05 * (found.start - best)


def test_losses_are_those_of_a_training_at_each_rate():
    """Each rate begins at the model's weights: its losses are those of a loop of one's own."""
    model = regression(klo.Momentum(clipnorm=1.0, weight_decay=0.01))
    found = few(model, X, Y)
    batches = batches_of(X, Y, None, None, None, 50)
    for rate, losses in found.losses.items():
        twin = regression(klo.Momentum(rate, clipnorm=1.0, weight_decay=0.01), run_eagerly=True)
        twin.set_weights(model.get_weights())
        for i, loss in enumerate(losses):
            twin.reset_metrics()
            np.testing.assert_allclose(twin.train_on_batch(*batches[i]), loss, rtol=2e-5)


def test_repr_and_text_say_what_was_found():
    found = find_learning_rate(regression(klo.Adam()), X, Y, verbose=0)
    assert repr(found) == (
        f"<Adam: learning_rate {found.rate:g}; {found.low:g} to {found.high:g} are "
        f"within 5%; {found.diverges:g} diverges>"
    )
    for part in (f"With {found.rate:g} the loss falls", f"With {found.diverges:g} it rises"):
        assert part in found.text
    assert f"CosineDecay({found.rate:g}, steps)" in found.text


# It leaves no trace.


def randoms():
    """Return what each generator draws next."""
    drawn = random.random(), np.random.rand(), keras.random.uniform(()), tf.random.uniform(())
    return [float(value) for value in drawn]


class Noisy(layers.Layer):
    """Draws from Keras's global generator."""

    def call(self, x, training=False):
        return x + 0.1 * keras.random.normal(keras.ops.shape(x)) if training else x


DATA = {
    "arrays": lambda: (X, CLASSES),
    "shuffled": lambda: (
        tf.data.Dataset.from_tensor_slices((X, CLASSES)).shuffle(320).batch(32).prefetch(1),
    ),
    "cached": lambda: (
        tf.data.Dataset.from_tensor_slices((X, CLASSES)).shuffle(320).cache().batch(32),
    ),
    "drawn": lambda: (Noised(),),
}


class Noised(keras.utils.PyDataset):
    """Draws from the global generators of Python, NumPy and TensorFlow."""

    def __len__(self):
        return 10

    def __getitem__(self, i):
        some = slice(32 * i, 32 * i + 32)
        noise = random.random() + np.random.normal(size=(32, 4)) + tf.random.normal((32, 4)).numpy()
        return X[some] + noise.astype("float32"), CLASSES[some]


ENDS = {"interrupted": KeyboardInterrupt, "in error": RuntimeError}


class Ending(keras.Model):
    """Raises in its 20th step, if it is told what."""

    ends, steps = None, 0

    def train_step(self, data):
        self.steps += 1
        if self.ends and self.steps == 20:
            raise self.ends
        return super().train_step(data)


def all_kinds(optimizer):
    """A model with dropout, noise, batch statistics, a penalty and a metric."""
    inputs = keras.Input((4,))
    x = layers.Dense(6, "relu", kernel_regularizer="l2")(inputs)
    x = layers.BatchNormalization()(layers.Dropout(0.5)(x))
    model = Ending(inputs, layers.Dense(3, "softmax")(Noisy()(x)))
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def state(model):
    """Return all that a search could change, without changing it."""
    variables = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    values = [np.asarray(variable).tobytes() for variable in variables]
    names = [metric.name for metric in model.metrics]
    generators = random.getstate(), repr(np.random.get_state())
    functions = (
        model.optimizer,
        model.train_function,
        model.stop_training,
        *map(float, model.losses),
    )
    return values, names, model.optimizer.built, generators, functions


@pytest.mark.parametrize(
    ("data", "ending"),
    [
        pytest.param("arrays", "", marks=pytest.mark.full),
        pytest.param("arrays", "trained before", marks=pytest.mark.full),
        pytest.param("arrays", "interrupted", marks=pytest.mark.full),
        ("shuffled", "trained before"),
        pytest.param("shuffled", "in error", marks=pytest.mark.full),
        pytest.param("cached", "", marks=pytest.mark.full),
        ("drawn", ""),
    ],
)
def test_training_after_it_equals_one_without_it(data, ending):
    def trained(finds):
        keras.utils.set_random_seed(3)
        global_seed_state().assign([3, 0])  # which Keras 3.12 does not set
        model = all_kinds(klo.Adam(keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)))
        given, options = DATA[data](), {"shuffle": data == "arrays", "verbose": 0}
        model(X[:32], training=True)
        if ending == "trained before":
            model.fit(*given, **options)
        if finds:
            before = state(model)
            model.ends, model.steps, model.run_eagerly = ENDS.get(ending), 0, ending in ENDS
            with pytest.raises(ENDS[ending]) if ending in ENDS else contextlib.nullcontext():
                few(model, *given)
            assert ending not in ENDS or model.steps == 20
            model.ends, model.run_eagerly = None, False
            assert state(model) == before
        history = model.fit(*given, epochs=2, **options).history
        return history, [np.asarray(v).tobytes() for v in model.variables], randoms()

    assert trained(True) == trained(False)


# Whatever `fit` trains.


class Pairs(keras.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, i):
        return X[32 * i : 32 * i + 32], Y[32 * i : 32 * i + 32]


class OwnStep(keras.Sequential):
    """Learns without labels: to put out its inputs."""

    def train_step(self, x):
        with tf.GradientTape() as tape:
            loss = keras.ops.mean(keras.ops.square(self(x, training=True) - x))
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return {"loss": loss}


def several():
    """A model of two inputs, in a dict, and two outputs."""
    inputs = {name: keras.Input((2,), name=name) for name in ("a", "b")}
    x = layers.Concatenate()([inputs["a"], inputs["b"]])
    outputs = {"y": layers.Dense(1, name="y")(x), "c": layers.Dense(3, "softmax", name="c")(x)}
    model = keras.Model(inputs, outputs)
    losses = {"y": "mse", "c": "sparse_categorical_crossentropy"}
    model.compile(klo.Adam(), losses, loss_weights={"y": 0.5, "c": 1.0})
    return model, {"a": X[:, :2], "b": X[:, 2:]}, {"y": Y, "c": CLASSES}


def own_step():
    model = OwnStep([keras.Input((4,)), layers.Dense(4)])
    model.compile(klo.Momentum())
    return model, X


def mixed():
    policy = keras.mixed_precision.DTypePolicy("mixed_float16")
    dense = [layers.Dense(8, "tanh", dtype=policy), layers.Dense(1, dtype=policy)]
    model = keras.Sequential([keras.Input((4,)), *dense])
    model.compile(keras.optimizers.LossScaleOptimizer(klo.Adam(), initial_scale=64.0), "mse")
    return model, X, Y


def weighted():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, "softmax")])
    model.compile(keras.optimizers.AdamW(weight_decay=0.1), "sparse_categorical_crossentropy")
    return model, X, CLASSES


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (several, {}),
        (own_step, {"batch_size": 64}),
        (mixed, {}),
        (weighted, {"class_weight": {np.float64(0): 3.0, True: tf.constant(1.0), -1: 2.0}}),
        (lambda: (regression(), Pairs()), {}),
        (lambda: (regression(run_eagerly=True), X, Y), {"sample_weight": np.ones(320)}),
        (lambda: (regression(klo.Adam(gradient_accumulation_steps=2)), X, Y), {}),
        (lambda: (regression(keras.optimizers.Lion(use_ema=True)), *map(tf.constant, (X, Y))), {}),
    ],
    ids=["several", "own step", "mixed", "weights", "PyDataset", "eager", "accumulated", "tensors"],
)
def test_any_model_and_data(make, options):
    model, *data = make()
    before = state(model)
    found = few(model, *data, **options)
    assert state(model) == before
    assert 0 < found.rate < math.inf
    assert found.steps <= 100
    assert found.start > 0


def test_recurrent_layers_begin_each_rate_with_their_own_states():
    layer = layers.GRU(3, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(32, 2, 2)), layer, layers.Dense(1)])
    model.compile("sgd", "mse")
    before = [state.numpy() for state in layer.states]
    found = few(model, X.reshape(-1, 2, 2), Y)
    np.testing.assert_array_equal([state.numpy() for state in layer.states], before)
    assert len({losses[0] for losses in found.losses.values()}) == 1


def test_variables_stay_without_decay():
    """Which ones, no configuration says."""
    optimizer = keras.optimizers.AdamW(1e-10, weight_decay=5e9)
    optimizer.exclude_from_weight_decay(var_names=["kernel", "bias"])
    found = few(regression(optimizer), X, Y)
    assert np.isfinite(found.losses[1e-10]).all()
    assert len({np.float32(losses[0]) for losses in found.losses.values()}) == 1
    assert found.start == pytest.approx(float(np.mean(found.losses[1e-10])))


def test_weights_of_classes_are_those_of_fit():
    [(_, y, weights)] = batches_of(X, CLASSES, 320, None, {0: 3.0}, 1)
    np.testing.assert_array_equal(weights, np.where(y == 0, 3.0, 1.0))


def test_a_schedule_is_scaled_so_that_its_highest_rate_is_the_one_found():
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, 1000, warmup_target=0.002, warmup_steps=300
    )
    models = [regression(klo.Adam(rate)) for rate in (0.002, schedule)]
    models[1].set_weights(models[0].get_weights())
    constant, decayed = (few(model, X, Y) for model in models)
    assert constant.losses.keys() == decayed.losses.keys()
    assert constant.rate == decayed.rate
    assert isinstance(decayed.learning_rate, ScaledSchedule)
    rates = [float(decayed.learning_rate(step)) for step in range(0, 1000, 5)]
    assert max(rates) == pytest.approx(decayed.rate, rel=0.02)
    assert rates[0] == 0
    for wrong in (-1, 0, np.nan, np.inf):
        with pytest.raises(ValueError, match="`factor` must be a finite number > 0"):
            ScaledSchedule(schedule, wrong)
    with pytest.raises(TypeError, match="`schedule` must be a LearningRateSchedule"):
        ScaledSchedule(0.1, 2)
    restored = ScaledSchedule.from_config(decayed.learning_rate.get_config())
    assert [float(restored(step)) for step in range(0, 1000, 5)] == rates
    model = regression(klo.Adam(schedule))
    model.optimizer.learning_rate = decayed.learning_rate
    model.fit(X, Y, verbose=0)


def test_a_callable_rate_is_scaled():
    found = few(regression(klo.Adam(lambda: 0.002)), X, Y)
    assert found.learning_rate() == pytest.approx(found.rate)


# When it cannot tell.


def test_labels_of_other_rows_are_named():
    random = np.random.default_rng(1)
    x = random.normal(size=(2000, 4)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "relu"), layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(klo.Adam(), loss)
    with pytest.warns(UserWarning, match="labels that do not belong to the inputs"):
        found = find_learning_rate(model, x, random.integers(3, size=2000), verbose=0)
    assert not found.is_sure
    assert "unsure" in repr(found)
    assert found.steps <= 500


def test_dead_units_are_named():
    dead = layers.Dense(8, "relu", bias_initializer=keras.initializers.Constant(-100))
    model = keras.Sequential([keras.Input((4,)), dead, layers.Dense(3, "softmax")])
    model.compile(klo.Adam(), "sparse_categorical_crossentropy")
    with pytest.warns(UserWarning, match="ReLUs of .* are 0 for all"):
        found = find_learning_rate(model, X, CLASSES, verbose=0)
    assert found.verdicts[0].fault in ("frozen", "no gradient", "dead units")


def test_inputs_that_are_not_finite_are_named():
    x = X.copy()
    x[:, 0] = np.nan
    with pytest.raises(ValueError, match=r"At every learning rate .* NaN"):
        few(regression(), x, Y)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": keras.Model}, TypeError, "`model` must be a keras.Model"),
        ({"model": keras.Sequential([layers.Dense(1)])}, ValueError, "compiled with an optimizer"),
        ({"x": iter([(X, Y)]), "y": None}, TypeError, "`x` must be arrays"),
        ({"x": X[:0], "y": Y[:0]}, ValueError, "arrays of equal lengths"),
        ({"x": X[:9]}, ValueError, "arrays of equal lengths"),
        ({"y": None, "sample_weight": np.ones(9)}, ValueError, "arrays of equal lengths"),
        ({"x": Pairs()}, TypeError, "`y` must be None beside"),
        ({"x": tf.data.Dataset.range(0), "y": None}, ValueError, "at least one batch"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be an integer >= 1"),
        ({"verbose": "loud"}, ValueError, '`verbose` must be "auto", 0, 1 or 2'),
        ({"class_weight": [1, 2]}, TypeError, "`class_weight` must be a dict"),
        ({"class_weight": {0: -1.0}}, ValueError, "`class_weight` must be a dict"),
        ({"class_weight": {"a": 1.0}}, TypeError, "`class_weight` must be a dict"),
        ({"class_weight": {0.5: 1.0}}, ValueError, "`class_weight` must be a dict"),
        ({"y": np.array(["cat"] * 320)}, TypeError, "`y` must be numbers"),
        ({"y": np.where(Y > 0, np.inf, Y)}, ValueError, "At every learning rate"),
        ({"steps": 99}, ValueError, "`steps` must be an integer >= 100"),
        (
            {"sample_weight": np.ones(320), "class_weight": {0: 1.0}},
            ValueError,
            "`class_weight` must be None beside",
        ),
    ],
)
def test_wrong_arguments_are_refused(change, error, message):
    arguments = {"model": regression(), "x": X, "y": Y, "verbose": 0, **change}
    with pytest.raises(error, match=message):
        find_learning_rate(**arguments)


def test_wrong_models_are_refused():
    unbuilt = keras.Sequential([layers.Dense(1)])
    unbuilt.compile("sgd", "mse")
    without_optimizer = regression()
    without_optimizer.optimizer = None
    frozen = regression()
    frozen.trainable = False
    refrozen = regression(klo.Adam())
    refrozen.fit(X, Y, verbose=0)
    refrozen.layers[0].trainable = False
    still = regression(klo.Adam(lambda: 0.0))
    two = regression()
    two.second_optimizer = keras.optimizers.SGD()
    with mirrored().scope():
        replicated = regression()
    for model, message in (
        (unbuilt, "must be built"),
        (without_optimizer, "`model` must be compiled with an optimizer"),
        (two, "trained by one optimizer"),
        (frozen, "one with weights that are trained"),
        (refrozen, "compiled again after layers were frozen"),
        (still, "whose highest learning rate is finite"),
        (replicated, "trained by one replica"),
    ):
        with pytest.raises(ValueError, match=message):
            few(model, X, Y)


# In pictures, in programs, in comparisons.


def test_picture_shows_several_findings():
    found = {name: few(regression(klo.Adam(clipnorm=c)), X, Y) for name, c in (("a", 1), ("b", 2))}
    ax = plots.learning_rates(found)
    assert is_whole(ax.figure)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [text.removesuffix(", unsure") for text in texts] == [
        f"{name}, {one.rate:g}" for name, one in found.items()
    ]
    plt.close(ax.figure)
    with pytest.raises(TypeError, match="`found` must be what"):
        plots.learning_rates([0.1])
    with pytest.raises(ValueError, match="`found` must be what"):
        plots.learning_rates([])


def test_comparison_takes_its_rates_around_those_that_are_found(tmp_path, capfd):
    def build():
        return keras.Sequential([keras.Input((4,)), layers.Dense(1)])

    def decayed(learning_rate):
        return klo.Adam(keras.optimizers.schedules.CosineDecay(2 * learning_rate, 20))

    workload = comparison.Workload(build, (X, Y), "mse")
    optimizers = {"SteepestDescent": klo.SteepestDescent, "decayed": decayed}
    options = {"rungs": [(1, 5), (2, 1)], "seeds": 1, "folder": tmp_path}
    with pytest.raises(TimeoutError, match="0 of 2 learning rates are found"):
        comparison.compare(workload, optimizers, **options, seconds=1e-9)
    study = comparison.compare(workload, optimizers, **options)
    said = capfd.readouterr().err
    assert "a learning rate is found for each optimizer" in said
    page = study.report(tmp_path / "page") / "README.md"
    page = page.read_text(encoding="utf-8")
    assert "`find_learning_rate` found with the first seed" in page
    for name, found in study.proposals.items():
        written = f"{name} {found['rate']:.2g}{'' if found['is_sure'] else ' (unsure)'}"
        assert written in said
        assert written in page
        rates = [trial["learning_rate"] for trial in study.trials[name].values()]
        assert rates[2] == pytest.approx(found["rate"], rel=0.05)
        assert [b / a for a, b in itertools.pairwise(rates)] == pytest.approx(
            [10**0.5] * 4, rel=0.1
        )
    model = workload.new_model(klo.Adam(0.001), 0)
    twin = find_learning_rate(model, workload.batches(0, 0), verbose=0)
    assert study.proposals["decayed"]["rate"] == pytest.approx(twin.rate / 2)
    again = comparison.compare(workload, optimizers, **options)
    assert (again.proposals, again.results) == (study.proposals, study.results)
    assert comparison.load(tmp_path).proposals == study.proposals
