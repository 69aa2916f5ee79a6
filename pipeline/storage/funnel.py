"""Counts of candidates by outcome: accepted, rejected and failed, with reasons."""

from collections import Counter
from collections.abc import Iterable

from pipeline.records import Outcome, Record, Status


class Funnel(Record):
    """Counts of candidates. Each candidate is kept, rejected or failed."""

    candidates: int
    kept: int
    rejected: dict[str, int]
    """Maps each reason to the number of candidates rejected for it."""
    failed: dict[str, int]
    """Maps each reason to the number of candidates that failed with it."""
    truncated: int
    """Number of candidates, of any status, whose prompt the text encoder truncated."""

    @property
    def kept_rate(self) -> float:
        """Fraction of candidates that were kept; 0 if there are none."""
        return self.kept / self.candidates if self.candidates else 0.0


class FunnelCount:
    """Accumulator of outcomes for a ``Funnel``."""

    def __init__(self) -> None:
        self._statuses: Counter[Status] = Counter()
        self._reasons: dict[Status, Counter[str]] = {
            Status.REJECTED: Counter(),
            Status.FAILED: Counter(),
        }
        self._truncated = 0

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Add some outcomes to the counts."""
        for outcome in outcomes:
            self._statuses[outcome.status] += 1
            self._truncated += outcome.truncated
            if outcome.reason is not None:
                self._reasons[outcome.status][outcome.reason] += 1

    def total(self) -> Funnel:
        """Return the counts so far."""
        return Funnel(
            candidates=self._statuses.total(),
            kept=self._statuses[Status.KEPT],
            rejected=dict(sorted(self._reasons[Status.REJECTED].items())),
            failed=dict(sorted(self._reasons[Status.FAILED].items())),
            truncated=self._truncated,
        )
