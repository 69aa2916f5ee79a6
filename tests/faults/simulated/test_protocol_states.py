"""Receipts, manifests and ``_SUCCESS`` under any order of commits, seals, crashes, collections.

Hypothesis starts attempts at two plans, advances them call by call, and finishes or crashes them.
Some attempts produce different bytes.
"""

import tempfile
from collections.abc import Callable
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from pipeline.core.errors import ObjectNotFoundError
from pipeline.publish.compact import compact_in
from pipeline.publish.gc import delete_garbage, find_garbage, find_unreferenced
from pipeline.publish.seal import seal
from pipeline.publish.verify import verify
from pipeline.storage import layout
from pipeline.storage.commits import done_units
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import write_plan
from pipeline.storage.receipts import Commit, commit_unit, read_receipt
from pipeline.storage.success import read_success
from tests.faults.simulated.faulty_store import FaultyStore
from tests.faults.simulated.memory_store import Clock, MemoryStore, Objects
from tests.faults.simulated.scheduler import Process, Scheduler
from tests.faults.simulated.stand_in import StandIn, Unit, produce, stand_in
from tests.faults.simulated.watch import Watch

T = TypeVar("T")

NUM_PLANS, NUM_UNITS, NUM_VARIANTS = 2, 2, 2
GRACE = timedelta(days=1)


@cache
def _plans() -> list[StandIn]:
    with tempfile.TemporaryDirectory() as folder:
        return [
            stand_in(Path(folder) / str(seed), seed=seed, num_prompts=NUM_UNITS)
            for seed in range(NUM_PLANS)
        ]


@cache
def _unit(plan: int, unit: int, variant: int) -> Unit:
    each = _plans()[plan]
    return produce(each.plan, each.prompts, unit, variant=variant)


class _Attempt:
    """A process that makes as many calls as it is allowed, and the ``Caller`` of its store."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.name = name
        self.allowed = 0
        self._scheduler = scheduler
        self.process: Process

    def start(self, body: Callable[[], None]) -> None:
        self.process = self._scheduler.start(self.name, body)

    def make(self, method: str, key: str, effect: Callable[[], T]) -> T:
        self._scheduler.wait(lambda: self.allowed > 0)
        self.allowed -= 1
        return effect()


class ProtocolStates(RuleBasedStateMachine):
    """State machine over two plans in one store."""

    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.watch = Watch()
        self.objects = Objects(self.clock, self.watch)
        self.watch.over(self.objects)
        self.store = MemoryStore(self.objects)
        self.scheduler = Scheduler(0)
        self.first_receipts: dict[str, bytes] = {}
        self.sealed: set[str] = set()
        self.num_attempts = 0

    @initialize()
    def plan(self) -> None:
        for each in _plans():
            write_plan(self.store, each.plan, each.prompts)

    @rule(
        target=attempts,
        plan=st.integers(0, NUM_PLANS - 1),
        unit=st.integers(0, NUM_UNITS - 1),
        variant=st.integers(0, NUM_VARIANTS - 1),
        calls=st.integers(0, 2),
    )
    def begin_unit(self, plan: int, unit: int, variant: int, calls: int) -> _Attempt:
        return self._begin(partial(self._commit, plan=plan, unit=unit, variant=variant), calls)

    @rule(target=attempts, plan=st.integers(0, NUM_PLANS - 1), calls=st.integers(0, 12))
    def begin_seal(self, plan: int, calls: int) -> _Attempt:
        return self._begin(partial(self._seal, plan=plan), calls)

    @rule(target=attempts)
    def begin_collection(self) -> _Attempt:
        return self._begin(self._collect)

    @rule(attempt=attempts, calls=st.integers(1, 4))
    def advance(self, attempt: _Attempt, calls: int) -> None:
        attempt.allowed = calls
        self.scheduler.run()

    @rule(attempt=consumes(attempts))
    def finish(self, attempt: _Attempt) -> None:
        self._finish(attempt)

    @rule(attempt=consumes(attempts))
    def crash(self, attempt: _Attempt) -> None:
        self.scheduler.crash(attempt.process)
        self.scheduler.run()

    @rule(days=st.sampled_from([0.1, 2.0]))
    def collect_after(self, days: float) -> None:
        self.clock.advance(timedelta(days=days))
        self._collect("at once", self.store)

    @invariant()
    def nothing_was_ever_wrong(self) -> None:
        assert self.watch.problems == []
        assert [p.error for p in self.scheduler.processes if p.error is not None] == []

    @invariant()
    def first_receipt_stays(self) -> None:
        for info in self.store.list("receipts/"):
            data = self.store.get(info.key)
            assert self.first_receipts.setdefault(info.key, data) == data
        assert all(self.store.head(key) for key in self.first_receipts)

    @invariant()
    def success_lists_each_sealed_plan_once(self) -> None:
        success = read_success(self.store)
        listed = [line.plan_id for line in success.manifests] if success else []
        assert len(listed) == len(set(listed))
        assert self.sealed <= set(listed)

    def teardown(self) -> None:
        """Finish the build from any state. The data set is complete and without garbage."""
        if not self.objects.contents():
            return  # hypothesis ended before the first rule
        for process in self.scheduler.processes:
            self.scheduler.crash(process)
        self.scheduler.run()
        for number, each in enumerate(_plans()):
            done = {*done_units(self.store, each.plan.plan_id, NUM_UNITS)}
            for unit in {*range(NUM_UNITS)} - done:
                self._run(partial(self._commit, plan=number, unit=unit, variant=0))
            self._run(partial(self._seal, plan=number))
        self.clock.advance(2 * GRACE)
        self._collect("at once", self.store)
        self.nothing_was_ever_wrong()
        self.first_receipt_stays()
        self.success_lists_each_sealed_plan_once()
        assert self.sealed == {each.plan.plan_id for each in _plans()}
        assert [*find_unreferenced(self.store)] == []
        assert verify(self.store).problems == []

    def _begin(self, body: Callable[[str, ObjectStore], None], calls: int = 0) -> _Attempt:
        self.num_attempts += 1
        attempt = _Attempt(self.scheduler, f"attempt-{self.num_attempts}")
        attempt.start(partial(body, attempt.name, FaultyStore(self.store, attempt)))
        attempt.allowed = calls
        self.scheduler.run()
        return attempt

    def _run(self, body: Callable[[str, ObjectStore], None]) -> None:
        self._finish(self._begin(body))

    def _finish(self, attempt: _Attempt) -> None:
        attempt.allowed = 10**6
        self.scheduler.run()
        assert attempt.process.ended

    def _commit(self, name: str, store: ObjectStore, plan: int, unit: int, variant: int) -> None:
        each = _plans()[plan]
        made = _unit(plan, unit, variant)
        receipt = each.receipt(unit, attempt_id=name, host="here", produced=made)
        commit = commit_unit(store, receipt, made.data)
        first = read_receipt(self.store, each.plan.plan_id, unit)
        # Compare outcomes too: the data of a unit without kept pairs is always the same.
        same = (first.data_sha256, first.outcomes) == (receipt.data_sha256, receipt.outcomes)
        if first.attempt_id == name:
            assert commit is Commit.MINE
            return
        assert commit is (Commit.SAME if same else Commit.DIFFERENT)
        recorded = layout.disagreement_key(each.plan.plan_id, unit, name)
        assert (self.store.head(recorded) is None) == same

    def _seal(self, name: str, store: ObjectStore, plan: int) -> None:
        each = _plans()[plan]
        try:
            seal(store, each.plan, each.prompts, partial(map, partial(compact_in, store)))
        except ObjectNotFoundError as error:
            assert "has no receipt" in str(error)
        else:
            self.sealed.add(each.plan.plan_id)

    def _collect(self, name: str, store: ObjectStore) -> None:
        delete_garbage(store, find_garbage(store, older_than=self.clock.now - GRACE))


TestProtocolStates = ProtocolStates.TestCase
TestProtocolStates.settings = settings(max_examples=40, stateful_step_count=40)
