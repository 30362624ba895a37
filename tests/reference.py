"""The seven rules in float64 NumPy, typed from the lecture's formulas; nothing of ours is used.

Each takes the start `w` and the gradients, one per step, and yields after every step the weights
and the tuple of the rule's state. Arguments carry Keras's names.
"""

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
