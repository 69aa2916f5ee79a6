"""Messages between the driver and the workers: work, its failures, health checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pipeline.core.errors import NPDError

UNITS_IN_FLIGHT = 2
"""Units sent to a worker at a time: one computes while the other is packed and uploaded."""


LOST_WORKER = frozenset({"worker_died", "worker_hung"})
"""Kinds of faults that end a worker, with all its units."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Cause of a failure."""

    kind: str
    """Name of an error type, ``worker_died`` or ``worker_hung``; the same on every machine."""
    message: str
    """Text for people. It may name hosts and processes, so it is stored in the receipt only."""

    @property
    def reason(self) -> str:
        """Reason as recorded in an outcome."""
        return f"error:{self.kind}"

    @property
    def last_line(self) -> str:
        """Last line of the message, which in a traceback is the error itself."""
        return self.message.strip().splitlines()[-1] if self.message.strip() else self.kind


@dataclass(frozen=True, kw_only=True)
class Work:
    """One call to a worker: compute and commit a unit, or probe some of its candidates."""

    unit: int
    failing_candidates: Mapping[int, Fault] = field(default_factory=dict)
    """Maps positions of candidates that are left out, because they fail, to their faults."""
    probe: tuple[int, ...] | None = None
    """Positions to compute without committing; all others are left out. None if not a probe."""
    attempt: int = field(default=1, compare=False)
    """Number of times the unit was sent to a worker, this time included. For logs only."""

    def again(self) -> "Work":
        """Return the same work for another attempt."""
        return replace(self, attempt=self.attempt + 1)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Reason why a call did not finish its work."""

    fault: Fault
    error: NPDError | None
    """The error if it is an ``NPDError``, else None."""
    blamed: bool
    """False if the work cannot have caused the failure, for example when its machine was lost."""


@dataclass(frozen=True, kw_only=True)
class HealthStatus:
    """Answer of a worker to a health check."""

    count: int
    """Number of steps so far. An unchanged count means that the work does not progress."""
    leaving: bool
    """True if the worker accepts no more units, after a call of the driver or a signal."""
    node: str
    """Ray's id of the machine."""
