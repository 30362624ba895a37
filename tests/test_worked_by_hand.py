"""Three steps of each rule on one weight, worked by hand: w starts at 1, every number is exact.

The gradients of the three steps are given; eta is 1/2 throughout. Powers of two keep every number
exact in float64, so the results are compared with ==. Adam's corrections are thirds and sevenths:
there the last digit may differ.
"""

import keras
import pytest

from keras_lecture_opt import (
    AdaGrad,
    Adam,
    Momentum,
    Nesterov,
    RMSProp,
    SimplifiedAdam,
    SteepestDescent,
)


def three_steps(optimizer, gradients):
    w = keras.Variable(1.0, dtype="float64")
    path = []
    for g in gradients:
        optimizer.apply([g], [w])
        path.append((float(w), *(float(slot) for slot in optimizer.slots(w))))
    return path


def test_steepest_descent():
    path = three_steps(SteepestDescent(0.5), [1.0, 2.0, -4.0])
    assert path == [
        (0.5,),  # 1   - 1/2 *  1
        (-0.5,),  # 1/2 - 1/2 *  2
        (1.5,),  # -1/2 - 1/2 * -4
    ]


def test_momentum():
    path = three_steps(Momentum(0.5, momentum=0.5), [1.0, 2.0, -4.0])
    assert path == [
        (0.5, -0.5),  # v = 1/2 *  0   - 1/2 *  1 = -1/2;  w = 1    - 1/2 =  1/2
        (-0.75, -1.25),  # v = 1/2 * -1/2 - 1/2 *  2 = -5/4;  w = 1/2  - 5/4 = -3/4
        (0.625, 1.375),  # v = 1/2 * -5/4 - 1/2 * -4 = 11/8;  w = -3/4 + 11/8 = 5/8
    ]


def test_nesterov():
    """On L = w^2, whose gradient 2 w is taken at the look-ahead point theta = w + v/2."""
    optimizer = Nesterov(0.25, momentum=0.5)
    theta = keras.Variable(1.0, dtype="float64")
    path = []
    for _ in range(3):
        optimizer.apply([2 * theta], [theta])
        [v] = optimizer.slots(theta)
        path.append((float(optimizer.w(theta)), float(v), float(theta)))
    assert path == [
        # v = v/2 - 1/4 * 2 theta;  w = w + v;  theta = w + v/2
        (0.5, -0.5, 0.25),  # v =    0 - 1/2;    w = 1   - 1/2;  theta = 1/2 - 1/4
        (0.125, -0.375, -0.0625),  # v = -1/4 - 1/8;    w = 1/2 - 3/8;  theta = 1/8 - 3/16
        (-0.03125, -0.15625, -0.109375),  # v = -3/16 + 1/32;  w = 1/8 - 5/32;  theta = w - 5/64
    ]


def test_adagrad():
    path = three_steps(AdaGrad(0.5, epsilon=1.0), [3.0, -4.0, 12.0])
    assert path == [
        (0.625, 9.0),  # G =  0 +   9;  w = 1   - 1/2 / ( 3 + 1) *  3 = 5/8
        (0.625 + 1 / 3, 25.0),  # G =  9 +  16;  w = 5/8 - 1/2 / ( 5 + 1) * -4 = 5/8 + 1/3
        (0.625 + 1 / 3 - 3 / 7, 169.0),  # G = 25 + 144; w = w - 1/2 / (13 + 1) * 12 = w - 3/7
    ]


def test_rmsprop():
    path = three_steps(RMSProp(0.5, rho=0.75, epsilon=1.0), [2.0, 1.0, 0.0])
    assert path == [
        (0.5, 1.0),  # G = 3/4 * 0 + 1/4 * 4 = 1;  w = 1 - 1/2 / (1 + 1) * 2 = 1/2
        (0.25, 1.0),  # G = 3/4 * 1 + 1/4 * 1 = 1;  w = 1/2 - 1/2 / (1 + 1) * 1 = 1/4
        (0.25, 0.75),  # G = 3/4 * 1 + 1/4 * 0 = 3/4;  g = 0: w stays
    ]


def test_simplified_adam():
    path = three_steps(SimplifiedAdam(0.5, 0.5, 0.75, epsilon=1.0), [2.0, 1.0, -1.0])
    assert path == [
        (0.75, 1.0, 1.0),  # m = 2/2 = 1;          v = 4/4 = 1;        w = 1 - 1/2 / 2 * 1
        (0.5, 1.0, 1.0),  # m = 1/2 + 1/2 = 1;    v = 3/4 + 1/4 = 1;  w = 3/4 - 1/4
        (0.5, 0.0, 1.0),  # m = 1/2 - 1/2 = 0;    v = 3/4 + 1/4 = 1;  w stays
    ]


def test_adam():
    """Under the constant gradient 2, m^ = 2 and v^ = 4 in every step: that is the correction."""
    path = three_steps(Adam(0.5, 0.5, 0.75, epsilon=2.0), [2.0, 2.0, 2.0])
    expected = [
        # m^ = m / (1 - 1/2^t)      v^ = v / (1 - (3/4)^t)        w - 1/2 / (2 + 2) * 2
        (0.75, 1.0, 1.0),  # 1 / (1/2) = 2        1 / (1/4) = 4
        (0.5, 1.5, 1.75),  # 3/2 / (3/4) = 2      7/4 / (7/16) = 4
        (0.25, 1.75, 2.3125),  # 7/4 / (7/8) = 2      37/16 / (37/64) = 4
    ]
    for step, numbers in zip(path, expected, strict=True):
        assert step == pytest.approx(numbers, rel=1e-15)
