"""Garbage collection of objects to which nothing in a store can ever refer again.

An object is garbage only because of a fact that can never change:

- a unit object whose unit has a receipt that names another object: receipts are put
  once, and the first one wins;
- a list of dropped prompts whose plan exists and names another: plans are put once;
- a shard or ledger of a manifest version whose manifest exists and does not name it: manifests
  are put once too;
- the manifest, shards and ledger of a version whose removal is recorded (``npd prune``): these
  records are put once, and a removed version cannot become current again.

Any other unreferenced object is *pending*: a slow worker or publisher may still commit it, however
old it is. Collection is therefore safe beside running builds. It needs no locks and does not trust
clocks. The grace period only helps people who investigate a failure. Leftovers of a probe are the
exception: nothing ever refers to them, so only their age counts.

Files whose keys do not belong to this system are *unknown*: they are listed and never deleted.

A receipt is read only for a unit with several objects. A single object of a unit with a receipt is
assumed to be the one that the receipt names, because that one was put first. If it is not, the
named object was lost: ``verify`` finds this, and the other object is collected after the repair.
The cost of a million units is a listing, a bit each, and the receipts of units computed twice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby

from pipeline.core.errors import ObjectNotFoundError, VerificationError
from pipeline.storage.layout import Kind, ParsedKey, place_of
from pipeline.storage.object_store import ObjectInfo, ObjectStore
from pipeline.storage.plans import dropped_key_of, read_plan
from pipeline.storage.receipts import read_receipt
from pipeline.storage.versions import is_removed, read_version


class ReferenceStatus(StrEnum):
    """Status of an object to which nothing refers."""

    GARBAGE = "garbage"
    """Nothing can ever refer to the object again; it may be deleted."""
    PENDING = "pending"
    """A later commit may refer to the object; it is never deleted."""
    UNKNOWN = "unknown"
    """The key does not belong to this system; the object is never deleted."""


@dataclass(frozen=True, kw_only=True)
class UnreferencedObject:
    """Object to which nothing refers, with the reason."""

    key: str
    num_bytes: int
    modified: datetime
    reference: ReferenceStatus
    why: str


@dataclass(frozen=True, kw_only=True)
class Amount:
    """Number of objects and their total size."""

    objects: int
    num_bytes: int


def find_garbage(store: ObjectStore, *, older_than: datetime) -> Iterator[UnreferencedObject]:
    """Yield the garbage that was last written before ``older_than``, in no particular order."""
    return (
        each
        for each in find_unreferenced(store)
        if each.reference is ReferenceStatus.GARBAGE and each.modified < older_than
    )


def delete_garbage(store: ObjectStore, garbage: Iterable[UnreferencedObject]) -> Amount:
    """Delete the objects found by ``find_garbage``; safe beside builds and other collections."""
    return amount_of(_deleted(store, garbage))


def amount_of(unreferenced: Iterable[UnreferencedObject]) -> Amount:
    """Count objects and add up their bytes."""
    objects = num_bytes = 0
    for each in unreferenced:
        objects, num_bytes = objects + 1, num_bytes + each.num_bytes
    return Amount(objects=objects, num_bytes=num_bytes)


def _deleted(
    store: ObjectStore, garbage: Iterable[UnreferencedObject]
) -> Iterator[UnreferencedObject]:
    for each in garbage:
        assert each.reference is ReferenceStatus.GARBAGE, f"{each.key}: {each.why}"
        store.delete(each.key)
        yield each


def find_unreferenced(store: ObjectStore) -> Iterator[UnreferencedObject]:
    """Yield every object to which nothing refers, with its status and the reason."""
    done = _DoneUnits()
    # A listing is sorted by key, so objects of one unit or version come together, and the receipts
    # of a plan come before its units. Plans, disagreements, reports, heartbeats and `_SUCCESS` are
    # found by their keys and have no branch here.
    for place, group in groupby(store.list(""), key=lambda info: place_of(info.key)):
        if place is None:
            yield from _all(group, ReferenceStatus.UNKNOWN, "not a key of this system")
        elif place.kind is Kind.PROBE:
            yield from _all(group, ReferenceStatus.GARBAGE, "left by an interrupted probe")
        elif place.kind is Kind.REPAIR:
            yield from _all(group, ReferenceStatus.PENDING, "of a running or interrupted repair")
        elif place.kind is Kind.DROPPED:
            yield from _unreferenced_in_plan(store, place, group)
        elif place.kind in (Kind.SHARD, Kind.LEDGER, Kind.MANIFEST):
            yield from _unreferenced_in_version(store, place, group)
        elif place.kind is Kind.RECEIPT:
            done.add(place)
        elif place.kind is Kind.UNIT:
            yield from _unreferenced_in_unit(store, place, list(group), is_done=place in done)


def _unreferenced_in_plan(
    store: ObjectStore, place: ParsedKey, objects: Iterable[ObjectInfo]
) -> Iterator[UnreferencedObject]:
    try:
        named = dropped_key_of(read_plan(store, place.plan_id))
    except ObjectNotFoundError:
        yield from _all(objects, ReferenceStatus.PENDING, "its plan does not exist yet")
    except VerificationError:
        # After a repair, the plan may name any of them.
        yield from _all(objects, ReferenceStatus.PENDING, "its plan is damaged")
    else:
        yield from _all(
            (o for o in objects if o.key != named),
            ReferenceStatus.GARBAGE,
            "the plan names another",
        )


def _unreferenced_in_unit(
    store: ObjectStore, place: ParsedKey, objects: list[ObjectInfo], *, is_done: bool
) -> Iterator[UnreferencedObject]:
    # A single object of a done unit is the committed one, so its receipt need not be read.
    if len(objects) == 1:
        if not is_done:
            yield _unreferenced(objects[0], ReferenceStatus.PENDING, "its unit has no receipt yet")
        return
    assert place.unit is not None
    try:
        named = read_receipt(store, place.plan_id, place.unit).data_key
    except ObjectNotFoundError:
        yield from _all(objects, ReferenceStatus.PENDING, "its unit has no receipt yet")
    except VerificationError:
        # It may have named any of these objects, so none of them is garbage.
        yield from _all(objects, ReferenceStatus.PENDING, "the receipt of its unit is damaged")
    else:
        why = f"the receipt of unit {place.unit} names another object"
        yield from _all((o for o in objects if o.key != named), ReferenceStatus.GARBAGE, why)


def _unreferenced_in_version(
    store: ObjectStore, place: ParsedKey, objects: Iterable[ObjectInfo]
) -> Iterator[UnreferencedObject]:
    assert place.version is not None
    try:
        if is_removed(store, place.plan_id, place.version):
            why = f"version {place.version} was removed"
            yield from _all(objects, ReferenceStatus.GARBAGE, why)
            return
        # A manifest that is not removed is readable by its number, so it is in use.
        if place.kind is Kind.MANIFEST:
            return
        # A missing manifest proves nothing: its publisher writes it after shards and ledger.
        manifest = read_version(store, place.plan_id, place.version)
    except ObjectNotFoundError:
        yield from _all(objects, ReferenceStatus.PENDING, f"no manifest v{place.version} yet")
    except VerificationError:
        yield from _all(
            objects, ReferenceStatus.PENDING, f"manifest v{place.version} or _SUCCESS is damaged"
        )
    else:
        named = {file.key for file in manifest.files()}
        why = f"manifest v{place.version} does not name it"
        yield from _all((o for o in objects if o.key not in named), ReferenceStatus.GARBAGE, why)


_BLOCK_BITS = 2**16


class _DoneUnits:
    """Set of units that have a receipt, one bit each, in blocks because numbers may be large."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[str, int], bytearray] = {}

    def add(self, place: ParsedKey) -> None:
        assert place.unit is not None
        block, bit = divmod(place.unit, _BLOCK_BITS)
        bits = self._blocks.setdefault((place.plan_id, block), bytearray(_BLOCK_BITS // 8))
        bits[bit // 8] |= 1 << bit % 8

    def __contains__(self, place: ParsedKey) -> bool:
        assert place.unit is not None
        block, bit = divmod(place.unit, _BLOCK_BITS)
        bits = self._blocks.get((place.plan_id, block))
        return bits is not None and bool(bits[bit // 8] >> bit % 8 & 1)


def _all(
    objects: Iterable[ObjectInfo], reference: ReferenceStatus, why: str
) -> Iterator[UnreferencedObject]:
    return (_unreferenced(info, reference, why) for info in objects)


def _unreferenced(info: ObjectInfo, reference: ReferenceStatus, why: str) -> UnreferencedObject:
    return UnreferencedObject(
        key=info.key, num_bytes=info.num_bytes, modified=info.modified, reference=reference, why=why
    )
