"""Losses of two weights, and the paths that optimizers take on them."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_lecture_opt import rules
from keras_lecture_opt._arguments import check_integer, check_numbers, check_text, must_be
from keras_lecture_opt.rates import (
    effective_learning_rate,
    has_formula,
    inner_optimizers,
    missing_rate,
    next_learning_rate,
)
from keras_lecture_opt.rules._hyperparameters import HYPERPARAMETERS

__all__ = ["Surface", "Descent", "descend", "quadratic", "saddle", "rosenbrock", "beale"]
__all__ += ["himmelblau", "SURFACES"]

Pair = Sequence[float] | np.ndarray
Domain = Sequence[Pair] | np.ndarray
PAIR = ((2,), "two finite numbers")  # for `check_numbers`


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
    """A loss L(w1, w2) with what is needed to draw it and to start on it.

    Args:
        name: what error messages and pictures call it.
        function: computes the loss from two float64 tensors, w1 and w2, of one shape, element by
            element: with Python's operators and TensorFlow's or Keras's functions.
        domain: ((smallest w1, largest w1), (smallest w2, largest w2)). Pictures show it, and a
            descent ends where it leaves it.
        start: the usual first point (w1, w2), inside the domain.
        minima: the known points with the least loss.
        formula: the loss in TeX's notation, without dollar signs, for pictures.

    Raises:
        TypeError: `function` does not compute such a loss, or an argument has the wrong type.
        ValueError: `name`, `domain`, `start`, `minima` or `formula` is not valid.

    Example:

    >>> valley = Surface(
    ...     "valley", lambda w1, w2: tf.cosh(w1) + w2**2, domain=((-3, 3), (-2, 2)), start=(-2, 1)
    ... )
    >>> print(valley(0.0, 0.5).numpy())
    1.25
    """

    name: str
    function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    domain: Domain
    start: Pair
    minima: Iterable[Pair] = ()
    formula: str = ""

    def __post_init__(self):
        owner = f"Surface {self.name!r}"
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(must_be("name", "a string that is not empty", self.name))
        check_text(self.name, must_be("name", "text that matplotlib can draw", self.name))
        allowed = (
            "two finite ranges, ((smallest w1, largest w1), (smallest w2, largest w2)), each with "
            "its smaller number first and less than 1e305 wide"
        )
        domain = check_numbers("domain", self.domain, (2, 2), allowed, owner).tolist()
        # From -1e308 to 1e308 there is no finite width, and pictures have margins.
        if not all(0 < highest - lowest < 1e305 for lowest, highest in domain):
            raise ValueError(must_be("domain", allowed, self.domain, owner))
        self.point("start", self.start)
        if not isinstance(self.minima, Iterable):
            raise TypeError(must_be("minima", "points", self.minima, owner))
        object.__setattr__(self, "minima", tuple(self.minima))
        for minimum in self.minima:
            self.point("minima", minimum)
        self._check_formula(owner)
        # A test checks the functions of this file. To run them in each import would take a second,
        # and TensorFlow's devices could not be configured after it.
        if getattr(self.function, "__globals__", None) is not globals():
            self._check_function()

    def _check_formula(self, owner):
        """Parse the formula as a picture will."""
        allowed = "TeX that matplotlib can draw, without dollar signs"
        message = must_be("formula", allowed, self.formula, owner)
        if not isinstance(self.formula, str):
            raise TypeError(message)
        if not self.formula:  # pictures show the name
            return
        if "$" in self.formula:
            raise ValueError(message)
        check_text(f"${self.formula}$", message)

    def _check_function(self):
        demand = (
            f"Surface {self.name!r}: `function` must compute the loss from two tensors, w1 and "
            "w2, element by element, with TensorFlow's or Keras's functions"
        )

        @tf.function(autograph=False)  # as in a descent: NumPy's functions and `if` do not work
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

    def __call__(self, w1: ArrayLike, w2: ArrayLike) -> tf.Tensor:
        """Return the loss at one point or many, a float64 tensor of the shape of `w1` and `w2`."""
        return self.function(tf.cast(w1, tf.float64), tf.cast(w2, tf.float64))

    def __reduce_ex__(self, protocol):
        """Pickle a surface of this module by its name: a lambda cannot be pickled."""
        name = self.name.lower()
        return name if globals().get(name) is self else super().__reduce_ex__(protocol)

    def point(self, argument: str, value: Pair) -> np.ndarray:
        """Return the value as an array; raise if it is not a point of the domain."""
        point = check_numbers(argument, value, *PAIR)
        if not np.all(self.contains(point)):
            raise ValueError(
                f"`{argument}` must be inside the domain of {self.name}, {self.domain}, "
                f"not {value!r}."
            )
        return point

    def contains(self, point: ArrayLike) -> np.ndarray:
        """Return whether each coordinate is inside the domain, a boolean array of shape (2,)."""
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

# The limit of a rule for rate times curvature: above it, on a quadratic loss, its steps grow. m is
# a momentum whose learning rate is (1 - beta_1) times the rate.
LIMITS: dict[type, Callable[[dict], float]] = {
    rules.SteepestDescent: lambda h: 2,
    rules.Momentum: lambda h: 2 * (1 + h["momentum"]),
    rules.Nesterov: lambda h: 2 * (1 + h["momentum"]) / (1 + 2 * h["momentum"]),
    rules.AdaGrad: lambda h: 2,
    rules.RMSProp: lambda h: 2,
    rules.SimplifiedAdam: lambda h: 2 * (1 + h["beta_1"]) / (1 - h["beta_1"]),
    rules.Adam: lambda h: 2 * (1 + h["beta_1"]) / (1 - h["beta_1"]),
}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Descent:
    """A descent that `descend` has run: every step of it, in float64 arrays.

    Attributes:
        surface: the `Surface`.
        optimizer: the optimizer, as its last `apply` left it.
        hyperparameters: dict of the rule's hyperparameters at the start, by Keras's names. A
            learning rate that changes is None.
        velocity: the velocity at the start, (2,), for rules of this package that have one; None
            for others.
        path: the weights before the first and after each step, (steps + 1, 2).
        losses: the loss at each point of the path, (steps + 1,).
        gradients: the gradient of each step, (steps, 2), taken at the path; for `Nesterov` at
            the look-ahead.
        rates: the effective learning rate of each weight in each step, (steps, 2). NaN before the
            first step of an optimizer that accumulates gradients. None if this optimizer has no
            such rate.
        lookahead: for `Nesterov` the points w + mu v, (steps + 1, 2), where the next gradient is
            taken; None for others.
        stopped: why the descent ended before the requested number of steps, or None.
    """

    surface: Surface
    optimizer: keras.optimizers.Optimizer
    hyperparameters: dict[str, float | None]
    velocity: np.ndarray | None
    path: np.ndarray
    losses: np.ndarray
    gradients: np.ndarray
    rates: np.ndarray | None
    lookahead: np.ndarray | None
    stopped: str | None

    def __reduce__(self):
        """Pickle the optimizer's state, too, which Keras does not."""
        optimizer = type(self.optimizer).from_config(self.optimizer.get_config())
        state = [variable.numpy() for variable in self.optimizer.variables]
        return _restored, ({**vars(self), "optimizer": optimizer}, state)

    @property
    def steps(self) -> int:
        """Number of steps taken, each a call of `apply`."""
        return len(self.path) - 1

    @property
    def rule(self) -> str:
        """Name of the optimizer's class."""
        return type(inner_optimizers(self.optimizer)[0]).__name__

    @property
    def stability(self) -> np.ndarray | None:
        """Rate times curvature in each step, divided by the rule's limit, (steps,).

        It is the largest eigenvalue of diag(rates) H, where H is the Hessian at the point at which
        the step took its gradient, divided by the rule's limit, such as 2 for `SteepestDescent`
        (`docs/landscapes.md` has the others).

        Where curvature and rates do not change, a path converges below 1 and diverges above 1. The
        path of `SteepestDescent` zigzags above 0.5. An adaptive rule lowers its rates where it
        overshoots, so it can stay near 1 and above. A number below 0 says that the loss curves
        downward in every direction.

        NaN where `rates` is. None for optimizers without a formula, and for those that are not of
        this package, whose limits are not listed here.

        Example:

        >>> import keras_lecture_opt
        >>> for eta in (0.01, 0.03, 0.05):  # the bowl's curvature is 50: the limit is 2 / 50
        ...     descent = descend(quadratic, keras_lecture_opt.SteepestDescent(eta), steps=1)
        ...     print(eta, descent.stability.round(3))
        0.01 [0.25]
        0.03 [0.75]
        0.05 [1.25]
        """
        limit = LIMITS.get(type(inner_optimizers(self.optimizer)[0]))
        if limit is None or self.rates is None:
            return None
        points = tf.constant(self.path if self.lookahead is None else self.lookahead)
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(points)
            with tf.GradientTape() as inner:
                inner.watch(points)
                losses = self.surface(*tf.unstack(points, axis=1))
            gradients = inner.gradient(losses, points)
        hessians = outer.batch_jacobian(gradients, points, experimental_use_pfor=False).numpy()
        (h11, h12), (_, h22) = hessians[:-1].transpose(1, 2, 0)  # no step is taken at the last
        # Eigenvalues of diag(r) H, from its trace and its determinant.
        r1, r2 = self.rates.T
        half_difference = (r1 * h11 - r2 * h22) / 2
        largest = (r1 * h11 + r2 * h22) / 2 + np.sqrt(half_difference**2 + r1 * r2 * h12**2)
        return largest / limit(self.hyperparameters)

    def __repr__(self) -> str:
        stopped = f"; {self.stopped}" if self.stopped else ""
        return (
            f"<{self.rule} on {self.surface.name}: {self.steps} steps, loss {self.losses[0]:.4g} "
            f"to {self.losses[-1]:.4g}{stopped}>"
        )


def _restored(fields, state):
    descent = Descent(**fields)
    descent.optimizer.build([keras.Variable(descent.path[-1], dtype="float64", name="w")])
    for variable, value in zip(descent.optimizer.variables, state, strict=True):
        variable.assign(value)
    return descent


def descend(
    surface: Surface,
    optimizer: keras.optimizers.Optimizer,
    start: Pair | None = None,
    steps: int = 100,
    velocity: Pair | None = None,
) -> Descent:
    """Run an optimizer on a surface and record every step.

    `optimizer.apply` updates a float64 variable of shape (2,) in one loop of a graph, without XLA.
    The descent ends early after the step that leaves the surface's domain, whose point is the last
    of the path, and before a step that makes the weights or the loss infinite or NaN, whose point
    is not in the path. `stopped` says so.

    The variable of `Nesterov` holds the look-ahead point; its `path` and `start` are the slide's w.
    For Keras's optimizers `path` is what the variable holds.

    Args:
        surface: a `Surface`: `quadratic`, `saddle`, `rosenbrock`, `beale`, `himmelblau` or your
            own.
        optimizer: a new optimizer: of this package, of Keras or your own.
        start: the first point (w1, w2), in the domain. Defaults to the surface's.
        steps: how many steps to take, 1 to 2^31 - 1.
        velocity: (v1, v2), the velocity at the start, in weights per step, for rules that have
            one (`Momentum`, `Nesterov`). Defaults to 0.

    Returns:
        A `Descent`.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the optimizer has been used before, it has no velocity to set, or a number is
            not allowed.
        RuntimeError: called in a `tf.function` or in the scope of a distribution strategy.

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
        raise TypeError(must_be("surface", "a Surface", surface))
    # A MultiOptimizer has no optimizer before `build`.
    rolls = any("velocity" in getattr(o, "slot_names", ()) for o in inner_optimizers(optimizer))
    if optimizer.built:
        raise ValueError(
            f"`optimizer` must be new, but this {type(optimizer).__name__} has been built for "
            "other weights, which it remembers."
        )
    steps = check_integer("steps", steps, 1, 2**31 - 1)
    start = surface.point("start", surface.start if start is None else start)
    if not np.isfinite(surface(*start)):
        raise ValueError(f"`start` must have a finite loss, not {start.tolist()}.")
    if rolls:
        velocity = check_numbers("velocity", (0, 0) if velocity is None else velocity, *PAIR)
    elif velocity is not None:
        raise ValueError(f"`velocity` must be left out: {type(optimizer).__name__} has none.")

    variable = keras.Variable(start, dtype="float64", name="w")
    optimizer.build([variable])
    rule = inner_optimizers(optimizer)[0]
    if velocity is not None:
        rule.velocity[0].assign(velocity)
        if isinstance(rule, rules.Nesterov):
            variable.assign(start + rule.momentum * velocity)
    return _descend(surface, optimizer, rule, variable, velocity, steps)


def _descend(surface, optimizer, rule, variable, velocity, steps):
    eta = next_learning_rate(rule)
    hyperparameters = {name: getattr(rule, name) for name in HYPERPARAMETERS if hasattr(rule, name)}
    hyperparameters["learning_rate"] = None if eta is None else float(eta)
    looks_ahead = isinstance(rule, rules.Nesterov)
    has_rates = has_formula(optimizer) and missing_rate(optimizer, variable) is None

    def row(gradient, rate):
        """Return the point of the path, its loss, what the variable holds, and what led there."""
        theta = tf.convert_to_tensor(variable)
        w = rule.w(variable) if looks_ahead else theta
        return tf.concat([w, [surface(*tf.unstack(w))], theta, gradient, rate], axis=0)

    # -1 stands for NaN, which TensorFlow's numeric checks would refuse in a graph.
    no_rate = tf.constant([-1.0, -1.0], tf.float64)

    def step(i, _, rows):
        theta = tf.convert_to_tensor(variable)
        with tf.GradientTape() as tape:
            tape.watch(theta)
            loss = surface(*tf.unstack(theta))
        g = tape.gradient(loss, theta)
        # A scaled loss has a scaled gradient, which a LossScaleOptimizer wants.
        optimizer.apply([optimizer.scale_loss(g)], [variable])
        rate = no_rate
        if has_rates:  # there is none while gradients are accumulated for the first step
            rate = tf.cond(
                optimizer.iterations > 0,
                lambda: effective_learning_rate(optimizer, variable),
                lambda: no_rate,
            )
        new = row(g, rate)
        goes_on = tf.reduce_all(surface.contains(new[:2])) & tf.math.is_finite(new[2])
        return i + 1, goes_on, rows.write(i + 1, new)

    @tf.function(autograph=False)
    def loop():
        rows = tf.TensorArray(tf.float64, 0, dynamic_size=True, element_shape=[9])
        rows = rows.write(0, row(no_rate, no_rate))
        *_, rows = tf.while_loop(lambda i, goes_on, _: (i < steps) & goes_on, step, (0, True, rows))
        return rows.stack()

    # Without XLA: a cluster takes up to 0.1 ms to start, longer than the whole update.
    with contextlib.ExitStack() as afterwards:
        for inner in inner_optimizers(optimizer):
            if isinstance(inner, rules.LectureOptimizer):
                afterwards.callback(setattr, inner, "jit_compile", inner.jit_compile)
                inner.jit_compile = False
        # Each descent traces a function of its own: a call would count as retracing.
        rows = loop.get_concrete_function()().numpy()
    stopped = None
    if not np.all(np.isfinite(rows[-1, :3])):
        stopped = f"step {len(rows) - 1} is not finite"
        rows = rows[:-1]
    elif not np.all(surface.contains(rows[-1, :2])):
        stopped = f"left the domain in step {len(rows) - 1}"
    parts = np.split(rows, [2, 3, 5, 7], axis=1)
    path, losses, lookahead, gradients, rates = map(np.ascontiguousarray, parts)
    return Descent(
        surface,
        optimizer,
        hyperparameters,
        velocity,
        path,
        losses[:, 0],
        gradients[1:],
        np.where(rates == -1, np.nan, rates)[1:] if has_rates else None,
        lookahead if looks_ahead else None,
        stopped,
    )
