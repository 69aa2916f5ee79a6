"""Records of the workers in a build, their running work and its results."""

import logging
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from ray.exceptions import RayTaskError

from pipeline.cluster.messages import UNITS_IN_FLIGHT, Failure, Fault, Work
from pipeline.cluster.ray_session import ActorProcess, process_of
from pipeline.monitor.unit_summary import UnitSummary

logger = logging.getLogger(__name__)

_NAME_DIGITS = 8

# Ray's handles carry no usable types.
ActorHandle = Any
ObjectRef = Any


def worker_name(actor_id: str) -> str:
    """Return the name of a worker in messages: the first digits of Ray's id of its actor."""
    return actor_id[:_NAME_DIGITS]


@dataclass(frozen=True, kw_only=True)
class CallResult:
    """Result of a finished call to a worker."""

    worker: "Worker"
    work: Work
    summary: UnitSummary | None
    """None for a probe or a failure."""
    failure: Failure | None
    seconds: float
    """Seconds since the work was sent."""


@dataclass(eq=False)
class Worker:
    """A worker actor and its running work."""

    actor: ActorHandle
    ready: bool = False
    leaving: bool = False
    failed: bool = False
    """True if it leaves because of an error of its GPU."""
    process: ActorProcess | None = None
    """Its process; None while it waits for resources."""
    node: str | None = None
    """Ray's id of its machine; None until the first health check is answered."""
    running: dict[ObjectRef, tuple[Work, float]] = field(default_factory=dict)
    """Maps each running call to its work and the time it was sent."""
    count: int = -1
    """Heartbeat count of the last health check."""
    progressed_at: float = 0.0
    """Time of the last health check in which the count had changed."""

    @property
    def state(self) -> str:
        """Waiting for resources, loading models, ready for work, or leaving."""
        if self.leaving:
            return "leaving"
        if self.ready:
            return "ready"
        return "waiting" if self.process is None else "loading"

    @property
    def name(self) -> str:
        """Name in messages. Ray's logs and dashboard show the id that it begins."""
        return worker_name(self.actor._actor_id.hex())

    def __str__(self) -> str:
        if self.process is None:
            return f"worker {self.name}"
        return f"worker {self.name} (pid {self.process.pid} on {self.process.address})"

    @property
    def retried(self) -> str:
        """Units that are tried again if the worker is lost, as the end of a message."""
        units = [
            f"unit {work.unit} (attempt {work.attempt + 1})"
            for work, _ in self.running.values()
            if work.probe is None
        ]
        return f"; tried again: {', '.join(units)}" if units else ""

    def find_process(self) -> None:
        """Ask Ray for the process, unless it is known."""
        if self.process is None:
            self.process = process_of(self.actor)

    def log(self, event: str, level: int = logging.WARNING) -> None:
        """Log an event of the worker, after its name and process."""
        self.find_process()
        logger.log(level, "%s %s", self, event, extra={"worker": self.name})

    @property
    def free(self) -> bool:
        """True if the worker can accept another unit."""
        return self.ready and not self.leaving and len(self.running) < UNITS_IN_FLIGHT

    def result(
        self,
        work: Work,
        sent: float,
        *,
        summary: UnitSummary | None = None,
        failure: Failure | None = None,
    ) -> CallResult:
        """Return the result of work that was sent at the time ``sent``."""
        return CallResult(
            worker=self, work=work, summary=summary, failure=failure, seconds=monotonic() - sent
        )


def fault_of(error: RayTaskError) -> Fault:
    """Return the fault of an error, with the type of its cause instead of Ray's wrapper."""
    return Fault(kind=type(error.cause or error).__name__, message=str(error).strip())
