"""Receipts: a unit is done when, and only when, its receipt is in the store.

The order is data, then receipt. The receipt is put only where none is, so the first one wins; a
worker that comes second finds out by reading, and its data object is an orphan, which is harmless.
Where it computed something else than the first, its receipt is kept beside, as a disagreement.
"""

from collections.abc import Iterator
from enum import StrEnum

from pydantic import Field, ValidationError

from pipeline.errors import ObjectNotFoundError, VerificationError
from pipeline.fingerprint import Fingerprint
from pipeline.records import Outcome, Record, Status
from pipeline.storage import layout
from pipeline.storage.layout import Kind
from pipeline.storage.object_store import ObjectStore


class Receipt(Record):
    """What became of every candidate of one unit, and where the kept pairs are."""

    schema_version: int
    plan_id: str
    unit: int
    data_key: str
    data_sha256: str
    data_bytes: int
    """Size of the data object."""
    latent_shape: tuple[int, ...]
    """Of one noise, without the batch dimension."""
    outcomes: tuple[Outcome, ...]
    """One for each candidate, in the plan's order."""
    errors: dict[int, str] = Field(default_factory=dict)
    """Why candidates (by position in the plan) could not be computed, in full."""
    forward_evaluations: int
    """Network evaluations of one latent, summed over the unit's candidates."""
    fingerprint: Fingerprint
    attempt_id: str
    """Tells one attempt at this unit from another."""
    host: str
    started: str
    """UTC, ISO 8601."""
    compute_seconds: float
    """From the first prompt encoded to the last score."""

    def count(self, status: Status) -> int:
        """Candidates with this status."""
        return sum(outcome.status is status for outcome in self.outcomes)

    def agrees(self, other: "Receipt") -> bool:
        """Whether two attempts at one unit computed the same."""
        return (self.data_sha256, self.outcomes) == (other.data_sha256, other.outcomes)

    def kept(self) -> Iterator[Outcome]:
        """Outcomes of the kept pairs, in the plan's order."""
        return (outcome for outcome in self.outcomes if outcome.status is Status.KEPT)

    def stored(self) -> Iterator[Outcome]:
        """Outcomes of the rows of the data object, in their order; some may not be kept."""
        return (outcome for outcome in self.outcomes if outcome.num_bytes)


class Commit(StrEnum):
    """How an attempt to commit a unit ended. The unit is done in every case."""

    MINE = "mine"
    """This attempt's receipt is the one that counts."""
    SAME = "same"
    """Another attempt was first and computed the same."""
    DIFFERENT = "different"
    """Another attempt was first and computed something else: it is not deterministic."""


def commit_unit(store: ObjectStore, receipt: Receipt, data: bytes) -> Commit:
    """Store a unit's data, then its receipt; or, if another attempt was first and computed
    something else, the receipt as a disagreement.

    Raises ``VerificationError`` where other bytes stand under the name of the data's content.
    """
    if not store.put_if_absent(receipt.data_key, data):
        raise VerificationError(
            f"{store.url}/{receipt.data_key}: damaged; remove it and build again"
        )
    key = layout.receipt_key(receipt.plan_id, receipt.unit)
    if store.put_if_absent(key, receipt.model_dump_json().encode()):
        return Commit.MINE
    first = read_receipt(store, receipt.plan_id, receipt.unit)
    if first.attempt_id == receipt.attempt_id:
        return Commit.MINE
    if first.agrees(receipt):
        return Commit.SAME
    key = layout.disagreement_key(receipt.plan_id, receipt.unit, receipt.attempt_id)
    store.put_if_absent(key, receipt.model_dump_json().encode())
    return Commit.DIFFERENT


def read_receipt(store: ObjectStore, plan_id: str, unit: int) -> Receipt:
    """One unit's receipt.

    Raises ``ObjectNotFoundError`` if the unit is not done, and ``VerificationError`` for a receipt
    that is damaged.
    """
    key = layout.receipt_key(plan_id, unit)
    data = store.get(key)
    try:
        receipt = Receipt.model_validate_json(data)
    except ValidationError as error:
        raise VerificationError(f"{store.url}/{key}: no receipt: {error}") from None
    if (receipt.plan_id, receipt.unit) != (plan_id, unit):
        raise VerificationError(f"{store.url}/{key}: the receipt of another unit")
    if receipt.data_key != layout.unit_key(plan_id, unit, receipt.data_sha256):
        raise VerificationError(
            f"{store.url}/{key}: names {receipt.data_key} with the digest {receipt.data_sha256}"
        )
    return receipt


def read_receipts(store: ObjectStore, plan_id: str, num_units: int) -> Iterator[Receipt]:
    """All receipts of a plan in the order of the units.

    Raises ``ObjectNotFoundError`` at the first unit that is not done.
    """
    for unit in range(num_units):
        try:
            yield read_receipt(store, plan_id, unit)
        except ObjectNotFoundError:
            raise ObjectNotFoundError(
                f"{store.url}: unit {unit} of plan {plan_id} has no receipt; "
                "run the build again to finish it"
            ) from None


def disagreement_keys(store: ObjectStore, plan_id: str) -> Iterator[str]:
    """Return the keys of a plan's disagreements, by unit. Foreign files are ignored."""
    for info in store.list(layout.disagreements_prefix(plan_id)):
        place = layout.place_of(info.key)
        if place is not None and place.kind is Kind.DISAGREEMENT:
            yield info.key


def read_disagreement(store: ObjectStore, key: str) -> Receipt:
    """Read the receipt of an attempt that came second and computed something else.

    Raises ``VerificationError`` if it is damaged.
    """
    try:
        late = Receipt.model_validate_json(store.get(key))
    except ValidationError as error:
        raise VerificationError(f"{store.url}/{key}: no receipt: {error}") from None
    if layout.disagreement_key(late.plan_id, late.unit, late.attempt_id) != key:
        raise VerificationError(f"{store.url}/{key}: the receipt of another attempt")
    return late


def done_units(store: ObjectStore, plan_id: str, num_units: int) -> Iterator[int]:
    """Return the numbers of the units that have a receipt, in the order of their keys.

    Foreign files and units beyond the plan's ``num_units`` are ignored.
    """
    for info in store.list(layout.receipts_prefix(plan_id)):
        place = layout.place_of(info.key)
        if place is None or place.kind is not Kind.RECEIPT or place.unit is None:
            continue
        if place.unit < num_units:
            yield place.unit
