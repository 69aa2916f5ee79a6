"""What a data set consists of: the only thing that readers look at.

``_SUCCESS`` names the sealed manifests, one for each plan in the data set; a manifest names shards
and ledger. Both are a function of what was computed: no times, hosts or attempts.
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
    """One shard."""

    key: str
    sha256: str
    num_samples: int
    num_bytes: int
    """Size of the file."""
    pieces: Pieces | None = None
    """None where earlier versions sealed it: then ``sha256`` alone vouches for what is read."""


class LedgerInfo(Record):
    """The Parquet file of all candidates."""

    key: str
    sha256: str
    num_rows: int
    num_bytes: int
    """Size of the file."""


class Manifest(Record):
    """One plan's part of a data set."""

    schema_version: int
    plan_id: str
    version: int
    """From 1, which the build makes; shards and ledger lie under it."""
    selection: dict[str, float]
    """Margin of each reward that selects; those of the plan in version 1."""
    plan: Plan
    """The full configuration, with digests in place of paths."""
    fingerprints: list[Fingerprint]
    """Of all workers that computed a unit; more than one on a mixed cluster."""
    latent_shape: list[int]
    """Of one noise, without the batch dimension."""
    shards: dict[Split, dict[ShardFormat, list[ShardInfo]]]
    """In order. Shard i of every format of a split holds the same samples."""
    funnel: Funnel
    ledger: LedgerInfo

    def num_samples(self, split: Split) -> int:
        """Pairs in a split."""
        formats = self.shards[split].values()
        return sum(shard.num_samples for shard in next(iter(formats)))

    def files(self) -> Iterator[ShardInfo | LedgerInfo]:
        """Everything that this manifest names."""
        formats = (shards for split in self.shards.values() for shards in split.values())
        return chain(chain.from_iterable(formats), [self.ledger])


class SealedManifest(Record):
    """A line of ``_SUCCESS``."""

    plan_id: str
    key: str
    sha256: str
    selection: dict[str, float]
    """That of the manifest, which could be made again from it."""

    @property
    def version(self) -> int:
        """Of the manifest."""
        place = layout.place_of(self.key)
        assert place is not None and place.version is not None, f"{self.key} names a manifest"
        return place.version


class Success(Record):
    """The content of ``_SUCCESS``."""

    schema_version: int
    manifests: list[SealedManifest]
    """Sorted by plan id."""

    def of(self, plan_id: str) -> SealedManifest | None:
        """The sealed manifest of a plan, if there is one."""
        return next((sealed for sealed in self.manifests if sealed.plan_id == plan_id), None)


def read_success(store: ObjectStore) -> Success | None:
    """What is sealed in a store, or None before the first seal. Raises ``VerificationError``."""
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
    """What is sealed in a store, or the one plan of it that is named.

    Raises ``UserError`` where nothing is sealed or the plan is not, and ``VerificationError``.
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
    """A sealed manifest, checked against its digest. Raises ``VerificationError``."""
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
    """Return whether a manifest has the promised bytes, which no build can have written.

    Their digest then protects nothing, and what follows from the receipts can take their place.
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
    """Any version of a plan's manifest, also one that is not, or no longer, sealed.

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
    """Read a manifest that ``_SUCCESS`` does not name, and what ``_SUCCESS`` would say of it.

    No stored digest covers its bytes. It must agree with itself and with the identity of its plan
    (``structure.py``); it then names its files by their digests. Raises ``ObjectNotFoundError``
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
    """For each plan the highest version that is neither damaged nor removed."""
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
    """Return what a JSON object says of its version. Raises ``ValueError`` if it is none."""
    content = from_json(data)  # unlike json's, it survives any nesting
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
