"""Checks of arguments: a wrong type is a TypeError, a wrong value a ValueError, always by name."""

import numbers
import os
import pathlib
import re

import numpy as np


def check_number(argument, value, allowed, is_allowed, owner="", kind=numbers.Real):
    """Return the value as a Python number.

    Args:
        argument: name of the argument, for the message.
        value: what was given. NumPy scalars are numbers, booleans are not.
        allowed: what the argument may be, for the message.
        is_allowed: function from a number to a boolean. NaN is never allowed.
        owner: name of what takes the argument, for the message.
        kind: `numbers.Real` or `numbers.Integral`.

    Raises:
        TypeError: the value is not a number of that kind.
        ValueError: the number is not allowed.
    """
    number = as_python(value)
    message = must_be(argument, allowed, value, owner)
    if isinstance(number, bool) or not isinstance(number, kind):
        raise TypeError(message)
    if number != number or not is_allowed(number):
        raise ValueError(message)
    return int(number) if isinstance(number, numbers.Integral) else float(number)


def check_integer(argument, value, least, most=None, otherwise="", owner=""):
    """Return the value as a Python integer; `otherwise` names what else the argument may be."""
    limit = "" if most is None else f" and <= {most}"
    return check_number(
        argument,
        value,
        f"{otherwise}an integer >= {least}{limit}",
        lambda n: n >= least and (most is None or n <= most),
        owner,
        numbers.Integral,
    )


def check_numbers(argument, value, shape, allowed, owner=""):
    """Return the value as a float64 array of this shape; raise if it is not finite numbers."""
    message = must_be(argument, allowed, value, owner)
    try:
        array = np.asarray(value)
    except ValueError as error:  # it is ragged
        raise ValueError(message) from error
    if array.dtype.kind not in "iuf":
        raise TypeError(message)
    if array.shape != shape or not np.all(np.isfinite(array)):
        raise ValueError(message)
    return array.astype("float64")


def check_boolean(argument, value, owner=""):
    """Return the value as a Python boolean."""
    if not isinstance(as_python(value), bool):
        raise TypeError(must_be(argument, "True or False", value, owner))
    return bool(value)


def check_path(argument, value):
    """Return the path as a string, with `~` expanded."""
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        raise TypeError(must_be(argument, "a string or a pathlib.Path", value))
    path = os.fspath(value)
    # pathlib makes one slash of a URL's two. One letter before a colon is a drive of Windows.
    if not isinstance(value, str) and re.match("[A-Za-z][A-Za-z0-9+.-]+:/", path):
        url = path.replace(":/", "://", 1)
        raise ValueError(f"{must_be(argument, 'a string if it is a URL', value)} Pass {url!r}.")
    return os.path.expanduser(path)


def check_local_path(argument, value):
    """Return the path as a `pathlib.Path`, with `~` expanded; raise if it is a URL."""
    path = check_path(argument, value)
    if "://" in path:
        raise ValueError(must_be(argument, "a path in a local file system", value))
    return pathlib.Path(path)


def must_be(argument, allowed, value, owner=""):
    """The message that says what an argument must be and is not."""
    prefix = f"{owner}: " if owner else ""
    return f"{prefix}`{argument}` must be {allowed}, not {value!r}."


def as_python(value):
    """A NumPy scalar as the Python object of its value; everything else as it is."""
    is_scalar = isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim)
    return value.item() if is_scalar else value
