"""Progress of a build in numbers: counts of candidates, pace, time left, cost and state."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.evaluate.compare import Estimate, win_rate
from pipeline.storage.unit_counts import UnitCounts

WINDOW_S = 3600.0
"""Seconds over which the pace is measured."""

_PATIENCE_S = 900.0
"""Least number of seconds without a commit after which a build counts as stalled."""
_FIRST_PATIENCE_S = 3600.0
"""The same before the first commit, while workers start and load models."""
_UNITS = 4
"""Number of durations of the slowest unit after which a build counts as stalled."""


class State(StrEnum):
    """State of a plan in a store."""

    SEALED = "sealed"
    IN_PROGRESS = "in progress"
    STALLED = "stalled"
    """Not sealed, and nothing shows that a build makes progress."""


@dataclass(kw_only=True)
class Tally:
    """Sums over the units whose receipts were read."""

    units: int = 0
    candidates: int = 0
    judged: int = 0
    """Number of candidates in the sample that is judged; usually all."""
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """Maps each reason to the number of candidates rejected for it."""
    failed: Counter[str] = field(default_factory=Counter)
    """Maps each reason to the number of candidates that failed with it."""
    worker_seconds: float = 0.0
    """Seconds that workers spent on these units, without loading, waiting and lost attempts."""
    devices: Counter[str] = field(default_factory=Counter)
    """Maps each GPU or processor to the number of units that it computed."""
    longest_seconds: float = 0.0
    """Duration of the slowest unit."""
    _squares: float = 0.0
    _kept_squares: float = 0.0
    _products: float = 0.0

    def add(self, counts: UnitCounts) -> None:
        """Add one unit."""
        self.units += 1
        self.candidates += counts.candidates
        self.judged += counts.judged
        self.kept += counts.kept
        self.rejected.update(counts.rejected)
        self.failed.update(counts.failed)
        self.worker_seconds += counts.compute_seconds
        self.devices[counts.device] += 1
        self.longest_seconds = max(self.longest_seconds, counts.compute_seconds)
        self._squares += counts.judged**2
        self._kept_squares += counts.kept**2
        self._products += counts.kept * counts.judged

    def kept_share(self) -> Estimate | None:
        """Return the kept share of judged candidates with its 95% interval; None without any.

        Candidates of one prompt are alike and mostly share a unit. The interval is therefore that
        of as many independent candidates as have the variance that is seen between units.
        """
        if not self.judged:
            return None
        return win_rate(self.kept / self._clustering(), self.judged / self._clustering())

    def _clustering(self) -> float:
        """Return the variance of the share between units over that of independent candidates."""
        share = self.kept / self.judged
        independent = share * (1 - share) / self.judged
        if self.units < 2 or not independent:
            return 1.0
        residuals = self._kept_squares - 2 * share * self._products + share**2 * self._squares
        between = self.units / (self.units - 1) * residuals / self.judged**2
        return max(1.0, between / independent)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Speed of a build over the last hour."""

    window_seconds: float
    """Seconds that were looked at: an hour, or since the running builds started."""
    units_per_second: float
    candidates_per_second: float
    seconds_left: float | None
    """Seconds until the last unit at this pace; None if nothing was done or no build is alive."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of the workers' seconds at a price per hour."""

    spent: float
    per_kept_pair: float | None
    """None if nothing is kept."""
    left: float
    """Cost of the remaining units, if they take as long as those that are done."""


def pace_of(
    units: int, candidates: int, remaining: int, window_seconds: float, *, is_alive: bool
) -> Pace:
    """Return the pace of ``units`` with ``candidates`` that were done within a window."""
    per_second = units / window_seconds if window_seconds > 0 else 0.0
    return Pace(
        window_seconds=window_seconds,
        units_per_second=per_second,
        candidates_per_second=candidates / window_seconds if window_seconds > 0 else 0.0,
        seconds_left=remaining / per_second if is_alive and per_second else None,
    )


def cost_of(tally: Tally, done: int, remaining: int, price_per_hour: float) -> Cost | None:
    """Return the cost at a price per hour of a worker; None if no unit was read."""
    if not tally.units:
        return None
    unit = tally.worker_seconds / tally.units / 3600 * price_per_hour
    kept = tally.kept / tally.units * done
    return Cost(
        spent=unit * done,
        per_kept_pair=unit * done / kept if kept else None,
        left=unit * remaining,
    )


def patience(longest_seconds: float, *, is_first: bool) -> float:
    """Return the seconds without a commit after which a build that is alive counts as stalled.

    ``longest_seconds`` is the duration of its slowest unit. ``is_first`` is True before its first
    commit.
    """
    least = _FIRST_PATIENCE_S if is_first else _PATIENCE_S
    return max(least, _UNITS * longest_seconds)
