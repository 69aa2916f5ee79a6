"""How far a build is: from the store alone, while it runs elsewhere or after it died."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import AccessDeniedError
from pipeline.plan import Plan
from pipeline.storage.manifest import Success, read_manifest, read_success
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_plan, stored_plans
from pipeline.storage.receipts import done_units
from pipeline.storage.versions import PlanVersion, read_versions


@dataclass(frozen=True, kw_only=True)
class PlanStatus:
    """One plan's progress."""

    plan: Plan
    units_done: int
    versions: Sequence[PlanVersion]
    """Empty where the plan is not sealed."""
    is_listed: bool = True
    """False where the credentials do not allow a listing: then the current version alone is known,
    and all units are taken to be done."""

    @property
    def sealed(self) -> bool:
        """Whether readers see the plan."""
        return bool(self.versions)


def status(store: ObjectStore) -> list[PlanStatus]:
    """The progress of every plan in a store, by plan id.

    Where the credentials do not allow a listing, of what is sealed.
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
                units_done=manifest.plan.num_units,
                versions=[version],
                is_listed=False,
            )
        )
    return statuses
