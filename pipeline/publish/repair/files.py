"""Repair of a plan with its prompts, and of shards, ledger and manifest of a version.

A plan is restored from its manifest, its prompts from the ledger, and the other files from receipts
and unit objects.
"""

from collections.abc import Iterable, Iterator

from pipeline.config.plan import Plan
from pipeline.core.errors import ObjectNotFoundError, VerificationError
from pipeline.publish.compact import CompactedShard, ShardTask, compact_in
from pipeline.publish.repair.units import is_intact
from pipeline.publish.seal import draft
from pipeline.storage import layout
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.layout import SUCCESS_KEY
from pipeline.storage.manifest import Manifest, manifest_bytes
from pipeline.storage.object_store import MAX_TABLE_BYTES, ObjectStore
from pipeline.storage.plans import plan_bytes, read_plan, read_prompt_table
from pipeline.storage.sealed_files import read_ledger
from pipeline.storage.success import SealedManifest, contradicts_itself, name_in_success, sealed_as


def repair_plan(store: ObjectStore, plan_id: str, manifest: Manifest | None) -> list[str]:
    """Restore a missing or damaged plan and its prompts; return the written keys.

    Raises ``VerificationError`` if the manifest or ledger needed for this is damaged too.
    """
    written = []
    plan = _intact_plan(store, plan_id)
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


def _intact_plan(store: ObjectStore, plan_id: str) -> Plan | None:
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
        return read_ledger(store, manifest).prompt_table(plan.seeds_per_prompt)
    except VerificationError:
        return None


def repair_files(
    store: ObjectStore,
    plan: Plan,
    prompts: PromptTable,
    sealed: SealedManifest,
    manifest: Manifest | None,
) -> list[str]:
    """Rebuild missing and damaged files of a version; return their keys.

    ``manifest`` is None if the manifest itself is missing or damaged. Raises
    ``VerificationError`` if a rebuilt file does not have the promised digest.
    """
    if manifest is None:
        return _repair_manifest(store, plan, prompts, sealed)
    damaged = {
        file.key
        for file in manifest.files()
        if not is_intact(store, file.key, file.sha256, file.num_bytes)
    }
    if not damaged:
        return []

    intact = {
        (split, shard_format, index): info
        for split, formats in manifest.shards.items()
        for shard_format, infos in formats.items()
        for index, info in enumerate(infos)
        if info.key not in damaged
    }

    # Intact shards keep their entries and are not written again.
    def run(tasks: Iterable[ShardTask]) -> Iterator[CompactedShard]:
        for task in tasks:
            info = intact.get((task.shard.split, task.format, task.shard.index))
            if info is None:
                yield compact_in(store, task, overwrite_damaged=True)
            else:
                yield CompactedShard(split=task.shard.split, format=task.format, info=info)

    made = draft(
        store,
        plan,
        prompts,
        run,
        version=manifest.version,
        margins=manifest.selection,
        overwrite_damaged=True,
    )
    # The keys contain the digests, so a file with other bytes is stored under another key and the
    # damaged one stays.
    files = {(file.key, file.sha256) for file in made.files()}
    wrong = [file.key for file in manifest.files() if (file.key, file.sha256) not in files]
    if wrong:
        raise VerificationError(_not_promised(store, wrong[0], plan))
    return sorted(damaged)


def _repair_manifest(
    store: ObjectStore, plan: Plan, prompts: PromptTable, sealed: SealedManifest
) -> list[str]:
    def run(tasks: Iterable[ShardTask]) -> Iterator[CompactedShard]:
        return (compact_in(store, task, overwrite_damaged=True) for task in tasks)

    made = draft(
        store,
        plan,
        prompts,
        run,
        version=sealed.version,
        margins=sealed.selection,
        overwrite_damaged=True,
    )
    if sealed_as(made) != sealed:
        if is_intact(store, sealed.key, sealed_as(made).sha256, MAX_TABLE_BYTES):
            name_in_success(store, sealed_as(made))  # the entry was wrong, not the manifest
            return [SUCCESS_KEY]
        # No build can have written a manifest that contradicts itself. Its digest protects
        # nothing, so both the manifest and its entry may be replaced.
        if contradicts_itself(store, sealed):
            store.put(sealed.key, manifest_bytes(made))
            name_in_success(store, sealed_as(made))
            return [sealed.key, SUCCESS_KEY]
        raise VerificationError(_not_promised(store, sealed.key, plan))
    store.put(sealed.key, manifest_bytes(made))
    return [sealed.key]


def _not_promised(store: ObjectStore, key: str, plan: Plan) -> str:
    return (
        f"{store.url}/{key}: the file rebuilt from the receipts of plan {plan.plan_id} is not what "
        "was promised; the damaged object was not changed. Does the software differ from that of "
        "the build? See `fingerprint` in the receipts"
    )
