"""How many candidates went in, and what became of them."""

from collections import Counter
from collections.abc import Iterable

from pipeline.records import Outcome, Record, Status


class Funnel(Record):
    """Counts of candidates; every one is kept, rejected or failed."""

    candidates: int
    kept: int
    rejected: dict[str, int]
    """By reason."""
    failed: dict[str, int]
    """By reason."""
    truncated: int
    """Candidates, of any status, whose prompt the text encoder cut."""

    @property
    def kept_rate(self) -> float:
        """Kept candidates per candidate."""
        return self.kept / self.candidates if self.candidates else 0.0


class FunnelCount:
    """Adds up outcomes one by one."""

    def __init__(self) -> None:
        self._statuses: Counter[Status] = Counter()
        self._reasons: dict[Status, Counter[str]] = {
            Status.REJECTED: Counter(),
            Status.FAILED: Counter(),
        }
        self._truncated = 0

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count some outcomes."""
        for outcome in outcomes:
            self._statuses[outcome.status] += 1
            self._truncated += outcome.truncated
            if outcome.reason is not None:
                self._reasons[outcome.status][outcome.reason] += 1

    def total(self) -> Funnel:
        """All that was counted."""
        return Funnel(
            candidates=self._statuses.total(),
            kept=self._statuses[Status.KEPT],
            rejected=dict(sorted(self._reasons[Status.REJECTED].items())),
            failed=dict(sorted(self._reasons[Status.FAILED].items())),
            truncated=self._truncated,
        )
