"""Another selection of a sealed plan: a new manifest version, from receipts and unit objects."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import UserError
from pipeline.plan import Plan
from pipeline.publish.reselection import Reselection
from pipeline.publish.seal import Compactor, draft
from pipeline.records import Status
from pipeline.storage import layout
from pipeline.storage.manifest import Manifest, read_success, read_version
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_plan, read_prompt_table
from pipeline.storage.receipts import read_receipts
from pipeline.storage.sealing import name_in_success, put_manifest, sealed_as


@dataclass(frozen=True, kw_only=True)
class Selected:
    """What a selection came to."""

    manifest: Manifest
    is_new: bool
    """Its version was made now; else it was there."""


def select(
    store: ObjectStore,
    margins: Mapping[str, float],
    run_compaction: Compactor,
    plan_id: str | None = None,
) -> Selected:
    """Decide anew with other margins and make readers see the result.

    ``margins`` are by reward; one that is not named keeps the plan's. ``plan_id`` may be left out
    where one plan is sealed. A selection that was made before is found and made current again.
    Raises ``UserError`` for a plan or reward that is not there, and where pairs are wanted that the
    plan did not store.
    """
    plan = read_plan(store, _plan_id(store, plan_id))
    wanted = _margins(plan, margins)
    versions = _versions(store, plan.plan_id)
    found = next((each for each in versions if each.selection == wanted), None)
    if found is not None:
        name_in_success(store, sealed_as(found))
        return Selected(manifest=found, is_new=False)
    _check_stored(store, plan, wanted)
    made = draft(
        store,
        plan,
        read_prompt_table(store, plan.plan_id),
        run_compaction,
        version=versions[-1].version + 1,
        margins=wanted,
    )
    sealed = put_manifest(store, made)
    if sealed is None:  # what we wrote is garbage by now, and their version is another selection
        raise UserError(
            f"{store.url}: somebody else made v{made.version} of plan {plan.plan_id} at the same "
            "moment; run the same command again"
        )
    name_in_success(store, sealed)
    return Selected(manifest=made, is_new=True)


def _plan_id(store: ObjectStore, plan_id: str | None) -> str:
    success = read_success(store)
    sealed = [each.plan_id for each in success.manifests] if success else []
    if not sealed:
        raise UserError(f"{store.url}: nothing is sealed here; finish it with `npd build`")
    if plan_id is None and len(sealed) > 1:
        raise UserError(f"{store.url} holds several plans; name one: {', '.join(sealed)}")
    if plan_id is not None and plan_id not in sealed:
        raise UserError(f"no plan {plan_id!r} is sealed here; there are {', '.join(sealed)}")
    return plan_id or sealed[0]


def _margins(plan: Plan, margins: Mapping[str, float]) -> dict[str, float]:
    for name in margins:
        if name not in plan.margins:
            raise UserError(
                f"no reward {name!r} selects in plan {plan.plan_id}; "
                f"there are {', '.join(plan.margins)}"
            )
    return {**plan.margins, **margins}


def _versions(store: ObjectStore, plan_id: str) -> list[Manifest]:
    places = (layout.place_of(info.key) for info in store.list(layout.manifests_prefix(plan_id)))
    versions = sorted(place.version for place in places if place and place.version)
    return [read_version(store, plan_id, version) for version in versions]


def _check_stored(store: ObjectStore, plan: Plan, margins: Mapping[str, float]) -> None:
    """Refuse a selection of pairs that no unit object holds."""
    is_raised = all(margins[name] >= margin for name, margin in plan.margins.items())
    if is_raised or plan.settings["output"]["store_rejected"]:
        return
    reselection = Reselection(plan, margins)
    missing = sum(
        outcome.status is Status.KEPT and not outcome.num_bytes
        for receipt in read_receipts(store, plan.plan_id, plan.num_units)
        for outcome in reselection.of(receipt).outcomes
    )
    if missing:
        raise UserError(
            f"{missing} candidates would be kept whose pairs are not stored: plan {plan.plan_id} "
            "was built without `store_rejected = true` in [output]. Raise the margins, or build "
            "with that setting"
        )
