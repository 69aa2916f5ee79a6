"""What a verification looked at, and what it found."""

from dataclasses import dataclass, field

from pipeline.errors import ObjectNotFoundError
from pipeline.identity import sha256
from pipeline.publish.gc import UnreferencedObject
from pipeline.storage.layout import ParsedKey, place_of
from pipeline.storage.object_store import ObjectStore


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that is not as promised."""

    key: str
    """Of the object that is at fault."""
    text: str
    """What is wrong with it, and with which sample where there is one."""

    @property
    def place(self) -> ParsedKey | None:
        """Kind, plan, unit and version of the object."""
        return place_of(self.key)

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


@dataclass
class Verification:
    """How much was looked at, and what was wrong."""

    manifests: int = 0
    units: int = 0
    candidates: int = 0
    shards: int = 0
    pairs: int = 0
    num_bytes: int = 0
    """Of shards and ledgers."""
    problems: list[Problem] = field(default_factory=list)
    disagreements: list[Problem] = field(default_factory=list)
    """Attempts at a unit that came second and computed something else than the one that counts.

    The data set is whole all the same, so they are no problems of it; but what computed it is not
    deterministic.
    """
    orphans: list[UnreferencedObject] = field(default_factory=list)
    """Objects to which nothing refers; harmless, and collected by ``npd gc``."""

    not_listed: str = ""
    """Why orphans and disagreements were not looked for; empty where they were."""

    foreign: list[UnreferencedObject] = field(default_factory=list)
    """Files that are not ours. Nothing reads them, so they are no problems of the data set."""

    def add(self, key: str, text: object) -> None:
        """Note a problem."""
        self.problems.append(Problem(key=key, text=str(text)))


def said_of(store: ObjectStore, key: str, error: Exception) -> str:
    """What an error says of an object, without naming it again."""
    return str(error).removeprefix(f"{store.url}/").removeprefix(f"{key}: ")


def read_promised(
    store: ObjectStore, key: str, digest: str, promised_by: str, found: Verification
) -> bytes | None:
    """An object with the promised digest; else None, and the problem is noted."""
    try:
        data = store.get(key)
    except ObjectNotFoundError:
        found.add(key, "missing")
        return None
    if sha256(data) != digest:
        found.add(key, f"not the bytes that {promised_by} promises")
        return None
    return data
