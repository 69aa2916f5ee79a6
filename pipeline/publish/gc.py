"""Garbage: what nothing in a store can ever refer to again.

An object is garbage only by a fact that can never change:

- a unit object whose unit has a receipt, and the receipt names another object: receipts are put
  once, and the first one wins;
- a list of dropped prompts whose plan is there and names another: plans are put once;
- a shard or ledger of a manifest version whose manifest is there and does not name it: manifests
  are put once too;
- the manifest, shards and ledger of a version whose removal is recorded (``npd prune``): these
  records are put once, and a removed version cannot become current again.

What is not named for another reason is *pending*: a slow worker or publisher may still commit it,
however old it is. So collection is safe beside running builds, without locks and without trust in
clocks; a grace period is a courtesy to people who look for the reason of a failure. A probe's
leftover alone is judged by its age, since nothing ever refers to one.

Files whose keys are not ours are *unknown*: they are listed and never deleted.

A receipt is read only for a unit with several objects. A lone object of a unit with a receipt is
taken for the one that the receipt names, because that one was put first: where it is not, the named
one was lost, which ``verify`` finds, and the lone one is collected after the repair. So a million
units cost a listing, a bit each, and the receipts of those that were computed twice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby

from pipeline.errors import ObjectNotFoundError, VerificationError
from pipeline.storage.layout import Kind, ParsedKey, place_of
from pipeline.storage.manifest import read_version
from pipeline.storage.object_store import ObjectInfo, ObjectStore
from pipeline.storage.plans import dropped_key_of, read_plan
from pipeline.storage.receipts import read_receipt
from pipeline.storage.versions import is_removed


class ReferenceStatus(StrEnum):
    """What may become of an object to which nothing refers."""

    GARBAGE = "garbage"
    """Nothing can ever refer to it again: it may be deleted."""
    PENDING = "pending"
    """Something may still: it is never deleted."""
    UNKNOWN = "unknown"
    """Its key is none of this system's: it is never deleted."""


@dataclass(frozen=True, kw_only=True)
class UnreferencedObject:
    """An object to which nothing refers."""

    key: str
    num_bytes: int
    modified: datetime
    standing: ReferenceStatus
    why: str


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much of something."""

    objects: int
    num_bytes: int


def find_garbage(store: ObjectStore, *, older_than: datetime) -> Iterator[UnreferencedObject]:
    """The garbage that was last written before ``older_than``, in no order that matters."""
    return (
        stray
        for stray in find_strays(store)
        if stray.standing is ReferenceStatus.GARBAGE and stray.modified < older_than
    )


def delete_garbage(store: ObjectStore, garbage: Iterable[UnreferencedObject]) -> Amount:
    """Delete what ``find_garbage`` found; safe beside running builds and other collections."""
    return amount_of(_deleted(store, garbage))


def amount_of(strays: Iterable[UnreferencedObject]) -> Amount:
    """Count objects and add up their bytes."""
    objects = num_bytes = 0
    for stray in strays:
        objects, num_bytes = objects + 1, num_bytes + stray.num_bytes
    return Amount(objects=objects, num_bytes=num_bytes)


def _deleted(
    store: ObjectStore, garbage: Iterable[UnreferencedObject]
) -> Iterator[UnreferencedObject]:
    for stray in garbage:
        assert stray.standing is ReferenceStatus.GARBAGE, f"{stray.key}: {stray.why}"
        store.delete(stray.key)
        yield stray


def find_strays(store: ObjectStore) -> Iterator[UnreferencedObject]:
    """Every object to which nothing refers, with what may become of it."""
    done = _DoneUnits()
    for place, group in groupby(store.list(""), key=lambda info: place_of(info.key)):
        if place is None:
            yield from _all(group, ReferenceStatus.UNKNOWN, "no key of this system")
        elif place.kind is Kind.PROBE:
            yield from _all(group, ReferenceStatus.GARBAGE, "left by a probe that broke off")
        elif place.kind is Kind.REPAIR:
            yield from _all(group, ReferenceStatus.PENDING, "of a repair that runs or broke off")
        elif place.kind is Kind.DROPPED:
            yield from _strays_of_plan(store, place, group)
        elif place.kind in (Kind.SHARD, Kind.LEDGER, Kind.MANIFEST):
            yield from _strays_of_version(store, place, group)
        elif place.kind is Kind.RECEIPT:
            done.add(place)  # keys come sorted: receipts before units
        elif place.kind is Kind.UNIT:
            yield from _strays_of_unit(store, place, list(group), is_done=place in done)


def _strays_of_plan(
    store: ObjectStore, place: ParsedKey, objects: Iterable[ObjectInfo]
) -> Iterator[UnreferencedObject]:
    try:
        named = dropped_key_of(read_plan(store, place.plan_id))
    except ObjectNotFoundError:
        yield from _all(objects, ReferenceStatus.PENDING, "its plan is not there yet")
    except VerificationError:
        yield from _all(objects, ReferenceStatus.PENDING, "its plan is damaged")
    else:
        yield from _all(
            (o for o in objects if o.key != named),
            ReferenceStatus.GARBAGE,
            "the plan names another",
        )


def _strays_of_unit(
    store: ObjectStore, place: ParsedKey, objects: list[ObjectInfo], *, is_done: bool
) -> Iterator[UnreferencedObject]:
    if len(objects) == 1:
        if not is_done:
            yield _stray(objects[0], ReferenceStatus.PENDING, "its unit has no receipt yet")
        return
    assert place.unit is not None
    try:
        named = read_receipt(store, place.plan_id, place.unit).data_key
    except ObjectNotFoundError:
        yield from _all(objects, ReferenceStatus.PENDING, "its unit has no receipt yet")
    except VerificationError:
        yield from _all(objects, ReferenceStatus.PENDING, "the receipt of its unit is damaged")
    else:
        why = f"the receipt of unit {place.unit} names another object"
        yield from _all((o for o in objects if o.key != named), ReferenceStatus.GARBAGE, why)


def _strays_of_version(
    store: ObjectStore, place: ParsedKey, objects: Iterable[ObjectInfo]
) -> Iterator[UnreferencedObject]:
    assert place.version is not None
    try:
        if is_removed(store, place.plan_id, place.version):
            why = f"version {place.version} was removed"
            yield from _all(objects, ReferenceStatus.GARBAGE, why)
            return
        if place.kind is Kind.MANIFEST:
            return
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
    """The units that have a receipt: a bit each, in blocks, since a number may be any."""

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
    objects: Iterable[ObjectInfo], standing: ReferenceStatus, why: str
) -> Iterator[UnreferencedObject]:
    return (_stray(info, standing, why) for info in objects)


def _stray(info: ObjectInfo, standing: ReferenceStatus, why: str) -> UnreferencedObject:
    return UnreferencedObject(
        key=info.key, num_bytes=info.num_bytes, modified=info.modified, standing=standing, why=why
    )
