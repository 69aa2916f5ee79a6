"""Publishing a manifest: put once, then named in ``_SUCCESS`` by compare and swap."""

from pipeline.errors import ObjectNotFoundError, RetryableStoreError, VerificationError
from pipeline.identity import readable_json, sha256
from pipeline.records import SCHEMA_VERSION
from pipeline.storage import layout
from pipeline.storage.manifest import Manifest, SealedManifest, Success, parse_success
from pipeline.storage.object_store import ObjectStore

_SWAPS = 20
"""How often sealing tries again when other plans are sealed at the same moment."""


def seal_manifest(store: ObjectStore, manifest: Manifest) -> SealedManifest:
    """Store a plan's manifest and name it in ``_SUCCESS``: from then on readers see it.

    Where a later version of it is named, that stays: a build that ends late undoes no selection.
    Raises ``VerificationError`` if another manifest of the same plan and version is there, which
    means that two builds of one plan computed different things.
    """
    sealed = put_manifest(store, manifest)
    if sealed is None:
        key = layout.manifest_key(manifest.plan_id, manifest.version)
        raise VerificationError(
            f"{store.url}/{key}: another manifest of this plan is there. Was the software changed "
            "between two builds into one output?"
        )
    _name(store, sealed, over_later=False)
    return sealed


def put_manifest(store: ObjectStore, manifest: Manifest) -> SealedManifest | None:
    """Store a manifest version; None if another one is there."""
    sealed = sealed_as(manifest)
    return sealed if store.put_if_absent(sealed.key, manifest_bytes(manifest)) else None


def sealed_as(manifest: Manifest) -> SealedManifest:
    """What ``_SUCCESS`` says of a manifest that is in the store."""
    return SealedManifest(
        plan_id=manifest.plan_id,
        key=layout.manifest_key(manifest.plan_id, manifest.version),
        sha256=sha256(manifest_bytes(manifest)),
        selection=manifest.selection,
    )


def manifest_bytes(manifest: Manifest) -> bytes:
    """A manifest as it is stored."""
    return readable_json(manifest.model_dump(mode="json"))


def name_in_success(store: ObjectStore, sealed: SealedManifest) -> None:
    """Make readers see a version that is stored, in place of whichever they see now."""
    _name(store, sealed, over_later=True)


def success_bytes(manifests: list[SealedManifest]) -> bytes:
    """``_SUCCESS`` as it is stored."""
    ordered = sorted(manifests, key=lambda sealed: sealed.plan_id)
    success = Success(schema_version=SCHEMA_VERSION, manifests=ordered)
    return readable_json(success.model_dump(mode="json"))


def _name(store: ObjectStore, sealed: SealedManifest, *, over_later: bool) -> None:
    for _ in range(_SWAPS):
        if _swap(store, sealed, over_later=over_later):
            return
    raise RetryableStoreError(f"{store.url}/{layout.SUCCESS_KEY} changes all the time; try again")


def _swap(store: ObjectStore, sealed: SealedManifest, *, over_later: bool) -> bool:
    """Compare and swap; False if something else was sealed in between."""
    try:
        data, version = store.get_versioned(layout.SUCCESS_KEY)
    except ObjectNotFoundError:
        return store.put_if_absent(layout.SUCCESS_KEY, success_bytes([sealed]))
    success = parse_success(f"{store.url}/{layout.SUCCESS_KEY}", data)
    named = success.of(sealed.plan_id)
    is_late = named is not None and named.version > sealed.version
    if named == sealed or (is_late and not over_later):
        return True
    others = [other for other in success.manifests if other is not named]
    return store.put_if_version(layout.SUCCESS_KEY, success_bytes([*others, sealed]), version)
