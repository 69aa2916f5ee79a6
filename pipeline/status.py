"""How far a build is: from the store alone, while it runs elsewhere or after it died."""

from dataclasses import dataclass

from pipeline.plan import Plan
from pipeline.storage.manifest import read_success
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_plan, stored_plans
from pipeline.storage.receipts import done_units


@dataclass(frozen=True, kw_only=True)
class PlanStatus:
    """One plan's progress."""

    plan: Plan
    units_done: int
    sealed: bool


def status(store: ObjectStore) -> list[PlanStatus]:
    """The progress of every plan in a store, by plan id."""
    success = read_success(store)
    return [
        PlanStatus(
            plan=read_plan(store, plan_id),
            units_done=sum(1 for _ in done_units(store, plan_id)),
            sealed=success is not None and success.of(plan_id) is not None,
        )
        for plan_id in stored_plans(store)
    ]
