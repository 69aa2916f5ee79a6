"""Publication of a manifest: put if absent, then named in ``_SUCCESS`` by compare and swap."""

from pipeline.errors import ObjectNotFoundError, RetryableStoreError, VerificationError
from pipeline.identity import readable_json, sha256
from pipeline.records import SCHEMA_VERSION
from pipeline.storage import layout
from pipeline.storage.manifest import Manifest, SealedManifest, Success, parse_success
from pipeline.storage.object_store import ObjectStore

_SWAPS = 20
"""Number of compare-and-swap tries while other plans are sealed at the same time."""


def seal_manifest(store: ObjectStore, manifest: Manifest) -> SealedManifest:
    """Store a plan's manifest and name it in ``_SUCCESS``, which makes it visible to readers.

    If ``_SUCCESS`` already names a later version, that one stays, so a build that ends late does
    not undo a selection. Raises ``VerificationError`` if the store has another manifest of this
    plan and version, which means that two builds of one plan computed different results.
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
    """Store a manifest version; return None if the store has another one under its key."""
    sealed = sealed_as(manifest)
    return sealed if store.put_if_absent(sealed.key, manifest_bytes(manifest)) else None


def sealed_as(manifest: Manifest) -> SealedManifest:
    """Return the entry of ``_SUCCESS`` for a manifest."""
    return SealedManifest(
        plan_id=manifest.plan_id,
        key=layout.manifest_key(manifest.plan_id, manifest.version),
        sha256=sha256(manifest_bytes(manifest)),
        selection=manifest.selection,
    )


def manifest_bytes(manifest: Manifest) -> bytes:
    """Serialize a manifest for storage."""
    return readable_json(manifest.model_dump(mode="json"))


def name_in_success(store: ObjectStore, sealed: SealedManifest) -> None:
    """Make a stored version the current one, even if a later version is current now."""
    _name(store, sealed, over_later=True)


def success_bytes(manifests: list[SealedManifest]) -> bytes:
    """Serialize ``_SUCCESS`` for storage."""
    ordered = sorted(manifests, key=lambda sealed: sealed.plan_id)
    success = Success(schema_version=SCHEMA_VERSION, manifests=ordered)
    return readable_json(success.model_dump(mode="json"))


def _name(store: ObjectStore, sealed: SealedManifest, *, over_later: bool) -> None:
    for _ in range(_SWAPS):
        if _swap(store, sealed, over_later=over_later):
            return
    raise RetryableStoreError(f"{store.url}/{layout.SUCCESS_KEY} keeps changing; try again")


def _swap(store: ObjectStore, sealed: SealedManifest, *, over_later: bool) -> bool:
    """Update ``_SUCCESS`` once; return False if another writer changed it in between."""
    try:
        data, version = store.get_versioned(layout.SUCCESS_KEY)
    except ObjectNotFoundError:
        return store.put_if_absent(layout.SUCCESS_KEY, success_bytes([sealed]))
    success = parse_success(f"{store.url}/{layout.SUCCESS_KEY}", data)
    named = success.of(sealed.plan_id)
    is_late = named is not None and named.version > sealed.version
    if named == sealed or (is_late and not over_later):
        return True
    # The entries of other plans are kept: several plans share one data set.
    others = [other for other in success.manifests if other is not named]
    return store.put_if_version(layout.SUCCESS_KEY, success_bytes([*others, sealed]), version)
