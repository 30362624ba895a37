"""Three steps of each rule on one weight, worked by hand in `reference.RULES`."""

import keras
import pytest
import reference

from keras_lecture_opt import Nesterov

pytestmark = pytest.mark.usefixtures("compiled_updates")


def test_three_steps(rule):
    arguments, gradients, expected = reference.RULES[rule.__name__].by_hand
    optimizer, w = rule(**arguments), keras.Variable(1.0, dtype="float64")
    for g, numbers in zip(gradients, expected, strict=True):
        optimizer.apply([g], [w])
        step = (float(w), *(float(slot) for slot in optimizer.slots(w)))
        assert step == pytest.approx(numbers, rel=1e-15, abs=0)


def test_nesterovs_w_by_hand():
    """On L = w^2: the slide's w is 1/2, 1/8, -1/32."""
    optimizer, theta = Nesterov(0.25, momentum=0.5), keras.Variable(1.0, dtype="float64")
    for w in (0.5, 0.125, -0.03125):
        optimizer.apply([2 * theta], [theta])
        assert float(optimizer.w(theta)) == w
