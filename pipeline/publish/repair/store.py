"""Repair of all objects of a store, in the order of their dependencies."""

from collections.abc import Callable, Iterator, Sequence

from pipeline.errors import VerificationError
from pipeline.plan import Plan
from pipeline.publish.repair.files import repair_files
from pipeline.publish.repair.plans import repair_plan
from pipeline.publish.repair.success import repair_success
from pipeline.publish.repair.units import UnitRepair, damaged_units
from pipeline.publish.reselection import Reselection
from pipeline.publish.verify.findings import Verification
from pipeline.publish.verify.units import check_ledger, check_units
from pipeline.storage import layout
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_plan, read_prompt_table
from pipeline.storage.success import SealedManifest, read_manifest, read_success

Recompute = Callable[[Plan, PromptTable, Sequence[int]], ObjectStore]
"""Function that computes units of a plan into a store under ``layout.repairs_prefix``."""


def repair(store: ObjectStore, recompute: Recompute) -> Iterator[str]:
    """Rebuild damaged objects; yield the key of each object after its repair.

    Raises ``VerificationError`` if a rebuilt object does not have the promised digest, and the
    errors of ``recompute``. The damaged object is then unchanged.
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
            for info in [*store.list(prefix)]:
                if layout.place_of(info.key.removeprefix(prefix)) is not None:
                    store.delete(info.key)
    yield from repair_files(store, plan, prompts, sealed, manifest)


def _manifest(store: ObjectStore, sealed: SealedManifest) -> Manifest | None:
    try:
        return read_manifest(store, sealed)
    except VerificationError:
        return None
