"""What was computed more than once, as the wire saw it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.real.gate import Seen


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
