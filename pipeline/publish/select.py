"""Another selection of a sealed plan: a new manifest version, from receipts and unit objects."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pipeline.errors import UserError
from pipeline.plan import Plan
from pipeline.publish.reselection import Reselection
from pipeline.publish.seal import Compactor, draft
from pipeline.records import Status
from pipeline.storage.layout import Kind
from pipeline.storage.manifest import (
    Manifest,
    SealedManifest,
    read_success,
    read_version,
    sealed_plans,
)
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_plan, read_prompts
from pipeline.storage.receipts import read_receipts
from pipeline.storage.sealing import name_in_success, put_manifest, sealed_as
from pipeline.storage.versions import is_removed, read_removal, version_numbers


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
    numbers = version_numbers(store, plan.plan_id)
    found = _made_before(store, plan.plan_id, numbers, wanted)
    if found is not None:
        _make_current(store, sealed_as(found))
        return Selected(manifest=found, is_new=False)
    _check_stored(store, plan, wanted)
    made = draft(
        store,
        plan,
        read_prompts(store, plan),
        run_compaction,
        version=max(numbers) + 1,  # removed versions count: a number means one thing for ever
        margins=wanted,
    )
    sealed = put_manifest(store, made)
    if sealed is None:  # what we wrote is garbage by now, and their version is another selection
        raise UserError(
            f"{store.url}: somebody else made v{made.version} of plan {plan.plan_id} at the same "
            "moment; run the same command again"
        )
    _make_current(store, sealed)
    return Selected(manifest=made, is_new=True)


def _make_current(store: ObjectStore, sealed: SealedManifest) -> None:
    """Name a version in ``_SUCCESS``, unless somebody removes it at the same moment.

    ``prune`` records the removal and then looks at ``_SUCCESS``; this writes ``_SUCCESS`` and then
    looks for the record. So at least one of them sees the other.
    """
    success = read_success(store)
    before = success.of(sealed.plan_id) if success else None
    name_in_success(store, sealed)
    if before is None or before == sealed:
        return
    if read_removal(store, sealed.plan_id, sealed.version) is not None:
        name_in_success(store, before)
        raise UserError(
            f"{store.url}: v{sealed.version} of plan {sealed.plan_id} was removed at the same "
            "moment; run the same command again"
        )


def _plan_id(store: ObjectStore, plan_id: str | None) -> str:
    sealed = sealed_plans(store, plan_id)
    if len(sealed) > 1:
        names = ", ".join(each.plan_id for each in sealed)
        raise UserError(f"{store.url} holds several plans; name one: {names}")
    return sealed[0].plan_id


def _margins(plan: Plan, margins: Mapping[str, float]) -> dict[str, float]:
    for name in margins:
        if name not in plan.margins:
            raise UserError(
                f"no reward {name!r} selects in plan {plan.plan_id}; "
                f"there are {', '.join(plan.margins)}"
            )
    return {**plan.margins, **margins}


def _made_before(
    store: ObjectStore,
    plan_id: str,
    numbers: Mapping[int, Collection[Kind]],
    margins: Mapping[str, float],
) -> Manifest | None:
    """The version with these margins, if it is there and was not removed."""
    for number in sorted(numbers):
        if Kind.MANIFEST not in numbers[number]:
            continue
        if Kind.REMOVAL in numbers[number] and is_removed(store, plan_id, number):
            continue
        manifest = read_version(store, plan_id, number)
        if manifest.selection == margins:
            return manifest
    return None


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
