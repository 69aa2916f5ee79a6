"""Receipts: a unit is done if and only if its receipt is in the store.

The data is stored before the receipt. The receipt is put if absent, so the first one wins. A
second worker reads the first receipt, and its data object becomes a harmless orphan. If it
computed another result, its receipt is stored as a disagreement.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum

import pyarrow as pa
from pydantic import Field, ValidationError

from pipeline.config.plan import Plan
from pipeline.core.errors import ObjectNotFoundError, VerificationError
from pipeline.core.fingerprint import Fingerprint
from pipeline.core.identity import sha256
from pipeline.core.records import Candidate, Outcome, Record, Status
from pipeline.core.validation import explain
from pipeline.storage import layout
from pipeline.storage.formats.arrow_shard import read_rows
from pipeline.storage.formats.checked_bytes import CheckedBytes, ShardInfo
from pipeline.storage.formats.pairs import UNREADABLE, NoisePair, PairSchema
from pipeline.storage.layout import Kind
from pipeline.storage.object_store import MAX_RECORD_BYTES, ObjectStore
from pipeline.storage.parallel import in_parallel


class Receipt(Record):
    """Outcome of every candidate of one unit, and the key of its stored pairs."""

    schema_version: int
    plan_id: str
    unit: int
    data_key: str
    data_sha256: str
    data_bytes: int
    """Size of the data object in bytes."""
    latent_shape: tuple[int, ...]
    """Shape of one noise, without the batch dimension."""
    outcomes: tuple[Outcome, ...]
    """Outcomes, one for each candidate, in the plan's order."""
    errors: dict[int, str] = Field(default_factory=dict)
    """Maps positions of failed candidates in the plan to their full error messages."""
    forward_evaluations: int
    """Number of network evaluations of one latent, summed over the unit's candidates."""
    fingerprint: Fingerprint
    attempt_id: str
    """Unique id of this attempt at the unit."""
    host: str
    started: str
    """Start time in UTC, ISO 8601."""
    compute_seconds: float
    """Seconds from the encoding of the first prompt to the last score."""

    @property
    def num_judged(self) -> int:
        """Number of candidates that were judged."""
        return sum(outcome.judged for outcome in self.outcomes)

    def count(self, status: Status) -> int:
        """Return the number of candidates with this status."""
        return sum(outcome.status is status for outcome in self.outcomes)

    def agrees(self, other: "Receipt") -> bool:
        """Return True if two attempts at one unit computed the same result."""
        return (self.data_sha256, self.outcomes) == (other.data_sha256, other.outcomes)

    def lists(self, candidates: Sequence[Candidate], plan: Plan) -> bool:
        """Return True if the outcomes are those of some candidates of a plan, in their order.

        Exactly the candidates must be judged that the plan judges.
        """
        return [
            (each.candidate, each.sample_id, each.split, each.judged) for each in self.outcomes
        ] == [
            (each.index, each.sample_id, each.split, plan.judges(each.sample_id))
            for each in candidates
        ]

    def in_shards(self) -> Iterator[Outcome]:
        """Return the outcomes of the pairs that are part of the data set, in the plan's order."""
        return (outcome for outcome in self.outcomes if outcome.in_shards)

    def stored(self) -> Iterator[Outcome]:
        """Return the outcomes of the data object's rows, in order; some may be rejected."""
        return (outcome for outcome in self.outcomes if outcome.num_bytes)


class Commit(StrEnum):
    """Result of an attempt to commit a unit. The unit is done in every case."""

    MINE = "mine"
    """This attempt's receipt is the one that counts."""
    EARLIER = "earlier"
    """The unit was done before this attempt began, so nothing was computed."""
    SAME = "same"
    """Another attempt was first and computed the same result."""
    DIFFERENT = "different"
    """Another attempt was first and computed another result: it is not deterministic."""


def commit_unit(store: ObjectStore, receipt: Receipt, data: bytes) -> Commit:
    """Commit a unit: store its data, then its receipt.

    If another attempt was first and computed another result, the receipt is stored as a
    disagreement. Raises ``VerificationError`` if the content-addressed data key holds other bytes.
    """
    # Data before receipt: a process killed in between leaves an orphan. In the other order it
    # would leave a committed unit without data.
    if not store.put_if_absent(receipt.data_key, data):
        raise VerificationError(
            f"{store.url}/{receipt.data_key}: damaged; remove it and build again"
        )
    key = layout.receipt_key(receipt.plan_id, receipt.unit)
    if store.put_if_absent(key, receipt.model_dump_json().encode()):
        return Commit.MINE
    # The put was refused. The receipt in the store decides what that means.
    first = read_receipt(store, receipt.plan_id, receipt.unit)
    # The attempt's earlier put took place, but its reply was lost.
    if first.attempt_id == receipt.attempt_id:
        return Commit.MINE
    if first.agrees(receipt):
        return Commit.SAME
    key = layout.disagreement_key(receipt.plan_id, receipt.unit, receipt.attempt_id)
    store.put_if_absent(key, receipt.model_dump_json().encode())
    return Commit.DIFFERENT


def read_receipt(store: ObjectStore, plan_id: str, unit: int) -> Receipt:
    """Read the receipt of one unit.

    Raises ``ObjectNotFoundError`` if the unit is not done, and ``VerificationError`` for a receipt
    that is damaged.
    """
    key = layout.receipt_key(plan_id, unit)
    data = store.get(key, MAX_RECORD_BYTES)
    try:
        receipt = Receipt.model_validate_json(data)
    except ValidationError as error:
        raise VerificationError(f"{store.url}/{key}: no receipt: {explain(error)}") from None
    if (receipt.plan_id, receipt.unit) != (plan_id, unit):
        raise VerificationError(f"{store.url}/{key}: the receipt of another unit")
    # The key contains the digest, so a receipt whose two fields were edited apart is found here.
    if receipt.data_key != layout.unit_key(plan_id, unit, receipt.data_sha256):
        raise VerificationError(
            f"{store.url}/{key}: names {receipt.data_key} with the digest {receipt.data_sha256}"
        )
    return receipt


def read_unit(
    store: ObjectStore, data_key: str, data_sha256: str, data_bytes: int, schema: PairSchema
) -> pa.Table:
    """Read the rows of a unit object; check its size, its digest and everything in it.

    Raises ``VerificationError``.
    """
    data, url = store.get(data_key, data_bytes), f"{store.url}/{data_key}"
    if sha256(data) != data_sha256:
        raise VerificationError(f"{url}: not the bytes that its receipt promises")
    info = ShardInfo(key=data_key, sha256=data_sha256, num_samples=0, num_bytes=len(data))
    try:
        return read_rows(CheckedBytes(data, info, None, url), schema)
    except UNREADABLE as error:
        raise VerificationError(f"{url}: cannot be read: {error}") from error


def read_pairs(store: ObjectStore, receipt: Receipt, plan: Plan) -> dict[str, NoisePair]:
    """Read the pairs of a unit object by sample id.

    Raises ``VerificationError`` if it does not hold the pairs that its receipt lists.
    """
    schema = PairSchema.of_plan(plan, receipt.latent_shape)
    rows = read_unit(store, receipt.data_key, receipt.data_sha256, receipt.data_bytes, schema)
    pairs = [pair for batch in rows.to_batches() for pair in schema.to_pairs(batch)]
    if [pair.sample_id for pair in pairs] != [each.sample_id for each in receipt.stored()]:
        raise VerificationError(f"{store.url}/{receipt.data_key}: not the pairs of its receipt")
    return {pair.sample_id: pair for pair in pairs}


def read_receipts(store: ObjectStore, plan_id: str, num_units: int) -> Iterator[Receipt]:
    """Yield all receipts of a plan in the order of the units. Later ones are read meanwhile.

    Raises ``ObjectNotFoundError`` at the first unit that is not done.
    """

    def read(unit: int) -> Receipt:
        try:
            return read_receipt(store, plan_id, unit)
        except ObjectNotFoundError:
            raise ObjectNotFoundError(
                f"{store.url}: unit {unit} of plan {plan_id} has no receipt; "
                "run the build again to finish it"
            ) from None

    return in_parallel(read, range(num_units), store.parallel_requests)


def disagreement_keys(store: ObjectStore, plan_id: str) -> Iterator[str]:
    """Return the keys of a plan's disagreements, by unit. Foreign files are ignored."""
    for info in store.list(layout.disagreements_prefix(plan_id)):
        place = layout.place_of(info.key)
        if place is not None and place.kind is Kind.DISAGREEMENT:
            yield info.key


def read_disagreement(store: ObjectStore, key: str) -> Receipt:
    """Read the receipt of a late attempt that computed another result.

    Raises ``VerificationError`` if it is damaged.
    """
    try:
        late = Receipt.model_validate_json(store.get(key, MAX_RECORD_BYTES))
    except ValidationError as error:
        raise VerificationError(f"{store.url}/{key}: no receipt: {explain(error)}") from None
    if layout.disagreement_key(late.plan_id, late.unit, late.attempt_id) != key:
        raise VerificationError(f"{store.url}/{key}: the receipt of another attempt")
    return late
