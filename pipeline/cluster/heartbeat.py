"""Heartbeat of a worker: a step counter and a request to leave, shared between threads."""

import threading

from pipeline.core.errors import WorkerLeavingError


class Heartbeat:
    """Counts steps of work. One thread works; others read the count or request it to leave."""

    def __init__(self) -> None:
        self.count = 0
        self._leave_requested = threading.Event()

    @property
    def leaving(self) -> bool:
        """True once the worker was asked to leave."""
        return self._leave_requested.is_set()

    def leave(self) -> None:
        """Ask the worker to stop before its next step."""
        self._leave_requested.set()

    def tick(self) -> None:
        """Count a step that is about to start. Raise ``WorkerLeavingError`` if asked to leave."""
        if self.leaving:
            raise WorkerLeavingError("the worker was asked to leave")
        self.count += 1

    def rest(self, seconds: float) -> None:
        """Wait ``seconds``, or until asked to leave."""
        # Counting the pause keeps the worker from being replaced as hung while it waits on purpose.
        self.count += 1
        self._leave_requested.wait(seconds)
