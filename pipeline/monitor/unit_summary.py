"""Summary of one finished unit, which a worker sends to the driver."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from pipeline.core.records import Outcome, Status
from pipeline.storage.receipts import Commit, Receipt


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


def _status(outcome: Outcome) -> Status:
    return outcome.status if outcome.judged else Status.UNJUDGED


@dataclass(frozen=True, kw_only=True)
class UnitSummary:
    """Counts of one finished unit. Latents never pass through the driver."""

    unit: int
    candidates: int
    judged: int
    """Number of candidates in the sample that is judged; usually all."""
    kept: int
    rejected: int
    """Number of judged candidates that were rejected."""
    failed: int
    """Number of judged candidates that failed."""
    compute_seconds: float
    commit: Commit
    forward_evaluations: int = 0
    reasons: Mapping[tuple[Status, str], int] = field(default_factory=dict)
    """Maps status and reason to the number of candidates that were not kept.

    The status of each candidate that was not judged is ``UNJUDGED``. Its reason is empty if the
    pair is stored.
    """
    gains: Mapping[tuple[str, Status], GainSums] = field(default_factory=dict)
    """Maps reward and status to the gains of the candidates with that status."""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """Maps each stage to its seconds; empty if this attempt did not compute the unit."""
    worker: str = ""
    """Name of the worker in messages."""
    host: str = ""
    device: str = ""

    @classmethod
    def of(cls, receipt: Receipt, commit: Commit) -> Self:
        """Return the counts of a unit that is committed."""
        outcomes = receipt.outcomes
        statuses = Counter(map(_status, outcomes))
        return cls(
            unit=receipt.unit,
            candidates=len(outcomes),
            judged=len(outcomes) - statuses[Status.UNJUDGED],
            kept=statuses[Status.KEPT],
            rejected=statuses[Status.REJECTED],
            failed=statuses[Status.FAILED],
            compute_seconds=receipt.compute_seconds,
            commit=commit,
            forward_evaluations=receipt.forward_evaluations,
            reasons=Counter(
                (_status(outcome), outcome.reason or "")
                for outcome in outcomes
                if outcome.status is not Status.KEPT
            ),
            gains={
                (reward, status): GainSums.of(
                    (outcome for outcome in outcomes if _status(outcome) is status), reward
                )
                for reward in (outcomes[0].source_rewards if outcomes else ())
                for status in (Status.KEPT, Status.REJECTED)
            },
            host=receipt.host,
            device=receipt.fingerprint.device,
        )
