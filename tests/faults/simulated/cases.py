"""One case: a build by two drivers meets one fault at one call, is resumed, and is compared."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pipeline.errors import NPDError
from pipeline.identity import canonical_json
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
"""The collector leaves alone what is younger."""


def collect_garbage(store: ObjectStore, older_than: datetime) -> None:
    """``npd gc --delete``."""
    delete_garbage(store, find_garbage(store, older_than=older_than))


ATTEMPT_FIELDS = ("attempt_id", "host", "started", "compute_seconds")
"""What a receipt says of the attempt and not of the unit."""

Collect = Callable[[ObjectStore, datetime], None]
"""Deletes the garbage of a store that is older than a time."""


class FaultLevel(StrEnum):
    """At what the fault strikes."""

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
    """What is to happen. ``at`` counts the calls of the whole build, from 1."""

    level: FaultLevel
    seed: int
    fault: Fault
    at: int

    @property
    def command(self) -> str:
        """What reproduces it."""
        return (
            f"python -m tests.faults.simulated --seed {self.seed} --level {self.level} "
            f"--fault {self.fault} --call {self.at}"
        )


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A case that did not end as it should."""

    case: Case
    call: Call | None
    """None if the build ended before it came to the call."""
    problems: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.case.fault} at call {self.case.at} ({self.call}): {self.case.command}"]
        return "\n".join([*lines, *(f"    {problem}" for problem in self.problems)])


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is under test, so that a test can put something broken in its place."""

    commit: CommitUnit = commit_unit
    collect: Collect = collect_garbage


class Simulation:
    """Runs cases of one plan."""

    def __init__(self, stand_in: StandIn, protocol: Protocol) -> None:
        self._stand_in = stand_in
        self._protocol = protocol
        self.undisturbed = self._build_undisturbed()
        """The store after a build by one worker: what every case has to end in."""
        self._wanted = comparable(self.undisturbed)

    def calls(self, level: FaultLevel, seed: int) -> list[Call]:
        """Those of a build that meets no fault. Raises ``AssertionError`` if it goes wrong."""
        world = _World(self._stand_in, self._protocol, level, seed)
        world.run()
        assert not (problems := [*world.problems(), *self._differences(world)]), problems
        return world.calls.log

    def run(self, case: Case) -> Failure | None:
        """The failure, or None where all is as it should be."""
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
        """How the store, after the build has ended and been resumed, is not what it should be."""
        world.elapse()  # a last time, for what the collector may have left
        wanted, found = self._wanted, comparable(world.objects)
        problems = [f"{key} is missing" for key in sorted(wanted.keys() - found.keys())]
        problems += [f"{key} is left over" for key in sorted(found.keys() - wanted.keys())]
        problems += [
            f"{key} has other bytes than those of an undisturbed build"
            for key in sorted(wanted.keys() & found.keys())
            if wanted[key] != found[key]
        ]
        return problems


class _World:
    """A store, the processes that use it, and what is seen of them."""

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
        """Without faults; for the resumed build, for the collector between, and to look."""
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
        """Two drivers with two workers each, and a collector, at once, on a store with garbage."""
        self._leave_garbage()
        self._builds = [self._build(self._scheduler, self._faulty, name, 2) for name in "AB"]
        self._scheduler.start("gc", self._collect_twice)
        self._let_run(self._scheduler)

    def resume(self) -> None:
        """The same command again, alone."""
        scheduler = Scheduler(seed=0)
        self._builds.append(self._build(scheduler, self.store, "resumed", 1))
        self._let_run(scheduler)

    def elapse(self) -> None:
        """The grace period passes, and the collector deletes what it may."""
        self._clock.advance(GRACE + timedelta(seconds=1))
        self._protocol.collect(self.store, self._clock.now - GRACE)

    def _leave_garbage(self) -> None:
        """An attempt at unit 0 gave other bytes, long ago, and ended before its receipt."""
        other = self._stand_in.other_unit_0
        receipt = self._stand_in.receipt(0, attempt_id="old", host="old", produced=other)
        self.store.put_if_absent(receipt.data_key, other.data)
        self._clock.advance(GRACE + timedelta(seconds=1))

    def _collect_twice(self) -> None:
        """At any time, and when the old object has become garbage."""
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
            return  # as the command would; the next one goes on

    def problems(self) -> list[str]:
        """How processes did not end as they should, and what was wrong on the way."""
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
                self._problems.append(f"{process.name} waits for ever")
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
    """The real ``S3Store`` over a client in memory; it does not wait between its tries."""
    # boto3's own type has a hundred methods that ``S3Store`` does not call.
    made: Any = client
    return S3Store("bucket", connect=lambda: made, pause=lambda _: None)


def comparable(objects: Objects) -> dict[str, bytes]:
    """All objects by key, the receipts without what tells one attempt from another."""
    return {
        key: _without_attempt(data) if key.startswith("receipts/") else data
        for key, data in objects.contents().items()
    }


def _without_attempt(receipt: bytes) -> bytes:
    values = json.loads(receipt)
    for name in ATTEMPT_FIELDS:
        del values[name]
    return canonical_json(values)
