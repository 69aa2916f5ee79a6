"""Repair of all objects of a store, in the order of their dependencies, from ``_SUCCESS`` on."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from pipeline.config.plan import Plan
from pipeline.core.errors import ObjectNotFoundError, VerificationError
from pipeline.publish.repair.files import repair_files, repair_plan
from pipeline.publish.repair.units import UnitRepair, damaged_units
from pipeline.publish.reselection import Reselection
from pipeline.publish.verify.findings import Verification
from pipeline.publish.verify.units import check_ledger, check_units
from pipeline.storage import layout
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.layout import place_of
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_plan, read_prompt_table
from pipeline.storage.success import (
    SealedManifest,
    Success,
    name_in_success,
    nothing_sealed,
    read_manifest,
    read_success,
    success_bytes,
)
from pipeline.storage.versions import latest_manifests, read_unpromised

Recompute = Callable[[Plan, PromptTable, Sequence[int]], ObjectStore]
"""Function that computes units of a plan into a store under ``layout.repairs_prefix``."""


def repair(store: ObjectStore, recompute: Recompute) -> Iterator[str]:
    """Rebuild damaged objects; yield the key of each object after its repair.

    Raises ``VerificationError`` if a rebuilt object does not have the promised digest, and the
    errors of ``recompute``. The damaged object is then unchanged.
    """
    yield from _repair_success(store)
    # Read again, because the line above may have rewritten it.
    success = read_success(store)
    assert success is not None
    for sealed in success.manifests:
        yield from _repair_plan(store, sealed, recompute)


def _repair_success(store: ObjectStore) -> list[str]:
    """Add missing plans to ``_SUCCESS`` and correct wrong entries; return the rewritten keys.

    Raises ``VerificationError`` if all manifests of a plan and its entry in ``_SUCCESS`` are
    damaged, and ``UserError`` if the store has no manifest at all.
    """
    latest = latest_manifests(store)
    success = _readable(store)
    named = {sealed.plan_id for sealed in success.manifests} if success else set()
    places = [place_of(info.key) for info in store.list("manifests/")]
    lost = {place.plan_id for place in places if place} - named - {each.plan_id for each in latest}
    if lost:
        raise VerificationError(
            f"{store.url}: plan {', '.join(sorted(lost))}: neither {layout.SUCCESS_KEY} nor a "
            "manifest is intact; delete its manifests and seal it again with `npd build`"
        )
    if success is None:
        if not latest:
            raise nothing_sealed(store)
        store.put(layout.SUCCESS_KEY, success_bytes(latest))
        return [layout.SUCCESS_KEY]
    misnamed = [each for each in map(partial(_as_stored, store), success.manifests) if each]
    left_out = [each for each in latest if each.plan_id not in named]
    for sealed in (*misnamed, *left_out):
        name_in_success(store, sealed)
    return [layout.SUCCESS_KEY] if misnamed or left_out else []


def _as_stored(store: ObjectStore, sealed: SealedManifest) -> SealedManifest | None:
    """Return the correct ``_SUCCESS`` entry of a manifest that has the promised bytes.

    Return None if the entry is correct or the manifest is damaged.
    """
    try:
        stored, _ = read_unpromised(store, sealed.plan_id, sealed.version)
    except (ObjectNotFoundError, VerificationError):
        return None
    return stored if stored.sha256 == sealed.sha256 and stored != sealed else None


def _readable(store: ObjectStore) -> Success | None:
    try:
        return read_success(store)
    except VerificationError:
        return None


def _repair_plan(store: ObjectStore, sealed: SealedManifest, recompute: Recompute) -> Iterator[str]:
    manifest = _manifest(store, sealed)
    yield from repair_plan(store, sealed.plan_id, manifest)
    # Plan and prompts are intact now. All other checks depend on them.
    plan, prompts = read_plan(store, sealed.plan_id), read_prompt_table(store, sealed.plan_id)
    found, reselection = Verification(), Reselection(plan, sealed.selection)
    ledger = None if manifest is None else check_ledger(store, plan, manifest.ledger, found)
    check_units(store, plan, prompts, reselection, ledger, found)
    units = damaged_units(found.problems)
    if units:
        scratch = recompute(plan, prompts, units)
        fingerprints = manifest.fingerprints if manifest else []
        unit_repair = UnitRepair(store, scratch, plan, found.problems, fingerprints)
        try:
            # All units are checked before the first one is replaced.
            for unit in units:
                unit_repair.check(unit, prompts, reselection, ledger)
            for unit in units:
                yield from unit_repair.put(unit)
        finally:
            # Also after a failed check, because another machine may compute the promised bytes.
            prefix = layout.repairs_prefix(plan.plan_id)
            # Listed completely first: a listing is not stable while its objects are deleted.
            for info in [*store.list(prefix)]:
                if layout.place_of(info.key.removeprefix(prefix)) is not None:
                    store.delete(info.key)
    yield from repair_files(store, plan, prompts, sealed, manifest)


def _manifest(store: ObjectStore, sealed: SealedManifest) -> Manifest | None:
    try:
        return read_manifest(store, sealed)
    except VerificationError:
        return None
