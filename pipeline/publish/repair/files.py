"""Repair of shards, ledger and manifest of a version, from receipts and unit objects."""

from collections.abc import Iterable, Iterator

from pipeline.errors import ObjectNotFoundError, VerificationError
from pipeline.identity import sha256
from pipeline.plan import Plan
from pipeline.publish.compact import CompactedShard, ShardTask, compact_in
from pipeline.publish.seal import draft
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.layout import SUCCESS_KEY
from pipeline.storage.manifest import Manifest, manifest_bytes
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.success import SealedManifest, contradicts_itself, name_in_success, sealed_as


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
        file.key for file in manifest.files() if not _is_intact(store, file.key, file.sha256)
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
        if _is_intact(store, sealed.key, sealed_as(made).sha256):
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


def _is_intact(store: ObjectStore, key: str, digest: str) -> bool:
    try:
        return sha256(store.get(key)) == digest
    except ObjectNotFoundError:
        return False


def _not_promised(store: ObjectStore, key: str, plan: Plan) -> str:
    return (
        f"{store.url}/{key}: the file rebuilt from the receipts of plan {plan.plan_id} is not what "
        "was promised; the damaged object was not changed. Does the software differ from that of "
        "the build? See `fingerprint` in the receipts"
    )
