"""Pool of the workers of a build, which starts, monitors and replaces them.

A worker is replaced when it dies, when it hangs, when its machine is drained, or when its GPU
fails. Its work is returned as a ``CallResult`` with a failure. The failure records whether the work
may have caused it. The driver decides what follows.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError

from pipeline.cluster.failures import exceeds_device
from pipeline.cluster.messages import Failure, Fault, Work
from pipeline.cluster.ray_session import check_own_node, draining_nodes, ended_calls, living_nodes
from pipeline.cluster.worker_handle import ActorHandle, CallResult, ObjectRef, Worker, fault_of
from pipeline.config.sections import ClusterConfig
from pipeline.core.errors import (
    BuildError,
    DeviceError,
    DeviceMemoryError,
    NPDError,
    RetryableStoreError,
    WorkerLeavingError,
)
from pipeline.monitor.progress import BuildProgress

_CHECK_INTERVAL_S = 5.0
"""Seconds between health checks of the workers and queries for drained machines."""


class WorkerPool:
    """Keeps the configured number of workers running.

    All workers are requested at once. Those without resources wait until the cluster grows.
    ``spawn`` starts an actor with the methods of ``WorkerActor``. ``wait`` raises ``BuildError`` if
    workers cannot load their models, or the node of this process dies. ``progress`` receives the
    state of the workers.
    """

    def __init__(
        self, spawn: Callable[[], ActorHandle], config: ClusterConfig, progress: BuildProgress
    ) -> None:
        self._spawn = spawn
        self._config = config
        self._progress = progress
        self._observed = monotonic()
        """Time at which the state was last recorded in ``progress``."""
        self._failed_starts = 0
        """Number of failed starts since the last successful one."""
        self._calls: dict[ObjectRef, Worker] = {}
        """Maps each running set-up or work call to its worker."""
        self._health_checks: dict[ObjectRef, Worker] = {}
        """Maps each unanswered health check to its worker."""
        # At least four checks fall into the time after which a worker counts as hung.
        self._check_interval_s = min(_CHECK_INTERVAL_S, config.hang_seconds / 4)
        self._next_check = monotonic()
        self._dismissed = False
        self.workers: list[Worker] = []
        for _ in range(config.workers):
            self._start()

    def send(self, worker: Worker, work: Work) -> None:
        """Send work to a free worker."""
        assert worker.free, "only a free worker is sent work"
        # An idle worker makes no steps, so its time without progress starts at the new work.
        if not worker.running:
            worker.progressed_at = monotonic()
        ref = worker.actor.run.remote(work)
        worker.running[ref] = (work, monotonic())
        self._calls[ref] = worker

    def running(self) -> Iterator[tuple[Worker, Work, float]]:
        """Yield each running work with its worker and its seconds so far."""
        now = monotonic()
        for worker in self.workers:
            for work, sent in worker.running.values():
                yield worker, work, now - sent

    @property
    def busy(self) -> bool:
        """True if any work is running."""
        return any(worker.running for worker in self.workers)

    def wait(self, timeout: float) -> Iterator[CallResult]:
        """Yield the calls that have ended, after waiting at most ``timeout`` seconds."""
        for ref in ended_calls([*self._calls, *self._health_checks], timeout):
            if worker := self._health_checks.pop(ref, None):
                yield from self._read_health(worker, ref)
            # Several calls of a dead worker end together. The first one handled removes the others.
            elif ref in self._calls:
                yield from self._settle(self._calls[ref], ref)
        if (late := monotonic() - self._next_check) >= 0:
            if late > self._check_interval_s:
                self._forgive(late)
            yield from self._check_health()
            self._next_check = monotonic() + self._check_interval_s
        self._observe()

    def dismiss(self) -> None:
        """Ask all workers to finish their uploads and leave. None is replaced."""
        self._dismissed = True
        for worker in [*self.workers]:
            self._ask_to_leave(worker)
            if not worker.running:
                self._remove(worker)

    def close(self) -> None:
        """End all workers at once, including those with running work."""
        for worker in [*self.workers]:
            self._remove(worker)

    def _observe(self) -> None:
        """Record the state of the workers."""
        now, progress = monotonic(), self._progress
        busy = [worker for worker in self.workers if worker.running]
        progress.running = len({work.unit for _, work, _ in self.running()})
        progress.workers = Counter(worker.state for worker in self.workers)
        progress.progressed_at = min((worker.progressed_at for worker in busy), default=None)
        holding = sum(worker.process is not None for worker in self.workers)
        progress.worker_seconds += (now - self._observed) * holding
        self._observed = now

    def _start(self) -> None:
        worker = Worker(self._spawn())
        self.workers.append(worker)
        self._calls[worker.actor.set_up.remote()] = worker

    def _remove(self, worker: Worker) -> None:
        self.workers.remove(worker)
        for calls in (self._calls, self._health_checks):
            for ref in [ref for ref, owner in calls.items() if owner is worker]:
                del calls[ref]
        # A worker reported as dead may only be unreachable. Unless killed, it would keep its GPU.
        ray.kill(worker.actor)

    def _replace(self, worker: Worker, reason: str) -> None:
        self._remove(worker)
        if not self._dismissed:
            self._progress.replaced[reason] += 1
            self._start()

    def _settle(self, worker: Worker, ref: ObjectRef) -> Iterator[CallResult]:
        """Process the end of a set-up or work call."""
        try:
            result: Any = ray.get(ref)
        except RayTaskError as error:
            yield from self._raised(worker, ref, error)
            return
        except RayError as error:
            yield from self._lost(worker, error)
            return
        del self._calls[ref]
        if ref not in worker.running:
            worker.ready = True
            worker.log("has loaded its models", logging.INFO)
            self._failed_starts = 0
            return
        work, sent = worker.running.pop(ref)
        yield worker.result(work, sent, summary=result)
        self._replace_if_left(worker)

    def _raised(self, worker: Worker, ref: ObjectRef, error: RayTaskError) -> Iterator[CallResult]:
        """Process a call that raised an error."""
        del self._calls[ref]
        cause = error.cause if isinstance(error.cause, NPDError) else None
        if ref not in worker.running:
            # Only a GPU error belongs to one device. Any other loading error stops the build.
            if not isinstance(cause, DeviceError):
                raise cause or BuildError(f"a worker could not load its models:\n{error}")
            if isinstance(cause, DeviceMemoryError) and exceeds_device(cause.memory):
                raise BuildError(f"a worker could not load its models: {cause}")
            worker.log(f"could not start and is replaced: {cause}")
            self._count_failed_start(cause)
            self._replace(worker, "failed_start")
            return
        work, sent = worker.running.pop(ref)
        leaving = isinstance(cause, WorkerLeavingError)
        if leaving and not worker.leaving:
            self._mark_leaving(worker)
        # After a GPU error the process cannot be trusted. It is replaced when its other unit, which
        # may still be uploading, has ended too.
        worker.failed = worker.failed or isinstance(cause, DeviceError)
        worker.leaving = worker.leaving or worker.failed
        # Neither a stop request nor an unavailable store is caused by a candidate.
        external = leaving or isinstance(cause, RetryableStoreError)
        failure = Failure(fault=fault_of(error), error=cause, blamed=not external)
        yield worker.result(work, sent, failure=failure)
        self._replace_if_left(worker)

    def _lost(self, worker: Worker, error: RayError) -> Iterator[CallResult]:
        """Replace a worker whose process died or cannot be reached."""
        if not worker.ready:
            self._count_failed_start(error)
        fault = Fault(kind="worker_died", message=str(error).strip())
        if isinstance(error, ActorUnavailableError):
            # The machine may be dead. Ray needs about 30 s to confirm that.
            what, reason, blamed = "cannot be reached", "unreachable", False
        elif worker.node is not None and worker.node not in living_nodes():
            what, reason, blamed = "died with its machine", "machine_lost", False
        else:
            # A worker that was asked to leave is expected to end, so its work is not blamed.
            what, reason, blamed = "died", "died", not worker.leaving
        worker.log(f"{what} and is replaced{worker.retried}")
        worker.log(fault.message, logging.INFO)
        yield from self._abandon(worker, fault, reason, blamed=blamed)

    def _abandon(
        self, worker: Worker, fault: Fault, reason: str, *, blamed: bool
    ) -> Iterator[CallResult]:
        """Replace a worker and yield all its running work as failed."""
        # The worker is removed first, so that its work is not listed as another running attempt.
        self._replace(worker, reason)
        failure = Failure(fault=fault, error=None, blamed=blamed)
        for work, sent in worker.running.values():
            yield worker.result(work, sent, failure=failure)
        worker.running.clear()

    def _replace_if_left(self, worker: Worker) -> None:
        """Replace a worker that is leaving and has no running work."""
        if worker.leaving and not worker.running and worker in self.workers:
            self._replace(worker, "device_error" if worker.failed else "left")

    def _check_health(self) -> Iterator[CallResult]:
        """Ask drained workers to leave, replace hung ones and send health checks to the others."""
        check_own_node()
        draining = draining_nodes()
        asked = set(self._health_checks.values())
        for worker in [*self.workers]:
            if worker.node in draining and not worker.leaving:
                worker.log("is replaced, because its machine is drained")
                self._ask_to_leave(worker)
                self._replace_if_left(worker)
                continue
            worker.find_process()
            if stalled := self._stalled_seconds(worker):
                yield from self._hung(worker, stalled)
            # A worker that has not answered yet is not asked again, so calls do not pile up.
            elif worker not in asked:
                self._health_checks[worker.actor.health_check.remote()] = worker

    def _forgive(self, seconds: float) -> None:
        """Do not count time in which this process asked for no health, such as a suspension."""
        # A migrated machine or SIGSTOP stops the driver and not the workers. All of them would look
        # hung afterwards, and would be killed.
        for worker in self.workers:
            worker.progressed_at = min(worker.progressed_at + seconds, monotonic())

    def _read_health(self, worker: Worker, ref: ObjectRef) -> Iterator[CallResult]:
        try:
            health: Any = ray.get(ref)
        except RayActorError as error:
            # A failed work call of the same worker may have replaced it already.
            if worker in self.workers:
                yield from self._lost(worker, error)
            return
        if health.count != worker.count:
            worker.count, worker.progressed_at = health.count, monotonic()
        worker.node = health.node
        if health.leaving and not worker.leaving:
            self._mark_leaving(worker)
            self._replace_if_left(worker)

    def _stalled_seconds(self, worker: Worker) -> float | None:
        """Return the seconds without progress if they exceed the limit, else None."""
        still = monotonic() - worker.progressed_at
        # Without a machine the worker waits for resources, which has no limit.
        if worker.node is None:
            return None
        if not worker.ready:
            return still if still > self._config.load_seconds else None
        return still if worker.running and still > self._config.hang_seconds else None

    def _hung(self, worker: Worker, seconds: float) -> Iterator[CallResult]:
        worker.log(f"has made no progress for {seconds:.0f} s and is replaced{worker.retried}")
        fault = Fault(kind="worker_hung", message=f"the worker did not move for {seconds:.0f} s")
        if not worker.ready:
            self._count_failed_start(fault.message)
        yield from self._abandon(worker, fault, "hung", blamed=True)

    def _mark_leaving(self, worker: Worker) -> None:
        worker.log("was asked to leave and is replaced")
        worker.leaving = True

    def _ask_to_leave(self, worker: Worker) -> None:
        worker.leaving = True
        worker.actor.leave.remote()

    def _count_failed_start(self, error: object) -> None:
        self._failed_starts += 1
        if self._failed_starts >= self._config.max_attempts * self._config.workers:
            raise BuildError(
                f"workers died {self._failed_starts} times while starting; check that there is "
                f"enough memory for the models. The last error:\n{error}"
            )
