"""Which unit to give to a second worker when there is nothing else left to do."""

from collections.abc import Mapping
from statistics import median

SLOW = 2.0
"""A unit is late when it has taken so many times as long as the middle one of those done."""

_REMEMBERED = 1001
"""Durations that the middle is taken of: recent ones, and a bounded number."""


class Pace:
    """How long units take."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    def add(self, seconds: float) -> None:
        """A unit was done in so many seconds."""
        self._seconds.append(seconds)
        del self._seconds[:-_REMEMBERED]

    def straggler(self, out: Mapping[int, float]) -> int | None:
        """The latest of the units that are out (with their seconds so far), if it is late."""
        if not out or not self._seconds:
            return None
        unit = max(out, key=lambda unit: out[unit])
        return unit if out[unit] > SLOW * median(self._seconds) else None
