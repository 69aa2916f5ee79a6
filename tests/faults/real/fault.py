"""What every kind of fault can do."""

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tests.faults.real.rig import Rig


@dataclass(frozen=True)
class Struck:
    """What a fault did."""

    what: str
    """For people: which process, which link, how many bytes."""
    address: str | None = None
    """Of the node that has recovered when it commits a unit; None where any node's unit counts."""


class Fault(Protocol):
    """A kind of fault. One object may strike again and again, once healed."""

    name: str
    kills: bool
    """Whether a process ends by SIGKILL."""
    outage_s: tuple[float, float]
    """The least and the most seconds between strike and heal."""

    def strike(self, rig: "Rig", chance: random.Random) -> Struck | None:
        """Do it; None where there is nothing to strike at this moment."""
        ...

    def heal(self, rig: "Rig") -> bool:
        """Do what an operator, a supervisor or time would do; the build does the rest.

        False where the fault met nobody, such as a wire that broke while nothing was sent.
        """
        ...
