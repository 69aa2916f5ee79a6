"""Finding the candidates of which a unit dies: halves, quarters, down to one.

Pure: it says what to try next and is told how that went. Group testing costs about 2 log2(size)
probes for each failing candidate, and every probe may cost a worker its process.
"""

from collections.abc import Generator

from pipeline.cluster.work import Fault, Work

Positions = tuple[int, ...]


class Bisection:
    """The examination of one unit that has failed too often."""

    def __init__(self, unit: int, size: int, *, confirmations: int) -> None:
        self._unit = unit
        self._search = _examine(tuple(range(size)), confirmations)
        self._probe: Positions | None = next(self._search)
        self.failing_candidates: dict[int, Fault] = {}
        """By position, once nothing is left to try; empty if nothing could be found."""

    def next(self) -> Work:
        """Return what to try now or, at the end, the unit without the failing candidates."""
        if self._probe is not None:
            return Work(unit=self._unit, probe=self._probe)
        return Work(unit=self._unit, failing_candidates=self.failing_candidates)

    def tell(self, fault: Fault | None) -> None:
        """How the probe went; None is well."""
        try:
            self._probe = self._search.send(fault)
        except StopIteration as end:
            self._probe = None
            self.failing_candidates = end.value


# Sent how a probe went, it yields the next.
_Search = Generator[Positions, Fault | None, dict[int, Fault]]


def _examine(positions: Positions, confirmations: int) -> _Search:
    # Without any candidate first. If that fails, none of them is at fault.
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
        # A single one is tried where it is confirmed.
        if len(half) == 1 or (yield half) is not None:
            failing_candidates |= yield from _search(half, confirmations)
    return failing_candidates


def _confirm(group: Positions, confirmations: int) -> _Search:
    """One success acquits: machines fail too, and a candidate lost to them would be for good."""
    fault = None
    for _ in range(confirmations):
        fault = yield group
        if fault is None:
            return {}
    assert fault is not None, "confirmed at least once"
    return {group[0]: fault}
