"""Every rule in Keras's own `fit`, in float64 against the NumPy reference."""

import functools
import gc
import signal
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import RULES, run_alone
from linear import (
    BATCH,
    EMA,
    EPOCHS,
    ETA,
    START,
    STEPS,
    Halving,
    SideBySide,
    X,
    Y,
    assert_follows,
    assert_trained,
    batch,
    by_python,
    expected,
    fit,
    gradients_at,
    halved,
    linear_model,
    mirrored,
    normal,
)

pytestmark = [pytest.mark.usefixtures("float64", "compiled_updates"), pytest.mark.alike]


@functools.cache
def plain_fit(rule):
    """The model that a rule trained with nothing around it. The first step builds the optimizer."""
    return fit(linear_model(rule(ETA)))


def test_fit(rule):
    assert_trained(plain_fit(rule), rule)


class Positive(keras.constraints.Constraint):
    """Max(w, 0), by NumPy."""

    def __call__(self, w):
        return tf.ensure_shape(tf.numpy_function(lambda w: np.maximum(w, 0), [w], w.dtype), w.shape)


def projected(w):
    return np.maximum(w, 0) if w.ndim == 2 else w


def train_on_batches(model):
    for i in range(STEPS):
        model.train_on_batch(*batch(i))


def train_on_the_first_batch(model):
    data = tf.data.Dataset.from_tensor_slices(batch(0)).batch(BATCH).repeat()
    model.fit(data, steps_per_epoch=1000, shuffle=False, verbose=0)


def always_the_first_batch(weights, i):
    return gradients_at(weights, 0)


def fit_and_finish(model):
    """What `fit` does with the optimizer of its model when it ends."""
    fit(model)
    for each in model.models:
        each.optimizer.finalize_variable_values(each.trainable_variables)


def fit_with_scheduler(model):
    """Keras's callback sets the rate of one model's optimizer."""
    schedulers = []
    for each in model.models:
        scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: ETA / 2**epoch)
        scheduler.set_model(each)
        schedulers.append(scheduler.on_epoch_begin)

    def set_rates(epoch, logs):
        for set_rate in schedulers:
            set_rate(epoch, logs)

    fit(model, callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=set_rates)])


RATE = tf.Variable(ETA, dtype="float64")


def fit_and_change_the_rate(model):
    RATE.assign(ETA)
    fit(model, epochs=1)
    RATE.assign(ETA / 4)
    fit(model, epochs=2)


# Name -> arguments of the optimizer, of the model, of `compile`; what trains; the reference's.
FITS = {
    "run_eagerly": ({}, {}, {"run_eagerly": True}, fit, {}),
    "steps_per_execution": ({}, {}, {"steps_per_execution": 3}, fit, {}),
    "train_on_batch": ({}, {}, {}, train_on_batches, {}),
    "a thousand steps": (
        *({}, {}, {"steps_per_execution": 100}, train_on_the_first_batch),
        # Errors of rounding grow where a rule divides by gradients that have all but vanished.
        {"steps": 1000, "gradients": always_the_first_batch, "tolerance": 1e-9},
    ),
    "averages": ({"use_ema": True, **EMA}, {}, {}, fit_and_finish, EMA),
    "schedule": ({"learning_rate": Halving(by_python)}, {}, {}, fit, {"rate_at": halved}),
    "scheduler": ({"learning_rate": 0.5}, {}, {}, fit_with_scheduler, {"rate_at": halved}),
    "callable rate": (
        *({"learning_rate": lambda: RATE}, {}, {}, fit_and_change_the_rate),
        {"rate_at": lambda i: ETA if i < 4 else ETA / 4},
    ),
    "constraint": (
        *({}, {"constraint": keras.constraints.NonNeg()}, {}, fit),
        {"constraint": projected},
    ),
    "constraint by NumPy": ({}, {"constraint": Positive()}, {}, fit, {"constraint": projected}),
}


@functools.cache
def trained(name, rules):
    of_optimizer, of_model, of_compile, train, _ = FITS[name]
    models = [
        linear_model(rule(**{"learning_rate": ETA, **of_optimizer}), **of_model) for rule in rules
    ]
    train(SideBySide(models, **of_compile))
    return dict(zip(rules, models, strict=True))


@pytest.mark.parametrize("name", FITS)
def test_fit_with(name, rule, rules):
    assert_fit_with(name, rule, rules)


def assert_fit_with(name, rule, rules):
    *_, around = FITS[name]
    assert_trained(trained(name, rules)[rule], rule, **around)


def test_averages_are_the_weights_after_fit():
    """`fit` itself puts them there: whatever the rule is."""
    model = fit(linear_model(RULES[-1](ETA, use_ema=True, **EMA)))
    assert_trained(model, RULES[-1], **EMA)


def test_subclass_that_needs_python_runs_eagerly(rule):
    seen = []

    class Looking(rule):
        def update_step(self, gradient, variable, learning_rate):
            seen.append(gradient.numpy())
            super().update_step(gradient, variable, learning_rate)

    assert_trained(fit(linear_model(Looking(ETA), run_eagerly=True)), rule)
    assert len(seen) == 2 * STEPS


@functools.cache
def frozen_and_thawed(rules, **arguments):
    models = [linear_model(rule(ETA)) for rule in rules]
    for trained in (True, False, True):
        for model in models:
            model.optimizer.build(model.trainable_variables)
            model.layers[0].kernel.trainable = trained
            model.compile(model.optimizer, "mse")
        before = [model.layers[0].kernel.numpy() for model in models]
        fit(SideBySide(models, **arguments), epochs=1)
        for model, kernel in zip(models, before, strict=True):
            assert np.array_equal(kernel, model.layers[0].kernel.numpy()) != trained
    return dict(zip(rules, models, strict=True))


def test_frozen_and_thawed(rule, rules):
    """As Keras's own way of calling it: no NumPy reference has an Adam that skips steps."""
    pair = [frozen_and_thawed(rules)[rule], frozen_and_thawed(rules, run_eagerly=True)[rule]]
    for a, b in zip(*(m.weights + m.optimizer.variables for m in pair), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-12)


@functools.cache
def trained_in_precision(policy, rules):
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy(policy)
    optimizers = [rule(2.0**-10) for rule in rules]
    if policy == "mixed_float16":  # at Keras's initial scale, 2^15, the first steps overflow
        scaled = keras.optimizers.LossScaleOptimizer
        optimizers = [scaled(optimizer, initial_scale=64.0) for optimizer in optimizers]
    models = [linear_model(optimizer) for optimizer in optimizers]
    fit(SideBySide(models), epochs=1)
    return dict(zip(rules, models, strict=True))


@pytest.mark.parametrize(
    ("policy", "precision"), [("mixed_float16", 2.0**-10), ("mixed_bfloat16", 2.0**-7)]
)
def test_mixed_precision(policy, precision, rule, rules):
    weights, _ = expected(rule, 4, rate_at=lambda i: 2.0**-10)
    variables = trained_in_precision(policy, rules)[rule].trainable_variables
    for variable, w, start in zip(variables, weights, START, strict=True):
        assert variable.dtype == "float32"
        path = np.abs(w - start).max()
        np.testing.assert_allclose(variable.numpy(), w, rtol=0, atol=20 * precision * path)


IDS = (np.abs(X[:, :3]) * 2).astype("int32") % 6  # many of them repeated
EMBEDDING_START = normal((6, 3), (9, 2), (2,))


def gradients_with_embedding(weights, i):
    """By hand: of the mean squared error of concatenated rows times W plus b."""
    E, W, b = weights
    rows = slice(i % 4 * BATCH, (i % 4 + 1) * BATCH)
    x = E[IDS[rows]].reshape(-1, 9)
    error = 2 * (x @ W + b - Y[rows]) / Y[rows].size
    to_rows = np.zeros_like(E)
    np.add.at(to_rows, IDS[rows], (error @ W.T).reshape(-1, 3, 3))
    return [to_rows, x.T @ error, error.sum(axis=0)]


@functools.cache
def trained_with_embedding(rules):
    models = []
    for rule in rules:
        embedding = keras.layers.Embedding(6, 3)
        layers = [keras.Input((3,), dtype="int32"), embedding, keras.layers.Flatten()]
        model = keras.Sequential([*layers, keras.layers.Dense(2)])
        model.set_weights(EMBEDDING_START)
        model.compile(rule(ETA), "mse")
        models.append(model)
    SideBySide(models).fit(IDS, Y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0)
    return dict(zip(rules, models, strict=True))


def test_embedding_beside_dense_layers(rule, rules):
    model = trained_with_embedding(rules)[rule]
    around = {"start": EMBEDDING_START, "gradients": gradients_with_embedding}
    assert_trained(model, rule, 8, **around)


@functools.cache
def trained_by_two(rules):
    inner = {rule: [rule(ETA, name="kernels"), rule(ETA, name="biases")] for rule in rules}
    models = []
    for kernels, biases in inner.values():
        which = keras.optimizers.OptimizerMap(kernels, {".*/bias": biases})
        models.append(linear_model(keras.optimizers.MultiOptimizer(which)))
    fit(SideBySide(models))
    return {rule: (inner[rule], model) for rule, model in zip(rules, models, strict=True)}


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="This version of Keras has none"
)
def test_multi_optimizer(rule, rules):
    weights, states = expected(rule)
    inner, model = trained_by_two(rules)[rule]
    for optimizer, v, w, s in zip(inner, model.trainable_variables, weights, states, strict=True):
        assert_follows(optimizer, [v], [w], [s])


@functools.cache
def trained_in_turns(rules):
    models = [linear_model(rule(ETA)) for rule in rules]
    clones = [keras.models.clone_model(model) for model in models]
    for rule, model, clone in zip(rules, models, clones, strict=True):
        clone.set_weights(START)
        clone.compile(rule.from_config(model.optimizer.get_config()), "mse")
    turns = [SideBySide(models), SideBySide(clones)]
    for _ in range(EPOCHS):
        for each in turns:
            fit(each, epochs=1)
    return dict(zip(rules, zip(models, clones, strict=True), strict=True))


def test_a_model_and_its_clone_train_in_turns(rule, rules):
    for each in trained_in_turns(rules)[rule]:
        assert_trained(each, rule)


def test_trained_model_is_exported(rule, tmp_path):
    model = plain_fit(rule)
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(exported.serve(tf.constant(X)), X @ kernel + bias, rtol=1e-12)


def test_optimizer_is_freed_with_its_model(rule):
    model = linear_model(rule(ETA))
    kept = weakref.ref(model), weakref.ref(model.optimizer)
    fit(model, epochs=1)
    del model
    gc.collect()
    assert [reference() for reference in kept] == [None, None]


@functools.cache
def trained_by_two_devices(rules):
    with mirrored().scope():
        models = [linear_model(rule(ETA)) for rule in rules]
        fit(SideBySide(models))
    return dict(zip(rules, models, strict=True))


def test_mirrored_strategy(rule, rules):
    weights, _ = expected(rule)
    for actual, w in zip(trained_by_two_devices(rules)[rule].get_weights(), weights, strict=True):
        np.testing.assert_allclose(actual, w, rtol=0, atol=1e-12)


KILLED = """
    from common import RULES, make_reproducible
    import os, signal, sys
    import keras
    from linear import fit, linear_model

    class TrainTheNextThenDie(keras.callbacks.Callback):
        def __init__(self, rules):
            super().__init__()
            self.rules = rules
        def on_train_batch_end(self, batch, logs):
            if int(self.model.optimizer.iterations) == 6:  # in the second epoch
                train(self.rules)

    def train(rules):
        if not rules:
            os.kill(os.getpid(), signal.SIGKILL)
        backup = keras.callbacks.BackupAndRestore(os.path.join(sys.argv[1], rules[0].__name__))
        fit(linear_model(rules[0](2.0**-4)), callbacks=[backup, TrainTheNextThenDie(rules[1:])])

    make_reproducible()  # as in the process that resumes
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    train([rule for rule in RULES if rule.__name__ in sys.argv[2:]])
"""


@pytest.fixture(scope="module")
def backups(tmp_path_factory, rules):
    """What BackupAndRestore wrote for each rule before the process was killed in epoch 2."""
    folder = tmp_path_factory.mktemp("backups")
    killed = run_alone(KILLED, str(folder), *(rule.__name__ for rule in rules))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    return folder


def test_backup_resumes_after_a_kill(rule, backups):
    backup = keras.callbacks.BackupAndRestore(backups / rule.__name__)
    epochs = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: begun.append(epoch))
    begun = []
    model = fit(linear_model(rule(ETA)), callbacks=[backup, epochs])
    assert begun == [1, 2]
    pair = (m.weights + m.optimizer.variables for m in (model, plain_fit(rule)))
    for a, b in zip(*pair, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert_trained(model, rule)
