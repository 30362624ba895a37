"""`find_learning_rate`: what it finds, that it leaves no trace, and what it says when it cannot."""

import math
import random
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_lecture_opt as klo
from keras_lecture_opt import find_learning_rate
from keras_lecture_opt.finder import _search
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
        self.losses, self._loss, self.kept = {}, loss, []

    def train(self, rate, steps):
        losses = self.losses.setdefault(rate, [])
        for _ in range(steps):
            losses.append(self._loss(rate, len(losses)))
            if not math.isfinite(losses[-1]):
                return

    def keep(self, rates):
        self.kept.append(rates)

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


def test_search_does_not_propose_the_neighbour_of_one_that_diverges():
    """If the next lower rate is nearly as good."""

    def loss(rate, step):
        return math.nan if rate > 0.5 else 1 + math.exp(-step * rate)

    search = Curves(loss).search()
    assert (_search.rate_of(search.best), _search.rate_of(search.too_high)) == (0.1, 1.0)


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
        twin = regression(klo.Momentum(rate, clipnorm=1.0, weight_decay=0.01))
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


def all_kinds(optimizer, **compiled):
    """A model with dropout, noise, batch statistics, a penalty and metrics."""
    inputs = keras.Input((4,))
    x = layers.Dense(6, "relu", kernel_regularizer="l2")(inputs)
    x = layers.BatchNormalization()(layers.Dropout(0.5)(x))
    outputs = layers.Dense(3, "softmax")(Noisy()(x))
    model = keras.Model(inputs, outputs)
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer, loss, metrics=["accuracy", keras.metrics.Mean()][:1], **compiled)
    return model


def state(model):
    variables = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    names = [metric.name for metric in model.metrics]
    values = [np.asarray(variable).tobytes() for variable in variables]
    return values, names, model.optimizer.built, model.train_function, model.stop_training


DATA = {
    "arrays": lambda: (X, CLASSES),
    "shuffled": lambda: (
        tf.data.Dataset.from_tensor_slices((X, CLASSES)).shuffle(320).batch(32).prefetch(1),
    ),
}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("ending", ["trained before", "interrupted", "in error", ""])
def test_training_after_it_equals_one_without_it(data, ending, monkeypatch):
    ends = {"interrupted": KeyboardInterrupt, "in error": RuntimeError}

    def trained(finds):
        keras.utils.set_random_seed(3)
        model = all_kinds(klo.Adam(keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)))
        given = DATA[data]()
        if ending == "trained before":
            model.fit(*given, shuffle=data == "arrays", verbose=0)
        if finds:
            before = state(model), model.optimizer, randoms_kept(), list(model.losses)
            steps = []

            def step(self, x):
                steps.append(x)
                if ending in ends and len(steps) == 20:
                    raise ends[ending]
                return all_steps(self, x)

            all_steps = keras.Model.train_step
            if ending in ends:
                model.compiled_eagerly = model.run_eagerly
                model.run_eagerly = True
                monkeypatch.setattr(keras.Model, "train_step", step)
                with pytest.raises(ends[ending]):
                    few(model, *given)
                monkeypatch.undo()
                model.run_eagerly = model.compiled_eagerly
                assert len(steps) == 20
            else:
                few(model, *given)
            assert (state(model), model.optimizer, randoms_kept()) == before[:3]
        shuffle = data == "arrays"
        history = model.fit(*given, epochs=2, shuffle=shuffle, verbose=0).history
        return history, [np.asarray(v).tobytes() for v in model.variables], randoms()

    assert trained(True) == trained(False)


def randoms_kept():
    """Return what `random` and NumPy would draw, without drawing it."""
    return random.getstate(), repr(np.random.get_state())
