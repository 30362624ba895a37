"""Ctrl-C."""

import contextlib
import signal
import threading


@contextlib.contextmanager
def deaf_to_ctrl_c():
    """Ignore Ctrl-C; processes that start in this context ignore it for good."""
    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
