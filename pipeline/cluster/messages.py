"""Messages between the driver and the workers: work, its failures, summaries, health checks."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from pipeline.core.errors import NPDError
from pipeline.core.records import Outcome, Status
from pipeline.storage.receipts import Commit, Receipt

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
class GainSums:
    """Sums over the gains (golden − source) of candidates under one reward."""

    scored: int = 0
    """Number of candidates with a score of both images."""
    wins: int = 0
    """Number of candidates with a gain above 0."""
    gain: float = 0.0
    """Sum of the gains above 0."""
    loss: float = 0.0
    """Sum of the gains below 0, without their sign."""
    squares: float = 0.0
    """Sum of the squared gains."""

    @classmethod
    def of(cls, outcomes: Iterable[Outcome], reward: str) -> Self:
        """Return the sums of ``outcomes`` under ``reward``."""
        gains = [
            golden - source
            for outcome in outcomes
            if (source := outcome.source_rewards[reward]) is not None
            and (golden := outcome.golden_rewards[reward]) is not None
        ]
        return cls(
            scored=len(gains),
            wins=sum(gain > 0 for gain in gains),
            gain=sum(max(gain, 0.0) for gain in gains),
            loss=sum(max(-gain, 0.0) for gain in gains),
            squares=sum(gain * gain for gain in gains),
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(
            scored=self.scored + other.scored,
            wins=self.wins + other.wins,
            gain=self.gain + other.gain,
            loss=self.loss + other.loss,
            squares=self.squares + other.squares,
        )


@dataclass(frozen=True, kw_only=True)
class UnitSummary:
    """Counts of one finished unit. Latents never pass through the driver."""

    unit: int
    candidates: int
    kept: int
    rejected: int
    failed: int
    compute_seconds: float
    commit: Commit
    forward_evaluations: int = 0
    reasons: Mapping[tuple[Status, str], int] = field(default_factory=dict)
    """Maps status and reason to the number of candidates that were rejected or failed."""
    gains: Mapping[tuple[str, Status], GainSums] = field(default_factory=dict)
    """Maps reward and status to the gains of the candidates with that status."""

    @classmethod
    def of(cls, receipt: Receipt, commit: Commit) -> Self:
        """Return the counts of a unit that is committed."""
        outcomes = receipt.outcomes
        return cls(
            unit=receipt.unit,
            candidates=len(outcomes),
            kept=receipt.count(Status.KEPT),
            rejected=receipt.count(Status.REJECTED),
            failed=receipt.count(Status.FAILED),
            compute_seconds=receipt.compute_seconds,
            commit=commit,
            forward_evaluations=receipt.forward_evaluations,
            reasons=Counter(
                (outcome.status, outcome.reason)
                for outcome in outcomes
                if outcome.reason is not None
            ),
            gains={
                (reward, status): GainSums.of(
                    (outcome for outcome in outcomes if outcome.status is status), reward
                )
                for reward in (outcomes[0].source_rewards if outcomes else ())
                for status in (Status.KEPT, Status.REJECTED)
            },
        )


@dataclass(frozen=True, kw_only=True)
class HealthStatus:
    """Answer of a worker to a health check."""

    count: int
    """Number of steps so far. An unchanged count means that the work does not progress."""
    leaving: bool
    """True if the worker accepts no more units, after a call of the driver or a signal."""
    node: str
    """Ray's id of the machine."""
