"""Messages of Ray itself, which go to the log in place of the person's terminal.

Ray prints errors of its raylets to standard output, from a thread, and has no setting against it.
They would be mixed with results and with the progress bar.
"""

import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

logger = logging.getLogger(__name__)


@contextmanager
def ray_output_logged() -> Iterator[None]:
    """Log what other threads print, and the records of Ray, while the context is open."""
    rays = logging.getLogger("ray")
    handlers, propagates = rays.handlers[:], rays.propagate
    rays.handlers.clear()
    rays.propagate = True
    try:
        with redirect_stdout(_MainThreadOutput(sys.stdout)):
            yield
    finally:
        rays.handlers[:], rays.propagate = handlers, propagates


class _MainThreadOutput(io.TextIOBase):
    """Standard output of the main thread. Lines of other threads are logged."""

    def __init__(self, inner: TextIO) -> None:
        super().__init__()
        self._inner = inner

    def write(self, text: str) -> int:
        if threading.current_thread() is threading.main_thread():
            return self._inner.write(text)
        for line in text.splitlines():
            if line.strip():
                logger.info("Ray: %s", line.strip())
        return len(text)

    def flush(self) -> None:
        self._inner.flush()

    def isatty(self) -> bool:
        # colorama, which Ray loads, asks once more when the process ends.
        return not self._inner.closed and self._inner.isatty()

    def fileno(self) -> int:
        return self._inner.fileno()
