"""Records of the workers in a build, their running work and its results."""

from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from pipeline.cluster.messages import UNITS_IN_FLIGHT, Failure, UnitSummary, Work

# Ray's handles carry no usable types.
ActorHandle = Any
ObjectRef = Any


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
        return "loading" if self.node is not None else "waiting"

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
