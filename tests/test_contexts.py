"""Every rule wherever a Keras optimizer can be used, in float64 against the NumPy reference."""

import gc
import signal
import weakref

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from conftest import COMPILE, LECTURE, RULES, run_alone  # noqa: F401

pytestmark = pytest.mark.usefixtures("float64")

ETA = 2.0**-4


def normal(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in shapes]


X, Y, *START = normal((50, 4), (50, 2), (4, 2), (2,))
BATCH = 16  # the last batch of an epoch has only 2 rows
EPOCHS = 3
STEPS = EPOCHS * 4


def gradients_at(weights, i):
    """Of the mean squared error of x W + b on batch i, by hand."""
    W, b = weights
    rows = slice(i % 4 * BATCH, (i % 4 + 1) * BATCH)
    error = X[rows] @ W + b - Y[rows]
    return [2 * X[rows].T @ error / error.size, 2 * error.sum(axis=0) / error.size]


def linear_model(optimizer, constraint=None, **arguments):
    dense = keras.layers.Dense(2, name="dense", kernel_constraint=constraint)
    model = keras.Sequential([keras.Input((4,)), dense])
    model.set_weights(START)
    model.compile(optimizer, "mse", **arguments)
    return model


def fit(model, epochs=EPOCHS, **arguments):
    model.fit(X, Y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, **arguments)
    return model


def expected(rule, steps=STEPS, start=START, gradients=gradients_at, **around):
    formula, arguments = LECTURE[rule.__name__]
    return reference.training(
        formula, {**arguments, "learning_rate": ETA}, start, gradients, steps, **around
    )


def assert_follows(optimizer, variables, weights, states, tolerance=1e-12):
    for variable, w, state in zip(variables, weights, states, strict=True):
        np.testing.assert_allclose(variable.numpy(), w, rtol=0, atol=tolerance)
        for slot, s in zip(optimizer.slots(variable), state, strict=True):
            np.testing.assert_allclose(slot, s, rtol=0, atol=tolerance * max(1, np.abs(s).max()))


def assert_trained(model, rule, steps=STEPS, optimizer=None, **around):
    weights, states = expected(rule, steps, **around)
    assert_follows(optimizer or model.optimizer, model.trainable_variables, weights, states)


# Custom loops: name -> what applies the gradients of the constants below, three times.
def loop_over(apply, times):
    for _ in range(times):
        apply()


LOOPS = {
    "eager": lambda apply: loop_over(apply, 3),
    "graph": lambda apply: loop_over(tf.function(apply, autograph=False), 3),
    "Python loop in a graph": lambda apply: tf.function(lambda: loop_over(apply, 3))(),
    "graph loop": lambda apply: in_graph_loop(apply),
    "XLA around": lambda apply: loop_over(tf.function(apply, jit_compile=True), 3),
    "graph loop, XLA around": lambda apply: in_graph_loop(apply, jit_compile=True),
    "inside a tape": lambda apply: loop_over(tf.function(lambda: under_tape(apply)), 3),
}


def in_graph_loop(apply, **arguments):
    @tf.function(**arguments)
    def loop():
        for _ in tf.range(3):
            apply()

    loop()


def under_tape(apply):
    with tf.GradientTape():
        apply()


@pytest.mark.parametrize("loop", LOOPS)
def test_custom_loop(rule, loop):
    """With variables given and left out, and built by the first step."""
    gradients = gradients_at(START, 0)
    before, left_out, inside = ([keras.Variable(w) for w in START] for _ in range(3))
    optimizers = [rule(learning_rate=ETA) for _ in range(3)]
    given = [[before], [], [inside]]
    for optimizer, variables in zip(optimizers, (before, left_out, inside), strict=True):
        # XLA cannot create variables: TensorFlow's own limit.
        if variables is not inside or "XLA around" in loop:
            optimizer.build(variables)

    def apply():
        for optimizer, variables in zip(optimizers, given, strict=True):
            optimizer.apply([tf.constant(g) for g in gradients], *variables)

    LOOPS[loop](apply)
    true = expected(rule, 3, gradients=lambda w, i: gradients)
    for optimizer, variables in zip(optimizers, (before, left_out, inside), strict=True):
        assert_follows(optimizer, variables, *true)


def applying(optimizer, variables, **arguments):
    """A step in a graph that takes the gradients."""
    return tf.function(lambda *g: optimizer.apply(g, variables), **arguments)


FIT = {
    "default": {},
    "run_eagerly": {"run_eagerly": True},
    "steps_per_execution": {"steps_per_execution": 3},
}


@pytest.mark.parametrize("how", FIT)
def test_fit(rule, how):
    assert_trained(fit(linear_model(rule(ETA), **FIT[how])), rule)


def test_train_on_batch(rule):
    model = linear_model(rule(ETA))
    for i in range(STEPS):
        rows = slice(i % 4 * BATCH, (i % 4 + 1) * BATCH)
        model.train_on_batch(X[rows], Y[rows])
    assert_trained(model, rule)


def test_a_thousand_steps(rule):
    model = linear_model(rule(ETA), steps_per_execution=100)
    data = tf.data.Dataset.from_tensor_slices((X[:BATCH], Y[:BATCH])).batch(BATCH).repeat()
    model.fit(data, steps_per_epoch=1000, shuffle=False, verbose=0)
    first_batch = {"gradients": lambda weights, _: gradients_at(weights, 0)}
    # Errors of rounding grow where a rule divides by gradients that have all but vanished.
    weights, states = expected(rule, 1000, **first_batch)
    assert_follows(model.optimizer, model.trainable_variables, weights, states, 1e-9)


def by_norm(limit):
    return lambda gs: [g * min(1, limit / np.linalg.norm(g)) for g in gs]


def by_global_norm(limit):
    def clip(gs):
        norm = np.sqrt(sum((g**2).sum() for g in gs))
        return [g * min(1, limit / norm) for g in gs]

    return clip


def by_value(limit):
    return lambda gs: [np.clip(g, -limit, limit) for g in gs]


# Keras's arguments -> the reference's. Limits that cut most, but not all, of the gradients.
ACCUMULATION = {"gradient_accumulation_steps": 2}
EMA = {"ema_momentum": 0.75, "ema_overwrite_frequency": 3}
SETTINGS = [
    ({"clipnorm": 0.5}, {"clip": by_norm(0.5)}),
    ({"clipvalue": 0.25}, {"clip": by_value(0.25)}),
    ({"global_clipnorm": 0.5}, {"clip": by_global_norm(0.5)}),
    ({"weight_decay": 0.125}, {"weight_decay": (0.125, 0.125)}),
    ({"use_ema": True, "ema_momentum": 0.75}, {"ema_momentum": 0.75}),
    ({"use_ema": True, **EMA}, EMA),
    ({"loss_scale_factor": 8.0}, {}),
    (ACCUMULATION, ACCUMULATION),
    ({**ACCUMULATION, "clipnorm": 0.5}, {**ACCUMULATION, "clip": by_norm(0.5)}),
    ({**ACCUMULATION, "weight_decay": 0.125}, {**ACCUMULATION, "weight_decay": (0.125, 0.125)}),
    ({**ACCUMULATION, "use_ema": True, **EMA}, {**ACCUMULATION, **EMA}),
]


BATCHES = [tf.TensorSpec([None, n], "float64") for n in (4, 2)]


def train_together(optimizers, steps=STEPS):
    """Train a linear model with each optimizer, all in one graph; return their variables."""
    variables = [
        [keras.Variable(w, name=name) for w, name in zip(START, ("kernel", "bias"), strict=True)]
        for _ in optimizers
    ]
    for optimizer, own in zip(optimizers, variables, strict=True):
        optimizer.build(own)

    @tf.function(autograph=False, input_signature=BATCHES)
    def step(x, y):
        for optimizer, (W, b) in zip(optimizers, variables, strict=True):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((x @ W + b - y) ** 2)
                loss = optimizer.scale_loss(loss)
            optimizer.apply(tape.gradient(loss, [W.value, b.value]), [W, b])

    for i in range(steps):
        rows = slice(i % 4 * BATCH, (i % 4 + 1) * BATCH)
        step(tf.constant(X[rows]), tf.constant(Y[rows]))
    for optimizer, own in zip(optimizers, variables, strict=True):
        optimizer.finalize_variable_values(own)
    return variables


def test_keras_own_arguments(rule):
    assert_keras_own_arguments(rule, SETTINGS)


def assert_keras_own_arguments(rule, settings):
    optimizers = [rule(ETA, **given) for given, _ in settings]
    trained = train_together(optimizers)
    for optimizer, variables, (_, around) in zip(optimizers, trained, settings, strict=True):
        assert_follows(optimizer, variables, *expected(rule, **around))


def test_averages_in_fit(rule):
    """`fit` puts them in place of the weights when it ends."""
    model = fit(linear_model(rule(ETA, use_ema=True, **EMA)))
    assert_trained(model, rule, **EMA)


def test_excluded_from_weight_decay(rule):
    optimizer = rule(ETA, weight_decay=0.125)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    [variables] = train_together([optimizer])
    assert_follows(optimizer, variables, *expected(rule, weight_decay=(0.125, 0)))


class Halving(keras.optimizers.schedules.LearningRateSchedule):
    """Halves the rate every four steps, and does what XLA cannot compile on the way."""

    def __init__(self, operation):
        self.operation = operation

    def __call__(self, step):
        return ETA * tf.constant(0.5, "float64") ** self.operation(tf.cast(step, "int64") // 4)

    def get_config(self):
        return {}


def looked_up(epoch):
    with tf.init_scope():
        keys = tf.range(10, dtype="int64")
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, keys), 0)
    looked_up.tables.append(table)
    return tf.cast(table.lookup(epoch), "float64")


looked_up.tables = []  # a table lives as long as its Python object


def printed(epoch):
    tf.print("epoch", epoch, output_stream="file:///dev/null")
    return tf.cast(epoch, "float64")


RATES = {
    "schedule": lambda: Halving(lambda epoch: tf.cast(epoch, "float64")),
    "py_function": lambda: Halving(lambda n: tf.py_function(lambda e: float(e), [n], "float64")),
    "print": lambda: Halving(printed),
    "lookup table": lambda: Halving(looked_up),
    "Keras's schedule": lambda: keras.optimizers.schedules.ExponentialDecay(
        ETA, 4, 0.5, staircase=True
    ),
}


def test_schedules(rule):
    optimizers = {name: rule(make()) for name, make in RATES.items()}
    trained = train_together(list(optimizers.values()))
    true = expected(rule, rate_at=lambda i: ETA / 2 ** (i // 4))
    for (name, optimizer), variables in zip(optimizers.items(), trained, strict=True):
        tolerance = 1e-7 if name == "Keras's schedule" else 1e-12  # Keras's computes in float32
        assert_follows(optimizer, variables, *true, tolerance)


def test_schedule_in_fit(rule):
    model = fit(linear_model(rule(RATES["py_function"]())))
    assert_trained(model, rule, rate_at=lambda i: ETA / 2 ** (i // 4))


def test_callable_rate(rule):
    rate = tf.Variable(ETA)
    model = linear_model(rule(lambda: rate))
    fit(model, epochs=1)
    rate.assign(ETA / 4)
    fit(model, epochs=2)
    assert_trained(model, rule, rate_at=lambda i: ETA if i < 4 else ETA / 4)


def test_callback_that_sets_the_rate(rule):
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: ETA / 2**epoch)
    model = fit(linear_model(rule(0.5)), callbacks=[scheduler])
    assert_trained(model, rule, rate_at=lambda i: ETA / 2 ** (i // 4))


def test_subclass_that_needs_python_runs_eagerly(rule):
    seen = []

    class Looking(rule):
        def update_step(self, gradient, variable, learning_rate):
            seen.append(gradient.numpy())
            super().update_step(gradient, variable, learning_rate)

    assert_trained(fit(linear_model(Looking(ETA), run_eagerly=True)), rule)
    assert len(seen) == 2 * STEPS


class Positive(keras.constraints.Constraint):
    """Max(w, 0), by NumPy."""

    def __call__(self, w):
        return tf.ensure_shape(tf.numpy_function(lambda w: np.maximum(w, 0), [w], w.dtype), w.shape)


@pytest.mark.parametrize("constraint", [keras.constraints.NonNeg, Positive])
def test_constraint(rule, constraint):
    def projected(w):
        return np.maximum(w, 0) if w.ndim == 2 else w

    model = fit(linear_model(rule(ETA), constraint=constraint()))
    assert_trained(model, rule, constraint=projected)


def test_no_gradient_for_an_unused_variable(rule, mode):
    used, unused = keras.Variable(START[0]), keras.Variable(START[1])
    optimizer = rule(ETA)
    optimizer.build([used, unused])
    g = gradients_at(START, 0)[0]
    step = COMPILE[mode](lambda: optimizer.apply([tf.constant(g), None], [used, unused]))
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        loop_over(step, 3)
    weights, states = expected(rule, 3, [START[0]], lambda w, i: [g])
    assert_follows(optimizer, [used], weights, states)
    np.testing.assert_array_equal(unused.numpy(), START[1])


def test_other_variables_are_refused(rule):
    optimizer, known, other = rule(), keras.Variable([1.0]), keras.Variable([1.0])
    optimizer.build([known])
    # In a graph Keras 3.12 fails to print the variable while it says so.
    refusal = pytest.raises((ValueError, NotImplementedError), match="Unknown variable")
    for step in (lambda g: optimizer.apply([g], [other]), applying(optimizer, [other])):
        with refusal:
            step(tf.constant([1.0], "float64"))
    np.testing.assert_array_equal(other.numpy(), [1.0])


def test_frozen_and_thawed(rule):
    """As Keras's own way of calling it: no NumPy reference has an Adam that skips steps."""
    models = []
    for arguments in ({}, {"run_eagerly": True}):
        model = linear_model(rule(ETA), **arguments)
        model.optimizer.build(model.trainable_variables)
        for trained in (True, False, True):
            model.layers[0].kernel.trainable = trained
            model.compile(model.optimizer, "mse", **arguments)
            before = model.layers[0].kernel.numpy()
            fit(model, epochs=1)
            assert np.array_equal(before, model.layers[0].kernel.numpy()) != trained
        models.append(model)
    for a, b in zip(*(m.weights + m.optimizer.variables for m in models), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-12)


def test_loss_scale_optimizer_skips_an_overflow(rule, mode):
    inner = rule(ETA)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0)
    variables = [keras.Variable(w) for w in START]
    optimizer.build(variables)
    step = COMPILE[mode](lambda *g: optimizer.apply(list(g), variables))
    gradients = gradients_at(START, 0)
    for scale in (8.0, np.inf, 4.0, 4.0):  # an overflow halves the scale
        step(*(tf.constant(g * scale) for g in gradients))
    assert_follows(inner, variables, *expected(rule, 3, gradients=lambda w, i: gradients))
    assert int(optimizer.iterations) == 3
    assert float(optimizer.dynamic_scale) == 4.0


@pytest.mark.parametrize(
    ("policy", "precision"), [("mixed_float16", 2.0**-10), ("mixed_bfloat16", 2.0**-7)]
)
def test_mixed_precision(rule, policy, precision):
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy(policy)
    optimizer = rule(2.0**-10)
    if policy == "mixed_float16":  # at Keras's initial scale, 2^15, the first steps overflow
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=64.0)
    model = fit(linear_model(optimizer), epochs=1)
    formula, arguments = LECTURE[rule.__name__]
    weights, _ = reference.training(
        formula, {**arguments, "learning_rate": 2.0**-10}, START, gradients_at, 4
    )
    for variable, w, start in zip(model.trainable_variables, weights, START, strict=True):
        assert variable.dtype == "float32"
        path = np.abs(w - start).max()
        np.testing.assert_allclose(variable.numpy(), w, rtol=0, atol=20 * precision * path)


def test_float16_variables_survive_zero_gradients(rule):
    """float16 holds neither an epsilon of 1e-8 nor the square of 1e-5."""
    variable = keras.Variable(np.ones(3), dtype="float16")
    optimizer = rule(2.0**-6)
    gradients = [np.array([0, 1e-5, 2.0]).astype("float16")] * 5
    step = tf.function(lambda g: optimizer.apply([g], [variable]))
    for g in gradients:
        step(tf.constant(g))
    formula, arguments = LECTURE[rule.__name__]
    weights, states = reference.training(
        formula,
        {**arguments, "learning_rate": 2.0**-6},
        [np.ones(3)],
        lambda w, i: [gradients[i].astype("float64")],
        5,
    )
    np.testing.assert_allclose(variable.numpy(), weights[0], rtol=0, atol=5 * 2.0**-10)
    for slot, s in zip(optimizer.slots(variable), states[0], strict=True):
        assert slot.dtype == tf.float32
        np.testing.assert_allclose(slot, s, rtol=1e-5)


NON_FINITE = np.array([np.nan, np.inf, -np.inf, 1.0, -3.0, 0.0])
CLIPPED = {  # arguments of the optimizer -> what they make of that gradient
    (): NON_FINITE,
    (("clipvalue", 0.5),): np.clip(NON_FINITE, -0.5, 0.5),
    (("clipnorm", 0.5),): np.full(6, np.nan),
}


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's Inf / Inf
def test_nan_and_inf_pass_through(rule, mode):
    optimizers = [rule(ETA, **dict(settings)) for settings in CLIPPED]
    variables = [keras.Variable(np.ones(6)) for _ in optimizers]
    for optimizer, variable in zip(optimizers, variables, strict=True):
        optimizer.build([variable])

    @COMPILE[mode]
    def step():
        for optimizer, variable in zip(optimizers, variables, strict=True):
            optimizer.apply([tf.constant(NON_FINITE)], [variable])

    loop_over(step, 2)
    formula, arguments = LECTURE[rule.__name__]
    for clipped, optimizer, variable in zip(CLIPPED.values(), optimizers, variables, strict=True):
        path = formula(np.ones(6), [clipped] * 2, **{**arguments, "learning_rate": ETA})
        *_, (w, state) = path
        np.testing.assert_allclose(variable.numpy(), w, rtol=1e-12)
        for slot, s in zip(optimizer.slots(variable), state, strict=True):
            np.testing.assert_allclose(slot, s, rtol=1e-12)


def test_embedding_beside_dense_layers(rule):
    """The gradients by hand: of the mean squared error of concatenated rows times W plus b."""
    ids = (np.abs(X[:, :3]) * 2).astype("int32") % 6  # many of them repeated
    start = normal((6, 3), (9, 2), (2,))

    def gradients(weights, i):
        E, W, b = weights
        rows = slice(i % 4 * BATCH, (i % 4 + 1) * BATCH)
        x = E[ids[rows]].reshape(-1, 9)
        error = 2 * (x @ W + b - Y[rows]) / Y[rows].size
        to_rows = np.zeros_like(E)
        np.add.at(to_rows, ids[rows], (error @ W.T).reshape(-1, 3, 3))
        return [to_rows, x.T @ error, error.sum(axis=0)]

    embedding = keras.layers.Embedding(6, 3)
    layers = [keras.Input((3,), dtype="int32"), embedding, keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(2)])
    model.set_weights(start)
    model.compile(rule(ETA), "mse")
    model.fit(ids, Y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0)
    assert_trained(model, rule, 8, start=start, gradients=gradients)


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="This version of Keras has none"
)
def test_multi_optimizer(rule):
    inner = [rule(ETA, name="kernels"), rule(ETA, name="biases")]
    which = keras.optimizers.OptimizerMap(inner[0], {".*/bias": inner[1]})
    model = fit(linear_model(keras.optimizers.MultiOptimizer(which)))
    weights, states = expected(rule)
    for optimizer, v, w, s in zip(inner, model.trainable_variables, weights, states, strict=True):
        assert_follows(optimizer, [v], [w], [s])


def test_a_model_and_its_clone_train_in_turns(rule, tmp_path):
    model = linear_model(rule(ETA))
    clone = keras.models.clone_model(model)
    clone.set_weights(START)
    clone.compile(rule.from_config(model.optimizer.get_config()), "mse")
    for _ in range(EPOCHS):
        for each in (model, clone):
            fit(each, epochs=1)
    for each in (model, clone):
        assert_trained(each, rule)

    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(
        exported.serve(tf.constant(X)), model.predict(X, verbose=0), rtol=1e-12
    )


def test_optimizer_is_freed_with_its_model(rule):
    optimizer = rule(ETA)
    model = fit(linear_model(optimizer), epochs=1)
    kept = [weakref.ref(optimizer), weakref.ref(model)]
    del optimizer, model
    gc.collect()
    assert [reference() for reference in kept] == [None, None]


def mirrored():
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def test_mirrored_strategy_in_fit(rule):
    with mirrored().scope():
        model = linear_model(rule(ETA))
    fit(model)
    weights, _ = expected(rule)
    for actual, w in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(actual, w, rtol=0, atol=1e-12)


KILLED = """
    import os, signal, sys
    import keras, numpy as np
    from test_contexts import RULES, fit, linear_model

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

    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    train(RULES)
"""


@pytest.fixture(scope="module")
def backups(tmp_path_factory):
    """What BackupAndRestore wrote for each rule before the process was killed in epoch 2."""
    folder = tmp_path_factory.mktemp("backups")
    killed = run_alone(KILLED, str(folder))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    return folder


def test_backup_resumes_after_a_kill(rule, backups):
    backup = keras.callbacks.BackupAndRestore(backups / rule.__name__)
    epochs = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: begun.append(epoch))
    begun = []
    model = fit(linear_model(rule(ETA)), callbacks=[backup, epochs])
    assert begun == [1, 2]
    uninterrupted = fit(linear_model(rule(ETA)))
    pair = (m.weights + m.optimizer.variables for m in (model, uninterrupted))
    for a, b in zip(*pair, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert_trained(model, rule)


def test_an_optimizer_inside_another_keeps_its_rate(rule):
    class Outer(rule):
        def build(self, variables):
            if not self.built:
                super().build(variables)
                self.inner = rule(ETA)
                self.inner.build(variables)
                self.count = self.add_variable(shape=(), name="count")

        def update_step(self, gradient, variable, learning_rate):
            self.inner.update_step(gradient, variable, self.inner.learning_rate)
            self.assign_add(self.count, 1)

    variable = keras.Variable(START[0])
    optimizer = Outer(learning_rate=1.0)
    g = gradients_at(START, 0)[0]
    applying(optimizer, [variable])(tf.constant(g))
    assert float(optimizer.count) == 1
    assert_follows(optimizer.inner, [variable], *expected(rule, 1, START[:1], lambda w, i: [g]))
