"""The heartbeat of a worker: it shows that the work goes on, and where it may be dropped."""

import threading

from pipeline.errors import WorkerLeavingError


class Heartbeat:
    """Counts steps of work. Shared by threads: one works, others look and tell it to leave."""

    def __init__(self) -> None:
        self.count = 0
        self._told_to_leave = threading.Event()

    @property
    def leaving(self) -> bool:
        """Whether there is to be no other step."""
        return self._told_to_leave.is_set()

    def leave(self) -> None:
        """There is to be no other step."""
        self._told_to_leave.set()

    def tick(self) -> None:
        """A step is about to be done. Raises ``WorkerLeavingError`` if there is to be no other."""
        if self.leaving:
            raise WorkerLeavingError("the worker was told to leave")
        self.count += 1

    def rest(self, seconds: float) -> None:
        """Wait, and show that this is meant; ends early if there is to be no other step."""
        self.count += 1
        self._told_to_leave.wait(seconds)
