"""Progress of builds, read from the store alone.

It works while a build runs on another machine, and after a build was killed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.config.plan import Plan
from pipeline.core.errors import (
    AccessDeniedError,
    VerificationError,
)
from pipeline.evaluate.progress import WINDOW_S, Pace, State, Tally, pace_of, patience
from pipeline.storage.commits import CommitTimes, list_commits
from pipeline.storage.heartbeats import (
    ALIVE_S,
    Phase,
    StoredHeartbeat,
    read_heartbeats,
    store_time,
)
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_plan, stored_plans
from pipeline.storage.receipts import disagreement_keys
from pipeline.storage.success import Success, read_manifest, read_success
from pipeline.storage.unit_counts import UnitCounts, read_all_counts
from pipeline.storage.versions import PlanVersion, read_versions

MAX_RECEIPTS = 2000
"""Number of receipts that are read of a plan. Of more, evenly spaced ones are read."""


@dataclass(frozen=True, kw_only=True)
class PlanStatus:
    """Progress of one plan."""

    plan: Plan
    state: State
    reason: str
    """Why the plan is in this state; empty if it is sealed."""
    units_done: int
    versions: Sequence[PlanVersion]
    """Versions of the plan; empty if it is not sealed."""
    is_listed: bool = True
    """False if the credentials do not allow listing the store. Then only the current version is
    known, and all units count as done."""
    builds: Sequence[StoredHeartbeat] = ()
    """Builds that are alive."""
    last_build: StoredHeartbeat | None = None
    """Latest heartbeat of a build that ended or is not alive, unless one is alive."""
    tally: Tally = field(default_factory=Tally)
    """Counts of the receipts that were read."""
    pace: Pace | None = None
    """None if the plan is sealed or its receipts cannot be listed."""
    seconds_since_commit: float | None = None
    """Age of the last receipt by the clock of the store; None if there is none."""
    disagreements: int | None = None
    """Number of late attempts with another result; None if they cannot be listed."""
    damaged: Sequence[AccessDeniedError | VerificationError] = ()
    """One error for each receipt that is damaged or may not be read."""

    @property
    def sealed(self) -> bool:
        """True if readers see the plan."""
        return bool(self.versions)

    @property
    def units_in_flight(self) -> int | None:
        """Number of units that workers are computing; None if no build is alive."""
        if not self.builds:
            return None
        return sum(each.heartbeat.units_in_flight for each in self.builds)


@dataclass(frozen=True, kw_only=True)
class StoreStatus:
    """Progress of all plans of a store."""

    plans: Sequence[PlanStatus]
    problems: Sequence[VerificationError] = ()
    """Plans that cannot be read."""


class StatusReader:
    """Reads the progress of the plans in a store, repeatedly.

    A receipt never changes, so each is read at most once. ``is_exact`` reads all receipts;
    otherwise at most ``MAX_RECEIPTS`` of a plan are read. ``stalled_after`` replaces the number of
    seconds without a commit after which a build counts as stalled.
    """

    def __init__(
        self, store: ObjectStore, *, is_exact: bool = False, stalled_after: float | None = None
    ) -> None:
        self._store = store
        self._is_exact = is_exact
        self._stalled_after = stalled_after
        self._counts: dict[str, dict[int, UnitCounts | AccessDeniedError | VerificationError]] = {}
        """Maps each plan to what its receipts contain."""

    def read(self) -> StoreStatus:
        """Return the progress of every plan, ordered by plan id.

        If the credentials do not allow listing the store, return only the sealed plans.
        """
        success = read_success(self._store)
        try:
            plan_ids = stored_plans(self._store)
        except AccessDeniedError:
            if success is None:
                raise
            return StoreStatus(plans=_sealed_alone(self._store, success))
        now = store_time(self._store)
        plans, problems = [], []
        for plan_id in plan_ids:
            try:
                plans.append(self._read_plan(read_plan(self._store, plan_id), success, now))
            # One damaged plan does not hide the others.
            except VerificationError as error:
                problems.append(error)
        return StoreStatus(plans=plans, problems=problems)

    def _read_plan(self, plan: Plan, success: Success | None, now: datetime) -> PlanStatus:
        store, plan_id = self._store, plan.plan_id
        is_sealed = success is not None and success.of(plan_id) is not None
        commits = list_commits(store, plan_id, plan.num_units)
        tally, damaged = self._tally(plan_id, commits)
        last = max(commits.values(), default=None)
        heard = read_heartbeats(store, plan_id)
        alive = [] if is_sealed else [each for each in heard if _is_alive(each, now)]
        judged = _Judged(
            now=now,
            last_commit=last,
            alive=alive,
            ended=None if alive or not heard else heard[0],
            patience=self._stalled_after or patience(tally.longest_seconds, is_first=not commits),
        )
        state, reason = (State.SEALED, "") if is_sealed else judged.state()
        return PlanStatus(
            plan=plan,
            state=state,
            reason=reason,
            units_done=len(commits),
            versions=read_versions(store, plan_id) if is_sealed else (),
            builds=alive,
            last_build=judged.ended,
            tally=tally,
            pace=None if is_sealed else _pace(plan, commits, alive, now),
            seconds_since_commit=None if last is None else max(0.0, now.timestamp() - last),
            disagreements=sum(1 for _ in disagreement_keys(store, plan_id)),
            damaged=damaged,
        )

    def _tally(
        self, plan_id: str, commits: CommitTimes
    ) -> tuple[Tally, Sequence[AccessDeniedError | VerificationError]]:
        """Read the receipts that were not read before; return the sums and the damaged ones."""
        step = 1
        # A power of two, so that the receipts of a larger step are among those of a smaller one.
        while not self._is_exact and len(commits) > step * MAX_RECEIPTS:
            step *= 2
        wanted = [unit for unit in sorted(commits) if unit % step == 0]
        counts = self._counts.get(plan_id, {})
        unread = [unit for unit in wanted if unit not in counts]
        counts |= dict(read_all_counts(self._store, plan_id, unread))
        self._counts[plan_id] = {unit: counts[unit] for unit in wanted if unit in counts}
        tally, damaged = Tally(), []
        for each in self._counts[plan_id].values():
            if isinstance(each, UnitCounts):
                tally.add(each)
            else:
                damaged.append(each)
        return tally, damaged


def status(store: ObjectStore) -> StoreStatus:
    """Return the progress of every plan in a store, ordered by plan id."""
    return StatusReader(store).read()


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """Builds of a plan that is not sealed, as its heartbeats show them."""

    now: datetime
    last_commit: float | None
    alive: Sequence[StoredHeartbeat]
    ended: StoredHeartbeat | None
    """Latest heartbeat of a build that is not alive."""
    patience: float

    def state(self) -> tuple[State, str]:
        """Return the state with its reason."""
        if self.alive:
            return self._of_living()
        # A build whose heartbeats the store refuses is known by its commits alone.
        if self.ended is None or self._committed_after(self.ended):
            return self._of_commits()
        return State.STALLED, _end_of(self.ended, self.now)

    def _of_living(self) -> tuple[State, str]:
        if any(each.heartbeat.phase is Phase.SEALING for each in self.alive):
            return State.IN_PROGRESS, "a build is compacting and sealing"
        starts = [each.received.timestamp() - each.heartbeat.seconds for each in self.alive]
        quiet = self.now.timestamp() - max(self.last_commit or 0.0, *starts)
        if quiet > self.patience:
            return State.STALLED, "a build is alive, but nothing was committed for too long"
        if all(each.heartbeat.phase is Phase.STARTING for each in self.alive):
            return State.IN_PROGRESS, "workers are starting and loading models"
        return State.IN_PROGRESS, "a build is alive"

    def _of_commits(self) -> tuple[State, str]:
        if self.last_commit is None:
            return State.STALLED, "nothing is committed, and no build is alive"
        if self.now.timestamp() - self.last_commit > self.patience:
            return State.STALLED, "no build is alive"
        return State.IN_PROGRESS, "no heartbeat of a build, but units were committed recently"

    def _committed_after(self, ended: StoredHeartbeat) -> bool:
        return (self.last_commit or 0.0) > ended.received.timestamp() + ALIVE_S


def _is_alive(each: StoredHeartbeat, now: datetime) -> bool:
    age = (now - each.received).total_seconds()
    return not each.heartbeat.phase.has_ended and age <= ALIVE_S


def _end_of(ended: StoredHeartbeat, now: datetime) -> str:
    if ended.heartbeat.phase is Phase.STOPPED:
        return "the last build was stopped on request"
    if ended.heartbeat.phase is Phase.FAILED:
        return "the last build failed"
    return "the last build was killed, or its machine was lost"


def _pace(
    plan: Plan, commits: CommitTimes, alive: Sequence[StoredHeartbeat], now: datetime
) -> Pace:
    # A build that was resumed a moment ago must not seem slow because of the time before it.
    seconds = [(now - each.received).total_seconds() + each.heartbeat.seconds for each in alive]
    window = min([WINDOW_S, max(1.0, *seconds)] if seconds else [WINDOW_S])
    begin = now.timestamp() - window
    recent = [unit for unit, time in commits.items() if time >= begin]
    return pace_of(
        units=len(recent),
        candidates=sum(len(plan.unit_range(unit)) for unit in recent),
        remaining=plan.num_units - len(commits),
        window_seconds=window,
        is_alive=bool(alive),
    )


def _sealed_alone(store: ObjectStore, success: Success) -> list[PlanStatus]:
    statuses = []
    for sealed in success.manifests:
        manifest = read_manifest(store, sealed)
        version = PlanVersion(
            plan_id=sealed.plan_id,
            number=sealed.version,
            is_current=True,
            is_removed=False,
            sealed=sealed,
            manifest=manifest,
        )
        statuses.append(
            PlanStatus(
                plan=manifest.plan,
                state=State.SEALED,
                reason="",
                # A plan is sealed only after every unit has a receipt.
                units_done=manifest.plan.num_units,
                versions=[version],
                is_listed=False,
            )
        )
    return statuses
