"""Detection of late units, which an idle worker computes a second time."""

from collections.abc import Mapping
from statistics import median

SLOW = 2.0
"""Multiple of the median duration after which a unit is late."""

_REMEMBERED = 1001
"""Number of recent durations in the median. It bounds the memory of a long build."""


class Pace:
    """Durations of finished units."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    def add(self, seconds: float) -> None:
        """Record the duration of a finished unit."""
        self._seconds.append(seconds)
        del self._seconds[:-_REMEMBERED]

    def straggler(self, out: Mapping[int, float]) -> int | None:
        """Return the longest-running unit of ``out`` if it is late, else None.

        ``out`` maps each running unit to its seconds so far.
        """
        if not out or not self._seconds:
            return None
        unit = max(out, key=lambda unit: out[unit])
        return unit if out[unit] > SLOW * median(self._seconds) else None
