"""Manifests: the list of files of a data set, from which readers start.

``_SUCCESS`` names the sealed manifests, one for each plan in the data set. A manifest names shards
and ledger. Both depend only on the computed results and contain no times, hosts or attempt ids.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import chain

from pydantic_core import from_json

from pipeline.errors import ObjectNotFoundError, UserError, VerificationError
from pipeline.fingerprint import Fingerprint
from pipeline.identity import sha256
from pipeline.plan import Plan
from pipeline.records import OLDEST_SCHEMA_VERSION, SCHEMA_VERSION, Record, Split
from pipeline.storage import layout
from pipeline.storage.funnel import Funnel
from pipeline.storage.layout import Kind, ShardFormat
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.pieces import Pieces
from pipeline.storage.structure import contradictions

_READABLE = range(OLDEST_SCHEMA_VERSION, SCHEMA_VERSION + 1)


class ShardInfo(Record):
    """Key, digest and size of one shard."""

    key: str
    sha256: str
    num_samples: int
    num_bytes: int
    """Size of the file in bytes."""
    pieces: Pieces | None = None
    """Digests of pieces; None in older data sets, whose reads are checked by ``sha256`` alone."""


class LedgerInfo(Record):
    """Key, digest and size of the ledger, the Parquet file of all candidates."""

    key: str
    sha256: str
    num_rows: int
    num_bytes: int
    """Size of the file in bytes."""


class Manifest(Record):
    """Files and provenance of one plan in a data set."""

    schema_version: int
    plan_id: str
    version: int
    """Version number, from 1 (the build's); part of the keys of shards and ledger."""
    selection: dict[str, float]
    """Maps each selecting reward to its margin; version 1 has the margins of the plan."""
    plan: Plan
    """Full configuration, with digests in place of paths."""
    fingerprints: list[Fingerprint]
    """Fingerprints of all workers that computed a unit; several on a mixed cluster."""
    latent_shape: list[int]
    """Shape of one noise, without the batch dimension."""
    shards: dict[Split, dict[ShardFormat, list[ShardInfo]]]
    """Shards in order. Shard i of every format of a split holds the same samples."""
    funnel: Funnel
    ledger: LedgerInfo

    def num_samples(self, split: Split) -> int:
        """Return the number of pairs in a split."""
        formats = self.shards[split].values()
        return sum(shard.num_samples for shard in next(iter(formats)))

    def files(self) -> Iterator[ShardInfo | LedgerInfo]:
        """Return all files that this manifest names: shards and ledger."""
        formats = (shards for split in self.shards.values() for shards in split.values())
        return chain(chain.from_iterable(formats), [self.ledger])


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
        data = store.get(layout.SUCCESS_KEY)
    except ObjectNotFoundError:
        return None
    return parse_success(f"{store.url}/{layout.SUCCESS_KEY}", data)


def parse_success(where: str, data: bytes) -> Success:
    """Parse the content of ``_SUCCESS``. Raises ``VerificationError``."""
    try:
        version = _schema_version(data)
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise VerificationError(_other_version(where, version))
        success = Success.model_validate_json(data)
    except ValueError as error:  # also pydantic's
        raise VerificationError(f"{where}: {error}") from None
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


def sealed_plans(store: ObjectStore, plan_id: str | None = None) -> list[SealedManifest]:
    """Return the sealed manifests of a store, or only that of the given plan.

    Raises ``UserError`` if nothing, or not this plan, is sealed. Raises ``VerificationError``
    for a damaged ``_SUCCESS``.
    """
    success = read_success(store)
    if success is None or not success.manifests:
        raise UserError(f"{store.url}: nothing is sealed here; finish it with `npd build`")
    if plan_id is None:
        return success.manifests
    sealed = success.of(plan_id)
    if sealed is None:
        names = ", ".join(each.plan_id for each in success.manifests)
        raise UserError(f"{store.url}: no plan {plan_id!r} is sealed here; there are {names}")
    return [sealed]


def read_manifest(store: ObjectStore, sealed: SealedManifest) -> Manifest:
    """Read a sealed manifest and check its digest. Raises ``VerificationError``."""
    try:
        data = store.get(sealed.key)
    except ObjectNotFoundError:
        raise VerificationError(
            f"{store.url}/{sealed.key}: {layout.SUCCESS_KEY} names it, and it is not there"
        ) from None
    remedy = "; `npd repair` makes it again from the receipts"
    manifest = _checked_manifest(store, sealed, data, remedy)
    if manifest.selection != sealed.selection:
        raise VerificationError(
            f"{store.url}/{sealed.key}: its selection is not that in {layout.SUCCESS_KEY}; "
            "`npd repair` repairs it"
        )
    return manifest


def contradicts_itself(store: ObjectStore, sealed: SealedManifest) -> bool:
    """Return True if a manifest has the promised bytes but contradicts itself.

    No build can have written such a manifest. Its digest then protects nothing, and a manifest
    rebuilt from the receipts may replace it.
    """
    try:
        data = store.get(sealed.key)
    except ObjectNotFoundError:
        return False
    if sha256(data) != sealed.sha256:
        return False
    try:
        manifest = _parse_manifest(sealed.key, data)
    except VerificationError:
        return False
    return any(contradictions(manifest))


def read_version(store: ObjectStore, plan_id: str, version: int) -> Manifest:
    """Read any version of a plan's manifest, including unsealed and superseded ones.

    Raises ``ObjectNotFoundError``, and ``VerificationError`` for one that is damaged.
    """
    success = read_success(store)
    sealed = success.of(plan_id) if success else None
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
    data = store.get(key)
    itself = SealedManifest(plan_id=plan_id, key=key, sha256=sha256(data), selection={})
    manifest = _checked_manifest(store, itself, data)
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


def _checked_manifest(
    store: ObjectStore, sealed: SealedManifest, data: bytes, remedy: str = ""
) -> Manifest:
    where = f"{store.url}/{sealed.key}"
    if sha256(data) != sealed.sha256:
        raise VerificationError(f"{where}: not the bytes that {layout.SUCCESS_KEY} promises")
    manifest = _parse_manifest(where, data)
    if layout.manifest_key(manifest.plan_id, manifest.version) != sealed.key:
        raise VerificationError(f"{where}: the manifest of another plan or version")
    if wrong := next(contradictions(manifest), None):
        raise VerificationError(f"{where}: damaged: {wrong}{remedy}")
    return manifest


def _parse_manifest(where: str, data: bytes) -> Manifest:
    try:
        version = _schema_version(data)
        if not isinstance(version, int) or version not in _READABLE:
            raise VerificationError(_other_version(where, version))
        return Manifest.model_validate_json(data)
    except ValueError as error:  # also pydantic's
        raise VerificationError(f"{where}: no manifest: {error}") from None


def _schema_version(data: bytes) -> object:
    """Return ``schema_version`` of a JSON object. Raises ``ValueError`` for other JSON."""
    content = from_json(data)  # unlike ``json.loads``, it survives any nesting
    if not isinstance(content, dict):
        raise ValueError(f"a JSON object is expected, not {type(content).__name__}")
    return content.get("schema_version")


def _other_version(where: str, version: object) -> str:
    is_newer = isinstance(version, int) and version > SCHEMA_VERSION
    remedy = "upgrade noise-prompt-dataset" if is_newer else "read it with the one that wrote it"
    return (
        f"{where}: written with schema_version {version}, this reads {OLDEST_SCHEMA_VERSION} to "
        f"{SCHEMA_VERSION}; {remedy}"
    )
