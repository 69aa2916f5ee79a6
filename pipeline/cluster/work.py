"""What the driver sends to workers, and how it can fail."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.errors import NPDError

UNITS_IN_FLIGHT = 2
"""One computes while the other is packed and uploaded."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why a candidate cannot be computed."""

    kind: str
    """The name of an error, ``worker_died`` or ``worker_hung``: the same wherever it happens."""
    message: str
    """For people; may name hosts and processes, so it stays in the receipt."""

    @property
    def reason(self) -> str:
        """As an outcome gives it."""
        return f"error:{self.kind}"

    @property
    def last_line(self) -> str:
        """The message in short: a traceback ends in the error itself."""
        return self.message.strip().splitlines()[-1] if self.message.strip() else self.kind


@dataclass(frozen=True, kw_only=True)
class Work:
    """One call of a worker: compute a unit and commit it, or try some of it out."""

    unit: int
    failing_candidates: Mapping[int, Fault] = field(default_factory=dict)
    """By position in the unit, the candidates that are known to fail; they are left out."""
    probe: tuple[int, ...] | None = None
    """Positions to compute while all others are left out; nothing is committed. None: all."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why work came back undone."""

    fault: Fault
    error: NPDError | None
    """The error itself where it is one of ours."""
    blamed: bool
    """False where the worker or its machine went for reasons of its own."""
