"""Versions of a sealed plan: the current one, superseded ones, and removed ones.

``npd build`` makes version 1 of a plan. Each ``npd select`` with new margins adds a version.
``_SUCCESS`` names the current version, which readers use unless they request another.

A superseded version can be removed. The record of a removal
(``manifests/<plan_id>/v<n>.removed.json``) is put once and kept, so its number is not used again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from pipeline.config.plan import Plan
from pipeline.core.errors import (
    AccessDeniedError,
    ObjectNotFoundError,
    UserError,
    VerificationError,
)
from pipeline.core.identity import sha256
from pipeline.core.records import Record
from pipeline.core.validation import explain
from pipeline.storage import layout
from pipeline.storage.layout import Kind, place_of
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import MAX_RECORD_BYTES, MAX_TABLE_BYTES, ObjectStore
from pipeline.storage.success import (
    SealedManifest,
    checked_manifest,
    find_sealed,
    read_manifest,
    read_success,
)

Versions = int | Mapping[str, int] | None
"""Version to read: a number for a single plan, a mapping by plan id, or None for the current."""


class Removal(Record):
    """Record of the removal of a version."""

    schema_version: int
    plan_id: str
    version: int
    manifest_sha256: str
    """Digest of the removed manifest."""


@dataclass(frozen=True, kw_only=True)
class PlanVersion:
    """State of one version of a sealed plan in a store."""

    plan_id: str
    number: int
    is_current: bool
    is_removed: bool
    """True if its removal is recorded and it is not current."""
    sealed: SealedManifest | None
    """Entry of the manifest; None if the version is removed or damaged."""
    manifest: Manifest | None
    """Manifest of the version; None if the version is removed or damaged."""
    damage: str = ""
    """Error message for a damaged manifest; empty otherwise."""


def read_versions(store: ObjectStore, plan_id: str) -> list[PlanVersion]:
    """Return all versions of a sealed plan in order. Needs a listing of the plan's manifests.

    Raises ``VerificationError`` for a damaged ``_SUCCESS``.
    """
    kinds = version_numbers(store, plan_id)
    current = find_sealed(store, plan_id)
    return [
        _read_one(store, plan_id, number, current, is_removed=Kind.REMOVAL in kinds[number])
        for number in sorted(kinds)
    ]


def _read_one(
    store: ObjectStore,
    plan_id: str,
    number: int,
    current: SealedManifest | None,
    *,
    is_removed: bool,
) -> PlanVersion:
    is_current = current is not None and current.version == number
    # `npd select` may have made the version current while `npd prune` was writing the record.
    is_removed = is_removed and not is_current
    sealed = manifest = None
    damage = ""
    try:
        if current is not None and is_current:
            sealed, manifest = current, read_manifest(store, current)
        elif not is_removed:
            sealed, manifest = read_unpromised(store, plan_id, number)
    # The manifest was deleted after the listing, which only a removal does.
    except ObjectNotFoundError:
        is_removed = True
    except VerificationError as error:
        sealed, damage = None, str(error)
    return PlanVersion(
        plan_id=plan_id,
        number=number,
        is_current=is_current,
        is_removed=is_removed,
        sealed=sealed,
        manifest=manifest,
        damage=damage,
    )


def version_numbers(store: ObjectStore, plan_id: str) -> dict[int, set[Kind]]:
    """Map each version number of a plan to what is stored of it: manifest, removal or both."""
    kinds: dict[int, set[Kind]] = {}
    for info in store.list(layout.manifests_prefix(plan_id)):
        place = place_of(info.key)
        if place is not None and place.version is not None:
            kinds.setdefault(place.version, set()).add(place.kind)
    return kinds


def read_version(store: ObjectStore, plan_id: str, version: int) -> Manifest:
    """Read any version of a plan's manifest, including unsealed and superseded ones.

    Raises ``ObjectNotFoundError``, and ``VerificationError`` for one that is damaged.
    """
    sealed = find_sealed(store, plan_id)
    if sealed is not None and sealed.key == layout.manifest_key(plan_id, version):
        return read_manifest(store, sealed)
    return read_unpromised(store, plan_id, version)[1]


def read_unpromised(
    store: ObjectStore, plan_id: str, version: int
) -> tuple[SealedManifest, Manifest]:
    """Read a manifest that ``_SUCCESS`` does not name; return its would-be entry and itself.

    No stored digest covers its bytes. It must be consistent and match the identity of its plan
    (``structure.py``). It then names its files by their digests. Raises ``ObjectNotFoundError``
    and ``VerificationError``.
    """
    key = layout.manifest_key(plan_id, version)
    data = store.get(key, MAX_TABLE_BYTES)
    itself = SealedManifest(plan_id=plan_id, key=key, sha256=sha256(data), selection={})
    manifest = checked_manifest(store, itself, data)
    # No digest covers these bytes, but the id is a digest of the plan in them.
    if manifest.plan.identity() != plan_id:
        raise VerificationError(f"{store.url}/{key}: damaged: its plan is not the one of its id")
    return itself.model_copy(update={"selection": manifest.selection}), manifest


def latest_manifests(store: ObjectStore) -> list[SealedManifest]:
    """Return, for each plan, the highest version that is neither damaged nor removed."""
    places = [place for info in store.list("manifests/") if (place := layout.place_of(info.key))]
    removed = {(p.plan_id, p.version) for p in places if p.kind is Kind.REMOVAL}
    latest: dict[str, SealedManifest] = {}
    for place in places:
        is_removed = (place.plan_id, place.version) in removed
        if place.kind is not Kind.MANIFEST or place.version is None or is_removed:
            continue
        highest = latest.get(place.plan_id)
        if highest is None or place.version > highest.version:
            try:
                latest[place.plan_id], _ = read_unpromised(store, place.plan_id, place.version)
            except (ObjectNotFoundError, VerificationError):  # removed meanwhile, or damaged
                continue
    return [sealed for _, sealed in sorted(latest.items())]


def read_removal(store: ObjectStore, plan_id: str, version: int) -> Removal | None:
    """Read the record of a removal; return None if there is none or it may not be read."""
    key = layout.removal_key(plan_id, version)
    try:
        return Removal.model_validate_json(store.get(key, MAX_RECORD_BYTES))
    # Without the permission to list, S3 answers "access denied" for an object that does not exist.
    except (ObjectNotFoundError, AccessDeniedError):
        return None
    except ValidationError as error:
        raise VerificationError(f"{store.url}/{key}: no removal: {explain(error)}") from None


def is_removed(store: ObjectStore, plan_id: str, version: int) -> bool:
    """Return True if a version is removed permanently.

    The record decides unless ``_SUCCESS`` names the version: ``npd select`` may have made it
    current while ``npd prune`` was writing the record. The record is read first, so that a later
    selection sees it. Raises ``VerificationError`` for a damaged ``_SUCCESS``.
    """
    # In this order: `npd select` writes `_SUCCESS` before it looks for a record.
    if read_removal(store, plan_id, version) is None:
        return False
    success = read_success(store)
    if success is None:
        raise VerificationError(f"{store.url}/{layout.SUCCESS_KEY}: missing")
    current = success.of(plan_id)
    return current is None or current.version != version


def choose_versions(
    store: ObjectStore, current: Sequence[SealedManifest], versions: Versions
) -> list[tuple[SealedManifest, Manifest]]:
    """Read the manifests of some plans, each at the requested version.

    ``current`` holds the entries of ``_SUCCESS`` to read. Raises ``UserError`` for a version
    that does not exist and for one number with several plans, and ``VerificationError`` for a
    damaged manifest.
    """
    wanted = _by_plan(store, [sealed.plan_id for sealed in current], versions)
    return [_at_version(store, sealed, wanted.get(sealed.plan_id)) for sealed in current]


def _by_plan(store: ObjectStore, plan_ids: Sequence[str], versions: Versions) -> Mapping[str, int]:
    if versions is None:
        return {}
    if isinstance(versions, Mapping):
        for plan_id in versions:
            if plan_id not in plan_ids:
                raise UserError(
                    f"{store.url}: version= names plan {plan_id!r}, which is not read; "
                    f"there are {', '.join(plan_ids)}"
                )
        return versions
    check_one_plan(store, plan_ids, versions)
    return dict.fromkeys(plan_ids, versions)


def check_one_plan(store: ObjectStore, plan_ids: Sequence[str], version: int | None) -> None:
    """Raise ``UserError`` if one version number is given for several plans."""
    if version is not None and len(plan_ids) > 1:
        raise UserError(
            f"{store.url}: version {version} of which plan? There are {', '.join(plan_ids)}: "
            "choose one (plans= or --plan), or give version={plan_id: number}"
        )


def _at_version(
    store: ObjectStore, current: SealedManifest, number: int | None
) -> tuple[SealedManifest, Manifest]:
    if number is None or number == current.version:
        return current, read_manifest(store, current)
    # True and False are integers in Python.
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise UserError(f"{store.url}: a version is a number from 1, not {number!r}")
    try:
        return read_unpromised(store, current.plan_id, number)
    # Without the permission to list, a missing object looks like a forbidden one.
    except (ObjectNotFoundError, AccessDeniedError) as error:
        raise UserError(_no_version(store, current, number)) from error


def _no_version(store: ObjectStore, current: SealedManifest, number: int) -> str:
    plan_id = current.plan_id
    was_removed = read_removal(store, plan_id, number) is not None
    what = (
        f"{store.url}: version {number} of plan {plan_id} was removed"
        if was_removed
        else f"{store.url}: plan {plan_id} has no version {number}"
    )
    return f"{what}; {_existing(store, current)}"


def _existing(store: ObjectStore, current: SealedManifest) -> str:
    try:
        kinds = version_numbers(store, current.plan_id)
    except AccessDeniedError:
        return f"the current one is {current.version}; these credentials may not list the others"
    # A version with a removal record is not offered: its files are being deleted.
    there = [n for n in sorted(kinds) if kinds[n] == {Kind.MANIFEST} or n == current.version]
    listed = ", ".join(f"{n} (current)" if n == current.version else str(n) for n in there)
    return f"there are {listed}" if len(there) > 1 else f"there is only {listed}"


def superseded(plans: Iterable[Plan]) -> set[str]:
    """Return the ids of plans of which another of the given plans judges more candidates.

    Both plans have the same pairs. Of several plans that judge more of one, the largest share
    counts.
    """
    largest: dict[str, Plan] = {}
    others: set[str] = set()
    for plan in plans:
        judging = plan.settings.judging
        first = judging.of or plan.plan_id
        known = largest.setdefault(first, plan)
        if known is not plan:
            shares = (known.settings.judging.share or 1.0, judging.share or 1.0)
            largest[first], less = (plan, known) if shares[1] > shares[0] else (known, plan)
            others.add(less.plan_id)
    return others
