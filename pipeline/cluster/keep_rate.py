"""Test whether the share of kept candidates in the latest units differs from that before."""

from collections import deque
from dataclasses import dataclass
from math import sqrt

_RECENT = 20
"""Number of latest units that are compared with all units before them."""
_LEAST_BEFORE = 30

_DEVIATIONS = 5.0
"""Standard errors that count as drift. A build of 100,000 units makes 5,000 tests, and this leaves
them together a chance of about 1 in 300 for a false alarm."""

_LEAST_CHANGE = 0.02
"""Change of the rate that matters. Units that keep all or nothing have no variance to test with."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Keep rate of the latest units that differs from that before."""

    recent: float
    before: float
    low: float
    """Lower end of the interval in which ``recent`` was expected."""
    high: float


class KeepRate:
    """Share of kept candidates by unit, in constant memory.

    Units are compared, and not candidates, because candidates of one prompt are alike.
    """

    def __init__(self) -> None:
        self.drift: Drift | None = None
        """Result of the last test; each uses new units. None if the rate has not changed."""
        self._recent: deque[float] = deque()
        self._count = 0
        self._mean = 0.0
        self._squares = 0.0
        """Sum of squared deviations from the mean, by Welford's method."""

    def add(self, kept: int, candidates: int) -> None:
        """Add a unit that is done."""
        if not candidates:
            return
        self._recent.append(kept / candidates)
        if len(self._recent) == _RECENT:
            self.drift = self._test()
            for share in self._recent:
                self._count += 1
                difference = share - self._mean
                self._mean += difference / self._count
                self._squares += difference * (share - self._mean)
            self._recent.clear()

    def _test(self) -> Drift | None:
        if self._count < _LEAST_BEFORE:
            return None
        variance = self._squares / (self._count - 1)
        half = _DEVIATIONS * sqrt(variance * (1 / self._count + 1 / len(self._recent)))
        half = max(half, _LEAST_CHANGE)
        recent = sum(self._recent) / len(self._recent)
        low, high = max(0.0, self._mean - half), min(1.0, self._mean + half)
        if low <= recent <= high:
            return None
        return Drift(recent=recent, before=self._mean, low=low, high=high)
