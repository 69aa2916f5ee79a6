"""One case: a build by two drivers with one fault at one call is resumed and compared."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pipeline.core.errors import NPDError
from pipeline.core.identity import canonical_json
from pipeline.publish.gc import delete_garbage, find_garbage
from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.receipts import Commit, commit_unit
from pipeline.storage.s3 import S3Store
from tests.faults.simulated.build import CommitUnit, SimulatedBuild
from tests.faults.simulated.faulty_store import (
    STORE_FAULTS,
    Call,
    Calls,
    Fault,
    FaultyStore,
    failing_store,
)
from tests.faults.simulated.memory_s3 import CLIENT_FAULTS, MemoryS3, failing_client
from tests.faults.simulated.memory_store import Clock, MemoryStore, Objects
from tests.faults.simulated.scheduler import Scheduler
from tests.faults.simulated.stand_in import StandIn
from tests.faults.simulated.watch import Watch

GRACE = timedelta(days=1)
"""Garbage collection skips younger objects."""


def collect_garbage(store: ObjectStore, older_than: datetime) -> None:
    """Do what ``npd gc --delete`` does."""
    delete_garbage(store, find_garbage(store, older_than=older_than))


ATTEMPT_FIELDS = ("attempt_id", "host", "started", "compute_seconds")
"""Fields of a receipt that describe the attempt and not the unit."""

Collect = Callable[[ObjectStore, datetime], None]
"""Function that deletes garbage older than a time."""


class FaultLevel(StrEnum):
    """Level at which a fault is injected."""

    STORE = "store"
    """A call on an ``ObjectStore``."""
    CLIENT = "client"
    """A request of ``S3Store`` to its client."""


FAULTS: dict[FaultLevel, tuple[Fault, ...]] = {
    FaultLevel.STORE: STORE_FAULTS,
    FaultLevel.CLIENT: CLIENT_FAULTS,
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Description of a case. ``at`` counts the calls of the build from 1."""

    level: FaultLevel
    seed: int
    fault: Fault
    at: int

    @property
    def command(self) -> str:
        """Command that reproduces the case."""
        return (
            f"python -m tests.faults.simulated --seed {self.seed} --level {self.level} "
            f"--fault {self.fault} --call {self.at}"
        )


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A case with a wrong result."""

    case: Case
    call: Call | None
    """Call that met the fault. None if the build ended before it."""
    problems: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.case.fault} at call {self.case.at} ({self.call}): {self.case.command}"]
        return "\n".join([*lines, *(f"    {problem}" for problem in self.problems)])


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Functions under test, which a test can replace by broken ones."""

    commit: CommitUnit = commit_unit
    collect: Collect = collect_garbage


class Simulation:
    """Runner of the cases of one plan."""

    def __init__(self, stand_in: StandIn, protocol: Protocol) -> None:
        self._stand_in = stand_in
        self._protocol = protocol
        self.undisturbed = self._build_undisturbed()
        """Store after a build by one worker, which every case must reproduce."""
        self._expected = comparable(self.undisturbed)

    def calls(self, level: FaultLevel, seed: int) -> list[Call]:
        """Return the calls of a build without faults. Raises ``AssertionError`` if it fails."""
        world = _World(self._stand_in, self._protocol, level, seed)
        world.run()
        assert not (problems := [*world.problems(), *self._differences(world)]), problems
        return world.calls.log

    def run(self, case: Case) -> Failure | None:
        """Run a case. Return its failure, or None if the result is correct."""
        world = _World(self._stand_in, self._protocol, case.level, case.seed, case.fault, case.at)
        world.run()
        world.resume()
        problems = [*world.problems(), *self._differences(world)]
        if world.calls.struck is None:
            problems.append("the build ended before it came to this call")
        if not problems:
            return None
        log = world.calls.log
        call = log[case.at - 1] if case.at <= len(log) else None
        return Failure(case=case, call=call, problems=tuple(problems))

    def _build_undisturbed(self) -> Objects:
        world = _World(self._stand_in, Protocol(), FaultLevel.STORE, seed=0)
        world.resume()
        assert not (problems := world.problems()), problems
        return world.objects

    def _differences(self, world: "_World") -> list[str]:
        """Return the differences of the store from the expected one, after the resumed build."""
        world.elapse()  # one more collection, because garbage may be left
        expected, found = self._expected, comparable(world.objects)
        problems = [f"{key} is missing" for key in sorted(expected.keys() - found.keys())]
        problems += [f"{key} is left over" for key in sorted(found.keys() - expected.keys())]
        problems += [
            f"{key} has other bytes than those of an undisturbed build"
            for key in sorted(expected.keys() & found.keys())
            if expected[key] != found[key]
        ]
        return problems


class _World:
    """A store, the processes that use it, and the problems that were observed."""

    def __init__(
        self,
        stand_in: StandIn,
        protocol: Protocol,
        level: FaultLevel,
        seed: int,
        fault: Fault | None = None,
        at: int = 0,
    ) -> None:
        self._stand_in = stand_in
        self._protocol = protocol
        self._problems: list[str] = []
        self._clock = Clock()
        self.watch = Watch()
        self.objects = Objects(self._clock, self.watch)
        self.watch.over(self.objects)
        self.store = MemoryStore(self.objects)
        """Store without faults, for the resumed build, for collections and for checks."""
        self._scheduler = Scheduler(seed)
        self.calls = Calls(
            self._scheduler,
            failing=failing_store if level is FaultLevel.STORE else failing_client,
            fault=fault,
            at=at,
            on_stall=self.elapse,
        )
        self._faulty = (
            FaultyStore(self.store, self.calls)
            if level is FaultLevel.STORE
            else store_of_client(MemoryS3(self.objects, self.calls))
        )
        self._builds: list[SimulatedBuild] = []

    def run(self) -> None:
        """Run two drivers with two workers each, and a collector, on a store with garbage."""
        self._leave_garbage()
        self._builds = [self._build(self._scheduler, self._faulty, name, 2) for name in "AB"]
        self._scheduler.start("gc", self._collect_twice)
        self._let_run(self._scheduler)

    def resume(self) -> None:
        """Run the same command again, alone."""
        scheduler = Scheduler(seed=0)
        self._builds.append(self._build(scheduler, self.store, "resumed", 1))
        self._let_run(scheduler)

    def elapse(self) -> None:
        """Let the grace period pass and collect garbage."""
        self._clock.advance(GRACE + timedelta(seconds=1))
        self._protocol.collect(self.store, self._clock.now - GRACE)

    def _leave_garbage(self) -> None:
        """Store an old object of unit 0 with other bytes, from an attempt without a receipt."""
        other = self._stand_in.other_unit_0
        receipt = self._stand_in.receipt(0, attempt_id="old", host="old", produced=other)
        self.store.put_if_absent(receipt.data_key, other.data)
        self._clock.advance(GRACE + timedelta(seconds=1))

    def _collect_twice(self) -> None:
        """Collect once at any time, and once after the old object has become garbage."""
        receipt = layout.receipt_key(self._stand_in.plan.plan_id, 0)
        try:
            self._protocol.collect(self._faulty, self._clock.now - GRACE)
            self._scheduler.wait(
                lambda: (
                    self.objects.get(receipt) is not None
                    or all(build.process.ended for build in self._builds)
                )
            )
            self._protocol.collect(self._faulty, self._clock.now - GRACE)
        except NPDError:
            return  # the command would exit too; a later collection continues

    def problems(self) -> list[str]:
        """Return the wrong outcomes of processes, and the problems during the run."""
        problems = self._problems + self.watch.problems
        for build in self._builds:
            met_fault = build.process.crashed or self._was_struck(build)
            if build.manifest is None and not met_fault:
                problems.append(f"{build.name} met no fault and did not seal: {build.stopped!r}")
        commits = [each for build in self._builds for each in build.commits]
        for unit in range(self._stand_in.plan.num_units):
            ends = [commit for number, commit in commits if number == unit]
            if ends.count(Commit.MINE) > 1 or Commit.DIFFERENT in ends:
                problems.append(f"attempts at unit {unit} ended as {', '.join(ends)}")
        return problems

    def _let_run(self, scheduler: Scheduler) -> None:
        scheduler.run()
        for process in scheduler.processes:
            if process.error is not None:
                self._problems.append(f"{process.name} raised {process.error!r}")
            if not process.ended:
                self._problems.append(f"{process.name} waits forever")
        scheduler.close()

    def _was_struck(self, build: SimulatedBuild) -> bool:
        return any(member.name == self.calls.struck for member in build.process.family())

    def _build(
        self, scheduler: Scheduler, store: ObjectStore, name: str, workers: int
    ) -> SimulatedBuild:
        return SimulatedBuild(
            scheduler=scheduler,
            store=store,
            stand_in=self._stand_in,
            name=name,
            num_workers=workers,
            commit=self._protocol.commit,
        )


def store_of_client(client: MemoryS3) -> S3Store:
    """Return the real ``S3Store`` over a client in memory, without pauses between retries."""
    # boto3's type has a hundred methods that ``S3Store`` does not call.
    made: Any = client
    store = S3Store("bucket", connect=lambda: made, pause=lambda _: None)
    store.parallel_requests = 1  # the scheduler runs one thread of a process
    return store


def comparable(objects: Objects) -> dict[str, bytes]:
    """Return all objects by key, receipts without the fields that differ between attempts."""
    return {
        key: _without_attempt(data) if key.startswith("receipts/") else data
        for key, data in objects.contents().items()
    }


def _without_attempt(receipt: bytes) -> bytes:
    values = json.loads(receipt)
    for name in ATTEMPT_FIELDS:
        del values[name]
    return canonical_json(values)
