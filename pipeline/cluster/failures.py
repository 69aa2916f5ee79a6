"""What follows when a unit fails: it is tried again, then its candidates apart, then given up.

Pure: it counts and decides, and the driver does.
"""

import logging
from collections import Counter
from collections.abc import Callable

from pipeline.cluster.bisection import Bisection
from pipeline.cluster.work import Failure, Work
from pipeline.errors import (
    BuildError,
    DeviceMemoryError,
    PermanentStoreError,
    StoreError,
    UserError,
)

logger = logging.getLogger(__name__)


_LOSSES = 10
"""A unit that goes down with so many machines may be what takes them down."""


class FailureTracker:
    """Units that have failed and are not done yet."""

    def __init__(self, *, max_attempts: int, unit_size: Callable[[int], int]) -> None:
        self._max_attempts = max_attempts
        self._unit_size = unit_size
        self._failures: Counter[int] = Counter()
        self._losses: Counter[int] = Counter()
        """How often a unit was lost that was not to blame."""
        self._bisections: dict[int, Bisection] = {}
        self._examined: set[int] = set()
        """Units whose candidates have been tried apart."""

    def __contains__(self, unit: int) -> bool:
        return unit in self._failures or unit in self._examined

    def clear(self, unit: int) -> None:
        """A unit is done."""
        self._failures.pop(unit, None)
        self._losses.pop(unit, None)
        self._bisections.pop(unit, None)
        self._examined.discard(unit)

    def failed(self, work: Work, failure: Failure) -> Work:
        """What to do after a unit has failed.

        Raises what a person has to mend as it is, and ``BuildError`` where there is nothing left
        to try.
        """
        if isinstance(failure.error, UserError | PermanentStoreError):
            raise failure.error
        if not self._held_against(work, failure):
            return work
        self._failures[work.unit] += 1
        logger.warning(
            "unit %d failed (%d of %d): %s",
            work.unit,
            self._failures[work.unit],
            self._max_attempts,
            failure.fault.last_line,
        )
        if self._failures[work.unit] < self._max_attempts:
            return work
        # Neither is a candidate's doing: to try candidates apart would only take longer.
        if isinstance(failure.error, DeviceMemoryError | StoreError):
            raise _given_up(work.unit, f"failed {self._max_attempts} times", failure)
        if work.unit in self._examined:
            why = f"failed {self._max_attempts} times again after its candidates were tried apart"
            raise _given_up(work.unit, why, failure)
        return self._examine(work.unit)

    def tried(self, work: Work, failure: Failure | None) -> Work:
        """What to do after a probe. Raises as ``failed`` does."""
        bisection = self._bisections[work.unit]
        if failure is not None:
            if isinstance(failure.error, UserError | PermanentStoreError):
                raise failure.error
            if not self._held_against(work, failure):
                return work
            if not work.probe:
                raise _given_up(
                    work.unit,
                    f"failed {self._max_attempts} times, and fails without any of its candidates "
                    "too, so the machine or the models are at fault",
                    failure,
                )
        bisection.tell(failure.fault if failure else None)
        following = bisection.next()
        if following.probe is not None:
            return following
        if failure is not None and len(following.failing_candidates) == self._unit_size(work.unit):
            raise _given_up(work.unit, "fails with each of its candidates alone", failure)
        del self._bisections[work.unit]
        for position, fault in following.failing_candidates.items():
            logger.warning(
                "unit %d: candidate %d of it fails and is left out: %s",
                work.unit,
                position,
                fault.last_line,
            )
        return following

    def _held_against(self, work: Work, failure: Failure) -> bool:
        if failure.blamed:
            return True
        self._losses[work.unit] += 1
        return self._losses[work.unit] > _LOSSES

    def _examine(self, unit: int) -> Work:
        size = self._unit_size(unit)
        logger.warning("unit %d: its %d candidates are tried apart", unit, size)
        del self._failures[unit]
        self._bisections[unit] = Bisection(unit, size, confirmations=self._max_attempts)
        self._examined.add(unit)
        return self._bisections[unit].next()


def _given_up(unit: int, why: str, failure: Failure) -> BuildError:
    return BuildError(
        f"unit {unit} {why}; every finished unit is safe, and the same command resumes. "
        f"The last error:\n{failure.fault.message}"
    )
