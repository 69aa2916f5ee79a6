"""Selection of a sealed plan with other margins, stored as a new manifest version."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pipeline.config.plan import Plan
from pipeline.core.errors import UserError
from pipeline.core.records import Status
from pipeline.publish.reselection import Reselection
from pipeline.publish.seal import Compactor, draft
from pipeline.storage.layout import Kind
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_plan, read_prompts
from pipeline.storage.receipts import read_receipts
from pipeline.storage.success import (
    SealedManifest,
    find_sealed,
    name_in_success,
    put_manifest,
    sealed_as,
    sealed_plan,
)
from pipeline.storage.versions import is_removed, read_removal, read_version, version_numbers


@dataclass(frozen=True, kw_only=True)
class Selected:
    """Result of a selection."""

    manifest: Manifest
    is_new: bool
    """True if the version was made now; False if it existed."""


def select(
    store: ObjectStore,
    margins: Mapping[str, float],
    run_compaction: Compactor,
    plan_id: str | None = None,
) -> Selected:
    """Select pairs with other margins and make the result the current version.

    ``margins`` maps rewards to margins. Other rewards keep the plan's margin. ``plan_id`` may be
    omitted if only one plan is sealed. An existing version with these margins is made current
    again. Raises ``UserError`` for an unknown plan or reward, and if the selection needs pairs that
    the plan did not store.
    """
    plan = read_plan(store, sealed_plan(store, plan_id).plan_id)
    wanted = _margins(plan, margins)
    numbers = version_numbers(store, plan.plan_id)
    # A version with these margins exists after an interrupted selection, too: the second try only
    # has to make it current.
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
        version=max(numbers) + 1,  # removed versions count, so that no number is used twice
        margins=wanted,
    )
    sealed = put_manifest(store, made)
    # Another selection took this number. The shards just written are garbage now.
    if sealed is None:
        raise UserError(
            f"{store.url}: another process made v{made.version} of plan {plan.plan_id} at the same "
            "moment; run the same command again"
        )
    _make_current(store, sealed)
    return Selected(manifest=made, is_new=True)


def _make_current(store: ObjectStore, sealed: SealedManifest) -> None:
    """Name a version in ``_SUCCESS``, unless it is removed at the same moment.

    ``prune`` records the removal and then looks at ``_SUCCESS``; this writes ``_SUCCESS`` and then
    looks for the record. So at least one of the two sees the other.
    """
    before = find_sealed(store, sealed.plan_id)
    name_in_success(store, sealed)
    if before is None or before == sealed:
        return
    if read_removal(store, sealed.plan_id, sealed.version) is not None:
        name_in_success(store, before)
        raise UserError(
            f"{store.url}: v{sealed.version} of plan {sealed.plan_id} was removed at the same "
            "moment; run the same command again"
        )


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
    """Return the version with these margins, or None if there is none or it was removed."""
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
    """Raise ``UserError`` if the selection needs pairs that no unit object holds."""
    # Higher margins keep a subset of the pairs that were kept, and these are stored.
    is_raised = all(margins[name] >= margin for name, margin in plan.margins.items())
    if is_raised or plan.settings.output.store_rejected:
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
