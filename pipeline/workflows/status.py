"""Progress of builds, read from the store alone.

It works while a build runs on another machine, and after a build was killed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config.plan import Plan
from pipeline.core.errors import AccessDeniedError
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_plan, stored_plans
from pipeline.storage.receipts import done_units
from pipeline.storage.success import Success, read_manifest, read_success
from pipeline.storage.versions import PlanVersion, read_versions


@dataclass(frozen=True, kw_only=True)
class PlanStatus:
    """Progress of one plan."""

    plan: Plan
    units_done: int
    versions: Sequence[PlanVersion]
    """Versions of the plan; empty if it is not sealed."""
    is_listed: bool = True
    """False if the credentials do not allow listing the store. Then only the current version is
    known, and all units count as done."""

    @property
    def sealed(self) -> bool:
        """True if readers see the plan."""
        return bool(self.versions)


def status(store: ObjectStore) -> list[PlanStatus]:
    """Return the progress of every plan in a store, ordered by plan id.

    If the credentials do not allow listing the store, return only the sealed plans.
    """
    success = read_success(store)
    try:
        return [_status(store, plan_id, success) for plan_id in stored_plans(store)]
    except AccessDeniedError:
        if success is None:
            raise
        return _sealed_alone(store, success)


def _status(store: ObjectStore, plan_id: str, success: Success | None) -> PlanStatus:
    is_sealed = success is not None and success.of(plan_id) is not None
    plan = read_plan(store, plan_id)
    return PlanStatus(
        plan=plan,
        units_done=sum(1 for _ in done_units(store, plan_id, plan.num_units)),
        versions=read_versions(store, plan_id) if is_sealed else (),
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
                # A plan is sealed only after every unit has a receipt.
                units_done=manifest.plan.num_units,
                versions=[version],
                is_listed=False,
            )
        )
    return statuses
