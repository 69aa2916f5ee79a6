"""Repair of a plan from its manifest and of its prompts from the ledger."""

from pipeline.errors import ObjectNotFoundError, VerificationError
from pipeline.plan import Plan
from pipeline.storage import layout
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import plan_bytes, read_plan, read_prompt_table
from pipeline.storage.sealed_files import read_ledger


def repair_plan(store: ObjectStore, plan_id: str, manifest: Manifest | None) -> list[str]:
    """Restore a missing or damaged plan and its prompts; return the written keys.

    Raises ``VerificationError`` if the manifest or ledger needed for this is damaged too.
    """
    written = []
    plan = _plan(store, plan_id)
    if plan is None:
        key = layout.plan_key(plan_id)
        if manifest is None or manifest.plan.identity() != plan_id:
            raise VerificationError(f"{store.url}/{key}: damaged, and so is its manifest")
        plan = manifest.plan
        store.put(key, plan_bytes(plan))
        written.append(key)
    # The plan is intact now, so its digest of the prompts can check those of the ledger.
    if not _has_prompts(store, plan):
        key = layout.prompts_key(plan_id)
        table = None if manifest is None else _prompts_of_ledger(store, plan, manifest)
        if table is None or not table.is_of(plan):
            raise VerificationError(f"{store.url}/{key}: damaged, and so is its ledger")
        store.put(key, table.to_bytes())
        written.append(key)
    return written


def _plan(store: ObjectStore, plan_id: str) -> Plan | None:
    try:
        plan = read_plan(store, plan_id)
    except (ObjectNotFoundError, VerificationError):
        return None
    return plan if plan.plan_id == plan.identity() == plan_id else None


def _has_prompts(store: ObjectStore, plan: Plan) -> bool:
    try:
        return read_prompt_table(store, plan.plan_id).is_of(plan)
    except (ObjectNotFoundError, VerificationError):
        return False


def _prompts_of_ledger(store: ObjectStore, plan: Plan, manifest: Manifest) -> PromptTable | None:
    """Return the prompts in a ledger, one from the row of each prompt's first seed."""
    try:
        ledger = read_ledger(store, manifest.ledger)
    except VerificationError:
        return None
    return ledger.prompt_table(plan.seeds_per_prompt)
