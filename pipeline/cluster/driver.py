"""The driver: a thin queue of unit numbers over workers that may die.

It holds numbers, never data: what it needs beyond them is in the store. Losing it loses nothing.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from pipeline.cluster.summary import UNITS_IN_FLIGHT, UnitSummary
from pipeline.errors import BuildError, PermanentStoreError, UserError

logger = logging.getLogger(__name__)

WAIT_SECONDS = 30.0
"""How long the cluster may be silent before the driver says what it is waiting for."""

# Ray's handles carry no usable types.
ActorHandle = Any
ObjectRef = Any


@dataclass
class _Worker:
    """An actor and what it is doing."""

    actor: ActorHandle
    ready: bool = False
    units: dict[ObjectRef, int] = field(default_factory=dict)


class Driver:
    """Hands units to workers, two at a time to each, and replaces workers that die.

    ``spawn`` starts an actor with the methods of ``UnitWorker``. A unit whose attempts fail
    ``max_attempts`` times stops the build with ``BuildError``; what the person at the keyboard has
    to mend (``UserError``, ``PermanentStoreError``) stops it at once.
    """

    def __init__(
        self, spawn: Callable[[], ActorHandle], *, num_workers: int, max_attempts: int
    ) -> None:
        self._spawn = spawn
        self._num_workers = num_workers
        self._max_attempts = max_attempts
        self._workers: list[_Worker] = []
        self._owners: dict[ObjectRef, _Worker] = {}
        self._again: deque[int] = deque()
        self._failures: Counter[int] = Counter()
        self._failed_starts = 0

    def run(self, units: Iterable[int]) -> Iterator[UnitSummary]:
        """Have all units computed and committed; yields each as it is done, in any order."""
        queue = iter(units)
        first = next(queue, None)
        if first is None:
            return
        self._again.append(first)
        try:
            for _ in range(self._num_workers):
                self._start_worker()
            yield from self._drain(queue)
        finally:
            for worker in self._workers:
                ray.kill(worker.actor)

    def _drain(self, queue: Iterator[int]) -> Iterator[UnitSummary]:
        while True:
            self._fill(queue)
            if not any(worker.units for worker in self._workers) and not self._again:
                return
            done, _ = ray.wait(list(self._owners), timeout=WAIT_SECONDS)
            if not done and not any(worker.ready for worker in self._workers):
                logger.warning(
                    "still waiting for a worker to start; the cluster has %s",
                    ray.available_resources(),  # type: ignore[no-untyped-call]
                )
            for ref in done:
                # A worker that died took its other units' references along.
                if ref in self._owners and (summary := self._settle(ref)):
                    yield summary

    def _fill(self, queue: Iterator[int]) -> None:
        for worker in self._workers:
            while (unit := self._next_unit(worker, queue)) is not None:
                ref = worker.actor.run.remote(unit)
                worker.units[ref] = unit
                self._owners[ref] = worker

    def _next_unit(self, worker: _Worker, queue: Iterator[int]) -> int | None:
        """What a worker may take now.

        A unit that has failed comes first and runs alone: if its worker dies again, no other unit
        is under suspicion.
        """
        alone = any(self._failures[unit] for unit in worker.units.values())
        if not worker.ready or alone or len(worker.units) >= UNITS_IN_FLIGHT:
            return None
        if self._again:
            return None if worker.units else self._again.popleft()
        return next(queue, None)

    def _settle(self, ref: ObjectRef) -> UnitSummary | None:
        """Take the result of a finished call: a unit's summary, or None."""
        worker = self._owners[ref]
        try:
            result: Any = ray.get(ref)
        except RayActorError as error:
            self._bury(worker, error)
            return None
        except RayTaskError as error:
            self._forget(ref)
            self._blame(worker.units.pop(ref, None), error)
            return None
        self._forget(ref)
        if worker.units.pop(ref, None) is None:
            worker.ready = True
            return None
        summary: UnitSummary = result
        return summary

    def _start_worker(self) -> None:
        worker = _Worker(self._spawn())
        self._workers.append(worker)
        self._owners[worker.actor.set_up.remote()] = worker

    def _bury(self, worker: _Worker, error: RayActorError) -> None:
        """Requeue what a dead worker was doing and put another in its place."""
        logger.warning("a worker died and is replaced: %s", _first_line(error))
        self._workers.remove(worker)
        # "Died" may be no more than "cannot be reached", and then it would hold its device.
        ray.kill(worker.actor)
        for ref in [ref for ref, owner in self._owners.items() if owner is worker]:
            self._forget(ref)
        if not worker.ready:
            self._count_failed_start(error)
        for unit in worker.units.values():
            self._blame(unit, error)
        self._start_worker()

    def _blame(self, unit: int | None, error: Exception) -> None:
        """Queue a failed unit again, or give up. ``unit`` is None if a worker's set-up failed."""
        cause = error.cause if isinstance(error, RayTaskError) else None
        if isinstance(cause, UserError | PermanentStoreError):
            raise cause
        if unit is None:
            raise BuildError(f"a worker could not load its models:\n{error}") from error
        self._failures[unit] += 1
        logger.warning(
            "unit %d failed (%d of %d): %s",
            unit,
            self._failures[unit],
            self._max_attempts,
            _first_line(error),
        )
        if self._failures[unit] >= self._max_attempts:
            raise BuildError(
                f"unit {unit} failed {self._max_attempts} times; every finished unit is safe, and "
                f"the same command resumes. The last error:\n{error}"
            ) from error
        self._again.append(unit)

    def _count_failed_start(self, error: RayActorError) -> None:
        self._failed_starts += 1
        if self._failed_starts >= self._max_attempts * self._num_workers:
            raise BuildError(
                f"workers died {self._failed_starts} times while starting; is there enough memory "
                f"for the models? The last error:\n{error}"
            ) from error

    def _forget(self, ref: ObjectRef) -> None:
        del self._owners[ref]


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    # Ray prints the remote traceback, which ends in the error itself.
    return text.splitlines()[-1] if text else type(error).__name__
