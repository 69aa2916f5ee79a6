"""Driver of a build: a queue of unit numbers that are sent to the workers.

The driver holds unit numbers and never data. Everything else it needs is in the store, so a driver
that crashes loses no finished work.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from statistics import median
from time import monotonic

from pipeline.cluster.failures import FailureTracker
from pipeline.cluster.messages import Work
from pipeline.cluster.ray_session import all_resources, free_resources
from pipeline.cluster.shortage import describe_shortage
from pipeline.cluster.worker_handle import ActorHandle, CallResult, Worker
from pipeline.cluster.worker_pool import WorkerPool
from pipeline.config.sections import ClusterConfig
from pipeline.core.errors import BuildStoppedError
from pipeline.monitor.progress import BuildProgress
from pipeline.monitor.unit_summary import UnitSummary
from pipeline.storage.receipts import Commit

logger = logging.getLogger(__name__)

_WAIT_S = 1.0
"""Seconds between checks for a stop request and for late units."""

_SILENCE_S = 60.0
"""Seconds without a started worker after which the driver logs what is not free."""

_UPLOAD_GRACE_S = 60.0
"""Seconds that workers have to finish their uploads after a stop request."""

SLOW = 2.0
"""Multiple of the median duration after which a unit is late."""

_REMEMBERED = 1001
"""Number of recent durations in the median. It bounds the memory of a long build."""


class Driver:
    """Distributes units over workers, up to two per worker, until every unit is committed.

    A unit that fails is retried alone, on another worker if there is one. After
    ``max_attempts`` failures its candidates are tried separately, and those that fail alone are
    recorded as failed. A failure that no candidate causes stops the build with ``BuildError``. An
    error that the user has to fix (``UserError``, ``PermanentStoreError``) stops it at once.

    ``progress`` receives the counts of this run.
    ``spawn`` starts an actor with the methods of ``WorkerActor``. ``unit_size`` returns the number
    of candidates in a unit. When ``stop`` returns True, running uploads finish and the build raises
    ``BuildStoppedError``.
    """

    def __init__(
        self,
        spawn: Callable[[], ActorHandle],
        config: ClusterConfig,
        *,
        unit_size: Callable[[int], int],
        stop: Callable[[], bool] = lambda: False,
        progress: BuildProgress | None = None,
    ) -> None:
        self._spawn = spawn
        self._config = config
        self._stop = stop
        self._progress = progress or BuildProgress()
        self._retries: deque[Work] = deque()
        """Units to retry, and probes of parts of a unit, before any new unit."""
        self._failures = FailureTracker(max_attempts=config.max_attempts, unit_size=unit_size)
        self._failed_at: dict[int, Worker] = {}
        """Maps each failed unit to the worker on which it failed last."""
        self._pace = Pace()
        self._duplicated: set[int] = set()
        """Late units that were also sent to a second worker."""
        self._duplicated_and_done: set[int] = set()
        """Units of ``_duplicated`` with at least one finished attempt."""

    def run(self, units: Iterable[int]) -> Iterator[UnitSummary]:
        """Compute and commit all units. Yield a summary as each unit is done, in any order."""
        queue = iter(units)
        first = next(queue, None)
        if first is None:
            self._progress.computing = False
            return
        self._retries.append(Work(unit=first))
        pool = WorkerPool(self._spawn, self._config, self._progress)
        try:
            for summary in self._drain(pool, queue):
                self._progress.add(summary)
                yield summary
        # Also reached when the caller stops iterating, so no worker outlives the build.
        finally:
            self._progress.computing = False
            pool.close()

    def _drain(self, pool: WorkerPool, queue: Iterator[int]) -> Iterator[UnitSummary]:
        last_started = monotonic()
        while not self._stop():
            self._fill(pool, queue)
            self._progress.retries = len(self._retries)
            if not self._retries and not self._work_remains(pool):
                return
            for ended in pool.wait(_WAIT_S):
                if summary := self._settle(pool, ended):
                    yield summary
            if any(worker.process is not None for worker in pool.workers):
                last_started = monotonic()
            elif monotonic() - last_started > _SILENCE_S:
                logger.warning(
                    "%s", describe_shortage(self._config, free_resources(), all_resources())
                )
                last_started = monotonic()
        yield from self._drain_and_stop(pool)

    def _drain_and_stop(self, pool: WorkerPool) -> Iterator[UnitSummary]:
        """Commit the units that are computed, discard the rest and raise ``BuildStoppedError``."""
        pool.dismiss()
        deadline = monotonic() + _UPLOAD_GRACE_S
        while pool.busy and monotonic() < deadline:
            for ended in pool.wait(_WAIT_S):
                if ended.summary and not self._is_duplicate_of_done(ended.work.unit):
                    yield ended.summary
        raise BuildStoppedError("stopped on request")

    def _work_remains(self, pool: WorkerPool) -> bool:
        """Return True while a unit is running that has no finished duplicate."""
        # A duplicate of a finished unit is not waited for: the first receipt counts, and a slow
        # worker would delay the end of the build.
        return any(work.unit not in self._duplicated_and_done for _, work, _ in pool.running())

    def _fill(self, pool: WorkerPool, queue: Iterator[int]) -> None:
        for worker in pool.workers:
            while worker.free and (work := self._next(pool, worker, queue)):
                pool.send(worker, work)
        # Only an idle worker takes a duplicate: on a busy one it would queue behind other work.
        idle = (worker for worker in pool.workers if worker.free and not worker.running)
        for worker in idle:
            if (work := self._duplicate(pool)) is None:
                return
            pool.send(worker, work)

    def _next(self, pool: WorkerPool, worker: Worker, queue: Iterator[int]) -> Work | None:
        """Return the next work for ``worker``, or None if it should wait.

        Retries come before new units and run alone on their worker.
        """
        # If a worker dies with two units in flight, either may be the cause. A retry therefore runs
        # alone: no other unit joins it, and it starts only on an idle worker.
        if any(work.unit in self._failures for work, _ in worker.running.values()):
            return None
        if (work := self._next_retry(pool, worker)) is not None:
            if worker.running:
                return None
            self._retries.remove(work)
            return work
        unit = next(queue, None)
        return None if unit is None else Work(unit=unit)

    def _next_retry(self, pool: WorkerPool, worker: Worker) -> Work | None:
        """Return a retry for ``worker``, without removing it from the queue."""
        if not self._retries:
            return None
        # A worker does not repeat its last failure while another worker could take it: the machine
        # may be the cause. A single worker must repeat it, or the build would never end.
        others = any(other.ready and other is not worker for other in pool.workers)
        for work in self._retries:
            if not others or self._failed_at.get(work.unit) is not worker:
                return work
        return None

    def _duplicate(self, pool: WorkerPool) -> Work | None:
        """Return a late unit to compute on a second worker, or None. The first receipt wins."""
        # A unit is duplicated at most once, and not while its failures are being examined.
        running, works = {}, {}
        for _, work, seconds in pool.running():
            if work.unit not in self._duplicated and work.unit not in self._failures:
                running[work.unit], works[work.unit] = seconds, work
        unit = self._pace.straggler(running)
        if unit is None:
            return None
        logger.warning(
            "unit %d is late after %.0f s and is also sent to a second worker",
            unit,
            running[unit],
            extra={"unit": unit},
        )
        self._duplicated.add(unit)
        self._progress.late += 1
        return works[unit].again()

    def _settle(self, pool: WorkerPool, ended: CallResult) -> UnitSummary | None:
        """Process the end of a call. Return a summary if it completes a unit, else None."""
        work, summary, failure = ended.work, ended.summary, ended.failure
        if failure is not None:
            self._failed_at[work.unit] = ended.worker
            self._progress.failures_in_a_row += 1
            self._progress.failed_attempts[failure.fault.kind] += 1
        if work.probe is not None:
            self._retries.append(self._failures.probed(work, failure))
            return None
        if failure is not None:
            # While another attempt is done or still running, this failure needs no retry.
            if not self._has_other_attempt(pool, work.unit):
                following = self._failures.failed(work, failure)
                self._progress.bisections += following.probe is not None
                self._retries.append(following)
            return None
        assert summary is not None, "neither probe nor failure"
        self._failures.clear(work.unit)
        self._failed_at.pop(work.unit, None)
        self._progress.failures_in_a_row = 0
        if self._is_duplicate_of_done(work.unit):
            self._progress.count_commit(summary.commit)
            if summary.commit is Commit.DIFFERENT:
                logger.warning(
                    "unit %d gave a different result on its second attempt",
                    work.unit,
                    extra={"unit": work.unit, "attempt": work.attempt},
                )
            return None
        # A unit that another build has done took no time, and would make all others look late.
        if summary.commit is not Commit.EARLIER:
            self._pace.add(ended.seconds)
        return replace(summary, worker=ended.worker.name)

    def _has_other_attempt(self, pool: WorkerPool, unit: int) -> bool:
        """Return True if another attempt of a unit is done or still running."""
        return unit in self._duplicated_and_done or any(
            work.unit == unit for _, work, _ in pool.running()
        )

    def _is_duplicate_of_done(self, unit: int) -> bool:
        """Return True if a duplicated unit was done before; otherwise record that it is done."""
        if unit not in self._duplicated:
            return False
        if unit in self._duplicated_and_done:
            return True
        self._duplicated_and_done.add(unit)
        return False


class Pace:
    """Durations of finished units."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)

    def add(self, seconds: float) -> None:
        """Record the duration of a finished unit."""
        self._seconds.append(seconds)

    def straggler(self, running: Mapping[int, float]) -> int | None:
        """Return the longest-running unit if it is late, else None.

        ``running`` maps each running unit to its seconds so far.
        """
        if not running or not self._seconds:
            return None
        unit = max(running, key=lambda unit: running[unit])
        return unit if running[unit] > SLOW * median(self._seconds) else None
