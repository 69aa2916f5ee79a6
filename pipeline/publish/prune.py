"""Removal of superseded versions of a plan, on request (``npd prune``).

Garbage collection alone removes no version, because readers may request it. A removal is first
recorded. The record is put once and kept. From then on the version's files are garbage, which
``npd gc`` deletes too. So an interrupted removal is completed by the same command or by ``npd gc``.
The manifest is deleted before its files. A reader that opens the version afterwards reports that
it was removed. So does a reader that was open already and finds a shard missing.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pipeline.core.errors import UserError, VerificationError
from pipeline.core.identity import readable_json, sha256
from pipeline.core.records import SCHEMA_VERSION
from pipeline.publish.gc import Amount
from pipeline.storage import layout
from pipeline.storage.object_store import MAX_TABLE_BYTES, ObjectInfo, ObjectStore
from pipeline.storage.success import find_sealed, sealed_plan, sealed_plans
from pipeline.storage.versions import PlanVersion, Removal, read_removal, read_versions


@dataclass(frozen=True, kw_only=True)
class Superseded:
    """Version that can be removed, or whose removal was interrupted."""

    version: PlanVersion
    objects: tuple[ObjectInfo, ...]
    """Manifest, ledgers and shards of the version, in the order of deletion."""

    @property
    def amount(self) -> Amount:
        """Number and size of the objects that a removal frees."""
        return Amount(
            objects=len(self.objects), num_bytes=sum(info.num_bytes for info in self.objects)
        )


def find_superseded(
    store: ObjectStore, plan_id: str | None = None, numbers: Collection[int] = ()
) -> list[Superseded]:
    """Return the versions before the current one, or those of ``numbers``, of one or all plans.

    A version with a higher number than the current one must be given by number: a selection
    that is running may be about to make it current. Raises ``UserError`` for a version
    that is current or does not exist, and ``VerificationError`` for a damaged ``_SUCCESS``.
    """
    plans = [sealed_plan(store, plan_id)] if numbers else sealed_plans(store, plan_id)
    return [each for plan in plans for each in _of_plan(store, plan.plan_id, numbers)]


def prune(store: ObjectStore, superseded: Superseded) -> Amount:
    """Remove a version permanently. Raises ``UserError`` if it became current meanwhile."""
    plan_id, number = superseded.version.plan_id, superseded.version.number
    if read_removal(store, plan_id, number) is None:
        manifest_key = layout.manifest_key(plan_id, number)
        removal = Removal(
            schema_version=SCHEMA_VERSION,
            plan_id=plan_id,
            version=number,
            manifest_sha256=sha256(store.get(manifest_key, MAX_TABLE_BYTES)),
        )
        store.put_if_absent(
            layout.removal_key(plan_id, number), readable_json(removal.model_dump(mode="json"))
        )
    # Check ``_SUCCESS`` only after the record is stored. A selection does the two steps in the
    # reverse order: it names the version, then looks for a record. So one of them sees the other.
    current = find_sealed(store, plan_id)
    if current is None or current.version == number:
        raise UserError(
            f"{store.url}: version {number} of plan {plan_id} became the current one meanwhile; "
            "nothing was deleted"
        )
    for info in superseded.objects:
        store.delete(info.key)
    return superseded.amount


def _of_plan(store: ObjectStore, plan_id: str, numbers: Collection[int]) -> Iterator[Superseded]:
    versions = {version.number: version for version in read_versions(store, plan_id)}
    current = next((version.number for version in versions.values() if version.is_current), None)
    if current is None:
        raise VerificationError(
            f"{store.url}/{layout.SUCCESS_KEY}: the version of plan {plan_id} that it names is not "
            "stored; `npd repair` repairs it"
        )
    for number in numbers:
        if number == current:
            raise UserError(
                f"{store.url}: version {number} of plan {plan_id} is the current one, which "
                "readers see; make another one current with `npd select` first"
            )
        if number not in versions:
            existing = ", ".join(map(str, versions))
            raise UserError(
                f"{store.url}: plan {plan_id} has no version {number}; there are {existing}"
            )
    for number in sorted(set(numbers) or {n for n in versions if n < current}):
        objects = tuple(_objects(store, plan_id, number))
        if objects:
            yield Superseded(version=versions[number], objects=objects)


def _objects(store: ObjectStore, plan_id: str, number: int) -> Iterator[ObjectInfo]:
    manifest = store.head(layout.manifest_key(plan_id, number))
    # First in the order of deletion, so that no manifest names files that were deleted.
    if manifest is not None:
        yield manifest
    yield from store.list(layout.ledgers_prefix(plan_id, number))
    yield from store.list(layout.shards_prefix(plan_id, number))
