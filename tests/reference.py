"""The rules in float64 NumPy, typed by hand from the lecture; nothing of the package is used.

A formula takes the start `w` and the gradients, one per step, and yields after every step the
weights and the tuple of the rule's state. Arguments carry Keras's names. `RULES` at the end holds
what is known of each rule, typed by hand, too.
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable

import numpy as np


def steepest_descent(w, gradients, learning_rate):
    for g in gradients:
        w = w - learning_rate * g
        yield w, ()


def momentum(w, gradients, learning_rate, momentum):
    v = np.zeros_like(w)
    for g in gradients:
        v = momentum * v - learning_rate * g
        w = w + v
        yield w, (v,)


def nesterov(theta, gradients, learning_rate, momentum):
    """In the coordinate theta = w + mu v, in which Keras hands out gradients."""
    v = np.zeros_like(theta)
    for g in gradients:
        v = momentum * v - learning_rate * g
        theta = theta + momentum * v - learning_rate * g
        yield theta, (v,)


def nesterov_on_the_slide(w, gradient_at, steps, learning_rate, momentum):
    """In the slide's coordinate: yields w and v, and evaluates the gradient at w + mu v."""
    v = np.zeros_like(w)
    for _ in range(steps):
        v = momentum * v - learning_rate * gradient_at(w + momentum * v)
        w = w + v
        yield w, v


def adagrad(w, gradients, learning_rate, epsilon):
    G = np.zeros_like(w)
    for g in gradients:
        G = G + g**2
        w = w - learning_rate / (np.sqrt(G) + epsilon) * g
        yield w, (G,)


def rmsprop(w, gradients, learning_rate, rho, epsilon):
    G = np.zeros_like(w)
    for g in gradients:
        G = rho * G + (1 - rho) * g**2
        w = w - learning_rate / (np.sqrt(G) + epsilon) * g
        yield w, (G,)


def simplified_adam(w, gradients, learning_rate, beta_1, beta_2, epsilon):
    m, v = np.zeros_like(w), np.zeros_like(w)
    for g in gradients:
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        w = w - learning_rate / (np.sqrt(v) + epsilon) * m
        yield w, (m, v)


def adam(w, gradients, learning_rate, beta_1, beta_2, epsilon):
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        m_hat = m / (1 - beta_1**t)
        v_hat = v / (1 - beta_2**t)
        w = w - learning_rate / (np.sqrt(v_hat) + epsilon) * m_hat
        yield w, (m, v)


@dataclasses.dataclass(frozen=True)
class Rule:
    """What the lecture says of a rule.

    Attributes:
        formula: see the top of this file.
        arguments: dict of the defaults.
        slots: names of the state, in the formula's order: a file format.
        rate: function of the state, the number t of the step and the arguments: the effective
            learning rate.
        by_hand: three steps of one weight from w = 1, worked by hand: the arguments, the three
            gradients, and after each step the weight and the state. Powers of two keep numbers
            exact in float64; thirds and sevenths may differ in the last digit.
    """

    formula: Callable
    arguments: dict
    slots: tuple
    rate: Callable
    by_hand: tuple


ADAM = {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}
RULES = {
    "SteepestDescent": Rule(
        steepest_descent,
        {"learning_rate": 0.01},
        (),
        lambda state, t, learning_rate: learning_rate,
        by_hand=(
            {"learning_rate": 0.5},
            [1.0, 2.0, -4.0],
            [
                (0.5,),  # 1   - 1/2 *  1
                (-0.5,),  # 1/2 - 1/2 *  2
                (1.5,),  # -1/2 - 1/2 * -4
            ],
        ),
    ),
    "Momentum": Rule(
        momentum,
        {"learning_rate": 0.01, "momentum": 0.9},
        ("velocity",),
        lambda state, t, learning_rate, momentum: learning_rate,
        by_hand=(
            {"learning_rate": 0.5, "momentum": 0.5},
            [1.0, 2.0, -4.0],
            [
                (0.5, -0.5),  # v = 1/2 *  0   - 1/2 *  1 = -1/2;  w = 1    - 1/2 =  1/2
                (-0.75, -1.25),  # v = 1/2 * -1/2 - 1/2 *  2 = -5/4;  w = 1/2  - 5/4 = -3/4
                (0.625, 1.375),  # v = 1/2 * -5/4 - 1/2 * -4 = 11/8;  w = -3/4 + 11/8 = 5/8
            ],
        ),
    ),
    "Nesterov": Rule(
        nesterov,
        {"learning_rate": 0.01, "momentum": 0.9},
        ("velocity",),
        lambda state, t, learning_rate, momentum: learning_rate,
        # On L = w^2, whose gradient 2 theta is taken at the look-ahead point theta = w + v/2:
        # v = v/2 - 1/4 * 2 theta;  w = w + v;  theta = w + v/2
        by_hand=(
            {"learning_rate": 0.25, "momentum": 0.5},
            [2.0, 0.5, -0.125],
            [
                (0.25, -0.5),  # v =    0 - 1/2;    w = 1   - 1/2;  theta = 1/2 - 1/4
                (-0.0625, -0.375),  # v = -1/4 - 1/8;    w = 1/2 - 3/8;  theta = 1/8 - 3/16
                (-0.109375, -0.15625),  # v = -3/16 + 1/32;  w = 1/8 - 5/32;  theta = w - 5/64
            ],
        ),
    ),
    "AdaGrad": Rule(
        adagrad,
        {"learning_rate": 0.01, "epsilon": 1e-7},
        ("sum_of_squares",),
        lambda state, t, learning_rate, epsilon: learning_rate / (np.sqrt(state[0]) + epsilon),
        by_hand=(
            {"learning_rate": 0.5, "epsilon": 1.0},
            [3.0, -4.0, 12.0],
            [
                (0.625, 9.0),  # G =  0 +   9;  w = 1   - 1/2 / ( 3 + 1) *  3 = 5/8
                (0.625 + 1 / 3, 25.0),  # G =  9 +  16;  w = 5/8 - 1/2 / ( 5 + 1) * -4
                (0.625 + 1 / 3 - 3 / 7, 169.0),  # G = 25 + 144; w = w - 1/2 / (13 + 1) * 12
            ],
        ),
    ),
    "RMSProp": Rule(
        rmsprop,
        {"learning_rate": 0.001, "rho": 0.9, "epsilon": 1e-7},
        ("mean_of_squares",),
        lambda state, t, learning_rate, rho, epsilon: learning_rate / (np.sqrt(state[0]) + epsilon),
        by_hand=(
            {"learning_rate": 0.5, "rho": 0.75, "epsilon": 1.0},
            [2.0, 1.0, 0.0],
            [
                (0.5, 1.0),  # G = 3/4 * 0 + 1/4 * 4 = 1;  w = 1 - 1/2 / (1 + 1) * 2 = 1/2
                (0.25, 1.0),  # G = 3/4 * 1 + 1/4 * 1 = 1;  w = 1/2 - 1/2 / (1 + 1) * 1 = 1/4
                (0.25, 0.75),  # G = 3/4 * 1 + 1/4 * 0 = 3/4;  g = 0: w stays
            ],
        ),
    ),
    "SimplifiedAdam": Rule(
        simplified_adam,
        ADAM,
        ("first_moment", "second_moment"),
        lambda state, t, learning_rate, beta_1, beta_2, epsilon: (
            learning_rate / (np.sqrt(state[1]) + epsilon)
        ),
        by_hand=(
            {"learning_rate": 0.5, "beta_1": 0.5, "beta_2": 0.75, "epsilon": 1.0},
            [2.0, 1.0, -1.0],
            [
                (0.75, 1.0, 1.0),  # m = 2/2 = 1;          v = 4/4 = 1;        w = 1 - 1/2 / 2 * 1
                (0.5, 1.0, 1.0),  # m = 1/2 + 1/2 = 1;    v = 3/4 + 1/4 = 1;  w = 3/4 - 1/4
                (0.5, 0.0, 1.0),  # m = 1/2 - 1/2 = 0;    v = 3/4 + 1/4 = 1;  w stays
            ],
        ),
    ),
    "Adam": Rule(
        adam,
        ADAM,
        ("first_moment", "second_moment"),
        lambda state, t, learning_rate, beta_1, beta_2, epsilon: (
            learning_rate / (np.sqrt(state[1] / (1 - beta_2**t)) + epsilon)
        ),
        # Under the constant gradient 2, m^ = 2 and v^ = 4 in every step: the bias correction.
        by_hand=(
            {"learning_rate": 0.5, "beta_1": 0.5, "beta_2": 0.75, "epsilon": 2.0},
            [2.0, 2.0, 2.0],
            [
                # m^ = m / (1 - 1/2^t)      v^ = v / (1 - (3/4)^t)        w - 1/2 / (2 + 2) * 2
                (0.75, 1.0, 1.0),  # 1 / (1/2) = 2        1 / (1/4) = 4
                (0.5, 1.5, 1.75),  # 3/2 / (3/4) = 2      7/4 / (7/16) = 4
                (0.25, 1.75, 2.3125),  # 7/4 / (7/8) = 2      37/16 / (37/64) = 4
            ],
        ),
    ),
}


def step_by_step(formula, shape, arguments):
    """Returns a function that takes the next gradient and gives the step and the state after it."""
    fed = collections.deque()
    path = formula(np.zeros(shape), (fed.popleft() for _ in itertools.count()), **arguments)
    at = np.zeros(shape)

    def step(g):
        nonlocal at
        fed.append(g)
        before, (at, state) = at, next(path)
        return at - before, state

    return step


def training(
    formula,
    arguments,
    weights,
    gradients_at,
    steps,
    rate_at=None,
    clip=lambda gradients: gradients,
    weight_decay=(),
    constraint=lambda w: w,
    gradient_accumulation_steps=1,
    ema_momentum=None,
    ema_overwrite_frequency=None,
):
    """A rule and all that a Keras optimizer does around it, typed from Keras's documentation.

    `gradients_at(weights, i)` gives the gradients of step i, `rate_at(i)` its learning rate,
    `weight_decay` has one number per weight. Returns the weights and the states.
    """
    rate = np.array(float(arguments["learning_rate"]))  # the formulas read it in every step
    rules = [step_by_step(formula, w.shape, {**arguments, "learning_rate": rate}) for w in weights]
    weights, states = [np.array(w) for w in weights], None
    waiting = [np.zeros_like(w) for w in weights]
    averages = [np.array(w) for w in weights]
    every = gradient_accumulation_steps
    for i in range(steps):
        rate[...] = rate if rate_at is None else rate_at(i)
        waiting = [a + g for a, g in zip(waiting, gradients_at(weights, i), strict=True)]
        if (i + 1) % every == 0:
            gradients = clip([g / every for g in waiting])
            waiting = [np.zeros_like(w) for w in weights]
            for w, decay in zip(weights, weight_decay, strict=False):
                w -= w * decay * rate
            taken = [rule(g) for rule, g in zip(rules, gradients, strict=True)]
            weights = [w + step for w, (step, _) in zip(weights, taken, strict=True)]
            states = [state for _, state in taken]
        weights = [constraint(w) for w in weights]
        if ema_momentum is not None:
            keep = ema_momentum if i >= every else 0
            averages = [keep * a + (1 - keep) * w for a, w in zip(averages, weights, strict=True)]
            if ema_overwrite_frequency and (i // every + 1) % ema_overwrite_frequency == 0:
                weights = [np.array(a) for a in averages]
    if ema_momentum is not None:  # as at the end of `fit`
        weights = averages
    return weights, states
