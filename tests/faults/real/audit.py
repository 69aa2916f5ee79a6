"""Reads the store behind everybody's back and compares: nothing lost, nothing twice, same bytes."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.identity import sha256
from pipeline.publish.verify import verify
from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore
from tests.faults.real.gate import Seen

_SEALED = ("shards/", "ledgers/", "manifests/", layout.SUCCESS_KEY)


@dataclass(frozen=True)
class Sealed:
    """What a sealed build consists of."""

    digests: dict[str, str]
    """Of every sealed object, by key."""
    pairs: Counter[str]
    """How often each sample lies in the Arrow shards."""


def read_sealed(store: ObjectStore) -> Sealed:
    """All sealed objects, found by listing and not by manifest."""
    objects = {
        info.key: store.get(info.key) for info in store.list("") if info.key.startswith(_SEALED)
    }
    pairs = Counter(
        sample_id
        for key, data in objects.items()
        if key.startswith("shards/") and key.endswith(".arrow")
        for sample_id in pa.ipc.open_file(io.BytesIO(data)).read_all()["sample_id"].to_pylist()
    )
    return Sealed({key: sha256(data) for key, data in objects.items()}, pairs)


@dataclass
class Account:
    """What was found wrong with one build; each entry names a key or a sample."""

    lost: list[str] = field(default_factory=list)
    """Receipts that were there once, and pairs that the undisturbed build has."""
    duplicated: list[str] = field(default_factory=list)
    """Pairs that lie in the shards twice, or that the undisturbed build does not have."""
    changed: list[str] = field(default_factory=list)
    """Receipts that do not read as they once did."""
    different: list[str] = field(default_factory=list)
    """Sealed objects that are not, byte for byte, those of the undisturbed build."""
    unverified: list[str] = field(default_factory=list)
    """What ``npd verify`` finds wrong."""

    def problems(self) -> Iterator[str]:
        """All entries, each with its kind."""
        for kind, entries in vars(self).items():
            for entry in entries:
                yield f"{kind}: {entry}"


class Accountant:
    """Watches one build's store, past the gate."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._receipts: dict[str, str] = {}
        self._account = Account()

    def committed(self) -> set[int]:
        """Units that have a receipt now. Compares with all receipts that were ever seen."""
        now = {
            info.key: sha256(self._store.get(info.key)) for info in self._store.list("receipts/")
        }
        for key, digest in self._receipts.items():
            if key not in now:
                self._account.lost.append(key)
            elif now[key] != digest:
                self._account.changed.append(key)
        self._receipts |= now
        places = map(layout.place_of, now)
        return {place.unit for place in places if place and place.unit is not None}

    def close(self, undisturbed: Sealed) -> Account:
        """The account of a build that has ended well."""
        self.committed()
        sealed, account = read_sealed(self._store), self._account
        account.lost += (undisturbed.pairs - sealed.pairs).elements()
        account.duplicated += (sealed.pairs - undisturbed.pairs).elements()
        account.different += sorted(
            key
            for key in undisturbed.digests.keys() | sealed.digests.keys()
            if undisturbed.digests.get(key) != sealed.digests.get(key)
        )
        account.unverified += map(str, verify(self._store).problems)
        return account


@dataclass(frozen=True)
class DriverDeath:
    """The moment when a driver was killed."""

    when: float
    """By ``time.monotonic``."""
    committed: frozenset[int]
    """Units that had a receipt right after it."""


@dataclass(frozen=True)
class Recomputed:
    """What a killed driver cost."""

    in_flight: int
    """Units that were uploaded before and, for want of a receipt, again after."""
    finished: int
    """Units that had a receipt and were uploaded again; there must be none."""


def recomputed(death: DriverDeath, uploads: Sequence[Seen]) -> Recomputed:
    """Compare the uploads before a driver's death with those after it."""
    before = {seen.unit for seen in uploads if seen.when <= death.when}
    after = {seen.unit for seen in uploads if seen.when > death.when}
    return Recomputed(
        in_flight=len(before & after - death.committed), finished=len(after & death.committed)
    )


def num_again(uploads: Sequence[Seen]) -> int:
    """Uploads beyond the first of each unit."""
    return len(uploads) - len({seen.unit for seen in uploads})
