"""The seven rules in float64 NumPy, typed from the lecture's formulas; nothing of ours is used.

Each takes the start `w` and the gradients, one per step, and yields after every step the weights
and the tuple of the rule's state. Arguments carry Keras's names.
"""

import collections
import itertools

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
    """A rule within all that a Keras optimizer does around it, typed from Keras's documentation.

    `gradients_at(weights, i)` gives the gradients of step i, `rate_at(i)` its learning rate,
    `weight_decay` has one number per weight. Returns the weights and the states.
    """
    rate = np.array(float(arguments["learning_rate"]))  # the formulas read it anew in every step
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
