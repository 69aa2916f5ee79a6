"""Verification of a store: every sealed plan, and unreferenced objects."""

from collections.abc import Iterator, Sequence

from pipeline.config.plan import Plan
from pipeline.core.errors import (
    AccessDeniedError,
    ObjectNotFoundError,
    VerificationError,
    work_has_begun,
)
from pipeline.publish.gc import ReferenceStatus, UnreferencedObject, find_unreferenced
from pipeline.publish.reselection import Reselection
from pipeline.publish.verify.findings import Problem, Verification, message_of, read_promised
from pipeline.publish.verify.shards import check_shards
from pipeline.publish.verify.units import check_ledger, check_units
from pipeline.storage import layout
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.layout import place_of
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import MAX_TABLE_BYTES, ObjectStore
from pipeline.storage.plans import dropped_key_of, read_plan, read_prompt_table
from pipeline.storage.receipts import disagreement_keys, read_disagreement, read_receipt
from pipeline.storage.success import SealedManifest, nothing_sealed, of_plan, read_success
from pipeline.storage.versions import check_one_plan, choose_versions, latest_manifests


def verify(
    store: ObjectStore, *, plan_id: str | None = None, version: int | None = None
) -> Verification:
    """Check every sealed plan of a store at its current version.

    ``plan_id`` selects one plan, and ``version`` another version of it. Checks that need a listing
    are skipped if the credentials do not allow one. Raises ``UserError`` if nothing is sealed, and
    for an unknown plan or version.
    """
    found = Verification()
    sealed = of_plan(store, _sealed(store, found), plan_id)
    check_one_plan(store, [each.plan_id for each in sealed], version)
    with work_has_begun():
        _check_all(store, sealed, version, found)
    return found


def _check_all(
    store: ObjectStore, sealed: Sequence[SealedManifest], version: int | None, found: Verification
) -> None:
    plans: list[Plan] = []
    for each in sealed:
        try:
            ((_, manifest),) = choose_versions(store, [each], version)
        except VerificationError as error:
            key = each.key if version is None else layout.manifest_key(each.plan_id, version)
            found.add(key, message_of(store, key, error))
            continue
        found.manifests += 1
        plans += _check_plan(store, manifest, found)
    # These need a listing, which a reader's credentials may not allow. What was found stays.
    try:
        for plan in plans:
            found.foreign += _beyond(store, plan)
        for each in sealed:
            found.disagreements += _disagreements(store, each.plan_id)
        _orphans(store, {each.plan_id for each in sealed}, found)
    except AccessDeniedError as error:
        found.not_listed = str(error)


def _sealed(store: ObjectStore, found: Verification) -> Sequence[SealedManifest]:
    """Return the manifests named in ``_SUCCESS``, and the latest of plans that it omits."""
    # A plan that `_SUCCESS` lost is verified too, with its latest manifest.
    latest = _latest(store)
    named: dict[str, SealedManifest] = {}
    try:
        success = read_success(store)
    except VerificationError as error:
        found.add(layout.SUCCESS_KEY, message_of(store, layout.SUCCESS_KEY, error))
    else:
        if success is None and not latest:
            raise nothing_sealed(store)
        if success is None:
            found.add(layout.SUCCESS_KEY, "missing, and there is a manifest")
        else:
            named = {sealed.plan_id: sealed for sealed in success.manifests}
            for plan_id in sorted(latest.keys() - named.keys()):
                found.add(layout.SUCCESS_KEY, f"does not name {latest[plan_id].key}")
    return [sealed for _, sealed in sorted({**latest, **named}.items())]


def _latest(store: ObjectStore) -> dict[str, SealedManifest]:
    """Return the latest manifest of each plan, or nothing if listing is not allowed."""
    try:
        return {sealed.plan_id: sealed for sealed in latest_manifests(store)}
    except AccessDeniedError:
        return {}


def _check_plan(store: ObjectStore, manifest: Manifest, found: Verification) -> list[Plan]:
    """Check a manifest's files and receipts; return its plan, or nothing if it is unreadable."""
    plan_and_prompts = _plan(store, manifest, found)
    if plan_and_prompts is None:
        return []
    plan, prompts = plan_and_prompts
    _check_dropped(store, plan, found)
    ledger = check_ledger(store, plan, manifest.ledger, found)
    reselection = Reselection(plan, manifest.selection)
    expected = check_units(store, plan, prompts, reselection, ledger, found)
    if expected.complete and expected.funnel.total() != manifest.funnel:
        key = layout.manifest_key(plan.plan_id, manifest.version)
        found.add(key, "its funnel is not that of the receipts")
    check_shards(store, manifest, expected, found)
    return [plan]


def _plan(
    store: ObjectStore, manifest: Manifest, found: Verification
) -> tuple[Plan, PromptTable] | None:
    plan_id = manifest.plan_id
    plan_key, prompts_key = layout.plan_key(plan_id), layout.prompts_key(plan_id)
    try:
        plan = read_plan(store, plan_id)
    except (ObjectNotFoundError, VerificationError) as error:
        found.add(plan_key, f"cannot be read: {message_of(store, plan_key, error)}")
        return None
    try:
        prompts = read_prompt_table(store, plan_id)
    except (ObjectNotFoundError, VerificationError) as error:
        found.add(prompts_key, f"cannot be read: {message_of(store, prompts_key, error)}")
        return None
    # The plan can be used all the same: everything below is compared with it.
    if plan.identity() != plan_id:
        found.add(plan_key, "its content is not that of its id")
    if plan != manifest.plan:
        found.add(plan_key, "not the plan in the manifest")
    if not prompts.is_of(plan):
        found.add(prompts_key, "not the prompts of the plan")
        return None
    return plan, prompts


def _check_dropped(store: ObjectStore, plan: Plan, found: Verification) -> None:
    key, digest = dropped_key_of(plan), plan.prompt_funnel.dropped_sha256
    if key is not None and digest is not None:
        read_promised(store, key, digest, "the plan", found, num_bytes=MAX_TABLE_BYTES)


def _disagreements(store: ObjectStore, plan_id: str) -> list[Problem]:
    found = []
    for key in disagreement_keys(store, plan_id):
        try:
            late = read_disagreement(store, key)
        except VerificationError as error:
            found.append(Problem(key=key, text=message_of(store, key, error)))
            continue
        # Without the first receipt it is unknown what differs, and the late attempt is still
        # reported.
        what = "outcomes"
        try:
            first = read_receipt(store, plan_id, late.unit)
            counts = f"attempt {first.attempt_id}, which counts"
            what = "outcomes" if first.data_sha256 == late.data_sha256 else "pairs"
        except (ObjectNotFoundError, VerificationError):
            counts = "the attempt that counts"
        text = f"unit {late.unit}: attempt {late.attempt_id} gave other {what} than {counts}"
        found.append(Problem(key=key, text=text))
    return found


def _beyond(store: ObjectStore, plan: Plan) -> Iterator[UnreferencedObject]:
    """Return receipts and disagreements of units that the plan does not have."""
    for prefix in (layout.receipts_prefix, layout.disagreements_prefix):
        for info in store.list(prefix(plan.plan_id)):
            place = place_of(info.key)
            if place is not None and place.unit is not None and place.unit >= plan.num_units:
                yield UnreferencedObject(
                    key=info.key,
                    num_bytes=info.num_bytes,
                    modified=info.modified,
                    reference=ReferenceStatus.UNKNOWN,
                    why=f"its plan has {plan.num_units} units",
                )


def _orphans(store: ObjectStore, sealed: set[str], found: Verification) -> None:
    """Add foreign files, garbage, and pending objects of sealed plans, which no build uses."""
    # A pending object of an unsealed plan may belong to a running build, so it is not reported.
    for each in find_unreferenced(store):
        place = place_of(each.key)
        is_pending = each.reference is ReferenceStatus.PENDING
        if each.reference is ReferenceStatus.GARBAGE or (
            is_pending and place is not None and place.plan_id in sealed
        ):
            found.orphans.append(each)
        elif each.reference is ReferenceStatus.UNKNOWN:
            found.foreign.append(each)
