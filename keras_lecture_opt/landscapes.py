"""Losses of two weights, and the paths that optimizers take over them."""

import dataclasses
import numbers
from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from keras_lecture_opt.nesterov import Nesterov
from keras_lecture_opt.rates import effective_learning_rate, leaves, next_learning_rate

HYPERPARAMETERS = ("learning_rate", "momentum", "rho", "beta_1", "beta_2", "epsilon")


def finite(value, shape):
    """The value as a float64 array, or None if it is not finite numbers of this shape."""
    try:
        array = np.asarray(value)
    except ValueError:  # it is ragged
        return None
    if array.shape != shape or array.dtype.kind not in "iuf" or not np.all(np.isfinite(array)):
        return None
    return array.astype("float64")


def two_numbers(argument, value):
    """The value as a float64 array of shape (2,); a ValueError if it is not two finite numbers."""
    array = finite(value, (2,))
    if array is None:
        raise ValueError(f"`{argument}` must be two finite numbers, not {value!r}.")
    return array


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
    """A loss L(w1, w2) with what is needed to draw it and to start on it.

    Args:
        name: what error messages and pictures call it.
        function: computes the loss from two float64 tensors, w1 and w2, of one shape, element by
            element: with Python's operators and TensorFlow's or Keras's functions.
        domain: ((smallest w1, largest w1), (smallest w2, largest w2)). A descent ends where it
            leaves it, and pictures show it.
        start: the usual first point (w1, w2), inside the domain.
        minima: the points with the least loss, as far as they are known.
        formula: the loss in TeX's notation, without dollar signs, for pictures.

    Raises:
        TypeError: `function` does not do that.
        ValueError: `domain`, `start` or `minima` is not what it should be.

    Example:

    >>> valley = Surface(
    ...     "valley", lambda w1, w2: tf.cosh(w1) + w2**2, domain=((-3, 3), (-2, 2)), start=(-2, 1)
    ... )
    >>> print(valley(0.0, 0.5).numpy())
    1.25
    """

    name: str
    function: Callable
    domain: tuple
    start: tuple
    minima: tuple = ()
    formula: str = ""

    def __post_init__(self):
        domain = finite(self.domain, (2, 2))
        if domain is None or not np.all(domain[:, 0] < domain[:, 1]):
            raise ValueError(
                f"Surface {self.name!r}: `domain` must be two finite ranges, ((smallest w1, "
                f"largest w1), (smallest w2, largest w2)), not {self.domain!r}."
            )
        self.point("start", self.start)
        if not isinstance(self.minima, Iterable):
            raise ValueError(f"`minima` must be points, not {self.minima!r}.")
        object.__setattr__(self, "minima", tuple(self.minima))
        for minimum in self.minima:
            self.point("minima", minimum)
        self._check_function()

    def _check_function(self):
        demand = (
            f"Surface {self.name!r}: `function` must compute the loss from two tensors, w1 and "
            "w2, element by element, with TensorFlow's or Keras's functions"
        )

        @tf.function(autograph=False)  # as in a descent: neither NumPy's functions nor `if` work
        def probe(w1, w2):
            loss = tf.convert_to_tensor(self.function(w1, w2))
            if loss.shape != w1.shape or loss.dtype != w1.dtype:
                raise ValueError(
                    f"float64 tensors of shape {tuple(w1.shape)} become one of type "
                    f"{loss.dtype.name} and shape {loss.shape}"
                )
            if tf.gradients(loss, [w1, w2]) == [None, None]:
                raise ValueError("the loss has no gradient")
            return loss

        points = np.array([self.start, *np.transpose(self.domain)], "float64")
        try:
            losses, *alone = (
                probe.get_concrete_function(*w)(*w).numpy()
                for w in (tf.unstack(tf.constant(p.T)) for p in (points, *points))
            )
        except Exception as error:
            raise TypeError(f"{demand}. {type(error).__name__}: {error}") from error
        if not np.allclose(losses, alone, equal_nan=True):
            raise TypeError(f"{demand}. The loss at a point depends on other points.")

    def __call__(self, w1, w2):
        """The loss at one point or many: a float64 tensor of the shape of `w1` and `w2`."""
        return self.function(tf.cast(w1, tf.float64), tf.cast(w2, tf.float64))

    def point(self, argument, value):
        """The value as an array, if it is a point of the domain; else a ValueError says what."""
        point = two_numbers(argument, value)
        if not np.all(self.contains(point)):
            raise ValueError(
                f"`{argument}` must be inside the domain of {self.name}, {self.domain}, "
                f"not {value!r}."
            )
        return point

    def contains(self, point):
        """Whether each coordinate of the point is inside the domain: a boolean array, (2,)."""
        lowest, highest = np.transpose(np.asarray(self.domain, dtype="float64"))
        return (point >= lowest) & (point <= highest)


quadratic = Surface(
    "quadratic",
    lambda w1, w2: w1**2 + 25 * w2**2,
    domain=((-2, 2), (-1.5, 1.5)),
    start=(-1, -1),
    minima=((0, 0),),
    formula="w_1^2 + 25 w_2^2",
)
saddle = Surface(  # unbounded: there is no minimum, and (0, 0) is the saddle
    "saddle",
    lambda w1, w2: w1**3 + w2**2,
    domain=((-1.5, 1.5), (-1.5, 1.5)),
    start=(-0.01, -1),
    formula="w_1^3 + w_2^2",
)
rosenbrock = Surface(
    "Rosenbrock",
    lambda w1, w2: (1 - w1) ** 2 + 100 * (w2 - w1**2) ** 2,
    domain=((-2, 2), (-1, 3)),
    start=(-1.2, 1),
    minima=((1, 1),),
    formula="(1 - w_1)^2 + 100 (w_2 - w_1^2)^2",
)
beale = Surface(
    "Beale",
    lambda w1, w2: sum((c - w1 * (1 - w2**n)) ** 2 for n, c in ((1, 1.5), (2, 2.25), (3, 2.625))),
    domain=((-4.5, 4.5), (-4.5, 4.5)),
    start=(1, 1),
    minima=((3, 0.5),),
    formula=r"\sum_{n=1}^3 (c_n - w_1 (1 - w_2^n))^2",
)
himmelblau = Surface(
    "Himmelblau",
    lambda w1, w2: (w1**2 + w2 - 11) ** 2 + (w1 + w2**2 - 7) ** 2,
    domain=((-5, 5), (-5, 5)),
    start=(0, 0),
    minima=(
        (3, 2),
        (-2.8051180869527448, 3.1313125182505730),
        (-3.7793102533777469, -3.2831859912861694),
        (3.5844283403304917, -1.8481265269644036),
    ),
    formula="(w_1^2 + w_2 - 11)^2 + (w_1 + w_2^2 - 7)^2",
)
SURFACES = (quadratic, saddle, rosenbrock, beale, himmelblau)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Descent:
    """What `descend` returns: all that happened in `steps` steps, in float64 arrays.

    Attributes:
        surface: the `Surface`.
        optimizer: the optimizer, as its last `apply` left it.
        hyperparameters: dict of the rule's hyperparameters at the start, by Keras's names; a
            learning rate that changes is None.
        path: the weights before the first and after each step, (steps + 1, 2).
        losses: the loss at each point of the path, (steps + 1,).
        gradients: the gradient of each step, (steps, 2), taken at the path; for `Nesterov` at
            the look-ahead.
        rates: the effective learning rate of each weight in each step, (steps, 2); NaN while
            gradients are accumulated for the first one. None if it is not known for this optimizer.
        lookahead: of `Nesterov` the points w + mu v, (steps + 1, 2): where the next gradient is
            taken; None for others.
        stopped: why it ended before the steps that were asked for, or None.
    """

    surface: Surface
    optimizer: keras.optimizers.Optimizer
    hyperparameters: dict
    path: np.ndarray
    losses: np.ndarray
    gradients: np.ndarray
    rates: np.ndarray | None
    lookahead: np.ndarray | None
    stopped: str | None

    @property
    def steps(self):
        """How many steps were taken: calls of `apply`."""
        return len(self.path) - 1

    @property
    def rule(self):
        """The name of the optimizer's class."""
        return type(leaves(self.optimizer)[0]).__name__

    def __repr__(self):
        stopped = f"; {self.stopped}" if self.stopped else ""
        return (
            f"<{self.rule} on {self.surface.name}: {self.steps} steps, loss {self.losses[0]:.4g} "
            f"to {self.losses[-1]:.4g}{stopped}>"
        )


def descend(surface, optimizer, start=None, steps=100, velocity=None):
    """Lets an optimizer train the two weights of a surface, and keeps all of it.

    The path is what `optimizer.apply` makes of a float64 variable of shape (2,), in one compiled
    loop (of which TensorFlow keeps about 1 MB until the process ends). It ends early, and `stopped`
    says so, after the step that leaves the surface's domain (its point is the last of the path)
    and before one that makes the weights or the loss infinite or NaN (its point is not in the
    path).

    Of `Nesterov`, whose variable holds the look-ahead point, `path` and `start` are the slide's w.
    Of Keras's optimizers `path` is what the variable holds.

    Args:
        surface: a `Surface`: `quadratic`, `saddle`, `rosenbrock`, `beale`, `himmelblau` or your
            own.
        optimizer: a new optimizer, of this package, of Keras or your own.
        start: the first point (w1, w2), in the domain. Defaults to the surface's.
        steps: how many steps to take, 1 to 2^31 - 1.
        velocity: (v1, v2), weights per step, for rules with a velocity (`Momentum`, `Nesterov`)
            to start with. Defaults to 0.

    Returns:
        A `Descent`.

    Raises:
        TypeError: `surface` or `optimizer` is something else.
        ValueError: the optimizer has been used before, it has no velocity to set, or a number is
            not allowed.
        RuntimeError: it is called in a `tf.function` or in the scope of a distribution strategy.

    Example:

    >>> import keras_lecture_opt
    >>> descent = descend(quadratic, keras_lecture_opt.AdaGrad(learning_rate=0.25), steps=10)
    >>> descent
    <AdaGrad on quadratic: 10 steps, loss 26 to 0.556>
    >>> print(descent.path[:2].round(6).tolist(), descent.rates[0].round(6).tolist())
    [[-1.0, -1.0], [-0.75, -0.75]] [0.125, 0.005]
    >>> descend(quadratic, keras_lecture_opt.SteepestDescent(learning_rate=0.041))
    <SteepestDescent on quadratic: 9 steps, loss 26 to 60.38; left the domain in step 9>
    """
    if not tf.executing_eagerly() or tf.distribute.has_strategy():
        raise RuntimeError(
            "`descend` must be called outside of a tf.function and of a distribution strategy."
        )
    if not isinstance(surface, Surface):
        raise TypeError(f"`surface` must be a Surface, not {surface!r}.")
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(f"`optimizer` must be a keras.optimizers.Optimizer, not {optimizer!r}.")
    if optimizer.built:
        raise ValueError(
            f"`optimizer` must be new, but this {type(optimizer).__name__} has been built for "
            "other weights, which it remembers."
        )
    if isinstance(steps, bool) or not isinstance(steps, numbers.Integral) or not 0 < steps < 2**31:
        raise ValueError(f"`steps` must be an integer >= 1 and < 2^31, not {steps!r}.")
    start = surface.point("start", surface.start if start is None else start)
    if not np.isfinite(surface(*start)):
        raise ValueError(f"`start` must have a finite loss, not {start.tolist()}.")
    rule = leaves(optimizer)[0]
    slot_names = getattr(rule, "slot_names", ())
    if velocity is not None:
        if "velocity" not in slot_names:
            raise ValueError(f"`velocity` must be left out: {type(rule).__name__} has none.")
        velocity = two_numbers("velocity", velocity)

    variable = keras.Variable(start, dtype="float64", name="w")
    optimizer.build([variable])
    if velocity is not None:
        rule.slots(variable)[slot_names.index("velocity")].assign(velocity)
        if isinstance(rule, Nesterov):
            variable.assign(start + rule.momentum * velocity)
    return _descended(surface, optimizer, rule, variable, int(steps))


def _descended(surface, optimizer, rule, variable, steps):
    eta = next_learning_rate(rule)
    hyperparameters = {"learning_rate": None if eta is None else float(eta)}
    for name in HYPERPARAMETERS[1:]:
        if hasattr(rule, name):
            hyperparameters[name] = getattr(rule, name)
    looks_ahead = isinstance(rule, Nesterov)
    rates_are_known = True

    def position():
        """The point of the path, its loss, and what the variable holds."""
        theta = tf.convert_to_tensor(variable)
        w = rule.w(variable) if looks_ahead else theta
        return w, surface(*tf.unstack(w)), theta

    def step(i, _, path, losses, lookahead, gradients, rates):
        nonlocal rates_are_known
        theta = tf.convert_to_tensor(variable)
        with tf.GradientTape() as tape:
            tape.watch(theta)
            loss = surface(*tf.unstack(theta))
        g = tape.gradient(loss, theta)
        # A scaled loss has a scaled gradient, which a LossScaleOptimizer wants.
        optimizer.apply([optimizer.scale_loss(g)], [variable])
        try:
            rate = effective_learning_rate(optimizer, variable)
        except (TypeError, ValueError):  # there is no formula, or no such factor
            rates_are_known, rate = False, tf.zeros_like(theta)
        rate = tf.where(optimizer.iterations > 0, rate, np.nan)
        w, loss, theta = position()
        arrays = (
            path.write(i + 1, w),
            losses.write(i + 1, loss),
            lookahead.write(i + 1, theta),
            gradients.write(i, g),
            rates.write(i, rate),
        )
        goes_on = tf.reduce_all(surface.contains(w)) & tf.math.is_finite(loss)
        return i + 1, goes_on, *arrays

    @tf.function(autograph=False)
    def loop():
        arrays = [
            tf.TensorArray(tf.float64, 0, dynamic_size=True, element_shape=shape)
            for shape in ([2], [], [2], [2], [2])
        ]
        arrays[:3] = [a.write(0, at) for a, at in zip(arrays[:3], position(), strict=True)]
        _, _, *arrays = tf.while_loop(
            lambda i, goes_on, *_: (i < steps) & goes_on, step, (0, True, *arrays)
        )
        return [values.stack() for values in arrays]

    # Each descent is a function of its own, which is called once: not "retracing".
    results = loop.get_concrete_function()()
    path, losses, lookahead, gradients, rates = (values.numpy() for values in results)
    taken, stopped = len(gradients), None
    if not (np.all(np.isfinite(path[-1])) and np.isfinite(losses[-1])):
        stopped = f"step {taken} is not finite"
        taken -= 1
    elif not np.all(surface.contains(path[-1])):
        stopped = f"left the domain in step {taken}"
    return Descent(
        surface,
        optimizer,
        hyperparameters,
        path[: taken + 1],
        losses[: taken + 1],
        gradients[:taken],
        rates[:taken] if rates_are_known else None,
        lookahead[: taken + 1] if looks_ahead else None,
        stopped,
    )
