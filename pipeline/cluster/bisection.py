"""Search for the failing candidates of a unit by halving groups, down to single candidates.

The code is pure: it returns the next probe and receives its result. Group testing takes about
2 log2(size) probes for each failing candidate. The number matters because every failed probe may
cost a worker process.
"""

from collections.abc import Generator

from pipeline.cluster.messages import Fault, Work

Positions = tuple[int, ...]


class Bisection:
    """The search for failing candidates in one unit that reached ``max_attempts`` failures."""

    def __init__(self, unit: int, size: int, *, confirmations: int) -> None:
        self._unit = unit
        self._search = _examine(tuple(range(size)), confirmations)
        self._probe: Positions | None = next(self._search)
        self.failing_candidates: dict[int, Fault] = {}
        """Maps positions to faults, when the search has ended. Empty if none fails alone."""

    def next(self) -> Work:
        """Return the next probe or, at the end, the unit without its failing candidates."""
        if self._probe is not None:
            return Work(unit=self._unit, probe=self._probe)
        return Work(unit=self._unit, failing_candidates=self.failing_candidates)

    def record(self, fault: Fault | None) -> None:
        """Record the result of the probe: its fault, or None if it succeeded."""
        try:
            self._probe = self._search.send(fault)
        except StopIteration as end:
            self._probe = None
            self.failing_candidates = end.value


# Yields the positions of each probe, receives its fault or None, returns the failing candidates.
_Search = Generator[Positions, Fault | None, dict[int, Fault]]


def _examine(positions: Positions, confirmations: int) -> _Search:
    # The first probe leaves out every candidate. If it fails, the machine or the models are the
    # cause, and halving would blame candidates for it.
    if (yield ()) is not None:
        return {}
    return (yield from _search(positions, confirmations))


def _search(group: Positions, confirmations: int) -> _Search:
    """Return the failing candidates of a group that failed together."""
    if len(group) == 1:
        return (yield from _confirm(group, confirmations))
    failing_candidates: dict[int, Fault] = {}
    middle = len(group) // 2
    for half in (group[:middle], group[middle:]):
        # A single candidate is not probed here, because _confirm probes it anyway.
        if len(half) == 1 or (yield half) is not None:
            failing_candidates |= yield from _search(half, confirmations)
    return failing_candidates


def _confirm(group: Positions, confirmations: int) -> _Search:
    """Return the candidate if it fails alone ``confirmations`` times."""
    # One success clears the candidate. A machine may have caused the failures, and a candidate that
    # is recorded as failed is lost for good.
    fault = None
    for _ in range(confirmations):
        fault = yield group
        if fault is None:
            return {}
    assert fault is not None, "confirmed at least once"
    return {group[0]: fault}
