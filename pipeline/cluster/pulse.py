"""The pulse of a worker: it shows that the work goes on, and where it may be dropped."""

from pipeline.errors import WorkerLeavingError


class Pulse:
    """Counts steps of work. Shared by threads: one works, others look and tell it to leave."""

    def __init__(self) -> None:
        self.count = 0
        self.leaving = False

    def beat(self) -> None:
        """A step is about to be done. Raises ``WorkerLeavingError`` if there is to be no other."""
        if self.leaving:
            raise WorkerLeavingError("the worker was told to leave")
        self.count += 1
