"""Waiting for what another process does."""

import time
from collections.abc import Callable
from threading import Event

POLL_S = 0.1
"""Processes announce nothing, so they are looked at again and again."""


def until(condition: Callable[[], bool], timeout_s: float, poll_s: float = POLL_S) -> bool:
    """Wait for a condition, asked every ``poll_s``; whether it held within ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause(poll_s)
    return True


def pause(seconds: float) -> None:
    """Let time pass, as a seeded moment between two faults."""
    Event().wait(seconds)
