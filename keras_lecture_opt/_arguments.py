"""Checks of arguments: a wrong type is a TypeError, a wrong value a ValueError, always by name."""

import math
import numbers
import os
import pathlib
import re

import numpy as np

# How a URL begins. One letter before a colon is a drive of Windows.
SCHEME = re.compile("[A-Za-z][A-Za-z0-9+.-]+:/")


def check_number(argument, value, allowed, is_allowed, owner="", kind=numbers.Real):
    """Return the value as a Python number.

    `allowed` says in the message which numbers `is_allowed` accepts, `owner` what takes the
    argument. NumPy scalars are numbers, booleans are not, and NaN is never allowed.
    """
    number = as_python(value)
    message = must_be(argument, allowed, value, owner)
    if isinstance(number, bool) or not isinstance(number, kind):
        raise TypeError(message)
    if number != number or not is_allowed(number):
        raise ValueError(message)
    return int(number) if isinstance(number, numbers.Integral) else float(number)


def check_integer(argument, value, least, most=math.inf, otherwise=""):
    """Return the value as a Python integer; `otherwise` names what else the argument may be."""
    limit = f" and <= {most}" if most < math.inf else ""
    allowed = f"{otherwise}an integer >= {least}{limit}"
    kind = numbers.Integral
    return check_number(argument, value, allowed, lambda n: least <= n <= most, kind=kind)


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
    """Return the path as a string, with `~` expanded; a URL needs both of its slashes."""
    path = _path_of(argument, value)
    if SCHEME.match(path) and "://" not in path:  # pathlib makes one slash of two
        has_host = not path.startswith(("file:", "hdfs:"))
        url = path.replace(":/", "://" if has_host else ":///", 1)
        allowed = "a string with two slashes if it is a URL"
        raise ValueError(f"{must_be(argument, allowed, value)} Pass {url!r}.")
    return path


def check_local_path(argument, value):
    """Return the path as a `pathlib.Path`, with `~` expanded; raise if it is a URL."""
    path = _path_of(argument, value)
    if SCHEME.match(path):
        raise ValueError(must_be(argument, "a path in a local file system", value))
    return pathlib.Path(path)


def _path_of(argument, value):
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        raise TypeError(must_be(argument, "a string or a pathlib.Path", value))
    path = os.fspath(value)
    if not path or "\0" in path:
        raise ValueError(must_be(argument, "a path, not empty and without a null character", value))
    return os.path.expanduser(path)


def check_text(text, message):
    """Raise if matplotlib cannot draw the text: between two dollar signs it reads TeX."""
    from matplotlib import cbook, mathtext  # they take long to load, and few calls need them

    for line in filter(cbook.is_math_text, text.split("\n")):
        try:
            mathtext.MathTextParser("path").parse(line)
        except ValueError as error:
            raise ValueError(f"{message} {error}") from error


def must_be(argument, allowed, value, owner=""):
    """The message that says what an argument must be and is not."""
    prefix = f"{owner}: " if owner else ""
    return f"{prefix}`{argument}` must be {allowed}, not {value!r}."


def as_python(value):
    """A NumPy scalar as the Python object of its value; everything else as it is."""
    is_scalar = isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim)
    return value.item() if is_scalar else value
