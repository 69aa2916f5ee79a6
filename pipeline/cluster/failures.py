"""Failure handling: retry a unit, then test its candidates separately, then stop the build.

The code is pure: it counts failures and decides, and the driver acts on the decision.
"""

import logging
from collections import Counter
from collections.abc import Callable

from pipeline.cluster.bisection import Bisection
from pipeline.cluster.messages import LOST_WORKER, Failure, Work
from pipeline.core.errors import (
    BuildError,
    DeviceMemory,
    DeviceMemoryError,
    PermanentStoreError,
    StoreError,
    UserError,
)

logger = logging.getLogger(__name__)


_LOSSES = 10
"""Number of losses not counted as failures. Beyond it the unit may be the cause of the losses."""

_MEMORY_ATTEMPTS = 2
"""Number of attempts at a unit that runs out of GPU memory."""

_OVERHEAD = 0.1
"""Share of a GPU's memory for CUDA contexts and for fragments of torch's cache."""


def exceeds_device(memory: DeviceMemory | None) -> bool:
    """Return True if a process ran out of GPU memory although it had the GPU to itself.

    Another process would run out of memory too. None stands for unknown and returns False.
    """
    # A request fails only if it is larger than the free memory, so the process needed more than
    # what it had allocated and what was free. If that is nearly all of the memory, no other process
    # and no fragmentation can be the cause.
    if memory is None:
        return False
    return memory.allocated + memory.free > (1 - _OVERHEAD) * memory.total


class FailureTracker:
    """Tracks units that have failed and are not done yet."""

    def __init__(self, *, max_attempts: int, unit_size: Callable[[int], int]) -> None:
        self._max_attempts = max_attempts
        self._unit_size = unit_size
        self._failures: Counter[int] = Counter()
        self._losses: Counter[int] = Counter()
        """Number of times each unit was lost without being blamed, for example with its machine."""
        self._bisections: dict[int, Bisection] = {}
        self._examined: set[int] = set()
        """Units whose candidates have been tested separately."""
        self._any_done = False
        """True once a unit of this build is done."""

    def __contains__(self, unit: int) -> bool:
        return unit in self._failures or unit in self._examined

    def clear(self, unit: int) -> None:
        """Forget the failures of a unit that is done."""
        self._any_done = True
        self._failures.pop(unit, None)
        self._losses.pop(unit, None)
        self._bisections.pop(unit, None)
        self._examined.discard(unit)

    def failed(self, work: Work, failure: Failure) -> Work:
        """Return the work that follows the failure of a unit.

        Raise ``UserError`` and ``PermanentStoreError`` unchanged, because a retry cannot succeed.
        Raise ``BuildError`` if nothing is left to try.
        """
        self._check_final(work, failure)
        if not self._held_against(work, failure):
            return work.again()
        self._failures[work.unit] += 1
        # Out of memory is not a matter of chance, and each attempt costs the start of a process
        # that loads the models.
        is_memory = isinstance(failure.error, DeviceMemoryError)
        attempts = min(self._max_attempts, _MEMORY_ATTEMPTS) if is_memory else self._max_attempts
        # The loss of a worker is one message, which names all its units.
        is_known = failure.fault.kind in LOST_WORKER
        logger.log(
            logging.INFO if is_known else logging.WARNING,
            "unit %d failed (%d of %d): %s",
            work.unit,
            self._failures[work.unit],
            attempts,
            failure.fault.last_line,
            extra={"unit": work.unit, "attempt": work.attempt},
        )
        if not is_known:
            logger.info("unit %d: %s", work.unit, failure.fault.message, extra={"unit": work.unit})
        if self._failures[work.unit] < attempts:
            return work.again()
        # No candidate causes these errors: the batch size is part of the plan, and the store does
        # not depend on candidates. Testing candidates separately would only take longer.
        if isinstance(failure.error, DeviceMemoryError | StoreError):
            raise _given_up(work.unit, f"failed {self._failures[work.unit]} times", failure)
        # The candidates are tested once. Failing again without the failing ones has another cause.
        if work.unit in self._examined:
            why = f"failed {self._max_attempts} more times after its candidates were tested alone"
            raise _given_up(work.unit, why, failure)
        return self._examine(work.unit)

    def probed(self, work: Work, failure: Failure | None) -> Work:
        """Return the work that follows a probe. Raise the same errors as ``failed``."""
        bisection = self._bisections[work.unit]
        if failure is not None:
            # Batches of a probe are padded, so they need the memory of complete batches, and their
            # candidates are not the cause.
            if isinstance(failure.error, DeviceMemoryError):
                return self.failed(work, failure)
            self._check_final(work, failure)
            if not self._held_against(work, failure):
                return work
            # The empty probe computes no candidate, so its failure clears all of them.
            if not work.probe:
                raise _given_up(
                    work.unit,
                    f"failed {self._max_attempts} times, and also fails without any of its "
                    "candidates, so the machine or the models are the cause",
                    failure,
                )
        bisection.record(failure.fault if failure else None)
        following = bisection.next()
        if following.probe is not None:
            return following
        if failure is not None and len(following.failing_candidates) == self._unit_size(work.unit):
            raise _given_up(work.unit, "fails with each of its candidates alone", failure)
        del self._bisections[work.unit]
        for position, fault in following.failing_candidates.items():
            logger.warning(
                "unit %d: candidate %d fails and is left out: %s",
                work.unit,
                position,
                fault.last_line,
                extra={"unit": work.unit},
            )
        return following

    def _check_final(self, work: Work, failure: Failure) -> None:
        """Raise if a retry cannot succeed."""
        if isinstance(failure.error, UserError | PermanentStoreError):
            raise failure.error
        # The batches of all units have the same size. As long as none is done, another attempt
        # would most likely run out of memory too.
        if isinstance(failure.error, DeviceMemoryError) and (
            not self._any_done or exceeds_device(failure.error.memory)
        ):
            raise _given_up(work.unit, "does not fit into the memory of the GPU", failure)

    def _held_against(self, work: Work, failure: Failure) -> bool:
        if failure.blamed:
            return True
        # A lost machine or a stopped worker does not count against the unit, unless the unit is
        # lost so often that it may be what kills them.
        self._losses[work.unit] += 1
        return self._losses[work.unit] > _LOSSES

    def _examine(self, unit: int) -> Work:
        size = self._unit_size(unit)
        logger.warning(
            "unit %d: its %d candidates are tested separately", unit, size, extra={"unit": unit}
        )
        del self._failures[unit]
        self._bisections[unit] = Bisection(unit, size, confirmations=self._max_attempts)
        self._examined.add(unit)
        return self._bisections[unit].next()


def _given_up(unit: int, why: str, failure: Failure) -> BuildError:
    return BuildError(
        f"unit {unit} {why}; all finished units are saved, and the same command resumes. "
        f"The last error:\n{failure.fault.message}"
    )
