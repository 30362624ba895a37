"""Keeps TensorFlow's lines at start-up off the terminal, where a program asks for that."""

import contextlib
import os


@contextlib.contextmanager
def quiet_start():
    """Discard what is written to stderr, if TF_CPP_MIN_LOG_LEVEL is 3.

    That variable asks TensorFlow to print nothing below fatal errors, but the lines about CUDA come
    from a library that does not read it. Python's exceptions are raised as usual.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3":
        yield
        return
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
