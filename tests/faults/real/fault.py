"""The interface of a fault."""

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tests.faults.real.rig import Rig


@dataclass(frozen=True)
class Struck:
    """Description of a fault that was injected."""

    what: str
    """Text for the log: the process, the link or the number of bytes."""
    address: str | None = None
    """Address of the node whose next commit shows recovery. None if any node counts."""


class Fault(Protocol):
    """A kind of fault. It can be injected again after ``heal``."""

    name: str
    kills: bool
    """True if a process is killed with SIGKILL."""
    outage_s: tuple[float, float]
    """Minimum and maximum seconds between ``strike`` and ``heal``."""

    def strike(self, rig: "Rig", chance: random.Random) -> Struck | None:
        """Inject the fault. Return None if there is no target at this moment."""
        ...

    def heal(self, rig: "Rig") -> bool:
        """Do what an operator or a supervisor would do. The build does the rest.

        Return False if the fault had no effect, such as a cut connection without traffic.
        """
        ...
