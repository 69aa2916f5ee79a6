"""An independent check of a build's store: nothing lost, nothing duplicated, the same bytes."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.core.identity import sha256
from pipeline.publish.verify import verify
from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore
from tests.faults.real.gate import Seen

_SEALED = ("shards/", "ledgers/", "manifests/", layout.SUCCESS_KEY)


@dataclass(frozen=True)
class Sealed:
    """Contents of a sealed build."""

    digests: dict[str, str]
    """Maps the key of every sealed object to its SHA-256."""
    pairs: Counter[str]
    """Number of times that each sample occurs in the Arrow shards."""


def read_sealed(store: ObjectStore) -> Sealed:
    """Read all sealed objects. They are found by listing, not through the manifest."""
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
class AuditResult:
    """Problems of one build. Each entry is a key or a sample id."""

    lost: list[str] = field(default_factory=list)
    """Receipts that have disappeared, and pairs that only the undisturbed build has."""
    duplicated: list[str] = field(default_factory=list)
    """Pairs that occur twice, or that the undisturbed build does not have."""
    changed: list[str] = field(default_factory=list)
    """Receipts whose bytes have changed."""
    different: list[str] = field(default_factory=list)
    """Sealed objects whose bytes differ from those of the undisturbed build."""
    unverified: list[str] = field(default_factory=list)
    """Problems that ``npd verify`` reports."""

    def problems(self) -> Iterator[str]:
        """Yield all entries, each with its kind."""
        for kind, entries in vars(self).items():
            for entry in entries:
                yield f"{kind}: {entry}"


class StoreAudit:
    """Observer of one build's store. It reads the store directly, not through the gate."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._receipts: dict[str, str] = {}
        self._result = AuditResult()

    def committed(self) -> set[int]:
        """Return the units that have a receipt, and compare it with those seen before."""
        now = {
            info.key: sha256(self._store.get(info.key)) for info in self._store.list("receipts/")
        }
        for key, digest in self._receipts.items():
            if key not in now:
                self._result.lost.append(key)
            elif now[key] != digest:
                self._result.changed.append(key)
        self._receipts |= now
        places = map(layout.place_of, now)
        return {place.unit for place in places if place and place.unit is not None}

    def close(self, undisturbed: Sealed) -> AuditResult:
        """Return the result for a build that has succeeded."""
        self.committed()
        sealed, result = read_sealed(self._store), self._result
        result.lost += (undisturbed.pairs - sealed.pairs).elements()
        result.duplicated += (sealed.pairs - undisturbed.pairs).elements()
        result.different += sorted(
            key
            for key in undisturbed.digests.keys() | sealed.digests.keys()
            if undisturbed.digests.get(key) != sealed.digests.get(key)
        )
        result.unverified += map(str, verify(self._store).problems)
        return result


@dataclass(frozen=True)
class DriverDeath:
    """Time and state at which a driver was killed."""

    when: float
    """Time of ``time.monotonic``."""
    committed: frozenset[int]
    """Units that had a receipt immediately afterwards."""


@dataclass(frozen=True)
class Recomputed:
    """Number of units that were uploaded again because a driver was killed."""

    in_flight: int
    """Units without a receipt that were uploaded before and after."""
    finished: int
    """Units with a receipt that were uploaded again. There must be none."""


def recomputed(death: DriverDeath, uploads: Sequence[Seen]) -> Recomputed:
    """Compare the uploads before a driver's death with those after it."""
    before = {seen.unit for seen in uploads if seen.when <= death.when}
    after = {seen.unit for seen in uploads if seen.when > death.when}
    return Recomputed(
        in_flight=len(before & after - death.committed), finished=len(after & death.committed)
    )


def num_again(uploads: Sequence[Seen]) -> int:
    """Return the number of uploads beyond the first of each unit."""
    return len(uploads) - len({seen.unit for seen in uploads})
