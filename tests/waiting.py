"""Waiting for other processes."""

import time
from collections.abc import Callable
from threading import Event

POLL_S = 0.1
"""Seconds between two checks of a condition."""


def until(condition: Callable[[], bool], timeout_s: float, poll_s: float = POLL_S) -> bool:
    """Check a condition every ``poll_s``. Return True if it held within ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause(poll_s)
    return True


def pause(seconds: float) -> None:
    """Wait, for example between two faults."""
    Event().wait(seconds)
