"""Repair of ``_SUCCESS`` from the manifests."""

from functools import partial

from pipeline.errors import ObjectNotFoundError, VerificationError
from pipeline.storage import layout
from pipeline.storage.layout import place_of
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.success import (
    SealedManifest,
    Success,
    name_in_success,
    nothing_sealed,
    read_success,
    success_bytes,
)
from pipeline.storage.versions import latest_manifests, read_unpromised


def repair_success(store: ObjectStore) -> list[str]:
    """Add missing plans to ``_SUCCESS`` and correct wrong entries; return the rewritten keys.

    Raises ``VerificationError`` if all manifests of a plan and its entry in ``_SUCCESS`` are
    damaged, and if the store has no manifest at all.
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
            raise VerificationError(nothing_sealed(store))
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
