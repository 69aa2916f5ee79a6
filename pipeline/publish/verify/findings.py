"""Counts and problems of a verification."""

from collections import Counter
from dataclasses import dataclass, field

from pipeline.core.errors import ObjectNotFoundError, VerificationError
from pipeline.core.identity import sha256
from pipeline.publish.gc import UnreferencedObject
from pipeline.storage.layout import ParsedKey, place_of
from pipeline.storage.object_store import MAX_OBJECT_BYTES, ObjectStore


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Difference between an object and what was promised of it."""

    key: str
    """Key of the damaged object."""
    text: str
    """Description of the problem, with the sample id if it concerns one."""

    @property
    def place(self) -> ParsedKey | None:
        """Kind, plan, unit and version of the object."""
        return place_of(self.key)

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


@dataclass
class Verification:
    """Counts of the checked objects, and all problems found."""

    manifests: int = 0
    units: int = 0
    candidates: int = 0
    shards: int = 0
    pairs: int = 0
    """Number of pairs over all formats, each of which holds all of them."""
    pairs_by_format: Counter[str] = field(default_factory=Counter)
    num_bytes: int = 0
    """Total size of shards and ledgers in bytes."""
    problems: list[Problem] = field(default_factory=list)
    disagreements: list[Problem] = field(default_factory=list)
    """Late attempts at a unit with another result than the committed one.

    The data set is intact, so these are not problems of it. They show that the computation was not
    deterministic.
    """
    orphans: list[UnreferencedObject] = field(default_factory=list)
    """Objects to which nothing refers; harmless, and collected by ``npd gc``."""

    not_listed: str = ""
    """Reason why orphans and disagreements were not searched for; empty if they were."""

    foreign: list[UnreferencedObject] = field(default_factory=list)
    """Files that do not belong to this system. Nothing reads them, so they are not problems."""

    def add(self, key: str, text: object) -> None:
        """Add a problem."""
        self.problems.append(Problem(key=key, text=str(text)))


def message_of(store: ObjectStore, key: str, error: Exception) -> str:
    """Return the message of an error without the key of the object."""
    return str(error).removeprefix(f"{store.url}/").removeprefix(f"{key}: ")


def read_promised(
    store: ObjectStore,
    key: str,
    digest: str,
    promised_by: str,
    found: Verification,
    *,
    num_bytes: int = MAX_OBJECT_BYTES,
) -> bytes | None:
    """Read an object with the promised digest; return None and add a problem otherwise.

    An object of more than ``num_bytes`` is not read.
    """
    data: bytes | None
    try:
        data = store.get(key, num_bytes)
    except ObjectNotFoundError:
        found.add(key, "missing")
        return None
    except VerificationError:  # larger
        data = None
    # Problems are collected and not raised, so that one run reports all of them.
    if data is None or sha256(data) != digest:
        found.add(key, f"not the bytes that {promised_by} promises")
        return None
    return data
