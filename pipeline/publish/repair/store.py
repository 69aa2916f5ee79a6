"""The repair of a whole store, in the order in which one thing follows from another."""

from collections.abc import Callable, Iterator, Sequence

from pipeline.errors import VerificationError
from pipeline.plan import Plan, PromptTable
from pipeline.publish.repair.files import repair_files
from pipeline.publish.repair.plans import repair_plan
from pipeline.publish.repair.success import repair_success
from pipeline.publish.repair.units import UnitRepair, damaged_units
from pipeline.publish.reselection import Reselection
from pipeline.publish.verify.findings import Verification
from pipeline.publish.verify.units import check_ledger, check_units
from pipeline.storage import layout
from pipeline.storage.manifest import Manifest, SealedManifest, read_manifest, read_success
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_plan, read_prompt_table

Recompute = Callable[[Plan, PromptTable, Sequence[int]], ObjectStore]
"""Computes and commits some units of a plan in a store under ``layout.repairs_prefix``."""


def repair(store: ObjectStore, recompute: Recompute) -> Iterator[str]:
    """Make again what is damaged; yields the key of each object as it is whole again.

    Raises ``VerificationError`` where what is made again is not what was promised, and whatever
    ``recompute`` raises; what is damaged is then as it was.
    """
    yield from repair_success(store)
    success = read_success(store)
    assert success is not None
    for sealed in success.manifests:
        yield from _repair_plan(store, sealed, recompute)


def _repair_plan(store: ObjectStore, sealed: SealedManifest, recompute: Recompute) -> Iterator[str]:
    manifest = _manifest(store, sealed)
    yield from repair_plan(store, sealed.plan_id, manifest)
    plan, prompts = read_plan(store, sealed.plan_id), read_prompt_table(store, sealed.plan_id)
    found, reselection = Verification(), Reselection(plan, sealed.selection)
    ledger = None if manifest is None else check_ledger(store, plan, manifest.ledger, found)
    check_units(store, plan, prompts, reselection, ledger, found)
    units = damaged_units(found.problems)
    if units:
        scratch = recompute(plan, prompts, units)
        fingerprints = manifest.fingerprints if manifest else []
        mending = UnitRepair(store, scratch, plan, found.problems, fingerprints)
        try:
            for unit in units:
                mending.check(unit, prompts, reselection, ledger)
            for unit in units:
                yield from mending.put(unit)
        finally:
            # Also where a check failed: another machine may compute what was promised.
            prefix = layout.repairs_prefix(plan.plan_id)
            for info in [*store.list(prefix)]:
                if layout.place_of(info.key.removeprefix(prefix)) is not None:
                    store.delete(info.key)
    yield from repair_files(store, plan, prompts, sealed, manifest)


def _manifest(store: ObjectStore, sealed: SealedManifest) -> Manifest | None:
    try:
        return read_manifest(store, sealed)
    except VerificationError:
        return None
