"""``_SUCCESS``: the sealed manifest of each plan of a data set, from which readers start.

A manifest is put if absent. ``_SUCCESS`` then names it by compare and swap, because several plans
can share a data set.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from pipeline.core.errors import (
    ObjectNotFoundError,
    RetryableStoreError,
    UserError,
    VerificationError,
)
from pipeline.core.identity import readable_json, sha256
from pipeline.core.records import NEWEST_SCHEMA_VERSION, SCHEMA_VERSION, Record
from pipeline.core.validation import explain
from pipeline.storage import layout
from pipeline.storage.layout import Kind
from pipeline.storage.manifest import (
    Manifest,
    contradictions,
    manifest_bytes,
    other_version,
    parse_manifest,
    stored_schema_version,
)
from pipeline.storage.object_store import MAX_RECORD_BYTES, MAX_TABLE_BYTES, ObjectStore

_SWAPS = 20
"""Number of compare-and-swap tries while other plans are sealed at the same time."""


class SealedManifest(Record):
    """Entry of ``_SUCCESS`` for one manifest."""

    plan_id: str
    key: str
    sha256: str
    selection: dict[str, float]
    """Margins of the manifest, repeated here so that a damaged manifest can be rebuilt."""

    @property
    def version(self) -> int:
        """Version number of the manifest."""
        place = layout.place_of(self.key)
        assert place is not None and place.version is not None, f"{self.key} names a manifest"
        return place.version


class Success(Record):
    """Content of ``_SUCCESS``."""

    schema_version: int
    manifests: list[SealedManifest]
    """Entries sorted by plan id."""

    def of(self, plan_id: str) -> SealedManifest | None:
        """Return the sealed manifest of a plan, or None."""
        return next((sealed for sealed in self.manifests if sealed.plan_id == plan_id), None)


def read_success(store: ObjectStore) -> Success | None:
    """Read ``_SUCCESS``, or return None before the first seal. Raises ``VerificationError``."""
    try:
        data = store.get(layout.SUCCESS_KEY, MAX_RECORD_BYTES)
    except ObjectNotFoundError:
        return None
    return parse_success(f"{store.url}/{layout.SUCCESS_KEY}", data)


def find_sealed(store: ObjectStore, plan_id: str) -> SealedManifest | None:
    """Return the sealed manifest of a plan, or None. Raises ``VerificationError``."""
    success = read_success(store)
    return success.of(plan_id) if success else None


def parse_success(where: str, data: bytes) -> Success:
    """Parse the content of ``_SUCCESS``. Raises ``VerificationError``."""
    try:
        # Before the content: a newer version may have other fields, and the error should name the
        # version and not a field.
        version = stored_schema_version(data)
        if isinstance(version, int) and version > NEWEST_SCHEMA_VERSION:
            raise VerificationError(other_version(where, version))
        success = Success.model_validate_json(data)
    except ValueError as error:  # also pydantic's
        raise VerificationError(f"{where}: {explain(error)}") from None
    if not success.manifests:
        raise VerificationError(f"{where}: names no manifest; `npd repair` repairs it")
    for plan_id, count in Counter(sealed.plan_id for sealed in success.manifests).items():
        if count > 1:
            raise VerificationError(f"{where}: names plan {plan_id} twice; `npd repair` repairs it")
    for sealed in success.manifests:
        place = layout.place_of(sealed.key)
        if place is None or (place.kind, place.plan_id) != (Kind.MANIFEST, sealed.plan_id):
            raise VerificationError(f"{where}: {sealed.key} is no manifest of its plan")
    return success


def nothing_sealed(store: ObjectStore) -> UserError:
    """Return the error for a store in which nothing is sealed."""
    return UserError(f"{store.url}: nothing is sealed here; finish it with `npd build`")


def sealed_plans(store: ObjectStore, plan_id: str | None = None) -> list[SealedManifest]:
    """Return the sealed manifests of a store, or only that of the given plan.

    Raises ``UserError`` if nothing, or not this plan, is sealed. Raises ``VerificationError``
    for a damaged ``_SUCCESS``.
    """
    success = read_success(store)
    if success is None:
        raise nothing_sealed(store)
    return of_plan(store, success.manifests, plan_id)


def sealed_plan(store: ObjectStore, plan_id: str | None = None) -> SealedManifest:
    """Return the sealed manifest of the given plan, or of the only plan of a store.

    Raises as ``sealed_plans`` does, and ``UserError`` if there are several plans to choose from.
    """
    sealed = sealed_plans(store, plan_id)
    if len(sealed) > 1:
        raise UserError(f"{store.url} holds several plans; name one with --plan: {_ids(sealed)}")
    return sealed[0]


def of_plan(
    store: ObjectStore, sealed: Sequence[SealedManifest], plan_id: str | None
) -> list[SealedManifest]:
    """Return the entry of the given plan, or all. Raises ``UserError`` for an unknown plan."""
    found = [each for each in sealed if plan_id is None or each.plan_id == plan_id]
    if plan_id is not None and not found:
        raise UserError(
            f"{store.url}: no plan {plan_id!r} is sealed here; there are {_ids(sealed)}"
        )
    return found


def _ids(sealed: Iterable[SealedManifest]) -> str:
    return ", ".join(each.plan_id for each in sealed)


def read_manifest(store: ObjectStore, sealed: SealedManifest) -> Manifest:
    """Read a sealed manifest and check its digest. Raises ``VerificationError``."""
    try:
        data = store.get(sealed.key, MAX_TABLE_BYTES)
    except ObjectNotFoundError:
        raise VerificationError(
            f"{store.url}/{sealed.key}: {layout.SUCCESS_KEY} names it, and it is not there"
        ) from None
    remedy = "; `npd repair` makes it again from the receipts"
    manifest = checked_manifest(store, sealed, data, remedy)
    # A repair of the manifest would use the margins of the entry, so the two must be equal.
    if manifest.selection != sealed.selection:
        raise VerificationError(
            f"{store.url}/{sealed.key}: its selection is not that in {layout.SUCCESS_KEY}; "
            "`npd repair` repairs it"
        )
    return manifest


def sealed_manifests(store: ObjectStore) -> list[tuple[SealedManifest, Manifest]]:
    """Return the current manifest of every sealed plan, with its entry in ``_SUCCESS``.

    Raises as ``sealed_plans`` and ``read_manifest`` do.
    """
    return [(sealed, read_manifest(store, sealed)) for sealed in sealed_plans(store)]


def contradicts_itself(store: ObjectStore, sealed: SealedManifest) -> bool:
    """Return True if a manifest has the promised bytes but contradicts itself.

    No build can have written such a manifest. Its digest then protects nothing, and a manifest
    rebuilt from the receipts may replace it.
    """
    try:
        data = store.get(sealed.key, MAX_TABLE_BYTES)
    except (ObjectNotFoundError, VerificationError):
        return False
    # Other bytes are ordinary damage, which the digest detects and `npd repair` repairs.
    if sha256(data) != sealed.sha256:
        return False
    try:
        manifest = parse_manifest(sealed.key, data)
    except VerificationError:
        return False
    return any(contradictions(manifest))


def checked_manifest(
    store: ObjectStore, sealed: SealedManifest, data: bytes, remedy: str = ""
) -> Manifest:
    """Parse a manifest and check its digest, key and consistency.

    Raises ``VerificationError``, with ``remedy`` for a manifest that contradicts itself.
    """
    where = f"{store.url}/{sealed.key}"
    if sha256(data) != sealed.sha256:
        raise VerificationError(f"{where}: not the bytes that {layout.SUCCESS_KEY} promises")
    manifest = parse_manifest(where, data)
    if layout.manifest_key(manifest.plan_id, manifest.version) != sealed.key:
        raise VerificationError(f"{where}: the manifest of another plan or version")
    if wrong := next(contradictions(manifest), None):
        raise VerificationError(f"{where}: damaged: {wrong}{remedy}")
    return manifest


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
    data = manifest_bytes(manifest)
    sealed = _entry(manifest, data)
    return sealed if store.put_if_absent(sealed.key, data) else None


def sealed_as(manifest: Manifest) -> SealedManifest:
    """Return the entry of ``_SUCCESS`` for a manifest."""
    return _entry(manifest, manifest_bytes(manifest))


def _entry(manifest: Manifest, data: bytes) -> SealedManifest:
    return SealedManifest(
        plan_id=manifest.plan_id,
        key=layout.manifest_key(manifest.plan_id, manifest.version),
        sha256=sha256(data),
        selection=manifest.selection,
    )


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
        # If another plan is sealed first, this put is refused, and the next try adds to its file.
        return store.put_if_absent(layout.SUCCESS_KEY, success_bytes([sealed]))
    success = parse_success(f"{store.url}/{layout.SUCCESS_KEY}", data)
    named = success.of(sealed.plan_id)
    is_late = named is not None and named.version > sealed.version
    # Sealing again writes nothing, so that it is harmless beside other writers.
    if named == sealed or (is_late and not over_later):
        return True
    # The entries of other plans are kept: several plans share one data set.
    others = [other for other in success.manifests if other is not named]
    return store.put_if_version(layout.SUCCESS_KEY, success_bytes([*others, sealed]), version)
