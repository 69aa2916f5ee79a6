"""The driver: a thin queue of unit numbers over workers that come and go.

It holds numbers, never data: what it needs beyond them is in the store. Losing it loses nothing.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from time import monotonic

from pipeline.cluster.failures import FailureTracker
from pipeline.cluster.nodes import free_resources
from pipeline.cluster.roster import ActorHandle, CallResult, Worker
from pipeline.cluster.stragglers import Pace
from pipeline.cluster.summary import UnitSummary
from pipeline.cluster.work import Work
from pipeline.cluster.worker_pool import WorkerPool
from pipeline.config.sections import ClusterConfig
from pipeline.errors import BuildStoppedError
from pipeline.storage.receipts import Commit

logger = logging.getLogger(__name__)

_WAIT_S = 1.0
"""How soon a request to stop is heard, and a straggler seen."""

_SILENCE_S = 30.0
"""How long no worker may be there before the driver says what it is waiting for."""

_FAREWELL_S = 60.0
"""How long workers that were told to leave have for their uploads."""


class Driver:
    """Hands units to workers, two at a time to each, until every unit is committed.

    A unit that fails is tried again, on another worker where there is one, and alone. After
    ``max_attempts`` failures its candidates are tried separately, and those that fail alone are
    recorded as failed. A failure that no candidate causes stops the build with ``BuildError``. An
    error that the user has to fix (``UserError``, ``PermanentStoreError``) stops it at once.

    ``spawn`` starts an actor with the methods of ``WorkerActor``; ``unit_size`` gives the number of
    candidates in a unit; once ``stop`` says so, the build ends in order with
    ``BuildStoppedError``.
    """

    def __init__(
        self,
        spawn: Callable[[], ActorHandle],
        config: ClusterConfig,
        *,
        unit_size: Callable[[int], int],
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._spawn = spawn
        self._config = config
        self._stop = stop
        self._again: deque[Work] = deque()
        """What has failed and is to be tried again, or in part."""
        self._failures = FailureTracker(max_attempts=config.max_attempts, unit_size=unit_size)
        self._failed_at: dict[int, Worker] = {}
        """By unit, the worker that failed last."""
        self._pace = Pace()
        self._copied: set[int] = set()
        """Late units that a second worker was given."""
        self._copied_and_done: set[int] = set()

    def run(self, units: Iterable[int]) -> Iterator[UnitSummary]:
        """Have all units computed and committed; yields each as it is done, in any order."""
        queue = iter(units)
        first = next(queue, None)
        if first is None:
            return
        self._again.append(Work(unit=first))
        pool = WorkerPool(self._spawn, self._config)
        try:
            yield from self._drain(pool, queue)
        finally:
            pool.close()

    def _drain(self, pool: WorkerPool, queue: Iterator[int]) -> Iterator[UnitSummary]:
        heard = monotonic()
        while not self._stop():
            self._fill(pool, queue)
            if not self._again and not self._awaited(pool):
                return
            for ended in pool.wait(_WAIT_S):
                if summary := self._settle(pool, ended):
                    yield summary
            if any(worker.ready for worker in pool.workers):
                heard = monotonic()
            elif monotonic() - heard > _SILENCE_S:
                logger.warning(
                    "still waiting for a worker to start; the cluster has %s", free_resources()
                )
                heard = monotonic()
        yield from self._drain_and_stop(pool)

    def _drain_and_stop(self, pool: WorkerPool) -> Iterator[UnitSummary]:
        """End in order: what is whole is committed, the rest is dropped."""
        pool.dismiss()
        deadline = monotonic() + _FAREWELL_S
        while pool.busy and monotonic() < deadline:
            for ended in pool.wait(_WAIT_S):
                if ended.summary and not self._is_copy_of_done(ended.work.unit):
                    yield ended.summary
        raise BuildStoppedError("stopped on request")

    def _awaited(self, pool: WorkerPool) -> bool:
        """Whether anything is out that is not merely a copy of what is done."""
        return any(work.unit not in self._copied_and_done for _, work, _ in pool.out())

    def _fill(self, pool: WorkerPool, queue: Iterator[int]) -> None:
        for worker in pool.workers:
            while worker.free and (work := self._next(pool, worker, queue)):
                pool.send(worker, work)

    def _next(self, pool: WorkerPool, worker: Worker, queue: Iterator[int]) -> Work | None:
        """What a worker may take now.

        What has failed comes first and runs alone: if the worker dies again, nothing else is under
        suspicion.
        """
        if any(work.unit in self._failures for work, _ in worker.works.values()):
            return None
        if (work := self._next_again(pool, worker)) is not None:
            if worker.works:
                return None
            self._again.remove(work)
            return work
        if (unit := next(queue, None)) is not None:
            return Work(unit=unit)
        return None if worker.works else self._copy(pool)

    def _next_again(self, pool: WorkerPool, worker: Worker) -> Work | None:
        """What failed elsewhere; what failed here too, if there is no other worker."""
        others = any(other.ready and other is not worker for other in pool.workers)
        for work in self._again:
            if not others or self._failed_at.get(work.unit) is not worker:
                return work
        return None

    def _copy(self, pool: WorkerPool) -> Work | None:
        """A late unit, for a second worker: the first receipt wins."""
        out = {
            work.unit: seconds
            for _, work, seconds in pool.out()
            if work.unit not in self._copied and work.unit not in self._failures
        }
        unit = self._pace.straggler(out)
        if unit is None:
            return None
        logger.warning(
            "unit %d is late after %.0f s and is given to a second worker too", unit, out[unit]
        )
        self._copied.add(unit)
        return Work(unit=unit)

    def _settle(self, pool: WorkerPool, ended: CallResult) -> UnitSummary | None:
        """Take what a worker did: the summary of a unit that is done now, or None."""
        work, summary, failure = ended.work, ended.summary, ended.failure
        if failure is not None:
            self._failed_at[work.unit] = ended.worker
        if work.probe is not None:
            self._again.append(self._failures.tried(work, failure))
            return None
        if failure is not None:
            if not self._has_copy(pool, work.unit):
                self._again.append(self._failures.failed(work, failure))
            return None
        assert summary is not None, "neither probe nor failure"
        self._failures.clear(work.unit)
        self._failed_at.pop(work.unit, None)
        if self._is_copy_of_done(work.unit):
            if summary.commit is Commit.DIFFERENT:
                logger.warning("unit %d came out differently the second time", work.unit)
            return None
        self._pace.add(ended.seconds)
        return summary

    def _has_copy(self, pool: WorkerPool, unit: int) -> bool:
        """Whether another worker has done a unit, or is at it still."""
        return unit in self._copied_and_done or any(work.unit == unit for _, work, _ in pool.out())

    def _is_copy_of_done(self, unit: int) -> bool:
        """Whether a unit was done before; notes that it is done now, if it may come again."""
        if unit not in self._copied:
            return False
        if unit in self._copied_and_done:
            return True
        self._copied_and_done.add(unit)
        return False
