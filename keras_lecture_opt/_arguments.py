"""What the arguments of the rules may be."""

import numbers

LARGEST = 3.4e38  # float32's, in which Keras keeps the learning rate
UNIT = ("a number in [0, 1]", lambda x: 0 <= x <= 1)
BELOW_ONE = ("a number in [0, 1)", lambda x: 0 <= x < 1)
NOT_NEGATIVE = (f"a number in [0, {LARGEST}]", lambda x: 0 <= x <= LARGEST)
POSITIVE = (f"a number in (0, {LARGEST}]", lambda x: 0 < x <= LARGEST)
ALLOWED = {
    "learning_rate": (f"{NOT_NEGATIVE[0]}, a schedule or a callable", NOT_NEGATIVE[1]),
    "momentum": UNIT,  # 1 is a world without friction: worth showing, and well defined
    "rho": BELOW_ONE,  # at 1 an average that starts at zero stays there
    "beta_1": BELOW_ONE,
    "beta_2": BELOW_ONE,
    "epsilon": NOT_NEGATIVE,
    # Keras's own arguments, which Keras checks little.
    "weight_decay": NOT_NEGATIVE,
    "clipnorm": POSITIVE,
    "clipvalue": POSITIVE,
    "global_clipnorm": POSITIVE,
    "ema_momentum": UNIT,
    "ema_overwrite_frequency": (
        "an integer >= 1",
        lambda x: isinstance(x, numbers.Integral) and x >= 1,
    ),
    "loss_scale_factor": POSITIVE,
    "gradient_accumulation_steps": (
        "an integer >= 2",
        lambda x: isinstance(x, numbers.Integral) and x >= 2,
    ),
}


def checked(rule, argument, value):
    """Returns the value as a Python number, or raises an error that names what is wrong."""
    allowed, is_allowed = ALLOWED[argument]
    message = f"{rule}: `{argument}` must be {allowed}, not {value!r}."
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(message)
    if not is_allowed(value):  # NaN is not: it compares false with everything
        raise ValueError(message)
    # A NumPy scalar would not survive serialization.
    return int(value) if isinstance(value, numbers.Integral) else float(value)
