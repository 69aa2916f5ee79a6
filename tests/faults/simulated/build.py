"""``npd build`` as simulated processes: a driver, and workers that it starts and replaces.

Ray and the models are simulated. All code that uses the store is real, in the order of
``pipeline/cli/build.py``, ``pipeline/workflows/build.py`` and ``pipeline/cluster/worker.py``.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pipeline.core.errors import BuildError, NPDError, PermanentStoreError, PlanConflictError
from pipeline.publish.compact import compact_in
from pipeline.publish.seal import seal
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_plan, read_prompt_table, stored_plans, write_plan
from pipeline.storage.probe import probe
from pipeline.storage.receipts import Commit, Receipt, commit_unit
from pipeline.storage.s3 import S3Store
from pipeline.workflows.build import BuildContext, sealed, units_done
from tests.faults.simulated.scheduler import Process, Scheduler
from tests.faults.simulated.stand_in import StandIn

MAX_ATTEMPTS = 3

CommitUnit = Callable[[ObjectStore, Receipt, bytes], Commit]


@dataclass
class _Worker:
    """State of a worker in its driver."""

    process: Process = field(init=False)
    unit: int | None = None
    """Unit that is assigned to the worker."""
    failure: NPDError | None = None
    """Error of the last unit, until the driver has handled it."""


@dataclass(eq=False)
class SimulatedBuild:
    """One run of ``npd build``. It ends with ``process``."""

    scheduler: Scheduler
    store: ObjectStore
    stand_in: StandIn
    name: str
    num_workers: int
    commit: CommitUnit = commit_unit
    manifest: Manifest | None = None
    """Sealed manifest, or None before."""
    stopped: NPDError | None = None
    """Error with which the command ended, or None."""
    commits: list[tuple[int, Commit]] = field(default_factory=list)
    """Unit and outcome of each finished attempt."""

    def __post_init__(self) -> None:
        self._workers: list[_Worker] = []
        self._attempts: Counter[int] = Counter()
        self._failures: Counter[int] = Counter()
        self._deaths = 0
        self.process = self.scheduler.start(self.name, self._run)

    def _run(self) -> None:
        try:
            self.manifest = self._build()
        except NPDError as error:
            self.stopped = error
        for worker in self._workers:
            self.scheduler.crash(worker.process)

    def _build(self) -> Manifest:
        opened = self._open()
        manifest = sealed(opened)
        if manifest is not None:
            return manifest
        done = units_done(opened)
        self._compute(unit for unit, is_done in enumerate(done) if not is_done)
        return seal(
            self.store,
            opened.plan,
            opened.prompts,
            lambda tasks: (compact_in(self.store, task) for task in tasks),
        )

    def _open(self) -> BuildContext:
        """Do what ``open_build`` does, for a plan that exists already."""
        if not isinstance(self.store, S3Store):
            # On S3 the probe completes multipart uploads, which the simulated client lacks.
            probe(self.store)
        plan, prompts = self.stand_in.plan, self.stand_in.prompts
        if others := [other for other in stored_plans(self.store) if other != plan.plan_id]:
            raise PlanConflictError(f"{self.store.url} holds {others}")
        return BuildContext(
            store=self.store,
            config=self.stand_in.config,
            plan=write_plan(self.store, plan, prompts),
            prompts=prompts,
        )

    def _compute(self, units: Iterable[int]) -> None:
        """Do what ``pipeline/cluster/driver.py`` does, with one unit in flight per worker."""
        waiting = deque(units)
        if not waiting:
            return
        for _ in range(self.num_workers):
            self._start_worker()
        while waiting or any(worker.unit is not None for worker in self._workers):
            for worker in self._workers:
                if waiting and worker.unit is None and not worker.process.ended:
                    worker.unit = waiting.popleft()
            self.scheduler.wait(lambda: self._has_news(bool(waiting)))
            for worker in list(self._workers):
                waiting.extend(self._settle(worker))

    def _has_news(self, more: bool) -> bool:
        return any(
            worker.process.ended
            or worker.failure is not None
            or (worker.unit is None and (more or not self._busy()))
            for worker in self._workers
        )

    def _busy(self) -> bool:
        return any(worker.unit is not None for worker in self._workers)

    def _settle(self, worker: _Worker) -> Iterable[int]:
        """Handle the end or failure of a worker. Return the units to try again."""
        failed = worker.unit
        if worker.process.ended:
            self._workers.remove(worker)
            self._deaths += 1
            if self._deaths >= MAX_ATTEMPTS * self.num_workers:
                raise BuildError("workers died too often")
            self._start_worker()
        elif worker.failure is not None:
            failure, worker.failure, worker.unit = worker.failure, None, None
            if isinstance(failure, PermanentStoreError):
                raise failure
        else:
            return []
        if failed is None:
            return []
        self._failures[failed] += 1
        if self._failures[failed] >= MAX_ATTEMPTS:
            raise BuildError(f"unit {failed} failed {MAX_ATTEMPTS} times")
        return [failed]

    def _start_worker(self) -> None:
        name = f"{self.name}{len(self.process.children) + 1}"
        worker = _Worker()
        worker.process = self.scheduler.start(name, lambda: self._work(worker))
        self._workers.append(worker)

    def _work(self, worker: _Worker) -> None:
        """Do what ``pipeline/cluster/worker.py`` does. A worker that cannot start exits."""
        try:
            plan = read_plan(self.store, self.stand_in.plan.plan_id)
            read_prompt_table(self.store, plan.plan_id)
        except NPDError:
            return
        while True:
            self.scheduler.wait(lambda: worker.unit is not None and worker.failure is None)
            unit = worker.unit
            assert unit is not None
            self._attempts[unit] += 1
            attempt_id = f"{worker.process.name}-{unit}-{self._attempts[unit]}"
            receipt = self.stand_in.receipt(unit, attempt_id=attempt_id, host=worker.process.name)
            try:
                commit = self.commit(self.store, receipt, self.stand_in.units[unit].data)
            except NPDError as error:
                worker.failure = error
                continue
            self.commits.append((unit, commit))
            worker.unit = None
