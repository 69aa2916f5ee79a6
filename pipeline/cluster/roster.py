"""Who works at a build, what they are doing, and how it ended."""

from dataclasses import dataclass, field
from typing import Any

from pipeline.cluster.summary import UnitSummary
from pipeline.cluster.work import UNITS_IN_FLIGHT, Failure, Work

# Ray's handles carry no usable types.
ActorHandle = Any
ObjectRef = Any


@dataclass(frozen=True, kw_only=True)
class CallResult:
    """A call of a worker that is over."""

    worker: "Worker"
    work: Work
    summary: UnitSummary | None
    """None for a probe, and for a failure."""
    failure: Failure | None
    seconds: float
    """Since the work was sent."""


@dataclass(eq=False)
class Worker:
    """An actor, and what it is doing."""

    actor: ActorHandle
    ready: bool = False
    leaving: bool = False
    node: str | None = None
    """Where it runs; None until it has answered once."""
    works: dict[ObjectRef, tuple[Work, float]] = field(default_factory=dict)
    """What it was sent, and when."""
    count: int = -1
    moved: float = 0.0
    """When its count was last seen to change."""

    @property
    def free(self) -> bool:
        """Whether it may be sent something."""
        return self.ready and not self.leaving and len(self.works) < UNITS_IN_FLIGHT
