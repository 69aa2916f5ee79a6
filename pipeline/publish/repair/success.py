"""``_SUCCESS`` from the manifests."""

from pipeline.errors import VerificationError
from pipeline.storage import layout
from pipeline.storage.layout import place_of
from pipeline.storage.manifest import Success, latest_manifests, read_success
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.sealing import name_in_success, success_bytes


def repair_success(store: ObjectStore) -> list[str]:
    """Name every plan that has a manifest; the keys that were made again.

    Raises ``VerificationError`` where a plan has manifests and neither they nor ``_SUCCESS`` are
    whole, and where there is none at all.
    """
    latest = latest_manifests(store)
    success = _readable(store)
    named = {sealed.plan_id for sealed in success.manifests} if success else set()
    places = [place_of(info.key) for info in store.list("manifests/")]
    lost = {place.plan_id for place in places if place} - named - {each.plan_id for each in latest}
    if lost:
        raise VerificationError(
            f"{store.url}: of plan {', '.join(sorted(lost))} neither {layout.SUCCESS_KEY} nor a "
            "manifest is whole; delete its manifests and seal it again with `npd build`"
        )
    if success is None:
        if not latest:
            raise VerificationError(f"{store.url}: nothing is sealed here; use `npd build`")
        store.put(layout.SUCCESS_KEY, success_bytes(latest))
        return [layout.SUCCESS_KEY]
    left_out = [each for each in latest if each.plan_id not in named]
    for sealed in left_out:
        name_in_success(store, sealed)
    return [layout.SUCCESS_KEY] if left_out else []


def _readable(store: ObjectStore) -> Success | None:
    try:
        return read_success(store)
    except VerificationError:
        return None
